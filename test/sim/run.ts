// npm run test:sim -- --seeds 1000 [--first-seed K] [--minutes 5] [--shape 3] [--jobs 2] [--trace]
// Runs the swarm over a range of seeds, in worker processes. A failure prints its seed; that seed alone replays it.
import { type ChildProcess, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runSeed, type SwarmResult } from './swarm.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    'first-seed': { type: 'string', default: process.env['SIM_SEED'] ?? '1' },
    minutes: { type: 'string', default: '5' },
    shape: { type: 'string' },
    jobs: { type: 'string', default: String(Math.min(2, cpus().length)) },
    stride: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
  },
});

function number(name: 'seeds' | 'first-seed' | 'minutes' | 'jobs' | 'stride'): number {
  const value = Number(values[name]);
  if (!(value > 0)) {
    console.error(`--${name} must be a number above zero, not ${values[name]}`);
    process.exit(2);
  }
  return value;
}

const seeds =
  process.env['SIM_SEED'] !== undefined && !process.argv.includes('--seeds') ? 1 : number('seeds');
const first = number('first-seed');
const minutes = number('minutes');
const jobs = Math.min(number('jobs'), seeds);
const stride = number('stride');

interface Totals {
  seeds: number;
  ops: number;
  reads: number;
  faults: number;
  activations: number;
  losses: number;
  unhealed: number;
  leastOps: number;
  leastFaults: number;
  simulatedMs: number;
  failures: SwarmResult[];
}

function emptyTotals(): Totals {
  return {
    seeds: 0,
    ops: 0,
    reads: 0,
    faults: 0,
    activations: 0,
    losses: 0,
    unhealed: 0,
    leastOps: Number.MAX_SAFE_INTEGER,
    leastFaults: Number.MAX_SAFE_INTEGER,
    simulatedMs: 0,
    failures: [],
  };
}

function work(): Totals {
  const totals = emptyTotals();
  for (let index = 0; index < seeds; index += stride) {
    const seed = first + index;
    const result = runSeed({
      seed,
      minutes,
      ...(values.shape === undefined ? {} : { shape: values.shape }),
      ...(values.trace ? { trace: (line: string) => console.log(line) } : {}),
    });
    totals.seeds += 1;
    totals.ops += result.ops;
    totals.reads += result.reads;
    totals.faults += result.faults;
    totals.activations += result.activations;
    totals.losses += result.losses;
    totals.simulatedMs += result.simulatedMs;
    totals.leastOps = Math.min(totals.leastOps, result.ops);
    totals.leastFaults = Math.min(totals.leastFaults, result.faults);
    if (!result.healed) totals.unhealed += 1;
    if (result.failure !== null) {
      totals.failures.push(result);
      console.error(`seed ${seed} (${result.shape}): ${result.failure}`);
      if (totals.failures.length >= 20) break;
    }
  }
  return totals;
}

function report(totals: Totals, seconds: number): void {
  const hours = (totals.simulatedMs / 3_600_000).toFixed(1);
  console.log(
    `${totals.seeds} seeds in ${seconds.toFixed(0)} s: ${hours} simulated hours, ${totals.ops} operations ` +
      `(least ${totals.leastOps}), ${totals.reads} reads checked, ${totals.faults} faults (least ${totals.leastFaults}), ` +
      `${totals.activations} activations, ${totals.losses} declared losses, ${totals.unhealed} left down after a wipe; ` +
      `${totals.failures.length} failures`,
  );
  for (const { seed } of totals.failures) {
    console.log(
      `  replay: npm run test:sim -- --seeds 1 --first-seed ${seed} --minutes ${minutes} --trace`,
    );
  }
}

const children: ChildProcess[] = [];
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    for (const child of children) child.kill('SIGKILL');
    process.exit(1);
  });
}

async function runWorker(offset: number): Promise<Totals> {
  const args = [
    fileURLToPath(import.meta.url),
    '--worker',
    ...['--seeds', String(seeds - offset), '--first-seed', String(first + offset)],
    ...['--stride', String(jobs), '--minutes', String(minutes)],
    ...(values.shape === undefined ? [] : ['--shape', values.shape]),
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`a worker of the simulation ended with ${code}`);
  return JSON.parse(output) as Totals;
}

const startMs = performance.now();
if (values.worker) {
  process.stdout.write(JSON.stringify(work()));
} else if (jobs === 1 || values.trace) {
  const totals = work();
  report(totals, (performance.now() - startMs) / 1000);
  process.exitCode = totals.failures.length > 0 ? 1 : 0;
} else {
  const all = await Promise.all(Array.from({ length: jobs }, (_, index) => runWorker(index)));
  const totals = emptyTotals();
  for (const one of all) {
    totals.seeds += one.seeds;
    totals.ops += one.ops;
    totals.reads += one.reads;
    totals.faults += one.faults;
    totals.activations += one.activations;
    totals.losses += one.losses;
    totals.unhealed += one.unhealed;
    totals.simulatedMs += one.simulatedMs;
    totals.leastOps = Math.min(totals.leastOps, one.leastOps);
    totals.leastFaults = Math.min(totals.leastFaults, one.leastFaults);
    totals.failures.push(...one.failures);
  }
  report(totals, (performance.now() - startMs) / 1000);
  process.exitCode = totals.failures.length > 0 ? 1 : 0;
}
