// npm run test:sim -- --seeds 1000 [--first-seed K] [--minutes 10] [--shape 3] [--jobs 2] [--trace]
// Runs the swarm over a range of seeds. A failure prints its seed; that seed alone replays it.
//
// Seeds run in threads, which end with this process however it ends. A thread gets a few seeds at a time, so that all have
// work until the end. One whose seed does not end is stopped, the seed has failed, and another thread goes on behind it.
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { runSeed, type SwarmResult } from './swarm.ts';

/** Seeds that a worker gets at once: enough to hide the asking, few enough that none waits for the last. */
const CHUNK_SEEDS = 5;
/** After so many failures nobody reads on. */
const MAX_FAILURES = 20;
const PROGRESS_MS = 10_000;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    'first-seed': { type: 'string', default: process.env['SIM_SEED'] ?? '1' },
    minutes: { type: 'string', default: '10' },
    shape: { type: 'string' },
    jobs: { type: 'string', default: String(Math.min(2, cpus().length)) },
    trace: { type: 'boolean', default: false },
  },
});

function number(name: 'seeds' | 'first-seed' | 'minutes' | 'jobs'): number {
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
/** A seed takes some 0.03 s a minute; a machine may be a hundred times as busy. */
const SEED_LIMIT_MS = 60_000 + minutes * 6000;

function runOne(seed: number): SwarmResult {
  return runSeed({
    seed,
    minutes,
    ...(values.shape === undefined ? {} : { shape: values.shape }),
    ...(values.trace ? { trace: (line: string) => console.log(line) } : {}),
  });
}

class Totals {
  readonly #startMs = performance.now();
  seeds = 0;
  ops = 0;
  reads = 0;
  faults = 0;
  activations = 0;
  losses = 0;
  unhealed = 0;
  leastOps = Number.MAX_SAFE_INTEGER;
  leastFaults = Number.MAX_SAFE_INTEGER;
  simulatedMs = 0;
  readonly failures: number[] = [];

  add(result: SwarmResult): void {
    this.seeds += 1;
    this.ops += result.ops;
    this.reads += result.reads;
    this.faults += result.faults;
    this.activations += result.activations;
    this.losses += result.losses;
    this.simulatedMs += result.simulatedMs;
    this.leastOps = Math.min(this.leastOps, result.ops);
    this.leastFaults = Math.min(this.leastFaults, result.faults);
    if (!result.healed) this.unhealed += 1;
    if (result.failure !== null) this.fail(result.seed, `(${result.shape}): ${result.failure}`);
  }

  fail(seed: number, text: string): void {
    this.failures.push(seed);
    console.error(`seed ${seed} ${text}`);
  }

  progress(): void {
    console.log(
      `${this.seeds} of ${seeds} seeds, ${this.faults} faults, ${this.failures.length} failures`,
    );
  }

  report(): void {
    const seconds = ((performance.now() - this.#startMs) / 1000).toFixed(0);
    const hours = (this.simulatedMs / 3_600_000).toFixed(1);
    console.log(
      `${this.seeds} seeds in ${seconds} s: ${hours} simulated hours, ${this.ops} operations ` +
        `(least ${this.leastOps}), ${this.reads} reads checked, ${this.faults} faults (least ${this.leastFaults}), ` +
        `${this.activations} activations, ${this.losses} declared losses, ${this.unhealed} left down after a wipe; ` +
        `${this.failures.length} failures`,
    );
    for (const seed of this.failures.sort((a, b) => a - b)) {
      const shape = values.shape === undefined ? '' : ` --shape ${values.shape}`;
      console.log(
        `  replay: npm run test:sim -- --seeds 1 --first-seed ${seed} --minutes ${minutes}${shape} --trace`,
      );
    }
    process.exitCode = this.failures.length > 0 ? 1 : 0;
  }
}

/** Seeds from `from` to before `to`. */
interface Chunk {
  readonly from: number;
  readonly to: number;
}

/** A thread: an answer for each seed of a chunk, then null. */
function work(): void {
  const port = parentPort!;
  port.on('message', ({ from, to }: Chunk) => {
    for (let seed = from; seed < to; seed += 1) port.postMessage(runOne(seed));
    port.postMessage(null);
  });
  port.postMessage(null);
}

class Pool {
  readonly #totals: Totals;
  readonly #end = first + seeds;
  #next = first;
  /** What threads that were stopped had still to do. */
  readonly #left: Chunk[] = [];

  constructor(totals: Totals) {
    this.#totals = totals;
  }

  async run(): Promise<void> {
    while (this.#hasMore()) await this.#thread();
  }

  #hasMore(): boolean {
    return (
      this.#totals.failures.length < MAX_FAILURES &&
      (this.#left.length > 0 || this.#next < this.#end)
    );
  }

  #take(): Chunk {
    const left = this.#left.pop();
    if (left !== undefined) return left;
    const from = this.#next;
    this.#next = Math.min(this.#end, from + CHUNK_SEEDS);
    return { from, to: this.#next };
  }

  /** One thread, until there is no more, or a seed of its does not end. */
  #thread(): Promise<void> {
    const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
    let chunk: Chunk = { from: 0, to: 0 };
    let timer: NodeJS.Timeout | undefined;
    const begin = (from: number): void => {
      chunk = { from, to: chunk.to };
      timer = setTimeout(() => stop(`does not end: ${SEED_LIMIT_MS / 1000} s`), SEED_LIMIT_MS);
    };
    const stop = (text: string): void => {
      if (chunk.from < chunk.to) this.#totals.fail(chunk.from, text);
      if (chunk.from + 1 < chunk.to) this.#left.push({ from: chunk.from + 1, to: chunk.to });
      chunk = { from: 0, to: 0 };
      void worker.terminate();
    };
    worker.on('error', (error) => stop(`ended its thread: ${error}`));
    worker.on('message', (result: SwarmResult | null) => {
      clearTimeout(timer);
      if (result !== null) {
        this.#totals.add(result);
        if (result.seed + 1 < chunk.to) begin(result.seed + 1);
      } else if (this.#hasMore()) {
        chunk = this.#take();
        worker.postMessage(chunk);
        begin(chunk.from);
      } else void worker.terminate();
    });
    return new Promise((resolve) => {
      worker.on('exit', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

if (!isMainThread) {
  work();
} else if (jobs === 1 || values.trace) {
  const totals = new Totals();
  for (let index = 0; index < seeds && totals.failures.length < MAX_FAILURES; index += 1)
    totals.add(runOne(first + index));
  totals.report();
} else {
  const totals = new Totals();
  const timer = setInterval(() => totals.progress(), PROGRESS_MS);
  const pool = new Pool(totals);
  await Promise.all(Array.from({ length: jobs }, () => pool.run()));
  clearInterval(timer);
  totals.report();
}
