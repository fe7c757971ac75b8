// Making and opening pools: what is refused, in which words.
import assert from 'node:assert/strict';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import { DataBufferPool } from '../../../src/block/index.ts';
import {
  backendAdvice,
  checkPool,
  createPoolFile,
  nativeArena,
  nativeCrc32c,
  nativeCrc32cEach,
  openPool,
  probePool,
  StoreError,
  type StoreErrorCode,
  sdNotify,
} from '../../../src/store/index.ts';

const MIB = 1024 * 1024;
const directory = mkdtempSync(join(tmpdir(), 'ashlar-open-'));
after(() => rmSync(directory, { recursive: true }));
const buffers = new DataBufferPool(nativeArena(16 * MIB));
const turn = new Turn();

/** The failure has this code and says which path and, in `words`, what. */
function refused(code: StoreErrorCode, path: string, words: RegExp) {
  return (error: unknown) => {
    assert(error instanceof StoreError, String(error));
    assert.equal(error.code, code, error.message);
    assert(error.message.includes(path), error.message);
    assert.match(error.message, words);
    return true;
  };
}

function aFile(name: string, bytes: number, mark = '', at = 0): string {
  const path = join(directory, name);
  const fd = openSync(path, 'w');
  if (mark !== '') writeSync(fd, mark, at, 'latin1');
  closeSync(fd);
  truncateSync(path, bytes);
  return path;
}

it('a pool is made, known by its name, clean, and open once at a time', async () => {
  const path = join(directory, 'pool');
  await createPoolFile({ path, sizeBytes: 64 * MIB, name: 'first' });
  const probed = await probePool(path);
  assert.equal(probed.name, 'first');
  assert.equal((await checkPool(path)).clean, true);
  const pool = await openPool({ path, turn, buffers });
  assert.deepEqual([pool.id, pool.name], [probed.id, 'first']);
  const inUse = refused('STORE_IN_USE', path, /stop it first/);
  await assert.rejects(openPool({ path, turn, buffers }), inUse);
  await assert.rejects(checkPool(path), inUse);
  await assert.rejects(
    createPoolFile({ path, sizeBytes: 64 * MIB, name: 'second', force: true }),
    inUse,
  );
  await pool.close();
  await (await openPool({ path, turn, buffers })).close();
});

it('an existing pool is not formatted without force', async () => {
  const path = join(directory, 'again');
  await createPoolFile({ path, sizeBytes: 32 * MIB, name: 'one' });
  const again = { path, sizeBytes: 32 * MIB, name: 'two' };
  await assert.rejects(
    createPoolFile(again),
    refused('STORE_FOREIGN_SIGNATURE', path, /an ashlar pool.*--force/),
  );
  await createPoolFile({ ...again, force: true });
  assert.equal((await probePool(path)).name, 'two');
});

it('what belongs to somebody else is named and left alone', async () => {
  const path = aFile('image', 32 * MIB, 'QFI\u00fb');
  await assert.rejects(
    createPoolFile({ path, sizeBytes: 32 * MIB, name: 'x' }),
    refused('STORE_FOREIGN_SIGNATURE', path, /a qcow2 image/),
  );
});

it('what holds no pool is not opened', async () => {
  const empty = aFile('empty', 32 * MIB);
  await assert.rejects(
    openPool({ path: empty, turn, buffers }),
    refused('STORE_NOT_A_POOL', empty, /does not hold/),
  );
  const missing = join(directory, 'missing');
  await assert.rejects(
    openPool({ path: missing, turn, buffers }),
    refused('STORE_NOT_FOUND', missing, /No such file/),
  );
  await assert.rejects(
    openPool({ path: directory, turn, buffers }),
    refused('STORE_INVALID', directory, /is a directory/),
  );
});

it('a pool without room for itself is refused and leaves no file', async () => {
  const path = join(directory, 'vast');
  await assert.rejects(
    createPoolFile({ path, sizeBytes: 2 ** 50, name: 'vast' }),
    refused('STORE_NO_SPACE', path, /no room/),
  );
  await assert.rejects(
    createPoolFile({ path, sizeBytes: 4096, name: 'tiny' }),
    refused('STORE_TOO_SMALL', path, /at least/),
  );
  assert(!readdirSync(directory).some((name) => name.startsWith('vast')));
});

it('buffers outside of the arena are refused before anything is opened', async () => {
  const path = join(directory, 'pool');
  const foreign = new DataBufferPool(new ArrayBuffer(4 * MIB));
  await assert.rejects(openPool({ path, turn, buffers: foreign }), /nativeArena/);
});

it('the native CRC32C is the one of RFC 3720 B.4', () => {
  const crc32c = nativeCrc32c();
  assert.equal(crc32c(new Uint8Array(32), 0, 32, 0), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff), 0, 32, 0), 0x62a8ab43);
  const rising = Uint8Array.from({ length: 34 }, (_, index) => index - 1);
  assert.equal(crc32c(rising, 1, 33, 0), 0x46dd794e);
  assert.equal(crc32c(rising, 9, 33, crc32c(rising, 1, 9, 0)), 0x46dd794e);
  assert.throws(() => crc32c(rising, 30, 40, 0), RangeError);
  const into = new Uint32Array(3);
  nativeCrc32cEach()(new Uint8Array(65), 1, 32, 2, into);
  assert.deepEqual([...into], [0x8a9136aa, 0x8a9136aa, 0]);
  for (const [start, bytes, pieces] of [
    [2, 32, 2],
    [0, 32, 3],
    [0, 2 ** 31, 3],
    [0, 1, 4],
  ] as const) {
    assert.throws(
      () => nativeCrc32cEach()(new Uint8Array(65), start, bytes, pieces, into),
      RangeError,
    );
  }
});

it('without a service manager there is nobody to notify', () => {
  delete process.env['NOTIFY_SOCKET'];
  assert.equal(sdNotify('READY=1'), false);
});

it('a cache that no memory could hold is refused, with the settings that say so', async () => {
  const path = join(directory, 'cached');
  await createPoolFile({ path, sizeBytes: 32 * MIB, name: 'cached' });
  const cacheBytes = 2 ** 50;
  await assert.rejects(
    openPool({ path, turn, buffers, cacheBytes }),
    /1Pi for mappings is more than the .* of memory.*pool\.cache/s,
  );
});

it('what its devices are reached by is told, and what to do where io_uring is not to be had', async () => {
  const path = join(directory, 'backends');
  await createPoolFile({ path, sizeBytes: 32 * MIB, name: 'backends' });
  const pool = await openPool({ path, turn, buffers, backend: 'threads' });
  assert.equal(pool.backend, 'threads');
  assert.match(backendAdvice(pool), /io_uring is not to be had.*kernel\.io_uring_disabled/);
  await pool.close();
  assert.equal(backendAdvice({ backend: 'io_uring' }), '');
  assert.equal(backendAdvice({ backend: 'sync' }), '');
});
