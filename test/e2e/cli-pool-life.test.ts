// Goal: pools come and go while the daemon serves, and are found again by their labels: after kill -9, under other names,
// by another daemon. What would destroy something is refused in words that name the field and the way out.
// Method: two daemons as processes of their own, pools on files, data written and read by qemu-io over iSCSI.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run, ServeProcess } from './support/serve.ts';

const MIB = 2 ** 20;
let folder: string;

class Server extends ServeProcess {
  constructor(name: string) {
    super(folder, name, 128);
  }

  async pool(name: string): Promise<PoolAnswer | null> {
    const { code, out } = await this.ashlar('get', 'pool', name, '-o', 'json');
    return code === 0 ? (JSON.parse(out) as PoolAnswer) : null;
  }
}

interface PoolAnswer {
  readonly metadata: { readonly uid: string };
  readonly spec: { readonly devices: string[] };
  readonly status: {
    readonly phase: string;
    readonly readOnly: boolean;
    readonly sizeBytes: number;
    readonly allocatedBytes: number;
    readonly freeBytes: number;
    readonly layout: string;
    readonly advice: string[];
    readonly devices: { path: string; state: string }[];
  };
}

let one: Server;
let two: Server;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-pool-life-'));
  one = new Server('one');
  two = new Server('two');
  await Promise.all([one.start(), two.start()]);
});
after(async () => {
  await Promise.all([one.end('SIGTERM'), two.end('SIGTERM')]);
  rmSync(folder, { recursive: true });
});

const at = (name: string): string => join(folder, name);

test('a mirror is made, written to, and there again after kill -9, under other names', async () => {
  const [a, b] = [at('a.img'), at('b.img')];
  const made = await one.does(
    ...['create', 'pool', 'tank', '--layout', 'mirror', '--device', a, b, '--size', '192Mi'],
  );
  assert.equal(made, 'pool/tank created\n');
  const tank = await one.pool('tank');
  assert.equal(tank?.status.phase, 'Online');
  assert.equal(tank.status.layout, 'mirror');
  await one.does('create', 'volume', 'db', '--size', '64Mi', '--pool', 'tank');
  await one.io('db', 'write -P 0xa5 0 4M', 'write -P 0x5a 32M 1M', 'flush');

  await one.end('SIGKILL');
  mkdirSync(at('moved'));
  renameSync(a, at('other-name.img'));
  renameSync(b, at('third-name.img'));
  await one.start();
  const again = await one.pool('tank');
  assert.equal(again?.status.phase, 'Online', JSON.stringify(again?.status));
  assert.equal(again.metadata.uid, tank.metadata.uid);
  assert.deepEqual([...again.spec.devices].sort(), [at('other-name.img'), at('third-name.img')]);
  await one.io('db', 'read -P 0xa5 0 4M', 'read -P 0x5a 32M 1M');
});

