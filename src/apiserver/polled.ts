// Kinds whose objects live elsewhere: sessions, pools, volumes. They are looked at when somebody asks, and once a
// second while somebody watches; what differs from the look before is an event. The versions of lists and watches are
// this process's own: one that another gave is answered with Expired, and the client lists again.
import { asItWas, type Clock, type Timer } from '../base/index.ts';
import type {
  Backend,
  BackendEvent,
  BackendPage,
  BackendSink,
  BackendWatch,
  PageRequest,
} from './backend.ts';
import { ApiError } from './errors.ts';
import type { KubeObject } from './meta.ts';

export interface PolledSource {
  /** What there is now. Objects without a resource version get one that changes when they do. */
  list(): readonly KubeObject[] | Promise<readonly KubeObject[]>;
  get?(namespace: string | null, name: string): KubeObject | null | Promise<KubeObject | null>;
  create?(object: KubeObject, dryRun: boolean): Promise<KubeObject>;
  update?(object: KubeObject, before: KubeObject, dryRun: boolean): Promise<KubeObject>;
  remove?(before: KubeObject, dryRun: boolean, force: boolean): Promise<void>;
}

interface Seen {
  readonly object: KubeObject;
  readonly text: string;
}

interface Watcher {
  readonly namespace: string | null;
  readonly sink: BackendSink;
  after: number;
}

interface PastEvent extends BackendEvent {
  readonly revision: number;
}

const LOOK_MS = 1000;
const MAX_HISTORY = 4096;

export class PolledBackend implements Backend {
  readonly #source: PolledSource;
  readonly #clock: Clock;
  readonly #seen = new Map<string, Seen>();
  readonly #watchers = new Set<Watcher>();
  readonly #history: PastEvent[] = [];
  #timer: Timer | null = null;
  #looking: Promise<void> | null = null;
  #revision: number;
  #oldest: number;

  /** `firstRevision`: higher than any that an earlier process gave; milliseconds since 1970 are. */
  constructor(source: PolledSource, clock: Clock, firstRevision: number) {
    this.#source = source;
    this.#clock = clock;
    this.#revision = firstRevision;
    this.#oldest = firstRevision;
  }

