// What MemoryPool offers beyond the store's contract: failures to order, held completions, power cuts.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import { BlockOp, BlockOpKind, DataBufferPool, IoStatus } from '../../../src/block/index.ts';
import { MemoryPool, type StoreVolume } from '../../../src/store/index.ts';

const buffers = new DataBufferPool(new ArrayBuffer(4 * 1024 * 1024));
const data = buffers.allocate(4096)!;

async function aPool() {
  const turn = new Turn();
  const pool = new MemoryPool({ turn });
  const volume = await pool.createVolume({ id: randomUUID(), name: 'v', sizeBlocks: 100 });
  return { pool, volume, turn };
}

function run(volume: StoreVolume, kind: BlockOpKind, lba = 0, value = 0): Promise<IoStatus> {
  if (kind === BlockOpKind.Write) data.bytes.fill(value);
  return new Promise((resolve) => {
    const owner = { onBlockDone: (_: BlockOp, status: IoStatus) => resolve(status) };
    const op = new BlockOp().begin(kind, lba, 1, data, 0, false, owner);
    op.lower = owner;
    volume.submit(op, 1, 1);
  });
}

it('fails the operations that a test named, and no others', async () => {
  const { pool, volume } = await aPool();
  pool.failNext(BlockOpKind.Write, IoStatus.NoSpace);
  pool.failNext(BlockOpKind.Read, IoStatus.Damaged, 7);
  assert.equal(await run(volume, BlockOpKind.Flush), IoStatus.Ok);
  assert.equal(await run(volume, BlockOpKind.Write, 0, 1), IoStatus.NoSpace);
  assert.equal(await run(volume, BlockOpKind.Read), IoStatus.Damaged);
  assert.equal(await run(volume, BlockOpKind.Write, 0, 1), IoStatus.Ok);
});

it('holds operations back until it is told to go on', async () => {
  const { pool, volume } = await aPool();
  pool.hold();
  let done = 0;
  const first = run(volume, BlockOpKind.Write, 0, 1).then(() => (done += 1));
  const second = run(volume, BlockOpKind.Flush).then(() => (done += 1));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([done, pool.pending], [0, 2]);
  pool.release(1);
  await first;
  assert.deepEqual([done, pool.pending], [1, 1]);
  pool.release();
  await second;
});

it('falls back to the last flushed values when the power is cut', async () => {
  const { pool, volume } = await aPool();
  await run(volume, BlockOpKind.Write, 0, 1);
  await run(volume, BlockOpKind.Flush);
  await run(volume, BlockOpKind.Write, 0, 2);
  await run(volume, BlockOpKind.Write, 1, 2);
  pool.powerCut();
  await run(volume, BlockOpKind.Read, 0);
  assert.equal(data.bytes[0], 1);
  assert.equal(volume.info().mappedBlocks, 1);
});

it('tells of a fault once and answers IoError from then on', async () => {
  const { pool, volume } = await aPool();
  const told: string[] = [];
  pool.onFault((why) => told.push(why));
  pool.fault('the medium answered EIO to a flush');
  pool.fault('again');
  assert.deepEqual(told, ['the medium answered EIO to a flush']);
  assert.equal(await run(volume, BlockOpKind.Read), IoStatus.IoError);
  assert.equal(pool.stats().state, 'Faulted');
});
