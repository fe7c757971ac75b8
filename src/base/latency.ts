// How long things took, counted in buckets: no memory per value, one addition per value.

/** Upper bounds in milliseconds, inclusive; what takes longer than the last is counted beyond. From a RAM-backed read to a hold. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
];

export class LatencyHistogram {
  /** One count a bound, then one beyond; not cumulative. */
  readonly counts: number[] = Array.from({ length: LATENCY_BOUNDS_MS.length + 1 }, () => 0);
  sumMs = 0;
  count = 0;

  add(ms: number): void {
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS_MS.length && ms > LATENCY_BOUNDS_MS[bucket]!) bucket += 1;
    this.counts[bucket]! += 1;
    this.sumMs += ms;
    this.count += 1;
  }
}
