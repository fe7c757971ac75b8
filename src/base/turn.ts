// A turn is one wake-up of the event loop: the bytes of one socket read or of a part of it, or one batch of disk completions.
// Rooms queue work while it runs and do it once at its end: the store submits all I/O in one crossing, then each
// connection writes all its answers in one system call. Batching is where the speed comes from; this is its clock.

export interface Flushable {
  /** Does what was deferred. May defer again, itself or others; the turn goes on until nothing is left. */
  flushTurn(): void;
}

/** Phases run in this order, and again from the first as long as anything defers. */
export const TurnPhase = { Submit: 0, Send: 1 } as const;
export type TurnPhase = (typeof TurnPhase)[keyof typeof TurnPhase];

export class Turn {
  readonly #queues: [Flushable[], Flushable[]] = [[], []];
  #depth = 0;
  #scheduled = false;

  /**
   * Runs `flushable.flushTurn()` at the end of this turn. The caller guards against deferring twice (a flag of its
   * own). Outside `run`, the flush happens in a microtask.
   */
  defer(phase: TurnPhase, flushable: Flushable): void {
    this.#queues[phase].push(flushable);
    if (this.#depth === 0 && !this.#scheduled) {
      this.#scheduled = true;
      queueMicrotask(() => {
        this.#scheduled = false;
        this.enter();
        this.leave();
      });
    }
  }

  /** Opens a turn: what is deferred from here on waits for the matching `leave`. Nests. */
  enter(): void {
    this.#depth += 1;
  }

  /** Closes a turn; the outermost one flushes. */
  leave(): void {
    if (this.#depth > 1) {
      this.#depth -= 1;
      return;
    }
    const [submits, sends] = this.#queues;
    while (submits.length > 0 || sends.length > 0) {
      // Submissions first, all of them: completions they bring at once join the same send.
      const queue = submits.length > 0 ? submits : sends;
      const batch = queue.length;
      for (let index = 0; index < batch; index += 1) queue[index]!.flushTurn();
      queue.splice(0, batch);
    }
    this.#depth -= 1;
  }
}
