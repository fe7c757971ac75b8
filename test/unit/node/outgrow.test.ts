// Goal: a volume of one replica that is to have others is never served, nor deleted, as what it is not: whatever of a change
// of its status was sent before a restart. A try that came to nothing leaves nothing, and hosts are not kept away in vain.
// Method: a pool in memory with its replicas; objects as the node sees them, and as they are.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { silentLog } from '../../../src/base/index.ts';
import { BlockOpKind } from '../../../src/block/index.ts';
import { Finalizer, Writer } from '../../../src/controllers/index.ts';
import { REPLICA, type Volume as VolumeObject } from '../../../src/kinds/index.ts';
import { Outgrowing } from '../../../src/node/agent/outgrow.ts';
import { ReplicaKeeper } from '../../../src/node/agent/replicas.ts';
import type { NodeSurroundings, OpenPools } from '../../../src/node/agent/surroundings.ts';
import type { Volume } from '../../../src/volume/index.ts';
import { APool } from '../replica/adopting.ts';

const UID = randomUUID();
const REPLICA_UID = randomUUID();
const ID = `r-${REPLICA_UID}`;
const STORE = `replica/${UID}/${ID}`;
const deletionTimestamp = '2026-11-01T00:00:00Z';

class ANode {
  readonly a = new APool();
  nowMs = 0;
  /** What the API says, which the node's view may be behind of. */
  live: VolumeObject;
  seen: VolumeObject;
  readonly replica = {
    metadata: { name: 'db-p', uid: REPLICA_UID, finalizers: [Finalizer.Replica] } as object,
    spec: { volumeName: 'db', nodeName: 'n', poolName: 'p' },
  };
  statusWrites = 0;
  onWrite: () => void = () => {};
  made: () => Promise<void> = async () => {};
  outgrowing: Outgrowing;
  readonly around: NodeSurroundings;
  readonly open: OpenPools;
  readonly writer: Writer;

  constructor() {
    this.live = {
      metadata: { name: 'db', uid: UID },
      spec: { size: '256Ki' },
      status: {
        mode: 'single',
        members: [{ id: ID, replica: 'db-p' }],
        target: { nodeName: 'n', epoch: 1 },
        replicas: { wanted: 2, placed: 1, inSync: 1, places: 1 },
      },
    } as unknown as VolumeObject;
    this.seen = structuredClone(this.live);
    const now = (): Date => new Date(this.nowMs);
    const client = {
      get: async () => structuredClone(this.live),
      update: async (_kind: unknown, object: object) => object,
      updateStatus: async (_kind: unknown, object: VolumeObject) => {
        this.statusWrites += 1;
        this.onWrite();
        this.live = object;
        return object;
      },
    };
    this.around = {
      nodeName: 'n',
      isAlone: false,
      client,
      clock: { nowMs: () => this.nowMs },
      now,
      log: silentLog,
      events: { record: () => {} },
      replication: { make: async () => await this.made() },
      catalog: {
        get: (kind: unknown) => (kind === REPLICA ? this.replica : this.seen),
        where: ({ kind }: { kind: unknown }) => (kind === REPLICA ? [this.replica] : []),
        all: () => [],
      },
    } as unknown as NodeSurroundings;
    const { pool, host } = this.a;
    const found = { pool, replicas: { host }, replicaAddress: '127.0.0.1:1' };
    this.open = { find: () => found } as unknown as OpenPools;
    this.writer = new Writer(this.around as never);
    this.outgrowing = this.restarted();
  }

  async begin(): Promise<void> {
    const db = await this.a.begin(REPLICA_UID);
    await this.a.io(db, BlockOpKind.Write, 3, 1, 0x33);
  }

  /** What a process that was started anew knows. */
  restarted(): Outgrowing {
    this.outgrowing = new Outgrowing(this.around, this.open, this.writer);
    return this.outgrowing;
  }

  outgrow(op = 2): Promise<void> {
    const volume = { keptBlobs: () => [], store: this.a.pool.volume('db')! };
    const version = { epoch: 1, opNumber: op };
    return this.outgrowing.begin(this.seen, volume as unknown as Volume, version);
  }

  keeper(): ReplicaKeeper {
    const serving = { isServed: () => false, volume: () => null };
    return new ReplicaKeeper(this.around, this.open, this.writer, serving);
  }
}

/** The change is sent, nobody hears what became of it, and the node is started anew. */
async function killedAfterSending(): Promise<ANode> {
  const node = new ANode();
  await node.begin();
  const before = structuredClone(node.live);
  await node.outgrow();
  node.live = before;
  node.statusWrites = 0;
  node.restarted();
  return node;
}

