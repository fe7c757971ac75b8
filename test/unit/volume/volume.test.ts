import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, SeededRandom, Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  DataBufferPool,
  IoStatus,
  MAX_BUFFER_BYTES,
} from '../../../src/block/index.ts';
import { Volume } from '../../../src/volume/index.ts';
import { FakeStore } from './fake-store.ts';

function setUp(options: { logicalBlockBytes?: number; blocks?: number; readOnly?: boolean } = {}) {
  const store = new FakeStore(options.blocks ?? 64);
  const buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 2));
  const clock = new ManualClock();
  const volume = new Volume({
    store,
    buffers,
    clock,
    turn: new Turn(),
    logicalBlockBytes: options.logicalBlockBytes ?? 4096,
    readOnly: options.readOnly ?? false,
  });
  const done: [string, IoStatus][] = [];
  const run = (
    name: string,
    kind: BlockOpKind,
    lba: number,
    blocks: number,
    extra: {
      data?: Buffer;
      offset?: number;
      fua?: boolean;
      update?: (op: BlockOp) => boolean;
    } = {},
  ) => {
    const wants = kind !== BlockOpKind.Unmap && kind !== BlockOpKind.Flush;
    const data = wants ? buffers.allocate(1 << 20) : null;
    const offset = extra.offset ?? 0;
    if (data !== null && extra.data !== undefined) extra.data.copy(data.bytes, offset);
    return new Promise<{ status: IoStatus; bytes: Buffer; op: BlockOp }>((resolve) => {
      const op = new BlockOp();
      op.begin(kind, lba, blocks, data, offset, extra.fua ?? false, {
        onBlockDone(ended, status) {
          done.push([name, status]);
          const length = blocks * volume.geometry.logicalBlockBytes;
          const bytes =
            data === null
              ? Buffer.alloc(0)
              : Buffer.from(data.bytes.subarray(offset, offset + length));
          data?.release();
          resolve({ status, bytes, op: ended });
        },
        ...(extra.update === undefined ? {} : { onUpdateRead: extra.update }),
      });
      volume.submit(op);
    });
  };
  return { store, buffers, volume, run, done, clock };
}

const { Read, Write, Unmap, Flush, Update, Verify } = BlockOpKind;

test('a write is read back, and every change gets a rising version of a fresh epoch (E1, W2)', async () => {
  const { store, run } = setUp();
  await run('w', Write, 3, 2, { data: Buffer.alloc(8192, 7) });
  await run('u', Unmap, 4, 1);
  assert.deepEqual(
    (await run('r', Read, 3, 2)).bytes,
    Buffer.concat([Buffer.alloc(4096, 7), Buffer.alloc(4096)]),
  );
  assert.deepEqual(
    store.versions.filter(([kind]) => kind !== Read),
    [
      [Write, 5, 1, false],
      [Unmap, 5, 2, false],
    ],
  );
});

test('a read waits for the write it overlaps, and hears of its end after the write did (W1)', async () => {
  const { store, run, done } = setUp();
  store.hold = true;
  const write = run('write', Write, 0, 4, { data: Buffer.alloc(16384, 1) });
  const read = run('read', Read, 3, 1);
  const elsewhere = run('elsewhere', Read, 8, 1);
  assert.deepEqual(store.log, ['2:0+4', '1:8+1']);
  store.hold = false;
  store.complete(0);
  await Promise.all([write, read]);
  store.complete(0);
  await elsewhere;
  assert.deepEqual(
    done.map(([name]) => name),
    ['write', 'read', 'elsewhere'],
  );
});

test('a write waits for the read it overlaps', async () => {
  const { store, run } = setUp();
  store.hold = true;
  void run('read', Read, 0, 4);
  void run('write', Write, 1, 1);
  assert.deepEqual(store.log, ['1:0+4']);
  store.complete();
  assert.deepEqual(store.log, ['1:0+4', '2:1+1']);
});

test('overlapping whole-block writes go down together, in order', () => {
  const { store, run } = setUp();
  store.hold = true;
  void run('first', Write, 0, 4);
  void run('second', Write, 2, 4);
  assert.deepEqual(store.log, ['2:0+4', '2:2+4']);
});

