// Goal: a volume's policies change while it is served, for what is under way too: acks, reads, how late a replica may be,
// how long commands are held.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoStatus } from '../../../src/block/index.ts';
import {
  type CoordinatorPolicy,
  ReadPolicy,
  SyncPolicy,
} from '../../../src/volume/coordinator/interfaces.ts';
import { MessageType } from '../../../src/wire/messages.ts';
import { MemberState } from '../../../src/wire/record.ts';
import { Scenario } from '../../sim/scenario.ts';

const patient: CoordinatorPolicy = {
  syncPolicy: SyncPolicy.All,
  readPolicy: ReadPolicy.RoundRobin,
  localReplicaId: null,
  lagMs: 300_000,
  holdMs: 300_000,
  hedgeMs: 0,
};

function aVolume() {
  const scenario = new Scenario({
    members: 3,
    config: { ...patient, recordTimeoutMs: 300_000, promiseWaitMs: 200 },
  });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  const configure = (change: Partial<CoordinatorPolicy>): void =>
    coordinator.event(() =>
      coordinator.core!.configure(coordinator.clock.now(), { ...patient, ...change }),
    );
  return { scenario, coordinator, configure };
}

test('from all to quorum: what waits for a slow replica is answered at once; and back', () => {
  const { scenario, coordinator, configure } = aVolume();
  scenario.clogDown(0, 2);
  const waiting = scenario.write(coordinator, 0);
  scenario.run(1000);
  assert.equal(waiting.status, null);
  configure({ syncPolicy: SyncPolicy.Quorum });
  assert.equal(waiting.status, IoStatus.Ok);
  scenario.ok(scenario.write(coordinator, 1));
  configure({});
  const again = scenario.write(coordinator, 2);
  scenario.run(1000);
  assert.equal(again.status, null);
});

test('a shorter I/O timeout leaves the slow replica out', () => {
  const { scenario, coordinator, configure } = aVolume();
  scenario.clogDown(0, 2);
  const waiting = scenario.write(coordinator, 0);
  scenario.run(1000);
  assert.equal(waiting.status, null);
  configure({ lagMs: 500 });
  scenario.ok(waiting);
  const { members } = coordinator.core!.record!;
  assert.equal(members.filter(({ state }) => state === MemberState.Stale).length, 1);
});

test('a shorter hold ends the sessions that have waited long enough already', () => {
  const { scenario, coordinator, configure } = aVolume();
  scenario.member(1).stop(false);
  scenario.member(2).stop(false);
  const held = scenario.write(coordinator, 0);
  scenario.run(5000);
  assert.equal(held.status, null);
  configure({ holdMs: 2000 });
  scenario.run(200);
  assert.equal(held.status, 'silent');
});

test('localFirst asks the replica here, roundRobin each in turn', () => {
  const { scenario, coordinator, configure } = aVolume();
  const asked = new Set<number>();
  const { network } = scenario.cluster;
  const send = network.send.bind(network);
  network.send = (connection, toMember, message) => {
    if (toMember && message.type === MessageType.Read) asked.add(connection.member);
    send(connection, toMember, message);
  };
  const readSome = (): number[] => {
    asked.clear();
    for (let n = 0; n < 12; n += 1) scenario.ok(scenario.read(coordinator, n % 4));
    return [...asked].sort();
  };
  assert.deepEqual(readSome(), [0, 1, 2]);
  const localReplicaId = coordinator.core!.record!.members[1]!.replicaId;
  configure({ readPolicy: ReadPolicy.LocalFirst, localReplicaId });
  assert.deepEqual(readSome(), [1]);
  configure({});
  assert.deepEqual(readSome(), [0, 1, 2]);
});

/** Whom reads are asked of, as they are sent, by a volume whose messages take `delayMs`. */
function leastOutstanding(delayMs: number) {
  const { scenario, coordinator, configure } = aVolume();
  configure({ readPolicy: ReadPolicy.LeastOutstanding });
  const asked: number[] = [];
  const { network } = scenario.cluster;
  network.options.minDelayMs = delayMs;
  network.options.maxDelayMs = delayMs;
  const send = network.send.bind(network);
  network.send = (connection, toMember, message) => {
    if (toMember && message.type === MessageType.Read) asked.push(connection.member);
    send(connection, toMember, message);
  };
  const readOneByOne = (): void => {
    for (let n = 0; n < 6; n += 1) scenario.ok(scenario.read(coordinator, n % 4));
  };
  const readAtOnce = (count: number): void => {
    asked.length = 0;
    const all = Array.from({ length: count }, (_, n) => scenario.read(coordinator, n % 4));
    for (const one of all) scenario.ok(one);
  };
  const countOf = (member: number): number => asked.filter((one) => one === member).length;
  return { scenario, coordinator, asked, readOneByOne, readAtOnce, countOf };
}

test('leastOutstanding asks each in turn one at a time, and in runs what is asked for in one go', () => {
  const { asked, readOneByOne, readAtOnce, countOf } = leastOutstanding(2);
  readOneByOne();
  assert.deepEqual([...asked].sort(), [0, 0, 1, 1, 2, 2]);
  readAtOnce(48);
  const runs = asked.filter((member, at) => member !== asked[at - 1]).length;
  assert.ok(runs <= 16, `${runs} runs: ${asked}`);
  for (const member of [0, 1, 2]) {
    const count = countOf(member);
    assert.ok(count >= 5 && count <= 32, `${count} of 48 to member ${member}`);
  }
});

test('where reads are quick leastOutstanding keeps to one member while that has little more to do than others', () => {
  const { asked, readOneByOne, readAtOnce, countOf } = leastOutstanding(0.05);
  readOneByOne();
  for (const member of [0, 1, 2]) assert.ok(countOf(member) >= 2, `one by one: ${asked}`);
  for (let round = 0; round < 8; round += 1) readAtOnce(32); // Until the depth is known.
  const most = Math.max(...[0, 1, 2].map(countOf));
  assert.ok(most >= 24, `${most} of 32 in one run: ${asked}`);
  // As far ahead of the others as it may be: the rest is theirs.
  readAtOnce(240);
  for (const member of [0, 1, 2]) {
    const count = countOf(member);
    assert.ok(count >= 40 && count <= 160, `${count} of 240 to member ${member}`);
  }
});

test('where reads are quick a member that stands still holds up no read for long', () => {
  const { scenario, readAtOnce, countOf, coordinator } = leastOutstanding(0.05);
  for (let round = 0; round < 8; round += 1) readAtOnce(32);
  const counts = [0, 1, 2].map(countOf);
  const busiest = counts.indexOf(Math.max(...counts));
  // The run goes on there.
  scenario.member(busiest).pause();
  const started = scenario.read(coordinator, 0);
  const all = [started, ...Array.from({ length: 31 }, (_, n) => scenario.read(coordinator, n % 4))];
  scenario.run(400);
  assert.deepEqual([...new Set(all.map(({ status }) => status))], [IoStatus.Ok]);
});

test('what was sent while the coordinator stood still is not counted against who answered in time', () => {
  const { scenario, coordinator, configure } = aVolume();
  configure({ lagMs: 5000 });
  const { epoch } = coordinator.core!;
  const write = scenario.write(coordinator, 1);
  scenario.run(0.2);
  coordinator.pause();
  scenario.run(8000);
  // Timers fire before sockets are read.
  coordinator.core!.tick(coordinator.clock.now());
  coordinator.resume();
  scenario.ok(write);
  assert.equal(coordinator.core!.epoch, epoch);
  assert.ok(coordinator.core!.record!.members.every(({ state }) => state === MemberState.InSync));
});
