// Chaos over real processes (T9): hosts write without a pause while replicas and the coordinator are killed, stopped and
// resumed, and the links between them are cut, stalled, slowed, half-closed and corrupted. What must hold: nothing that was
// acknowledged is lost, no read goes back in time, and the volume is Healthy within a minute of the last fault.
//
//   npm run test:chaos -- --minutes 60 [--seed 7] [--keep]
import { parseArgs } from 'node:util';
import { Cluster, type Daemon } from './cluster.ts';
import { BlockModel } from './model.ts';
import { Workload } from './workload.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string' },
    depth: { type: 'string', default: '8' },
    keep: { type: 'boolean', default: false },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const BLOCKS = 4096;

let state = seed >>> 0;
/** mulberry32: a seed gives the same faults in the same order; what meets them is up to the machine. */
function random(): number {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const between = (least: number, most: number): number => least + random() * (most - least);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const say = (text: string): void => {
  process.stdout.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
};

const cluster = new Cluster({ replicas: 3, poolSize: '256Mi' });
const counts = new Map<string, number>();

type Fault = readonly [name: string, weight: number, run: () => Promise<void>];

const someReplica = (): number => Math.floor(random() * cluster.replicas.length);

async function stopFor(daemon: Daemon, ms: number): Promise<void> {
  daemon.child?.kill('SIGSTOP');
  await pause(ms);
  daemon.child?.kill('SIGCONT');
}

const FAULTS: readonly Fault[] = [
  [
    'a replica is killed',
    4,
    async () => {
      const daemon = cluster.replicas[someReplica()]!;
      await cluster.kill(daemon);
      await pause(between(0, 4000));
      await cluster.run(daemon);
    },
  ],
  [
    'two replicas are killed',
    2,
    async () => {
      const first = someReplica();
      const both = [cluster.replicas[first]!, cluster.replicas[(first + 1) % 3]!];
      await Promise.all(both.map((daemon) => cluster.kill(daemon)));
      await pause(between(0, 4000));
      await Promise.all(both.map((daemon) => cluster.run(daemon)));
    },
  ],
  ['a replica is stopped', 3, () => stopFor(cluster.replicas[someReplica()]!, between(500, 9000))],
  [
    'the coordinator is killed',
    4,
    async () => {
      await cluster.kill(cluster.coordinator);
      await pause(between(0, 2000));
      await cluster.run(cluster.coordinator);
    },
  ],
  ['the coordinator is stopped', 2, () => stopFor(cluster.coordinator, between(500, 9000))],
  [
    'everything is killed',
    1,
    async () => {
      const all = [cluster.coordinator, ...cluster.replicas];
      await Promise.all(all.map((daemon) => cluster.kill(daemon)));
      // In any order.
      const order = all.sort(() => random() - 0.5);
      await Promise.all(
        order.map(async (daemon) => {
          await pause(between(0, 3000));
          await cluster.run(daemon);
        }),
      );
    },
  ],
  ['a link is cut', 3, async () => cluster.links[someReplica()]!.cut()],
  [
    'a link is stalled',
    3,
    async () => {
      const link = cluster.links[someReplica()]!;
      link.set('blackhole');
      await pause(between(500, 9000));
      link.set('none');
    },
  ],
  [
    'a link is slow',
    2,
    async () => {
      const link = cluster.links[someReplica()]!;
      link.set('slow');
      await pause(between(1000, 6000));
      link.set('none');
    },
  ],
  [
    'a node cannot be reached',
    2,
    async () => {
      const link = cluster.links[someReplica()]!;
      link.set('refuse');
      await pause(between(500, 8000));
      link.set('none');
    },
  ],
  ['a link is half closed', 1, async () => cluster.links[someReplica()]!.halfClose()],
  [
    'bits flip on a link',
    3,
    async () => {
      cluster.links[someReplica()]!.corrupt(1 + Math.floor(random() * 3));
      await pause(500);
    },
  ],
];

function draw(): Fault {
  const total = FAULTS.reduce((sum, [, weight]) => sum + weight, 0);
  let at = random() * total;
  for (const fault of FAULTS) {
    at -= fault[1];
    if (at < 0) return fault;
  }
  return FAULTS[0]!;
}

let failed: unknown = null;
try {
  say(`seed ${seed}, ${minutes} min; logs in ${cluster.folder}`);
  await cluster.start();
  const iqn = await cluster.createVolume('chaos', '32Mi');
  await cluster.untilState('chaos', 'Healthy', 30_000);
  const model = new BlockModel(BLOCKS);
  const workload = new Workload(cluster.portalPort, iqn, model, random);
  workload.start(Number(values.depth));
  const endMs = performance.now() + minutes * 60_000;
  let slowestMs = 0;
  while (performance.now() < endMs) {
    await pause(between(200, 3000));
    // Mostly one thing at a time; now and then the next before the last has healed.
    const faults = random() < 0.75 ? [draw()] : [draw(), draw()];
    for (const [name, , run] of faults) {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      say(name);
      await run();
      workload.throwFailure();
    }
    if (random() < 0.3) continue;
    const ms = await cluster.untilState('chaos', 'Healthy', 60_000);
    slowestMs = Math.max(slowestMs, ms);
    workload.throwFailure();
  }
  const ms = await cluster.untilState('chaos', 'Healthy', 60_000);
  slowestMs = Math.max(slowestMs, ms);
  await workload.stop();
  say('the faults are over; every block is read');
  await workload.readAll();
  // And from each pair of replicas alone.
  for (let away = 0; away < 3; away += 1) {
    await cluster.kill(cluster.replicas[away]!);
    await workload.readAll();
    await cluster.run(cluster.replicas[away]!);
    await cluster.untilState('chaos', 'Healthy', 60_000);
  }
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  say(
    `${total} faults, ${workload.answered} answers, ${model.acknowledged} writes acknowledged, ${model.unanswered} unanswered, ` +
      `${model.checked} blocks checked, ${workload.logins} logins; Healthy again after ${(slowestMs / 1000).toFixed(1)} s at most, ` +
      `longest silence for hosts ${(workload.longestGapMs / 1000).toFixed(1)} s`,
  );
  for (const [name, count] of counts) say(`  ${String(count).padStart(4)}  ${name}`);
} catch (error) {
  failed = error;
  say(
    `FAILED (seed ${seed}): ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  );
} finally {
  await cluster.dispose(values.keep || failed !== null);
}
process.exit(failed === null ? 0 : 1);
