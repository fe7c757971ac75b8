// Which command has which Initiator Task Tag: open addressing with linear probing over small integers, of a fixed size,
// so that a command costs neither an allocation nor a rehash.
import { assert } from '../base/index.ts';

const EMPTY = -1;

export class TagTable {
  readonly #mask: number;
  readonly #tags: Uint32Array;
  readonly #slots: Int16Array;
  readonly #capacity: number;
  #count = 0;

  /** At most `capacity` tags at a time. */
  constructor(capacity: number) {
    let size = 16;
    while (size < capacity * 4) size *= 2; // A load of a quarter: almost every probe is the first.
    this.#capacity = capacity;
    this.#mask = size - 1;
    this.#tags = new Uint32Array(size);
    this.#slots = new Int16Array(size).fill(EMPTY);
  }

  /** The slot of `tag`, or -1. */
  get(tag: number): number {
    const mask = this.#mask;
    for (let at = home(tag) & mask; ; at = (at + 1) & mask) {
      const slot = this.#slots[at]!;
      if (slot === EMPTY || this.#tags[at] === tag) return slot;
    }
  }

  /** `tag` must not be in the table. */
  set(tag: number, slot: number): void {
    assert(this.#count < this.#capacity && slot >= 0);
    const mask = this.#mask;
    let at = home(tag) & mask;
    for (; this.#slots[at] !== EMPTY; at = (at + 1) & mask) assert(this.#tags[at] !== tag);
    this.#tags[at] = tag;
    this.#slots[at] = slot;
    this.#count += 1;
  }

  /** `tag` must be in the table. */
  delete(tag: number): void {
    const mask = this.#mask;
    let hole = home(tag) & mask;
    for (; this.#tags[hole] !== tag || this.#slots[hole] === EMPTY; hole = (hole + 1) & mask) {
      assert(this.#slots[hole] !== EMPTY, 'a tag that is not in the table');
    }
    // Move back what probed past the hole, so that no tombstones are needed.
    for (let at = (hole + 1) & mask; this.#slots[at] !== EMPTY; at = (at + 1) & mask) {
      const wanted = home(this.#tags[at]!) & mask;
      if (((at - wanted) & mask) >= ((at - hole) & mask)) {
        this.#tags[hole] = this.#tags[at]!;
        this.#slots[hole] = this.#slots[at]!;
        hole = at;
      }
    }
    this.#slots[hole] = EMPTY;
    this.#count -= 1;
  }
}

/** Initiators count tags up, or put an index into high or low bits; a multiplication spreads either. */
function home(tag: number): number {
  return Math.imul(tag, 0x9e3779b1) >>> 16;
}
