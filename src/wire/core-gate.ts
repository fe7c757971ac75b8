// Keeps a core's rule that nothing calls it from inside its own calls: what comes while it runs waits until it has
// returned. Time is read once for each entry.
import type { Clock } from '../base/index.ts';

export class CoreGate {
  readonly #clock: Clock;
  #inside = false;
  #waiting: ((nowMs: number) => void)[] = [];
  /** After each entry: look at what the core wants next. */
  onLeave: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True: the caller may call the core now, and calls `leave` afterwards. False: `post` it. */
  enter(): boolean {
    if (this.#inside) return false;
    this.#inside = true;
    return true;
  }

  get nowMs(): number {
    return this.#clock.nowMs();
  }

  leave(): void {
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const event of waiting) event(this.#clock.nowMs());
    }
    this.#inside = false;
    this.onLeave?.();
  }

  /** For whatever is not a hot path: calls the core now, or as soon as it has returned. */
  post(event: (nowMs: number) => void): void {
    if (!this.enter()) {
      this.#waiting.push(event);
      return;
    }
    event(this.#clock.nowMs());
    this.leave();
  }
}
