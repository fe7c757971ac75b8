// Goal: a block that rots in a snapshot is read from another holder, and mended at the one that has it damaged (W9, H3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockKind, MessageType } from '../../../src/wire/messages.ts';
import { Scenario } from '../../sim/scenario.ts';

function aSnapshot() {
  const scenario = new Scenario({ members: 3, blocks: 8, config: { holdMs: 300_000 } });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(coordinator, 0, 8));
  scenario.ok(scenario.flush(coordinator));
  scenario.run(1000);
  return { scenario, coordinator };
}

function take({ scenario, coordinator }: ReturnType<typeof aSnapshot>): void {
  let isTaken = false;
  coordinator.event(() => {
    const { core, clock } = coordinator;
    core!.takeSnapshot(clock.now(), { id: 's', name: 's', createdMs: 0 }, (error) => {
      assert.equal(error, null);
      scenario.cluster.snapshots.onTaken('s', core!.record!);
      isTaken = true;
    });
  });
  scenario.until('it is taken', () => isTaken);
}

/** The kinds of the snapshot's blocks, as one holder or another tells them. */
function ask({ scenario, coordinator }: ReturnType<typeof aSnapshot>): number[] {
  let kinds: number[] | null = null;
  coordinator.event(() => {
    const question = { kind: 'copy', lba: 0, blocks: 8 } as const;
    coordinator.core!.ask(coordinator.clock.now(), 's', question, (answer) => {
      assert.ok(answer?.type === MessageType.CopyData && answer.copy !== null);
      kinds = [...answer.copy.kinds];
    });
  });
  scenario.until('it is answered', () => kinds !== null);
  return kinds!;
}

const rottenAt = ({ scenario }: ReturnType<typeof aSnapshot>, member: number): number[] =>
  (scenario.member(member).store.snapshotCells('s') ?? []).flatMap(({ rotten }, lba) =>
    rotten === null ? [] : [lba],
  );

test('what two of three holders have damaged is read from the third, and mended at both', () => {
  const world = aSnapshot();
  world.scenario.member(0).store.rot(3);
  world.scenario.member(1).store.rot(3);
  world.scenario.member(1).store.rot(5);
  take(world);
  assert.deepEqual([rottenAt(world, 0), rottenAt(world, 1)], [[3], [3, 5]]);
  const whole = Array.from({ length: 8 }, () => BlockKind.Data);
  for (let round = 0; round < 20; round += 1) assert.deepEqual(ask(world), whole);
  world.scenario.run(1000);
  assert.deepEqual([rottenAt(world, 0), rottenAt(world, 1)], [[], []]);
});

test('what every holder has damaged is told as damaged, and nothing is made of it', () => {
  const world = aSnapshot();
  for (const member of [0, 1, 2]) world.scenario.member(member).store.rot(3);
  take(world);
  assert.equal(ask(world)[3], BlockKind.Damaged);
  world.scenario.run(1000);
  for (const member of [0, 1, 2]) assert.deepEqual(rottenAt(world, member), [3]);
});

test('what a scrub finds in a snapshot is mended unread, there and in the volume that shares it', () => {
  const world = aSnapshot();
  const { store } = world.scenario.member(0);
  store.rot(3);
  store.rot(5);
  take(world);
  world.scenario.ok(world.scenario.write(world.coordinator, 5));
  world.scenario.run(2000);
  assert.deepEqual(rottenAt(world, 0), [3, 5]);
  store.scrub();
  world.scenario.run(3000);
  assert.deepEqual(rottenAt(world, 0), []);
  assert.ok(store.cells.every(({ rotten }) => rotten === null));
});
