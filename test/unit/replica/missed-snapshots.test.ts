// Goal: what a replica keeps beside its volume to make up for snapshots that it missed (B6) goes when nobody needs it, whatever
// was interrupted, deleted, or under way just then.
// Method: an engine store, or a host with one, over a pool in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock, silentLog, Turn } from '../../../src/base/index.ts';
import { DataBufferPool, IoStatus } from '../../../src/block/index.ts';
import { EngineStore } from '../../../src/replica/engine-store.ts';
import { FoundDamage } from '../../../src/replica/found-damage.ts';
import { type HostedReplica, ReplicaHost } from '../../../src/replica/host.ts';
import type { MemberEvents } from '../../../src/replica/member-interfaces.ts';
import { MemoryPool, type StoreVolume } from '../../../src/store/index.ts';
import { CoreGate } from '../../../src/wire/index.ts';
import {
  type BranchSnapshot,
  type CoordinatorMessage,
  type MemberMessage,
  MessageType,
  type SealSnapshot,
} from '../../../src/wire/messages.ts';
import { initialRecord, type VolumeRecord } from '../../../src/wire/record.ts';
import { type Version, ZERO_VERSION } from '../../../src/wire/version.ts';

const VOLUME = 'replica/v/r1';
let uuids = 0;
function uuid(): string {
  uuids += 1;
  return `00000000-0000-4000-8000-${String(uuids).padStart(12, '0')}`;
}

const at = (op: number): Version => ({ epoch: 1, op });

/** A replica's store whose core is the test. */
class AStore {
  readonly pool: MemoryPool;
  readonly store: EngineStore;
  readonly volume: StoreVolume;
  #answered: (status: IoStatus, complete: boolean) => void = () => {};

  private constructor(volume: StoreVolume, pool: MemoryPool) {
    this.pool = pool;
    this.volume = volume;
    const turn = new Turn();
    this.store = new EngineStore({
      pool,
      volume,
      buffers: new DataBufferPool(new ArrayBuffer(32 * 2 ** 20)),
      turn,
      gate: new CoreGate(new SystemClock()),
      damage: new FoundDamage({ pool, clock: new SystemClock() }),
    });
    this.store.drive({
      onStoreDone: (_now: number, _token: number, status: IoStatus) =>
        this.#answered(status, false),
      onBranched: (_now: number, _token: number, status: IoStatus, complete: boolean) =>
        this.#answered(status, complete),
    } as MemberEvents);
  }

  static async make(): Promise<AStore> {
    const pool = new MemoryPool({ name: 'p' });
    const volume = await pool.createVolume({
      id: uuid(),
      name: VOLUME,
      sizeBlocks: 64,
      holeFloor: ZERO_VERSION,
    });
    return new AStore(volume, pool);
  }

  async #ok(call: () => void): Promise<boolean> {
    const [status, complete] = await new Promise<[IoStatus, boolean]>((resolve) => {
      this.#answered = (...answer) => resolve(answer);
      call();
    });
    assert.equal(status, IoStatus.Ok);
    return complete;
  }

  take = (id: string, op: number) => this.#ok(() => this.store.takeSnapshot(id, id, at(op), 1));
  branch = (id: string, op: number) => this.#ok(() => this.store.branchSnapshot(id, at(op), 1));
  seal = (id: string, op: number) => this.#ok(() => this.store.sealSnapshot(id, at(op), 1));

  /** A record that does not name them, but all else that is there. */
  async drop(...ids: string[]): Promise<void> {
    await this.#ok(() => this.keep(ids));
  }

  /** As `drop`, with the answer for whoever waits for one. */
  keep(dropped: readonly string[]): void {
    const { store } = this;
    const ids = [...store.snapshots(), ...store.branches()];
    const snapshots = ids
      .filter((id) => !dropped.includes(id))
      .map((id) => ({ id, name: id, createdMs: 0, version: at(1), sizeBlocks: 64, holders: [] }));
    const first = initialRecord({ volumeId: 'v', sizeBlocks: 64, members: [] });
    const unnamed = ids.filter((id) => dropped.includes(id));
    store.saveRecord({ ...first, snapshots }, ZERO_VERSION, ZERO_VERSION, unnamed, 1);
  }

  /** What the pool has beside the volume, by its names without `replica/v/r1` and `branch/v/r1/`. */
  left(): string[] {
    const volumes = this.pool.volumes().filter(({ name }) => name !== VOLUME);
    const all = [
      ...volumes.map(({ name }) => name),
      ...this.pool.volumes().flatMap(({ name }) => this.pool.snapshots(name).map((s) => s.name)),
    ];
    return all.map((name) => name.replace(VOLUME, '').replace('branch/v/r1/', '')).sort();
  }
}

