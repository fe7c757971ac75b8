// The lines of an answer that goes on, to a reader of whatever pace. What he has not taken yet waits as it is, and is
// made into text only when there is room for it: objects that wait are those that the store remembers anyway, so a list
// of any length gets through to a reader who keeps reading, and one who does not costs little until he is cut off.
import type { ServerResponse } from 'node:http';
import { WatchBudget } from './watch-budget.ts';

/** Text that is made, and not taken yet. */
export const MAX_UNSENT_BYTES = 256 * 1024;
/** Lines that wait. As many as the store remembers changes: who is further behind must list again anyway. */
export const MAX_WAITING_LINES = 20_000;

export class WaitingLines {
  readonly #raw: ServerResponse;
  readonly #maxLines: number;
  readonly #cut: () => void;
  readonly #budget: WatchBudget;
  #waiting: (() => string)[] = [];
  #next = 0;
  /** Of those that wait, how many are there to begin with: they come first, and say nothing of the reader's pace. */
  #initial = 0;
  #atEmpty: (() => void) | null = null;
  #over = false;

  /** `cut`: the reader is too far behind. `budget`: of all readers. */
  constructor(
    raw: ServerResponse,
    cut: () => void,
    maxLines: number = MAX_WAITING_LINES,
    budget: WatchBudget = new WatchBudget(),
  ) {
    budget.join();
    this.#budget = budget;
    this.#raw = raw;
    this.#cut = cut;
    this.#maxLines = maxLines;
    raw.on('drain', () => this.#pump());
  }

  get count(): number {
    return this.#waiting.length - this.#next;
  }

  /**
   * However many come at once: those that were there already are what counts. `initial`: what there is, before anything
   * that changes: these are not counted at all.
   */
  add(lines: readonly (() => string)[], initial = false): void {
    if (this.#over) return;
    const isBehind = !initial && this.count - this.#initial > this.#maxLines;
    if (isBehind || this.#budget.isExceededBy(this.count)) {
      this.drop();
      this.#cut();
      return;
    }
    if (initial) this.#initial += lines.length;
    this.#budget.count(lines.length);
    for (const line of lines) this.#waiting.push(line);
    this.#pump();
  }

  /** Calls back when everything has been handed on. */
  whenEmpty(done: () => void): void {
    this.#atEmpty = done;
    this.#pump();
  }

  /** Nothing more is handed on. */
  drop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#budget.count(-this.count);
    this.#budget.leave();
    this.#waiting = [];
    this.#next = 0;
    this.#initial = 0;
  }

  #pump(): void {
    const mostBytes = Math.min(MAX_UNSENT_BYTES, this.#budget.unsentBytes);
    while (this.#next < this.#waiting.length && this.#raw.writableLength < mostBytes) {
      const line = this.#waiting[this.#next]!;
      this.#next += 1;
      this.#budget.count(-1);
      if (this.#initial > 0) this.#initial -= 1;
      this.#raw.write(line());
      if (this.#over) return;
    }
    if (this.#next === this.#waiting.length) {
      this.#waiting = [];
      this.#next = 0;
      const done = this.#atEmpty;
      this.#atEmpty = null;
      if (!this.#over) done?.();
    } else if (this.#next > 1024) {
      this.#waiting.splice(0, this.#next);
      this.#next = 0;
    }
  }
}
