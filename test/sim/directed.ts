// Directed scenarios (T3): each leads a cluster to the alignment that one rule is there for. With all rules on it must
// end well; with its rule switched off (T5) the checker must find a violation. A scenario throws `Violation`, or returns.
import { IoStatus } from '../../src/block/index.ts';
import { CoordinatorPhase, SyncPolicy } from '../../src/volume/coordinator/interfaces.ts';
import { WRITE_CACHE_BLOB } from '../../src/volume/coordinator/write-cache.ts';
import { MemberState } from '../../src/wire/record.ts';
import type { Rules } from '../../src/wire/rules.ts';
import { Violation } from './checker.ts';
import {
  joinerLostMap,
  listerLostMap,
  lostBesideKnown,
  lostInRecovery,
  lostWithRecord,
  mendedTooLate,
  nobodyHasMap,
} from './lost-map.ts';
import { holesBeforeCommit, interruptedJoin } from './returning.ts';
import { type Directed, patient, Scenario, tryActivate } from './scenario.ts';

/** E2: two coordinators get one epoch from a witness that forgot its promise. */
export const forgottenPromise: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 3,
    witness: true,
    coordinators: 3,
    config: patient,
    trace,
  });
  scenario.ok(scenario.write(scenario.activate(0), 0));
  scenario.coordinator(0).kill();
  scenario.run(6000);
  scenario.cut(1, 1);
  scenario.cut(2, 0);
  const second = scenario.coordinator(1);
  second.start();
  scenario.until(
    'the second one activates',
    () => second.core!.phase === CoordinatorPhase.Activating,
  );
  scenario.member(2).stop(false);
  scenario.cut(1, 2);
  scenario.member(2).start();
  scenario.run(5000); // E4.
  const third = scenario.coordinator(2);
  third.start();
  const asked = (): boolean => third.core!.phase >= CoordinatorPhase.Reconciling;
  scenario.until('the third one has its promises', asked, 20_000);
  scenario.cluster.network.setCut(2, 2, true, false);
  scenario.join(1, 2);
  scenario.run(1500);
  scenario.cluster.network.setCut(2, 2, false, false);
  scenario.run(1500);
};

/** E2: an op is under way into the store of one member when that one promises. */
export const promiseOvertakesOp: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.clogDown(0, 1);
  scenario.clogDown(0, 2);
  scenario.member(0).store.effectDelayMs = 6000;
  scenario.write(first, 0);
  scenario.run(2);
  scenario.member(0).store.effectDelayMs = 0;
  first.kill();
  const second = scenario.coordinator(1);
  second.start();
  if (!tryActivate(scenario, 1, 20_000)) throw new Violation('nobody is active');
  scenario.run(3000);
  scenario.ok(scenario.read(second, 0));
};

/** E3: the answers to heartbeats are late; counted from when they come, the lease seems to last longer than it does. */
export const lateHeartbeats: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 3,
    config: { ...patient, heartbeatMs: 500 },
    trace,
  });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0, 2));
  const { network } = scenario.cluster;
  const far = [...network.connections].filter(
    ({ coordinator, member }) => coordinator === 0 && member !== 0,
  );
  // Answers of the other two are held up for 3.9 s, and then nothing reaches them any more.
  for (const connection of far) network.clog(connection, false, 3900);
  scenario.run(1500);
  for (const connection of far) network.clog(connection, true, 60_000);
  const second = scenario.coordinator(1);
  scenario.cut(1, 0);
  second.start();
  contestReads(scenario, 8000);
};

/** Writes at the new coordinator, reads at the old one. */
function contestReads(scenario: Scenario, forMs: number): void {
  const endMs = scenario.nowMs + forMs;
  while (scenario.nowMs < endMs) {
    const second = scenario.coordinator(1);
    if (second.core?.phase === CoordinatorPhase.Active) scenario.write(second, 0, 2);
    if (scenario.coordinator(0).core !== null) scenario.read(scenario.coordinator(0), 0, 2);
    scenario.run(10);
  }
}

/** E3: the coordinator and one member are cut off from the majority, and go on together. */
export const minorityReads: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  scenario.ok(scenario.write(scenario.activate(0), 0, 2));
  const { network } = scenario.cluster;
  for (const connection of network.connections) {
    if (connection.member !== 0) {
      network.clog(connection, true, 60_000);
      network.clog(connection, false, 60_000);
    }
  }
  scenario.cut(1, 0);
  scenario.coordinator(1).start();
  contestReads(scenario, 12_000);
};

/** E3: a virtual machine wakes with its clock standing still: only the member's own clock stops its reads. */
export const stoppedClock: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0, 2));
  // The new coordinator does without the member that the old one will ask.
  scenario.cut(1, 0);
  first.pause();
  const second = scenario.coordinator(1);
  second.start();
  scenario.until(
    'a new coordinator is active',
    () => second.core?.phase === CoordinatorPhase.Active,
  );
  for (let count = 0; count < 10; count += 1) scenario.ok(scenario.write(second, 0, 2));
  first.clock.lose(scenario.nowMs - 700);
  scenario.cut(0, 1, 2);
  first.resume();
  for (let count = 0; count < 200; count += 1) {
    scenario.read(first, 0, 2);
    scenario.run(1);
  }
};

/** E3: the rival is promised an epoch while the lease runs. */
export const takeoverInsideLease: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  scenario.ok(scenario.write(scenario.activate(0), 0, 2));
  scenario.run(1500);
  const { network } = scenario.cluster;
  for (const connection of network.connections) {
    if (connection.member === 0) continue;
    network.clog(connection, true, 60_000);
    network.clog(connection, false, 60_000);
  }
  scenario.cut(1, 0);
  scenario.coordinator(1).start();
  contestReads(scenario, 3000);
};

