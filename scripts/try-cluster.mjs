// `npm run try:cluster`: three replica daemons and a coordinator as processes of their own on loopback, each with a pool in
// ./data/cluster, and a volume with a copy on each. Ctrl-C stops them all; the next start finds the volume as it was.
//
//   npm run try:cluster -- --portal 127.0.0.1:3261 --api 127.0.0.1:9818 --replicas-at 9911,9912,9913 --data DIR --size 2Gi
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fail } from './progress.mjs';
import { root, setUp } from './setup.mjs';

const { values: flags } = parseArgs({
  options: {
    portal: { type: 'string', default: '127.0.0.1:3260' },
    api: { type: 'string', default: '127.0.0.1:9808' },
    'replicas-at': { type: 'string', default: '9811,9812,9813' },
    data: { type: 'string', default: join(root, 'data', 'cluster') },
    size: { type: 'string', default: '1Gi' },
    'block-size': { type: 'string', default: '512' },
    'pool-size': { type: 'string', default: '4Gi' },
  },
});
await setUp('start');

const data = resolve(flags.data);
const cli = join(root, 'dist/src/cli/main.js');
const ports = flags['replicas-at'].split(',');
if (ports.length !== 3 || !ports.every((port) => /^\d+$/.test(port)))
  fail(`--replicas-at: '${flags['replicas-at']}' is not three ports; write it like 9811,9812,9813`);
const replicas = ports.map((port, index) => ({
  name: `node-${index + 1}`,
  address: `127.0.0.1:${port}`,
}));

/** A secret of the cluster's own, made once. */
mkdirSync(data, { recursive: true });
const secretFile = join(data, 'replication.secret');
if (!existsSync(secretFile)) {
  writeFileSync(secretFile, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
}

function configure(name, text) {
  const folder = join(data, name);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'ashlar.yaml');
  writeFileSync(file, `node:\n  name: ${name}\ndataDir: ${folder}\n${text}`);
  return file;
}

const children = [];
let stopping = false;

function start(name, args) {
  const child = spawn(process.execPath, [cli, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  child.on('exit', (code, signal) => {
    if (!stopping) console.error(`${name} ended (${code ?? signal})`);
  });
  return new Promise((resolveReady, reject) => {
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text) => {
      for (const line of text.split('\n'))
        if (line !== '') console.log(`${name.padEnd(12)} ${line}`);
      if (text.includes('Ctrl-C stops.') || text.includes('  volumes  ')) resolveReady();
    });
    child.on('exit', () => reject(new Error(`${name} did not start`)));
  });
}

function run(...args) {
  return new Promise((done) => {
    const child = spawn(process.execPath, [cli, '--api', flags.api, ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        output += text;
      });
    }
    child.on('exit', (code) => done({ code, output }));
  });
}

async function stop() {
  if (stopping) return;
  stopping = true;
  // The coordinator first: its hosts log out while the replicas are still there.
  for (const child of [...children].reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = new Promise((done) => child.on('exit', done));
    child.kill('SIGTERM');
    await ended;
  }
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void stop());

try {
  await Promise.all(
    replicas.map(({ name, address }) =>
      start(name, [
        'replica',
        '--config',
        configure(
          name,
          `pool:\n  size: ${flags['pool-size']}\nreplication:\n  listen: ${address}\n  secretFile: ${secretFile}\n`,
        ),
      ]),
    ),
  );
  const coordinator = configure(
    'coordinator',
    `pool:\n  size: 64Mi\nportals: [${flags.portal}]\napi:\n  address: ${flags.api}\nreplication:\n  secretFile: ${secretFile}\n`,
  );
  await start('coordinator', ['serve', '--config', coordinator]);
  const nodes = replicas.flatMap(({ address }) => ['--replica-node', address]);
  const made = await run(
    'create',
    'volume',
    'demo',
    '--size',
    flags.size,
    '--block-size',
    flags['block-size'],
    '--replicas',
    '3',
    ...nodes,
  );
  if (made.code !== 0 && !made.output.includes('already exists')) throw new Error(made.output);
  const waited = await run('wait', 'volume/demo', '--for', 'condition=Ready', '--timeout', '60s');
  if (waited.code !== 0) throw new Error(waited.output);
  console.log(
    `\n${(await run('get', 'volumes')).output}\n${(await run('get', 'replicas')).output}`,
  );
  const iqn = 'iqn.2026-11.io.ashlar:demo';
  console.log(`On a Linux host with open-iscsi:
  sudo iscsiadm -m discovery -t sendtargets -p ${flags.portal}
  sudo iscsiadm -m node -T ${iqn} -p ${flags.portal} --login
  sudo mkfs.ext4 /dev/disk/by-path/ip-${flags.portal}-iscsi-${iqn}-lun-0
  sudo iscsiadm -m node -T ${iqn} -p ${flags.portal} --logout

Kill one of the replicas and look:  ${process.argv0} ${cli} --api ${flags.api} get replicas -o wide
Ctrl-C stops all four.`);
} catch (error) {
  console.error(String(error.message ?? error));
  await stop();
  process.exitCode = 1;
}
