// Goal: the only copy of a volume becomes a replica with all that it held at the cut, as often as it takes; and one that a
// coordinator has had is never thrown away for it.
// Method: a host over a pool in memory.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { SystemClock, silentLog, Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  DataBufferPool,
  IoStatus,
  MAX_BUFFER_BYTES,
} from '../../../src/block/index.ts';
import { ReplicaHost } from '../../../src/replica/host.ts';
import { MemoryPool, type StoreVolume } from '../../../src/store/index.ts';
import { initialRecord } from '../../../src/wire/record.ts';

const ID = { volumeId: 'v-uid', replicaId: 'r1' };
const STORE = 'replica/v-uid/r1';

class APool {
  readonly turn = new Turn();
  readonly pool = new MemoryPool({ name: 'p', turn: this.turn });
  readonly buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 4));
  readonly host = new ReplicaHost({
    pool: this.pool,
    buffers: this.buffers,
    turn: this.turn,
    clock: new SystemClock(),
    log: silentLog,
    leaseMs: 1000,
  });

  async begin(): Promise<StoreVolume> {
    this.host.start();
    return await this.pool.createVolume({ id: randomUUID(), name: 'db', sizeBlocks: 64 });
  }

  async io(volume: StoreVolume, kind: BlockOpKind, lba: number, op: number, byte = 0) {
    const data = this.buffers.allocate(4096)!;
    data.bytes.fill(byte, 0, 4096);
    const status = await new Promise<IoStatus>((resolve) => {
      const owner = { onBlockDone: (_op: BlockOp, ended: IoStatus) => resolve(ended) };
      const block = new BlockOp().begin(kind, lba, 1, data, 0, false, owner);
      block.lower = owner;
      this.turn.enter();
      volume.submit(block, 1, op);
      this.turn.leave();
    });
    assert.equal(status, IoStatus.Ok);
    const [first] = data.bytes;
    data.release();
    return first;
  }

  adopt(op: number): Promise<void> {
    return this.host.adopt({ ...ID, from: 'db', version: { epoch: 1, op } });
  }

  async record(op: number): Promise<void> {
    const { identity } = this.host.find(ID.volumeId, ID.replicaId)!.identity;
    const { storeId, openId, bootId } = identity;
    const member = { replicaId: ID.replicaId, storeId, openId, bootId, witness: false };
    const base = { epoch: 1, op };
    const blobs = [{ key: 'scsi.pr', value: Uint8Array.of(7) }];
    const of = { volumeId: ID.volumeId, sizeBlocks: 64, members: [member], base, blobs };
    await this.host.begin(initialRecord(of), ID.replicaId);
  }

  get store(): StoreVolume {
    return this.pool.volume(STORE)!;
  }
}

test('what it held at the cut is the replica, with its first record; then it stands alone', async () => {
  const a = new APool();
  const db = await a.begin();
  await a.io(db, BlockOpKind.Write, 3, 1, 0x33);
  await a.adopt(2);
  await a.record(2);
  const { record, promised } = a.host.find(ID.volumeId, ID.replicaId)!;
  assert.deepEqual(record?.allApplied, { epoch: 1, op: 2 });
  assert.deepEqual(
    record?.blobs.map(({ key }) => key),
    ['scsi.pr'],
  );
  assert.equal(promised, 1);
  await a.host.dropAdopted(ID.volumeId, ID.replicaId, 'db');
  await a.host.dropAdopted(ID.volumeId, ID.replicaId, 'db'); // Done already is done.
  assert.deepEqual(
    a.pool.volumes().map(({ name }) => name),
    [STORE],
  );
  assert.deepEqual(a.pool.snapshots(STORE), []);
  assert.equal(await a.io(a.store, BlockOpKind.Read, 3, 0), 0x33);
});

test('interrupted before anybody was told, it is made anew of what the volume holds then', async () => {
  const a = new APool();
  const db = await a.begin();
  await a.io(db, BlockOpKind.Write, 3, 1, 0x33);
  await a.adopt(2);
  await a.record(2);
  // The volume was served again, and written to.
  await a.io(db, BlockOpKind.Write, 3, 3, 0x44);
  await a.adopt(4);
  await a.record(4);
  assert.equal(await a.io(a.store, BlockOpKind.Read, 3, 0), 0x44);
  assert.equal(a.pool.snapshots('db').length, 1);
});

test('a replica that a coordinator has had is not thrown away', async () => {
  const a = new APool();
  const db = await a.begin();
  await a.io(db, BlockOpKind.Write, 3, 1, 0x33);
  await a.adopt(2);
  await a.record(2);
  a.host.close();
  const promise = Buffer.alloc(4);
  promise.writeUInt32LE(2);
  await new Promise((resolve) => a.store.putBlob('replica.promise', promise, resolve));
  a.host.start();
  await assert.rejects(a.adopt(5), /has been coordinated already/);
  assert.equal(await a.io(a.store, BlockOpKind.Read, 3, 0), 0x33);
});

test('a volume with snapshots of its own is left as it is', async () => {
  const a = new APool();
  await a.begin();
  const mine = { volume: 'db', name: 'mine', id: randomUUID(), epoch: 1, opNumber: 1 };
  await a.pool.createSnapshots([mine], 0);
  await assert.rejects(a.adopt(2), /has snapshots of its own/);
  assert.equal(a.pool.volume(STORE), null);
  // Nothing of the try stays behind.
  assert.deepEqual(
    a.pool.snapshots('db').map(({ name }) => name),
    ['db@mine'],
  );
});
