// What a thousand served volumes cost one process: how long each takes to make, how long lists take, what the process takes
// of a core while nobody does anything, and its memory.
//
//   node dist/bench/served.js [--as serve|node|replicated] [--volumes 1000] [--at-once 1] [--idle-seconds 20] [--spells 1]
//                              [--restart] [--profile FOLDER]
//
// Idle is told of so many spells, one after the other: what the last creations left to be done (heaps to be collected,
// volumes not yet quiet) falls into the first. Median and greatest are of a spell's seconds. `--restart` ends the process
// after that, starts it anew over what it has made, and tells how long it took and what it takes of a core from then on.
// `--profile` leaves V8's profile of the last process in that folder (it is ended by SIGTERM then).
//
//   serve       `ashlar serve`: volumes in its pool
//   node        `ashlar node`: Volumes with one replica each
//   replicated  `ashlar node`: Volumes with three replicas each, in three pools of the one node
import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cpuSeconds } from './figures.ts';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
const READY_LIMIT_MS = 60_000;
const LIST_ROUNDS = 9;
const DISKS = 3;
/** What was asked for last is answered by then. */
const SETTLE_MS = 2000;

interface Shape {
  readonly spec: object;
  readonly command: 'serve' | 'node';
}
const SHAPES: Readonly<Record<string, Shape>> = {
  serve: { command: 'serve', spec: { size: '64Mi' } },
  node: { command: 'node', spec: { size: '64Mi', replicaCount: 1 } },
  replicated: {
    command: 'node',
    spec: { size: '64Mi', replicaCount: 3, replicaPlacement: 'pool' },
  },
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      as: { type: 'string', default: 'serve' },
      volumes: { type: 'string', default: '1000' },
      'at-once': { type: 'string', default: '1' },
      'idle-seconds': { type: 'string', default: '20' },
      spells: { type: 'string', default: '1' },
      restart: { type: 'boolean', default: false },
      profile: { type: 'string' },
    },
  });
  const shape = SHAPES[values.as];
  if (shape === undefined) throw new Error(`--as is one of ${Object.keys(SHAPES).join(', ')}`);
  const volumes = Number(values.volumes);
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-bench-served-'));
  let { child, api, served } = await start(
    shape,
    folder,
    values.restart ? undefined : values.profile,
  );
  const lines: string[] = [];
  const say = (line: string): void => {
    lines.push(line);
    process.stderr.write(`${line}\n`);
  };
  try {
    if (shape.command === 'node') await makePools(api);
    const base = `${api}/apis/ashlar.io/v1`;
    say(`with no volume: ${residentMiB(child)} MiB resident, ${await idleSpell(child, 5)}`);
    const times: number[] = [];
    const make = async (n: number): Promise<void> => {
      const name = `volume-${String(n).padStart(5, '0')}`;
      const before = performance.now();
      const manifest = { apiVersion: 'ashlar.io/v1', kind: 'Volume', metadata: { name } };
      await request(`${base}/volumes`, 'POST', { ...manifest, spec: shape.spec });
      await ready(`${base}/volumes/${name}`);
      times.push(performance.now() - before);
      if (times.length % 100 === 0)
        say(`${times.length} made: the last hundred ${shown(times.slice(-100))}`);
    };
    let next = 0;
    const one = async (): Promise<void> => {
      while (next < volumes) {
        next += 1;
        await make(next - 1);
      }
    };
    await Promise.all(Array.from({ length: Number(values['at-once']) }, one));
    say(`make a volume until hosts can log in: ${shown(times)}`);
    for (const [what, kind, accept] of [
      [`${volumes} volumes as JSON`, 'volumes', 'application/json'],
      [`${volumes} volumes as a table`, 'volumes', TABLE],
      ['replicas as JSON', 'replicas', 'application/json'],
      ['replicas as a table', 'replicas', TABLE],
    ] as const) {
      const took: number[] = [];
      let bytes = 0;
      for (let round = 0; round < LIST_ROUNDS; round += 1) {
        const before = performance.now();
        const answer = await fetch(`${base}/${kind}`, { headers: { accept } });
        bytes = (await answer.arrayBuffer()).byteLength;
        took.push(performance.now() - before);
      }
      say(`list ${what}: ${shown(took)} (${(bytes / 2 ** 20).toFixed(2)} MiB)`);
    }
    const seconds = Number(values['idle-seconds']);
    await pause(SETTLE_MS);
    for (let spell = 0; spell < Number(values.spells); spell += 1) {
      say(
        `idle: ${await idleSpell(child, seconds)} (from ${spell * seconds + SETTLE_MS / 1000} s)`,
      );
    }
    say(`resident: ${residentMiB(child)} MiB`);
    if (values.restart) {
      const beganMs = performance.now();
      await end(child);
      const endedMs = performance.now();
      ({ child, api, served } = await start(shape, folder, values.profile));
      const upMs = performance.now();
      const since = (): string => ((performance.now() - endedMs) / 1000).toFixed(1);
      say(`restart: ended in ${(endedMs - beganMs).toFixed(0)} ms, API after ${since()} s`);
      while (served().size < volumes && performance.now() - upMs < READY_LIMIT_MS) await pause(20);
      say(`${served().size} volumes are served ${since()} s after the restart`);
      for (let spell = 0; spell < Number(values.spells); spell += 1) {
        const from = since();
        say(`idle after a restart: ${await idleSpell(child, seconds)} (from ${from} s)`);
      }
      say(`${served().size} volumes are served`);
      say(`resident: ${residentMiB(child)} MiB`);
    }
    const before = performance.now();
    const text = await (await fetch(`${api}/metrics`)).text();
    say(
      `/metrics: ${(performance.now() - before).toFixed(0)} ms, ${(text.length / 1024).toFixed(0)} KiB`,
    );
    if (values.profile !== undefined) await end(child);
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
  process.stdout.write(`${lines.filter((line) => !line.includes(' made: ')).join('\n')}\n`);
}

