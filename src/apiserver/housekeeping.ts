// What Kubernetes' own controllers do for every kind: objects whose owners are gone are deleted; a deletion in the
// foreground waits for what depends on it, one that orphans lets it go first; a namespace is emptied before it goes;
// events are forgotten after an hour. One process at a time runs it where several share a store.
import type { Clock, Log, Timer } from '../base/index.ts';
import type { KindRef } from './client.ts';
import { ApiError } from './errors.ts';
import { Informer } from './informer.ts';
import { type KindDefinition, verbsOf } from './kind.ts';
import { EVENTS, type EventObject, NAMESPACE_FINALIZER, NAMESPACES } from './kinds/core.ts';
import type { KubeObject, OwnerReference } from './meta.ts';
import type { ResourceServer } from './resources.ts';

export interface HousekeeperOptions {
  readonly server: ResourceServer;
  readonly clock: Clock;
  readonly log: Log;
}

const EVENT_TTL_MS = 3_600_000;
const EVENT_ROUND_MS = 60_000;
/** Changes come in bursts; and nothing here is urgent. */
const SETTLE_MS = 50;
const AGAIN_MS = 1000;

interface Known {
  readonly kind: KindDefinition;
  readonly object: KubeObject;
}

export class Housekeeper {
  readonly #server: ResourceServer;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #informers = new Map<KindDefinition, Informer<KubeObject>>();
  #timer: Timer | null = null;
  #eventTimer: Timer | null = null;
  #round: Promise<void> | null = null;
  #again = false;
  #closed = false;

  constructor({ server, clock, log }: HousekeeperOptions) {
    this.#server = server;
    this.#clock = clock;
    this.#log = log;
  }