test('after a restart, a change that was made already is seen before the volume is served in place', async () => {
  const node = await killedAfterSending();
  node.live.status!.mode = 'replicated';
  assert.equal(await node.outgrowing.isUndecided(node.seen), true);
  assert.equal(node.statusWrites, 0);
  assert.deepEqual(node.a.held, ['db', 'db@_adopted', STORE]);
});

test('one that may still be made is fenced before the volume is served in place, once', async () => {
  const node = await killedAfterSending();
  node.onWrite = () => assert.equal(node.a.held.length, 3, 'nothing goes before the fence');
  assert.equal(await node.outgrowing.isUndecided(node.seen), false);
  assert.equal(node.statusWrites, 1);
  assert.deepEqual(node.a.held, ['db'], 'what the try left is gone');
  assert.equal(await node.outgrowing.isUndecided(node.seen), false);
  assert.equal(node.statusWrites, 1);
});

test('where the fence is refused the volume is not served', async () => {
  const node = await killedAfterSending();
  node.onWrite = () => {
    throw new Error('the object has been modified');
  };
  await assert.rejects(node.outgrowing.isUndecided(node.seen), /has been modified/);
  assert.equal(node.a.held.length, 3);
});

test('a try that fails before its change is sent leaves nothing; the pause doubles, up to an hour', async () => {
  const node = new ANode();
  await node.begin();
  node.made = async () => {
    throw new Error('no room');
  };
  for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60]) {
    await assert.rejects(node.outgrow(), /no room/);
    assert.deepEqual(node.a.held, ['db']);
    node.nowMs += minutes * 60_000 - 1;
    assert.match(node.outgrowing.hindrance(node.seen), /its first record: no room/);
    node.nowMs += 1;
    assert.equal(node.outgrowing.hindrance(node.seen), '', `after ${minutes} minutes`);
  }
  assert.equal(node.statusWrites, 0);
});

test('a volume that is not what it was decided on leaves nothing either', async () => {
  const node = new ANode();
  await node.begin();
  node.live.status!.target!.epoch = 2;
  await node.outgrow();
  assert.deepEqual(node.a.held, ['db']);
});

test('a replica that its volume has already is not taken away', async () => {
  const node = new ANode();
  await node.begin();
  node.live.status!.mode = 'replicated';
  await node.outgrow();
  assert.ok(node.a.held.includes(STORE));
});

test('what the pool would refuse is known before hosts are kept away', async () => {
  const node = new ANode();
  await node.begin();
  const left = { volume: 'db', name: 'copy-x', id: randomUUID(), epoch: 1, opNumber: 2 };
  await node.a.pool.createSnapshots([left], 0);
  assert.match(
    node.outgrowing.hindrance(node.seen),
    /pool p has snapshots of it that no object names \(copy-x\)/,
  );
});

test('others are wanted where the controllers have a place for one, and not else', async () => {
  const node = new ANode();
  await node.begin();
  const policy = { replicaCount: 2 };
  assert.equal(node.outgrowing.isWanted(node.seen, policy), true);
  assert.equal(node.outgrowing.isWanted(node.seen, { replicaCount: 1 }), false);
  delete node.seen.status!.replicas!.places;
  assert.equal(node.outgrowing.isWanted(node.seen, policy), false);
});

test('a volume with what a try left is deleted all the same', async () => {
  const node = await killedAfterSending();
  Object.assign(node.replica.metadata, { deletionTimestamp });
  Object.assign(node.seen.metadata, { deletionTimestamp });
  await node.keeper().reconcile('db-p');
  assert.deepEqual(node.a.held, []);
});

test('what a copy that was interrupted left of its source goes when it is looked at again', async () => {
  const node = new ANode();
  await node.begin();
  const { pool } = node.a;
  await pool.createVolume({ id: randomUUID(), name: 'source', sizeBlocks: 64 });
  const left = { volume: 'source', name: `copy-${UID}`, id: randomUUID(), epoch: 1, opNumber: 1 };
  await pool.createSnapshots([left], 0);
  node.seen.spec.source = { volume: 'source' };
  const isFilled = (done: () => void) =>
    pool.volume('db')!.putBlob('ashlar.filled', Uint8Array.of(1), done);
  await new Promise<void>(isFilled);
  await node.keeper().reconcile('db-p');
  assert.deepEqual(node.a.held, ['db', 'source']);
});
