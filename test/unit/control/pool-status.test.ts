// What a pool's advice says of damage that nobody else would notice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import { adviceOf } from '../../../src/control/index.ts';
import { MemoryPool } from '../../../src/store/index.ts';

test('space that is neither free nor usable is told of, with what makes it usable', () => {
  const pool = new MemoryPool({ turn: new Turn(), name: 'tank', sizeBlocks: 1 << 14 });
  const known = { name: 'tank', pool, why: '', paths: [], clashes: [] };
  assert.deepEqual(adviceOf(known), []);
  const stats = pool.stats();
  pool.stats = () => ({ ...stats, unknownBlocks: 100 });
  assert.match(
    adviceOf(known).join(),
    /: 409600 bytes are neither free nor usable\. Close and open it once \(ashlar export pool tank,/,
  );
});
