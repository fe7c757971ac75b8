// Goal: an operator looks after a pool's devices by commands, while it serves: a mirror is made, a side goes and comes
// back, everything is scrubbed; what cannot be is told by its field.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Answer, ServeProcess } from './support/serve.ts';

let folder: string;
let daemon: ServeProcess;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-pools-'));
  daemon = new ServeProcess(folder, 'one', 128, 'firstVolume: {name: demo, size: 1Gi}');
  await daemon.start();
});
after(async () => {
  await daemon.end('SIGTERM');
  rmSync(folder, { recursive: true });
});

const ashlar = (...args: string[]): Promise<Answer> => daemon.ashlar(...args);

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
