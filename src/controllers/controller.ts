// What every controller is made of. A controller looks at one object at a time, by its key, and does the next thing that
// brings what is closer to what is wanted; it is asked again until there is nothing left to do. It keeps nothing between
// two looks, so one that was killed after any write goes on from there.
import {
  ApiError,
  type EventRecorder,
  type KindDefinition,
  type KubeObject,
  kubeTime,
  type ObjectClient,
} from '../apiserver/index.ts';
import type { Clock, Log } from '../base/index.ts';
import type { Catalog } from './catalog.ts';

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
  /**
   * What of the object matters here; without it, everything. A pool tells of its usage every few seconds, and a thousand
   * volumes do not depend on that.
   */
  readonly aspect?: (object: T) => unknown;
}

export function trigger<T extends KubeObject>(
  kind: KindDefinition<T>,
  keys: (object: T, catalog: Catalog) => readonly string[],
  aspect?: (object: T) => unknown,
): Trigger {
  return { kind, keys, ...(aspect === undefined ? {} : { aspect }) } as unknown as Trigger;
}

export interface Controller {
  readonly name: string;
  readonly kind: KindDefinition;
  readonly triggers: readonly Trigger[];
  /** Objects looked at in one moment, where looks wait for other nodes; without it, a few. */
  readonly workers?: number;
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
    const copy = copyJson(seen);
    change(copy);
    if (sameJson(copy, seen)) return seen;
    return await this.#surroundings.client.update<T>(kind, copy);
  }

  async status<T extends KubeObject & { status?: unknown }>(
    kind: KindDefinition<T>,
    seen: T,
    change: (status: NonNullable<T['status']>) => void,
  ): Promise<T> {
    const copy = copyJson(seen);
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
  for (const key of Object.keys(left)) if (!sameJson(left[key], right[key])) return false;
  for (const key of Object.keys(right)) {
    if (right[key] !== undefined && left[key] === undefined) return false;
  }
  return true;
}

/** A copy of a JSON document. Several times as fast as `structuredClone`, which knows more than JSON. */
export function copyJson<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copyJson) as T;
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) copy[key] = copyJson((value as typeof copy)[key]);
  return copy as T;
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
