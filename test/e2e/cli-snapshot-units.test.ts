// Goal: a snapshot that is exposed is a write-protected disk of its own: it shows what was there when it was taken, is
// recognised by the same serial after kill -9, refuses writes with DATA PROTECT, and is not deleted under its hosts.
// Method: a daemon as a process; qemu-io reads, libiscsi's own tools ask and try to write.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Answer, run, ServeProcess } from './support/serve.ts';

let folder: string;
let daemon: ServeProcess;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-snapshot-units-'));
  daemon = new ServeProcess(folder, 'one', 192);
  await daemon.start();
});
after(async () => {
  await daemon.end('SIGTERM');
  rmSync(folder, { recursive: true });
});

const does = (...args: string[]): Promise<string> => daemon.does(...args);
const ashlar = (...args: string[]): Promise<Answer> => daemon.ashlar(...args);
const url = (target: string): string => daemon.urlOf(target);

async function io(target: string, ...commands: string[]): Promise<Answer> {
  const readOnly = target.includes('.') ? ['-r'] : [];
  const args = [...readOnly, '-f', 'raw', ...commands.flatMap((command) => ['-c', command])];
  return await run('qemu-io', [...args, url(target)]);
}

async function holds(target: string, ...commands: string[]): Promise<void> {
  const { code, out, err } = await io(target, ...commands);
  assert.equal(code, 0, out + err);
  assert.doesNotMatch(out + err, /failed|mismatch/i);
}

/** VPD page 80h. */
async function serialOf(target: string): Promise<string> {
  const { out } = await run('iscsi-inq', ['-e', '1', '-c', '128', url(target)]);
  const serial = /Unit Serial Number:\[([0-9a-f]{32})/.exec(out)?.[1];
  assert.ok(serial !== undefined, out);
  return serial;
}

test('an exposed snapshot shows what was there, and goes on after kill -9 under the same serial', async () => {
  await does('create', 'volume', 'db', '--size', '64Mi');
  await holds('db', 'write -P 0x11 0 8M', 'flush');
  await does('create', 'snapshot', 'one', '--volume', 'db');
  await holds('db', 'write -P 0x22 0 4M', 'flush');
  assert.equal(await does('expose', 'snapshot', 'db@one'), 'snapshot/db.one exposed\n');
  assert.match(await does('get', 'snapshots', '-o', 'wide'), /iqn\.2026-11\.io\.ashlar:db\.one/);
  assert.match(await does('describe', 'snapshot', 'db@one'), /IQN: +iqn\.\S+:db\.one/);
  await holds('db.one', 'read -P 0x11 0 8M', 'read -P 0 8M 8M');
  await holds('db', 'read -P 0x22 0 4M', 'read -P 0x11 4M 4M');
  const serial = await serialOf('db.one');
  assert.notEqual(serial, await serialOf('db'));

  await daemon.end('SIGKILL');
  await daemon.start();
  await holds('db.one', 'read -P 0x11 0 8M');
  assert.equal(await serialOf('db.one'), serial);
  const list = await run('iscsi-ls', [`iscsi://${daemon.portal}`]);
  assert.match(list.out, /Target:iqn\.2026-11\.io\.ashlar:db\.one/);
});

test('it is write-protected: the bit says so, and writes of every kind give 07h/27h/00h', async () => {
  const opened = await run('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 4k', url('db.one')]);
  assert.match(opened.out + opened.err, /write protected|read-only|Read-only/i);
  const suite = await run('iscsi-test-cu', ['-d', '--test=SCSI.ReadOnly', url('db.one')]);
  const [, ran = '0', passed, failed] = /asserts +\d+ +(\d+) +(\d+) +(\d+) /.exec(suite.out) ?? [];
  assert.ok(Number(ran) >= 10 && ran === passed && failed === '0', suite.out + suite.err);
  await holds('db.one', 'read -P 0x11 0 8M');
});

test('it is not deleted, and not given away, while hosts may see it', async () => {
  const refused = await ashlar('delete', 'snapshot', 'db@one');
  assert.equal(refused.code, 1);
  assert.match(refused.err, /db@one is exposed to hosts, .*: ashlar unexpose snapshot db@one/);
  await does('create', 'volume', 'clone', '--from-snapshot', 'db@one');
  assert.match((await ashlar('promote', 'volume', 'clone')).err, /db@one is exposed to hosts/);
  await does('delete', 'volume', 'clone');
  await does('create', 'snapshot', 'two', '--volume', 'db');
  await does('expose', 'snapshot', 'db@two');
  const back = await ashlar('rollback', 'volume', 'db', '--to', 'one', '--delete-later');
  assert.match(back.err, /db@two is exposed to hosts/);
  await does('unexpose', 'snapshot', 'db@two');
  await does('rollback', 'volume', 'db', '--to', 'one', '--delete-later');
  await holds('db', 'read -P 0x11 0 8M');
  await holds('db.one', 'read -P 0x11 0 8M');

  await does('unexpose', 'snapshot', 'db@one');
  assert.notEqual((await io('db.one', 'read 0 4k')).code, 0);
  assert.doesNotMatch(await does('get', 'snapshots', '-o', 'wide'), /iqn/);
  await daemon.end('SIGKILL');
  await daemon.start();
  assert.notEqual((await io('db.one', 'read 0 4k')).code, 0, 'it stays so after a restart');
  await does('delete', 'snapshot', 'db@one');
});
