// The object store's face: JSON documents under keys, one revision counter over all of them, compare-and-swap, and a
// watch that misses nothing. Small on purpose: memory, an embedded store and etcd implement it to the letter (one
// contract suite runs over each), and so could a real Kubernetes API server.

/** What is kept. Plain JSON; whoever reads one must not change it: stores hand out what they hold. */
export type Json = Readonly<Record<string, unknown>>;

export interface Entry {
  readonly key: string;
  readonly value: Json;
  /** The store's revision at which this value was written: rises over all keys, is never used twice. */
  readonly revision: number;
}

export interface ListOptions {
  /** At most so many entries; without it, all. */
  readonly limit?: number;
  /** Only keys after this one: the last key of the page before. */
  readonly after?: string;
  /** As it was at this revision: a page that fits the first. Rejects with OBJECTS_COMPACTED where that is not known. */
  readonly revision?: number;
}

export interface EntryList {
  /** In the order of the keys (by code unit; keys are ASCII). */
  readonly entries: readonly Entry[];
  /** Of the store when it was read, or the one asked for: a watch from here sees every later change. */
  readonly revision: number;
  /** There are more after the last one. */
  readonly more: boolean;
  /** So many. */
  readonly remaining: number;
}

export type StoreEvent =
  | { readonly type: 'put'; readonly entry: Entry; readonly before: Entry | null }
  /** `revision` is that of the deletion. */
  | {
      readonly type: 'delete';
      readonly key: string;
      readonly revision: number;
      readonly before: Entry | null;
    };

export interface WatchListener {
  /** All events of one revision or more, in order. */
  onEvents(events: readonly StoreEvent[]): void;
  /** The watch is over and must be begun anew from a list: `OBJECTS_COMPACTED`, `OBJECTS_CLOSED`, … */
  onEnd(error: ObjectStoreError): void;
}

export interface Watch {
  /** Everything up to this revision has been told of. */
  progress(): number;
  /** No call after this. Idempotent. */
  close(): void;
}

export interface ObjectStore {
  get(key: string): Promise<Entry | null>;
  /** Entries whose key begins with `prefix`. */
  list(prefix: string, options?: ListOptions): Promise<EntryList>;
  /**
   * Writes, durably, before it resolves. `expected` is the revision that the key must have: 0 for a key that must not
   * exist, null for whatever there is. Rejects with OBJECTS_CONFLICT, and then nothing was written. OBJECTS_UNAVAILABLE
   * may mean that it was.
   */
  put(key: string, value: Json, expected: number | null): Promise<Entry>;
  /** As `put`. Resolves with the deletion's revision; of a key that is not there, with null (expected: null or 0). */
  delete(key: string, expected: number | null): Promise<number | null>;
  /**
   * Tells of every change under `prefix` after `revision`, in order, once each. Ends with OBJECTS_COMPACTED where the
   * store no longer remembers that far.
   */
  watch(prefix: string, revision: number, listener: WatchListener): Watch;
  /** The newest revision; also proof that the store answers. */
  revision(): Promise<number>;
  close(): Promise<void>;
}

export type ObjectStoreErrorCode =
  /** The key has another revision than the caller expected. */
  | 'OBJECTS_CONFLICT'
  /** The history asked for is gone. */
  | 'OBJECTS_COMPACTED'
  /** No answer, now; what was asked may have happened. */
  | 'OBJECTS_UNAVAILABLE'
  /** The medium failed: nothing more is written until it was looked at and ashlar started again. */
  | 'OBJECTS_FAULTED'
  | 'OBJECTS_TOO_LARGE'
  | 'OBJECTS_CORRUPT'
  | 'OBJECTS_CLOSED';

export class ObjectStoreError extends Error {
  override readonly name = 'ObjectStoreError';
  readonly code: ObjectStoreErrorCode;

  constructor(code: ObjectStoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** etcd refuses requests of 1.5 MiB; what fits one store must fit the other. */
export const MAX_VALUE_BYTES = 1024 * 1024;
/**
 * Events kept for watches and pages that begin in the past; it is trimmed at an eighth more. Making a volume with three
 * replicas writes some twenty objects, so this is the last few seconds of the busiest store; and all of it is walked by each
 * full garbage collection.
 */
export const MAX_HISTORY_EVENTS = 4096;

/** Keys are ASCII without spaces, so that all stores order them alike. */
export function isKey(key: string): boolean {
  return key.length <= 1024 && /^[\x21-\x7e]+$/.test(key);
}

/** Objects within are frozen, so that nobody who was handed a stored value changes it for all. */
export function freezeJson<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freezeJson(inner);
  }
  return value;
}
