// How fast rebuilds copy (B9): as fast as configured while hosts want nothing; while they do, as fast as leaves them most of
// what they had.
//
// What a copy costs a host is known by trying only: it may be a link, a disk, a processor. So for a moment now and then
// nothing is copied, which shows how long operations take when they are alone, and between those moments the rate goes
// up while they take little longer than that, and down when they do. It never goes below a floor, and not below a tenth of what
// copying has reached: a rebuild ends. The rate that an operator sets is above all of it: it is never exceeded.
//
//   Free -> Settling -> Alone -> Steering -> Settling ...     Any -> Free when hosts want nothing
import {
  LEAST_REBUILD_BYTES_PER_SECOND,
  LEAST_REBUILD_STEER_MS,
  MOST_REBUILD_STEER_MS,
  REBUILD_ALONE_MS,
  REBUILD_STEP_MS,
  REBUILD_TOLERANCE,
  REBUILD_TRICKLE,
} from './limits.ts';

const State = { Free: 0, Settling: 1, Alone: 2, Steering: 3 } as const;
type State = (typeof State)[keyof typeof State];

/** Seconds of copying that may be caught up with at once. */
const BUCKET_SECONDS = 0.05;

export class RebuildPace {
  #state: State = State.Free;
  /** When the state ends. */
  #untilMs = 0;
  #steppedMs = Number.NEGATIVE_INFINITY;
  /** Bytes a second while hosts are at work. */
  #rate = 2 * LEAST_REBUILD_BYTES_PER_SECOND;
  #ceiling = Number.POSITIVE_INFINITY;
  #tokens = 0;
  #tokensMs = 0;
  /** How long operations take when nothing is copied, on average; 0: not known. */
  #aloneMs = 0;
  /** For how long what was measured alone is good. A joiner that has just been started slows down hosts too, but not for long. */
  #steerMs = LEAST_REBUILD_STEER_MS;
  /** Of the operations that ended since the last step. */
  #sumMs = 0;
  #count = 0;
  /** Copied since the last step. */
  #bytes = 0;
  /** Bytes a second in the best step so far: a tenth of it is guaranteed. */
  #fastest = 0;

  /** An operation of a host has ended. Hot. */
  note(tookMs: number): void {
    this.#sumMs += tookMs;
    this.#count += 1;
  }

  /** Bytes a second now; 0 while operations are measured alone. */
  get rate(): number {
    if (this.#state === State.Free) return this.#ceiling;
    return this.#state === State.Steering ? Math.min(this.#rate, this.#ceiling) : 0;
  }

  /**
   * Looks at how hosts fare. To be called at least every REBUILD_STEP_MS while something is being rebuilt. `oldestMs`: for
   * how long the oldest of their operations has been under way, or -1 when there is none.
   */
  step(nowMs: number, oldestMs: number, ceiling: number): void {
    this.#ceiling = ceiling;
    const sinceMs = nowMs - this.#steppedMs;
    if (sinceMs < REBUILD_STEP_MS) return;
    const copied = (this.#bytes / sinceMs) * 1000;
    this.#fastest = Math.max(this.#fastest, copied);
    // A host that asks now and then is not worth stopping for: it finds the path busy one time in ten.
    const idle = this.#sumMs + Math.max(0, oldestMs) < sinceMs * REBUILD_TRICKLE;
    // What it was told of long ago says nothing. A look that comes late, because the processor is as busy as that, is another
    // matter: something was copied since, or nothing is while hosts are measured alone.
    const isStale = sinceMs > 2 * REBUILD_ALONE_MS && this.#bytes === 0;
    const first = isStale && this.#state === State.Steering;
    if (idle) this.#enter(State.Free, nowMs, Number.POSITIVE_INFINITY);
    else if (this.#state === State.Free || first) {
      if (first) this.#aloneMs = 0;
      this.#steerMs = LEAST_REBUILD_STEER_MS;
      this.#enter(State.Settling, nowMs, REBUILD_STEP_MS);
    } else if (nowMs < this.#untilMs) {
      if (this.#state !== State.Steering) return;
      this.#steer(copied, oldestMs);
    } else if (this.#state === State.Settling) this.#enter(State.Alone, nowMs, REBUILD_ALONE_MS);
    else if (this.#state === State.Alone) {
      this.#aloneMs = this.#count > 0 ? this.#sumMs / this.#count : oldestMs;
      this.#enter(State.Steering, nowMs, this.#steerMs);
      this.#steerMs = Math.min(this.#steerMs * 2, MOST_REBUILD_STEER_MS);
    } else this.#enter(State.Settling, nowMs, REBUILD_STEP_MS);
    this.#steppedMs = nowMs;
    this.#sumMs = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  /** May so much be copied now? If not, ask again after `waitMs`. */
  take(nowMs: number, bytes: number, ceiling: number): boolean {
    this.#ceiling = ceiling;
    const { rate } = this;
    if (rate !== Number.POSITIVE_INFINITY) {
      const depth = rate * BUCKET_SECONDS;
      this.#tokens = Math.min(depth, this.#tokens + ((nowMs - this.#tokensMs) / 1000) * rate);
      this.#tokensMs = nowMs;
      if (rate === 0 || (this.#tokens < bytes && this.#tokens < depth)) return false;
      this.#tokens -= bytes; // Below zero for one that is larger than the bucket.
    }
    this.#bytes += bytes;
    return true;
  }

  /** After a `take` in vain: how long until the next may do, about. */
  waitMs(bytes: number): number {
    const { rate } = this;
    if (rate === 0) return REBUILD_STEP_MS;
    const missing = Math.min(bytes, rate * BUCKET_SECONDS) - this.#tokens;
    return Math.max(1, Math.min(REBUILD_STEP_MS, (missing / rate) * 1000));
  }

  #enter(state: State, nowMs: number, forMs: number): void {
    if (state === State.Free && this.#state === state) return;
    this.#state = state;
    this.#untilMs = nowMs + forMs;
    this.#tokens = Math.min(this.#tokens, 0);
    this.#tokensMs = nowMs;
  }

  #steer(copied: number, oldestMs: number): void {
    const tookMs = this.#count > 0 ? this.#sumMs / this.#count : oldestMs;
    if (tookMs > this.#aloneMs * REBUILD_TOLERANCE) this.#rate *= 0.75;
    else {
      // Not beyond what is really copied: a rate that nothing holds back would take long to come down again.
      this.#rate = Math.max(this.#rate, Math.min(this.#rate * 1.25, copied * 2));
    }
    this.#rate = Math.max(this.#rate, LEAST_REBUILD_BYTES_PER_SECOND, this.#fastest / 10);
  }
}