/** E4: the members that granted the lease restart, and have forgotten it. */
export const leaseForgotten: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  scenario.ok(scenario.write(scenario.activate(0), 0, 2));
  scenario.run(1100);
  const { network } = scenario.cluster;
  for (const connection of [...network.connections]) {
    if (connection.member === 0) continue;
    // The old coordinator does not hear that they are gone.
    connection.onEndCoordinator = () => {};
  }
  for (const index of [1, 2]) scenario.member(index).stop(false);
  scenario.cut(0, 1, 2);
  for (const index of [1, 2]) scenario.member(index).start();
  scenario.cut(1, 0);
  scenario.coordinator(1).start();
  contestReads(scenario, 3500);
};

/** E5: a paused coordinator wakes up with the members' answers in its inbox, after another has taken over. */
export const wakesWithAnswers: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  const outcome = scenario.write(first, 0);
  scenario.run(0.2);
  first.pause();
  const second = scenario.coordinator(1);
  second.start();
  scenario.until(
    'a new coordinator is active',
    () => second.core?.phase === CoordinatorPhase.Active,
  );
  first.resume();
  scenario.run(50);
  if (outcome.status === IoStatus.Ok) throw new Violation('the old coordinator completed a write');
};

/** E7: a member's disk is put back to an earlier image. */
export const restoredImage: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0, 2));
  scenario.ok(scenario.flush(first));
  const image = scenario.member(0).store.image();
  scenario.member(0).stop(false);
  scenario.run(100);
  scenario.member(0).start();
  scenario.until(
    'it is back',
    () => first.core!.record!.n > 3 && first.core!.record!.members[0]!.state === 1,
  );
  scenario.clogDown(0, 2);
  for (const lba of [0, 1, 2]) scenario.ok(scenario.write(first, lba));
  first.kill();
  scenario.member(0).stop(false);
  scenario.member(0).store.restore(image);
  scenario.member(0).start();
  scenario.cut(1, 1);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 20_000);
};

/** E7: however often a store is opened while no coordinator comes, it knows the opening that was attached. */
export const openedOften: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 1, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0, 2));
  scenario.ok(scenario.flush(first));
  first.kill();
  for (let count = 0; count < 40; count += 1) {
    scenario.member(0).stop(true);
    scenario.run(10);
    scenario.member(0).start();
    scenario.run(10);
  }
  scenario.coordinator(1).start();
  if (!tryActivate(scenario, 1, 60_000)) throw new Violation('its only member is taken for blank');
  scenario.ok(scenario.read(scenario.coordinator(1), 0, 2));
};

/**
 * V5: an activation that stayed uncommitted settled nothing for good. A rival settles the same ops otherwise, at a member that
 * the first one counted; the rival is forgotten too, and that member comes back last.
 */
export const settledTwice: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 5,
    blocks: 8,
    coordinators: 3,
    config: patient,
    trace,
  });
  const begun = (index: number, known: readonly number[], unknowing: readonly number[]): void => {
    const coordinator = scenario.coordinator(index);
    coordinator.start();
    scenario.until(
      'its record is proposed',
      () => coordinator.core?.phase === CoordinatorPhase.Activating,
    );
    for (const member of unknowing) scenario.clogDown(index, member);
    const { epoch } = coordinator.core!;
    scenario.until('its record is stored', () =>
      known.every((member) => scenario.member(member).store.record?.epoch === epoch),
    );
    coordinator.kill();
  };
  const first = scenario.activate(0);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  scenario.ok(scenario.flush(first));
  scenario.run(2000); // All have heard of what all have applied.
  for (const member of [0, 1, 3, 4]) scenario.clogDown(0, member);
  scenario.write(first, 0);
  scenario.run(20); // At member 2 alone.
  first.kill();
  scenario.cut(1, 2, 4);
  begun(1, [0, 1], [3]);
  scenario.cut(2, 0, 1);
  begun(2, [3], [2, 4]);
  scenario.cut(0, 2, 3);
  const third = scenario.activate(0);
  scenario.ok(scenario.read(third, 0));
  scenario.join(0, 3);
  scenario.until('the last one is back', () => {
    const record = third.core?.record;
    return (
      record?.members[3]?.state === MemberState.InSync && scenario.cluster.committed === record
    );
  });
  third.kill();
  scenario.join(1, 2, 4);
  scenario.activate(1);
};

/** Blocks that are copied one by one: neighbours go together. */
const APART = [0, 2, 4, 6];

/** R1: what a joiner's flush is worth for ops before it joined. */
export const flushCountsJoiner: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 5,
    blocks: 8,
    config: { ...patient, rebuildBytesPerSecond: 1 },
    trace,
  });
  const first = scenario.activate(0);
  const write = (): void => {
    for (const lba of APART) scenario.ok(scenario.write(first, lba));
  };
  write();
  scenario.cut(0, 3, 4);
  scenario.until(
    'two are away',
    () => first.core!.record!.members.filter(({ state }) => state === 3).length === 2,
  );
  write(); // Acked by 0, 1, 2, in nobody's durable part.
  scenario.join(0, 3);
  scenario.until('one joins', () => first.core!.record!.members[3]!.state === 2);
  scenario.run(5);
  scenario.clogDown(0, 2);
  scenario.ok(scenario.flush(first)); // By 0, 1 and the joiner.
  first.kill();
  for (const member of scenario.cluster.members) member.stop(true);
  for (const member of scenario.cluster.members) member.start();
  scenario.cut(1, 0, 1);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 30_000);
};

