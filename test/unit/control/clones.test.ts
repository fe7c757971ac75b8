// Goal: what becomes of snapshots: clones, rollback, promotion, differences; and a clone that a crash cut short is gone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockOp, BlockOpKind, DataBufferPool, IoStatus } from '../../../src/block/index.ts';
import { aController, aManifest, anApi } from './builders.ts';

const SNAPSHOTS = '/apis/ashlar.io/v1/snapshots';
const VOLUMES = '/apis/ashlar.io/v1/volumes';

async function withSnapshot() {
  const under = await anApi();
  const post = (url: string, payload: object) => under.app.inject({ method: 'POST', url, payload });
  assert.equal((await post(VOLUMES, aManifest('db'))).statusCode, 201);
  const buffers = new DataBufferPool(new ArrayBuffer(4 * 2 ** 20));
  const buffer = buffers.allocate(4096)!;
  const io = (name: string, kind: BlockOpKind, fill?: number): Promise<number> => {
    const { volume } = under.exporter.exposed.get(`iqn.2026-11.io.ashlar:${name}`)!;
    if (fill !== undefined) buffer.bytes.fill(fill);
    return new Promise((resolve, reject) => {
      const op = new BlockOp();
      const owner = {
        onBlockDone: (_op: BlockOp, status: IoStatus) =>
          status === IoStatus.Ok ? resolve(buffer.bytes[0]!) : reject(new Error(String(status))),
      };
      op.begin(kind, 0, 1, buffer, 0, false, owner);
      volume.submit(op);
    });
  };
  const write = (name: string, fill: number) => io(name, BlockOpKind.Write, fill);
  const read = (name: string) => io(name, BlockOpKind.Read);
  await write('db', 1);
  const taken = await post(SNAPSHOTS, { metadata: { name: 'db.one' }, spec: { volumeName: 'db' } });
  assert.equal(taken.statusCode, 201, taken.body);
  await write('db', 2);
  return { ...under, post, write, read };
}

test('a clone begins as its snapshot, and holds it until it is promoted', async () => {
  const { app, post, read, write } = await withSnapshot();
  const spec = { source: { snapshot: 'db@one' } };
  const small = await post(VOLUMES, aManifest('copy', { ...spec, size: '32Mi' }));
  assert.equal(small.json().details.causes[0].field, 'spec.size', small.body);
  const missing = await post(VOLUMES, aManifest('copy', { source: { snapshot: 'db@none' } }));
  assert.equal(missing.json().details.causes[0].field, 'spec.source.snapshot', missing.body);
  const made = await post(VOLUMES, aManifest('copy', { ...spec, size: '96Mi' }));
  assert.equal(made.statusCode, 201, made.body);
  assert.equal(await read('copy'), 1);
  await write('copy', 7);
  assert.deepEqual([await read('copy'), await read('db')], [7, 2]);
  const held = await app.inject({ method: 'DELETE', url: `${SNAPSHOTS}/db.one` });
  assert.equal(held.statusCode, 409);
  assert.equal((await post(`${VOLUMES}/copy/promote`, {})).statusCode, 200);
  assert.equal((await app.inject(`${SNAPSHOTS}/copy.one`)).statusCode, 200);
  assert.equal((await app.inject({ method: 'DELETE', url: `${VOLUMES}/db` })).statusCode, 200);
  assert.equal(await read('copy'), 7);
});

test('a volume is rolled back, not under its hosts, and not over later snapshots unless told', async () => {
  const { post, read, exporter } = await withSnapshot();
  const iqn = 'iqn.2026-11.io.ashlar:db';
  const back = (body: object) => post(`${VOLUMES}/db/rollback`, body);
  assert.equal((await back({ to: 'none' })).statusCode, 404);
  exporter.loggedIn.set(iqn, ['iqn.1993-08.org.debian:01:abc']);
  assert.equal((await back({ to: 'one' })).statusCode, 409);
  exporter.loggedIn.delete(iqn);
  await post(SNAPSHOTS, { metadata: { name: 'db.two' }, spec: { volumeName: 'db' } });
  assert.equal((await back({ to: 'one' })).statusCode, 409);
  assert.equal(await read('db'), 2, 'refused, it is served as it was');
  assert.equal((await back({ to: 'one', deleteLater: true })).statusCode, 200);
  assert.equal(await read('db'), 1);
});

test('what differs is told by its extents', async () => {
  const { app } = await withSnapshot();
  const { extents } = (await app.inject(`${SNAPSHOTS}/db.one/diff?to=db`)).json();
  assert.deepEqual(extents, [{ offsetBytes: 0, bytes: 4096, kind: 'Data' }]);
  assert.equal((await app.inject(`${SNAPSHOTS}/db.one/diff`)).statusCode, 400);
});

test('a clone whose creation a crash cut short is gone after the start', async () => {
  const { pool } = await withSnapshot();
  const id = '11111111-1111-4111-8111-111111111111';
  await pool.cloneSnapshot('db@one', { id, name: 'half' });
  const { controller } = await aController(pool);
  assert.deepEqual(
    controller.list().map(({ metadata }) => metadata.name),
    ['db'],
  );
});

test('a clone counts in the blocks of its source', async () => {
  const { post } = await withSnapshot();
  const source = { snapshot: 'db@one' };
  const other = await post(VOLUMES, aManifest('web', { source, blockSize: 512 }));
  assert.equal(other.statusCode, 422);
  assert.match(other.json().message, /spec\.blockSize: is 4096 for what begins as db@one/);
  assert.equal((await post(VOLUMES, aManifest('small', { blockSize: 512 }))).statusCode, 201);
  const taken = { metadata: { name: 'small.one' }, spec: { volumeName: 'small' } };
  assert.equal((await post(SNAPSHOTS, taken)).statusCode, 201);
  const clone = await post(VOLUMES, aManifest('copy', { source: { snapshot: 'small@one' } }));
  assert.equal(clone.json().spec.blockSize, 512, clone.body);
});