test('a read does not pass a waiting write that it overlaps, so writers do not starve', () => {
  const { store, run } = setUp();
  store.hold = true;
  void run('r1', Read, 0, 4);
  void run('w', Write, 0, 4);
  void run('r2', Read, 2, 1);
  assert.deepEqual(store.log, ['1:0+4']);
  store.complete();
  assert.deepEqual(store.log, ['1:0+4', '2:0+4']);
  store.complete();
  assert.deepEqual(store.log, ['1:0+4', '2:0+4', '1:2+1']);
});

test('without a write cache every change is FUA, and turning it off flushes first (C9)', async () => {
  const { store, volume, run } = setUp();
  const status = await new Promise<IoStatus>((resolve) => volume.setWriteCache(false, resolve));
  assert.equal(status, IoStatus.Ok);
  assert.deepEqual(store.log, ['4:0+0']);
  await run('w', Write, 0, 1);
  assert.equal(store.versions.at(-1)?.[3], true);
  const reopened = new Volume({
    store,
    buffers: new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES)),
    turn: new Turn(),
    logicalBlockBytes: 4096,
  });
  assert.equal(reopened.writeCache, false);
});

test('whoever listens hears when the write cache changes, and only then', async () => {
  const { volume } = setUp();
  const heard: boolean[] = [];
  volume.listen({ onResized() {}, onWriteCacheChanged: () => heard.push(volume.writeCache) });
  for (const enabled of [true, false, false, true]) {
    await new Promise<IoStatus>((resolve) => volume.setWriteCache(enabled, resolve));
  }
  assert.deepEqual(heard, [false, true]);
});

test('turning the write cache off flushes what was on its way as a cached write, too (C9)', async () => {
  const { store, volume, run } = setUp();
  store.hold = true;
  const cached = run('cached', Write, 0, 1);
  const read = run('read', Read, 8, 1);
  const off = new Promise<IoStatus>((resolve) => volume.setWriteCache(false, resolve));
  const later = run('later', Write, 4, 1);
  assert.deepEqual(store.log, ['2:0+1', '1:8+1', '2:4+1'], 'no flush can reach what has not ended');
  assert.deepEqual(
    store.versions.filter(([kind]) => kind === Write).map(([, , , fua]) => fua),
    [false, true],
  );
  store.complete(0);
  await cached;
  assert.equal(store.log.at(-1), '4:0+0');
  store.hold = false;
  while (store.held.length > 0) store.complete();
  assert.equal(await off, IoStatus.Ok);
  await Promise.all([read, later]);
});

test('who turns the write cache off again waits for the flush that is under way; till then it is on (C9)', async () => {
  const { store, volume, run } = setUp();
  const heard: boolean[] = [];
  volume.listen({ onResized() {}, onWriteCacheChanged: () => heard.push(volume.writeCache) });
  await run('cached', Write, 0, 1);
  store.hold = true;
  const answers: [string, IoStatus][] = [];
  const turnOff = (name: string) =>
    volume.setWriteCache(false, (status) => answers.push([name, status]));
  turnOff('first');
  turnOff('second');
  assert.deepEqual(answers, []);
  assert.deepEqual([volume.writeCache, heard], [true, []], 'its content is not durable yet');
  assert.deepEqual(store.log.slice(1), ['4:0+0'], 'one flush for both');
  store.complete();
  await new Promise(setImmediate);
  assert.deepEqual(answers, [
    ['first', IoStatus.Ok],
    ['second', IoStatus.Ok],
  ]);
  assert.deepEqual([volume.writeCache, heard], [false, [false]]);
  turnOff('third');
  assert.equal(answers.length, 3, 'off is off');
  assert.equal(store.log.length, 2);
});

