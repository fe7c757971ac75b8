// Goal: what a stream delivers is what the snapshot holds, or a failure with its name; a cut one goes on where it was.
// Method: a source and a target in memory, streams cut at every piece, split at random, and damaged.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { setCrc32c } from '../../../src/base/index.ts';
import { type DataBuffer, DataBufferPool } from '../../../src/block/index.ts';
import {
  nativeCrc32c,
  nativeStreamReader,
  nativeStreamWriter,
  StoreError,
} from '../../../src/store/index.ts';
import {
  type ChangedRange,
  receiveStream,
  type StreamDescription,
  StreamError,
  type StreamSource,
  type StreamTarget,
  sendStream,
} from '../../../src/stream/index.ts';

setCrc32c(nativeCrc32c());

const BLOCK = 4096;
const description: StreamDescription = {
  volume: 'db',
  volumeId: '00000000-0000-4000-8000-000000000001',
  snapshot: 'b',
  snapshotId: '00000000-0000-4000-8000-000000000002',
  from: null,
  sizeBlocks: 100_000,
  logicalBlockBytes: 4096,
  createdAt: '2026-11-27T00:00:00Z',
};

function aBufferPool(): DataBufferPool {
  return new DataBufferPool(new ArrayBuffer(8 * 2 ** 20));
}

/** A block's bytes follow from its address and `seed`. */
function fill(bytes: Buffer, lba: number, seed: number): void {
  for (let at = 0; at < BLOCK; at += 8) {
    bytes.writeUInt32LE(lba, at);
    bytes.writeUInt32LE((seed * 2_654_435_761 + at) >>> 0, at + 4);
  }
}

class Source implements StreamSource {
  readonly description: StreamDescription;
  readonly ranges: readonly ChangedRange[];
  failAt = -1;
  seed: number;

  constructor(ranges: readonly ChangedRange[], seed = 1) {
    this.ranges = ranges;
    this.seed = seed;
    this.description = description;
  }

  async changes(lba: number, most: number): Promise<ChangedRange[]> {
    const found: ChangedRange[] = [];
    for (const range of this.ranges) {
      const end = range.lba + range.blocks;
      if (end <= lba) continue;
      const start = Math.max(lba, range.lba);
      found.push({ lba: start, blocks: end - start, hole: range.hole });
      if (found.length === most) break;
    }
    return found;
  }

  async read(lba: number, blocks: number, data: DataBuffer): Promise<void> {
    await new Promise(setImmediate);
    for (let block = 0; block < blocks; block += 1) {
      if (lba + block === this.failAt) throw new StoreError('STORE_IO', 'damaged');
      fill(data.bytes.subarray(block * BLOCK, (block + 1) * BLOCK), lba + block, this.seed);
    }
  }
}

class Target implements StreamTarget {
  readonly blocks = new Map<number, Buffer>();
  marked = 0;
  ended = false;

  async write(lba: number, blocks: number, data: DataBuffer): Promise<void> {
    await new Promise(setImmediate);
    assert.ok(data.live);
    for (let block = 0; block < blocks; block += 1) {
      this.blocks.set(
        lba + block,
        Buffer.from(data.bytes.subarray(block * BLOCK, (block + 1) * BLOCK)),
      );
    }
  }

  async unmap(lba: number, blocks: number): Promise<void> {
    for (const at of this.blocks.keys()) if (at >= lba && at < lba + blocks) this.blocks.delete(at);
  }

  async mark(lba: number): Promise<void> {
    this.marked = lba;
  }

  async end(): Promise<void> {
    this.ended = true;
  }

  assertHolds(source: Source): void {
    const expected = Buffer.alloc(BLOCK);
    let count = 0;
    for (const range of source.ranges) {
      if (range.hole) continue;
      for (let lba = range.lba; lba < range.lba + range.blocks; lba += 1) {
        fill(expected, lba, source.seed);
        assert.ok(this.blocks.get(lba)?.equals(expected), `block ${lba}`);
        count += 1;
      }
    }
    assert.equal(this.blocks.size, count);
  }
}

