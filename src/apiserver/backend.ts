// Where the objects of one kind are: behind the API's rules (defaults, checks, versions, finalizers), which are the
// same for every kind, stands one of these. The standard one keeps them in the object store; others show what lives
// elsewhere, as sessions do, and volumes whose truth is their pool.
import type { ObjectStore, StoreEvent } from '../objects/index.ts';
import { ObjectStoreError } from '../objects/index.ts';
import type { WatchHandle } from './client.ts';
import { ApiError, alreadyExists, conflict, type KindName, MODIFIED } from './errors.ts';
import type { KubeObject } from './meta.ts';

/** Where a page begins: behind this object. */
export interface Cursor {
  readonly namespace: string | null;
  readonly name: string;
}

export interface PageRequest {
  /** At most so many; null: all. */
  readonly limit: number | null;
  readonly after: Cursor | null;
  /** As it was at this version, so that pages fit together; null: as it is. Rejects with Expired. */
  readonly version: string | null;
}

export interface BackendPage {
  /** Empty only where there are no more. */
  readonly items: readonly KubeObject[];
  readonly resourceVersion: string;
  readonly more: boolean;
  /** How many come after them; null: not known. */
  readonly remaining: number | null;
}

/** All there is, as it is. */
export const EVERYTHING: PageRequest = { limit: null, after: null, version: null };

/** A change, with what was there before it: selectors turn a MODIFIED into an ADDED or a DELETED by that. */
export interface BackendEvent {
  readonly before: KubeObject | null;
  /** Null: deleted; then `resourceVersion` is that of the deletion. */
  readonly after: KubeObject | null;
  readonly resourceVersion: string;
}

export interface BackendSink {
  onEvents(events: readonly BackendEvent[]): void;
  onEnd(error: ApiError): void;
}

export interface Backend {
  get(namespace: string | null, name: string): Promise<KubeObject | null>;
  /** In the order of namespace and name. */
  list(namespace: string | null, page: PageRequest): Promise<BackendPage>;
  /** `object` is complete and checked, but for its resource version. */
  create(object: KubeObject, dryRun: boolean): Promise<KubeObject>;
  /** Rejects with Conflict unless `before` is still what is there. */
  update(object: KubeObject, before: KubeObject, dryRun: boolean): Promise<KubeObject>;
  /** Nothing holds it any more. As for `update`. */
  remove(before: KubeObject, dryRun: boolean, force: boolean): Promise<void>;
  /** Ends with Expired where `resourceVersion` is too long ago. */
  watch(namespace: string | null, resourceVersion: string, sink: BackendSink): BackendWatch;
}

export interface BackendWatch extends WatchHandle {
  /** Everything up to this version has been told of. */
  progress(): string;
}

/** Keeps objects in the object store. */
export class StoreBackend implements Backend {
  readonly #store: ObjectStore;
  readonly #kind: KindName;
  readonly #prefix: string;
  /** What an entry looks like with its version in it, made once. */
  readonly #seen = new WeakMap<object, KubeObject>();

  constructor(store: ObjectStore, kind: KindName) {
    this.#store = store;
    this.#kind = kind;
    this.#prefix = `/${kind.group === '' ? 'core' : kind.group}/${kind.plural}/`;
  }

  async get(namespace: string | null, name: string): Promise<KubeObject | null> {
    const entry = await translated(this.#kind, name, () =>
      this.#store.get(this.#key(namespace, name)),
    );
    return entry === null ? null : this.#object(entry);
  }

