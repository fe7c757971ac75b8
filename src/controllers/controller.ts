// What every controller is made of. A controller looks at one object at a time, by its key, and does the next thing that
// brings what is closer to what is wanted; it is asked again until there is nothing left to do. It keeps nothing between
// two looks, so one that was killed after any write goes on from there.
import {
  ApiError,
  type EventRecorder,
  Informer,
  type KindDefinition,
  type KubeObject,
  kubeTime,
  type ObjectClient,
} from '../apiserver/index.ts';
import { assert, type Clock, type Log } from '../base/index.ts';

/** `NAMESPACE/NAME`, or `NAME` where the kind has no namespaces. */
export function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined
    ? metadata.name
    : `${metadata.namespace}/${metadata.name}`;
}

export function refOf(key: string): { namespace: string | null; name: string } {
  const at = key.indexOf('/');
  return at < 0
    ? { namespace: null, name: key }
    : { namespace: key.slice(0, at), name: key.slice(at + 1) };
}

/** All objects of the kinds that controllers look at, at most a moment old. */
export class Catalog {
  readonly #informers = new Map<string, Informer<KubeObject>>();
  readonly #listeners = new Map<string, ((object: KubeObject) => void)[]>();

  constructor(
    options: { client: ObjectClient; clock: Clock; log: Log },
    kinds: readonly KindDefinition[],
  ) {
    for (const kind of kinds) {
      const id = idOf(kind);
      const informer = new Informer<KubeObject>({
        ...options,
        kind,
        onChange: (after, before) => {
          const object = after ?? before;
          assert(object !== null);
          for (const listener of this.#listeners.get(id) ?? []) listener(object);
        },
      });
      this.#informers.set(id, informer);
    }
  }

  /** Resolves when everything has been read once. */
  async start(): Promise<void> {
    await Promise.all([...this.#informers.values()].map((informer) => informer.start()));
  }

  close(): void {
    for (const informer of this.#informers.values()) informer.close();
  }

  all<T extends KubeObject>(kind: KindDefinition<T>): T[] {
    return this.#of(kind).all() as T[];
  }

  get<T extends KubeObject>(kind: KindDefinition<T>, key: string): T | null {
    const { namespace, name } = refOf(key);
    return this.#of(kind).get(namespace, name) as T | null;
  }

  /** Told of each object that was made, changed or deleted; what it is now is looked up. */
  onChange<T extends KubeObject>(kind: KindDefinition<T>, listener: (object: T) => void): void {
    const id = idOf(kind as unknown as KindDefinition);
    const listeners = this.#listeners.get(id) ?? [];
    listeners.push(listener as (object: KubeObject) => void);
    this.#listeners.set(id, listeners);
  }

  #of<T extends KubeObject>(kind: KindDefinition<T>): Informer<KubeObject> {
    const informer = this.#informers.get(idOf(kind as unknown as KindDefinition));
    assert(informer !== undefined, `${kind.kind} is not looked at`);
    return informer;
  }
}

function idOf({ group, plural }: KindDefinition): string {
  return `${group}/${plural}`;
}

export interface ControlSettings {
  readonly iqnPrefix: string;
  /** A node that was silent for so long is not ready: its coordinators go elsewhere. */
  readonly nodeSilentMs: number;
  /** A node that was silent for so long is gone: its replicas are made anew elsewhere. */
  readonly nodeGoneMs: number;
  /** A new volume waits so long for places that are on their way. */
  readonly placePatienceMs: number;
}

export interface Surroundings {
  readonly client: ObjectClient;
  readonly catalog: Catalog;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly log: Log;
  /** Wall time, for timestamps that people read. */
  readonly now: () => Date;
  readonly settings: ControlSettings;
  /** Milliseconds since the node was heard of; null: never. */
  readonly silenceMs: (nodeName: string) => number | null;
}

/** Watches another kind: whose keys to look at again when one of its objects changed. */
export interface Trigger<T extends KubeObject = KubeObject> {
  readonly kind: KindDefinition<T>;
  readonly keys: (object: T, catalog: Catalog) => readonly string[];
}

export function trigger<T extends KubeObject>(
  kind: KindDefinition<T>,
  keys: (object: T, catalog: Catalog) => readonly string[],
): Trigger {
  return { kind, keys } as unknown as Trigger;
}

export interface Controller {
  readonly name: string;
  readonly kind: KindDefinition;
  readonly triggers: readonly Trigger[];
  /**
   * Does what is to be done for the object of that key, which may be gone. A number: look again after so many
   * milliseconds, though nothing changed. Rejects to be tried again later.
   */
  reconcile(key: string): Promise<number | undefined>;
}

/** What reconcilers say in common: written only when something differs, so that a look without change writes nothing. */
export class Writer {
  readonly #surroundings: Surroundings;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  get nowIso(): string {
    return kubeTime(this.#surroundings.now());
  }

  /** Made, or there already: then what is there. */
  async ensure<T extends KubeObject>(kind: KindDefinition<T>, object: NewObject): Promise<T> {
    const { client } = this.#surroundings;
    try {
      return await client.create<T>(kind, object);
    } catch (error) {
      if (!hasReason(error, 'AlreadyExists')) throw error;
      const { name, namespace } = object.metadata;
      return await client.get<T>(kind, namespace ?? null, name);
    }
  }

  /** `change` gets a copy of what was seen; Conflict where that is not what there is any more. */
  async update<T extends KubeObject>(
    kind: KindDefinition<T>,
    seen: T,
    change: (copy: T) => void,
  ): Promise<T> {
    const copy = structuredClone(seen);
    change(copy);
    if (sameJson(copy, seen)) return seen;
    return await this.#surroundings.client.update<T>(kind, copy);
  }

  async status<T extends KubeObject & { status?: unknown }>(
    kind: KindDefinition<T>,
    seen: T,
    change: (status: NonNullable<T['status']>) => void,
  ): Promise<T> {
    const copy = structuredClone(seen);
    const status = (copy.status ?? {}) as NonNullable<T['status']>;
    change(status);
    copy.status = status;
    if (sameJson(status, seen.status ?? {})) return seen;
    return await this.#surroundings.client.updateStatus<T>(kind, copy);
  }

  async addFinalizer<T extends KubeObject>(
    kind: KindDefinition<T>,
    seen: T,
    finalizer: string,
  ): Promise<T> {
    return await this.update(kind, seen, ({ metadata }) => {
      const finalizers = metadata.finalizers ?? [];
      if (!finalizers.includes(finalizer)) metadata.finalizers = [...finalizers, finalizer];
    });
  }

  async removeFinalizer<T extends KubeObject>(
    kind: KindDefinition<T>,
    seen: T,
    finalizer: string,
  ): Promise<void> {
    try {
      await this.update(kind, seen, ({ metadata }) => {
        const left = (metadata.finalizers ?? []).filter((name) => name !== finalizer);
        if (left.length === 0) delete metadata.finalizers;
        else metadata.finalizers = left;
      });
    } catch (error) {
      if (!hasReason(error, 'NotFound')) throw error;
    }
  }

  /** As it is in the store: before something is given up for good, a moment's delay of the catalog would be too much. */
  async live<T extends KubeObject>(
    kind: KindDefinition<T>,
    namespace: string | null,
    name: string,
  ): Promise<T | null> {
    try {
      return await this.#surroundings.client.get<T>(kind, namespace, name);
    } catch (error) {
      if (hasReason(error, 'NotFound')) return null;
      throw error;
    }
  }

  /** As `live`, of all objects with that label. */
  async liveList<T extends KubeObject>(
    kind: KindDefinition<T>,
    label: string,
    value: string,
  ): Promise<T[]> {
    const list = await this.#surroundings.client.list<T>(kind, {
      labelSelector: `${label}=${value}`,
    });
    return list.items;
  }

  /** Asks for the deletion of exactly this object; resolves also where it is gone. */
  async remove<T extends KubeObject>(kind: KindDefinition<T>, seen: T): Promise<void> {
    if (seen.metadata.deletionTimestamp !== undefined) return;
    const { name, namespace, uid } = seen.metadata;
    try {
      await this.#surroundings.client.delete(kind, namespace ?? null, name, { uid });
    } catch (error) {
      if (!hasReason(error, 'NotFound')) throw error;
    }
  }
}

export type NewObject = Readonly<Record<string, unknown>> & {
  readonly metadata: { readonly name: string; readonly namespace?: string } & Readonly<
    Record<string, unknown>
  >;
};

export function hasReason(error: unknown, reason: string): boolean {
  return error instanceof ApiError && error.reason === reason;
}

/** Equal as JSON, whatever the order of keys; undefined is as good as left out. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, index) => sameJson(item, b[index]));
  }
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...keys].every((key) => sameJson(left[key], right[key]));
}

export function isDeleting({ metadata }: KubeObject): boolean {
  return metadata.deletionTimestamp !== undefined;
}

export function hasFinalizer({ metadata }: KubeObject, finalizer: string): boolean {
  return metadata.finalizers?.includes(finalizer) === true;
}

export function ownerOf(kind: KindDefinition, { metadata, apiVersion }: KubeObject) {
  return { apiVersion, kind: kind.kind, name: metadata.name, uid: metadata.uid, controller: true };
}
