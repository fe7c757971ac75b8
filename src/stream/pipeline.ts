// A bounded number of promises under way, in order of their beginning.

export class Pipeline {
  readonly #depth: number;
  readonly #running: Promise<void>[] = [];

  constructor(depth: number) {
    this.#depth = depth;
  }

  /** Begins `work` when there is a place for it. Rejects with the first failure of what was begun before. */
  async run(work: () => Promise<void>): Promise<void> {
    if (this.#running.length >= this.#depth) await this.#running.shift();
    const promise = work();
    // Awaited later, by run or drain: until then a failure is nobody's unhandled rejection.
    promise.catch(() => undefined);
    this.#running.push(promise);
  }

  /** Waits for all of them, also after a failure: nothing of ours is under way afterwards. */
  async drain(): Promise<void> {
    const results = await Promise.allSettled(this.#running.splice(0));
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason;
    }
  }
}
