// `npm run try:cluster`, the README's way to three replicas on one machine, from its start to Ctrl-C and back.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort, mustRun } from '../e2e/support/process.ts';
import { BLOCK_BYTES, IscsiDisk } from './iscsi-disk.ts';
import { blockOf } from './model.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const START_LIMIT_MS = 90_000;

interface Trial {
  readonly child: ChildProcess;
  readonly output: () => string;
}

/** Until it has told how to log in. Throws with all that it printed when it ends or takes too long. */
async function begin(args: readonly string[]): Promise<Trial> {
  const child = spawn(process.execPath, [join(root, 'scripts/try-cluster.mjs'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text += chunk;
    });
  }
  const endMs = performance.now() + START_LIMIT_MS;
  while (!text.includes('Ctrl-C stops all four.')) {
    if (child.exitCode !== null || performance.now() > endMs) {
      child.kill('SIGTERM');
      throw new Error(`try:cluster did not come up (${child.exitCode}):\n${text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { child, output: () => text };
}

async function end({ child, output }: Trial): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  const [code] = (await ended) as [number | null];
  assert.equal(code, 0, output());
}

/** A snapshot goes to other replicated volumes: as a stream onto two copies and a witness, and through a backup onto three. */
async function copies(at: {
  readonly api: string;
  readonly port: number;
  readonly data: string;
  readonly nodes: readonly string[];
  readonly written: Buffer;
}): Promise<void> {
  const { api, port, data, nodes, written } = at;
  const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
  const ashlar = (...args: string[]) => mustRun(process.execPath, [main, '--api', api, ...args]);
  const [one = '', two = '', three = ''] = nodes;
  const stream = join(data, 'a.ashlar');
  await ashlar('create', 'snapshot', 'a', '--volume', 'demo');
  await ashlar('send', 'demo@a', '-o', stream);
  const pair = ['--replica-node', one, '--replica-node', two, '--witness-node', three];
  await ashlar('receive', 'copy', stream, ...pair);
  await ashlar('backup', 'demo@a', '--to', join(data, 'backups'));
  const trio = nodes.flatMap((node) => ['--replica-node', node]);
  const from = ['--place', join(data, 'backups'), '--backup', 'demo@a'];
  await ashlar('restore', 'restored', ...from, ...trio);
  for (const name of ['copy', 'restored']) {
    const iqn = `iqn.2026-11.io.ashlar:${name}`;
    const disk = await IscsiDisk.login(port, iqn, 'iqn.2026-11.test:host');
    assert.deepEqual(await disk.read(3, 1), written);
    disk.close();
  }
}

test('try:cluster comes up with three copies, is written to, and is there again after Ctrl-C', {
  timeout: 300_000,
}, async () => {
  const data = mkdtempSync(join(tmpdir(), 'ashlar-try-'));
  const port = await freePort();
  const api = `127.0.0.1:${await freePort()}`;
  const args = ['--portal', `127.0.0.1:${port}`, '--api', api];
  const replicas = [await freePort(), await freePort(), await freePort()];
  args.push('--replicas-at', replicas.join(','));
  args.push('--data', data, '--size', '64Mi', '--pool-size', '256Mi');
  args.push('--block-size', String(BLOCK_BYTES));
  const iqn = 'iqn.2026-11.io.ashlar:demo';
  const written = Buffer.alloc(BLOCK_BYTES);
  blockOf(3, 1, written, 0);
  let trial: Trial | null = null;
  try {
    trial = await begin(args);
    assert.match(trial.output(), /^demo +64Mi .*Healthy/m);
    assert.match(trial.output(), /(^demo-r[123] .*Healthy.*\n){3}/m);
    const disk = await IscsiDisk.login(port, iqn, 'iqn.2026-11.test:host');
    await disk.write(3, written);
    disk.close();
    await end(trial);
    trial = await begin(args);
    const again = await IscsiDisk.login(port, iqn, 'iqn.2026-11.test:host');
    assert.deepEqual(await again.read(3, 1), written);
    again.close();
    await copies({ api, port, data, nodes: replicas.map((at) => `127.0.0.1:${at}`), written });
    await end(trial);
    trial = null;
  } finally {
    trial?.child.kill('SIGINT');
    rmSync(data, { recursive: true, force: true });
  }
});