test('a pool whose devices are away is Offline with why, and comes back by itself', async () => {
  await one.end('SIGTERM');
  for (const name of ['other-name.img', 'third-name.img'])
    renameSync(at(name), at(`moved/${name}`));
  await one.start();
  const away = await one.pool('tank');
  assert.equal(away?.status.phase, 'Offline');
  assert.match(away.status.advice.join(), /none of its devices is there: .*other-name\.img/);
  assert.match(await one.refuses('destroy', 'pool', 'tank', '--yes-clear-its-devices'), /not open/);
  assert.match(
    await one.refuses('create', 'volume', 'x', '--size', '1Gi', '--pool', 'tank'),
    /spec\.pool: there is no pool 'tank' that serves; there is pool/,
  );
  for (const name of ['other-name.img', 'third-name.img'])
    renameSync(at(`moved/${name}`), at(name));
  for (let tries = 0; (await one.pool('tank'))?.status.phase !== 'Online'; tries += 1) {
    assert.ok(tries < 60, 'it does not come back');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await one.io('db', 'read -P 0xa5 0 4M');
});

test('half a mirror serves, and its other side is taken up again when it is back', async () => {
  await one.end('SIGTERM');
  renameSync(at('third-name.img'), at('moved/third-name.img'));
  await one.start();
  const half = await one.pool('tank');
  assert.equal(half?.status.phase, 'Degraded');
  assert.match(half.status.advice.join(), /b\.img is Missing .*: connect/);
  await one.io('db', 'write -P 0xb6 8M 1M', 'flush');
  renameSync(at('moved/third-name.img'), at('third-name.img'));
  for (let tries = 0; (await one.pool('tank'))?.status.phase !== 'Online'; tries += 1) {
    assert.ok(tries < 60, 'it is not taken up');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await one.does('device', 'offline', 'tank', 'other-name.img');
  await one.io('db', 'read -P 0xa5 0 4M', 'read -P 0xb6 8M 1M');
  await one.does('device', 'online', 'tank', 'other-name.img');
});

test('what would destroy something, or cannot be, is refused by its field', async () => {
  const mkfs = at('ext4.img');
  writeFileSync(mkfs, '');
  truncateSync(mkfs, 64 * MIB);
  assert.equal((await run('mkfs.ext4', ['-q', '-F', mkfs])).code, 0);
  const create = (...devices: string[]): Promise<string> =>
    one.refuses('create', 'pool', 'bad', '--device', ...devices);
  assert.match(
    await create(mkfs),
    /spec\.devices\[0\]: .*holds an ext2\/3\/4 file system; --force/,
  );
  assert.match(await create(at('other-name.img')), /devices\[0\]: .* is a device of pool tank/);
  assert.match(await create(at('two/pool.img')), /devices\[0\]: .*is in use: another ashlar has/);
  assert.match(await create(at('nowhere.img')), /devices\[0\]: .*is not there: .*--size/);
  assert.match(await create('/dev/disk/by-id/none'), /devices\[0\]: .*is not there; ls -l/);
  assert.match(
    await create('relative.img'),
    /devices\[0\]: 'relative.img' is not an absolute path/,
  );
  assert.match(
    await create(at('n1'), at('n1'), '--size', '64Mi'),
    /devices\[1\]: .*is named twice/,
  );
  assert.match(await create(at('n1'), '--size', '1Mi'), /spec\.size: 1048576 bytes are too few/);
  assert.match(
    await create(
      at('n1'),
      at('n2'),
      at('n3'),
      '--layout',
      'mirror',
      '--sides',
      '2',
      '--size',
      '64Mi',
    ),
    /spec\.devices: names 3, and a mirror has 2 sides each/,
  );
  assert.equal(existsSync(at('n1')), false, 'a refusal leaves nothing behind');
  assert.match(
    await one.refuses('create', 'pool', 'Bad_Name', '--device', at('n1'), '--size', '64Mi'),
    /metadata\.name/,
  );
  await one.does('create', 'pool', 'forced', '--device', mkfs, '--force');
  assert.match(
    await one.refuses('destroy', 'pool', 'forced'),
    /would be cleared, .* say --yes-clear-its-devices/,
  );
  assert.equal(
    await one.does('destroy', 'pool', 'forced', '--yes-clear-its-devices'),
    'pool/forced destroyed\n',
  );
  // Nobody's now: neither a pool nor the file system of before.
  assert.match(await two.does('import', 'pool', '--device', mkfs), /No pool found/);
  assert.match(
    await one.refuses('destroy', 'pool', 'tank', '--yes-clear-its-devices'),
    /pool tank holds 1 volumes: db\. Delete them first/,
  );
});

test('it moves to another machine: exported, or by force', async () => {
  assert.match(await two.does('import', 'pool', '--device', folder), /No pool found/);
  await one.does('export', 'pool', 'tank');
  assert.equal(await one.pool('tank'), null);
  assert.doesNotMatch(await one.does('get', 'volumes'), /db/);
  assert.match(await two.does('import', 'pool', '--device', folder), /tank +\S+ +2\/2 +yes/);
  await two.does('import', 'pool', 'tank', '--device', folder, '--as', 'brought');
  await two.io('db', 'read -P 0xa5 0 4M', 'write -P 0x77 0 1M', 'flush');

  // Its machine is gone, without an export.
  await two.end('SIGKILL');
  assert.match(
    await one.refuses('import', 'pool', 'tank', '--device', folder),
    /was not exported: \S+ has had it since \S+ \S+ UTC, and may have it open, .* --force/,
  );
  await one.does('import', 'pool', 'tank', '--device', folder, '--force');
  await one.io('db', 'read -P 0x77 0 1M', 'read -P 0xa5 1M 3M');
  await one.does('delete', 'volume', 'db');
  await one.does('destroy', 'pool', 'tank', '--yes-clear-its-devices');
  assert.deepEqual(JSON.parse(readFileSync(at('one/pools.json'), 'utf8')), { pools: [] });
  // The other one does not find it any more, and serves its own all the same.
  await two.start();
  assert.equal((await two.pool('brought'))?.status.phase, 'Offline');
  assert.equal((await two.pool('pool'))?.status.phase, 'Online');
  await two.does('export', 'pool', 'brought', '--force');
});

test('a full pool refuses what grows, says so, and still deletes', async () => {
  await one.does('create', 'pool', 'small', '--device', at('small.img'), '--size', '128Mi');
  await one.does('create', 'volume', 'keep', '--size', '16Mi', '--pool', 'small');
  await one.does('create', 'volume', 'fill', '--size', '256Mi', '--pool', 'small');
  await one.io('keep', 'write -P 0x31 0 8M', 'flush');
  const url = `iscsi://${one.portal}/iqn.2026-11.io.ashlar:fill/0`;
  // One that does not fit whole is refused; then ever smaller ones, until nothing fits.
  for (const piece of [4 * MIB, 256 * 1024, 16 * 1024]) {
    const writes: string[] = [];
    for (let offset = 0; offset < 256 * MIB; offset += Math.max(piece, MIB)) {
      writes.push('-c', `write ${offset} ${piece}`);
    }
    const { out, err } = await run('qemu-io', ['-f', 'raw', ...writes, url]);
    assert.match(out + err, /No space left/);
  }
  const full = (await one.pool('small'))!.status;
  assert.equal(full.readOnly, true, JSON.stringify(full));
  assert.ok(full.freeBytes < 4 * MIB, `${full.freeBytes} bytes are free`);
  // The limit: 85 % of what the device has beside superblocks and log.
  const part = full.allocatedBytes / full.sizeBytes;
  assert.ok(part > 0.7 && part < 0.86, `${part} of it is in use`);
  assert.match(
    full.advice.join(),
    /the limit is reached: writes that grow are refused\..*device add small/,
  );
  // What is there is read and overwritten; snapshots and volumes go.
  await one.io('keep', 'read -P 0x31 0 8M', 'write -P 0x32 0 1M', 'flush', 'read -P 0x32 0 1M');
  await one.does('delete', 'volume', 'fill');
  for (let tries = 0; (await one.pool('small'))!.status.readOnly; tries += 1) {
    assert.ok(tries < 100, 'its space does not come back');
  }
  await one.io('keep', 'write -P 0x33 8M 8M', 'flush', 'read -P 0x31 1M 7M');
  await one.does('delete', 'volume', 'keep');
  await one.does('destroy', 'pool', 'small', '--yes-clear-its-devices');
});

const isRoot = process.getuid?.() === 0;

test('raw devices and partitions: found under other names; what is mounted is never taken', {
  skip: isRoot ? false : 'loop devices take root',
}, async (context) => {
  const attached: string[] = [];
  const attach = async (file: string): Promise<string> => {
    const { code, out, err } = await run('losetup', ['--find', '--show', '--partscan', file]);
    if (code !== 0) throw new Error(err);
    attached.push(out.trim());
    return out.trim();
  };
  const files = ['disk-1', 'disk-2', 'disk-3'].map(at);
  for (const file of files) {
    writeFileSync(file, '');
    truncateSync(file, 128 * MIB);
  }
  try {
    await attach(files[0]!);
  } catch (error) {
    context.skip(`no loop devices here: ${(error as Error).message}`);
    return;
  }
  try {
    const [first = ''] = attached;
    const second = await attach(files[1]!);
    const third = await attach(files[2]!);
    await run('mkfs.ext4', ['-q', third]);
    mkdirSync(at('mount'));
    const mounted = (await run('mount', [third, at('mount')])).code === 0;
    if (mounted) {
      const taken = await one.refuses('create', 'pool', 'raw', '--device', third, '--force');
      assert.match(taken, /devices\[0\]: .* is in use: .*It is mounted at .*: umount/);
      await run('umount', [at('mount')]);
    }
    assert.match(
      await one.refuses('create', 'pool', 'raw', '--device', third),
      /holds an ext2\/3\/4/,
    );
    const layout = ['--layout', 'mirror', '--device', first, second];
    await one.does('create', 'pool', 'raw', ...layout);
    await one.does('create', 'volume', 'on-raw', '--size', '64Mi', '--pool', 'raw');
    await one.io('on-raw', 'write -P 0x44 0 4M', 'flush');
    assert.match(
      await two.refuses('create', 'pool', 'raw', '--device', first, '--force'),
      /in use/,
    );
    await one.end('SIGKILL');
    // The kernel gives them other names.
    for (const device of attached.splice(0)) await run('losetup', ['--detach', device]);
    await attach(files[2]!);
    const [b, a] = [await attach(files[1]!), await attach(files[0]!)];
    await one.start();
    const raw = await one.pool('raw');
    assert.equal(raw?.status.phase, 'Online', JSON.stringify(raw?.status));
    assert.deepEqual([...raw.spec.devices].sort(), [a, b].sort());
    await one.io('on-raw', 'read -P 0x44 0 4M');
    await one.does('device', 'replace', 'raw', a, attached[0]!, '--force');
    for (let tries = 0; (await one.pool('raw'))!.spec.devices.length !== 2; tries += 1) {
      assert.ok(tries < 100, 'it is not replaced');
    }
    await one.io('on-raw', 'read -P 0x44 0 4M');
    await one.does('delete', 'volume', 'on-raw');
    await one.does('destroy', 'pool', 'raw', '--yes-clear-its-devices');
  } finally {
    for (const device of attached) await run('losetup', ['--detach', device]);
  }
});

test("the daemon's own pool gets another side, loses the first, and is found after a restart", async () => {
  const first = at('one/pool.img');
  const second = at('second.img');
  await one.does('create', 'volume', 'own', '--size', '32Mi');
  await one.io('own', 'write -P 0x11 0 2M', 'flush');
  await one.does('device', 'replace', 'pool', first, second, '--size', '128Mi');
  for (let tries = 0; (await one.pool('pool'))?.spec.devices.length !== 1; tries += 1) {
    assert.ok(tries < 100, 'it is not replaced');
  }
  await one.end('SIGKILL');
  rmSync(first);
  await one.start();
  assert.deepEqual((await one.pool('pool'))?.spec.devices, [second]);
  await one.io('own', 'read -P 0x11 0 2M');
});
