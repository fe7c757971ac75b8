// Whether the peer still lives (RFC 7143 §11.19): after some silence a NOP-In asks, and the answer has a deadline.
import type { IscsiLimits } from './limits.ts';

export class Ping {
  /** The Target Transfer Tag of the newest question. */
  ttt = 0;
  #sentMs = -1;
  #heardMs: number;

  constructor(nowMs: number) {
    this.#heardMs = nowMs;
  }

  /** A NOP-Out that answers one of ours. */
  onAnswer(ttt: number): void {
    if (ttt === this.ttt) this.#sentMs = -1;
  }

  /** Once a tick. `heard`: something came since the last. `ask`: send a NOP-In with `ttt`. */
  tick(nowMs: number, heard: boolean, limits: Readonly<IscsiLimits>): 'quiet' | 'ask' | 'dead' {
    if (heard) {
      this.#heardMs = nowMs;
      this.#sentMs = -1;
      return 'quiet';
    }
    if (limits.pingIntervalMs === 0) return 'quiet';
    if (this.#sentMs >= 0) {
      return nowMs - this.#sentMs >= limits.pingTimeoutMs ? 'dead' : 'quiet';
    }
    if (nowMs - this.#heardMs < limits.pingIntervalMs) return 'quiet';
    this.#sentMs = nowMs;
    this.ttt = (this.ttt + 1) & 0x7fffffff;
    return 'ask';
  }
}