/** R2: S = {1,2,3}, J = {0}, 4 stale; an acked write, one lags, one drops out, and the record reaches 4 before the laggard. */
export const recordOutOfOrder: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 5,
    blocks: 8,
    config: { ...patient, rebuildBytesPerSecond: 1 },
    trace,
  });
  const first = scenario.activate(0);
  const states = (): number[] => first.core!.record!.members.map(({ state }) => state);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  scenario.cut(0, 0, 4);
  scenario.until('two are away', () => states()[0] === 3 && states()[4] === 3);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  scenario.join(0, 0);
  scenario.until('0 joins', () => states()[0] === 2);
  scenario.run(5);
  scenario.clogDown(0, 2);
  scenario.ok(scenario.write(first, 1)); // By 0, 1 and 3.
  scenario.member(4).store.latencyMs = 400;
  scenario.join(0, 4);
  scenario.until('4 says hello', () => first.core!.status(first.clock.now()).members[4]!.connected);
  scenario.run(3);
  for (const connection of [...scenario.cluster.network.connections]) {
    if (connection.coordinator === 0 && connection.member === 3)
      scenario.cluster.network.reset(connection);
  }
  scenario.cut(0, 3);
  scenario.run(2500);
  first.kill();
  scenario.cut(1, 0, 1);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 20_000);
};

/** R5: replace twice, then the old pair returns: each of two pairs is a majority of its list and has a member in sync. */
export const twoMajorities: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 3,
    spares: 1,
    coordinators: 3,
    config: patient,
    trace,
  });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  const change = (leaver: string, newcomer: string): void => {
    first.addPeer(newcomer);
    scenario.until(`${newcomer} is connected`, () =>
      first
        .core!.status(first.clock.now())
        .members.some((m) => m.replicaId === newcomer && m.connected),
    );
    scenario.run(5);
    first.event(() =>
      first.core!.changeMember(
        first.clock.now(),
        leaver,
        { replicaId: newcomer, witness: false },
        () => {},
      ),
    );
  };
  const member = (name: string): number | undefined =>
    first.core!.record!.members.find(({ replicaId }) => replicaId === name)?.state;
  change('r1', 'r3');
  scenario.until(
    'the spare is in sync',
    () => member('r3') === 1 && first.core!.record!.oldMembers.length === 0,
  );
  scenario.ok(scenario.write(first, 0));
  scenario.cut(0, 3);
  scenario.until('it is away', () => member('r3') === 3);
  scenario.ok(scenario.write(first, 0));
  scenario.clogDown(0, 2);
  change('r3', 'r1');
  scenario.run(300);
  first.kill();
  scenario.cut(1, 2, 3);
  scenario.cut(2, 0, 1);
  scenario.coordinator(1).start();
  scenario.coordinator(1).addPeer('r3');
  scenario.coordinator(2).start();
  scenario.coordinator(2).addPeer('r3');
  scenario.run(15_000);
  for (const index of [1, 2]) {
    const one = scenario.coordinator(index);
    if (one.core?.phase === CoordinatorPhase.Active) scenario.write(one, 0);
  }
  scenario.run(1000);
};

/** P3: one member's pool has no room for the snapshot. It is named by nobody, or it is there. */
export const refusedSnapshot: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.member(2).store.refusesSnapshots = true;
  scenario.member(2).store.latencyMs = 50; // The others are first.
  let ended = false;
  first.event(() =>
    first.core!.takeSnapshot(first.clock.now(), { id: 's', name: 's', createdMs: 0 }, (error) => {
      if (error === null) scenario.cluster.snapshots.onTaken('s', first.core!.record!);
      ended = true;
    }),
  );
  scenario.until('the snapshot is taken, or refused', () => ended);
  scenario.ok(scenario.write(first, 0));
};

/** Runs until every snapshot of the record is held by all data members of it. */
function allHold(scenario: Scenario, index: number): void {
  const { core } = scenario.coordinator(index);
  const isHeld = (): boolean => {
    const record = core?.record;
    if (record == null || record.snapshots.length === 0) return false;
    const members = record.members.filter(({ witness }) => !witness).length;
    return record.snapshots.every(({ holders }) => holders.length === members);
  };
  scenario.until('all hold all snapshots', isHeld);
}

function snap(scenario: Scenario, index: number, id: string): void {
  const { core, clock } = scenario.coordinator(index);
  let taken = false;
  scenario.coordinator(index).event(() =>
    core!.takeSnapshot(clock.now(), { id, name: id, createdMs: 0 }, (error) => {
      if (error !== null) throw new Error(error);
      scenario.cluster.snapshots.onTaken(id, core!.record!);
      taken = true;
    }),
  );
  scenario.until(`snapshot ${id} is taken`, () => taken);
}

/** B6: a member is away for two snapshots, with blocks written, unmapped and written again before, between and after. */
export const missedSnapshots: Directed = (rules, trace = false) => {
  const config = { ...patient, holdMs: 10_000, lagMs: 2000 };
  const scenario = new Scenario({ rules, members: 3, blocks: 16, config, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0, 8));
  scenario.cut(0, 2);
  scenario.until('it is out', () => {
    return first.core!.record!.members[2]!.state === MemberState.Stale;
  });
  scenario.ok(scenario.write(first, 1, 2));
  scenario.ok(scenario.unmap(first, 4, 2));
  snap(scenario, 0, 's');
  scenario.ok(scenario.write(first, 0, 2));
  scenario.ok(scenario.write(first, 5, 5));
  snap(scenario, 0, 't');
  scenario.ok(scenario.unmap(first, 0, 7));
  scenario.ok(scenario.write(first, 2, 1));
  scenario.ok(scenario.write(first, 12, 2));
  scenario.join(0, 2);
  allHold(scenario, 0);
  scenario.whole(0);
};

