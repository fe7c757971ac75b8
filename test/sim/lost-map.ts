// Directed scenarios of members that have lost a part of their map (H6), and of repairs (H3).
import { SyncPolicy } from '../../src/volume/coordinator/interfaces.ts';
import { MemberState } from '../../src/wire/record.ts';
import type { Rules } from '../../src/wire/rules.ts';
import type { CoordinatorProcess } from './cluster.ts';
import { type Directed, Scenario } from './scenario.ts';

const BLOCKS = 16;
/** Copies at many members: whoever has it wrong is read sooner or later. */
const READS = 12;

const stateOf = ({ core, clock }: CoordinatorProcess, index: number) =>
  core!.status(clock.now()).members[index]!.state;

/** All are well, all have all of it; then some are away while all of it is written anew. */
function writtenWithout(
  rules: Rules,
  trace: boolean,
  seed: number,
  away: number,
): { scenario: Scenario; coordinator: CoordinatorProcess } {
  const scenario = new Scenario({ rules, trace, seed, members: 3, blocks: BLOCKS });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(coordinator, 0, BLOCKS));
  scenario.ok(scenario.flush(coordinator));
  scenario.run(1000);
  scenario.member(away).stop(false);
  scenario.ok(scenario.write(coordinator, 0, BLOCKS));
  scenario.ok(scenario.flush(coordinator));
  scenario.run(1000);
  return { scenario, coordinator };
}

/** H6: who lists for a joiner has lost a part of its map: no version is told there, which is not what was never written. */
export const listerLostMap: Directed = (rules, trace = false) => {
  for (let seed = 1; seed <= 6; seed += 1) {
    const { scenario, coordinator } = writtenWithout(rules, trace, seed, 2);
    scenario.member(seed % 2).store.loseMap(4, 8);
    scenario.member(2).start();
    scenario.whole(0);
    for (let n = 0; n < READS; n += 1) scenario.ok(scenario.read(coordinator, 0, BLOCKS));
  }
};

/** H6: a joiner takes no copy below a page that it has lost. What it had there is old, should the page be found again. */
export const joinerLostMap: Directed = (rules, trace = false) => {
  const { scenario, coordinator } = writtenWithout(rules, trace, 1, 0);
  const { store } = scenario.member(0);
  store.loseMap(4, 4);
  scenario.member(0).start();
  scenario.run(5000);
  store.findMap();
  for (let n = 0; n < READS; n += 1) scenario.ok(scenario.read(coordinator, 0, BLOCKS));
};

/** H6: a block that nobody can deliver is damaged at a newcomer; who was away longer has an older one, and takes the damage. */
function nobodyDelivers(rules: Rules, trace: boolean, seed: number, sources: 1 | 2): void {
  const scenario = new Scenario({ rules, trace, seed, members: 3, spares: 1, blocks: BLOCKS });
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
  scenario.until('the newcomer is in sync', () => stateOf(coordinator, 3) === 'InSync');
  scenario.member(1).start();
  scenario.until('who was away is in sync', () => stateOf(coordinator, 1) === 'InSync');
  for (let n = 0; n < READS; n += 1) {
    const read = scenario.read(coordinator, 4);
    scenario.until('it ends', () => read.status !== null);
  }
}

export const nobodyHasMap: Directed = (rules, trace = false) => {
  for (let seed = 1; seed <= 6; seed += 1) nobodyDelivers(rules, trace, seed, 2);
};

/** H6: with one source what is known lies in one copy with what is not, and is older. */
export const lostBesideKnown: Directed = (rules, trace = false) => {
  for (let seed = 1; seed <= 6; seed += 1) nobodyDelivers(rules, trace, seed, 1);
};

/** A write is acknowledged, and flushed, by members 0 and 2; member 1 has the one before it. Then 2 is gone. */
function durableAtTwo(
  rules: Rules,
  trace: boolean,
): { scenario: Scenario; first: CoordinatorProcess } {
  const config = {
    syncPolicy: SyncPolicy.Quorum,
    lagMs: 300_000,
    holdMs: 300_000,
    promiseWaitMs: 200,
  };
  const scenario = new Scenario({ rules, trace, members: 3, blocks: 4, config });
  const first = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(first, 0));
  scenario.ok(scenario.flush(first));
  scenario.run(1000);
  scenario.clogDown(0, 1);
  scenario.ok(scenario.write(first, 0));
  scenario.ok(scenario.flush(first));
  return { scenario, first };
}

/** Whoever comes up without member 2, hosts read there. */
function readWithoutTwo(scenario: Scenario): void {
  scenario.member(0).store.loseMap(0, 1);
  const second = scenario.coordinator(1);
  second.start();
  scenario.run(30_000);
  for (let n = 0; n < READS; n += 1) {
    scenario.read(second, 0);
    scenario.run(100);
  }
}

/** H6: member 0 has lost what it must be believed in, and member 1 has an older value. With member 2 it goes on. */
export const lostInRecovery: Directed = (rules, trace = false) => {
  const { scenario, first } = durableAtTwo(rules, trace);
  first.kill();
  scenario.member(2).stop(false);
  readWithoutTwo(scenario);
  scenario.member(2).start();
  const second = scenario.activate(1);
  for (let n = 0; n < READS; n += 1) scenario.ok(scenario.read(second, 0));
};

/** H6, R1: member 0 alone stored the record that calls member 2 stale, and by that record one of the others would do. */
export const lostWithRecord: Directed = (rules, trace = false) => {
  const { scenario, first } = durableAtTwo(rules, trace);
  scenario.member(2).stop(false);
  scenario.until(
    'member 0 stores that member 2 is stale',
    () => scenario.member(0).store.record?.members[2]?.state === MemberState.Stale,
  );
  first.kill();
  readWithoutTwo(scenario);
  scenario.member(2).start();
  const second = scenario.activate(1);
  for (let n = 0; n < READS; n += 1) scenario.ok(scenario.read(second, 0));
};

/** H3: a damaged block is mended from another, and written while the copy is on its way. */
export const mendedTooLate: Directed = (rules, trace = false) => {
  const config = { syncPolicy: SyncPolicy.Quorum, lagMs: 300_000 };
  const scenario = new Scenario({ rules, trace, members: 3, blocks: 4, config });
  scenario.cluster.rotAllowed = true;
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(coordinator, 0));
  scenario.ok(scenario.flush(coordinator));
  const { store } = scenario.member(0);
  store.rot(0);
  store.scrub();
  // It is told of with a heartbeat, and the copy is asked for at once; what was read for it comes when the write is applied.
  for (const connection of scenario.cluster.network.connections) {
    if (connection.member !== 0) scenario.cluster.network.clog(connection, false, 2500);
  }
  scenario.run(1500);
  scenario.ok(scenario.write(coordinator, 0));
  scenario.run(3000);
  for (let n = 0; n < READS; n += 1) scenario.ok(scenario.read(coordinator, 0));
};
