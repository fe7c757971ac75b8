// The command as people run it, a process of its own, against the daemon with a pool in memory.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { aDaemon, type DaemonUnderTest } from '../daemon/a-daemon.ts';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
let under: DaemonUnderTest;
let folder: string;

before(async () => {
  under = await aDaemon();
  folder = mkdtempSync(join(tmpdir(), 'ashlar-cli-'));
});
after(async () => {
  await under.daemon.stop();
  rmSync(folder, { recursive: true });
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function ashlar(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, ASHLAR_API: under.api };
    execFile(process.execPath, [MAIN, ...args], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test('a volume goes through its life by commands', async () => {
  assert.equal(
    (await ashlar('create', 'volume', 'db', '--size', '64Mi')).out,
    'volume/db created\n',
  );
  const table = (await ashlar('get', 'volumes')).out.split('\n');
  assert.match(table[0]!, /^NAME +SIZE +USED +STATE +REPLICAS +NODE +SESSIONS +IQN +AGE$/);
  assert.match(
    table[1]!,
    /^db +64Mi +0 +Healthy +1\/1 +\S+ +0 +iqn\.2026-11\.io\.ashlar:db +\d+s$/,
  );

  const json = JSON.parse((await ashlar('get', 'volume', 'db', '-o', 'json')).out);
  assert.equal(json.status.iqn, 'iqn.2026-11.io.ashlar:db');
  assert.equal(json.status.capacityBytes, 64 * 2 ** 20);
  assert.equal(json.status.usedBytes, 0);
  assert.equal(json.status.state, 'Healthy');
  assert.equal(parse((await ashlar('get', 'volume', 'db', '-o', 'yaml')).out).kind, 'Volume');
  assert.equal((await ashlar('get', 'volumes', '-o', 'name')).out, 'volume/db\nvolume/demo\n');
  assert.match((await ashlar('get', 'volumes', '-o', 'wide')).out, /PORTALS/);
  assert.match((await ashlar('describe', 'volume', 'db')).out, /^ +IQN: +iqn/m);

  const resized = await ashlar('resize', 'volume', 'db', '--size', '128Mi', '-o', 'json');
  assert.equal(JSON.parse(resized.out).status.capacityBytes, 128 * 2 ** 20);
  const shrunk = await ashlar('resize', 'volume', 'db', '--size', '1Mi');
  assert.equal(shrunk.code, 1);
  assert.match(shrunk.err, /spec\.size: 1Mi is less than the volume has \(128Mi\)/);

  assert.equal((await ashlar('delete', 'volume', 'db')).out, 'volume/db deleted\n');
  const gone = await ashlar('get', 'volume', 'db');
  assert.equal(gone.code, 1);
  assert.equal(gone.err, 'Error from server (NotFound): volumes.ashlar.io "db" not found\n');
});

test('snapshots are taken, listed and deleted under the names that people write', async () => {
  const volume = ['create', 'volume', 'kept', '--size', '64Mi'];
  const tried = await ashlar(...volume, '--snapshots-every', '1h', '--dry-run', '-o', 'json');
  assert.deepEqual(JSON.parse(tried.out).spec.snapshots, { every: '1h', keep: 24 });
  await ashlar(...volume);
  const made = await ashlar('create', 'snapshot', 'monday', '--volume', 'kept', '--volume', 'demo');
  assert.equal(made.out, 'snapshot/kept.monday created\n', made.err);
  const table = (await ashlar('get', 'snapshots')).out.split('\n');
  assert.match(table[0]!, /^NAME +VOLUME +STATUS +SIZE +USED +REFERENCED +WRITTEN +AGE$/);
  assert.match(table[1]!, /^demo\.monday +demo +Ready +1Gi +0 +0 +0 +\d+s$/);
  assert.match((await ashlar('describe', 'snapshot', 'kept@monday')).out, /^Name: +kept\.monday$/m);
  const refused = await ashlar('delete', 'volume', 'kept');
  assert.match(refused.err, /has 1 snapshots: kept@monday\. Delete them first/);
  const gone = await ashlar('delete', 'snapshot', 'kept@monday', 'demo@monday');
  assert.equal(gone.code, 0, gone.err);
  assert.equal((await ashlar('delete', 'volume', 'kept')).code, 0);
});

test('CHAP secrets are read from files and shown nowhere', async () => {
  const secretFile = join(folder, 'secret');
  const mutualFile = join(folder, 'mutual');
  writeFileSync(secretFile, 'correct-horse-battery\n');
  writeFileSync(mutualFile, 'another-long-secret\n');
  const made = await ashlar(
    ...['create', 'volume', 'safe', '--size', '64Mi', '-o', 'json'],
    ...['--chap-user', 'alice', '--chap-secret-file', secretFile],
    ...['--mutual-chap-user', 'target', '--mutual-chap-secret-file', mutualFile],
    ...['--initiator', 'iqn.1993-08.org.debian:01:a', '--initiator', 'iqn.1993-08.org.debian:01:b'],
  );
  assert.equal(made.code, 0, made.err);
  assert.ok(!made.out.includes('battery'));
  const { spec } = JSON.parse(made.out);
  assert.deepEqual(spec.chap, { user: 'alice' });
  assert.deepEqual(spec.mutualChap, { user: 'target' });
  assert.equal(spec.initiators.length, 2);
  assert.ok(!under.log.join('\n').includes('battery'));
  assert.match((await ashlar('get', 'volumes', '-o', 'wide')).out, /mutual CHAP/);
  await ashlar('delete', 'volume', 'safe');
  const half = await ashlar('create', 'volume', 'x', '--size', '1Gi', '--chap-user', 'u');
  assert.equal(half.code, 2);
  assert.match(half.err, /--chap-user and --chap-secret-file go together/);
});

test('apply creates, changes, and says when nothing differs', async () => {
  const file = join(folder, 'volume.yaml');
  const write = (size: string) =>
    writeFileSync(
      file,
      `apiVersion: ashlar.io/v1\nkind: Volume\nmetadata: {name: applied}\nspec: {size: ${size}}\n`,
    );
  write('64Mi');
  assert.equal((await ashlar('apply', '-f', file)).out, 'volume/applied created\n');
  assert.equal((await ashlar('apply', '-f', file)).out, 'volume/applied unchanged\n');
  write('96Mi');
  assert.equal((await ashlar('apply', '-f', file)).out, 'volume/applied configured\n');
  writeFileSync(file, 'apiVersion: ashlar.io/v1\nkind: Session\nmetadata: {name: x}\n');
  const refused = await ashlar('apply', '-f', file);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /not supported on sessions/);
  await ashlar('delete', 'volume', 'applied');
});

test('every command takes an object as kind name and as kind/name', async () => {
  for (const words of [['volume', 'demo'], ['volume/demo']]) {
    for (const [command, ...flags] of [
      ['get'],
      ['describe'],
      ['wait', '--for', 'condition=Ready'],
      ['label', 'tier=one'],
      ['annotate', 'note=two'],
      ['limit', '--limit', 'iops=none'],
      ['resize', '--size', '1Gi'],
    ]) {
      const { code, err } = await ashlar(command!, ...words, ...flags);
      assert.equal(code, 0, `ashlar ${command} ${words.join(' ')}: ${err}`);
    }
  }
  const several = await ashlar('wait', 'volume/demo', 'volume/demo', '--for', 'condition=Ready');
  assert.equal(several.out, 'volume/demo condition met\n'.repeat(2));
  for (const bare of [
    ['wait', 'volume', '--for', 'condition=Ready'],
    ['label', 'volume/', 'a=b'],
    ['rollback', 'volume', '--to', 'x'],
    ['promote', 'volume/'],
  ]) {
    const { code, err } = await ashlar(...bare);
    assert.equal(code, 2, bare.join(' '));
    assert.match(err, /[Gg]ive (its|a) name/);
  }
});

test('mistakes are told by the field, and exit codes tell them apart', async () => {
  const quantity = await ashlar('create', 'volume', 'x', '--size', '5Gx');
  assert.equal(quantity.code, 1);
  assert.match(quantity.err, /size: '5Gx' is not a quantity; write it like 5Gi/);
  assert.equal((await ashlar('nonsense')).code, 2);
  assert.equal((await ashlar('get', 'nonsense')).code, 2);
  assert.equal((await ashlar('create', 'volume', 'x')).code, 2);
  const unreachable = await ashlar('--api', '127.0.0.1:1', 'get', 'volumes');
  assert.equal(unreachable.code, 3);
  assert.match(unreachable.err, /Is 'ashlar serve' running\?/);
});

test('version, sessions and pools are shown', async () => {
  assert.match((await ashlar('version')).out, /^Client: v\d+\.\d+\.\d+\nServer: v\d+/);
  assert.match((await ashlar('get', 'sessions')).err, /No sessions found/);
  assert.match((await ashlar('get', 'pools')).out, /^NAME +STATE +SIZE/);
});

test('config check names line and column, and exits with 1', async () => {
  const file = join(folder, 'bad.yaml');
  writeFileSync(file, 'pool:\n  size: 5Gx\n');
  const checked = await ashlar('config', 'check', file);
  assert.equal(checked.code, 1);
  assert.match(checked.err, /bad\.yaml:2:9: pool\.size/);
});

test('an owner of pools that is set where nodes name themselves is told of, by the check and at the start', async () => {
  const file = join(folder, 'owner.yaml');
  const words = /pool\.owner.*`ashlar node` takes no notice of it/;
  writeFileSync(file, 'pool: {owner: rack-7}\ndataDir: /dev/null/nowhere\n');
  const checked = await ashlar('config', 'check', file);
  assert.deepEqual([checked.code, checked.out], [0, `${file}: good\n`]);
  assert.match(checked.err, words);
  const started = await ashlar('node', '--config', file);
  assert.equal(started.code, 1);
  assert.match(started.out + started.err, words);
  writeFileSync(file, 'dataDir: /dev/null/nowhere\n');
  assert.equal((await ashlar('config', 'check', file)).err, '');
});

test('check pool says in one line why a pool cannot be looked at, and what to do', async () => {
  const missing = await ashlar('check', 'pool', join(folder, 'nothing-here'));
  assert.equal(missing.code, 1);
  assert.match(
    missing.err,
    /^error: .*nothing-here: cannot open it: .*; name the pool's devices.*\n$/,
  );
  const file = join(folder, 'zeros');
  writeFileSync(file, Buffer.alloc(16 << 20));
  const foreign = await ashlar('check', 'pool', file);
  assert.equal(foreign.code, 1);
  assert.match(foreign.err, /^error: .*zeros.*\n$/);
});

test('kinds that only `ashlar node` has are answered with that, others with what there is', async () => {
  const path = join(folder, 'class.yaml');
  writeFileSync(
    path,
    'apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: c}\nprovisioner: x\n',
  );
  const applied = await ashlar('apply', '-f', path);
  assert.notEqual(applied.code, 0);
  assert.match(
    applied.err,
    /no matches for kind "StorageClass" in version "storage\.k8s\.io\/v1": this is `ashlar serve`; .*kinds of `ashlar node`/,
  );
  for (const name of ['spc', 'PersistentVolumeClaims', 'nodes', 'storageclass/c']) {
    assert.match((await ashlar('get', name)).err, /no kind .*kinds of `ashlar node`/, name);
  }
  const unknown = await ashlar('get', 'wombats');
  assert.match(unknown.err, /no kind 'wombats'; there are .*volumes/);
});
