// Objects in memory, and the engine of the embedded store: a sorted map, a history for watches, and a queue of changes.
//
// Changes are decided one after the other and made durable in batches by a Journal (none in a test). Nobody sees a
// change before its batch is durable: neither readers, nor watches, nor the next batch's comparisons. After a journal
// has failed once, nothing more is written: what reached the medium is then unknown (S9 of docs/consistency.md).
import { asItWas, assert } from '../base/index.ts';
import { type Page, SortedKeys } from './sorted-keys.ts';
import {
  type Entry,
  type EntryList,
  freezeJson,
  isKey,
  type Json,
  type ListOptions,
  MAX_HISTORY_EVENTS,
  MAX_VALUE_BYTES,
  type ObjectStore,
  ObjectStoreError,
  type StoreEvent,
  type Watch,
  type WatchListener,
} from './types.ts';

/** A change as it becomes durable: `text` is the value's JSON, null for a deletion. */
export interface Change {
  readonly key: string;
  readonly text: string | null;
  readonly revision: number;
}

export interface Journal {
  /** All of it or nothing, on stable storage when it resolves. */
  commit(changes: readonly Change[]): Promise<void>;
  close(): Promise<void>;
}

export interface Contents {
  readonly entries: readonly Entry[];
  /** The highest revision ever given, also to what has been deleted since. */
  readonly revision: number;
}

interface Request {
  readonly key: string;
  readonly value: Json | null;
  readonly text: string | null;
  readonly expected: number | null;
  readonly resolve: (entry: Entry | number | null) => void;
  readonly reject: (error: Error) => void;
}

interface Watcher {
  readonly prefix: string;
  readonly listener: WatchListener;
  after: number;
}

/** So many changes share one flush at most. */
const MAX_BATCH = 256;
/** The history is cut back when it is so many times as long as it may be: each cut moves all of it. */
const HISTORY_SLACK = 1.125;

export class MemoryObjectStore implements ObjectStore {
  readonly #entries = new Map<string, Entry>();
  readonly #keys = new SortedKeys();
  readonly #history: StoreEvent[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #journal: Journal | null;
  #queue: Request[] = [];
  #draining: Promise<void> | null = null;
  #revision: number;
  /** Watches from before this revision cannot be served. */
  #compacted: number;
  #fault: ObjectStoreError | null = null;
  #closed = false;

  constructor(journal: Journal | null = null, contents: Contents = { entries: [], revision: 0 }) {
    this.#journal = journal;
    this.#revision = contents.revision;
    this.#compacted = contents.revision;
    for (const entry of contents.entries) {
      assert(entry.revision <= contents.revision);
      this.#entries.set(entry.key, freezeJson(entry));
      this.#keys.add(entry.key);
    }
  }

  async get(key: string): Promise<Entry | null> {
    this.#assertOpen();
    return this.#entries.get(key) ?? null;
  }