test('a branch that was half made leaves no ground behind when it is made again from a newer snapshot', async () => {
  const a = await AStore.make();
  // Up to its last step: what it was made for is not there yet.
  const ground = { volume: VOLUME, name: '~s', id: uuid(), epoch: 1, opNumber: 20 };
  await a.pool.createSnapshots([ground], 0);
  await a.pool.cloneSnapshot(`${VOLUME}@~s`, { id: uuid(), name: 'branch/v/r1/s' });
  await a.take('t', 30);
  assert.equal(await a.branch('s', 10), false);
  assert.deepEqual(a.left(), ['@t', 's']);
  await a.seal('s', 10);
  assert.deepEqual([...a.store.snapshots()].sort(), ['s', 't']);
});

test('a deleted snapshot that was made up for goes, though an older one began from it', async () => {
  const a = await AStore.make();
  await a.branch('t', 30);
  await a.seal('t', 30);
  await a.branch('s', 20);
  await a.branch('r', 10);
  await a.seal('r', 10); // From what t was, beside s.
  assert.deepEqual(a.left(), ['@~t', 'r', 'r@r', 's', 't', 't@t']);
  await a.drop('t');
  assert.deepEqual([...a.store.snapshots()], ['r']);
  const shared = a.left().filter((name) => name.endsWith('@t'));
  assert.equal(shared.length, 1, 'two stand on it still');
  await a.seal('s', 20);
  await a.drop('s');
  assert.deepEqual(a.left(), ['@~t', 'r', 'r@r']);
  // The ground that r stands on now is no ground for t, should t be there once more: nobody knows for which cut it was made.
  await a.branch('t', 40);
  assert.deepEqual(a.left(), ['@~t', '@~t.1', 'r', 'r@r', 't']);
  await a.drop('t');
  await a.drop('r');
  assert.deepEqual(a.left(), []);
});

test('a snapshot of another cut is made anew, though an older one began from it', async () => {
  const a = await AStore.make();
  await a.branch('t', 30);
  await a.seal('t', 30);
  await a.branch('s', 20);
  assert.equal(await a.branch('t', 31), false);
  assert.deepEqual(
    a.store
      .branches()
      .filter((id) => !id.startsWith('t.'))
      .sort(),
    ['s', 't'],
  );
  await a.seal('s', 20);
  await a.seal('t', 31);
  await a.drop('s', 't');
  assert.deepEqual(a.left(), []);
});

/** A branch of `s` that is held up in its making until `goOn`; what happens there is answered in the order of the calls. */
async function aBranchUnderWay() {
  const a = await AStore.make();
  await a.take('t', 30);
  await a.take('u', 40);
  const { cloneSnapshot } = a.pool;
  let goOn: () => void = () => {};
  const mayGoOn = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  a.pool.cloneSnapshot = async (...of: Parameters<typeof cloneSnapshot>) => {
    await mayGoOn;
    return await cloneSnapshot.apply(a.pool, of);
  };
  a.store.branchSnapshot('s', at(10), 1);
  const ended = async (): Promise<void> => {
    goOn();
    await new Promise((resolve) => setTimeout(resolve, 20));
  };
  return { a, ended };
}

test('what a record does not name goes at the end of the branch that was under way, and the branch too', async () => {
  const { a, ended } = await aBranchUnderWay();
  await a.drop('u'); // Names neither `s`, which is not there yet.
  assert.deepEqual(a.left(), ['@t', '@u'], 'the record does not wait for the branch');
  await ended();
  assert.deepEqual(a.left(), ['@t']);
});

test('what the last record names stays at the end of a branch, and so does what was taken since', async () => {
  const { a, ended } = await aBranchUnderWay();
  await a.drop('t', 'u');
  await a.drop('t'); // It has `u` again.
  await a.take('t', 50); // And another `t`.
  await a.take('v', 60);
  await ended();
  assert.deepEqual(a.left(), ['@t', '@u', '@v']);
  assert.equal(a.pool.snapshot(`${VOLUME}@t`)?.snapshotInfo().op, 50);
});

