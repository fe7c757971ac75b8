// Goal: an operator looks after a pool's devices by commands, while it serves: a mirror is made, a side goes and comes
// back, everything is scrubbed; what cannot be is told by its field.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const START_LIMIT_MS = 60_000;
let folder: string;
let child: ChildProcess;
let api: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-pools-'));
  const config = join(folder, 'ashlar.yaml');
  writeFileSync(
    config,
    [
      'dataDir: data',
      'pool: {size: 128Mi}',
      'portals: ["127.0.0.1:0"]',
      'api: {address: "127.0.0.1:0"}',
      'firstVolume: {name: demo, size: 1Gi}',
      'memory: {buffers: 32Mi}',
      '',
    ].join('\n'),
  );
  child = spawn(process.execPath, [MAIN, 'serve', '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  for (;;) {
    const signal = AbortSignal.timeout(START_LIMIT_MS);
    const [chunk] = (await once(child.stdout!, 'data', { signal })) as [Buffer];
    output += chunk.toString();
    const found = /^ {2}API +http:\/\/(127\.0\.0\.1:\d+) /m.exec(output)?.[1];
    if (found === undefined) continue;
    api = found;
    return;
  }
});
after(async () => {
  child.kill('SIGTERM');
  await once(child, 'exit');
  rmSync(folder, { recursive: true });
});

function ashlar(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, ASHLAR_API: api };
    execFile(process.execPath, [MAIN, ...args], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

interface PoolAnswer {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly devices: { path: string; state: string; next: string }[];
    readonly scrub: { state: string; percent: number };
  };
}

async function pool(): Promise<PoolAnswer> {
  const { out, err } = await ashlar('get', 'pools', '-o', 'json');
  const [only] = (JSON.parse(out || err) as { items: PoolAnswer[] }).items;
  return only!;
}

async function until(condition: (now: PoolAnswer) => boolean): Promise<PoolAnswer> {
  for (let tries = 0; ; tries += 1) {
    const now = await pool();
    if (condition(now)) return now;
    assert.ok(tries < 100, JSON.stringify(now.status));
  }
}

test('a mirror is made, a side goes and comes back, all of it is scrubbed', async () => {
  const { metadata, status } = await pool();
  const { name } = metadata;
  const [first] = status.devices;
  assert.equal(status.devices.length, 1);
  const side = join(folder, 'side.img');
  const attached = await ashlar('device', 'attach', name, first!.path, side, '--size', '128Mi');
  assert.equal(attached.out, `pool/${name} device attached\n`, attached.err);
  await until(
    (now) =>
      now.status.devices.length === 2 && now.status.devices.every((one) => one.state === 'InSync'),
  );

  assert.equal((await ashlar('device', 'offline', name, 'side.img')).code, 0);
  const away = await until((now) => now.status.devices.some((one) => one.state === 'Offline'));
  const shown = away.status.devices.find((one) => one.path === side);
  assert.match(shown?.next ?? '', /bring .* online/);
  assert.match(
    (await ashlar('describe', 'pool', name)).out,
    /side\.img.*Offline|Offline.*side\.img/s,
  );
  assert.equal((await ashlar('device', 'online', name, 'side.img')).code, 0);
  await until((now) => now.status.devices.every((one) => one.state === 'InSync'));

  const scrub = await ashlar('scrub', 'pool', name);
  assert.equal(scrub.out, `pool/${name} scrub started\n`, scrub.err);
  const done = await until((now) => now.status.scrub.state === 'Done');
  assert.equal(done.status.scrub.percent, 100);
});

test('what cannot be is told by its field', async () => {
  const { name } = (await pool()).metadata;
  const unknown = await ashlar('device', 'offline', name, 'nothing');
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /device: the pool has no device 'nothing'; it has /);
  const tiny = await ashlar('device', 'add', name, join(folder, 'tiny.img'), '--size', '4096');
  assert.equal(tiny.code, 1);
  assert.match(tiny.err, /Invalid/);
});