/** B6: the same, and the one that makes up for them loses power, the coordinator its life, in the middle of it. */
export const missedInPieces: Directed = (rules, trace = false) => {
  const config = { ...patient, holdMs: 10_000, lagMs: 2000, rebuildBytesPerSecond: 16 * 4096 };
  const scenario = new Scenario({ rules, members: 3, blocks: 64, config, trace });
  const first = scenario.activate(0);
  for (let lba = 0; lba < 64; lba += 2) scenario.ok(scenario.write(first, lba));
  scenario.cut(0, 2);
  scenario.until('it is out', () => {
    return first.core!.record!.members[2]!.state === MemberState.Stale;
  });
  for (let lba = 1; lba < 64; lba += 2) scenario.ok(scenario.write(first, lba));
  snap(scenario, 0, 's');
  for (let lba = 0; lba < 64; lba += 2) scenario.ok(scenario.write(first, lba));
  snap(scenario, 0, 't');
  for (let lba = 0; lba < 64; lba += 4) scenario.ok(scenario.unmap(first, lba));
  scenario.join(0, 2);
  scenario.whole(0);
  const { store } = scenario.member(2);
  const begun = () => store.branches().length > 0;
  scenario.until('it has begun', begun);
  scenario.run(400);
  scenario.member(2).stop(true);
  scenario.member(2).start();
  scenario.until('it is in sync again', () => {
    return first.core!.record!.members[2]!.state === MemberState.InSync;
  });
  scenario.until('it goes on', begun);
  scenario.run(300);
  first.kill();
  scenario.activate(1);
  scenario.ok(scenario.write(scenario.coordinator(1), 0, 8));
  allHold(scenario, 1);
};

/** B6: a block of a snapshot is damaged at all who hold it and are there; one who is away has it. */
export const damagedAtSources: Directed = (rules, trace = false) => {
  const config = { ...patient, holdMs: 10_000, lagMs: 2000 };
  const scenario = new Scenario({ rules, members: 5, blocks: 8, config, trace });
  const first = scenario.activate(0);
  const stateOf = (index: number) => first.core!.record!.members[index]!.state;
  scenario.ok(scenario.write(first, 0, 8));
  scenario.cut(0, 4);
  scenario.until('it is out', () => stateOf(4) === MemberState.Stale);
  scenario.ok(scenario.flush(first)); // What is not on the medium yet does not rot there.
  scenario.run(1000);
  for (const index of [0, 1, 2]) scenario.member(index).store.rot(3);
  snap(scenario, 0, 's');
  scenario.ok(scenario.write(first, 2, 3));
  scenario.cut(0, 3);
  scenario.until('the one that has it is out', () => stateOf(3) === MemberState.Stale);
  scenario.join(0, 4);
  scenario.until('the other is in sync', () => stateOf(4) === MemberState.InSync);
  scenario.run(15_000);
  scenario.join(0, 3);
  allHold(scenario, 0);
};

/** A member is away for two snapshots, and back in sync; nothing has made up for them yet. */
function missedTwo(rules: Rules, trace: boolean, before: (scenario: Scenario) => void): Scenario {
  const config = { ...patient, holdMs: 10_000, lagMs: 2000, syncPolicy: SyncPolicy.All };
  const scenario = new Scenario({ rules, members: 3, blocks: 8, config, trace });
  const first = scenario.activate(0);
  const stateOf = () => first.core!.record!.members[2]!.state;
  scenario.ok(scenario.write(first, 0, 8));
  scenario.cut(0, 2);
  scenario.until('it is out', () => stateOf() === MemberState.Stale);
  snap(scenario, 0, 's');
  scenario.ok(scenario.write(first, 0, 2));
  snap(scenario, 0, 't');
  scenario.ok(scenario.write(first, 1, 2));
  before(scenario);
  scenario.join(0, 2);
  scenario.until('it is in sync', () => stateOf() === MemberState.InSync);
  return scenario;
}

/** B6: a member that cannot make up for the newest snapshot makes up for those before it. */
export const newestFails: Directed = (rules, trace = false) => {
  const scenario = missedTwo(rules, trace, ({ cluster: { members } }) => {
    members[2]!.store.refusesBranchOf = 't';
  });
  const { core } = scenario.coordinator(0);
  const holders = (id: string) => core!.record!.snapshots.find((one) => one.id === id)!.holders;
  scenario.run(5000);
  if (!holders('s').includes('r2')) throw new Violation('the older one waits for the newer one');
  scenario.member(2).store.refusesBranchOf = '';
  allHold(scenario, 0);
};

/** B6: who holds a missed snapshot takes requests for it, and answers none. Later it does. */
export const silentSource: Directed = (rules, trace = false) => {
  const scenario = missedTwo(rules, trace, () => {});
  const sources = [scenario.member(0).store, scenario.member(1).store];
  for (const store of sources) store.deliversNothing = true;
  scenario.run(5000);
  for (const store of sources) store.deliversNothing = false;
  const { core } = scenario.coordinator(0);
  const isHeld = () => core!.record!.snapshots.every(({ holders }) => holders.length === 3);
  const endMs = scenario.nowMs + 120_000;
  while (!isHeld()) {
    if (scenario.nowMs > endMs) throw new Violation('it is waited for to this day');
    scenario.run(1000);
  }
};

/** B6: the making of a branch takes long. Neither hosts' ops nor records wait for it. */
export const slowBranch: Directed = (rules, trace = false) => {
  const scenario = missedTwo(rules, trace, ({ cluster: { members } }) => {
    members[2]!.store.branchDelayMs = 1500;
  });
  const first = scenario.coordinator(0);
  const { core } = first;
  const isHeld = () => core!.record!.snapshots.every(({ holders }) => holders.length === 3);
  while (!isHeld()) {
    const startMs = scenario.nowMs;
    const { endMs } = scenario.ok(scenario.write(first, 0, 8));
    if (endMs - startMs > 500) throw new Violation(`a write took ${endMs - startMs} ms`);
    scenario.ok(scenario.flush(first));
    const blobMs = scenario.nowMs;
    let kept = false;
    first.event(() => {
      core!.putBlob(first.clock.now(), 'a', Uint8Array.of(1), (error) => {
        kept = error === null;
      });
    });
    scenario.until('a record is kept', () => kept);
    const tookMs = scenario.nowMs - blobMs;
    if (tookMs > 500) throw new Violation(`a record took ${tookMs} ms`);
    scenario.run(20);
  }
};

