// The reads under way to members: an id for the wire stands for a slot and its use, so that a late answer to a slot that
// serves another read by now is known for what it is.
import { assert } from '../../base/index.ts';
import type { BlockOp } from '../../block/index.ts';
import { MAX_READS } from './limits.ts';

export class ReadSlot {
  readonly index: number;
  generation = 0;
  /** Null: free, or another member has answered for this one. */
  op: BlockOp | null = null;
  peer = 0;
  sentMs = 0;
  /** Mask of peers that could not deliver. */
  tried = 0;
  live = false;
  hedged = false;
  nextFree: ReadSlot | null = null;

  constructor(index: number) {
    this.index = index;
  }

  get id(): number {
    return this.generation * MAX_READS + this.index;
  }
}

export class ReadTable {
  readonly slots: ReadSlot[] = [];
  #free: ReadSlot | null = null;
  liveCount = 0;

  take(op: BlockOp, peer: number, nowMs: number, tried: number): ReadSlot {
    let slot = this.#free;
    if (slot === null) {
      assert(this.slots.length < MAX_READS, 'more reads under way than any window allows');
      slot = new ReadSlot(this.slots.length);
      this.slots.push(slot);
    } else {
      this.#free = slot.nextFree;
    }
    slot.generation += 1;
    slot.op = op;
    slot.peer = peer;
    slot.sentMs = nowMs;
    slot.tried = tried;
    slot.live = true;
    slot.hedged = false;
    this.liveCount += 1;
    return slot;
  }

  find(id: number): ReadSlot | null {
    const slot = this.slots[id % MAX_READS];
    return slot?.live && slot.id === id ? slot : null;
  }

  give(slot: ReadSlot): void {
    assert(slot.live);
    slot.live = false;
    slot.op = null;
    slot.nextFree = this.#free;
    this.#free = slot;
    this.liveCount -= 1;
  }

  /** Is another slot at work for the same operation (a hedge)? */
  hasOther(slot: ReadSlot): boolean {
    if (!slot.hedged) return false;
    return this.slots.some((other) => other !== slot && other.live && other.op === slot.op);
  }

  /** The operation has been answered: its other slots wait for nothing any more. */
  forget(op: BlockOp): void {
    for (const slot of this.slots) if (slot.live && slot.op === op) slot.op = null;
  }
}
