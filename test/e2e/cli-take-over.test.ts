// Goal: a daemon does not open a pool that is another's, and takes it over where its operator says so, once; what is refused
// leaves the pool with whoever had it.
// Method: daemons as processes of their own, which labels know by different names, and pools in files that all reach.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ServeProcess } from './support/serve.ts';

const FORCED = ['import', 'pool', 'tank', '--force'];
let folder: string;
let alpha: ServeProcess;
let beta: ServeProcess;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-take-over-'));
  alpha = new ServeProcess(folder, 'alpha', 'size: 128Mi, path: ../both.img, owner: alpha');
  beta = new ServeProcess(folder, 'beta', 'size: 128Mi, path: ../both.img, owner: beta');
});
after(async () => {
  await Promise.all([alpha.end('SIGTERM'), beta.end('SIGTERM')]);
  rmSync(folder, { recursive: true });
});

test("a daemon's own pool is taken over by --take-over, and by nothing else", async () => {
  await alpha.start();
  await alpha.does('create', 'volume', 'db', '--size', '32Mi');
  await alpha.io('db', 'write -P 0xa5 0 4M', 'flush');
  assert.match(await beta.failsToStart('--take-over'), /is in use|open elsewhere/);
  await alpha.end('SIGKILL');

  const refused = await beta.failsToStart();
  assert.match(refused, /pool pool belongs to machine alpha since .* UTC/);
  assert.match(refused, /Stop that machine for good, then start this once with --take-over/);
  await alpha.start(); // It is alpha's as before.
  await alpha.io('db', 'read -P 0xa5 0 4M', 'write -P 0x5a 8M 1M', 'flush');
  await alpha.end('SIGKILL');

  await beta.start('--take-over');
  await beta.io('db', 'read -P 0xa5 0 4M', 'read -P 0x5a 8M 1M', 'write -P 0x77 0 4k', 'flush');
  await beta.end('SIGKILL');
  await beta.start(); // Without another word.
  await beta.io('db', 'read -P 0x77 0 4k');
  await beta.end('SIGTERM');

  assert.match(await alpha.failsToStart(), /pool pool belongs to machine beta since/);
  await alpha.start('--take-over');
  await alpha.end('SIGTERM');
});

test('an import that is refused leaves the pool with its owner; one by force takes it', async () => {
  const one = new ServeProcess(folder, 'one', 'size: 128Mi, owner: one');
  const two = new ServeProcess(folder, 'two', 'size: 128Mi, owner: two');
  const file = join(folder, 'tank.img');
  const device = ['--device', file];
  try {
    await one.start();
    await one.does('create', 'pool', 'tank', ...device, '--size', '128Mi');
    await one.does('create', 'volume', 'web', '--size', '32Mi', '--pool', 'tank');
    await one.io('web', 'write -P 0x11 0 1M', 'flush');
    await one.end('SIGKILL');

    await two.start();
    await two.does('create', 'volume', 'web', '--size', '32Mi');
    assert.match(await two.refuses('import', 'pool', 'tank', ...device), /one has had it since/);
    assert.match(await two.refuses(...FORCED, ...device), /names that are taken here: web/);
    await one.start();
    await one.io('web', 'read -P 0x11 0 1M');
    await one.end('SIGKILL');

    await two.does('delete', 'volume', 'web');
    await two.does(...FORCED, ...device);
    await two.io('web', 'read -P 0x11 0 1M');
    await two.end('SIGTERM');
    await one.start();
    const shown = await one.does('get', 'pool', 'tank', '-o', 'json');
    assert.match(shown, /belongs to machine two since/);
    await one.end('SIGTERM');
    // Of the daemon's own pool alone: what was imported elsewhere is not taken back by it.
    await one.start('--take-over');
    assert.match(
      await one.does('get', 'pool', 'tank', '-o', 'json'),
      /belongs to machine two since/,
    );
  } finally {
    await Promise.all([one.end('SIGTERM'), two.end('SIGTERM')]);
  }
});