/** B4: who was in sync when a rebuild began comes back blank in its midst, and is asked for what others cannot deliver. */
export const sourceComesBackBlank: Directed = (rules, trace = false) => {
  const config = { ...patient, holdMs: 10_000, lagMs: 2000, rebuildBytesPerSecond: 16 * 4096 };
  const scenario = new Scenario({ rules, members: 5, blocks: 64, config, trace });
  const first = scenario.activate(0);
  const stateOf = (name: string) =>
    first.core!.status(first.clock.now()).members.find(({ replicaId }) => replicaId === name)
      ?.state;
  scenario.cut(0, 4);
  scenario.until('it is out', () => stateOf('r4') === 'Stale');
  for (let lba = 0; lba < 64; lba += 1) scenario.ok(scenario.write(first, lba));
  scenario.ok(scenario.flush(first)); // What is not on the medium yet does not rot there.
  scenario.run(1000);
  for (const index of [0, 1, 2]) scenario.member(index).store.rot(63);
  scenario.join(0, 4);
  scenario.until('it is rebuilt', () => stateOf('r4') === 'Joining');
  scenario.run(500);
  scenario.member(2).wipe();
  scenario.until('one is back, blank', () => stateOf('r2') === 'Blank');
  scenario.until('the other is in sync', () => stateOf('r4') === 'InSync');
  for (let count = 0; count < 20; count += 1) scenario.ok(scenario.read(first, 63));
};

/** B6: a member took the snapshot, and was gone before the others had; they took it once more, without it. */
export const anotherCut: Directed = (rules, trace = false) => {
  const config = { ...patient, holdMs: 10_000, lagMs: 2000 };
  const scenario = new Scenario({ rules, members: 3, config, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0, 2));
  scenario.member(1).store.latencyMs = 50;
  let taken = false;
  first.event(() =>
    first.core!.takeSnapshot(first.clock.now(), { id: 's', name: 's', createdMs: 0 }, (error) => {
      if (error !== null) throw new Error(error);
      scenario.cluster.snapshots.onTaken('s', first.core!.record!);
      taken = true;
    }),
  );
  scenario.until('it took it', () => scenario.member(2).store.snapshots().length > 0, 1000);
  scenario.cut(0, 2);
  for (const connection of [...scenario.cluster.network.connections]) {
    if (connection.coordinator === 0 && connection.member === 2) {
      scenario.cluster.network.reset(connection);
    }
  }
  const written = scenario.write(first, 0);
  scenario.until('the others have it', () => taken);
  scenario.ok(written);
  scenario.join(0, 2);
  allHold(scenario, 0);
};

/**
 * B7, P3: a snapshot is taken while a member goes, blocks are unmapped behind the cut, and members come and go: what records
 * let members forget of the holes stays below every cut, whoever makes up for the snapshot later.
 */
export const holesAboveCut: Directed = (rules, trace = false) => {
  const config = { ...patient, holdMs: 10_000, lagMs: 2000 };
  const scenario = new Scenario({ rules, members: 3, blocks: 8, config, trace });
  const first = scenario.activate(0);
  const { snapshots } = scenario.cluster;
  const stateOf = (index: number) => first.core!.record!.members[index]!.state;
  const leaves = (index: number): void => {
    scenario.cut(0, index);
    for (const connection of [...scenario.cluster.network.connections]) {
      if (connection.coordinator === 0 && connection.member === index) {
        scenario.cluster.network.reset(connection);
      }
    }
  };
  scenario.ok(scenario.write(first, 0, 8));
  scenario.member(1).store.latencyMs = 50;
  let taken = false;
  first.event(() =>
    first.core!.takeSnapshot(first.clock.now(), { id: 's', name: 's', createdMs: 0 }, (error) => {
      if (error !== null) throw new Error(error);
      snapshots.onTaken('s', first.core!.record!);
      taken = true;
    }),
  );
  leaves(2);
  scenario.member(2).store.refusesSnapshots = true; // It makes up for it late.
  const unmapped = scenario.unmap(first, 0, 2); // Behind the cut that is still open.
  scenario.until('the others have it', () => taken);
  scenario.ok(unmapped);
  scenario.member(1).store.latencyMs = 0.3;
  scenario.ok(scenario.unmap(first, 4, 2));
  scenario.join(0, 2);
  scenario.until('it is in sync again', () => stateOf(2) === MemberState.InSync);
  leaves(1);
  scenario.until('another is out', () => stateOf(1) === MemberState.Stale);
  scenario.join(0, 1);
  scenario.until('and back', () => stateOf(1) === MemberState.InSync);
  for (const key of ['one', 'two']) {
    // Any records will do: the first after all that has the floor.
    first.event(() => first.core!.putBlob(first.clock.now(), key, Uint8Array.of(1), () => {}));
    scenario.until('it is kept', () => first.core!.getBlob(key) !== null);
  }
  scenario.run(1000);
  scenario.member(2).store.refusesSnapshots = false;
  allHold(scenario, 0);
};

