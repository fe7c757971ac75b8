// Keys that want to be looked at. A key is worked on by one worker at a time; one that is asked for meanwhile comes again
// afterwards; one that failed comes again after a wait that doubles. Asking twice is asking once: reconciling looks at
// what is, not at what happened.
import type { Clock, Timer } from '../base/index.ts';

export interface WorkQueueOptions {
  readonly clock: Clock;
  /** Rejecting: the key is tried again later. */
  readonly work: (key: string) => Promise<void>;
  readonly onError: (key: string, error: unknown, retryMs: number) => void;
  /** Keys worked on at one time. */
  readonly workers?: number;
  readonly leastRetryMs?: number;
  readonly mostRetryMs?: number;
}

/** Keys begun before the event loop has its turn. A look that waits for nothing would else be followed by the next at once. */
const MOST_IN_A_TURN = 8;
const LEAST_RETRY_MS = 20;
const MOST_RETRY_MS = 30_000;

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #running = new Set<string>();
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, Timer>();
  #scheduled = false;
  /** Keys begun in this turn of the event loop. */
  #begun = 0;
  #stopped = false;
  #idle: (() => void)[] = [];

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Nothing waits, nothing runs; keys may wait for their time. */
  get idle(): boolean {
    return this.#waiting.size === 0 && this.#running.size === 0;
  }

  add(key: string): void {
    if (this.#stopped) return;
    if (this.#running.has(key)) {
      this.#again.add(key);
      return;
    }
    this.#waiting.add(key);
    this.#kick();
  }

  /** Looks at the key again after a time, unless that comes earlier by itself. */
  addAfter(key: string, delayMs: number): void {
    if (this.#stopped) return;
    this.#timers.get(key)?.cancel();
    this.#timers.set(
      key,
      this.#options.clock.schedule(delayMs, () => {
        this.#timers.delete(key);
        this.add(key);
      }),
    );
  }

  /** Takes no more keys; resolves when those being worked on are done. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#waiting.clear();
    this.#again.clear();
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    if (this.#running.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
    });
  }

  #kick(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      const { workers = 4 } = this.#options;
      for (const key of this.#waiting) {
        if (this.#running.size >= workers || this.#begun >= MOST_IN_A_TURN) break;
        if (this.#begun === 0) setImmediate(() => this.#onTurn());
        this.#begun += 1;
        this.#waiting.delete(key);
        void this.#run(key);
      }
    });
  }

  #onTurn(): void {
    this.#begun = 0;
    if (this.#waiting.size > 0) this.#kick();
  }

  async #run(key: string): Promise<void> {
    this.#running.add(key);
    this.#timers.get(key)?.cancel();
    this.#timers.delete(key);
    try {
      await this.#options.work(key);
      this.#failures.delete(key);
    } catch (error) {
      if (!this.#stopped) this.#retry(key, error);
    }
    this.#running.delete(key);
    if (this.#again.delete(key)) this.#waiting.add(key);
    if (this.#waiting.size > 0) this.#kick();
    if (this.#stopped && this.#running.size === 0) {
      for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  #retry(key: string, error: unknown): void {
    const { leastRetryMs = LEAST_RETRY_MS, mostRetryMs = MOST_RETRY_MS } = this.#options;
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const retryMs = Math.min(mostRetryMs, leastRetryMs * 2 ** Math.min(failures, 20));
    this.#options.onError(key, error, retryMs);
    this.addAfter(key, retryMs);
  }
}
