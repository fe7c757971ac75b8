// How much of the data buffers the answers to one nexus hold, from the READ that fills them to the last byte that the
// transport sent. Its bound keeps a host that reads slowly, or not at all, from taking all of the arena: its further READs
// wait here for its own earlier answers, and the other hosts do not (T12).
//
// Who waits here has begun, and waits for READs that are running or answered: nothing that waits for it in turn.
import type { Turn } from '../base/index.ts';
import type { DataBuffer } from '../block/index.ts';
import type { Execution } from './execution.ts';
import { MAX_ANSWER_BYTES } from './limits.ts';

export class AnswerShare {
  readonly #turn: Turn;
  #heldBytes = 0;
  #waiting: Execution[] = [];
  /** The execution being served: it alone may pass those that wait. */
  #served: Execution | null = null;
  #armed = false;

  constructor(turn: Turn) {
    this.#turn = turn;
  }

  /**
   * Whether the answer of `bytes` may take a buffer now: not before those that wait, or small ones would keep a large one
   * waiting for ever. One at a time always may.
   */
  admits(execution: Execution, bytes: number): boolean {
    return (this.#waiting.length === 0 || this.#served === execution) && this.#hasRoom(bytes);
  }

  #hasRoom(bytes: number): boolean {
    return this.#heldBytes === 0 || this.#heldBytes + bytes <= MAX_ANSWER_BYTES;
  }

  hold(buffer: DataBuffer): void {
    this.#heldBytes += buffer.capacityBytes;
  }

  /** The transport is done with the buffer, and gives it back. */
  give(buffer: DataBuffer): void {
    this.#heldBytes -= buffer.capacityBytes;
    this.#arm();
  }

  #arm(): void {
    if (this.#waiting.length === 0 || this.#armed) return;
    this.#armed = true;
    queueMicrotask(() => {
      this.#armed = false;
      this.#serve();
    });
  }

  /** Calls the execution's `resume` when it may ask again. */
  wait(execution: Execution): void {
    this.#waiting.push(execution);
  }

  /** Takes an aborted execution out. */
  forget(execution: Execution): void {
    const at = this.#waiting.indexOf(execution);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    if (at === 0) this.#arm(); // Those behind it may be smaller.
  }

  #serve(): void {
    this.#turn.enter();
    // Who asks again takes its place in the share, or joins the queue for the arena. `bytes` is the READ's length.
    for (let head = this.#waiting[0]; head !== undefined; head = this.#waiting[0]) {
      if (!this.#hasRoom(head.bytes)) break;
      this.#waiting.shift();
      this.#served = head;
      head.resume();
      this.#served = null;
    }
    this.#turn.leave();
  }
}
