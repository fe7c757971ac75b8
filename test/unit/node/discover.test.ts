// Goal: every disk is listed with what the kernel says of it; what is in use is named so, and is not opened.
// Method: a /sys, /proc and /dev made in a folder, where a device's node is a file.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { discoverDevices, type Roots } from '../../../src/node/index.ts';
import { findSignature } from '../../../src/store/index.ts';

let root: string;
let roots: Roots;

function put(path: string, text: string): void {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
}

/** A disk of 8 MiB with its node. `attributes` are files below /sys/block/NAME. */
function aDisk(name: string, number: string, attributes: Record<string, string> = {}): void {
  put(`sys/block/${name}/size`, '16384\n');
  put(`sys/block/${name}/dev`, `${number}\n`);
  put(`sys/block/${name}/ro`, '0\n');
  put(`sys/block/${name}/queue/rotational`, '1\n');
  put(`sys/block/${name}/queue/logical_block_size`, '512\n');
  mkdirSync(join(root, `sys/block/${name}/holders`), { recursive: true });
  for (const [path, text] of Object.entries(attributes)) put(`sys/block/${name}/${path}`, text);
  put(`dev/${name}`, '');
  truncateSync(join(root, `dev/${name}`), 8 << 20);
}

const find = (options: Partial<Parameters<typeof discoverDevices>[0]> = {}) =>
  discoverDevices({ roots, findSignature, ...options });
const byName = (name: string) => find().find(({ path }) => path.endsWith(`/${name}`));

before(() => {
  root = mkdtempSync(join(tmpdir(), 'ashlar-devices-'));
  roots = { sys: join(root, 'sys'), proc: join(root, 'proc'), dev: join(root, 'dev') };
  put(
    'proc/self/mountinfo',
    '27 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 27 8:64 / /srv rw - xfs /dev/sde rw\n',
  );
  put('proc/swaps', 'Filename\tType\tSize\tUsed\tPriority\n/dev/sdd partition 1024 0 -2\n');
  aDisk('sda', '8:0', { 'sda1/partition': '1\n', 'sda1/dev': '8:1\n' });
  aDisk('sdb', '8:16', {
    'device/model': 'HARD DISK      \n',
    'device/serial': 'SN-1\n',
    wwid: 'naa.5000c500a1b2c3d4\n',
  });
  aDisk('sdc', '8:32', { 'holders/dm-0/x': '' });
  aDisk('sdd', '8:48');
  aDisk('sde', '8:64');
  aDisk('nvme0n1', '259:0', { 'queue/rotational': '0\n', 'device/serial': 'NV-9\n' });
  aDisk('sdf', '8:80', { 'sdf1/partition': '1\n', 'sdf1/dev': '8:81\n' });
  aDisk('loop0', '7:0');
  aDisk('loop1', '7:1', { size: '0\n' });
  aDisk('zram0', '253:0');
  mkdirSync(join(root, 'dev/disk/by-id'), { recursive: true });
  symlinkSync('../../sdb', join(root, 'dev/disk/by-id/wwn-0x5000c500a1b2c3d4'));
  symlinkSync('../../sdb', join(root, 'dev/disk/by-id/ata-HARD_DISK_SN-1'));
});
after(() => rmSync(root, { recursive: true }));

test('a disk is described as the kernel describes it, by a name that survives a reboot', () => {
  assert.deepEqual(byName('sdb'), {
    identity: 'naa.5000c500a1b2c3d4',
    path: join(root, 'dev/sdb'),
    byIdPath: join(root, 'dev/disk/by-id/ata-HARD_DISK_SN-1'),
    sizeBytes: 8 << 20,
    logicalBlockBytes: 512,
    model: 'HARD DISK',
    serial: 'SN-1',
    rotational: true,
    readOnly: false,
    sparse: false,
    inUse: '',
    contents: '',
  });
  assert.equal(byName('nvme0n1')?.rotational, false);
  assert.equal(byName('nvme0n1')?.identity, 'NV-9');
});

test('what is in use is named so: mounts, partitions, swap, holders', () => {
  assert.equal(byName('sda')?.inUse, 'sda1: mounted at /');
  assert.equal(byName('sdc')?.inUse, 'held by dm-0');
  assert.equal(byName('sdd')?.inUse, 'swap space');
  assert.equal(byName('sde')?.inUse, 'mounted at /srv');
  assert.equal(byName('sdf')?.inUse, 'has partitions: sdf1');
});

test('a device in use is not opened', () => {
  // Opening it would fail and be told of in `contents`.
  rmSync(join(root, 'dev/sde'));
  assert.equal(byName('sde')?.contents, '');
  truncateSync(join(root, 'dev/sdb'), 0);
  rmSync(join(root, 'dev/sdb'));
  assert.match(byName('sdb')?.contents ?? '', /^unreadable: ENOENT/);
});

test('loop devices and memory are no disks unless asked for; one without a medium is none', () => {
  assert.equal(byName('loop0'), undefined);
  const found = find({ include: ['loop*'], exclude: ['sd*'] }).map(({ path }) => path);
  assert.deepEqual(found, [join(root, 'dev/loop0'), join(root, 'dev/nvme0n1')]);
});

test('a file system is recognised', () => {
  const bytes = Buffer.alloc(8 << 20);
  bytes.write('XFSB', 0, 'latin1');
  writeFileSync(join(root, 'dev/nvme0n1'), bytes);
  assert.equal(byName('nvme0n1')?.contents, 'an XFS file system');
});

test('files of a folder stand in for disks, in order, hidden and unfinished ones left out', () => {
  for (const name of ['disk-10', 'disk-2', '.hidden', 'pool.tmp']) put(`sparse/${name}`, 'x');
  put('sparse/folder/inner', 'x');
  const files = find({ sparseFolder: join(root, 'sparse'), exclude: ['*'] });
  assert.deepEqual(
    files.map(({ path, sparse, sizeBytes }) => [path, sparse, sizeBytes]),
    [
      [join(root, 'sparse/disk-2'), true, 1],
      [join(root, 'sparse/disk-10'), true, 1],
    ],
  );
});

test('a machine without any of these files has no devices', () => {
  const nowhere = join(root, 'nowhere');
  assert.deepEqual(find({ roots: { sys: nowhere, proc: nowhere, dev: nowhere } }), []);
});
