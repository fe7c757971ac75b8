// What all answers that go on may have waiting together: however many watch, and however slowly they read, the server's
// memory has a bound. Each has its share; who has more than that, when all of it is used up, is cut off, and lists anew.

/** Text that is made and not taken, of all of them: 256 KiB each for 256 of them, 16 KiB for 4096. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024;
/** Lines that wait, of all of them: each is a pointer to an object that the store remembers, some 100 bytes. */
export const MAX_LINES = 500_000;

export class WatchBudget {
  readonly #maxUnsentBytes: number;
  readonly #maxLines: number;
  #readers = 0;
  #lines = 0;

  constructor(maxUnsentBytes: number = MAX_UNSENT_BYTES, maxLines: number = MAX_LINES) {
    this.#maxUnsentBytes = maxUnsentBytes;
    this.#maxLines = maxLines;
  }

  get lines(): number {
    return this.#lines;
  }

  join(): void {
    this.#readers += 1;
  }

  leave(): void {
    this.#readers -= 1;
  }

  /** So many more lines wait, or fewer. */
  count(lines: number): void {
    this.#lines += lines;
  }

  /** What one of them may have unsent now. */
  get unsentBytes(): number {
    return this.#maxUnsentBytes / Math.max(1, this.#readers);
  }

  /** Whether too much waits, and one with so many lines is of those who make it so. */
  isExceededBy(lines: number): boolean {
    return this.#lines > this.#maxLines && lines * this.#readers > this.#lines;
  }
}
