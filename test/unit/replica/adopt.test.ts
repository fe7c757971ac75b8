// Goal: the only copy of a volume becomes a replica with all that it held at the cut, as often as it takes; and one that a
// coordinator has had is never thrown away for it.
// Method: a host over a pool in memory.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { BlockOpKind } from '../../../src/block/index.ts';
import { APool, ID, STORE } from './adopting.ts';

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

test('the volume is not thrown away for a replica that is older', async () => {
  for (const [op, isNewVersion] of [
    [3, true],
    [2, false], // Opened anew, and its versions began at the cut's: the block tells.
  ] as const) {
    const a = new APool();
    const db = await a.begin();
    await a.io(db, BlockOpKind.Write, 3, 1, 0x33);
    await a.adopt(2);
    await a.record(2);
    await a.host.assertNewest(ID.volumeId, ID.replicaId, 'db');
    await a.io(db, BlockOpKind.Write, 3, op, 0x44);
    const older = /db was written to after replica r1 was made of it/;
    await assert.rejects(a.host.assertNewest(ID.volumeId, ID.replicaId, 'db'), older, `${op}`);
    await assert.rejects(a.host.dropAdopted(ID.volumeId, ID.replicaId, 'db'), older);
    assert.equal(await a.io(db, BlockOpKind.Read, 3, 0), 0x44, `new version: ${isNewVersion}`);
  }
});

test('its end that was interrupted half way goes on', async () => {
  const a = new APool();
  const db = await a.begin();
  await a.io(db, BlockOpKind.Write, 3, 1, 0x33);
  await a.adopt(2);
  await a.record(2);
  await a.pool.promoteVolume(STORE);
  await a.host.dropAdopted(ID.volumeId, ID.replicaId, 'db');
  assert.deepEqual(a.held, [STORE]);
});

test('what a try left goes without a trace, but not where it is all there is', async () => {
  const a = new APool();
  const db = await a.begin();
  await a.io(db, BlockOpKind.Write, 3, 1, 0x33);
  const isLeft = (): boolean => a.host.isAdopting(ID.volumeId, ID.replicaId, 'db');
  assert.equal(isLeft(), false);
  await a.adopt(2);
  await a.record(2);
  assert.equal(isLeft(), true);
  assert.deepEqual(a.host.snapshotsOf('db'), []);
  await a.host.discardAdopted(ID.volumeId, ID.replicaId, 'db');
  await a.host.discardAdopted(ID.volumeId, ID.replicaId, 'db'); // Done already is done.
  assert.equal(isLeft(), false);
  assert.deepEqual(a.held, ['db']);
  await a.adopt(2);
  await a.record(2);
  await a.host.dropAdopted(ID.volumeId, ID.replicaId, 'db');
  assert.equal(isLeft(), false);
  await assert.rejects(a.host.discardAdopted(ID.volumeId, ID.replicaId, 'db'), /there is no db/);
  assert.deepEqual(a.held, [STORE]);
});

test("a user's snapshot is none of a try's, whatever it is called", async () => {
  const a = new APool();
  await a.begin();
  const mine = { volume: 'db', name: 'adopted', id: randomUUID(), epoch: 1, opNumber: 1 };
  await a.pool.createSnapshots([mine], 0);
  assert.deepEqual(a.host.snapshotsOf('db'), ['adopted']);
  await assert.rejects(a.adopt(2), /has snapshots of its own/);
  assert.deepEqual(a.held, ['db', 'db@adopted']);
  assert.equal(a.pool.snapshot('db@adopted')?.id, mine.id);
});
