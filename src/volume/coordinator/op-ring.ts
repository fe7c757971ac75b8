// The ops of an epoch that some counted member has not applied yet, by op number. Numbers are consecutive, so the place
// of one is its number modulo the ring; entries are made once and reused. The ring begins small and doubles: of a thousand
// volumes most are never busy, and what lies ready for each of them is walked by every full garbage collection.
import { assert } from '../../base/index.ts';
import type { BlockOp } from '../../block/index.ts';

const NO_CRCS = new Uint32Array(0);
const FIRST_ENTRIES = 8;

export class RingEntry {
  opNumber = 0;
  /** The host's operation while it has no answer; null once acked, or issued anew under a later number. */
  op: BlockOp | null = null;
  lba = 0;
  blocks = 0;
  bytes = 0;
  /** Bit masks of peers. */
  sentTo = 0;
  acks = 0;
  /** Acked to the host: reads must see it (W8). */
  acked = false;
  issuedMs = 0;
  /** Of its blocks, where it brings data; longer than that after an op of more. */
  crcs: Uint32Array = NO_CRCS;
}

export class OpRing {
  #mask = FIRST_ENTRIES - 1;
  #entries: RingEntry[] = [];
  #first = 1;
  #next = 1;

  constructor() {
    for (let index = 0; index <= this.#mask; index += 1) this.#entries.push(new RingEntry());
  }

  /** The lowest number still kept; `next` when the ring is empty. */
  get first(): number {
    return this.#first;
  }

  get next(): number {
    return this.#next;
  }

  get length(): number {
    return this.#next - this.#first;
  }

  /** A new epoch: numbers start at 1 again. */
  reset(): void {
    this.#first = 1;
    this.#next = 1;
  }

  push(): RingEntry {
    if (this.length > this.#mask) this.#grow();
    const entry = this.#entries[this.#next & this.#mask]!;
    entry.opNumber = this.#next;
    entry.op = null;
    entry.lba = 0;
    entry.blocks = 0;
    entry.bytes = 0;
    entry.sentTo = 0;
    entry.acks = 0;
    entry.acked = false;
    this.#next += 1;
    return entry;
  }

  get(opNumber: number): RingEntry | null {
    if (opNumber < this.#first || opNumber >= this.#next) return null;
    return this.#entries[opNumber & this.#mask]!;
  }

  shift(): void {
    assert(this.length > 0);
    this.#first += 1;
  }

  #grow(): void {
    const mask = this.#mask * 2 + 1;
    const entries: RingEntry[] = [];
    for (let index = 0; index <= mask; index += 1) entries.push(new RingEntry());
    for (let number = this.#first; number < this.#next; number += 1) {
      entries[number & mask] = this.#entries[number & this.#mask]!;
    }
    this.#mask = mask;
    this.#entries = entries;
  }
}
