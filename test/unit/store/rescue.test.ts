// Goal: all that can be read of a pool comes out of it, right or not at all, and the pool is as it was.
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  DataBufferPool,
  IoStatus,
  MAX_BUFFER_BYTES,
} from '../../../src/block/index.ts';
import {
  createPoolFile,
  nativeArena,
  openPool,
  type RescuedVolume,
  rescueVolumes,
  type StoreVolume,
  thisNode,
} from '../../../src/store/index.ts';

const BLOCK = 4096;
const folder = mkdtempSync(join(tmpdir(), 'ashlar-rescue-'));
after(() => rmSync(folder, { recursive: true }));
const buffers = new DataBufferPool(nativeArena(8 * MAX_BUFFER_BYTES));

async function write(volume: StoreVolume, lba: number, bytes: Buffer, opNumber: number) {
  const data = buffers.allocate(bytes.length)!;
  bytes.copy(data.bytes);
  const status = await new Promise<IoStatus>((resolve) => {
    const owner = { onBlockDone: (_: BlockOp, end: IoStatus) => resolve(end) };
    const blocks = bytes.length / BLOCK;
    const op = new BlockOp().begin(BlockOpKind.Write, lba, blocks, data, 0, false, owner);
    op.lower = owner;
    volume.submit(op, 1, opNumber);
  });
  data.release();
  assert.equal(status, IoStatus.Ok);
}

const sumOf = (path: string): string =>
  createHash('sha256').update(readFileSync(path)).digest('hex');

test('volumes come out as images, what is lost is told, and the pool is not touched', async () => {
  const path = join(folder, 'pool');
  await createPoolFile({ path, sizeBytes: 64 << 20, name: 'tank' });
  const pool = await openPool({
    path,
    turn: new Turn(),
    buffers,
    owner: thisNode('elsewhere', 'c1'),
  });
  const volume = await pool.createVolume({ id: randomUUID(), name: 'db', sizeBlocks: 3000 });
  const empty = await pool.createVolume({ id: randomUUID(), name: 'empty', sizeBlocks: 8 });
  for (const name of ['replica/v/r', '../out']) {
    await pool.createVolume({ id: randomUUID(), name, sizeBlocks: 8 });
  }
  assert.equal(empty.info().mappedBlocks, 0);
  const expected = Buffer.alloc(3000 * BLOCK);
  for (const [index, lba] of [0, 700, 1500, 2990].entries()) {
    const bytes = Buffer.alloc(10 * BLOCK, `block ${lba} `);
    bytes.copy(expected, lba * BLOCK);
    await write(volume, lba, bytes, index + 1);
  }
  await pool.createSnapshots(
    [{ volume: 'db', name: 'then', id: randomUUID(), epoch: 1, opNumber: 9 }],
    1,
  );
  await pool.close();

  const rescued: RescuedVolume[] = [];
  const failed: string[] = [];
  const rescue = (to: string, volumes: string[] | null) =>
    rescueVolumes({
      paths: [path],
      folder: to,
      volumes,
      onVolume: (one) => rescued.push(one),
      onFailed: (name, { message }) => failed.push(`${name}: ${message}`),
    });
  const before = sumOf(path);
  await rescue(folder, null);
  assert.deepEqual(
    rescued.map(({ name, readBytes, lost }) => [name, readBytes, lost.length]),
    [
      ['db', 40 * BLOCK, 0],
      ['empty', 0, 0],
      ['replica/v/r', 0, 0],
      ['../out', 0, 0],
    ],
  );
  assert(readFileSync(join(folder, 'db.raw')).equals(expected));
  await rescue(folder, ['db@then']);
  assert(readFileSync(join(folder, 'db@then.raw')).equals(expected));
  for (const name of ['replica_v_r.raw', '.._out.raw']) {
    assert.equal(readFileSync(join(folder, name)).length, 8 * BLOCK);
  }
  // One that cannot be made is in nobody's way, and nothing is overwritten.
  rm('empty.raw');
  await rescue(folder, ['db', 'empty']);
  assert.deepEqual([failed.length, failed[0]?.startsWith('db: EEXIST')], [1, true]);
  assert.equal(rescued.at(-1)?.name, 'empty');
  assert(readFileSync(join(folder, 'db.raw')).equals(expected));
  await assert.rejects(rescue(folder, ['web']), /there is no web; there are db, empty/);
  assert.equal(sumOf(path), before);

  // Two blocks of a stretch rot.
  const bytes = readFileSync(path);
  const at = bytes.indexOf('block 700 ');
  assert(at > 0 && at % BLOCK === 0);
  bytes.fill(0x5a, at + 3 * BLOCK, at + 5 * BLOCK);
  writeFileSync(path, bytes);
  expected.fill(0, 703 * BLOCK, 705 * BLOCK);
  rm('db.raw');
  await rescue(folder, ['db']);
  assert.deepEqual(rescued.at(-1)?.lost, [{ byteOffset: 703 * BLOCK, bytes: 2 * BLOCK }]);
  assert.equal(rescued.at(-1)?.readBytes, 38 * BLOCK);
  assert(readFileSync(join(folder, 'db.raw')).equals(expected));
});

function rm(name: string): void {
  rmSync(join(folder, name));
}