/** P3: the record that names a snapshot reached one member; the others had taken it, and lose it with their caches. */
export const heldByWord: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  const stores = [0, 1, 2].map((index) => scenario.member(index).store);
  stores[0]!.latencyMs = 50; // The others are first.
  first.event(() =>
    first.core!.takeSnapshot(first.clock.now(), { id: 's', name: 's', createdMs: 0 }, () => {}),
  );
  const others = stores.slice(1);
  scenario.until('the others took it', () => others.every((one) => one.snapshots().length > 0));
  scenario.clogDown(0, 1);
  scenario.clogDown(0, 2);
  scenario.until('one is told of it', () => stores[0]!.record?.snapshots.length === 1);
  first.kill();
  for (const index of [1, 2]) {
    scenario.member(index).store.keepsNothing = true;
    scenario.member(index).stop(true);
    scenario.member(index).start();
  }
  scenario.activate(1);
  allHold(scenario, 1);
};

/** P3: two of three lose their stores, one after the other; the third, the last that has the snapshot, is to go. */
export const lastHolder: Directed = (rules, trace = false) => {
  const config = { ...patient, holdMs: 10_000 };
  const scenario = new Scenario({ rules, members: 3, spares: 1, config, trace });
  const first = scenario.activate(0);
  const { cluster } = scenario;
  scenario.ok(scenario.write(first, 0));
  let taken = false;
  first.event(() =>
    first.core!.takeSnapshot(first.clock.now(), { id: 's', name: 's', createdMs: 0 }, (error) => {
      if (error !== null) throw new Error(error);
      cluster.snapshots.onTaken('s', first.core!.record!);
      taken = true;
    }),
  );
  scenario.until('the snapshot is taken', () => taken);
  scenario.ok(scenario.write(first, 0));
  const stateOf = (name: string) =>
    first.core!.status(first.clock.now()).members.find(({ replicaId }) => replicaId === name);
  const change = (leaver: string, replicaId: string): void =>
    first.event(() =>
      first.core!.changeMember(first.clock.now(), leaver, { replicaId, witness: false }, () => {}),
    );
  for (const index of [0, 1]) {
    const name = `r${index}`;
    scenario.member(index).wipe();
    scenario.member(index).store.refusesSnapshots = true; // So that it cannot make up for it.
    scenario.until(`${name} is back, blank`, () => stateOf(name)?.state === 'Blank');
    change(name, name);
    scenario.until(`${name} is in sync`, () => stateOf(name)?.state === 'InSync');
  }
  scenario.cut(0, 2);
  scenario.until('the last holder is out', () => stateOf('r2')?.state === 'Stale');
  first.addPeer('r3');
  scenario.until('the spare is there', () => stateOf('r3')?.connected === true);
  scenario.run(5);
  change('r2', 'r3');
  scenario.run(5000);
  scenario.join(0, 2);
  scenario.run(5000);
};

/** Witness pair, R3 and W4: a write is acked by A alone before "B stale" is committed; then A dies. */
export const witnessPair: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, witness: true, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.clogDown(0, 2);
  for (const connection of [...scenario.cluster.network.connections]) {
    if (connection.coordinator === 0 && connection.member === 1) {
      scenario.cluster.network.reset(connection);
    }
  }
  scenario.cut(0, 1);
  scenario.until('the coordinator knows', () => {
    return !first.core!.status(first.clock.now()).members[1]!.connected;
  });
  for (let count = 0; count < 20; count += 1) {
    scenario.write(first, 0);
    scenario.run(5);
  }
  first.kill();
  scenario.cut(1, 0);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 20_000);
};

/** V7: the loss is found, stored, and its coordinator dies before it has declared it. */
export const lossFoundTwice: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 3,
    blocks: 8,
    coordinators: 3,
    config: patient,
    trace,
  });
  const first = scenario.activate(0);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  first.kill();
  for (const member of scenario.cluster.members) {
    member.store.keepsNothing = true;
    member.stop(true);
    member.start();
  }
  const second = scenario.coordinator(1);
  second.start();
  // Every member stores the record, and not one answer comes through.
  scenario.until(
    'the second one activates',
    () => second.core!.phase === CoordinatorPhase.Activating,
  );
  for (const member of [0, 1, 2]) scenario.cluster.network.setCut(1, member, false, true);
  scenario.run(200);
  second.kill();
  scenario.coordinator(2).start();
  tryActivate(scenario, 2, 30_000);
};

/** C8: a SYNC is under way when the members lose their caches; their coordinator goes on, and its sessions with it. */
export const syncAcrossLoss: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, blocks: 8, config: patient, trace });
  const first = scenario.activate(0);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  for (const member of [0, 1, 2]) scenario.clogDown(0, member);
  const outcomes = [scenario.flush(first), scenario.write(first, 0, 1, true)];
  scenario.run(20);
  for (const member of scenario.cluster.members) {
    member.store.keepsNothing = true;
    member.stop(true);
    member.start();
  }
  scenario.until('both have ended', () => outcomes.every(({ status }) => status !== null));
  if (outcomes.some(({ status }) => status !== IoStatus.IoError)) {
    throw new Violation(`they ended with ${outcomes.map(({ status }) => status).join(', ')}`);
  }
  scenario.ok(scenario.write(first, 0));
  scenario.ok(scenario.flush(first));
};

/** V5: the absent member's unacked write has the highest version; it comes back in the next recovery. */
export const absentReturns: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, coordinators: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.clogDown(0, 1);
  scenario.clogDown(0, 2);
  scenario.write(first, 0); // Reaches member 0 alone.
  scenario.run(20);
  first.kill();
  scenario.cut(1, 0);
  const second = scenario.coordinator(1);
  second.start();
  if (!tryActivate(scenario, 1, 30_000)) throw new Violation('two of three members do not suffice');
  scenario.ok(scenario.read(second, 0));
  second.kill();
  const third = scenario.activate(2);
  scenario.ok(scenario.read(third, 0));
};

