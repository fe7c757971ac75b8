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

  /** When this clock will say `localMs`, in simulated time. */
  when(localMs: number): number {
    return (localMs - this.#offsetMs) / this.rate;
  }

  /** It stood still for so long: a virtual machine was stopped with its clock. */
  lose(ms: number): void {
    this.#offsetMs -= ms * this.rate;
  }
}
