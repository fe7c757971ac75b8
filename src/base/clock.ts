// Time comes in through a constructor, everywhere: production hands in SystemClock, tests move a ManualClock.

export interface Timer {
  /** Idempotent: a timer that fired or was cancelled stays so. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds from an arbitrary origin; fractions allowed. */
  nowMs(): number;
  /** Calls `callback` once, not before `delayMs` from now. Never calls it from inside `schedule`. */
  schedule(delayMs: number, callback: () => void): Timer;
}

export class SystemClock implements Clock {
  nowMs(): number {
    return performance.now();
  }

  schedule(delayMs: number, callback: () => void): Timer {
    const handle = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(handle) };
  }
}

interface ManualTimer extends Timer {
  atMs: number;
  order: number;
  callback: (() => void) | null;
}

/** A clock that a test moves by hand. Timers fire in time order, then in order of creation. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #order = 0;
  #timers: ManualTimer[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): Timer {
    const timer: ManualTimer = {
      atMs: this.#nowMs + Math.max(0, delayMs),
      order: this.#order++,
      callback,
      cancel: () => {
        timer.callback = null;
      },
    };
    this.#timers.push(timer);
    return timer;
  }

  /** Moves time on by `deltaMs`, firing what falls due on the way at its own instant. */
  advance(deltaMs: number): void {
    const endMs = this.#nowMs + deltaMs;
    for (;;) {
      this.#timers = this.#timers.filter((timer) => timer.callback !== null);
      this.#timers.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
      const next = this.#timers[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#timers.shift();
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      const { callback } = next;
      next.callback = null;
      callback?.();
    }
    this.#nowMs = endMs;
  }

  /** Time goes by and no timer fires: the process was stopped, or was busy for so long. */
  standStill(deltaMs: number): void {
    this.#nowMs += deltaMs;
  }

  /** How many timers are pending: a test asserts that a closed thing left none behind. */
  get pending(): number {
    return this.#timers.filter((timer) => timer.callback !== null).length;
  }
}