  async list(
    namespace: string | null,
    { limit, after, version }: PageRequest,
  ): Promise<BackendPage> {
    const page = await translated(this.#kind, '', () =>
      this.#store.list(this.#folder(namespace), {
        ...(limit === null ? {} : { limit }),
        ...(after === null ? {} : { after: this.#key(after.namespace, after.name) }),
        ...(version === null ? {} : { revision: Number(version) }),
      }),
    );
    return {
      items: page.entries.map((entry) => this.#object(entry)),
      resourceVersion: String(page.revision),
      more: page.more,
      remaining: page.remaining,
    };
  }

  async create(object: KubeObject, dryRun: boolean): Promise<KubeObject> {
    const { namespace, name } = object.metadata;
    const key = this.#key(namespace ?? null, name);
    if (dryRun) {
      const { revision } = await translated(this.#kind, name, () =>
        this.#store.list(key, { limit: 1 }),
      );
      if ((await this.get(namespace ?? null, name)) !== null) throw alreadyExists(this.#kind, name);
      return withVersion(object, String(revision));
    }
    try {
      const entry = await this.#store.put(key, withoutVersion(object), 0);
      return this.#object(entry);
    } catch (error) {
      if (error instanceof ObjectStoreError && error.code === 'OBJECTS_CONFLICT') {
        throw alreadyExists(this.#kind, name);
      }
      throw toApiError(this.#kind, name, error);
    }
  }

  async update(object: KubeObject, before: KubeObject, dryRun: boolean): Promise<KubeObject> {
    if (dryRun) return withVersion(object, before.metadata.resourceVersion);
    const { namespace, name } = object.metadata;
    return await translated(this.#kind, name, async () => {
      const revision = Number(before.metadata.resourceVersion);
      const key = this.#key(namespace ?? null, name);
      return this.#object(await this.#store.put(key, withoutVersion(object), revision));
    });
  }

  async remove(before: KubeObject, dryRun: boolean): Promise<void> {
    if (dryRun) return;
    const { namespace, name, resourceVersion } = before.metadata;
    await translated(this.#kind, name, () =>
      this.#store.delete(this.#key(namespace ?? null, name), Number(resourceVersion)),
    );
  }

  watch(namespace: string | null, resourceVersion: string, sink: BackendSink): BackendWatch {
    const watch = this.#store.watch(this.#folder(namespace), Number(resourceVersion), {
      onEvents: (events) => sink.onEvents(events.map((event) => this.#event(event))),
      onEnd: (error) => sink.onEnd(toApiError(this.#kind, '', error)),
    });
    return { close: () => watch.close(), progress: () => String(watch.progress()) };
  }

  #event(event: StoreEvent): BackendEvent {
    const before = event.before === null ? null : this.#object(event.before);
    if (event.type === 'put') {
      const after = this.#object(event.entry);
      return { before, after, resourceVersion: after.metadata.resourceVersion };
    }
    return { before, after: null, resourceVersion: String(event.revision) };
  }

  #object(entry: { value: object; revision: number }): KubeObject {
    let object = this.#seen.get(entry);
    if (object === undefined) {
      object = withVersion(entry.value as KubeObject, String(entry.revision));
      this.#seen.set(entry, object);
    }
    return object;
  }

  #folder(namespace: string | null): string {
    return namespace === null ? this.#prefix : `${this.#prefix}${namespace}/`;
  }

  /** Objects without a namespace are in `-`, which is the name of none. */
  #key(namespace: string | null, name: string): string {
    return `${this.#prefix}${namespace ?? '-'}/${name}`;
  }
}

export function withVersion(object: KubeObject, resourceVersion: string): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion } };
}

function withoutVersion(object: KubeObject): KubeObject {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return { ...object, metadata: metadata as KubeObject['metadata'] };
}

async function translated<T>(kind: KindName, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toApiError(kind, name, error);
  }
}

function toApiError(kind: KindName, name: string, error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (!(error instanceof ObjectStoreError)) {
    return new ApiError('InternalError', String(error), {}, { cause: error });
  }
  const options = { cause: error };
  switch (error.code) {
    case 'OBJECTS_CONFLICT':
      return conflict(kind, name, MODIFIED);
    case 'OBJECTS_COMPACTED':
      return new ApiError('Expired', `too old resource version: ${error.message}`, {}, options);
    case 'OBJECTS_TOO_LARGE':
      return new ApiError('RequestEntityTooLarge', error.message, {}, options);
    case 'OBJECTS_UNAVAILABLE':
    case 'OBJECTS_FAULTED':
    case 'OBJECTS_CLOSED':
      return new ApiError('ServiceUnavailable', error.message, {}, options);
    case 'OBJECTS_CORRUPT':
      return new ApiError('InternalError', error.message, {}, options);
  }
}
