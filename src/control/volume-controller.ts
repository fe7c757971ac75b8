// Volumes as the API sees them: keeps each manifest in the pool, and makes what is there agree with it.
//
// Order is what makes this safe against a crash at any point. Creation: the store makes the volume, then its manifest is
// kept, then it is exported; only then is it reported. A volume found without manifest and without data at start is a
// creation that was never reported, and is removed. Change: the manifest first, then the volume; at start the volume is
// brought up to its manifest. Deletion: hosts first, then the store, which forgets the manifest with the volume.
import { randomUUID } from 'node:crypto';
import { assert, type Clock, formatQuantity, type Log, type Turn } from '../base/index.ts';
import { type BlockDevice, type DataBufferPool, IoStatus } from '../block/index.ts';
import {
  type Pool,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreSnapshot,
  type StoreVolume,
} from '../store/types.ts';
import { NO_LIMITS, Throttle, Volume } from '../volume/index.ts';
import { ApiError, invalid, notFound, type StatusCause } from './errors.ts';
import { type ExposedSnapshot, ExposedSnapshots } from './exposed-snapshots.ts';
import { type KeptSnapshot, keptInPool, keptOnReplicas } from './kept-snapshots.ts';
import { MAX_VOLUMES, RESOURCE_VERSION_STRIDE } from './limits.ts';
import { ReplicatedSource } from './replicated-source.ts';
import type {
  NewReplica,
  ReplicaFacts,
  ReplicatedHandle,
  ReplicationBackend,
} from './replication.ts';
import {
  type Condition,
  GROUP,
  GROUP_VERSION,
  type Metadata,
  type VolumeManifest,
  type VolumeObject,
  type VolumeSpec,
} from './schemas.ts';
import type { SnapshotSchedule } from './snapshot-schedule.ts';
import { toVolumeLimits } from './volume-limits.ts';
import {
  assertStorable,
  checkVolume,
  decodeManifest,
  encodeManifest,
  type VolumeDefaults,
  type WantedVolume,
} from './volume-manifest.ts';
import { busy, hasSnapshots, sameMetadata, sameSpec, storeFailure } from './volume-parts.ts';

/** Volumes of the pool that are replicas of somebody's, or beside those: no business of this controller. */
const REPLICA_PREFIXES = ['replica/', 'branch/'];
/** P5: how often a snapshot of several volumes is tried, and what is between two tries. */
const GROUP_ATTEMPTS = 20;
const GROUP_PAUSE_MS = 100;
/** A new value of it is an operator's word that the replicas that are away are gone for good (C1). */
const FORCE_ANNOTATION = 'ashlar.io/force-quorum';
const MANIFEST_KEY = 'manifest';
const VERSION_KEY = 'control.resourceVersion';
const RECEIVING_KEY = 'control.receiving';

/** Of a volume that a stream is received into, kept with it: until the stream is whole, no host may log in. */
export interface Receiving {
  readonly snapshotId: string;
  readonly snapshot: string;
  /** Of an incremental stream. */
  readonly fromId: string | null;
  /** All below is there, on stable storage. In 4 KiB blocks. */
  readonly lba: number;
}

/** What hosts reach a volume by: the daemon makes it an iSCSI target. The control room has not heard of SCSI. */
export interface Exporter {
  /** Makes the volume reachable, or replaces how it is (access list, CHAP): for logins from now on. */
  expose(volume: ExposedVolume): void;
  /** Ends its sessions and takes it away. Resolves when none of its commands can take effect any more (C6). */
  withdraw(iqn: string): Promise<void>;
  /** The target is there, and logins to it are refused until `expose` (C10). */
  reserve(iqn: string, wanted: WantedVolume): void;
  /** Ends its sessions without an answer, and refuses logins until `expose` (C10, E5). */
  takeDown(iqn: string, reason: string): void;
  /** C8: its sessions hear by unit attention 29h that writes may be lost. */
  declareLoss(iqn: string): void;
  /** Initiators logged in, by target. */
  initiators(iqn: string): readonly string[];
  readonly portals: readonly string[];
}

export interface ExposedVolume {
  readonly iqn: string;
  readonly wanted: WantedVolume;
  readonly volume: Volume;
  /** The volume behind its limits: what hosts do I/O to. */
  readonly device: BlockDevice;
  /** Portals of other machines that lead to it as well. */
  readonly otherPortals?: readonly string[];
}

export interface VolumeControllerOptions {
  readonly pool: Pool;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly exporter: Exporter;
  readonly iqnPrefix: string;
  /** Who serves, as statuses say it; left out: they do not. */
  readonly nodeName?: string;
  readonly defaults: VolumeDefaults;
  readonly log: Log;
  readonly clock: Clock;
  /** Null: this daemon coordinates no replicas. */
  readonly replication?: ReplicationBackend | null;
  /** Wall time, for timestamps that people read. */
  readonly now: () => Date;
}

/** A pool that volumes live in. */
interface Place {
  readonly name: string;
  readonly pool: Pool;
  /** Why it serves no more. */
  fault: string;
  /** It is being taken away: nothing new begins there. */
  leaving: boolean;
}

interface Hosted {
  wanted: WantedVolume;
  readonly place: Place;
  readonly store: StoreVolume;
  /** Null where it could not be opened: `failure` says why. */
  volume: Volume | null;
  throttle: Throttle | null;
  /** Of a volume on replicas. */
  replicated: ReplicatedHandle | null;
  phase: 'Pending' | 'Ready' | 'Deleting' | 'Failed';
  failure: string;
  /** When the Ready condition last changed. */
  sinceIso: string;
}

export interface DeleteOptions {
  /** Also while sessions are logged in: they are ended. */
  readonly force: boolean;
  readonly uid?: string;
  readonly resourceVersion?: string;
  /** Its last finalizer has just been taken away: nothing holds it any more. */
  readonly finalized?: boolean;
}

export class VolumeController {
  readonly #options: VolumeControllerOptions;
  readonly #hosted = new Map<string, Hosted>();
  /** By name; the first is the daemon's own, where a volume goes that says nothing else. */
  readonly #places = new Map<string, Place>();
  readonly #own: Place;
  readonly #exposed: ExposedSnapshots;
  /** Changes to one name happen one after the other. */
  readonly #tails = new Map<string, Promise<unknown>>();
  #resourceVersion = 0;
  #reservedVersion = 0;
  #closing = false;

  constructor(options: VolumeControllerOptions) {
    this.#options = options;
    this.#exposed = new ExposedSnapshots(options);
    this.#own = this.#admit(options.pool.name, options.pool);
  }

