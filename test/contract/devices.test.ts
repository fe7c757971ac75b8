// Pools of several devices through the store's face, on real files.
import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Turn } from '../../src/base/index.ts';
import { BlockOp, BlockOpKind, DataBufferPool, IoStatus } from '../../src/block/index.ts';
import {
  checkPool,
  createPoolFile,
  destroyPool,
  findPools,
  layOut,
  type NativePool,
  nativeArena,
  openPool,
  probePool,
  type StoreVolume,
} from '../../src/store/index.ts';

const MIB = 1024 * 1024;
const turn = new Turn();
const buffers = new DataBufferPool(nativeArena(16 * MIB));
const folder = mkdtempSync(join(tmpdir(), 'ashlar-devices-'));
after(() => rmSync(folder, { recursive: true }));

let count = 0;
function paths(number: number): string[] {
  count += 1;
  return Array.from({ length: number }, (_, index) => join(folder, `pool${count}-${index}`));
}

function open(all: readonly string[]): Promise<NativePool> {
  return openPool({ paths: all, turn, buffers, cacheBytes: 8 * MIB, walkBytesPerSecond: 0 });
}

function run(volume: StoreVolume, kind: BlockOpKind, lba: number, data: Buffer): Promise<IoStatus> {
  return new Promise((resolve) => {
    const buffer = buffers.allocate(data.length)!;
    if (kind === BlockOpKind.Write) data.copy(buffer.bytes);
    const owner = {
      onBlockDone(_op: BlockOp, status: IoStatus) {
        if (kind === BlockOpKind.Read) buffer.bytes.copy(data, 0, 0, data.length);
        buffer.release();
        resolve(status);
      },
    };
    const op = new BlockOp();
    turn.enter();
    op.begin(kind, lba, data.length / 4096, buffer, 0, true, owner).lower = owner;
    version += 1;
    volume.submit(op, 1, version);
    turn.leave();
  });
}
let version = 0;

async function fill(volume: StoreVolume, byte: number): Promise<void> {
  for (let lba = 0; lba < 512; lba += 64) {
    const data = Buffer.alloc(64 * 4096, byte);
    assert.equal(await run(volume, BlockOpKind.Write, lba, data), IoStatus.Ok);
  }
}

async function expectFilled(volume: StoreVolume, byte: number): Promise<void> {
  for (let lba = 0; lba < 512; lba += 64) {
    const data = Buffer.alloc(64 * 4096);
    assert.equal(await run(volume, BlockOpKind.Read, lba, data), IoStatus.Ok);
    assert.ok(data.every((each) => each === byte));
  }
}