async function bytesOf(source: Source, fromLba = 0): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const options = { source, writer: nativeStreamWriter(), buffers: aBufferPool(), fromLba };
  for await (const piece of sendStream(options)) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function* split(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let at = 0;
  for (let turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length]!;
    yield Buffer.from(bytes.subarray(at, at + size));
    at += size;
  }
}

async function receive(target: Target, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const buffers = aBufferPool();
  const free = buffers.freeBytes;
  try {
    const { dataBlocks } = await receiveStream({
      pieces,
      reader: nativeStreamReader(),
      buffers,
      open: async () => target,
    });
    return dataBlocks;
  } finally {
    assert.equal(buffers.freeBytes, free, 'every buffer came back');
  }
}

const aSource = () =>
  new Source([
    { lba: 3, blocks: 2, hole: false },
    { lba: 10, blocks: 5000, hole: true },
    { lba: 6000, blocks: 300, hole: false },
    { lba: 99_999, blocks: 1, hole: false },
  ]);

test('what is sent is what is received, holes as holes', async () => {
  const source = aSource();
  const target = new Target();
  target.blocks.set(12, Buffer.alloc(BLOCK, 1));
  assert.equal(await receive(target, split(await bytesOf(source), [65_536])), 303);
  assert.ok(target.ended);
  target.assertHolds(source);
});

test('any split of the bytes gives the same', async () => {
  const source = new Source([{ lba: 1, blocks: 3, hole: false }]);
  const bytes = await bytesOf(source);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1 }),
      async (sizes) => {
        const target = new Target();
        await receive(target, split(bytes, sizes));
        target.assertHolds(source);
      },
    ),
    { numRuns: 30 },
  );
});

test('a stream that is cut anywhere is told as cut, and makes no snapshot', async () => {
  const bytes = await bytesOf(aSource());
  for (let length = 0; length < bytes.length; length += 40_961) {
    const target = new Target();
    await assert.rejects(
      receive(target, split(bytes.subarray(0, length), [100_000])),
      (error: StreamError) => error.code === 'STREAM_CUT',
    );
    assert.ok(!target.ended);
  }
});

test('a flipped bit anywhere is noticed before the block is written', async () => {
  const source = aSource();
  const bytes = await bytesOf(source);
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length * 8 - 1), async (bit) => {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const target = new Target();
      await assert.rejects(receive(target, split(damaged, [65_536])), StreamError);
      assert.ok(!target.ended);
      const expected = Buffer.alloc(BLOCK);
      for (const [lba, block] of target.blocks) {
        fill(expected, lba, source.seed);
        assert.ok(block.equals(expected));
      }
    }),
    { numRuns: 60 },
  );
});

test('a long stream is marked, and goes on from its mark', async () => {
  const source = new Source([{ lba: 0, blocks: 40_000, hole: false }]);
  const bytes = await bytesOf(source);
  const target = new Target();
  await assert.rejects(receive(target, split(bytes.subarray(0, bytes.length - 1000), [2 ** 20])));
  assert.ok(target.marked >= 32_768, `marked at ${target.marked}`);
  const left = await receive(target, split(await bytesOf(source, target.marked), [2 ** 20]));
  assert.equal(left, 40_000 - target.marked);
  target.assertHolds(source);
});

test('a block that cannot be read ends the stream: nothing is sent in its place', async () => {
  const source = aSource();
  source.failAt = 6100;
  await assert.rejects(bytesOf(source), (error: StoreError) => error.code === 'STORE_IO');
});

test('a taker that leaves in the middle leaves no buffer behind', async () => {
  const buffers = aBufferPool();
  const free = buffers.freeBytes;
  const stream = sendStream({ source: aSource(), writer: nativeStreamWriter(), buffers });
  for (let piece = 0; piece < 4; piece += 1) await stream.next();
  await stream.return();
  assert.equal(buffers.freeBytes, free);
});

test('bytes that are no stream say so', async () => {
  for (const bytes of [Buffer.alloc(4096), Buffer.from('PK zip'.repeat(40))]) {
    await assert.rejects(
      receive(new Target(), split(bytes, [1000])),
      (error: StreamError) => error.code === 'STREAM_FORMAT',
    );
  }
});
