import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../src/base/index.ts';
import { type DataBuffer, DataBufferPool, MAX_BUFFER_BYTES } from '../../../src/block/index.ts';

test('random allocation and release: buffers never overlap, and all the space comes back', () => {
  const random = new SeededRandom(5);
  const arena = new ArrayBuffer(MAX_BUFFER_BYTES * 4);
  const pool = new DataBufferPool(arena);
  const owned = new Map<DataBuffer, number>();
  const owner = new Int32Array(arena.byteLength / 4096);
  for (let step = 1; step < 20_000; step += 1) {
    if (random.below(2) === 0 || owned.size === 0) {
      const bytes = 1 + random.below(2 ** (3 + random.below(20)));
      const buffer = pool.allocate(bytes);
      if (buffer === null) continue;
      assert.ok(buffer.capacityBytes >= bytes && buffer.capacityBytes < Math.max(8192, bytes * 2));
      assert.equal(buffer.bytes.byteOffset, buffer.arenaByteOffset);
      for (let at = 0; at < buffer.capacityBytes; at += 4096) {
        const page: number = (buffer.arenaByteOffset + at) / 4096;
        assert.equal(owner[page], 0);
        owner[page] = step;
      }
      owned.set(buffer, step);
    } else {
      const [buffer] = [...owned][random.below(owned.size)]!;
      const page = buffer.arenaByteOffset / 4096;
      owner.fill(0, page, page + buffer.capacityBytes / 4096);
      owned.delete(buffer);
      buffer.release();
    }
  }
  for (const buffer of owned.keys()) buffer.release();
  assert.equal(pool.freeBytes, arena.byteLength);
  const large = [0, 1, 2, 3].map(() => pool.allocate(MAX_BUFFER_BYTES));
  assert.ok(large.every((buffer) => buffer !== null));
  assert.equal(pool.allocate(1), null);
});

test('who waits for the arena hears when a buffer is given back', async () => {
  const pool = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES));
  const buffer = pool.allocate(MAX_BUFFER_BYTES)!;
  let told = 0;
  pool.whenFreed(() => (told += 1));
  buffer.release();
  await null;
  assert.equal(told, 1);
  assert.throws(() => buffer.release(), /twice/);
});