function aHost(pool: MemoryPool): ReplicaHost {
  const host = new ReplicaHost({
    pool,
    buffers: new DataBufferPool(new ArrayBuffer(32 * 2 ** 20)),
    turn: new Turn(),
    clock: new SystemClock(),
    log: silentLog,
    leaseMs: 1000,
  });
  host.start();
  return host;
}

test('branches of a replica that is gone are deleted when the host starts', async () => {
  const pool = new MemoryPool({ name: 'p' });
  for (const name of ['branch/v/r1/s', 'branch/v/r2/s', 'replica/v/r2', 'branch-office']) {
    await pool.createVolume({ id: uuid(), name, sizeBlocks: 64, holeFloor: ZERO_VERSION });
  }
  const request = { volume: 'branch/v/r1/s', name: 's', id: uuid(), epoch: 1, opNumber: 5 };
  await pool.createSnapshots([request], 0);
  // What was made from one of them keeps what it stands on.
  await pool.cloneSnapshot('branch/v/r1/s@s', { id: uuid(), name: 'replica/w/r1' });
  const host = aHost(pool);
  await host.delete('v', 'r9', 1); // Behind what it does at the start.
  const names = pool.volumes().map(({ name }) => name);
  assert.deepEqual(names.sort(), [
    'branch-office',
    'branch/v/r2/s',
    'replica/v/r2',
    'replica/w/r1',
  ]);
  host.close();
});

/** A coordinator that has stored the record of epoch 1 there. */
async function aSession(replica: HostedReplica, first: VolumeRecord) {
  let answered: () => void = () => {};
  let last: MemberMessage | null = null;
  const session = replica.startSession({
    send: (message) => {
      last = message;
      answered();
    },
    close: () => {},
  });
  const ask = async (message: CoordinatorMessage): Promise<void> => {
    const answer = new Promise<void>((resolve) => {
      answered = resolve;
    });
    replica.onMessage(session, message);
    await answer;
    assert.notEqual(last?.type, MessageType.Refused);
  };
  const epoch = 1;
  const { volumeId, replicaId } = replica;
  await ask({ type: MessageType.Hello, volumeId, replicaId, coordinatorId: 'c' });
  await ask({ type: MessageType.StoreRecord, epoch, op: 0, record: { ...first, epoch } });
  let id = 0;
  const step = (type: BranchSnapshot['type'] | SealSnapshot['type']) => {
    return async (snapshotId: string, op: number): Promise<void> => {
      id += 1;
      await ask({ type, epoch, id, snapshotId, version: at(op) } as CoordinatorMessage);
    };
  };
  return { branch: step(MessageType.BranchSnapshot), seal: step(MessageType.SealSnapshot) };
}

test('a replica that is deleted while it makes a branch leaves none behind', async () => {
  const pool = new MemoryPool({ name: 'p' });
  const host = aHost(pool);
  const wanted = { volumeId: 'v', replicaId: 'r1', sizeBlocks: 64, witness: false, source: null };
  const replica = await host.create(wanted);
  const { storeId, openId, bootId } = replica.identity.identity;
  const member = { replicaId: 'r1', storeId, openId, bootId, witness: false };
  const first = initialRecord({ volumeId: 'v', sizeBlocks: 64, members: [member] });
  await host.begin(first, 'r1');

  // Two branches are there. The third is being made, and is there when the second goes.
  const coordinator = await aSession(replica, first);
  for (const [id, op] of [
    ['u', 30],
    ['t', 20],
  ] as const) {
    await coordinator.branch(id, op);
    await coordinator.seal(id, op);
  }
  const { cloneSnapshot, deleteVolume } = pool;
  let goOn: () => void = () => {};
  const mayGoOn = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let cloned: Promise<unknown> = Promise.resolve();
  pool.cloneSnapshot = async (...of: Parameters<typeof cloneSnapshot>) => {
    await mayGoOn;
    const made = cloneSnapshot.apply(pool, of);
    cloned = made;
    return await made;
  };
  pool.deleteVolume = async (...of: Parameters<typeof deleteVolume>) => {
    goOn();
    await mayGoOn;
    await cloned;
    await deleteVolume.apply(pool, of);
  };
  void coordinator.branch('s', 10);
  await new Promise((resolve) => setImmediate(resolve));
  const deleted = host.delete('v', 'r1', 5);
  setTimeout(goOn, 50);
  await deleted;
  await cloned;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(
    pool.volumes().map(({ name }) => name),
    [],
  );
  host.close();
});
