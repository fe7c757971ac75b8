// Executions that wait for a data buffer, first come first served. The arena is bounded, and so is this queue: by the
// transport's command windows. Waiting here is the back pressure of reads. Who waits here runs, and waits for nothing else:
// so the first may take the arena's reserve.
import type { Turn } from '../base/index.ts';
import { type DataBuffer, type DataBufferPool, ReserveKind } from '../block/index.ts';
import type { Execution } from './execution.ts';

export class BufferQueue {
  readonly pool: DataBufferPool;
  readonly #turn: Turn;
  #waiting: Execution[] = [];
  /** The execution being served: it alone may pass those that wait. */
  #served: Execution | null = null;
  #armed = false;

  constructor(pool: DataBufferPool, turn: Turn) {
    this.pool = pool;
    this.#turn = turn;
  }

  /** A buffer, or null: then the execution is queued, and its `resume` will be called. */
  take(bytes: number, execution: Execution): DataBuffer | null {
    if (this.#waiting.length === 0 || this.#served === execution) {
      const buffer = this.pool.allocate(bytes) ?? this.pool.allocateReserve(ReserveKind.Execute);
      if (buffer !== null) return buffer;
    }
    if (this.#served === execution) this.#waiting.unshift(execution);
    else this.#waiting.push(execution);
    this.#arm();
    return null;
  }

  /** Takes an aborted execution out. */
  forget(execution: Execution): void {
    const at = this.#waiting.indexOf(execution);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  #arm(): void {
    if (this.#armed) return;
    this.#armed = true;
    this.pool.whenFreed(() => {
      this.#armed = false;
      this.#serve();
    });
  }

  #serve(): void {
    this.#turn.enter();
    // Each pass either serves the head or puts it back and stops.
    for (let rounds = this.#waiting.length; rounds > 0 && !this.#armed; rounds -= 1) {
      const head = this.#waiting.shift();
      if (head === undefined) break;
      this.#served = head;
      head.resume();
      this.#served = null;
    }
    if (this.#waiting.length > 0) this.#arm();
    this.#turn.leave();
  }
}
