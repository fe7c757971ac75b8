// The objects of one kind shown as those of another: kept in one form, served in two.
import type {
  Backend,
  BackendEvent,
  BackendPage,
  BackendSink,
  BackendWatch,
  PageRequest,
} from './backend.ts';
import type { KubeObject } from './meta.ts';

type Convert = (object: KubeObject) => KubeObject;

export class ConvertedBackend implements Backend {
  readonly #inner: Backend;
  readonly #toKept: Convert;
  readonly #toShown: Convert;

  /** Neither changes its argument, nor its metadata. */
  constructor(inner: Backend, toKept: Convert, toShown: Convert) {
    this.#inner = inner;
    this.#toKept = toKept;
    this.#toShown = toShown;
  }

  async get(namespace: string | null, name: string): Promise<KubeObject | null> {
    const found = await this.#inner.get(namespace, name);
    return found === null ? null : this.#toShown(found);
  }

  async list(namespace: string | null, request: PageRequest): Promise<BackendPage> {
    const page = await this.#inner.list(namespace, request);
    return { ...page, items: page.items.map(this.#toShown) };
  }

  async create(object: KubeObject, dryRun: boolean): Promise<KubeObject> {
    return this.#toShown(await this.#inner.create(this.#toKept(object), dryRun));
  }

  async update(object: KubeObject, before: KubeObject, dryRun: boolean): Promise<KubeObject> {
    const kept = await this.#inner.update(this.#toKept(object), this.#toKept(before), dryRun);
    return this.#toShown(kept);
  }

  async remove(before: KubeObject, dryRun: boolean, force: boolean): Promise<void> {
    await this.#inner.remove(this.#toKept(before), dryRun, force);
  }

  watch(namespace: string | null, resourceVersion: string, sink: BackendSink): BackendWatch {
    return this.#inner.watch(namespace, resourceVersion, {
      onEvents: (events) => sink.onEvents(events.map((event) => this.#event(event))),
      onEnd: (error) => sink.onEnd(error),
    });
  }

  #event({ before, after, resourceVersion }: BackendEvent): BackendEvent {
    return {
      before: before === null ? null : this.#toShown(before),
      after: after === null ? null : this.#toShown(after),
      resourceVersion,
    };
  }
}
