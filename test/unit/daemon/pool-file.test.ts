import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { planPool } from '../../../src/daemon/pool-file.ts';

test('a pool is opened where there is one, made where there is none, smaller where the disk is short', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-pool-'));
  try {
    const pool = {
      path: join(folder, 'sub', 'pool.img'),
      cacheBytes: 1,
      sparse: false,
      spaceThresholdPercent: 85,
    };
    const small = planPool({ ...pool, sizeBytes: 64 * 2 ** 20 }, true);
    assert.deepEqual([small.create, small.sizeBytes, small.note], [true, 64 * 2 ** 20, '']);

    const { bavail, bsize } = statfsSync(folder);
    const tooLarge = { ...pool, sizeBytes: Math.ceil((bavail * bsize * 2) / 4096) * 4096 };
    assert.throws(() => planPool(tooLarge, true), /free, and the pool should get .* --data/);
    const shrunk = planPool(tooLarge, false);
    assert.ok(shrunk.sizeBytes < bavail * bsize);
    assert.match(shrunk.note, /made with .* instead/);
    assert.equal(planPool({ ...tooLarge, sparse: true }, true).create, true);

    writeFileSync(pool.path, 'x');
    assert.equal(planPool({ ...pool, sizeBytes: 2 ** 30 }, true).create, false);
    assert.throws(() => planPool({ ...pool, path: folder, sizeBytes: 1 }, true), /is a directory/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