/** E6: S = {A, B}, C stale; B's disk is swapped, and blank B with stale C form a majority that forgot C is stale. */
export const swappedDisk: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.cut(0, 2);
  scenario.until('member 2 is away', () => first.core!.record!.members[2]!.state === 3);
  scenario.ok(scenario.write(first, 0));
  scenario.ok(scenario.flush(first));
  first.kill();
  scenario.member(1).wipe();
  scenario.cut(1, 0);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 20_000);
};

/** W3: an ack by fewer than q. */
export const ackByOne: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.clogDown(0, 1);
  scenario.clogDown(0, 2);
  scenario.write(first, 0);
  scenario.run(20);
  first.kill();
  scenario.cut(1, 0);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 20_000);
};

/** The power goes everywhere, nothing survives but what was flushed, and one coordinator finds these members. */
function powerCut(scenario: Scenario, unreachable: readonly number[]): boolean {
  for (const coordinator of scenario.cluster.coordinators) coordinator.kill();
  for (const member of scenario.cluster.members) {
    member.store.keepsNothing = true;
    member.stop(true);
    member.start();
  }
  scenario.cut(1, ...unreachable);
  scenario.coordinator(1).start();
  return tryActivate(scenario, 1, 30_000);
}

/** W5: a SYNC that one member alone has made durable. */
export const flushByOne: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.clogDown(0, 1);
  scenario.clogDown(0, 2);
  scenario.flush(first);
  scenario.run(20);
  powerCut(scenario, [0]);
};

/** W5: a member flushes before it has applied what came before the marker. */
export const flushBeforeOps: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.member(0).store.effectDelayMs = 2000;
  scenario.ok(scenario.write(first, 0)); // By 1 and 2.
  scenario.member(0).store.effectDelayMs = 0;
  scenario.clogDown(0, 2);
  scenario.flush(first); // By 1, and 0 if it does not wait.
  scenario.run(20);
  powerCut(scenario, [1]);
};

/** V6: all lose their caches, and nobody says so. */
export const cachesLost: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, blocks: 8, config: patient, trace });
  const first = scenario.activate(0);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  powerCut(scenario, []);
};

/**
 * C9: the power goes everywhere at each step of turning the write cache off, while a host writes; nobody need declare a loss from
 * the record on. `late`: one member does not store the record in time, and a re-activation adopts it (V8).
 */
function cacheTurnedOffUntil(
  rules: Rules,
  trace: boolean,
  late: boolean,
  cutAfterMs: number,
): boolean {
  const recordTimeoutMs = late ? 20 : patient.recordTimeoutMs;
  const config = { ...patient, recordTimeoutMs };
  const scenario = new Scenario({ rules, members: 3, blocks: 64, config, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  if (late) scenario.clogDown(0, 2);
  let isOff = false;
  first.event(() =>
    first.core!.putBlob(first.clock.now(), WRITE_CACHE_BLOB, Uint8Array.of(0), (error) => {
      isOff = error === null;
    }),
  );
  const { epoch } = first.core!;
  let lba = 0;
  const write = (): void => {
    lba = (lba + 2) % 64; // Apart, so that each is lost by itself.
    scenario.write(first, lba, 1, isOff);
    scenario.run(0.2);
  };
  if (late) {
    const isAnew = () => first.core!.epoch > epoch && first.core!.phase === CoordinatorPhase.Active;
    while (!isAnew()) write();
  }
  const endMs = scenario.nowMs + cutAfterMs;
  while (scenario.nowMs < endMs) write();
  if (!powerCut(scenario, [])) throw new Violation('nobody is active');
  return isOff;
}

export const cacheTurnedOff: Directed = (rules, trace = false) => {
  for (const late of [false, true]) {
    let stepsAfter = 0;
    for (let step = 0; stepsAfter < 5; step += 1) {
      if (step > 200) throw new Error('the write cache is still not off');
      if (cacheTurnedOffUntil(rules, trace, late, step * 0.2)) stepsAfter += 1;
    }
  }
};

/** B1: a member that was stale since an op loses that op with its cache while it is away. */
export const cacheLostWhileAway: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, blocks: 8, config: patient, trace });
  const first = scenario.activate(0);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  scenario.run(10);
  scenario.member(2).store.keepsNothing = true;
  scenario.member(2).stop(true);
  scenario.until('member 2 is away', () => first.core!.record!.members[2]!.state === 3);
  scenario.member(2).start();
  scenario.whole(0);
  for (let count = 0; count < 30; count += 1) scenario.ok(scenario.read(first, 0, 4));
};

/** B2: the joiner's own unacked write is on its own list alone. */
export const ownWrite: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.run(1500); // All hear that all have it (W10).
  scenario.clogDown(0, 1);
  scenario.clogDown(0, 2);
  scenario.write(first, 0); // Reaches member 0 alone.
  scenario.run(20);
  first.kill();
  scenario.cut(1, 0);
  const second = scenario.activate(1);
  scenario.join(1, 0);
  scenario.whole(1);
  for (let count = 0; count < 30; count += 1) scenario.ok(scenario.read(second, 0));
};

