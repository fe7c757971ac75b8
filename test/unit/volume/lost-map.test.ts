// Goal: a member that has lost a part of its map (H6) makes nobody answer wrong, is believed in nothing that it may have had
// there alone, and holds up nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoStatus } from '../../../src/block/index.ts';
import {
  CoordinatorPhase,
  MAP_LOST,
  SyncPolicy,
} from '../../../src/volume/coordinator/interfaces.ts';
import { BlockKind } from '../../../src/wire/messages.ts';
import type { CoordinatorProcess } from '../../sim/cluster.ts';
import { Scenario } from '../../sim/scenario.ts';

const BLOCKS = 16;

const stateOf = ({ core, clock }: CoordinatorProcess, index: number) =>
  core!.status(clock.now()).members[index]!;

test('a joiner gets what its lister has lost from the others, and no zeros for it', () => {
  for (let seed = 1; seed <= 8; seed += 1) {
    const scenario = new Scenario({ members: 3, blocks: BLOCKS, seed });
    const coordinator = scenario.activate(0);
    scenario.whole(0);
    scenario.member(2).stop(false);
    scenario.ok(scenario.write(coordinator, 0, BLOCKS));
    scenario.ok(scenario.flush(coordinator));
    scenario.run(1000);
    scenario.member(seed % 2).store.loseMap(4, 8);
    scenario.member(2).start();
    scenario.whole(0);
    const { cells } = scenario.member(2).store;
    assert.ok(
      cells.every(({ kind }) => kind === BlockKind.Data),
      `seed ${seed}: ${cells.map(({ kind }) => kind)}`,
    );
    for (let n = 0; n < 12; n += 1) scenario.ok(scenario.read(coordinator, 0, BLOCKS));
  }
});

test('what nobody can deliver is damaged at the joiner too, where its version is known to nobody', () => {
  const scenario = new Scenario({ members: 3, blocks: BLOCKS });
  scenario.cluster.rotAllowed = true;
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.member(2).stop(false);
  scenario.ok(scenario.write(coordinator, 0, BLOCKS));
  scenario.ok(scenario.flush(coordinator));
  scenario.run(1000);
  for (const member of [0, 1]) scenario.member(member).store.loseMap(4, 2);
  scenario.member(2).start();
  scenario.whole(0);
  const kinds = scenario.member(2).store.cells.map(({ kind }) => kind);
  assert.deepEqual(kinds.slice(3, 7), [
    BlockKind.Data,
    BlockKind.Damaged,
    BlockKind.Damaged,
    BlockKind.Data,
  ]);
  for (let n = 0; n < 6; n += 1) {
    const read = scenario.read(coordinator, 4);
    scenario.until('it ends', () => read.status !== null);
    assert.equal(read.status, IoStatus.Damaged);
  }
});

for (const sources of [1, 2]) {
  test(`what nobody can deliver does not come back older with who was away: ${sources} in sync`, () => {
    for (let seed = 1; seed <= 12; seed += 1) comesBackOlder(sources, seed);
  });
}

function comesBackOlder(sources: number, seed: number): void {
  const scenario = new Scenario({ members: 3, spares: 1, blocks: BLOCKS, seed });
  scenario.cluster.rotAllowed = true;
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(coordinator, 0, BLOCKS));
  scenario.ok(scenario.flush(coordinator));
  scenario.run(1000);
  scenario.member(1).stop(false);
  scenario.ok(scenario.write(coordinator, 4));
  scenario.ok(scenario.flush(coordinator));
  scenario.run(1000);
  for (const member of [0, 2]) scenario.member(member).store.loseMap(4, 1);
  coordinator.addPeer('r3');
  scenario.run(1000);
  const { core, clock } = coordinator;
  const newcomer = { replicaId: 'r3', witness: false };
  // Replaced at once by the newcomer, member 2 is no source.
  const leaver = sources === 1 ? 'r2' : null;
  coordinator.event(() => core!.changeMember(clock.now(), leaver, newcomer, () => {}));
  scenario.until('the newcomer is in sync', () => stateOf(coordinator, 3).state === 'InSync');
  scenario.member(1).start();
  scenario.until('who was away is in sync', () => stateOf(coordinator, 1).state === 'InSync');
  for (const member of [1, 3]) {
    assert.equal(scenario.member(member).store.cells[4]!.kind, BlockKind.Damaged, `seed ${seed}`);
  }
  const read = scenario.read(coordinator, 4);
  scenario.until('it ends', () => read.status !== null);
  assert.equal(read.status, IoStatus.Damaged);
  scenario.ok(scenario.read(coordinator, 5, 4));
}

test('a recovery does without who has lost what it must settle, where the others have it all', () => {
  for (const members of [2, 3]) {
    const scenario = new Scenario({ members, blocks: BLOCKS, config: { promiseWaitMs: 200 } });
    const first = scenario.activate(0);
    scenario.whole(0);
    scenario.ok(scenario.write(first, 0, BLOCKS));
    scenario.run(1000);
    scenario.clogDown(0, 1);
    scenario.write(first, 4, 4); // Member 1 never gets it.
    scenario.run(100);
    first.kill();
    scenario.member(0).store.loseMap(4, 4);
    const second = scenario.activate(1);
    scenario.until('it is left out', () => stateOf(second, 0).lastFault === MAP_LOST);
    assert.notEqual(stateOf(second, 0).state, 'InSync');
    for (let n = 0; n < 6; n += 1) scenario.ok(scenario.read(second, 0, BLOCKS));
  }
});

