// Objects of a kind that are another kind's, told in other words.
import {
  ApiError,
  type Backend,
  type BackendPage,
  type BackendSink,
  type BackendWatch,
  type KubeObject,
  type PageRequest,
  type StoreBackend,
} from '../apiserver/index.ts';

/** The object in other words, under the same name; null: it is not of this kind. */
export type Translate<T> = (object: T) => KubeObject | null;

/** Read-only, over the objects of a kind without namespaces; shown in `namespace`, or in none. */
export class ViewBackend<T extends KubeObject> implements Backend {
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

  create(_object: KubeObject, _dryRun: boolean): Promise<KubeObject> {
    return notHere();
  }

  update(_object: KubeObject, _before: KubeObject, _dryRun: boolean): Promise<KubeObject> {
    return notHere();
  }

  remove(_before: KubeObject, _dryRun: boolean, _force: boolean): Promise<void> {
    return notHere();
  }

  #show(object: KubeObject | null): KubeObject | null {
    return object === null ? null : this.#translate(object as T);
  }
}

function notHere(): Promise<never> {
  const message = 'this is an object of another kind in other words: it is made and deleted there';
  return Promise.reject(new ApiError('MethodNotAllowed', message));
}
