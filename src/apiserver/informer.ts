// A controller's view of one kind: everything that there is, kept up to date by a list and a watch from it, begun anew
// when the watch is too old or the store was away. Level-triggered: a controller hears that something about an object
// changed, and looks at what there is.
import type { Clock, Log, Timer } from '../base/index.ts';
import type { KindRef, ListRequest, ObjectClient, WatchHandle } from './client.ts';
import { ApiError } from './errors.ts';
import type { KubeObject } from './meta.ts';
import { sameJson } from './patch/json-patch.ts';

export interface InformerOptions<T extends KubeObject> {
  readonly client: ObjectClient;
  readonly kind: KindRef<T>;
  readonly clock: Clock;
  readonly log: Log;
  /** Only these. */
  readonly request?: ListRequest;
  /** `after` null: it is gone. Called for everything there is at the beginning, too. */
  readonly onChange?: (after: T | null, before: T | null) => void;
}

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5000;

export class Informer<T extends KubeObject> {
  readonly #options: InformerOptions<T>;
  readonly #objects = new Map<string, T>();
  readonly #ready: Promise<void>;
  #becomeReady: () => void = () => {};
  #watch: WatchHandle | null = null;
  #timer: Timer | null = null;
  #retryMs = FIRST_RETRY_MS;
  #synced = false;
  #closed = false;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#ready = new Promise((resolve) => {
      this.#becomeReady = resolve;
    });
  }

  /** Resolves when the first list is in. */
  start(): Promise<void> {
    void this.#begin();
    return this.#ready;
  }

  /** The first list is in: what is missing is not there. */
  get synced(): boolean {
    return this.#synced;
  }

  get(namespace: string | null, name: string): T | null {
    return this.#objects.get(keyOf(namespace, name)) ?? null;
  }

  all(): T[] {
    return [...this.#objects.values()];
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
    this.#timer?.cancel();
    this.#becomeReady();
  }

  async #begin(): Promise<void> {
    const { client, kind, request = {} } = this.#options;
    try {
      const list = await client.list<T>(kind, request);
      if (this.#closed) return;
      this.#replace(list.items);
      this.#retryMs = FIRST_RETRY_MS;
      this.#watch = client.watch<T>(
        kind,
        { ...request, resourceVersion: list.metadata.resourceVersion },
        {
          onEvents: (events) => {
            for (const { type, object } of events) this.#put(object, type === 'DELETED');
          },
          onEnd: (error) => this.#again(error),
        },
      );
      this.#synced = true;
      this.#becomeReady();
    } catch (error) {
      this.#again(error as Error);
    }
  }

  #again(error: Error): void {
    if (this.#closed) return;
    const isExpired = error instanceof ApiError && error.reason === 'Expired';
    if (!isExpired) {
      this.#options.log.warn(
        { kind: this.#options.kind.kind, err: error },
        'objects cannot be watched now; trying again',
      );
    }
    this.#watch?.close();
    this.#timer = this.#options.clock.schedule(isExpired ? 0 : this.#retryMs, () => {
      void this.#begin();
    });
    this.#retryMs = Math.min(LAST_RETRY_MS, this.#retryMs * 2);
  }

  /** After a pause: what is gone meanwhile is told of, too. */
  #replace(items: readonly T[]): void {
    const gone = new Map(this.#objects);
    for (const object of items) {
      gone.delete(keyOf(object.metadata.namespace ?? null, object.metadata.name));
      this.#put(object, false);
    }
    for (const object of gone.values()) this.#put(object, true);
  }

  #put(object: T, isGone: boolean): void {
    const key = keyOf(object.metadata.namespace ?? null, object.metadata.name);
    const before = this.#objects.get(key) ?? null;
    if (isGone) {
      if (before === null) return;
      this.#objects.delete(key);
      this.#options.onChange?.(null, before);
      return;
    }
    // Kinds that live outside the store may change their status without a new version.
    if (before !== null && sameJson(before, object)) return;
    this.#objects.set(key, object);
    this.#options.onChange?.(object, before);
  }
}

function keyOf(namespace: string | null, name: string): string {
  return `${namespace ?? ''}/${name}`;
}