  async get(namespace: string | null, name: string): Promise<KubeObject | null> {
    if (this.#source.get !== undefined) return await this.#source.get(namespace, name);
    await this.#look();
    return this.#seen.get(keyOf(namespace, name))?.object ?? null;
  }

  async list(
    namespace: string | null,
    { limit, after, version }: PageRequest,
  ): Promise<BackendPage> {
    await this.#look();
    const from = after === null ? '' : keyOf(after.namespace, after.name);
    const items = [...(version === null ? this.#now() : this.#then(version))]
      .filter(([key, object]) => key > from && isWithin(object, namespace))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
    const page = limit === null ? items : items.slice(0, limit);
    const remaining = items.length - page.length;
    return {
      items: page,
      resourceVersion: version ?? String(this.#revision),
      more: remaining > 0,
      remaining,
    };
  }

  #now(): Map<string, KubeObject> {
    return new Map([...this.#seen].map(([key, { object }]) => [key, object]));
  }

  /** As the looks had found it by that version. */
  #then(version: string): Map<string, KubeObject> {
    this.#assertKnown(version);
    const since = this.#history
      .filter(({ revision }) => revision > Number(version))
      .map(({ before, after }): [string, KubeObject | null] => {
        const { namespace, name } = (after ?? before)!.metadata;
        return [keyOf(namespace ?? null, name), before];
      });
    return asItWas(this.#now(), since);
  }

  #assertKnown(version: string): void {
    if (Number(version) >= this.#oldest && Number(version) <= this.#revision) return;
    throw new ApiError('Expired', `too old resource version: ${version}`);
  }

  async create(object: KubeObject, dryRun: boolean): Promise<KubeObject> {
    const made = await (this.#source.create ?? refuse)(object, dryRun);
    this.poke();
    return made;
  }

  async update(object: KubeObject, before: KubeObject, dryRun: boolean): Promise<KubeObject> {
    const made = await (this.#source.update ?? refuse)(object, before, dryRun);
    this.poke();
    return made;
  }

  async remove(before: KubeObject, dryRun: boolean, force: boolean): Promise<void> {
    await (this.#source.remove ?? refuse)(before, dryRun, force);
    this.poke();
  }

  watch(namespace: string | null, resourceVersion: string, sink: BackendSink): BackendWatch {
    const watcher: Watcher = { namespace, sink, after: Number(resourceVersion) };
    let began = false;
    this.#watchers.add(watcher);
    queueMicrotask(() => {
      if (!this.#watchers.has(watcher)) return;
      try {
        this.#assertKnown(resourceVersion);
      } catch (error) {
        this.#watchers.delete(watcher);
        sink.onEnd(error as ApiError);
        return;
      }
      began = true;
      this.#tell(watcher, this.#history);
      this.#schedule();
    });
    return {
      progress: () => (began ? String(this.#revision) : resourceVersion),
      close: () => {
        this.#watchers.delete(watcher);
        if (this.#watchers.size === 0) this.#timer?.cancel();
      },
    };
  }

  /** Something changed: whoever watches is told soon. */
  poke(): void {
    if (this.#watchers.size > 0) this.#look().catch(() => {});
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (this.#watchers.size === 0) return;
    this.#timer = this.#clock.schedule(LOOK_MS, () => {
      this.#look()
        // What cannot be looked at now is looked at again.
        .catch(() => {})
        .finally(() => this.#schedule());
    });
  }

  /** A look that begins now; one that is under way began too early. */
  async #look(): Promise<void> {
    while (this.#looking !== null) await this.#looking.catch(() => {});
    this.#looking = this.#lookOnce();
    try {
      await this.#looking;
    } finally {
      this.#looking = null;
    }
  }

  async #lookOnce(): Promise<void> {
    const objects = await this.#source.list();
    const gone = new Map(this.#seen);
    const events: PastEvent[] = [];
    for (const object of objects) {
      const key = keyOf(object.metadata.namespace ?? null, object.metadata.name);
      const text = JSON.stringify(object);
      const before = this.#seen.get(key) ?? null;
      gone.delete(key);
      if (before?.text === text) continue;
      this.#revision += 1;
      const own = object.metadata.resourceVersion ?? '';
      const resourceVersion = own === '' ? String(this.#revision) : own;
      const after = { ...object, metadata: { ...object.metadata, resourceVersion } };
      this.#seen.set(key, { object: after, text });
      // Deleted and made again between two looks: both are told.
      const isOther = before !== null && before.object.metadata.uid !== object.metadata.uid;
      if (isOther) {
        events.push(this.#event(before.object, null));
        this.#revision += 1;
      }
      events.push(this.#event(isOther ? null : (before?.object ?? null), after));
    }
    for (const [key, { object }] of gone) {
      this.#revision += 1;
      this.#seen.delete(key);
      events.push(this.#event(object, null));
    }
    if (events.length === 0) return;
    this.#history.push(...events);
    if (this.#history.length > MAX_HISTORY) {
      const forgotten = this.#history.splice(0, this.#history.length - MAX_HISTORY / 2);
      this.#oldest = forgotten.at(-1)!.revision;
    }
    for (const watcher of [...this.#watchers]) this.#tell(watcher, events);
  }

  #event(before: KubeObject | null, after: KubeObject | null): PastEvent {
    const revision = this.#revision;
    return { before, after, revision, resourceVersion: String(revision) };
  }

  #tell(watcher: Watcher, events: readonly PastEvent[]): void {
    const news = events.filter(
      ({ revision, before, after }) =>
        revision > watcher.after && isWithin((after ?? before)!, watcher.namespace),
    );
    const last = events.at(-1);
    if (last !== undefined) watcher.after = Math.max(watcher.after, last.revision);
    if (news.length > 0) watcher.sink.onEvents(news);
  }
}

async function refuse(): Promise<never> {
  throw new ApiError('MethodNotAllowed', 'these objects cannot be changed');
}

function keyOf(namespace: string | null, name: string): string {
  return `${namespace ?? '-'}/${name}`;
}

function isWithin(object: KubeObject, namespace: string | null): boolean {
  return namespace === null || object.metadata.namespace === namespace;
}
