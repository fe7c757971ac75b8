// All objects of the kinds that controllers look at, at most a moment old, and by what they say of themselves: which
// replicas a volume has must not take a look at all replicas of all volumes.
import {
  Informer,
  type KindDefinition,
  type KubeObject,
  type ObjectClient,
} from '../apiserver/index.ts';
import { assert, type Clock, type Log } from '../base/index.ts';
import { keyOf, refOf } from './keys.ts';

/** Objects of a kind by a value that they hold. Declared once, beside the others (indexes.ts). */
export interface Index<T extends KubeObject = KubeObject> {
  readonly kind: KindDefinition<T>;
  /** Undefined: it is not to be found by this index. */
  readonly of: (object: T) => string | undefined;
}

/** `before` null: it is new; the object itself is what is there now, or what was there last. */
type Listener = (object: KubeObject, before: KubeObject | null, isGone: boolean) => void;

interface Looked {
  readonly informer: Informer<KubeObject>;
  readonly listeners: Listener[];
  readonly indexes: Map<Index, Map<string, Map<string, KubeObject>>>;
}

export class Catalog {
  readonly #kinds = new Map<string, Looked>();

  constructor(
    options: { client: ObjectClient; clock: Clock; log: Log },
    kinds: readonly KindDefinition[],
  ) {
    for (const kind of kinds) {
      const informer = new Informer<KubeObject>({
        ...options,
        kind,
        onChange: (after, before) => {
          const object = after ?? before;
          assert(object !== null);
          for (const [index, entries] of looked.indexes) {
            if (before !== null) remove(entries, index, before);
            if (after !== null) put(entries, index, after);
          }
          for (const listener of looked.listeners) listener(object, before, after === null);
        },
      });
      const looked: Looked = { informer, listeners: [], indexes: new Map() };
      this.#kinds.set(idOf(kind), looked);
    }
  }

  /** Resolves when everything has been read once. */
  async start(): Promise<void> {
    await Promise.all([...this.#kinds.values()].map(({ informer }) => informer.start()));
  }

  close(): void {
    for (const { informer } of this.#kinds.values()) informer.close();
  }

  all<T extends KubeObject>(kind: KindDefinition<T>): T[] {
    return this.#of(kind).informer.all() as T[];
  }

  get<T extends KubeObject>(kind: KindDefinition<T>, key: string): T | null {
    const { namespace, name } = refOf(key);
    return this.#of(kind).informer.get(namespace, name) as T | null;
  }

  /** Those with that value, in no order that means anything. */
  where<T extends KubeObject>(index: Index<T>, value: string): T[] {
    const { informer, indexes } = this.#of(index.kind);
    const kept = index as unknown as Index;
    let entries = indexes.get(kept);
    if (entries === undefined) {
      entries = new Map();
      for (const object of informer.all()) put(entries, kept, object);
      indexes.set(kept, entries);
    }
    return [...(entries.get(value)?.values() ?? [])] as T[];
  }

  /**
   * Told of each object that was made, changed or deleted; what it is now is looked up. `before` is null where it is new.
   */
  onChange<T extends KubeObject>(
    kind: KindDefinition<T>,
    listener: (object: T, before: T | null, isGone: boolean) => void,
  ): void {
    this.#of(kind).listeners.push(listener as unknown as Listener);
  }

  #of<T extends KubeObject>(kind: KindDefinition<T>): Looked {
    const looked = this.#kinds.get(idOf(kind as unknown as KindDefinition));
    assert(looked !== undefined, `${kind.kind} is not looked at`);
    return looked;
  }
}

function idOf({ group, plural }: KindDefinition): string {
  return `${group}/${plural}`;
}

function put(entries: Map<string, Map<string, KubeObject>>, index: Index, object: KubeObject) {
  const value = index.of(object);
  if (value === undefined) return;
  let found = entries.get(value);
  if (found === undefined) {
    found = new Map();
    entries.set(value, found);
  }
  found.set(keyOf(object), object);
}

function remove(entries: Map<string, Map<string, KubeObject>>, index: Index, object: KubeObject) {
  const value = index.of(object);
  if (value === undefined) return;
  const found = entries.get(value);
  found?.delete(keyOf(object));
  if (found?.size === 0) entries.delete(value);
}
