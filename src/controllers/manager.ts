// Runs controllers while this process leads: one leader at a time, by a lease in the store. Who loses the lease stops
// beginning anything at once; what it has begun is one write at a time, each compared and swapped, so a leader that
// lingers changes nothing that the next one has looked at.
import { assert } from '../base/index.ts';
import { type Controller, hasReason, type Surroundings, sameJson } from './controller.ts';
import { keyOf } from './keys.ts';
import { WorkQueue } from './work-queue.ts';

export class ControllerManager {
  readonly #surroundings: Surroundings;
  readonly #controllers: readonly Controller[];
  #queues: Map<Controller, WorkQueue> | null = null;
  #listening = false;
  #stopped: Promise<unknown> = Promise.resolve();

  constructor(surroundings: Surroundings, controllers: readonly Controller[]) {
    this.#surroundings = surroundings;
    this.#controllers = controllers;
  }

  get running(): boolean {
    return this.#queues !== null;
  }

  /** Nothing is being looked at and nothing waits to be, but for what waits for its time. */
  get idle(): boolean {
    return [...(this.#queues?.values() ?? [])].every((queue) => queue.idle);
  }

  /** This process leads from now on. The catalog has been read. */
  start(): void {
    assert(this.#queues === null);
    const queues = new Map<Controller, WorkQueue>();
    for (const controller of this.#controllers) queues.set(controller, this.#queueOf(controller));
    this.#queues = queues;
    if (!this.#listening) this.#listen();
    for (const controller of this.#controllers) {
      for (const object of this.#surroundings.catalog.all(controller.kind)) {
        queues.get(controller)?.add(keyOf(object));
      }
    }
  }

  /** Another leads, or nobody: takes nothing up any more. */
  stop(): void {
    const queues = this.#queues;
    this.#queues = null;
    this.#stopped = Promise.all([...(queues?.values() ?? [])].map((queue) => queue.stop()));
  }

  /** Resolves when what was under way at `stop` has ended. */
  async stopped(): Promise<void> {
    await this.#stopped;
  }

  /** Something about the object changed that no object tells. */
  nudge(controller: Controller, key: string): void {
    this.#queues?.get(controller)?.add(key);
  }

  #queueOf(controller: Controller): WorkQueue {
    const { clock, log } = this.#surroundings;
    const queue: WorkQueue = new WorkQueue({
      clock,
      ...(controller.workers === undefined ? {} : { workers: controller.workers }),
      work: async (key) => {
        const againMs = await controller.reconcile(key);
        if (againMs !== undefined) queue.addAfter(key, againMs);
      },
      onError: (key, error, retryMs) => {
        const fields = { controller: controller.name, key, retryMs, err: error };
        // Somebody else was faster, or the cache was a moment behind: no news for anybody.
        if (hasReason(error, 'Conflict') || hasReason(error, 'AlreadyExists')) {
          log.debug(fields, 'changed meanwhile; looking again');
        } else log.warn(fields, 'reconciling failed; trying again');
      },
    });
    return queue;
  }

  #listen(): void {
    this.#listening = true;
    const { catalog } = this.#surroundings;
    for (const controller of this.#controllers) {
      catalog.onChange(controller.kind, (object) => {
        this.#queues?.get(controller)?.add(keyOf(object));
      });
      for (const { kind, keys, aspect } of controller.triggers) {
        catalog.onChange(kind, (object, before, isGone) => {
          const queue = this.#queues?.get(controller);
          if (queue === undefined) return;
          const isChange = before !== null && !isGone;
          if (isChange && aspect !== undefined && sameJson(aspect(object), aspect(before))) return;
          for (const key of keys(object, catalog)) queue.add(key);
        });
      }
    }
  }
}
