// Kinds that show objects of another kind in other words: OpenEBS' pools, volumes, replicas and devices are ours, looked
// at when they are read. So they are never behind, and cost nothing to keep.
import {
  type Backend,
  type BackendPage,
  type BackendSink,
  type BackendWatch,
  type KubeObject,
  type PageRequest,
  StoreBackend,
} from '../apiserver/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import type { BlockDevice, Volume } from './ashlar.ts';
import { BLOCK_DEVICE, VOLUME } from './ashlar.ts';
import { SERVICE } from './core.ts';
import {
  CSTOR_POOL,
  CSTOR_VOLUME,
  CSTOR_VOLUME_REPLICA,
  JIVA_VOLUME,
  OPENEBS_BLOCK_DEVICE,
} from './openebs.ts';
import { POOL, type Pool } from './pool.ts';
import { REPLICA, type Replica } from './replica.ts';
import {
  asBlockDevice,
  asCStorPool,
  asCStorReplica,
  asCStorVolume,
  asJivaVolume,
  asService,
} from './translate.ts';

/** The object in other words, under the same name; null: it is not of this kind. */
type Translate<T> = (object: T) => KubeObject | null;

/** Read-only, over the objects of a kind without namespaces; shown in `namespace`, or in none. */
class ViewBackend<T extends KubeObject> implements Backend {
  readonly #source: StoreBackend;
  readonly #translate: Translate<T>;
  readonly #namespace: string | null;

  constructor(source: StoreBackend, namespace: string | null, translate: Translate<T>) {
    this.#source = source;
    this.#namespace = namespace;
    this.#translate = translate;
  }

  async get(namespace: string | null, name: string): Promise<KubeObject | null> {
    if (namespace !== this.#namespace) return null;
    return this.#show(await this.#source.get(null, name));
  }

  async list(namespace: string | null, request: PageRequest): Promise<BackendPage> {
    const elsewhere = namespace !== null && namespace !== this.#namespace;
    let after = request.after === null ? null : { namespace: null, name: request.after.name };
    let version = request.version;
    for (;;) {
      const limit = elsewhere ? 1 : request.limit;
      const page = await this.#source.list(null, { limit, after, version });
      const { resourceVersion } = page;
      if (elsewhere) return { items: [], resourceVersion, more: false, remaining: 0 };
      const items = page.items.flatMap((object) => this.#show(object) ?? []);
      // A page none of whose objects are of this kind is not the end of them.
      if (items.length > 0 || !page.more) {
        return { items, resourceVersion, more: page.more, remaining: null };
      }
      after = { namespace: null, name: page.items.at(-1)!.metadata.name };
      version = resourceVersion;
    }
  }

  watch(namespace: string | null, resourceVersion: string, sink: BackendSink): BackendWatch {
    const elsewhere = namespace !== null && namespace !== this.#namespace;
    return this.#source.watch(null, resourceVersion, {
      onEvents: (events) => {
        const shown = events.flatMap(({ before, after, resourceVersion: at }) => {
          const event = {
            before: this.#show(before),
            after: this.#show(after),
            resourceVersion: at,
          };
          return elsewhere || (event.before === null && event.after === null) ? [] : [event];
        });
        if (shown.length > 0) sink.onEvents(shown);
      },
      onEnd: (error) => sink.onEnd(error),
    });
  }

  create(): Promise<KubeObject> {
    return Promise.reject(new Error('a view is not written'));
  }

  update(): Promise<KubeObject> {
    return Promise.reject(new Error('a view is not written'));
  }

  remove(): Promise<void> {
    return Promise.reject(new Error('a view is not written'));
  }

  #show(object: KubeObject | null): KubeObject | null {
    return object === null ? null : this.#translate(object as T);
  }
}

/** Those kinds with where their objects come from. */
export function viewKinds(store: ObjectStore, namespace: string) {
  const view = <T extends KubeObject>(
    kind: { group: string; kind: string; plural: string },
    where: string | null,
    translate: Translate<T>,
  ) => new ViewBackend<T>(new StoreBackend(store, kind), where, translate);
  return [
    { ...CSTOR_POOL, backend: view<Pool>(POOL, null, asCStorPool) },
    {
      ...CSTOR_VOLUME,
      backend: view<Volume>(VOLUME, namespace, (volume) => asCStorVolume(volume, namespace)),
    },
    {
      ...CSTOR_VOLUME_REPLICA,
      backend: view<Replica>(REPLICA, namespace, (replica) => asCStorReplica(replica, namespace)),
    },
    {
      ...SERVICE,
      backend: view<Volume>(VOLUME, namespace, (volume) => asService(volume, namespace)),
    },
    {
      ...OPENEBS_BLOCK_DEVICE,
      backend: view<BlockDevice>(BLOCK_DEVICE, namespace, (device) =>
        asBlockDevice(device, namespace),
      ),
    },
    {
      ...JIVA_VOLUME,
      backend: view<Volume>(VOLUME, namespace, (volume) => asJivaVolume(volume, namespace)),
    },
  ];
}