  /** Resolves when everything there is has been seen once. */
  async start(): Promise<void> {
    for (const kind of this.#server.registry.all) {
      if (
        !verbsOf(kind).includes('delete') ||
        kind.backend !== undefined ||
        kind === (EVENTS as unknown) ||
        kind.shows !== undefined
      ) {
        continue;
      }
      const informer = new Informer<KubeObject>({
        client: this.#server,
        kind: kind as KindRef,
        clock: this.#clock,
        log: this.#log,
        onChange: (after, before) => {
          if (isOfInterest(after, before)) this.#soon(SETTLE_MS);
        },
      });
      this.#informers.set(kind, informer);
    }
    await Promise.all([...this.#informers.values()].map((informer) => informer.start()));
    this.#soon(SETTLE_MS);
    this.#scheduleEvents();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#eventTimer?.cancel();
    for (const informer of this.#informers.values()) informer.close();
    await this.#round;
  }

  #soon(delayMs: number): void {
    if (this.#closed) return;
    if (this.#round !== null) {
      this.#again = true;
      return;
    }
    if (this.#timer !== null) return;
    this.#timer = this.#clock.schedule(delayMs, () => {
      this.#timer = null;
      this.#round = this.#tidy()
        .catch((error: unknown) => {
          this.#log.warn({ err: error }, 'housekeeping failed; trying again');
          this.#again = true;
        })
        .finally(() => {
          this.#round = null;
          if (this.#again) {
            this.#again = false;
            this.#soon(AGAIN_MS);
          }
        });
    });
  }

  async #tidy(): Promise<void> {
    // What has not been read yet must not be taken for gone.
    if ([...this.#informers.values()].some((informer) => !informer.synced)) return;
    const all: Known[] = [];
    for (const [kind, informer] of this.#informers) {
      for (const object of informer.all()) all.push({ kind, object });
    }
    for (const kind of this.#server.registry.all) {
      if (kind.backend === undefined || kind.shows !== undefined) continue;
      if (!verbsOf(kind).includes('delete')) continue;
      const { items } = await this.#server.list(kind as KindRef);
      for (const object of items) all.push({ kind, object });
    }
    const byUid = new Map(all.map((known) => [known.object.metadata.uid, known]));
    const dependents = new Map<string, Known[]>();
    for (const known of all) {
      for (const { uid } of known.object.metadata.ownerReferences ?? []) {
        dependents.set(uid, [...(dependents.get(uid) ?? []), known]);
      }
    }
    for (const known of all) {
      if (this.#closed) return;
      const { metadata } = known.object;
      const owners = metadata.ownerReferences ?? [];
      if (owners.length > 0 && owners.every(({ uid }) => !byUid.has(uid))) {
        await this.#collect(known, owners);
      }
      if (metadata.deletionTimestamp === undefined) continue;
      const finalizers = metadata.finalizers ?? [];
      const own = dependents.get(metadata.uid) ?? [];
      if (finalizers.includes('orphan')) await this.#orphan(known, own);
      else if (finalizers.includes('foregroundDeletion')) {
        await this.#foreground(known, own, byUid);
      }
      if (finalizers.includes(NAMESPACE_FINALIZER)) await this.#empty(known, all);
    }
  }

  /** All its owners seem gone: asks for each before it believes so. */
  async #collect({ kind, object }: Known, owners: readonly OwnerReference[]): Promise<void> {
    for (const owner of owners) {
      if (await this.#exists(owner, object.metadata.namespace ?? null)) return;
    }
    const { name, namespace } = object.metadata;
    this.#log.info({ kind: kind.kind, name, namespace }, 'deleted: its owners are gone');
    await this.#delete(kind, object, 'Background');
  }

  async #exists(owner: OwnerReference, namespace: string | null): Promise<boolean> {
    const [group = ''] = owner.apiVersion.includes('/') ? owner.apiVersion.split('/') : [''];
    const kind = this.#server.registry.findKind(group, owner.kind);
    // Of a kind that is not served here: somebody else's business.
    if (kind === null) return true;
    try {
      const found = await this.#server.get(
        kind as KindRef,
        kind.namespaced ? namespace : null,
        owner.name,
      );
      return found.metadata.uid === owner.uid;
    } catch (error) {
      if (error instanceof ApiError && error.reason === 'NotFound') return false;
      throw error;
    }
  }

  async #foreground(
    known: Known,
    dependents: readonly Known[],
    byUid: ReadonlyMap<string, Known>,
  ): Promise<void> {
    const { uid } = known.object.metadata;
    for (const { kind, object } of dependents) {
      if (object.metadata.deletionTimestamp !== undefined) continue;
      // What another owner keeps is not deleted with this one: it is only no longer its.
      if (await this.#isKeptByOthers(object, uid, byUid)) await this.#disown(kind, object, uid);
      else await this.#delete(kind, object, 'Foreground');
    }
    if (dependents.length === 0) await this.#removeFinalizer(known, 'foregroundDeletion');
    else this.#again = true;
  }

  async #isKeptByOthers(
    { metadata }: KubeObject,
    uid: string,
    byUid: ReadonlyMap<string, Known>,
  ): Promise<boolean> {
    for (const owner of metadata.ownerReferences ?? []) {
      if (owner.uid === uid) continue;
      const finalizers = byUid.get(owner.uid)?.object.metadata.finalizers ?? [];
      const goes = finalizers.includes('foregroundDeletion');
      if (!goes && (await this.#exists(owner, metadata.namespace ?? null))) return true;
    }
    return false;
  }

  async #disown(kind: KindDefinition, object: KubeObject, uid: string): Promise<void> {
    await this.#change(kind, object, (metadata) => ({
      ...metadata,
      ownerReferences: (metadata.ownerReferences ?? []).filter((owner) => owner.uid !== uid),
    }));
  }

  async #orphan(known: Known, dependents: readonly Known[]): Promise<void> {
    const { uid } = known.object.metadata;
    for (const { kind, object } of dependents) await this.#disown(kind, object, uid);
    await this.#removeFinalizer(known, 'orphan');
  }

  async #empty(namespace: Known, all: readonly Known[]): Promise<void> {
    const { name } = namespace.object.metadata;
    const within = all.filter(({ object }) => object.metadata.namespace === name);
    for (const { kind, object } of within) {
      if (object.metadata.deletionTimestamp === undefined) {
        await this.#delete(kind, object, 'Background');
      }
    }
    const events = await this.#server.list<EventObject>(EVENTS, { namespace: name });
    for (const event of events.items) await this.#delete(EVENTS as never, event, 'Background');
    if (within.length === 0 && namespace.kind === (NAMESPACES as unknown)) {
      await this.#removeFinalizer(namespace, NAMESPACE_FINALIZER);
    } else this.#again = true;
  }

  async #delete(
    kind: KindDefinition,
    object: KubeObject,
    propagation: 'Background' | 'Foreground',
  ): Promise<void> {
    const { name, namespace, uid } = object.metadata;
    await ignoringRaces(() =>
      this.#server.delete(kind as KindRef, namespace ?? null, name, { uid, propagation }),
    );
  }

  async #removeFinalizer({ kind, object }: Known, finalizer: string): Promise<void> {
    await this.#change(kind, object, (metadata) => ({
      ...metadata,
      finalizers: (metadata.finalizers ?? []).filter((name) => name !== finalizer),
    }));
  }

  async #change(
    kind: KindDefinition,
    object: KubeObject,
    change: (metadata: KubeObject['metadata']) => KubeObject['metadata'],
  ): Promise<void> {
    await ignoringRaces(async () => {
      const { name, namespace, uid } = object.metadata;
      const now = await this.#server.get(kind as KindRef, namespace ?? null, name);
      if (now.metadata.uid !== uid) return;
      await this.#server.update(kind as KindRef, { ...now, metadata: change(now.metadata) });
    });
  }

  #scheduleEvents(): void {
    if (this.#closed) return;
    this.#eventTimer = this.#clock.schedule(EVENT_ROUND_MS, () => {
      this.forgetEvents()
        .catch((error: unknown) => this.#log.debug({ err: error }, 'old events are kept for now'))
        .finally(() => this.#scheduleEvents());
    });
  }

  /** Deletes events that are older than an hour. */
  async forgetEvents(): Promise<void> {
    const oldest = this.#server.now().getTime() - EVENT_TTL_MS;
    const { items } = await this.#server.list<EventObject>(EVENTS);
    for (const event of items) {
      const last = event.lastTimestamp ?? event.metadata.creationTimestamp;
      if (Date.parse(last) < oldest) await this.#delete(EVENTS as never, event, 'Background');
    }
  }
}

function isOfInterest(after: KubeObject | null, before: KubeObject | null): boolean {
  if (after === null) return true;
  if (after.metadata.deletionTimestamp !== undefined) return true;
  return before === null && (after.metadata.ownerReferences ?? []).length > 0;
}

/** Somebody else was faster: the next round sees what he made of it. */
async function ignoringRaces(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.reason !== 'NotFound' && error.reason !== 'Conflict') throw error;
  }
}