  #admit(name: string, pool: Pool): Place {
    assert(!this.#places.has(name));
    const place: Place = { name, pool, fault: '', leaving: false };
    this.#places.set(name, place);
    pool.onFault((why) => {
      place.fault = why;
      // All that the daemon's own holds goes with the daemon's readiness.
      if (place === this.#own) return;
      for (const { wanted } of this.#within(place)) {
        this.#options.exporter.takeDown(this.iqn(wanted.metadata.name), why);
        this.#exposed.takeDown(wanted.metadata.name, why);
      }
    });
    return place;
  }

  #within(place: Place): Hosted[] {
    return [...this.#hosted.values()].filter((hosted) => hosted.place === place);
  }

  /** The highest resource version given so far: that of the list. */
  get resourceVersion(): string {
    return String(this.#resourceVersion);
  }

  /** Opens and exports what the pool holds; finishes or undoes what a crash cut short. */
  async start(): Promise<void> {
    const kept = this.#own.pool.getBlob(VERSION_KEY);
    this.#resourceVersion = kept === null ? 0 : Number(Buffer.from(kept).toString()) || 0;
    this.#reservedVersion = this.#resourceVersion;
    await this.#nextVersion();
    await this.#openAll(this.#own);
  }

  /**
   * Serves what another pool holds, too. The value: volumes that are not served, because one of their name is served
   * from elsewhere.
   */
  async attach(name: string, pool: Pool): Promise<readonly string[]> {
    return await this.#openAll(this.#admit(name, pool));
  }

  /** Volumes of a pool that could not be served, because there are others of their names. */
  clashes(pool: Pool): readonly string[] {
    return volumesIn(pool).filter((name) => this.#hosted.has(name));
  }

  /** Who is logged in to volumes of a pool, by volume. */
  usersOf(name: string): ReadonlyMap<string, readonly string[]> {
    const place = this.#places.get(name);
    const users = new Map<string, readonly string[]>();
    for (const { wanted } of place === undefined ? [] : this.#within(place)) {
      const { name: volume } = wanted.metadata;
      for (const full of this.#exposed.of(volume)) {
        const { initiators = [] } = this.#exposed.find(full) ?? {};
        if (initiators.length > 0) users.set(full, initiators);
      }
      const initiators = this.#options.exporter.initiators(this.iqn(volume));
      if (initiators.length > 0) users.set(volume, [...new Set(initiators)]);
    }
    return users;
  }

  /** Hosts lose the volumes of a pool; when it resolves nothing here touches the pool any more. */
  async detach(name: string): Promise<void> {
    const place = this.#places.get(name);
    assert(place !== undefined && place !== this.#own);
    place.leaving = true;
    // What began before may still add a volume, or be about to use one.
    await Promise.allSettled(this.#tails.values());
    for (const hosted of this.#within(place)) {
      const volume = hosted.wanted.metadata.name;
      await this.#exclusively(volume, () => this.#letGo(hosted));
      this.#hosted.delete(volume);
    }
    this.#places.delete(name);
  }

  async #letGo(hosted: Hosted): Promise<void> {
    hosted.throttle?.setLimits(NO_LIMITS);
    const { name } = hosted.wanted.metadata;
    await this.#exposed.hideAll(name);
    await this.#options.exporter.withdraw(this.iqn(name));
    await (hosted.replicated?.stop() ?? hosted.volume?.close());
    hosted.volume = null;
  }

  async #openAll(place: Place): Promise<readonly string[]> {
    const { log } = this.#options;
    const { pool } = place;
    const clashes: string[] = [];
    for (const name of volumesIn(pool)) {
      await this.#exclusively(name, async () => {
        const store = pool.volume(name);
        if (store === null) return;
        if (this.#hosted.has(name)) {
          clashes.push(name);
          return;
        }
        const bytes = store.getBlob(MANIFEST_KEY);
        const wanted = bytes === null ? null : decodeManifest(bytes);
        if (wanted !== null && wanted.metadata.name === store.name) {
          await this.#finishReceiving(pool, store);
          // It may come from a daemon that has counted further.
          const version = Number(wanted.metadata.resourceVersion);
          if (version > this.#resourceVersion) this.#resourceVersion = version;
          await this.#open(place, store, wanted);
          if (wanted.replicas.length === 0) {
            this.#exposed.restore(store, wanted, pool.snapshots(name));
          }
        } else if (isHalfMade(store, bytes)) {
          log.info({ volume: name }, 'removing a volume whose creation never finished');
          await pool.deleteVolume(name);
        } else {
          const why = bytes === null ? 'its manifest is missing' : 'its manifest is damaged';
          this.#keepFailed(place, store, why);
        }
      });
    }
    return clashes;
  }

  /** The name of the pool that the volume behind a target is in. */
  poolNameOf(iqn: string): string {
    const [volume = ''] = iqn.slice(this.iqn('').length).split('.'); // A snapshot's: VOLUME.NAME.
    return (this.#hosted.get(volume)?.place ?? this.#own).name;
  }

  /** The pool that a volume is in; of one that there is none of, the daemon's own. */
  poolOf(volume: string): Pool {
    return this.#hosted.get(volume)?.place.pool ?? this.#own.pool;
  }

  list(): VolumeObject[] {
    return [...this.#hosted.values()]
      .sort((a, b) => (a.wanted.metadata.name < b.wanted.metadata.name ? -1 : 1))
      .map((hosted) => this.#present(hosted));
  }

  get(name: string): VolumeObject {
    return this.#present(this.#find(name));
  }

  find(name: string): VolumeObject | null {
    const hosted = this.#hosted.get(name);
    return hosted === undefined ? null : this.#present(hosted);
  }

  /** Every replica of every volume that has some. */
  replicas(): { volume: WantedVolume; facts: ReplicaFacts }[] {
    return [...this.#hosted.values()].flatMap(({ wanted, replicated }) =>
      (replicated?.replicas() ?? []).map((facts) => ({ volume: wanted, facts })),
    );
  }

  /** C1: activates with the replicas that are there, which become the only ones. */
  async #force(hosted: Hosted): Promise<void> {
    const { replicated, wanted, store } = hosted;
    const { name } = wanted.metadata;
    if (replicated === null) throw new ApiError('Conflict', `volumes "${name}" has no replicas`);
    try {
      await replicated.force();
    } catch (error) {
      throw new ApiError('Conflict', (error as Error).message, {}, { cause: error });
    }
    // The lost ones are wanted no more: else they would be looked for.
    const left = new Set(replicated.replicas().map(({ id }) => id));
    const replicas = wanted.replicas.filter(({ id }) => left.has(id));
    this.#options.log.error({ volume: name, left: [...left] }, 'a quorum was overridden by force');
    hosted.wanted = { ...wanted, replicas };
    await this.#keep(store, hosted.wanted);
  }

  /** The open volumes, for metrics and the status line. */
  open(): { name: string; volume: Volume; usedBytes: number }[] {
    const open: { name: string; volume: Volume; usedBytes: number }[] = [];
    for (const [name, { volume, store }] of this.#hosted) {
      if (volume === null) continue;
      open.push({ name, volume, usedBytes: store.info().mappedBlocks * STORE_BLOCK_BYTES });
    }
    return open;
  }

  /** What is wrong with a manifest for a new volume, beside its metadata. */
  faults(sent: VolumeManifest): readonly StatusCause[] {
    try {
      checkVolume(sent, null, this.#options.defaults);
      return this.#poolFaults(sent);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return (error.details.causes ?? []).filter((cause) => !cause.field.startsWith('metadata'));
    }
  }

  #poolFaults({ spec }: VolumeManifest): readonly StatusCause[] {
    const { pool } = spec;
    if (pool === undefined || this.#places.has(pool)) return [];
    const message = `there is no pool '${pool.slice(0, 80)}' that serves; there ${this.#places.size > 1 ? 'are' : 'is'} ${[...this.#places.keys()].join(', ')}`;
    return [{ reason: 'FieldValueNotFound', field: 'spec.pool', message }];
  }

  /** Where a new volume goes: where it says, else where what it begins as is, else the daemon's own pool. */
  #placeOf({ metadata, spec }: VolumeManifest, wanted: WantedVolume): Place {
    const source = wanted.source ?? null;
    const origin = source === null ? undefined : this.#hosted.get(source.split('@')[0]!);
    const shares = origin !== undefined && origin.replicated === null;
    const place =
      spec.pool === undefined
        ? shares
          ? origin.place
          : this.#own
        : (this.#places.get(spec.pool) ?? this.#own);
    if (shares && origin.place !== place) {
      const message = `${source} is in pool ${origin.place.name}: what begins as a snapshot shares its blocks, and is in its pool`;
      throw invalid('Volume', metadata.name ?? '', [
        { reason: 'FieldValueInvalid', field: 'spec.pool', message },
      ]);
    }
    return place;
  }

  create(
    sent: VolumeManifest,
    options: { dryRun: boolean; uid?: string; receiving?: Receiving },
  ): Promise<VolumeObject> {
    const checked = checkVolume(sent, null, this.#options.defaults);
    const { name } = checked.metadata;
    return this.#exclusively(name, async () => {
      this.#refuseWhenDown(this.#own);
      const missing = this.#poolFaults(sent);
      if (missing.length > 0) throw invalid('Volume', name, missing);
      if (this.#hosted.has(name)) {
        throw new ApiError('AlreadyExists', `volumes "${name}" already exists`, {
          name,
          group: GROUP,
          kind: 'volumes',
        });
      }
      const id = options.uid ?? randomUUID();
      const metadata: Metadata = {
        ...checked.metadata,
        uid: id,
        resourceVersion: await this.#nextVersion(),
        generation: 1,
        creationTimestamp: this.#nowIso(),
      };
      const blockSize = sent.spec.blockSize === undefined ? this.#sourceBlocks(checked) : null;
      const wanted: WantedVolume = {
        ...checked,
        ...(blockSize === null ? {} : { blockSize }),
        metadata,
      };
      assertStorable(wanted);
      this.#checkSource(wanted);
      const place = this.#placeOf(sent, wanted);
      this.#refuseWhenDown(place);
      if (this.#within(place).length >= MAX_VOLUMES) {
        const why = `pool ${place.name} holds ${MAX_VOLUMES} volumes, which is its limit`;
        throw new ApiError('Forbidden', why);
      }
      if (options.dryRun) return this.#presentWanted(wanted, place);
      const { pool } = place;
      const sizeBlocks = wanted.sizeBytes / STORE_BLOCK_BYTES;
      const store = await this.#translated(name, () =>
        wanted.source === undefined || wanted.source === null || wanted.replicas.length > 0
          ? pool.createVolume({ id, name, sizeBlocks })
          : pool.cloneSnapshot(wanted.source, { id, name }),
      );
      try {
        if (wanted.replicas.length > 0) await this.#makeReplicas(id, sizeBlocks, wanted);
        if (options.receiving !== undefined) await this.#putReceiving(store, options.receiving);
        await this.#keep(store, wanted);
      } catch (error) {
        // Without its manifest the volume was never made: a second attempt must find the name free.
        if (wanted.replicas.length > 0) await this.#replication().destroy(id, 0, wanted.replicas);
        await pool.deleteVolume(name).catch((cause: unknown) => {
          this.#options.log.error({ volume: name, err: cause }, 'cannot remove a half-made volume');
        });
        throw error;
      }
      return this.#present(await this.#open(place, store, wanted));
    });
  }

  /** Replaces the wanted state. `sent` may carry the resource version that it is based on. */
  update(
    name: string,
    change: (current: VolumeObject) => VolumeManifest,
    options: { dryRun: boolean; mayMark?: boolean },
  ): Promise<VolumeObject> {
    return this.#exclusively(name, async () => {
      const hosted = this.#find(name);
      this.#refuseWhenDown(hosted.place);
      const before = hosted.wanted;
      const sent = change(this.#present(hosted));
      this.#checkVersion(name, sent.metadata.resourceVersion, before.metadata);
      if (sent.metadata.name !== undefined && sent.metadata.name !== name) {
        throw invalid('Volume', name, [
          { reason: 'FieldValueInvalid', field: 'metadata.name', message: 'cannot be changed' },
        ]);
      }
      if (sent.spec.pool !== undefined && sent.spec.pool !== hosted.place.name) {
        const message = `is fixed at creation (${hosted.place.name}); send its snapshots into another volume there`;
        throw invalid('Volume', name, [
          { reason: 'FieldValueInvalid', field: 'spec.pool', message },
        ]);
      }
      const named = { ...sent, metadata: { ...sent.metadata, name } };
      let checked = checkVolume(named, before, this.#options.defaults);
      // Clients send back what they read: only a different setting is a wish.
      if (checked.writeCache === hosted.volume?.writeCache)
        checked = { ...checked, writeCache: null };
      const specChanged = !sameSpec(checked, before);
      const metadata: Metadata = {
        ...checked.metadata,
        uid: before.metadata.uid,
        creationTimestamp: before.metadata.creationTimestamp,
        generation: before.metadata.generation + (specChanged ? 1 : 0),
        resourceVersion: before.metadata.resourceVersion,
      };
      // Marked for deletion it stays so.
      const deletionTimestamp =
        before.metadata.deletionTimestamp ??
        (options.mayMark === true ? sent.metadata.deletionTimestamp : undefined);
      if (deletionTimestamp !== undefined) metadata.deletionTimestamp = deletionTimestamp;
      if (!specChanged && sameMetadata(metadata, before.metadata)) return this.#present(hosted);
      metadata.resourceVersion = await this.#nextVersion();
      const wanted: WantedVolume = { ...checked, metadata };
      assertStorable(wanted);
      if (options.dryRun) {
        const { spec, metadata: next } = this.#wantedParts(wanted, hosted.place);
        const now = this.#present(hosted);
        const writeCache = spec.writeCache ?? now.spec.writeCache;
        return {
          ...now,
          metadata: next,
          spec: { ...spec, ...(writeCache === undefined ? {} : { writeCache }) },
        };
      }
      if (hosted.volume === null && specChanged) {
        throw new ApiError('Conflict', `volumes "${name}" is not open: ${hosted.failure}`);
      }
      await this.#keep(hosted.store, wanted);
      hosted.wanted = wanted;
      const forced = metadata.annotations?.[FORCE_ANNOTATION];
      if (forced !== undefined && forced !== before.metadata.annotations?.[FORCE_ANNOTATION]) {
        await this.#force(hosted);
        return this.#present(hosted);
      }
      try {
        await this.#translated(name, () => this.#bringUp(hosted));
      } catch (error) {
        // What was refused must not be tried again at the next start.
        await this.#keep(hosted.store, before);
        hosted.wanted = before;
        throw error;
      }
      this.#expose(hosted);
      if (hosted.replicated === null) {
        this.#exposed.refresh(hosted.wanted, hosted.place.pool.snapshots(name));
      }
      if (metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0) {
        const last = this.#present(hosted);
        await this.#remove(hosted);
        return last;
      }
      return this.#present(hosted);
    });
  }

  /** Resolves with the volume's last state; with finalizers set, the state in which it waits for them. */
  delete(name: string, options: DeleteOptions): Promise<VolumeObject> {
    return this.#exclusively(name, async () => {
      const hosted = this.#find(name);
      // Before any host is thrown out: a faulted pool cannot forget the volume.
      this.#refuseWhenDown(hosted.place);
      const { metadata } = hosted.wanted;
      this.#checkVersion(name, options.resourceVersion, metadata);
      if (options.uid !== undefined && options.uid !== metadata.uid) {
        throw new ApiError('Conflict', `volumes "${name}" has another uid than the precondition`);
      }
      const initiators = this.#options.exporter.initiators(this.iqn(name));
      if (initiators.length > 0 && !options.force) {
        throw busy(name, initiators);
      }
      this.#refuseWithSnapshots(name);
      if ((metadata.finalizers ?? []).length > 0 && options.finalized !== true) {
        if (metadata.deletionTimestamp === undefined) {
          const resourceVersion = await this.#nextVersion();
          const marked = { ...metadata, resourceVersion, deletionTimestamp: this.#nowIso() };
          const wanted = { ...hosted.wanted, metadata: marked };
          await this.#keep(hosted.store, wanted);
          hosted.wanted = wanted;
        }
        return this.#present(hosted);
      }
      const last = this.#present(hosted);
      await this.#remove(hosted);
      return last;
    });
  }

  /** Oldest first. */
  snapshots(name: string): KeptSnapshot[] {
    const replicated = this.#hosted.get(name)?.replicated ?? null;
    return replicated === null
      ? this.poolOf(name).snapshots(name).map(keptInPool)
      : replicated.snapshots().map((snapshot) => keptOnReplicas(name, snapshot));
  }

  /** By `volume@name`. */
  snapshot(fullName: string): KeptSnapshot | null {
    const [volume = '', short] = fullName.split('@');
    return this.snapshots(volume).find(({ name }) => name === short) ?? null;
  }

  /** To read a snapshot of a volume on replicas, whole or since an earlier one; null: its volume is in a pool here. */
  replicatedSource(fullName: string, fromName: string | null): ReplicatedSource | null {
    const [volume = '', short = ''] = fullName.split('@');
    const hosted = this.#hosted.get(volume);
    if (hosted === undefined || hosted.replicated === null) return null;
    const { replicated: handle, wanted, store } = hosted;
    if (!handle.serving) throw new ApiError('Conflict', `volumes "${volume}" is not served`);
    const all = handle.snapshots();
    const find = (name: string): number => {
      const at = all.findIndex((one) => one.name === name);
      if (at < 0) throw notFound('snapshots', `${volume}@${name}`);
      return at;
    };
    const at = find(short);
    const fromAt = fromName === null ? -1 : find(fromName);
    if (fromAt >= at) {
      throw new ApiError('BadRequest', `${volume}@${fromName} is not older than ${fullName}`);
    }
    return new ReplicatedSource({
      handle,
      volume,
      volumeId: store.id,
      snapshot: all[at]!,
      from: fromAt < 0 ? null : all[fromAt]!,
      logicalBlockBytes: wanted.blockSize,
    });
  }

  /** Snapshots of these volumes at one instant, all or none; in their order. Durable before it resolves. */
  async takeSnapshots(names: readonly string[], short: string): Promise<readonly KeptSnapshot[]> {
    const { now } = this.#options;
    const [alone = ''] = names;
    const { place, replicated: onReplicas } = this.#find(alone);
    this.#refuseWhenDown(place);
    if (names.length === 1 && onReplicas !== null) {
      return [await this.#takeOnReplicas(alone, short)];
    }
    if (names.every((name) => this.#find(name).replicated !== null)) {
      return await this.#takeGroup(names, short);
    }
    const { pool } = place;
    const volumes = names.map((name) => {
      const { volume, failure, replicated, place: other } = this.#find(name);
      if (other !== place) {
        const why = `volumes "${alone}" is in pool ${place.name} and "${name}" in ${other.name}: one instant is of one pool`;
        throw new ApiError('Conflict', why);
      }
      if (replicated !== null) {
        // One after the other they would be of different instants, and look like one.
        throw new ApiError(
          'Conflict',
          `volumes "${name}" is on replicas, and not all of the others are: one instant is of one kind`,
        );
      }
      if (volume !== null) return { name, volume };
      throw new ApiError('Conflict', `volumes "${name}" is not open: ${failure}`);
    });
    const made = await this.#translated(`${names[0]}.${short}`, () =>
      // Versions and the cut in one go: no change comes between (P1).
      pool.createSnapshots(
        volumes.map(({ name, volume }) => ({
          volume: name,
          name: short,
          id: randomUUID(),
          ...volume.cut(),
        })),
        now().getTime(),
      ),
    );
    return made.map(keptInPool);
  }

  async #takeOnReplicas(name: string, short: string): Promise<KeptSnapshot> {
    const full = `${name}@${short}`;
    const refusal = `snapshots "${name}.${short}" already exists`;
    if (this.snapshot(full) !== null) throw new ApiError('AlreadyExists', refusal);
    const createdMs = this.#options.now().getTime();
    await this.#byCoordinator(name, (replicated) =>
      replicated.takeSnapshot({ id: randomUUID(), name: short, createdMs }),
    );
    return this.snapshot(full)!;
  }

  /**
   * P5. All cuts are made in one go, between two events: no host hears of a change in one volume and makes another in the next
   * before that is cut. A cut that cannot be kept as it is takes the others along.
   */
  async #takeGroup(names: readonly string[], short: string): Promise<readonly KeptSnapshot[]> {
    const { clock, now } = this.#options;
    for (const name of names) {
      if (this.snapshot(`${name}@${short}`) === null) continue;
      throw new ApiError('AlreadyExists', `snapshots "${name}.${short}" already exists`);
    }
    let why = 'their replicas are being changed';
    for (let attempt = 0; attempt < GROUP_ATTEMPTS; attempt += 1) {
      const createdMs = now().getTime();
      const cuts = names.map((name) => {
        const { replicated } = this.#find(name);
        const snapshot = { id: randomUUID(), name: short, createdMs };
        const taken = replicated?.serving === true ? replicated.takeSnapshotNow(snapshot) : null;
        return { replicated, id: snapshot.id, taken };
      });
      const ended = await Promise.allSettled(
        cuts.map(({ taken }) => taken ?? Promise.reject(new Error(why))),
      );
      const failed = ended.find(({ status }) => status === 'rejected');
      if (failed === undefined) return names.map((name) => this.snapshot(`${name}@${short}`)!);
      why = String((failed as PromiseRejectedResult).reason?.message ?? why);
      for (const [index, { replicated, id }] of cuts.entries()) {
        if (ended[index]!.status === 'fulfilled') await replicated?.deleteSnapshot(id);
      }
      await new Promise<void>((resolve) => clock.schedule(GROUP_PAUSE_MS, resolve));
    }
    throw new ApiError('Conflict', `snapshots "${short}" cannot be taken now: ${why}`);
  }