  async list(prefix: string, options: ListOptions = {}): Promise<EntryList> {
    this.#assertOpen();
    const { after = null, limit = null, revision = this.#revision } = options;
    if (revision !== this.#revision) return this.#listAt(prefix, after, limit, revision);
    const page: Page = this.#keys.page(prefix, after, limit);
    return {
      entries: page.keys.map((key) => this.#entries.get(key)!),
      revision,
      more: page.remaining > 0,
      remaining: page.remaining,
    };
  }

  #listAt(prefix: string, after: string | null, limit: number | null, revision: number): EntryList {
    if (revision < this.#compacted || revision > this.#revision) throw this.#unknown(revision);
    const now = this.#keys.page(prefix, null, null).keys.map((key) => this.#entries.get(key)!);
    const since = this.#history
      .filter((event) => eventRevision(event) > revision && eventKey(event).startsWith(prefix))
      .map((event): [string, Entry | null] => [eventKey(event), event.before]);
    const then = asItWas(new Map(now.map((entry) => [entry.key, entry])), since);
    const entries = [...then.values()]
      .filter(({ key }) => after === null || key > after)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const page = limit === null ? entries : entries.slice(0, limit);
    const remaining = entries.length - page.length;
    return { entries: page, revision, more: remaining > 0, remaining };
  }

  async put(key: string, value: Json, expected: number | null): Promise<Entry> {
    const text = JSON.stringify(value);
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_VALUE_BYTES) {
      throw new ObjectStoreError(
        'OBJECTS_TOO_LARGE',
        `an object of ${bytes} bytes; at most ${MAX_VALUE_BYTES} are kept`,
      );
    }
    // Parsed again: what is kept must be what the text says, and nobody else's to change.
    const copy = freezeJson(JSON.parse(text) as Json);
    return (await this.#change(key, copy, text, expected)) as Entry;
  }

  async delete(key: string, expected: number | null): Promise<number | null> {
    return (await this.#change(key, null, null, expected)) as number | null;
  }

  watch(prefix: string, revision: number, listener: WatchListener): Watch {
    const watcher: Watcher = { prefix, listener, after: revision };
    let began = false;
    const close = (): void => {
      this.#watchers.delete(watcher);
    };
    this.#watchers.add(watcher);
    // Told from a turn of its own: the caller has the handle by then.
    queueMicrotask(() => {
      if (!this.#watchers.has(watcher)) return;
      if (this.#closed) return this.#end(watcher, closedError());
      if (revision < this.#compacted || revision > this.#revision) {
        return this.#end(watcher, this.#unknown(revision));
      }
      began = true;
      const missed = this.#history.filter((event) => eventRevision(event) > revision);
      this.#tell(watcher, missed);
    });
    // Changes are told of as they are applied.
    return { close, progress: () => (began ? this.#revision : revision) };
  }

  async revision(): Promise<number> {
    this.#assertOpen();
    return this.#revision;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#draining;
    for (const watcher of [...this.#watchers]) this.#end(watcher, closedError());
    await this.#journal?.close();
  }

  #change(
    key: string,
    value: Json | null,
    text: string | null,
    expected: number | null,
  ): Promise<Entry | number | null> {
    assert(isKey(key), `'${key}' is no key`);
    this.#assertOpen();
    return new Promise((resolve, reject) => {
      this.#queue.push({ key, value, text, expected, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  async #drain(): Promise<void> {
    // In a later turn: what is asked for in this one shares the flush.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#queue.slice(0, MAX_BATCH);
      this.#queue = this.#queue.slice(MAX_BATCH);
      await this.#commit(batch);
    }
    this.#draining = null;
  }

  async #commit(batch: readonly Request[]): Promise<void> {
    if (this.#fault !== null) {
      for (const request of batch) request.reject(this.#fault);
      return;
    }
    /** What this batch has decided so far, on top of what there is. */
    const overlay = new Map<string, Entry | null>();
    const changes: Change[] = [];
    const events: StoreEvent[] = [];
    const settle: (() => void)[] = [];
    let revision = this.#revision;
    for (const request of batch) {
      const { key, value, text, expected } = request;
      const before = overlay.has(key)
        ? (overlay.get(key) ?? null)
        : (this.#entries.get(key) ?? null);
      if (expected !== null && expected !== (before?.revision ?? 0)) {
        settle.push(() => request.reject(conflict(key, expected, before)));
      } else if (value === null && before === null) {
        settle.push(() => request.resolve(null));
      } else {
        revision += 1;
        const at = revision;
        changes.push({ key, text, revision: at });
        if (value === null) {
          overlay.set(key, null);
          events.push({ type: 'delete', key, revision: at, before });
          settle.push(() => request.resolve(at));
        } else {
          const entry = Object.freeze({ key, value, revision: at });
          overlay.set(key, entry);
          events.push({ type: 'put', entry, before });
          settle.push(() => request.resolve(entry));
        }
      }
    }
    if (changes.length > 0 && this.#journal !== null) {
      try {
        await this.#journal.commit(changes);
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        this.#fault = new ObjectStoreError(
          'OBJECTS_FAULTED',
          `the object store could not be written: ${why}`,
          { cause },
        );
        for (const request of batch) request.reject(this.#fault);
        return;
      }
    }
    this.#apply(overlay, events, revision);
    for (const done of settle) done();
  }

  #apply(overlay: Map<string, Entry | null>, events: readonly StoreEvent[], revision: number) {
    assert(revision >= this.#revision);
    this.#revision = revision;
    for (const [key, entry] of overlay) {
      if (entry === null) {
        if (this.#entries.delete(key)) this.#keys.delete(key);
      } else {
        if (!this.#entries.has(key)) this.#keys.add(key);
        this.#entries.set(key, entry);
      }
    }
    this.#history.push(...events);
    if (this.#history.length > MAX_HISTORY_EVENTS * HISTORY_SLACK) {
      const forgotten = this.#history.splice(0, this.#history.length - MAX_HISTORY_EVENTS);
      this.#compacted = eventRevision(forgotten.at(-1)!);
    }
    if (events.length > 0) for (const watcher of [...this.#watchers]) this.#tell(watcher, events);
  }

  #tell(watcher: Watcher, events: readonly StoreEvent[]): void {
    const news = events.filter(
      (event) => eventRevision(event) > watcher.after && eventKey(event).startsWith(watcher.prefix),
    );
    const last = news.at(-1);
    if (last === undefined || !this.#watchers.has(watcher)) return;
    watcher.after = eventRevision(last);
    watcher.listener.onEvents(news);
  }

  #end(watcher: Watcher, error: ObjectStoreError): void {
    if (this.#watchers.delete(watcher)) watcher.listener.onEnd(error);
  }

  /** One from the future was given by another store: what it stands for is not known here. */
  #unknown(revision: number): ObjectStoreError {
    const message = `revision ${revision} is not within ${this.#compacted} to ${this.#revision}`;
    return new ObjectStoreError('OBJECTS_COMPACTED', message);
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }
}

function eventRevision(event: StoreEvent): number {
  return event.type === 'put' ? event.entry.revision : event.revision;
}

function eventKey(event: StoreEvent): string {
  return event.type === 'put' ? event.entry.key : event.key;
}

function closedError(): ObjectStoreError {
  return new ObjectStoreError('OBJECTS_CLOSED', 'the object store is closed');
}

function conflict(key: string, expected: number, before: Entry | null): ObjectStoreError {
  const has = before === null ? 'is not there' : `has revision ${before.revision}`;
  return new ObjectStoreError('OBJECTS_CONFLICT', `${key} ${has}, not ${expected}`);
}