async function until(what: () => boolean): Promise<void> {
  for (let turns = 0; !what(); turns += 1) {
    assert.ok(turns < 20_000, 'it does not come');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function makeVolume(pool: NativePool): Promise<StoreVolume> {
  const id = '11111111-1111-4111-8111-111111111111';
  return await pool.createVolume({ id, name: 'v', sizeBlocks: 4096 });
}

test('a stripe of mirrors is found by its labels, serves, and checks clean', async () => {
  const all = paths(4);
  await createPoolFile({ vdevs: layOut('mirror', all), sizeBytes: 32 * MIB, name: 'four' });
  const found = (await findPools([folder])).find((pool) => pool.name === 'four');
  assert.deepEqual(found?.paths, all);
  assert.equal(found?.devices, 4);
  const pool = await open([all[2]!, all[0]!, all[3]!, all[1]!]);
  const volume = await makeVolume(pool);
  await fill(volume, 7);
  assert.deepEqual(
    pool.devices.list().map((device) => [device.vdev, device.place, device.state]),
    [
      [0, 0, 'InSync'],
      [0, 1, 'InSync'],
      [1, 0, 'InSync'],
      [1, 1, 'InSync'],
    ],
  );
  await pool.exportPool();
  assert.equal((await probePool(all[0]!)).exported, true);
  const report = await checkPool(all);
  assert.deepEqual(report.findings, []);
  assert.equal(report.clean, true);
});

test('too few devices, a foreign one, and a half that diverged are refused in words', async () => {
  const all = paths(2);
  const other = paths(1);
  await createPoolFile({ vdevs: [all], sizeBytes: 32 * MIB, name: 'pair' });
  await createPoolFile({ vdevs: [other], sizeBytes: 32 * MIB, name: 'other' });
  const stripe = paths(2);
  await createPoolFile({ vdevs: layOut('stripe', stripe), sizeBytes: 32 * MIB, name: 'stripe' });
  await assert.rejects(open([stripe[0]!, join(folder, 'nowhere')]), (error: Error) => {
    assert.equal((error as { code?: string }).code, 'STORE_TOO_FEW_DEVICES');
    assert.match(error.message, /pool\d+-1 is missing.*nowhere/);
    return true;
  });
  await assert.rejects(open([...all, ...other]), { code: 'STORE_FOREIGN_DEVICE' });
  for (const half of all) await (await open([half])).close();
  await assert.rejects(open(all), { code: 'STORE_DIVERGED' });
});

test('a mirror goes on with one half, resilvers the other, and heals what rots', async () => {
  const all = paths(2);
  await createPoolFile({ vdevs: [all], sizeBytes: 32 * MIB, name: 'heal' });
  let pool = await open(all);
  let volume = await makeVolume(pool);
  await fill(volume, 1);
  const [, second] = pool.devices.list();
  await pool.devices.offline(second!.id);
  assert.match(pool.devices.list()[1]!.advice, /online/);
  await assert.rejects(pool.devices.offline(pool.devices.list()[0]!.id), {
    code: 'STORE_TOO_FEW_DEVICES',
  });
  await fill(volume, 2);
  await pool.devices.online(second!.id);
  await until(() => pool.devices.list()[1]!.state === 'InSync');
  assert.equal(pool.devices.resilverStatus().state, 'Done');
  await pool.close();
  // One side rots, all of its data.
  const image = readFileSync(all[0]!);
  const fd = openSync(all[0]!, 'r+');
  let rotten = 0;
  for (let at = 10 * 4096; at < image.length - 10 * 4096; at += 4096) {
    if (image[at] !== 2 || image[at + 4095] !== 2) continue;
    writeSync(fd, Buffer.from([0]), 0, 1, at + 99);
    rotten += 1;
  }
  assert.ok(rotten >= 512);
  pool = await open(all);
  volume = pool.volume('v')!;
  await expectFilled(volume, 2);
  await pool.devices.startScrub();
  await until(() => pool.devices.scrubStatus().state === 'Done');
  assert.equal(pool.devices.scrubStatus().damagedBlocks, 0);
  assert.ok(pool.devices.list()[0]!.checksumErrors >= 512);
  assert.match(pool.devices.list()[0]!.advice, /scrub/);
  await pool.close();
  assert.equal((await checkPool(all)).clean, true);
});

test('devices are added, replaced, grown and detached while the pool serves', async () => {
  const [first, added, better] = paths(3) as [string, string, string];
  await createPoolFile({ path: first, sizeBytes: 32 * MIB, name: 'grow' });
  const pool = await open([first]);
  const volume = await makeVolume(pool);
  await fill(volume, 3);
  const before = pool.stats().usableBlocks;
  await pool.devices.add([{ path: added, sizeBytes: 32 * MIB }]);
  await until(() => pool.stats().usableBlocks > before + 4000);
  const usedOf = (vdev: number) =>
    pool.devices.vdevs().find((one) => one.vdev === vdev)!.usedBlocks;
  const usedBefore = usedOf(1);
  await pool.devices.startRebalance();
  await until(() => pool.devices.rebalanceStatus().state === 'Done');
  assert.ok(pool.devices.rebalanceStatus().healedBlocks > 100);
  assert.ok(usedOf(1) > usedBefore + 100);
  await expectFilled(volume, 3);
  const [old] = pool.devices.list();
  await pool.devices.replace(old!.id, { path: better, sizeBytes: 48 * MIB });
  await until(() => pool.devices.list().length === 2);
  await expectFilled(volume, 3);
  await assert.rejects(probePool(first), { code: 'STORE_NOT_A_POOL' });
  const replaced = pool.stats().usableBlocks;
  truncateSync(added, 64 * MIB);
  await pool.devices.grow();
  await until(() => pool.stats().usableBlocks > replaced);
  await fill(volume, 4);
  await pool.close();
  assert.equal((await checkPool([better, added])).clean, true);
  await destroyPool([better, added]);
  await assert.rejects(probePool(better), { code: 'STORE_NOT_A_POOL' });
});

test('a pool that is left alone takes a checkpoint, so that its opening replays nothing', async () => {
  const [path] = paths(1) as [string];
  await createPoolFile({ path, sizeBytes: 32 * MIB, name: 'idle' });
  const pool = await openPool({ path, turn, buffers, cacheBytes: 8 * MIB, idleCheckpointMs: 20 });
  const volume = await makeVolume(pool);
  await fill(volume, 6);
  await until(() => pool.stats().logBytesUsed === 0);
  const { checkpoints } = pool.stats();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(pool.stats().checkpoints, checkpoints);
  await expectFilled(volume, 6);
  await pool.close();
});

test('a copy of a device is not taken for the device', async () => {
  const all = paths(2);
  await createPoolFile({ vdevs: [[all[0]!]], sizeBytes: 32 * MIB, name: 'copy' });
  copyFileSync(all[0]!, all[1]!);
  await assert.rejects(open(all), { code: 'STORE_FOREIGN_DEVICE', message: /copy of the other/ });
});