  async #byCoordinator(
    name: string,
    run: (replicated: ReplicatedHandle) => Promise<void>,
  ): Promise<void> {
    const { replicated } = this.#find(name);
    if (replicated?.serving !== true) {
      const why = replicated?.advice().join(' ') ?? '';
      throw new ApiError('Conflict', `volumes "${name}" is not served: ${why}`);
    }
    try {
      await run(replicated);
    } catch (error) {
      throw new ApiError('Conflict', (error as Error).message, {}, { cause: error });
    }
  }

  /** By `volume@name`. In the pool here it is refused, naming them, while it has clones. */
  async deleteSnapshot(fullName: string): Promise<void> {
    const { place } = this.#find(fullName.split('@')[0]!);
    this.#refuseWhenDown(place);
    const found = this.snapshot(fullName);
    if (found !== null && found.holders !== null) {
      await this.#byCoordinator(found.volume, (replicated) => replicated.deleteSnapshot(found.id));
      return;
    }
    await this.#exclusively(fullName.split('@')[0]!, async () => {
      this.#exposed.assertHidden([fullName], 'deleted');
      await this.#translated(fullName, () => place.pool.deleteSnapshot(fullName));
    });
  }

  /** What hosts see of a snapshot; null: it is not exposed. */
  exposure(fullName: string): ExposedSnapshot | null {
    return this.#exposed.find(fullName);
  }

  /** Hosts see the snapshot as a read-only disk of its own, also after a restart. */
  async exposeSnapshot(fullName: string): Promise<void> {
    await this.#withSnapshot(fullName, async ({ store, wanted }, snapshot) => {
      if (store.getBlob(RECEIVING_KEY) !== null) {
        throw new ApiError('Conflict', `volumes "${store.name}" is being received: wait for that`);
      }
      await this.#exposed.expose(store, wanted, snapshot);
    });
  }

  async unexposeSnapshot(fullName: string, { force }: { force: boolean }): Promise<void> {
    await this.#withSnapshot(fullName, async ({ store }, snapshot) => {
      await this.#exposed.unexpose(store, snapshot, force);
    });
  }

  async #withSnapshot(
    fullName: string,
    run: (hosted: Hosted, snapshot: StoreSnapshot) => Promise<void>,
  ): Promise<void> {
    const [name = ''] = fullName.split('@');
    await this.#exclusively(name, async () => {
      const hosted = this.#find(name);
      this.#refuseWhenDown(hosted.place);
      if (hosted.replicated !== null) {
        throw new ApiError(
          'Conflict',
          `volumes "${name}" is on replicas, and its snapshots are read through a clone: ashlar create volume NEW --from-snapshot ${fullName} --replica-node …`,
        );
      }
      const snapshot = hosted.place.pool.snapshot(fullName);
      if (snapshot === null) throw notFound('snapshots', fullName.replace('@', '.'));
      await run(hosted, snapshot);
    });
  }

  /** Volumes whose snapshots are taken by a schedule. */
  scheduled(): { name: string; schedule: SnapshotSchedule }[] {
    return [...this.#hosted].flatMap(([name, { wanted, volume }]) =>
      volume === null || !wanted.snapshots ? [] : [{ name, schedule: wanted.snapshots }],
    );
  }

  /** The volume becomes what its snapshot is; hosts log in to it again afterwards. */
  rollback(
    name: string,
    { to, deleteLater, force }: { to: string; deleteLater: boolean; force: boolean },
  ): Promise<VolumeObject> {
    return this.#exclusively(name, async () => {
      const { exporter } = this.#options;
      const { wanted, volume, failure, replicated, place } = this.#find(name);
      this.#refuseWhenDown(place);
      const { pool } = place;
      if (replicated !== null) return await this.#rollbackOnReplicas(name, to, deleteLater, force);
      if (volume === null)
        throw new ApiError('Conflict', `volumes "${name}" is not open: ${failure}`);
      if (pool.snapshot(`${name}@${to}`) === null) throw notFound('snapshots', `${name}.${to}`);
      const all = pool.snapshots(name).map((one) => one.name);
      const later = all.slice(all.indexOf(`${name}@${to}`) + 1);
      if (deleteLater) this.#exposed.assertHidden(later, 'deleted');
      const initiators = exporter.initiators(this.iqn(name));
      if (initiators.length > 0 && !force) throw busy(name, initiators);
      await exporter.withdraw(this.iqn(name));
      const version = volume.cut();
      await volume.close();
      try {
        // Durable when it resolves; a crash before that leaves the volume as it was.
        await this.#translated(name, () =>
          pool.rollbackVolume(name, { to, ...version, deleteLater }),
        );
      } finally {
        // As it is now, whichever that is.
        const store = pool.volume(name);
        if (store !== null) await this.#open(place, store, wanted);
      }
      this.#options.log.info({ volume: name, to }, 'the volume was rolled back');
      return this.get(name);
    });
  }

  /** Snapshots taken since then may stay: what the volume becomes is newer than all of them. */
  async #rollbackOnReplicas(
    name: string,
    to: string,
    deleteLater: boolean,
    force: boolean,
  ): Promise<VolumeObject> {
    const { exporter, log } = this.#options;
    const hosted = this.#find(name);
    const found = this.snapshot(`${name}@${to}`);
    if (found === null) throw notFound('snapshots', `${name}.${to}`);
    const initiators = exporter.initiators(this.iqn(name));
    if (initiators.length > 0 && !force) throw busy(name, initiators);
    await exporter.withdraw(this.iqn(name));
    exporter.reserve(this.iqn(name), hosted.wanted);
    try {
      await this.#byCoordinator(name, (replicated) => replicated.rollback(found.id));
      const all = this.snapshots(name);
      const later = all.slice(all.findIndex(({ id }) => id === found.id) + 1);
      for (const one of deleteLater ? later : []) await this.deleteSnapshot(`${name}@${one.name}`);
    } finally {
      this.#expose(hosted); // Unless it is half done: then its coordinator says when it is.
    }
    log.info({ volume: name, to }, 'the volume was rolled back');
    return this.get(name);
  }

  /** A clone gets the snapshots that it came from. */
  promote(name: string): Promise<VolumeObject> {
    return this.#exclusively(name, async () => {
      const { place, store } = this.#find(name);
      this.#refuseWhenDown(place);
      // They get another volume, and with it another name: hosts would lose them.
      const origin = store.info().origin?.split('@')[0] ?? name;
      this.#exposed.assertHidden(this.#exposed.of(origin), `given to ${name}`);
      await this.#translated(name, () => place.pool.promoteVolume(name));
      return this.get(name);
    });
  }

  /** Null: it begins as nothing that there is. */
  #sourceBlocks({ source }: Pick<WantedVolume, 'source'>): 512 | 4096 | null {
    const volume = source?.split('@')[0] ?? '';
    return this.#hosted.get(volume)?.wanted.blockSize ?? null;
  }

  /** Of a volume that is to begin as a snapshot: there must be one, and it must fit. */
  #checkSource(wanted: WantedVolume): void {
    const { metadata, source, sizeBytes, replicas } = wanted;
    if (source === undefined || source === null) return;
    const found = this.snapshot(source);
    if (found === null) {
      const message = `there is no snapshot '${source}'`;
      const cause = {
        reason: 'FieldValueNotFound',
        field: 'spec.source.snapshot',
        message,
      } as const;
      throw invalid('Volume', metadata.name, [cause]);
    }
    const causes: StatusCause[] = [];
    const bad = (field: string, message: string): void => {
      causes.push({ reason: 'FieldValueInvalid', field, message });
    };
    const least = found.sizeBlocks * STORE_BLOCK_BYTES;
    if (sizeBytes < least) {
      bad('spec.size', `${source} has ${formatQuantity(least)}; the volume needs as much`);
    }
    // A partition table counts in logical blocks: under others it would mean something else.
    const blockSize = this.#sourceBlocks(wanted);
    if (blockSize !== null && blockSize !== wanted.blockSize) {
      bad('spec.blockSize', `is ${blockSize} for what begins as ${source}, which counts so`);
    }
    // Clones of its blocks, where they are (S14).
    if (found.holders === null && replicas.length > 0) {
      const why = `${source} is in the pool here, and on no replica: leave out replicaNodes`;
      bad('spec.source.snapshot', why);
    }
    if (found.holders !== null && this.#beginning(wanted).length === 0) {
      const nodes = this.#holdersOf(found).map(({ node }) => node);
      const why = `one of them must be a node with a replica that holds ${source}: ${nodes.join(', ')}`;
      bad('spec.replicaNodes', why);
    }
    if (causes.length > 0) throw invalid('Volume', metadata.name, causes);
  }

  #holdersOf({ volume, holders }: KeptSnapshot): readonly ReplicaFacts[] {
    const all = this.#find(volume).replicated?.replicas() ?? [];
    return all.filter(({ id }) => holders?.includes(id));
  }

  /** The replicas that a volume begins with: all, or those on nodes that hold its snapshot. The others join these. */
  #beginning({ source, replicas }: WantedVolume): readonly NewReplica[] {
    if (source === undefined || source === null) return replicas;
    const found = this.snapshot(source);
    if (found === null) return [];
    const volumeId = this.#find(found.volume).store.id;
    const holders = this.#holdersOf(found);
    return replicas.flatMap((replica) => {
      if (replica.witness === true) return [replica];
      const holder = holders.find(({ node }) => node === replica.node);
      if (holder === undefined) return [];
      return [{ ...replica, source: { volumeId, replicaId: holder.id, snapshotId: found.id } }];
    });
  }

  /** Throws where a deletion would be refused. */
  assertDeletable(name: string, force: boolean): void {
    this.#refuseWhenDown(this.#find(name).place);
    const initiators = this.#options.exporter.initiators(this.iqn(name));
    if (initiators.length > 0 && !force) throw busy(name, initiators);
    this.#refuseWithSnapshots(name);
  }

  /** Before its hosts are thrown out: the store would refuse it afterwards. */
  #refuseWithSnapshots(name: string): void {
    const kept = this.snapshots(name).map((one) => `${name}@${one.name}`);
    if (kept.length > 0) throw hasSnapshots(name, kept);
  }

  /** What hosts count in. */
  blockSize(name: string): 512 | 4096 {
    return this.#find(name).wanted.blockSize;
  }

  /** The stream that is being received into the volume, or was until it broke off; null: none. */
  receiving(name: string): Receiving | null {
    const bytes = this.#find(name).store.getBlob(RECEIVING_KEY);
    return bytes === null ? null : (JSON.parse(Buffer.from(bytes).toString()) as Receiving);
  }

  /** The volume to write into. Throws where it cannot be opened. */
  receivingVolume(name: string): Volume {
    const { volume, replicated, failure } = this.#find(name);
    if (replicated !== null) {
      throw new ApiError('Conflict', `volumes "${name}" is on replicas: receive into another`);
    }
    if (volume === null) {
      throw new ApiError('Conflict', `volumes "${name}" is not open: ${failure}`);
    }
    return volume;
  }

  /**
   * Takes the volume away from hosts. Refused while one is logged in. `assertFits` throws where the stream does not go
   * on from what the volume holds; it is asked when no host can write any more, since one may have logged in, written
   * and left after the caller looked. When it refuses, hosts get the volume back as it is.
   */
  beginReceiving(name: string, receiving: Receiving, assertFits: () => void): Promise<void> {
    return this.#exclusively(name, async () => {
      const hosted = this.#find(name);
      this.#refuseWhenDown(hosted.place);
      this.receivingVolume(name);
      const { exporter } = this.#options;
      const initiators = exporter.initiators(this.iqn(name));
      if (initiators.length > 0) throw busy(name, initiators);
      await exporter.withdraw(this.iqn(name));
      try {
        assertFits();
        await this.#putReceiving(hosted.store, receiving);
      } catch (error) {
        this.#expose(hosted);
        throw error;
      }
    });
  }

  async keepReceiving(name: string, receiving: Receiving): Promise<void> {
    await this.#putReceiving(this.#find(name).store, receiving);
  }

  /** The stream is whole: hosts may log in. */
  endReceiving(name: string): Promise<void> {
    return this.#exclusively(name, async () => {
      const hosted = this.#find(name);
      await this.#putReceiving(hosted.store, null);
      this.#expose(hosted);
    });
  }

  /** A crash after the last step of a stream, the snapshot, and before this one. */
  async #finishReceiving(pool: Pool, store: StoreVolume): Promise<void> {
    const bytes = store.getBlob(RECEIVING_KEY);
    if (bytes === null) return;
    const { snapshotId } = JSON.parse(Buffer.from(bytes).toString()) as Receiving;
    const whole = pool.snapshots(store.name).some((one) => one.snapshotInfo().id === snapshotId);
    if (whole) await this.#putReceiving(store, null);
  }

  async #putReceiving(store: StoreVolume, receiving: Receiving | null): Promise<void> {
    const value = receiving === null ? null : Buffer.from(JSON.stringify(receiving));
    const status = await new Promise<IoStatus>((resolve) => {
      store.putBlob(RECEIVING_KEY, value, resolve);
    });
    if (status === IoStatus.Ok) return;
    throw storeFailure(
      store.name,
      status === IoStatus.NoSpace ? 'STORE_NO_SPACE' : 'STORE_IO',
      `how far volume "${store.name}" was received could not be kept`,
    );
  }

  iqn(name: string): string {
    return `${this.#options.iqnPrefix}:${name}`;
  }

  /** Hosts are gone: refuses new work and waits for what is under way. The pool is the caller's to close. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.allSettled(this.#tails.values());
    await this.#exposed.close();
    await Promise.all(
      [...this.#hosted.values()].map(({ volume, throttle, replicated }) => {
        throttle?.setLimits(NO_LIMITS);
        return replicated?.stop() ?? volume?.close();
      }),
    );
  }

  async #makeReplicas(id: string, sizeBlocks: number, wanted: WantedVolume): Promise<void> {
    try {
      await this.#replication().make(id, sizeBlocks, this.#beginning(wanted));
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiError('ServiceUnavailable', (error as Error).message, {}, { cause: error });
    }
  }

  #replication(): ReplicationBackend {
    const { replication } = this.#options;
    if (replication === null || replication === undefined) {
      throw new ApiError('ServiceUnavailable', 'this daemon coordinates no replicas');
    }
    return replication;
  }

  /** A volume on replicas: exported when its coordinator serves it, and not before. */
  #openReplicated(place: Place, store: StoreVolume, wanted: WantedVolume): Hosted {
    const { exporter, turn, clock, log } = this.#options;
    const { name } = wanted.metadata;
    const iqn = this.iqn(name);
    const hosted: Hosted = {
      wanted,
      place,
      store,
      volume: null,
      throttle: null,
      replicated: null,
      phase: 'Ready',
      failure: '',
      sinceIso: this.#nowIso(),
    };
    this.#hosted.set(name, hosted);
    exporter.reserve(iqn, wanted);
    hosted.replicated = this.#replication().open({
      id: store.id,
      name,
      iqn,
      blockSize: wanted.blockSize,
      replicas: wanted.replicas,
      onServing: (volume) => {
        hosted.sinceIso = this.#nowIso();
        if (hosted.volume === null) {
          hosted.volume = volume;
          hosted.throttle = new Throttle({ device: volume, clock, turn });
        }
        this.#expose(hosted);
        void this.#exclusively(name, () => this.#bringUp(hosted)).catch((error: unknown) => {
          log.error({ volume: name, err: error }, 'the volume does not match its manifest');
          hosted.failure = error instanceof Error ? error.message : String(error);
        });
      },
      onOffline: (reason) => {
        hosted.sinceIso = this.#nowIso();
        exporter.takeDown(iqn, reason);
      },
      onLoss: () => exporter.declareLoss(iqn),
    });
    return hosted;
  }

  async #open(place: Place, store: StoreVolume, wanted: WantedVolume): Promise<Hosted> {
    if (wanted.replicas.length > 0) return this.#openReplicated(place, store, wanted);
    const { buffers, turn, log, clock } = this.#options;
    const volume = new Volume({
      store,
      logicalBlockBytes: wanted.blockSize,
      buffers,
      turn,
      clock,
    });
    const hosted: Hosted = {
      wanted,
      place,
      store,
      volume,
      throttle: new Throttle({ device: volume, clock, turn }),
      replicated: null,
      phase: 'Pending',
      failure: '',
      sinceIso: this.#nowIso(),
    };
    this.#hosted.set(wanted.metadata.name, hosted);
    try {
      await this.#bringUp(hosted);
    } catch (error) {
      // Served as it is rather than not at all: the data is there, only a change is missing.
      log.error({ volume: store.name, err: error }, 'the volume does not match its manifest');
      hosted.failure = error instanceof Error ? error.message : String(error);
    }
    hosted.phase = 'Ready';
    this.#expose(hosted);
    return hosted;
  }

  /** Makes the volume what its manifest says. Idempotent. */
  async #bringUp(hosted: Hosted): Promise<void> {
    const { volume, wanted, store, replicated } = hosted;
    if (replicated !== null) await this.#changeReplicas(replicated, wanted);
    if (volume === null) return;
    const { logicalBlockBytes, blocks } = volume.geometry;
    if (wanted.sizeBytes > blocks * logicalBlockBytes) await volume.resize(wanted.sizeBytes);
    const cache = wanted.writeCache;
    if (cache !== null) {
      // Given once to the volume. From then on a host may change it too (MODE SELECT), and the last one has it.
      await new Promise<void>((resolve, reject) => {
        if (volume.writeCache === cache) resolve();
        else {
          volume.setWriteCache(cache, (status) => {
            if (status === IoStatus.Ok) resolve();
            else reject(new StoreError('STORE_IO', 'the write cache setting could not be kept'));
          });
        }
      });
      await this.#keep(store, { ...wanted, writeCache: null });
      hosted.wanted = { ...wanted, writeCache: null };
    }
    hosted.failure = '';
  }

  async #changeReplicas(replicated: ReplicatedHandle, wanted: WantedVolume): Promise<void> {
    try {
      await replicated.changeReplicas(wanted.replicas);
    } catch (error) {
      throw new ApiError('Conflict', (error as Error).message, {}, { cause: error });
    }
  }

  #expose(hosted: Hosted): void {
    const { volume, throttle, wanted, replicated } = hosted;
    if (volume === null || throttle === null) return;
    if (replicated?.serving === false) return;
    if (hosted.store.getBlob(RECEIVING_KEY) !== null) return;
    const iqn = this.iqn(wanted.metadata.name);
    throttle.setLimits(toVolumeLimits(wanted.limits));
    this.#options.exporter.expose({ iqn, wanted, volume, device: throttle });
  }

  async #remove(hosted: Hosted): Promise<void> {
    const { exporter, log } = this.#options;
    const { pool } = hosted.place;
    const { name } = hosted.wanted.metadata;
    hosted.phase = 'Deleting';
    // What a limit holds back would only make the sessions linger.
    hosted.throttle?.setLimits(NO_LIMITS);
    await exporter.withdraw(this.iqn(name));
    if (hosted.replicated !== null) {
      const epoch = hosted.replicated.epoch();
      await hosted.replicated.stop();
      await this.#replication().destroy(hosted.store.id, epoch, hosted.wanted.replicas);
    } else await hosted.volume?.close();
    hosted.volume = null;
    try {
      await this.#translated(name, () => pool.deleteVolume(name));
    } catch (error) {
      hosted.phase = 'Failed';
      hosted.failure = 'its deletion failed; delete it again';
      throw error;
    }
    this.#hosted.delete(name);
    log.info({ volume: name }, 'volume deleted');
  }

  #keepFailed(place: Place, store: StoreVolume, failure: string): void {
    const info = store.info();
    const sizeBytes = info.sizeBlocks * STORE_BLOCK_BYTES;
    this.#options.log.error({ volume: store.name, failure }, 'a volume cannot be opened');
    this.#hosted.set(store.name, {
      wanted: {
        metadata: {
          name: store.name,
          uid: store.id,
          resourceVersion: this.resourceVersion,
          generation: 1,
          creationTimestamp: this.#nowIso(),
        },
        size: formatQuantity(sizeBytes),
        sizeBytes,
        blockSize: 4096,
        writeCache: null,
        initiators: [],
        chap: null,
        mutualChap: null,
        limits: null,
        replicas: [],
      },
      place,
      store,
      volume: null,
      throttle: null,
      replicated: null,
      phase: 'Failed',
      failure,
      sinceIso: this.#nowIso(),
    });
  }

  #find(name: string): Hosted {
    const hosted = this.#hosted.get(name);
    if (hosted === undefined) throw notFound('volumes', name);
    return hosted;
  }

  #checkVersion(name: string, sent: string | undefined, metadata: Metadata): void {
    if (sent === undefined || sent === '' || sent === metadata.resourceVersion) return;
    throw new ApiError(
      'Conflict',
      `volumes "${name}" has been modified (version ${metadata.resourceVersion}, not ${sent}); read it again and apply your change to that`,
      { name, group: GROUP, kind: 'volumes' },
    );
  }

  /** The daemon's own pool, too: versions of objects are kept there. */
  #refuseWhenDown(place: Place): void {
    if (this.#closing) throw new ApiError('ServiceUnavailable', 'ashlar is stopping');
    if (place.leaving) {
      throw new ApiError('ServiceUnavailable', `pool ${place.name} is being taken away`);
    }
    for (const { name, fault } of [this.#own, place]) {
      if (fault === '') continue;
      throw new ApiError('ServiceUnavailable', `the pool is faulted: ${name}: ${fault}`);
    }
  }

  async #keep(store: StoreVolume, wanted: WantedVolume): Promise<void> {
    const status = await new Promise<IoStatus>((resolve) => {
      store.putBlob(MANIFEST_KEY, encodeManifest(wanted), resolve);
    });
    if (status === IoStatus.Ok) return;
    throw storeFailure(
      wanted.metadata.name,
      status === IoStatus.NoSpace ? 'STORE_NO_SPACE' : 'STORE_IO',
      `the manifest of volume "${wanted.metadata.name}" could not be kept`,
    );
  }

  async #translated<T>(name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StoreError) throw storeFailure(name, error.code, error.message, error);
      throw error;
    }
  }

  /** Versions rise for ever, over restarts too: a stride of them is reserved on disk before the first is used. */
  async #nextVersion(): Promise<string> {
    const version = this.#resourceVersion + 1;
    if (version >= this.#reservedVersion) {
      const reserved = version + RESOURCE_VERSION_STRIDE;
      await this.#translated('', () =>
        this.#own.pool.putBlob(VERSION_KEY, Buffer.from(String(reserved))),
      );
      this.#reservedVersion = Math.max(this.#reservedVersion, reserved);
    }
    this.#resourceVersion = Math.max(this.#resourceVersion + 1, version);
    return String(this.#resourceVersion);
  }

  /** Runs `work` after every earlier change to `name`. */
  #exclusively<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(name) ?? Promise.resolve();
    const run = before.then(work, work);
    const tail = run
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        if (this.#tails.get(name) === tail) this.#tails.delete(name);
      });
    this.#tails.set(name, tail);
    return run;
  }

  #wantedParts(wanted: WantedVolume, place: Place): Pick<VolumeObject, 'metadata' | 'spec'> {
    const spec: VolumeSpec = { size: wanted.size, blockSize: wanted.blockSize };
    if (place !== this.#own) spec.pool = place.name;
    if (wanted.writeCache !== null) spec.writeCache = wanted.writeCache;
    if (wanted.initiators.length > 0) spec.initiators = [...wanted.initiators];
    // Secrets go in and never come out.
    if (wanted.chap !== null) spec.chap = { user: wanted.chap.user };
    if (wanted.mutualChap !== null) spec.mutualChap = { user: wanted.mutualChap.user };
    if (wanted.limits !== null) spec.limits = { ...wanted.limits };
    if (wanted.source) spec.source = { snapshot: wanted.source };
    if (wanted.snapshots) spec.snapshots = { ...wanted.snapshots };
    const copies = wanted.replicas.filter(({ witness }) => witness !== true);
    if (copies.length > 0) spec.replicaNodes = copies.map(({ node }) => node);
    const witness = wanted.replicas.find((replica) => replica.witness === true);
    if (witness !== undefined) spec.witnessNode = witness.node;
    return { metadata: wanted.metadata, spec };
  }

  /** A volume that is not there, as `dryRun` shows it. */
  #presentWanted(wanted: WantedVolume, place: Place): VolumeObject {
    return {
      apiVersion: GROUP_VERSION,
      kind: 'Volume',
      ...this.#wantedParts(wanted, place),
      status: {
        phase: 'Pending',
        state: 'Offline',
        observedGeneration: 0,
        iqn: this.iqn(wanted.metadata.name),
        lun: 0,
        portals: [...this.#options.exporter.portals],
        pool: place.name,
        capacityBytes: 0,
        usedBytes: 0,
        blockSize: wanted.blockSize,
        writeCache: wanted.writeCache ?? true,
        sessions: 0,
        initiators: [],
        conditions: [],
      },
    };
  }

  #present(hosted: Hosted): VolumeObject {
    const { wanted, volume, phase } = hosted;
    const { fault } = hosted.place;
    const object = this.#presentWanted(wanted, hosted.place);
    const info = hosted.store.info();
    const initiators = this.#options.exporter.initiators(object.status.iqn);
    const { status } = object;
    const receiving = hosted.store.getBlob(RECEIVING_KEY) !== null;
    const serving = phase === 'Ready' && volume !== null && !receiving;
    status.phase = wanted.metadata.deletionTimestamp !== undefined ? 'Deleting' : phase;
    status.state = fault !== '' ? 'Faulted' : serving ? 'Healthy' : 'Offline';
    status.observedGeneration = wanted.metadata.generation;
    status.capacityBytes = info.sizeBlocks * STORE_BLOCK_BYTES;
    status.usedBytes = info.mappedBlocks * STORE_BLOCK_BYTES;
    status.writeCache = volume?.writeCache ?? true;
    object.spec.writeCache = status.writeCache;
    const { replicated } = hosted;
    const { nodeName } = this.#options;
    if (nodeName !== undefined && serving) {
      const [portal = ''] = status.portals;
      status.serving = { nodeName, epoch: replicated?.epoch() ?? info.epoch, portal };
    }
    const inSync = replicated?.replicas().filter(({ state }) => state === 'InSync').length;
    const copies = wanted.replicas.filter(({ witness }) => witness !== true).length;
    status.replicas = {
      wanted: Math.max(1, copies),
      placed: Math.max(1, copies),
      inSync: inSync ?? (serving ? 1 : 0),
    };
    if (replicated !== null && fault === '') {
      status.state = replicated.state();
      status.epoch = replicated.epoch();
      status.advice = replicated.advice();
      status.usedBytes = replicated.usedBlocks() * STORE_BLOCK_BYTES;
      const sizeBlocks = replicated.sizeBlocks();
      if (sizeBlocks > 0) status.capacityBytes = sizeBlocks * STORE_BLOCK_BYTES;
    }
    status.sessions = initiators.length;
    status.initiators = [...new Set(initiators)];
    status.conditions = [this.#readyCondition(hosted)];
    return object;
  }

  #readyCondition(hosted: Hosted): Condition {
    const lastTransitionTime = hosted.sinceIso;
    const { name: pool, fault } = hosted.place;
    if (fault !== '') {
      const message = `pool ${pool}: ${fault}; see docs/operations.md, "The pool is faulted"`;
      return { type: 'Ready', status: 'False', reason: 'PoolFaulted', message, lastTransitionTime };
    }
    const { replicated } = hosted;
    if (replicated !== null && (hosted.failure === '' || !replicated.serving)) {
      const state = replicated.state();
      const message = replicated.advice().join(' ') || 'hosts can log in';
      const status = replicated.serving ? 'True' : 'False';
      return { type: 'Ready', status, reason: state, message, lastTransitionTime };
    }
    if (hosted.volume === null) {
      const { failure } = hosted;
      const reason = hosted.phase === 'Deleting' ? 'Deleting' : 'NotOpen';
      return { type: 'Ready', status: 'False', reason, message: failure, lastTransitionTime };
    }
    if (hosted.failure !== '') {
      const message = `served, but not as its manifest says: ${hosted.failure}`;
      return { type: 'Ready', status: 'True', reason: 'Behind', message, lastTransitionTime };
    }
    if (hosted.store.getBlob(RECEIVING_KEY) !== null) {
      const { snapshot, lba } = this.receiving(hosted.wanted.metadata.name)!;
      const message = `the stream of snapshot ${snapshot} is not whole: send it again (--resume ${lba} goes on where it broke off), or delete the volume`;
      return { type: 'Ready', status: 'False', reason: 'Receiving', message, lastTransitionTime };
    }
    const message = 'hosts can log in';
    return { type: 'Ready', status: 'True', reason: 'Serving', message, lastTransitionTime };
  }

  #nowIso(): string {
    // Kubernetes writes whole seconds.
    return `${this.#options.now().toISOString().slice(0, 19)}Z`;
  }
}

/** Names of volumes that are hosts' own: replicas are somebody else's. */
function volumesIn(pool: Pool): string[] {
  return pool
    .volumes()
    .map(({ name }) => name)
    .filter((name) => REPLICA_PREFIXES.every((prefix) => !name.startsWith(prefix)));
}

/** Never reported as made, and never served: without a manifest of its own, and nothing was written to it. */
function isHalfMade(store: StoreVolume, manifest: Uint8Array | null): boolean {
  const { mappedBlocks, origin, writtenBlocks } = store.info();
  if (origin !== null) return manifest === null && writtenBlocks === 0;
  return manifest === null && mappedBlocks === 0;
}
