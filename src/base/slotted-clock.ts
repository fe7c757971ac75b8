// A clock for a thousand things that wait long: timers that are far off fall due in slots, all of one slot together and in
// one turn. A thousand coordinators that each woke at an instant of their own to say that they are there would wake the
// process, and send a frame, a thousand times a second; so they wake it twenty times, and what they say leaves in one write
// to each node. What is near fires when it should.
import type { Clock, Timer } from './clock.ts';
import type { Turn } from './turn.ts';

const SLOT_MS = 50;
/** Nothing comes later than by a tenth of its delay. */
const LEAST_DELAY_MS = 10 * SLOT_MS;

interface Waiting extends Timer {
  callback: (() => void) | null;
}

export class SlottedClock implements Clock {
  readonly #clock: Clock;
  readonly #turn: Turn;
  /** By the slot's number: its end is that many times SLOT_MS. */
  readonly #slots = new Map<number, Waiting[]>();

  constructor(clock: Clock, turn: Turn) {
    this.#clock = clock;
    this.#turn = turn;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  schedule(delayMs: number, callback: () => void): Timer {
    if (delayMs < LEAST_DELAY_MS || delayMs === Number.POSITIVE_INFINITY) {
      return this.#clock.schedule(delayMs, callback);
    }
    const nowMs = this.#clock.nowMs();
    const slot = Math.ceil((nowMs + delayMs) / SLOT_MS);
    const timer: Waiting = {
      callback,
      cancel: () => {
        timer.callback = null;
      },
    };
    const waiting = this.#slots.get(slot);
    if (waiting !== undefined) {
      waiting.push(timer);
      return timer;
    }
    this.#slots.set(slot, [timer]);
    this.#clock.schedule(slot * SLOT_MS - nowMs, () => this.#onSlot(slot));
    return timer;
  }

  #onSlot(slot: number): void {
    const waiting = this.#slots.get(slot) ?? [];
    this.#slots.delete(slot);
    this.#turn.enter();
    for (const timer of waiting) {
      const { callback } = timer;
      timer.callback = null;
      callback?.();
    }
    this.#turn.leave();
  }
}