test('a write cache whose flush failed is not off, and is flushed again by who turns it off again (C9)', async () => {
  const { store, volume, run } = setUp();
  await run('cached', Write, 0, 1);
  const turnOff = () => new Promise<IoStatus>((done) => volume.setWriteCache(false, done));
  store.hold = true;
  const first = turnOff();
  store.failNext = IoStatus.IoError;
  store.complete();
  assert.equal(await first, IoStatus.IoError);
  assert.equal(volume.writeCache, true);
  const second = turnOff();
  assert.deepEqual(store.log.slice(1), ['4:0+0', '4:0+0']);
  store.complete();
  assert.equal(await second, IoStatus.Ok);
  assert.equal(volume.writeCache, false);
});

test('a write cache that is turned on while it is being turned off stays on, and is drained anew later', async () => {
  const { store, volume, run } = setUp();
  store.hold = true;
  const turn = (on: boolean) => new Promise<IoStatus>((done) => volume.setWriteCache(on, done));
  const off = turn(false);
  assert.equal(await turn(true), IoStatus.Ok);
  const cached = run('cached', Write, 0, 1);
  assert.equal(store.versions.at(-1)?.[3], false);
  const again = turn(false);
  store.complete(0); // The first flush, which the write came after.
  assert.equal(await off, IoStatus.Ok);
  assert.equal(volume.writeCache, true);
  store.complete(0);
  await cached;
  assert.equal(store.log.at(-1), '4:0+0');
  store.complete(0);
  assert.equal(await again, IoStatus.Ok);
  assert.equal(volume.writeCache, false);
});

test('an update reads, changes and writes with the range held; it may decline', async () => {
  const { store, run } = setUp();
  await run('w', Write, 5, 1, { data: Buffer.alloc(4096, 3) });
  store.hold = true;
  const update = run('update', Update, 5, 1, {
    update(op) {
      assert.equal(op.data!.bytes[0], 3);
      op.data!.bytes.fill(9, 0, 4096);
      return true;
    },
  });
  void run('late', Write, 5, 1, { data: Buffer.alloc(4096, 1) });
  await new Promise(setImmediate);
  assert.deepEqual(store.log, ['2:5+1', '1:5+1']);
  store.complete();
  await new Promise(setImmediate);
  assert.deepEqual(store.log.slice(2), ['2:5+1']);
  store.complete();
  assert.equal((await update).status, IoStatus.Ok);
  store.complete();
  store.hold = false;
  assert.equal((await run('r', Read, 5, 1)).bytes[0], 1);
  const declined = await run('declined', Update, 5, 1, { update: () => false });
  assert.equal(declined.status, IoStatus.Declined);
});

test('ranges past the end are refused before anything happens; empty ones succeed', async () => {
  const { store, run } = setUp();
  assert.equal((await run('r', Read, 63, 2)).status, IoStatus.OutOfRange);
  assert.equal((await run('w', Write, 64, 1)).status, IoStatus.OutOfRange);
  assert.equal((await run('v', Verify, 64, 0)).status, IoStatus.Ok);
  assert.deepEqual(store.log, []);
});

test('a read-only volume refuses changes', async () => {
  const { run } = setUp({ readOnly: true });
  assert.equal((await run('w', Write, 0, 1)).status, IoStatus.ReadOnly);
  assert.equal((await run('u', Update, 0, 1, { update: () => true })).status, IoStatus.ReadOnly);
  assert.equal((await run('r', Read, 0, 1)).status, IoStatus.Ok);
});

test('512-byte blocks: random operations of any alignment match a model (W7)', async () => {
  const { run, volume } = setUp({ logicalBlockBytes: 512, blocks: 128 });
  const random = new SeededRandom(20);
  const { blocks } = volume.geometry;
  assert.equal(blocks, 1024);
  const model = Buffer.alloc(blocks * 512);
  for (let step = 0; step < 600; step += 1) {
    const lba = random.below(blocks);
    const count: number =
      1 + random.below(Math.min(blocks - lba, random.below(4) === 0 ? 700 : 20));
    const at = lba * 512;
    const offset = random.below(3) * 512;
    const choice = random.below(4);
    if (choice === 0) {
      assert.equal((await run('u', Unmap, lba, count)).status, IoStatus.Ok);
      model.fill(0, at, at + count * 512);
    } else if (choice === 1) {
      const { bytes } = await run('r', Read, lba, count, { offset });
      assert.ok(bytes.equals(model.subarray(at, at + count * 512)), `step ${step}`);
    } else if (choice === 2) {
      await run('x', Update, lba, count, {
        offset,
        update(op) {
          for (let i = 0; i < count * 512; i += 1) op.data!.bytes[offset + i]! ^= 0x5a;
          return true;
        },
      });
      for (let i = at; i < at + count * 512; i += 1) model[i]! ^= 0x5a;
    } else {
      const data = Buffer.alloc(count * 512, 1 + random.below(255));
      await run('w', Write, lba, count, { data, offset });
      data.copy(model, at);
    }
  }
  const { bytes } = await run('all', Read, 0, blocks);
  assert.ok(bytes.equals(model));
});

