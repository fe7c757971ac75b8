// The clock of one machine: it runs at its own rate (clocks run at most 1 % apart), from its own origin.
import type { Scheduler } from './scheduler.ts';

export class SimClock {
  readonly #scheduler: Scheduler;
  readonly rate: number;
  #offsetMs: number;

  constructor(scheduler: Scheduler, rate: number, offsetMs: number) {
    this.#scheduler = scheduler;
    this.rate = rate;
    this.#offsetMs = offsetMs;
  }

  now(): number {
    return this.#offsetMs + this.#scheduler.nowMs * this.rate;
  }

  /**
   * When this clock will say `localMs` or just past it, in simulated time; never just before: a timer that rounding makes
   * early by its last bit finds nothing due, is set again for the same instant, and simulated time stands still for ever.
   */
  when(localMs: number): number {
    let atMs = (localMs - this.#offsetMs) / this.rate;
    while (this.#offsetMs + atMs * this.rate < localMs) atMs += ROUNDING_MS;
    return atMs;
  }

  /** It stood still for so long: a virtual machine was stopped with its clock. */
  lose(ms: number): void {
    this.#offsetMs -= ms * this.rate;
  }
}

/** A nanosecond: above the rounding of a clock that has run for weeks, below everything that the simulator tells apart. */
const ROUNDING_MS = 1e-6;
