// The replicas of this node: what of a volume is in its pools, made, grown and deleted as their objects say. That of a
// volume with one replica is a volume of the pool; those of a replicated one are made by its coordinator over the wire,
// and are looked after here when nobody coordinates them any more.
import { randomUUID } from 'node:crypto';
import { type KindDefinition, setCondition } from '../../apiserver/index.ts';
import { IoStatus } from '../../block/index.ts';
import {
  type Controller,
  copySnapshotName,
  Finalizer,
  hasFinalizer,
  isDeleting,
  keepingOfVolume,
  REPLICAS_IN_POOL,
  REPLICAS_OF_VOLUME,
  REPLICAS_ON_NODE,
  SNAPSHOTS_OF_VOLUME,
  stateOfPool,
  trigger,
  VOLUMES_OF_POLICY,
  type Writer,
} from '../../controllers/index.ts';
import {
  POOL,
  quantityBytes,
  REPLICA,
  type Replica,
  SNAPSHOT,
  VOLUME,
  VOLUME_POLICY,
  type Volume,
} from '../../kinds/index.ts';
import {
  STORE_BLOCK_BYTES,
  StoreError,
  type Pool as StorePool,
  type StoreVolume,
  type VolumeUse,
} from '../../store/index.ts';
import type { Volume as ServedVolume } from '../../volume/index.ts';
import { copyBlocks } from './copy.ts';
import { isStoreOf, memberIdOf } from './members.ts';
import { Outgrowing } from './outgrow.ts';
import type { PoolMarks } from './pool-marks.ts';
import type { NodeSurroundings, OpenPool, OpenPools } from './surroundings.ts';
import { Told } from './told.ts';
import { policyOf, tuningOf } from './volume-policy.ts';

/** Which volumes this node serves: their replicas here are in use. */
export interface Serving {
  isServed(volumeName: string): boolean;
  /** The volume as it is served; null: it is not. */
  volume(volumeName: string): ServedVolume | null;
}

const FILLED_KEY = 'ashlar.filled';

/** Of a volume that began from another: it holds all of that. */
export function isFilled(store: StoreVolume): boolean {
  return store.getBlob(FILLED_KEY) !== null;
}

const TRY_AGAIN_MS = 1000;
/** For so long after a node was started a volume may be called healthy for what it was before: nothing with data goes by that. */
const OLD_NEWS_MS = 60_000;