interface Started {
  readonly child: ChildProcess;
  readonly api: string;
  /** Volumes that it has said are served: objects tell of before a restart what was so before it. */
  readonly served: () => ReadonlySet<string>;
}

async function start(
  { command }: Shape,
  folder: string,
  profile: string | undefined,
): Promise<Started> {
  if (!existsSync(join(folder, 'disks'))) makeDisks(folder);
  const config = join(folder, 'ashlar.yaml');
  const own =
    command === 'serve'
      ? ['pool: {size: 64Gi, sparse: true}']
      : [`devices: {exclude: ["*"], sparseFolder: ${join(folder, 'disks')}}`];
  const lines = ['dataDir: data', 'portals: ["127.0.0.1:0"]', 'api: {address: "127.0.0.1:0"}'];
  writeFileSync(config, `${[...lines, ...own].join('\n')}\n`);
  const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const child = spawn(process.execPath, [...flags, MAIN, command, '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const served = new Set<string>();
  const api = await new Promise<string>((resolve, reject) => {
    let told = '';
    let line = '';
    const take = (chunk: Buffer): void => {
      if (told === 'all') {
        line += chunk.toString();
        const lines = line.split('\n');
        line = lines.pop() ?? '';
        for (const one of lines) {
          if (!one.includes('"a volume is served"')) continue;
          const { volume = '' } = JSON.parse(one) as { volume?: string };
          served.add(volume);
        }
        return;
      }
      told += chunk.toString();
      const at = /^ {2}API +(http:\/\/127\.0\.0\.1:\d+) /m.exec(told)?.[1];
      if (at === undefined) return;
      told = 'all';
      resolve(at);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('exit', (code) => reject(new Error(`it ended with ${code}:\n${told.slice(-2000)}`)));
  });
  return { child, api, served: () => served };
}

function makeDisks(folder: string): void {
  mkdirSync(join(folder, 'disks'));
  for (let disk = 1; disk <= DISKS; disk += 1) {
    const path = join(folder, 'disks', `disk-${disk}`);
    writeFileSync(path, '');
    truncateSync(path, 16 * 2 ** 30);
  }
}

/** Ended as its service manager ends it. */
async function end(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

/** One pool of each disk. */
async function makePools(api: string): Promise<void> {
  const base = `${api}/apis/openebs.io/v1alpha1/storagepoolclaims`;
  for (let disk = 1; disk <= DISKS; disk += 1) {
    await request(base, 'POST', {
      apiVersion: 'openebs.io/v1alpha1',
      kind: 'StoragePoolClaim',
      metadata: { name: `pool-${disk}` },
      spec: {
        name: `pool-${disk}`,
        type: 'disk',
        poolSpec: { poolType: 'striped' },
        blockDevices: { blockDeviceList: [`blockdevice-${disk}`] },
      },
    });
  }
  const endMs = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const list = (await request(base, 'GET')) as { items: { status?: { phase?: string } }[] };
    if (list.items.every(({ status }) => status?.phase === 'Online')) return;
    if (performance.now() > endMs) throw new Error(`pools: ${JSON.stringify(list.items)}`);
    await pause(200);
  }
}

async function ready(url: string): Promise<void> {
  const endMs = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const { status } = (await request(url, 'GET')) as { status?: { phase?: string } };
    if (status?.phase === 'Ready') return;
    if (performance.now() > endMs) throw new Error(`${url}: ${JSON.stringify(status)}`);
    await pause(5);
  }
}

async function request(url: string, method: string, body?: object): Promise<unknown> {
  const answer = await fetch(url, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

/** User and system time of the process, of one core: over all, and of its seconds. */
async function idleSpell(child: ChildProcess, seconds: number): Promise<string> {
  const percents: number[] = [];
  const beganMs = performance.now();
  const before = cpuSeconds(child.pid);
  let last = before;
  let lastMs = beganMs;
  for (let second = 1; second <= seconds; second += 1) {
    await pause(beganMs + second * 1000 - performance.now());
    const now = cpuSeconds(child.pid);
    const nowMs = performance.now();
    percents.push(((now - last) / (nowMs - lastMs)) * 100_000);
    last = now;
    lastMs = nowMs;
  }
  const mean = ((last - before) / (lastMs - beganMs)) * 100_000;
  percents.sort((a, b) => a - b);
  const of = (index: number): string => (percents.at(index) ?? 0).toFixed(0);
  return `${mean.toFixed(1)} % of a core over ${seconds} s (median second ${of(seconds >> 1)}, greatest ${of(-1)})`;
}

function residentMiB({ pid }: ChildProcess): string {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kib) / 1024).toFixed(0);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function shown(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const ms = (value: number | undefined): string => (value ?? 0).toFixed(1);
  return `median ${ms(sorted[sorted.length >> 1])} ms, least ${ms(sorted[0])}, greatest ${ms(sorted.at(-1))}`;
}

await main();