/** A write is acknowledged by members 0 and 2; member 1 has the one before it. */
function ackedByTwo(): { scenario: Scenario; first: CoordinatorProcess } {
  const scenario = new Scenario({
    members: 3,
    blocks: 4,
    config: { syncPolicy: SyncPolicy.Quorum, lagMs: 300_000, holdMs: 300_000, promiseWaitMs: 200 },
  });
  const first = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(first, 0));
  scenario.ok(scenario.flush(first));
  scenario.run(1000);
  scenario.clogDown(0, 1);
  scenario.ok(scenario.write(first, 0));
  return { scenario, first };
}

test('a recovery waits where nobody else may have what was lost', () => {
  const { scenario, first } = ackedByTwo();
  first.kill();
  scenario.member(2).stop(false);
  scenario.member(0).store.loseMap(0, 1);
  const second = scenario.coordinator(1);
  second.start();
  scenario.run(30_000);
  assert.notEqual(second.core!.phase, CoordinatorPhase.Active);
  assert.match(second.core!.status(second.clock.now()).waitingFor, /lost a part of its map/);
  scenario.member(2).start();
  scenario.activate(1);
  for (let n = 0; n < 6; n += 1) scenario.ok(scenario.read(second, 0));
});

test('a recovery waits also where only who lost it stored the record without the other that had it', () => {
  const { scenario, first } = ackedByTwo();
  scenario.member(2).stop(false);
  scenario.run(200); // Member 0 stores that 2 is stale, member 1 does not.
  first.kill();
  scenario.member(0).store.loseMap(0, 1);
  const second = scenario.coordinator(1);
  second.start();
  scenario.run(30_000);
  assert.notEqual(second.core!.phase, CoordinatorPhase.Active);
  assert.match(second.core!.status(second.clock.now()).waitingFor, /lost a part of its map/);
  // Who had it all comes back: two with whole maps are a majority, whatever the one without stored alone.
  scenario.member(2).start();
  scenario.activate(1);
  for (let n = 0; n < 6; n += 1) scenario.ok(scenario.read(second, 0));
  assert.notEqual(stateOf(second, 0).state, 'InSync');
});

test('a joiner that has lost a part of its map takes part in writes elsewhere, and is never promoted', () => {
  const scenario = new Scenario({ members: 3, blocks: BLOCKS });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.member(0).stop(false);
  scenario.ok(scenario.write(coordinator, 0, BLOCKS));
  scenario.member(0).store.loseMap(4, 4);
  scenario.member(0).start();
  scenario.run(2000);
  const { core } = coordinator;
  assert.equal(stateOf(coordinator, 0).state, 'Joining');
  const { n } = core!.record!;
  scenario.ok(scenario.write(coordinator, 12, 4));
  scenario.run(10_000);
  assert.equal(stateOf(coordinator, 0).state, 'Joining');
  assert.equal(stateOf(coordinator, 0).lastFault, MAP_LOST);
  assert.equal(core!.record!.n, n, 'it is not tried again and again');
  assert.equal(
    scenario.member(0).store.cells[12]!.value,
    scenario.member(1).store.cells[12]!.value,
  );
  // A write where it can take none leaves it out, and is answered.
  scenario.ok(scenario.write(coordinator, 4));
  scenario.ok(scenario.read(coordinator, 0, BLOCKS));
});

test('with two copies a write to what one of them has lost waits, until it is replaced: a third one comes, and it goes', () => {
  const scenario = new Scenario({
    members: 2,
    spares: 1,
    blocks: BLOCKS,
    config: { holdMs: 300_000 },
  });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(coordinator, 0, BLOCKS));
  scenario.member(0).store.loseMap(4, 4);
  const write = scenario.write(coordinator, 4, 2);
  coordinator.addPeer('r2');
  scenario.run(5000);
  assert.equal(write.status, null);
  assert.equal(stateOf(coordinator, 0).lastFault, MAP_LOST);
  const { core, clock } = coordinator;
  const change = (
    leaver: string | null,
    newcomer: { replicaId: string; witness: boolean } | null,
  ): void => {
    let error: string | null = 'it has no end';
    coordinator.event(() =>
      core!.changeMember(clock.now(), leaver, newcomer, (said) => {
        error = said;
      }),
    );
    scenario.until('the members are changed', () => error !== 'it has no end');
    assert.equal(error, null);
  };
  change(null, { replicaId: 'r2', witness: false });
  scenario.until('the third one is in sync', () => stateOf(coordinator, 2).state === 'InSync');
  scenario.ok(write);
  change('r0', null);
  scenario.ok(scenario.write(coordinator, 4, 4));
  scenario.ok(scenario.read(coordinator, 0, BLOCKS));
  const states = core!.record!.members.map(({ replicaId }) => replicaId);
  assert.deepEqual(states.sort(), ['r1', 'r2']);
  for (const index of [1, 2]) assert.equal(stateOf(coordinator, index).state, 'InSync');
});

test('emptied and made anew in its place it is whole', () => {
  const scenario = new Scenario({ members: 3, blocks: BLOCKS });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(coordinator, 0, BLOCKS));
  scenario.member(0).store.loseMap(4, 4);
  scenario.ok(scenario.write(coordinator, 4));
  scenario.member(0).wipe();
  scenario.until('it is back', () => stateOf(coordinator, 0).state === 'Blank');
  const { core, clock } = coordinator;
  coordinator.event(() =>
    core!.changeMember(clock.now(), 'r0', { replicaId: 'r0', witness: false }, () => {}),
  );
  scenario.whole(0);
  for (let n = 0; n < 6; n += 1) scenario.ok(scenario.read(coordinator, 0, BLOCKS));
  assert.deepEqual(
    scenario.member(0).store.cells.map(({ value }) => value),
    scenario.member(1).store.cells.map(({ value }) => value),
  );
});