/** B5: promoted before the copies have come. */
export const promotedEarly: Directed = (rules, trace = false) => {
  const config = { ...patient, rebuildBytesPerSecond: 40_000 };
  const scenario = new Scenario({ rules, members: 3, blocks: 8, config, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.cut(0, 2);
  scenario.until('member 2 is away', () => first.core!.record!.members[2]!.state === 3);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  scenario.join(0, 2);
  scenario.whole(0);
  for (let count = 0; count < 30; count += 1) scenario.ok(scenario.read(first, 0, 4));
};

/** V8: a coordinator wakes after another has been active and gone; what its hosts wait for must not land now (C6). */
export const wakesAfterAnother: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  for (const member of [0, 1, 2]) scenario.clogDown(0, member);
  const old = scenario.write(first, 0);
  scenario.run(1);
  first.pause();
  const second = scenario.coordinator(1);
  second.start();
  if (!tryActivate(scenario, 1, 30_000)) throw new Violation('nobody took over');
  scenario.ok(scenario.write(second, 0));
  second.kill();
  for (const connection of [...scenario.cluster.network.connections]) {
    scenario.cluster.network.reset(connection);
  }
  scenario.run(6000);
  first.resume();
  scenario.run(20_000);
  if (old.status === IoStatus.Ok) throw new Violation('a write landed after a later epoch');
};

/** V3: a joiner loses the copies that took its own unacked write back; a record that it never stored calls it in sync. */
export const neverStored: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 5, coordinators: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.run(1500);
  for (const member of [1, 2, 3, 4]) scenario.clogDown(0, member);
  scenario.write(first, 0); // Reaches member 0 alone.
  scenario.run(20);
  first.kill();
  scenario.cut(1, 0);
  const second = scenario.activate(1);
  scenario.ok(scenario.read(second, 0));
  scenario.join(1, 0);
  const { store } = scenario.member(0);
  scenario.until('its write is taken back', () => store.cells[0]!.op === 1, 20_000);
  scenario.clogDown(1, 0);
  scenario.run(5);
  store.keepsNothing = true;
  scenario.member(0).stop(true);
  scenario.member(0).start();
  second.kill();
  scenario.cut(2, 4);
  scenario.coordinator(2).start();
  tryActivate(scenario, 2, 30_000);
};

/** R1, B3: an op below `j` is still under way into the stores when the source is asked what changed. */
export const slowSource: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.cut(0, 2);
  scenario.until('member 2 is away', () => first.core!.record!.members[2]!.state === 3);
  for (const member of [0, 1]) scenario.member(member).store.effectDelayMs = 3000;
  const late = scenario.write(first, 0);
  scenario.run(5);
  for (const member of [0, 1]) scenario.member(member).store.effectDelayMs = 0;
  scenario.join(0, 2);
  scenario.ok(late);
  scenario.whole(0);
  for (let count = 0; count < 30; count += 1) scenario.ok(scenario.read(first, 0));
};

/** B3: ops between the proposal of a joiner and its commit. */
export const opsMeanwhile: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.cut(0, 2);
  scenario.until('member 2 is away', () => first.core!.record!.members[2]!.state === 3);
  for (const member of [0, 1]) scenario.member(member).store.latencyMs = 60;
  scenario.join(0, 2);
  for (let count = 0; count < 300; count += 1) {
    if (first.core!.record!.members[2]!.state !== 3) break;
    scenario.write(first, count % 4);
    scenario.run(1);
  }
  for (const member of [0, 1]) scenario.member(member).store.latencyMs = 0.3;
  scenario.whole(0);
  scenario.run(100);
  for (let count = 0; count < 30; count += 1) scenario.ok(scenario.read(first, 0, 4));
};

/** R2: a joiner's record that one member in sync has not stored: that one has not flushed what the joiner's SYNC covers. */
export const committedByMajority: Directed = (rules, trace = false) => {
  const scenario = new Scenario({
    rules,
    members: 5,
    blocks: 8,
    config: { ...patient, rebuildBytesPerSecond: 1 },
    trace,
  });
  const first = scenario.activate(0);
  const states = (): number[] => first.core!.record!.members.map(({ state }) => state);
  const write = (): void => {
    for (const lba of APART) scenario.ok(scenario.write(first, lba));
  };
  write();
  scenario.cut(0, 3, 4);
  scenario.until('two are away', () => states()[3] === 3 && states()[4] === 3);
  write();
  scenario.run(5);
  scenario.clogDown(0, 2);
  scenario.join(0, 3);
  scenario.run(1000);
  scenario.flush(first);
  scenario.run(50);
  powerCut(scenario, [0, 1]);
};

/** V2: a stale member and the witness are a majority, and neither has the data. */
export const staleMajority: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, witness: true, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.cut(0, 1);
  scenario.until('member 1 is away', () => first.core!.record!.members[1]!.state === 3);
  scenario.ok(scenario.write(first, 0));
  scenario.ok(scenario.flush(first));
  first.kill();
  scenario.cut(1, 0);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 20_000);
};

export const DIRECTED = {
  staleMajority,
  wakesAfterAnother,
  neverStored,
  slowSource,
  opsMeanwhile,
  committedByMajority,
  swappedDisk,
  ackByOne,
  flushByOne,
  flushBeforeOps,
  cachesLost,
  cacheTurnedOff,
  cacheLostWhileAway,
  ownWrite,
  promotedEarly,
  forgottenPromise,
  promiseOvertakesOp,
  lateHeartbeats,
  minorityReads,
  stoppedClock,
  takeoverInsideLease,
  leaseForgotten,
  wakesWithAnswers,
  restoredImage,
  openedOften,
  settledTwice,
  flushCountsJoiner,
  recordOutOfOrder,
  twoMajorities,
  refusedSnapshot,
  heldByWord,
  missedSnapshots,
  missedInPieces,
  anotherCut,
  damagedAtSources,
  newestFails,
  silentSource,
  slowBranch,
  holesAboveCut,
  sourceComesBackBlank,
  lastHolder,
  witnessPair,
  lossFoundTwice,
  syncAcrossLoss,
  absentReturns,
  interruptedJoin,
  holesBeforeCommit,
  mendedTooLate,
  listerLostMap,
  joinerLostMap,
  nobodyHasMap,
  lostBesideKnown,
  lostInRecovery,
  lostWithRecord,
} as const;
export type DirectedName = keyof typeof DIRECTED;
