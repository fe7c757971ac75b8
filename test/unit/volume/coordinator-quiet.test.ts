// Goal: a volume that nobody uses costs next to nothing, and nobody who comes back to it notices more than a round trip.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoStatus } from '../../../src/block/index.ts';
import { CoordinatorPhase } from '../../../src/volume/coordinator/interfaces.ts';
import { MessageType } from '../../../src/wire/messages.ts';
import { MemberState } from '../../../src/wire/record.ts';
import { Scenario } from '../../sim/scenario.ts';

function aVolume() {
  const scenario = new Scenario({
    members: 3,
    config: {
      holdMs: 300_000,
      lagMs: 5000,
      promiseWaitMs: 200,
      quietAfterMs: 5000,
      quietHeartbeatMs: 10_000,
    },
  });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  const sent = { heartbeats: 0, reads: 0 };
  const { network } = scenario.cluster;
  const send = network.send.bind(network);
  network.send = (connection, toMember, message) => {
    if (toMember && message.type === MessageType.Heartbeat) sent.heartbeats += 1;
    if (toMember && message.type === MessageType.Read) sent.reads += 1;
    send(connection, toMember, message);
  };
  const heartbeatsIn = (ms: number): number => {
    sent.heartbeats = 0;
    scenario.run(ms);
    return sent.heartbeats;
  };
  return { scenario, coordinator, sent, heartbeatsIn };
}

test('heartbeats of a volume that nobody uses become rare, and come back with its use', () => {
  const { scenario, coordinator, heartbeatsIn } = aVolume();
  scenario.ok(scenario.write(coordinator, 0));
  assert.ok(heartbeatsIn(4000) >= 9, 'three members, every second');
  scenario.run(10_000);
  const quiet = heartbeatsIn(60_000);
  assert.ok(quiet >= 15 && quiet <= 21, `${quiet} heartbeats in a minute`);
  for (let second = 0; second < 10; second += 1) {
    scenario.ok(scenario.read(coordinator, 0));
    scenario.run(1000);
  }
  assert.ok(heartbeatsIn(4000) >= 9);
});

test('after the lease has lapsed a read waits for a new one, and is answered within two round trips (E3)', () => {
  const { scenario, coordinator, sent } = aVolume();
  scenario.ok(scenario.write(coordinator, 0));
  scenario.run(29_000); // Between two rare heartbeats: no lease.
  sent.reads = 0;
  const read = scenario.read(coordinator, 0);
  assert.equal(sent.reads, 0, 'nothing is read without a lease');
  scenario.run(200);
  assert.equal(read.status, IoStatus.Ok);
});

test('a write after a quiet time is acknowledged under a new lease (E5)', () => {
  const { scenario, coordinator } = aVolume();
  scenario.run(29_000);
  const write = scenario.write(coordinator, 1);
  assert.equal(write.status, null);
  scenario.run(200);
  assert.equal(write.status, IoStatus.Ok);
});

test('what is mapped is told though a member goes away while the question waits for a lease', () => {
  const { scenario, coordinator } = aVolume();
  scenario.ok(scenario.write(coordinator, 1));
  scenario.run(29_000);
  const { network } = scenario.cluster;
  const [lost] = [...network.connections].filter(({ member }) => member === 2);
  let found: readonly number[] | null | undefined;
  coordinator.event(() => {
    coordinator.core!.listMapped(coordinator.clock.now(), 0, 16, (runs) => {
      found = runs === null ? null : [...runs.lbas];
    });
    // Before any heartbeat can be answered.
    lost!.onEndCoordinator();
  });
  scenario.run(200);
  assert.deepEqual(found, [1]);
});

test('who asks after a quiet time whether the volume is still served from here hears it under a new lease (E5)', () => {
  const { scenario, coordinator } = aVolume();
  scenario.ok(scenario.write(coordinator, 1));
  const ask = (): { answer: boolean | null } => {
    const asked: { answer: boolean | null } = { answer: null };
    coordinator.event(() =>
      coordinator.core!.confirm(coordinator.clock.now(), (serves) => {
        asked.answer = serves;
      }),
    );
    return asked;
  };
  assert.equal(ask().answer, true, 'under a lease at once');
  scenario.run(29_000);
  const asked = ask();
  assert.equal(asked.answer, null);
  scenario.run(200);
  assert.equal(asked.answer, true);

  // Another takes the volume over in a quiet time, and this one has not heard of it yet.
  scenario.run(29_000);
  const next = scenario.activate(1);
  scenario.ok(scenario.write(next, 1));
  assert.equal(
    coordinator.core?.phase,
    CoordinatorPhase.Active,
    'it takes itself for the active one',
  );
  const late = ask();
  assert.equal(late.answer, null);
  scenario.until('it is told', () => late.answer !== null);
  assert.equal(late.answer, false);
});

test('a replica is not late because nobody asked it for long; one that dies in a quiet time is left out (W4)', () => {
  const { scenario, coordinator } = aVolume();
  const states = (): number[] => coordinator.core!.record!.members.map(({ state }) => state).sort();
  const { InSync, Stale } = MemberState;
  scenario.run(300_000);
  assert.deepEqual(states(), [InSync, InSync, InSync]);
  scenario.clogDown(0, 2); // It hears nothing any more, and its connection stands.
  let left = 0;
  for (let ms = 0; ms < 20_000 && left === 0; ms += 100) {
    scenario.run(100);
    left = states().filter((state) => state === Stale).length;
  }
  assert.equal(left, 1);
});

test('a snapshot that is cut at once wakes a quiet volume, as any other use does', () => {
  const { scenario, coordinator, heartbeatsIn } = aVolume();
  scenario.ok(scenario.write(coordinator, 0));
  scenario.run(29_000);
  assert.equal(heartbeatsIn(200), 0, 'it is quiet');
  let ended: string | null | undefined;
  coordinator.event(() => {
    const cut = { id: 's', name: 's', createdMs: 0 };
    const { core, clock } = coordinator;
    const isBegun = core!.takeSnapshotNow(clock.now(), cut, (error) => {
      ended = error;
      scenario.cluster.snapshots.onTaken('s', core!.record!);
    });
    assert.ok(isBegun);
  });
  scenario.run(200);
  assert.equal(ended, null);
  assert.ok(heartbeatsIn(4000) >= 9);
});

test('a member that makes up for a snapshot is a use of the volume', () => {
  const { scenario, coordinator, heartbeatsIn } = aVolume();
  scenario.ok(scenario.write(coordinator, 0));
  scenario.cut(0, 2);
  const members = () => coordinator.core!.record!.members;
  scenario.until('it is out', () => members()[2]!.state === MemberState.Stale);
  let taken = false;
  coordinator.event(() => {
    const { core, clock } = coordinator;
    core!.takeSnapshot(clock.now(), { id: 's', name: 's', createdMs: 0 }, (error) => {
      assert.equal(error, null);
      scenario.cluster.snapshots.onTaken('s', core!.record!);
      taken = true;
    });
  });
  scenario.until('it is taken', () => taken);
  scenario.run(10_000);
  scenario.join(0, 2);
  const holders = () => coordinator.core!.record!.snapshots[0]!.holders.length;
  scenario.until('all hold it', () => holders() === 3);
  assert.ok(heartbeatsIn(4000) >= 9);
  scenario.run(20_000);
  assert.ok(heartbeatsIn(60_000) <= 21, 'and nothing else uses it afterwards');
});
