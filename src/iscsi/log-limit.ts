// What strangers may write into our log: so many lines a minute, then one line that counts the rest. Connections that never
// log in cost nothing to make, and a log that a port scanner fills tells nothing any more.
import type { Log } from '../base/index.ts';

const WINDOW_MS = 60_000;

export class LogLimit {
  readonly #log: Log;
  readonly #most: number;
  #beganMs = 0;
  #lines = 0;

  /** At most `most` lines in a minute. */
  constructor(log: Log, most: number) {
    this.#log = log;
    this.#most = most;
  }

  /** True when one more line may be written now. */
  allows(nowMs: number): boolean {
    this.tick(nowMs);
    if (this.#lines === 0) this.#beganMs = nowMs;
    this.#lines += 1;
    return this.#lines <= this.#most;
  }

  /** Now and then: tells of what was left out, when its minute is over. */
  tick(nowMs: number): void {
    if (this.#lines === 0 || nowMs - this.#beganMs < WINDOW_MS) return;
    const lines = this.#lines - this.#most;
    this.#lines = 0;
    if (lines > 0) {
      this.#log.warn({ lines }, 'more lines about connections that did not log in, left out');
    }
  }
}
