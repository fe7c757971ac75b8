// Admission (W1): which operations may run at the same time. A read and a change that overlap never do, so a read sees
// a change wholly acknowledged or not at all; changes of whole blocks may overlap, the store applies them in order; an
// exclusive operation (read-modify-write) runs alone on its range. Who must wait, waits in order of arrival: an
// operation passes no earlier one that it conflicts with, so nobody starves.
import { assert } from '../base/index.ts';
import type { BlockOp } from '../block/index.ts';

export const AccessMode = { Read: 0, Change: 1, Exclusive: 2 } as const;
export type AccessMode = (typeof AccessMode)[keyof typeof AccessMode];

/** Indexed by mode, then by mode: may the two overlap? */
function conflicts(a: number, b: number): boolean {
  return a !== b || a === AccessMode.Exclusive;
}

interface Waiter {
  readonly op: BlockOp;
  readonly start: number;
  readonly end: number;
  readonly mode: AccessMode;
  /** How many that came before it, and conflict with it, have not ended: it runs when there are none. */
  before: number;
}

const INITIAL_CAPACITY = 256;

export class Admission {
  readonly #start: (op: BlockOp) => void;
  // What runs now, dense: entry i of each array belongs to one operation, whose `admitted` is i.
  #ops: (BlockOp | null)[] = new Array(INITIAL_CAPACITY).fill(null);
  #starts = new Float64Array(INITIAL_CAPACITY);
  #ends = new Float64Array(INITIAL_CAPACITY);
  #modes = new Uint8Array(INITIAL_CAPACITY);
  #count = 0;
  /** How many of each mode run. Most workloads read or write: then no scan is needed at all. */
  readonly #running: [number, number, number] = [0, 0, 0];
  /** In order of arrival. */
  readonly #waiting: Waiter[] = [];
  /** Admitted after they waited, and not started yet; in order of arrival. */
  #ready: BlockOp[] = [];
  #starting = false;

  /** `start` is called for an operation that waited, once it may run. */
  constructor(start: (op: BlockOp) => void) {
    this.#start = start;
  }

  get runningCount(): number {
    return this.#count;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** The changes that run now. */
  runningChanges(): Set<BlockOp> {
    const changes = new Set<BlockOp>();
    for (let index = 0; index < this.#count; index += 1) {
      if (this.#modes[index] !== AccessMode.Read) changes.add(this.#ops[index]!);
    }
    return changes;
  }

  /** True: run it now, and call `release` at its end. False: it waits, and `start` will be called. Range [start, end). */
  admit(op: BlockOp, start: number, end: number, mode: AccessMode): boolean {
    assert(op.admitted === -1);
    assert(start < end);
    const before = this.#runningBefore(start, end, mode) + this.#waitingBefore(start, end, mode);
    if (before > 0) {
      this.#waiting.push({ op, start, end, mode, before });
      return false;
    }
    this.#enter(op, start, end, mode);
    return true;
  }

  /** The operation has ended. The caller tells its owner, then calls `startWaiters`. */
  release(op: BlockOp): void {
    const index = op.admitted;
    assert(index >= 0 && this.#ops[index] === op);
    const start = this.#starts[index]!;
    const end = this.#ends[index]!;
    const mode = this.#modes[index] as AccessMode;
    op.admitted = -1;
    this.#running[mode] -= 1;
    this.#count -= 1;
    const last = this.#count;
    if (index !== last) {
      const moved = this.#ops[last]!;
      this.#ops[index] = moved;
      this.#starts[index] = this.#starts[last]!;
      this.#ends[index] = this.#ends[last]!;
      this.#modes[index] = this.#modes[last]!;
      moved.admitted = index;
    }
    this.#ops[last] = null;
    if (this.#waiting.length > 0) this.#endedBefore(start, end, mode);
  }

  /**
   * Forgets an operation that has not been started: true; it holds nobody up any more. The caller calls `startWaiters` once
   * those that it held up may begin.
   */
  withdraw(op: BlockOp): boolean {
    const index = this.#waiting.findIndex((waiter) => waiter.op === op);
    if (index >= 0) {
      const [{ start, end, mode }] = this.#waiting.splice(index, 1) as [Waiter];
      this.#endedBefore(start, end, mode, index); // Who came later waited for it.
      return true;
    }
    const ready = this.#ready.indexOf(op);
    if (ready < 0) return false;
    this.#ready.splice(ready, 1);
    this.release(op);
    return true;
  }

  /** Starts what waited and may run now, in order of arrival. */
  startWaiters(): void {
    // One that is started may end at once and come back here: the loop goes on, not the stack down.
    if (this.#starting) return;
    this.#starting = true;
    while (this.#ready.length > 0) {
      const ready = this.#ready;
      this.#ready = [];
      for (const op of ready) this.#start(op);
    }
    this.#starting = false;
  }

  /** What waited for this one alone is admitted: from now on it holds others up as what runs does. */
  #endedBefore(start: number, end: number, mode: AccessMode, from = 0): void {
    const waiting = this.#waiting;
    let kept = from;
    for (let index = from; index < waiting.length; index += 1) {
      const waiter = waiting[index]!;
      const waited = start < waiter.end && waiter.start < end && conflicts(mode, waiter.mode);
      if (waited) waiter.before -= 1;
      assert(waiter.before >= 0);
      if (waiter.before > 0) {
        waiting[kept] = waiter;
        kept += 1;
        continue;
      }
      this.#enter(waiter.op, waiter.start, waiter.end, waiter.mode);
      this.#ready.push(waiter.op);
    }
    waiting.length = kept;
  }

  #enter(op: BlockOp, start: number, end: number, mode: AccessMode): void {
    const index = this.#count;
    if (index === this.#starts.length) this.#grow();
    this.#ops[index] = op;
    this.#starts[index] = start;
    this.#ends[index] = end;
    this.#modes[index] = mode;
    op.admitted = index;
    this.#count += 1;
    this.#running[mode] += 1;
  }

  #runningBefore(start: number, end: number, mode: AccessMode): number {
    const running = this.#running;
    const rivals = mode === AccessMode.Exclusive ? this.#count : this.#count - running[mode];
    if (rivals === 0) return 0;
    let before = 0;
    for (let index = 0; index < this.#count; index += 1) {
      if (
        start < this.#ends[index]! &&
        this.#starts[index]! < end &&
        conflicts(mode, this.#modes[index]!)
      ) {
        before += 1;
      }
    }
    return before;
  }

  #waitingBefore(start: number, end: number, mode: AccessMode): number {
    let before = 0;
    for (const waiter of this.#waiting) {
      if (start < waiter.end && waiter.start < end && conflicts(mode, waiter.mode)) before += 1;
    }
    return before;
  }

  #grow(): void {
    const capacity = this.#starts.length * 2;
    const starts = new Float64Array(capacity);
    const ends = new Float64Array(capacity);
    const modes = new Uint8Array(capacity);
    starts.set(this.#starts);
    ends.set(this.#ends);
    modes.set(this.#modes);
    this.#starts = starts;
    this.#ends = ends;
    this.#modes = modes;
    while (this.#ops.length < capacity) this.#ops.push(null);
  }
}
