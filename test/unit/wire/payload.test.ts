// Memory for blocks that come from a peer: used again, never while somebody still has it, and not hoarded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BytesPayload, type PayloadOwner, PayloadPool } from '../../../src/wire/payload.ts';

const COPY_BYTES = 512 * 1024;

function aPool(): { pool: PayloadPool; owner: PayloadOwner } {
  const pool = new PayloadPool(null);
  return { pool, owner: { onFree: (payload: BytesPayload) => pool.give(payload) } };
}

test('memory from the heap is used again, for what is about as large', () => {
  const { pool, owner } = aPool();
  const first = pool.take(COPY_BYTES, owner);
  const memory = first.bytes;
  first.release();
  const small = pool.take(4096, owner);
  assert.notEqual(small.bytes, memory);
  const second = pool.take(COPY_BYTES - 4096, owner);
  assert.equal(second.bytes, memory);
});

test('memory that somebody retains is nobody else’s', () => {
  const { pool, owner } = aPool();
  const first = pool.take(COPY_BYTES, owner);
  first.retain();
  first.release();
  assert.notEqual(pool.take(COPY_BYTES, owner).bytes, first.bytes);
});

test('there is room for what was asked for, whatever size was given back before', () => {
  const { pool, owner } = aPool();
  for (const bytes of [4096, 3 * 4096, 65_536, 65_536 + 4096, 4 * 1024 * 1024, 5]) {
    const payload = pool.take(bytes, owner);
    assert.ok(payload.bytes.length >= bytes, `${payload.bytes.length} for ${bytes}`);
    payload.release();
    const again = pool.take(bytes, owner);
    assert.ok(again.bytes.length >= bytes);
  }
});

test('what a burst leaves behind goes back to the heap', () => {
  const { pool, owner } = aPool();
  const burst = Array.from({ length: 64 }, () => pool.take(COPY_BYTES, owner));
  const memory = new Set(burst.map(({ bytes }) => bytes));
  for (const payload of burst) payload.release();
  let again = 0;
  for (let count = 0; count < 64; count += 1) {
    if (memory.has(pool.take(COPY_BYTES, owner).bytes)) again += 1;
  }
  assert.equal(again, 32, '16 MiB are kept');
});
