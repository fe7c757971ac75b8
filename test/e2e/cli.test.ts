// Goal: the program as it is run, `ashlar serve` with the native engine on a file, started, asked, stopped, killed and
// started again; what was reported as made is there.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const START_LIMIT_MS = 60_000;
let folder: string;

interface Served {
  readonly child: ChildProcess;
  readonly portal: string;
  readonly api: string;
  readonly output: () => string;
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-e2e-cli-'));
  writeFileSync(
    join(folder, 'ashlar.yaml'),
    [
      'dataDir: data',
      'pool: {size: 320Mi}',
      'portals: ["127.0.0.1:0"]',
      'api: {address: "127.0.0.1:0"}',
      'firstVolume: {name: demo, size: 1Gi}',
      'memory: {buffers: 32Mi}',
      '',
    ].join('\n'),
  );
});
after(() => rmSync(folder, { recursive: true }));

/** Starts the daemon and waits until it says where it is. */
function serve(): Promise<Served> {
  const config = join(folder, 'ashlar.yaml');
  const child = spawn(process.execPath, [MAIN, 'serve', '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`the daemon did not start:\n${output}`));
    }, START_LIMIT_MS);
    child.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`the daemon ended with ${code}:\n${output}`));
    });
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
      const portal = /^ {2}portal +(127\.0\.0\.1:\d+)$/m.exec(output)?.[1];
      const api = /^ {2}API +http:\/\/(127\.0\.0\.1:\d+) /m.exec(output)?.[1];
      if (portal === undefined || api === undefined || !output.includes('Ctrl-C stops.')) return;
      clearTimeout(timer);
      resolve({ child, portal, api, output: () => output });
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
  });
}

async function end(served: Served, signal: NodeJS.Signals): Promise<number | null> {
  const gone = new Promise<number | null>((resolve) => served.child.once('exit', resolve));
  served.child.kill(signal);
  return await gone;
}

function run(api: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = { ...process.env, ASHLAR_API: api };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test('it serves, keeps what was made over a stop and a kill, and refuses a second opener', async () => {
  let served = await serve();
  const { portal } = served;
  const iqn = 'iqn.2026-11.io.ashlar:demo';
  assert.ok(served.output().includes(`sudo iscsiadm -m discovery -t sendtargets -p ${portal}`));
  assert.ok(served.output().includes(`sudo iscsiadm -m node -T ${iqn} -p ${portal} --login`));
  assert.equal(statSync(join(folder, 'data/pool.img')).size, 320 * 2 ** 20);
  // The pool holds CHAP secrets.
  assert.equal(statSync(join(folder, 'data')).mode & 0o077, 0);

  const made = await run(served.api, 'create', 'volume', 'db', '--size', '16Ti', '-o', 'json');
  assert.equal(made.code, 0, made.err);
  const volume = JSON.parse(made.out);
  await assert.rejects(serve(), /ended with 1:.*error: .*pool\.img/s);

  assert.equal(await end(served, 'SIGTERM'), 0);
  assert.match(served.output(), /Stopping.*Stopped\.\n/s);

  served = await serve();
  await run(served.api, 'resize', 'volume', 'db', '--size', '17Ti');
  await run(served.api, 'delete', 'volume', 'demo');
  await end(served, 'SIGKILL');

  served = await serve();
  const found = JSON.parse((await run(served.api, 'get', 'volume', 'db', '-o', 'json')).out);
  assert.equal(found.metadata.uid, volume.metadata.uid);
  assert.equal(found.status.capacityBytes, 17 * 2 ** 40);
  assert.equal(found.status.state, 'Healthy');
  // Deleted once, the first volume does not come back.
  assert.equal((await run(served.api, 'get', 'volumes', '-o', 'name')).out, 'volume/db\n');
  assert.equal(await end(served, 'SIGINT'), 0);
});

test('it outlives who read its output, and reads its configuration again on SIGHUP', async () => {
  const api = `127.0.0.1:${await aFreePort()}`;
  const config = join(folder, 'ashlar.yaml');
  const child = spawn(process.execPath, [MAIN, 'serve', '--config', config, '--api', api], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const gone = new Promise<number | null>((resolve) => child.once('exit', resolve));
  // Before the first line: what it prints when it has started already goes to nobody.
  child.stdout.destroy();
  let log = '';
  const logged = async (text: string): Promise<void> => {
    while (!log.includes(text)) {
      const ended = gone.then((code) =>
        assert.fail(`ended with ${code} before "${text}":\n${log}`),
      );
      await Promise.race([once(child.stderr, 'data'), ended]);
    }
  };
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  await logged('portal is open');
  for (let tries = 0; (await run(api, 'get', 'volumes')).code !== 0; tries += 1) {
    assert.ok(tries < 50 && child.exitCode === null, `it does not answer:\n${log}`);
  }
  child.kill('SIGHUP');
  await logged('the configuration was read again');
  child.stderr.destroy();
  // Each is logged, to nobody.
  assert.equal((await run(api, 'create', 'volume', 'unread', '--size', '1Gi')).code, 0);
  assert.equal((await run(api, 'delete', 'volume', 'unread')).code, 0);
  assert.equal(child.exitCode, null);
  child.kill('SIGTERM');
  assert.equal(await gone, 0);
});

async function aFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
