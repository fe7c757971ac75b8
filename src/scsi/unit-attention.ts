// Unit attention conditions, SAM-5 §5.14: what a nexus must hear before its next command runs.

/** More than there are kinds: a queue never grows past it. */
const MAX_PENDING = 16;

/** Resets come before everything else (SAM-5 §5.14.3): they say that what followed may be stale, too. */
function rank(code: number): number {
  return code >> 8 === 0x29 ? 0 : 1;
}

/** The unit attentions one nexus has to hear of one logical unit, the next to be reported first. */
export class UnitAttentions {
  readonly #codes: number[] = [];

  get pending(): boolean {
    return this.#codes.length > 0;
  }

  /** Establishes a condition, by its ASC and ASCQ. One that is pending already is not doubled. */
  add(code: number): void {
    if (this.#codes.includes(code) || this.#codes.length >= MAX_PENDING) return;
    // 29/00 covers each narrower reset: one report is enough.
    const at = this.#codes.findIndex((queued) => rank(queued) > rank(code));
    if (at < 0) this.#codes.push(code);
    else this.#codes.splice(at, 0, code);
  }

  /** The next condition, cleared by being reported; 0 when there is none. */
  take(): number {
    return this.#codes.shift() ?? 0;
  }

  /** Drops one condition that was reported by other means (REPORT LUNS and 3Fh/0Eh). */
  remove(code: number): void {
    const at = this.#codes.indexOf(code);
    if (at >= 0) this.#codes.splice(at, 1);
  }

  clear(): void {
    this.#codes.length = 0;
  }
}
