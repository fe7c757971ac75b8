// A hot function timed by itself: enough calls that the clock's grain does not matter, several samples, the median
// and the spread. A file `*.bench.ts` beside this one exports a list of cases and nothing else.

/** `run` does `count` operations and returns something, so that the work can't be optimised away. */
export type Case = {
  readonly name: string;
  readonly run: (count: number) => unknown;
  /** Bytes that one operation handles, for a throughput beside the time. */
  readonly bytes?: number;
};

const SAMPLES = 7;
const SAMPLE_MS = 60;

let sink: unknown;

export type Timed = {
  readonly name: string;
  readonly nsMedian: number;
  readonly nsMin: number;
  readonly nsMax: number;
  readonly bytes: number | undefined;
};

export function time(benchCase: Case): Timed {
  const count = calibrate(benchCase);
  const ns: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample += 1) ns.push(elapsedNs(benchCase, count) / count);
  ns.sort((a, b) => a - b);
  return {
    name: benchCase.name,
    nsMedian: ns[SAMPLES >> 1] ?? Number.NaN,
    nsMin: ns[0] ?? Number.NaN,
    nsMax: ns[SAMPLES - 1] ?? Number.NaN,
    bytes: benchCase.bytes,
  };
}

/** Doubles until a sample is long enough, which also lets the compiler settle. */
function calibrate(benchCase: Case): number {
  let count = 1;
  while (elapsedNs(benchCase, count) < SAMPLE_MS * 1e6) count *= 2;
  return count;
}

function elapsedNs(benchCase: Case, count: number): number {
  const from = process.hrtime.bigint();
  sink = benchCase.run(count);
  return Number(process.hrtime.bigint() - from);
}

/** Something the harness kept, so that nothing above counts as unused. */
export function lastResult(): unknown {
  return sink;
}
