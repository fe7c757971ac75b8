// How many coordinators of this node begin at one time. Each asks its replicas for promises and has a record stored before it
// serves, and takes a new epoch where that lasts too long: a thousand that begin in one moment, after a restart, all last too long,
// and begin again, and none of them serves.
import type { Clock, Timer } from '../../base/index.ts';

/** That many are through in well under the time that a record may take (`timeouts.record`). */
export const MOST_OPENINGS = 64;
/** One that waits for replicas that are away does not stand in the way of others for longer. */
export const OPENING_MS = 1000;

export interface OpeningsOptions {
  readonly clock: Clock;
  /** There is a place for it now. */
  readonly nudge: (name: string) => void;
}

export class Openings {
  readonly #options: OpeningsOptions;
  readonly #under = new Map<string, Timer>();
  /** In the order in which they came. */
  readonly #waiting = new Set<string>();

  constructor(options: OpeningsOptions) {
    this.#options = options;
  }

  /** Whether it may begin now. If not it is nudged when there is a place, which others may have taken by then. */
  begin(name: string): boolean {
    if (this.#under.has(name)) return true;
    if (this.#under.size >= MOST_OPENINGS) {
      this.#waiting.add(name);
      return false;
    }
    this.#waiting.delete(name);
    const timer = this.#options.clock.schedule(OPENING_MS, () => this.end(name));
    this.#under.set(name, timer);
    return true;
  }

  /** It serves, or is not begun after all. */
  end(name: string): void {
    this.#waiting.delete(name);
    const timer = this.#under.get(name);
    if (timer === undefined) return;
    timer.cancel();
    this.#under.delete(name);
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.#options.nudge(next);
  }

  close(): void {
    for (const timer of this.#under.values()) timer.cancel();
    this.#under.clear();
    this.#waiting.clear();
  }
}