test('512-byte blocks: neighbouring sub-block writes in flight do not lose each other', async () => {
  const { store, run } = setUp({ logicalBlockBytes: 512 });
  store.hold = true;
  const writes = [0, 1, 2, 3].map((lba) =>
    run(`w${lba}`, Write, lba, 1, { data: Buffer.alloc(512, lba + 1) }),
  );
  for (let step = 0; step < 40; step += 1) {
    await new Promise(setImmediate);
    if (store.held.length > 0) store.complete();
  }
  await Promise.all(writes);
  assert.deepEqual(
    [0, 512, 1024, 1536].map((at) => store.bytes[at]),
    [1, 2, 3, 4],
  );
});

test('a damaged block is named in logical blocks', async () => {
  const { store, run } = setUp({ logicalBlockBytes: 512 });
  store.failNext = IoStatus.Damaged;
  const { status, op } = await run('r', Read, 16, 8);
  assert.equal(status, IoStatus.Damaged);
  assert.equal(op.failedLba, 16);
  assert.equal(op.lba, 16);
});

test('map status is told in logical blocks from the one asked for', () => {
  const { volume } = setUp({ logicalBlockBytes: 512 });
  volume.mapStatus(19, 8, (status, extents) => {
    assert.equal(status, IoStatus.Ok);
    assert.deepEqual(extents, [
      { lba: 19, blocks: 13, mapped: true },
      { lba: 32, blocks: 40, mapped: false },
    ]);
  });
});

test('growth is told to listeners; a size that is no multiple of 4096 is refused', async () => {
  const { volume } = setUp();
  let told = 0;
  volume.listen({ onResized: () => (told += 1), onWriteCacheChanged() {} });
  await volume.resize(100 * 4096);
  assert.equal(volume.geometry.blocks, 100);
  assert.equal(told, 1);
  await assert.rejects(volume.resize(4097), { code: 'STORE_INVALID' });
});

test('close refuses new operations and waits for those under way, flushes too', async () => {
  const { store, volume, run, done } = setUp();
  store.hold = true;
  void run('w', Write, 0, 1);
  void run('f', Flush, 0, 0);
  let closed = false;
  const closing = volume.close().then(() => (closed = true));
  assert.equal((await run('late', Read, 0, 1)).status, IoStatus.Offline);
  store.complete();
  await new Promise(setImmediate);
  assert.equal(closed, false);
  store.complete();
  await closing;
  assert.deepEqual(
    done.map(([name]) => name),
    ['late', 'w', 'f'],
  );
});

test('latencies are counted by direction, from when an operation came to its answer', async () => {
  const { store, volume, run, clock } = setUp();
  store.hold = true;
  const ended = [run('w', Write, 0, 1), run('r', Read, 8, 1), run('f', Flush, 0, 0)];
  // It waits for the write below: that counts.
  const behind = run('behind', Read, 0, 1);
  clock.advance(3);
  for (let n = 0; n < 3; n += 1) store.complete();
  clock.advance(4);
  store.complete();
  await Promise.all([...ended, behind]);
  const { read, write, flush, unmap } = volume.latencies;
  assert.deepEqual([write.count, write.sumMs], [1, 3]);
  assert.deepEqual([read.count, read.sumMs], [2, 10]);
  assert.deepEqual([flush.count, flush.sumMs], [1, 3]);
  assert.equal(unmap.count, 0);
});
