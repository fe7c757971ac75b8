// The ops of the stream that a member is applying, in order: where `contig` stands (W10), and whether everything before
// a marker is done (W5). They may end in any order; the window's head passes those that did. No allocation per op: the
// window begins small and doubles, as most of a thousand members are never busy.
import { assert } from '../base/index.ts';

const FIRST_SLOTS = 8;
const State = { Running: 1, Done: 2, Failed: 3 } as const;

export class OpWindow {
  #mask = FIRST_SLOTS - 1;
  #ops = new Float64Array(FIRST_SLOTS);
  #sessions = new Float64Array(FIRST_SLOTS);
  #states = new Uint8Array(FIRST_SLOTS);
  #head = 0;
  #tail = 0;
  #running = 0;
  #failed = 0;

  /** Slots are numbers that only grow; the first one not given yet. */
  get tail(): number {
    return this.#tail;
  }

  /** Every slot below it is done. A failed op stops it. */
  get head(): number {
    return this.#head;
  }

  get running(): number {
    return this.#running;
  }

  get failed(): number {
    return this.#failed;
  }

  push(op: number, session: number): number {
    if (this.#tail - this.#head > this.#mask) this.#grow();
    const slot = this.#tail;
    const index = slot & this.#mask;
    this.#ops[index] = op;
    this.#sessions[index] = session;
    this.#states[index] = State.Running;
    this.#tail += 1;
    this.#running += 1;
    return slot;
  }

  opOf(slot: number): number {
    return this.#ops[slot & this.#mask]!;
  }

  sessionOf(slot: number): number {
    return this.#sessions[slot & this.#mask]!;
  }

  /** The op of `slot` has ended. Returns the op number up to which all are done now, or -1 if that did not move. */
  end(slot: number, ok: boolean): number {
    const index = slot & this.#mask;
    assert(slot >= this.#head && slot < this.#tail && this.#states[index] === State.Running);
    this.#states[index] = ok ? State.Done : State.Failed;
    this.#running -= 1;
    if (!ok) this.#failed += 1;
    let reached = -1;
    while (this.#head < this.#tail && this.#states[this.#head & this.#mask] === State.Done) {
      reached = this.#ops[this.#head & this.#mask]!;
      this.#head += 1;
    }
    return reached;
  }

  /** Forgets what failed. Nothing may be running. */
  reset(): void {
    assert(this.#running === 0);
    this.#head = this.#tail;
    this.#failed = 0;
  }

  #grow(): void {
    const mask = this.#mask * 2 + 1;
    const ops = new Float64Array(mask + 1);
    const sessions = new Float64Array(mask + 1);
    const states = new Uint8Array(mask + 1);
    for (let slot = this.#head; slot < this.#tail; slot += 1) {
      ops[slot & mask] = this.#ops[slot & this.#mask]!;
      sessions[slot & mask] = this.#sessions[slot & this.#mask]!;
      states[slot & mask] = this.#states[slot & this.#mask]!;
    }
    this.#mask = mask;
    this.#ops = ops;
    this.#sessions = sessions;
    this.#states = states;
  }
}