export class ReplicaKeeper implements Controller {
  readonly name = 'node-replicas';
  readonly kind = REPLICA as unknown as KindDefinition;
  readonly triggers;
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #serving: Serving;
  readonly #told = new Told();
  readonly #looked = new Told();
  readonly #outgrowing: Outgrowing;
  /** Names of those with a part of the cache of their own. */
  readonly #tuned = new Set<string>();
  readonly #startedMs: number;
  #strays: ReadonlySet<string> = new Set();

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer, serving: Serving) {
    this.#around = around;
    this.#startedMs = around.clock.nowMs();
    this.#open = open;
    this.#writer = writer;
    this.#serving = serving;
    this.#outgrowing = new Outgrowing(around, open, writer);
    const { catalog, nodeName } = around;
    const mine = (replicas: readonly Replica[]): string[] =>
      replicas
        .filter(({ spec }) => spec.nodeName === nodeName)
        .map(({ metadata }) => metadata.name);
    this.triggers = [
      trigger(
        POOL,
        ({ metadata }) => mine(catalog.where(REPLICAS_IN_POOL, metadata.name)),
        stateOfPool,
      ),
      trigger(
        VOLUME,
        ({ metadata }) => mine(catalog.where(REPLICAS_OF_VOLUME, metadata.name)),
        keepingOfVolume,
      ),
      trigger(VOLUME_POLICY, ({ metadata }) =>
        catalog
          .where(VOLUMES_OF_POLICY, metadata.name)
          .flatMap((volume) => mine(catalog.where(REPLICAS_OF_VOLUME, volume.metadata.name))),
      ),
    ];
  }

  async reconcile(key: string): Promise<number | undefined> {
    const { catalog, nodeName } = this.#around;
    const replica = catalog.get(REPLICA, key);
    if (replica === null || replica.spec.nodeName !== nodeName) return undefined;
    const pool = this.#open.find(replica.spec.poolName);
    if (pool === null) {
      // Placed while its pool went: nothing of it was ever made.
      const isNowhere =
        isDeleting(replica) &&
        replica.status?.storeId === undefined &&
        (await this.#writer.live(POOL, null, replica.spec.poolName)) === null;
      if (isNowhere) await this.#writer.removeFinalizer(REPLICA, replica, Finalizer.Replica);
      return TRY_AGAIN_MS; // Its pool is not open yet, or is gone from here for a while.
    }
    const volume = catalog.get(VOLUME, replica.spec.volumeName);
    try {
      if (isDeleting(replica)) return await this.#tearDown(replica, volume, pool);
      if (volume?.status?.mode === undefined) return undefined; // How it is kept is not decided yet.
      const isMember = volume.status.members?.some(({ id }) => id === memberIdOf(replica)) === true;
      if (volume.status.mode === 'single' && isMember) await this.#bringUp(replica, volume, pool);
      if (volume.status.mode === 'replicated') await this.#outgrowing.finish(replica, volume);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      await this.#fails(replica, error.code, error.message);
      return TRY_AGAIN_MS * 10;
    }
    await this.report(key);
    return undefined;
  }

  async #bringUp(replica: Replica, volume: Volume, { pool }: OpenPool): Promise<void> {
    const { log, events } = this.#around;
    const { volumeName } = replica.spec;
    const there = pool.volume(volumeName);
    if (there !== null) {
      if (!isStoreOf(replica, there)) {
        throw new StoreError(
          'STORE_EXISTS',
          `pool ${replica.spec.poolName} holds a volume of that name from before its node was deleted (${there.id}), which is not this one`,
        );
      }
      await this.#fill(replica, volume, pool, there);
      return;
    }
    // Once made it is never made anew: an empty replica must not pass for the one that was lost.
    if (replica.status?.storeId !== undefined) {
      throw new StoreError(
        'STORE_NOT_FOUND',
        `its data is gone from pool ${replica.spec.poolName}`,
      );
    }
    const bytes = quantityBytes(volume.spec.size) ?? 0;
    const made = await pool.createVolume({
      id: replica.metadata.uid, // By which it is known after a crash.
      name: volumeName,
      sizeBlocks: Math.ceil(bytes / STORE_BLOCK_BYTES),
    });
    log.info({ volume: volumeName, pool: replica.spec.poolName }, 'a replica is made');
    events.record(replica, 'Normal', 'ReplicaMade', `in pool ${replica.spec.poolName}`);
    await this.#fill(replica, volume, pool, made);
  }

  /** What it begins from is copied into it before anybody may see it; a crash in between copies again. */
  async #fill(
    replica: Replica,
    volume: Volume,
    pool: StorePool,
    store: StoreVolume,
  ): Promise<void> {
    const { source } = volume.spec;
    if (source === undefined) return;
    if (isFilled(store)) {
      await this.#dropCut(volume, pool); // A crash may have come before it went.
      return;
    }
    const { log, events, buffers, turn, catalog } = this.#around;
    const { volumeName } = replica.spec;
    const named = source.snapshot === undefined ? null : catalog.get(SNAPSHOT, source.snapshot);
    const of = source.volume ?? named?.spec.volumeName ?? '';
    // Of a volume in use, what it holds at one moment.
    const short = source.snapshot ?? copySnapshotName(volume.metadata.uid);
    let from = pool.snapshot(`${of}@${short}`);
    if (from === null && source.volume !== undefined) {
      const served = this.#serving.volume(of);
      if (served === null)
        throw new StoreError('STORE_NOT_FOUND', `volume ${of} is not served here`);
      const request = { volume: of, name: short, id: randomUUID(), ...served.cut() };
      [from = null] = await pool.createSnapshots([request], Date.now());
    }
    if (from === null) {
      throw new StoreError('STORE_NOT_FOUND', `snapshot ${of}@${short} is not in this pool`);
    }
    // What it is a copy of may have grown since it was asked for: then it is as large as that was when it was cut.
    const { sizeBlocks } = from.info();
    if (store.info().sizeBlocks < sizeBlocks) await store.resize(sizeBlocks);
    log.info({ volume: volumeName, from: from.name }, 'a volume is filled');
    await copyBlocks({ from, to: store, buffers, turn, onProgress: () => {} });
    await new Promise<void>((resolve, reject) => {
      store.putBlob(FILLED_KEY, Uint8Array.of(1), (status) => {
        if (status === IoStatus.Ok) resolve();
        else reject(new StoreError('STORE_IO', `that ${volumeName} is filled could not be kept`));
      });
    });
    await this.#dropCut(volume, pool);
    events.record(replica, 'Normal', 'Filled', `with what ${from.name} holds`);
  }

  /** What a volume was copied from another by, which only stands in that one's way. */
  async #dropCut(volume: Volume, pool: StorePool): Promise<void> {
    const of = volume.spec.source?.volume;
    const full = `${of}@${copySnapshotName(volume.metadata.uid)}`;
    if (of !== undefined && pool.snapshot(full) !== null) await pool.deleteSnapshot(full);
  }

  /**
   * Stores that a coordinator made while their volume was being deleted: nobody's, and never coordinated (E2: no epoch was
   * promised), so nothing was ever written there. And those that were forgotten with this node (it was deleted, and came back):
   * their volume is healthy without them. Others with data are left to an operator, whatever the objects say.
   */
  async sweep(): Promise<void> {
    const { client, catalog, log } = this.#around;
    const volumes = new Map(catalog.all(VOLUME).map((volume) => [volume.metadata.uid, volume]));
    const strays: { pool: OpenPool; volumeId: string; replicaId: string; promised: number }[] = [];
    for (const [name] of this.#open.all()) {
      const pool = this.#open.find(name);
      for (const { volumeId, replicaId, promised } of pool?.replicas?.host.promises() ?? []) {
        if (pool === null) continue;
        const isStray =
          promised > 0
            ? this.#isForgotten(volumes.get(volumeId), replicaId)
            : !volumes.has(volumeId);
        if (isStray) strays.push({ pool, volumeId, replicaId, promised });
      }
    }
    const before = this.#strays;
    this.#strays = new Set(strays.map(({ replicaId }) => replicaId));
    const seenTwice = strays.filter(({ replicaId }) => before.has(replicaId));
    if (seenTwice.length === 0) return;
    const live = new Map(
      (await client.list<Volume>(VOLUME)).items.map((volume) => [volume.metadata.uid, volume]),
    );
    for (const { pool, volumeId, replicaId, promised } of seenTwice) {
      const volume = live.get(volumeId);
      if (promised > 0 ? !this.#isForgotten(volume, replicaId) : volume !== undefined) continue;
      await pool.replicas?.host.delete(volumeId, replicaId, promised);
      const what = promised > 0 ? 'that its volume has let go of' : 'that was never used';
      log.info({ volumeId, replica: replicaId }, `a replica ${what} is deleted`);
    }
  }

  /** Its volume has others, all in sync, and neither its members nor an object name this one. */
  #isForgotten(volume: Volume | undefined, replicaId: string): boolean {
    const { catalog, clock } = this.#around;
    if (clock.nowMs() - this.#startedMs <= OLD_NEWS_MS) return false;
    const { members = [], state } = volume?.status ?? {};
    if (volume === undefined || state !== 'Healthy' || members.length === 0) return false;
    if (members.some(({ id }) => id === replicaId)) return false;
    return catalog
      .where(REPLICAS_OF_VOLUME, volume.metadata.name)
      .every((replica) => memberIdOf(replica) !== replicaId);
  }

  #storeOf(replica: Replica) {
    const { volumeName, poolName } = replica.spec;
    const pool = this.#open.find(poolName);
    const volume = this.#around.catalog.get(VOLUME, volumeName);
    if (pool === null || volume === null) return null;
    if (volume.status?.mode === 'single') {
      const store = pool.pool.volume(volumeName);
      return store !== null && isStoreOf(replica, store) ? store : null;
    }
    const hosted = pool.replicas?.host.find(volume.metadata.uid, memberIdOf(replica));
    return hosted?.volume ?? null;
  }

  /** Those whose store is there, for metrics. */
  all(): { readonly volume: string; readonly pool: string; readonly use: VolumeUse }[] {
    return this.#around.catalog
      .where(REPLICAS_ON_NODE, this.#around.nodeName)
      .flatMap((replica) => {
        const { volumeName, poolName } = replica.spec;
        const use = this.#storeOf(replica)?.use();
        return use === undefined ? [] : [{ volume: volumeName, pool: poolName, use }];
      });
  }

  /**
   * What it gets of what the volumes of its pool share. Said each time it is looked at: a store that a coordinator has made
   * anew, or a rollback put in the other's place, knows nothing of it.
   */
  #tune(replica: Replica, store: StoreVolume): void {
    const volume = this.#around.catalog.get(VOLUME, replica.spec.volumeName);
    if (volume === null) return;
    const tuning = tuningOf(policyOf(this.#around.catalog, volume));
    store.tune(tuning);
    if (tuning.cacheBytes === null) this.#tuned.delete(replica.metadata.name);
    else this.#tuned.add(replica.metadata.name);
  }

  /** All of this node. Those of a pool where nothing has happened since are as they were told. */
  async reportAll(marks: PoolMarks): Promise<void> {
    const { catalog, nodeName } = this.#around;
    for (const replica of catalog.where(REPLICAS_ON_NODE, nodeName)) {
      const { poolName, volumeName } = replica.spec;
      const mark = `${marks.of(poolName) ?? ''} ${this.#serving.isServed(volumeName)}`;
      // What others are promised of the cache may leave less for it.
      const isTuned = this.#tuned.has(replica.metadata.name);
      if (!isTuned && !this.#looked.isNews(replica, mark)) continue;
      await this.report(replica.metadata.name, marks);
      const now = catalog.get(REPLICA, replica.metadata.name);
      if (now !== null && this.#told.knows(now)) this.#looked.tell(now, mark);
    }
  }

  /** What it takes; how it is, where nobody but us can say. */
  async report(key: string, marks: PoolMarks | null = null): Promise<void> {
    const { catalog, now } = this.#around;
    const replica = catalog.get(REPLICA, key);
    if (replica === null || isDeleting(replica)) return;
    const store = this.#storeOf(replica);
    if (store === null) return;
    this.#tune(replica, store);
    const { cacheBytes, ioWorkers } = store.use();
    const { volumeName, poolName } = replica.spec;
    const info = marks?.sizes(poolName, store) ?? store.info();
    const isSingle = catalog.get(VOLUME, volumeName)?.status?.mode === 'single';
    const isServed = this.#serving.isServed(volumeName);
    const { sizeBlocks, mappedBlocks } = info;
    const facts = [store.id, sizeBlocks, mappedBlocks, isSingle, isServed, cacheBytes, ioWorkers];
    const news = JSON.stringify(facts);
    if (!this.#told.isNews(replica, news)) return;
    const told = await this.#writer.status(REPLICA, replica, (status) => {
      status.storeId = store.id;
      status.sizeBytes = info.sizeBlocks * STORE_BLOCK_BYTES;
      status.usedBytes = info.mappedBlocks * STORE_BLOCK_BYTES;
      status.allocatedBytes = info.mappedBlocks * STORE_BLOCK_BYTES;
      if (cacheBytes === 0) delete status.cacheBytes;
      else status.cacheBytes = cacheBytes;
      if (ioWorkers === 0) delete status.ioWorkers;
      else status.ioWorkers = ioWorkers;
      // Of several copies the coordinator says which are in sync.
      if (!isSingle) return;
      status.phase = isServed ? 'Healthy' : 'Offline';
      status.conditions ??= [];
      const message = isServed ? 'in sync' : 'its volume is not served';
      const is = isServed ? 'True' : 'False';
      setCondition(
        status.conditions,
        { type: 'Ready', status: is, reason: isServed ? 'InSync' : 'NotServed', message },
        now(),
      );
    });
    this.#told.tell(told, news);
  }

  async #tearDown(
    replica: Replica,
    volume: Volume | null,
    { pool, replicas }: OpenPool,
  ): Promise<number | undefined> {
    const { log, catalog } = this.#around;
    if (!hasFinalizer(replica, Finalizer.Replica)) return undefined;
    const { volumeName, poolName } = replica.spec;
    const id = memberIdOf(replica);
    if (volume !== null && volume.metadata.deletionTimestamp === undefined) {
      // Its coordinator lets go of it first, and has it deleted.
      if (volume.status?.members?.some((member) => member.id === id)) return TRY_AGAIN_MS;
    }
    if (
      volume?.status?.serving !== undefined &&
      volume.status.members?.some((member) => member.id === id)
    ) {
      return TRY_AGAIN_MS / 10;
    }
    // Of a replicated one that stays its coordinator has let go, and may run here, on a replica in another pool.
    const isLetGo = volume?.status?.mode === 'replicated' && !isDeleting(volume);
    if (this.#serving.isServed(volumeName) && !isLetGo) return TRY_AGAIN_MS / 10;
    // First: what a try to give the volume a record left is a clone of it.
    for (const entry of replicas?.host.promises() ?? []) {
      if (entry.replicaId !== id) continue;
      const { volumeId, promised } = entry;
      await replicas?.host.delete(volumeId, id, promised);
      log.info({ volume: volumeName, pool: poolName, replica: id }, 'a replica is deleted');
    }
    const store = pool.volume(volumeName);
    if (store !== null && isStoreOf(replica, store) && volume?.status?.mode !== 'replicated') {
      // Of those that no object names: tries and copies that broke off.
      const withSnapshots = catalog.where(SNAPSHOTS_OF_VOLUME, volumeName).length === 0;
      await pool.deleteVolume(volumeName, { withSnapshots });
      log.info({ volume: volumeName, pool: poolName }, 'a replica is deleted');
    }
    // What it was made of, when it was the only one; the deletion came before that had gone.
    if (pool.volume(volumeName)?.id === replica.metadata.uid) {
      await pool.deleteVolume(volumeName, { withSnapshots: true });
    }
    await this.#writer.removeFinalizer(REPLICA, replica, Finalizer.Replica);
    return undefined;
  }

  async #fails(replica: Replica, reason: string, message: string): Promise<void> {
    const { events, now } = this.#around;
    const said = await this.#writer.status(REPLICA, replica, (status) => {
      status.phase = 'Failed';
      status.conditions ??= [];
      setCondition(status.conditions, { type: 'Ready', status: 'False', reason, message }, now());
    });
    if (said !== replica) events.record(replica, 'Warning', 'ReplicaFailed', message);
  }
}
