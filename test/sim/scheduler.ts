// One queue of events in simulated time. Ties go to who came first, so a run has one order.

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** So many events at one instant are a circle that never ends. The busiest honest instant of 1,000 seeds had 933. */
const MAX_EVENTS_AN_INSTANT = 100_000;

export class Scheduler {
  nowMs = 0;
  events = 0;
  #instant = 0;
  readonly #heap: Event[] = [];
  #order = 0;

  at(atMs: number, run: () => void): void {
    const event = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, run };
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + delayMs, run);
  }

  /** Runs the next event; false when there is none. */
  step(): boolean {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined) return false;
    const last = heap.pop()!;
    if (heap.length > 0) {
      let index = 0;
      for (;;) {
        let child = index * 2 + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
        if (!before(heap[child]!, last)) break;
        heap[index] = heap[child]!;
        index = child;
      }
      heap[index] = last;
    }
    this.#instant = first.atMs === this.nowMs ? this.#instant + 1 : 0;
    if (this.#instant > MAX_EVENTS_AN_INSTANT)
      throw new Error(`time stands still at ${this.nowMs} ms`);
    this.nowMs = first.atMs;
    this.events += 1;
    first.run();
    return true;
  }

  runUntil(endMs: number, stop?: () => boolean): void {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= endMs) {
      this.step();
      if (stop?.()) return;
    }
    this.nowMs = Math.max(this.nowMs, endMs);
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
