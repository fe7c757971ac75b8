// Goal: what a member's scrub finds damaged is mended from others in sync, though nobody reads it (H3, H4).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CoordinatorConfig } from '../../../src/volume/coordinator/interfaces.ts';
import { Scenario } from '../../sim/scenario.ts';

const BLOCKS = 100;

function written(config: Partial<CoordinatorConfig> = {}) {
  const scenario = new Scenario({ members: 3, blocks: BLOCKS, config });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  for (let lba = 0; lba < BLOCKS; lba += 10) scenario.ok(scenario.write(coordinator, lba, 10));
  scenario.ok(scenario.flush(coordinator));
  scenario.run(1000);
  const rotten = (member: number): number[] =>
    scenario.member(member).store.cells.flatMap((cell, lba) => (cell.rotten === null ? [] : [lba]));
  return { scenario, coordinator, rotten };
}

test('all that a scrub found at a member is mended, more than is told of at a time', () => {
  const { scenario, rotten } = written({ quietAfterMs: 60_000 });
  const { store } = scenario.member(1);
  for (let lba = 0; lba < BLOCKS; lba += 1) store.rot(lba);
  scenario.run(5000);
  assert.equal(rotten(1).length, BLOCKS, 'nobody knows of it');
  store.scrub();
  scenario.run(4000);
  assert.deepEqual(rotten(1), []);
});

test('a volume that nobody uses is mended too', () => {
  const { scenario, coordinator, rotten } = written({ quietAfterMs: 2000 });
  scenario.run(10_000);
  assert.notEqual(coordinator.core!.quietSpell, null);
  const { store } = scenario.member(2);
  for (let lba = 0; lba < BLOCKS; lba += 1) store.rot(lba);
  store.scrub();
  // One pause between heartbeats, then they come as in use.
  scenario.run(65_000);
  assert.deepEqual(rotten(2), []);
});

test('what is told between the rare heartbeats of a volume that nobody uses is mended at once', () => {
  const { scenario, coordinator, rotten } = written({ quietAfterMs: 2000 });
  scenario.run(10_000);
  assert.notEqual(coordinator.core!.quietSpell, null);
  const { store, core } = scenario.member(2);
  for (let lba = 0; lba < BLOCKS; lba += 1) store.rot(lba);
  store.scrub();
  core!.tellDamage();
  scenario.run(3000);
  assert.deepEqual(rotten(2), []);
  // Who is not attached, or not in sync, says nothing; and nobody believes him.
  scenario.ok(scenario.flush(coordinator));
  scenario.cut(0, 2);
  scenario.run(20_000);
  store.rot(0);
  core!.tellDamage();
  scenario.run(1000);
  assert.deepEqual(rotten(2), [0]);
});

test('what every member has damaged stays as it is, and what is beside it is mended', () => {
  const { scenario, rotten } = written();
  for (const member of [0, 1, 2]) scenario.member(member).store.rot(7);
  scenario.member(0).store.rot(8);
  for (const member of [0, 1, 2]) scenario.member(member).store.scrub();
  scenario.run(5000);
  assert.deepEqual(
    [0, 1, 2].map((member) => rotten(member)),
    [[7], [7], [7]],
  );
});

test('a block that is unmapped before it is mended is left alone', () => {
  const { scenario, coordinator, rotten } = written();
  const { store } = scenario.member(0);
  store.rot(3);
  store.scrub();
  store.effectDelayMs = 2500; // The others have unmapped it when this one is still told to be damaged.
  scenario.ok(scenario.unmap(coordinator, 3));
  scenario.until('the unmapping is here', () => rotten(0).length === 0, 5000);
  store.effectDelayMs = 0;
  scenario.run(3000);
  const status = coordinator.core!.status(coordinator.clock.now());
  assert.ok(status.members.every(({ state }) => state === 'InSync'));
});
