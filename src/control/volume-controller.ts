// Volumes as the API sees them: keeps each manifest in the pool, and makes what is there agree with it.
//
// Order is what makes this safe against a crash at any point. Creation: the store makes the volume, then its manifest is
// kept, then it is exported; only then is it reported. A volume found without manifest and without data at start is a
// creation that was never reported, and is removed. Change: the manifest first, then the volume; at start the volume is
// brought up to its manifest. Deletion: hosts first, then the store, which forgets the manifest with the volume.
import { randomUUID } from 'node:crypto';
import { assert } from '../base/index.ts';
import { type Pool, STORE_BLOCK_BYTES, type VolumeUse } from '../store/types.ts';
import { NO_LIMITS, type Volume } from '../volume/index.ts';
import { ApiError, invalid, type StatusCause } from './errors.ts';
import { ExposedSnapshots } from './exposed-snapshots.ts';
import {
  HostedVolumes,
  keepManifest,
  MANIFEST_KEY,
  type Place,
  translated,
  type VolumeControllerOptions,
} from './hosted-volumes.ts';
import { MAX_VOLUMES } from './limits.ts';
import { finishReceiving, putReceiving, type Receiving } from './receiving-mark.ts';
import type { ReplicaFacts } from './replication.ts';
import { GROUP, type Metadata, type VolumeManifest, type VolumeObject } from './schemas.ts';
import { VolumeHistory } from './volume-history.ts';
import {
  assertStorable,
  checkVolume,
  decodeManifest,
  type WantedVolume,
} from './volume-manifest.ts';
import { VolumeOpening } from './volume-opening.ts';
import {
  busy,
  hasSnapshots,
  isHalfMade,
  sameMetadata,
  sameSpec,
  volumesIn,
} from './volume-parts.ts';
import { placeOf, poolFaults } from './volume-place.ts';
import { VolumeReceiving } from './volume-receiving.ts';
import { VolumeSnapshots } from './volume-snapshots.ts';
import { VolumeSources } from './volume-sources.ts';
import { VolumeView } from './volume-view.ts';

/** A new value of it is an operator's word that the replicas that are away are gone for good (C1). */
const FORCE_ANNOTATION = 'ashlar.io/force-quorum';

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
  readonly #table: HostedVolumes;
  readonly #exposed: ExposedSnapshots;
  readonly #opening: VolumeOpening;
  readonly #view: VolumeView;
  readonly #sources: VolumeSources;
  /** Its parts, with what callers ask of them. */
  readonly snapshots: VolumeSnapshots;
  readonly history: VolumeHistory;
  readonly receiving: VolumeReceiving;

  constructor(options: VolumeControllerOptions) {
    const table = new HostedVolumes(options);
    const exposed = new ExposedSnapshots(options);
    const opening = new VolumeOpening(options, table, exposed);
    const view = new VolumeView(options, table);
    const snapshots = new VolumeSnapshots(options, table, exposed);
    this.#options = options;
    this.#table = table;
    this.#exposed = exposed;
    this.#opening = opening;
    this.#view = view;
    this.#sources = new VolumeSources(table, snapshots);
    this.snapshots = snapshots;
    this.history = new VolumeHistory(options, { table, exposed, opening, snapshots, view });
    const { exporter, clock, turn } = options;
    this.receiving = new VolumeReceiving({ table, opening, exporter, clock, turn });
    this.#watch(table.own);
  }

  #admit(name: string, pool: Pool): Place {
    const place = this.#table.addPlace(name, pool);
    this.#watch(place);
    return place;
  }

  #watch(place: Place): void {
    place.pool.onFault((why) => {
      place.fault = why;
      // All that the daemon's own holds goes with the daemon's readiness.
      if (place === this.#table.own) return;
      for (const { wanted } of this.#table.within(place)) {
        this.#options.exporter.takeDown(this.#table.iqn(wanted.metadata.name), why);
        this.#exposed.takeDown(wanted.metadata.name, why);
      }
    });
  }

  /** The highest resource version given so far: that of the list. */
  get resourceVersion(): string {
    return this.#table.resourceVersion;
  }

  /** Opens and exports what the pool holds; finishes or undoes what a crash cut short. */
  async start(): Promise<void> {
    await this.#table.loadVersion();
    await this.#openAll(this.#table.own);
    this.snapshots.groups.start();
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
    return volumesIn(pool).filter((name) => this.#table.has(name));
  }

  /** Who is logged in to volumes of a pool, by volume. */
  usersOf(name: string): ReadonlyMap<string, readonly string[]> {
    const place = this.#table.place(name);
    const users = new Map<string, readonly string[]>();
    for (const { wanted } of place === undefined ? [] : this.#table.within(place)) {
      const { name: volume } = wanted.metadata;
      for (const full of this.#exposed.of(volume)) {
        const { initiators = [] } = this.#exposed.find(full) ?? {};
        if (initiators.length > 0) users.set(full, initiators);
      }
      const initiators = this.#options.exporter.initiators(this.#table.iqn(volume));
      if (initiators.length > 0) users.set(volume, [...new Set(initiators)]);
    }
    return users;
  }

  /** Hosts lose the volumes of a pool; when it resolves nothing here touches the pool any more. */
  async detach(name: string): Promise<void> {
    const place = this.#table.place(name);
    assert(place !== undefined && place !== this.#table.own);
    place.leaving = true;
    // What began before may still add a volume, or be about to use one.
    await this.#table.settled();
    for (const hosted of this.#table.within(place)) {
      const volume = hosted.wanted.metadata.name;
      await this.#table.exclusively(volume, () => this.#opening.letGo(hosted));
      this.#table.delete(volume);
    }
    this.#table.removePlace(name);
  }

  async #openAll(place: Place): Promise<readonly string[]> {
    const { log } = this.#options;
    const { pool } = place;
    const clashes: string[] = [];
    for (const name of volumesIn(pool)) {
      await this.#table.exclusively(name, async () => {
        const store = pool.volume(name);
        if (store === null) return;
        if (this.#table.has(name)) {
          clashes.push(name);
          return;
        }
        const bytes = store.getBlob(MANIFEST_KEY);
        const wanted = bytes === null ? null : decodeManifest(bytes);
        if (wanted !== null && wanted.metadata.name === store.name) {
          await finishReceiving(pool, store);
          // It may come from a daemon that has counted further.
          this.#table.raiseVersion(Number(wanted.metadata.resourceVersion));
          await this.#opening.open(place, store, wanted);
          if (wanted.replicas.length === 0) {
            this.#exposed.restore(store, wanted, pool.snapshots(name));
          }
        } else if (isHalfMade(store, bytes)) {
          log.info({ volume: name }, 'removing a volume whose creation never finished');
          await pool.deleteVolume(name);
        } else {
          const why = bytes === null ? 'its manifest is missing' : 'its manifest is damaged';
          this.#opening.keepFailed(place, store, why);
        }
      });
    }
    return clashes;
  }

  /** The name of the pool that the volume behind a target is in. */
  poolNameOf(iqn: string): string {
    return (this.#table.get(this.#volumeOf(iqn))?.place ?? this.#table.own).name;
  }

  #volumeOf(iqn: string): string {
    const [volume = ''] = iqn.slice(this.#table.iqn('').length).split('.'); // A snapshot's: VOLUME.NAME.
    return volume;
  }

  /** The pool behind a target. */
  poolBehind(iqn: string): Pool {
    return this.#table.poolOf(this.#volumeOf(iqn));
  }

  /** The pool that a volume is in; of one that there is none of, the daemon's own. */
  poolOf(volume: string): Pool {
    return this.#table.poolOf(volume);
  }

  list(): VolumeObject[] {
    return this.#table
      .all()
      .sort((a, b) => (a.wanted.metadata.name < b.wanted.metadata.name ? -1 : 1))
      .map((hosted) => this.#view.of(hosted));
  }

  get(name: string): VolumeObject {
    return this.#view.of(this.#table.find(name));
  }

  find(name: string): VolumeObject | null {
    const hosted = this.#table.get(name);
    return hosted === undefined ? null : this.#view.of(hosted);
  }

  /** Every replica of every volume that has some. */
  replicas(): { volume: WantedVolume; facts: ReplicaFacts }[] {
    return this.#table
      .all()
      .flatMap(({ wanted, replicated }) =>
        (replicated?.replicas() ?? []).map((facts) => ({ volume: wanted, facts })),
      );
  }

  /** The open volumes, for metrics and the status line. */
  open(): { name: string; volume: Volume; usedBytes: number }[] {
    const open: { name: string; volume: Volume; usedBytes: number }[] = [];
    for (const { volume, store, wanted } of this.#table.all()) {
      if (volume === null) continue;
      open.push({
        name: wanted.metadata.name,
        volume,
        usedBytes: store.info().mappedBlocks * STORE_BLOCK_BYTES,
      });
    }
    return open;
  }

  /** What those whose blocks are in a pool here have of it, for metrics. */
  uses(): { volume: string; pool: string; use: VolumeUse }[] {
    return this.#table
      .all()
      .filter(({ replicated }) => replicated === null)
      .map(({ wanted, place, store }) => ({
        volume: wanted.metadata.name,
        pool: place.name,
        use: store.use(),
      }));
  }

  /** What is wrong with a manifest for a new volume, beside its metadata. */
  faults(sent: VolumeManifest): readonly StatusCause[] {
    try {
      checkVolume(sent, null, this.#options.defaults);
      return poolFaults(this.#table, sent);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return (error.details.causes ?? []).filter((cause) => !cause.field.startsWith('metadata'));
    }
  }

  create(
    sent: VolumeManifest,
    options: { dryRun: boolean; uid?: string; receiving?: Receiving },
  ): Promise<VolumeObject> {
    const checked = checkVolume(sent, null, this.#options.defaults);
    const { name } = checked.metadata;
    return this.#table.exclusively(name, async () => {
      this.#table.refuseWhenDown(this.#table.own);
      const missing = poolFaults(this.#table, sent);
      if (missing.length > 0) throw invalid('Volume', name, missing);
      if (this.#table.has(name)) {
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
        resourceVersion: await this.#table.nextVersion(),
        generation: 1,
        creationTimestamp: this.#table.nowIso(),
      };
      const blockSize = sent.spec.blockSize === undefined ? this.#sources.blocks(checked) : null;
      const wanted: WantedVolume = {
        ...checked,
        ...(blockSize === null ? {} : { blockSize }),
        metadata,
      };
      assertStorable(wanted);
      this.#sources.check(wanted);
      const place = placeOf(this.#table, sent, wanted);
      this.#table.refuseWhenDown(place);
      if (this.#table.within(place).length >= MAX_VOLUMES) {
        const why = `pool ${place.name} holds ${MAX_VOLUMES} volumes, which is its limit`;
        throw new ApiError('Forbidden', why);
      }
      if (options.dryRun) return this.#view.wanted(wanted, place);
      const { pool } = place;
      const sizeBlocks = wanted.sizeBytes / STORE_BLOCK_BYTES;
      const store = await translated(name, () =>
        wanted.source === undefined || wanted.source === null || wanted.replicas.length > 0
          ? pool.createVolume({ id, name, sizeBlocks })
          : pool.cloneSnapshot(wanted.source, { id, name }),
      );
      try {
        if (wanted.replicas.length > 0) await this.#makeReplicas(id, sizeBlocks, wanted);
        if (options.receiving !== undefined) await putReceiving(store, options.receiving);
        await keepManifest(store, wanted);
      } catch (error) {
        // Without its manifest the volume was never made: a second attempt must find the name free.
        if (wanted.replicas.length > 0)
          await this.#opening.replication().destroy(id, 0, wanted.replicas);
        await pool.deleteVolume(name).catch((cause: unknown) => {
          this.#options.log.error({ volume: name, err: cause }, 'cannot remove a half-made volume');
        });
        throw error;
      }
      return this.#view.of(await this.#opening.open(place, store, wanted));
    });
  }

  async #makeReplicas(id: string, sizeBlocks: number, wanted: WantedVolume): Promise<void> {
    try {
      await this.#opening.replication().make(id, sizeBlocks, this.#sources.beginning(wanted));
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiError('ServiceUnavailable', (error as Error).message, {}, { cause: error });
    }
  }

  /** Replaces the wanted state. `sent` may carry the resource version that it is based on. */
  update(
    name: string,
    change: (current: VolumeObject) => VolumeManifest,
    options: { dryRun: boolean; mayMark?: boolean },
  ): Promise<VolumeObject> {
    return this.#table.exclusively(name, async () => {
      const hosted = this.#table.find(name);
      this.#table.refuseWhenDown(hosted.place);
      const before = hosted.wanted;
      const sent = change(this.#view.of(hosted));
      checkVersion(name, sent.metadata.resourceVersion, before.metadata);
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
      if (!specChanged && sameMetadata(metadata, before.metadata)) return this.#view.of(hosted);
      metadata.resourceVersion = await this.#table.nextVersion();
      const wanted: WantedVolume = { ...checked, metadata };
      assertStorable(wanted);
      if (options.dryRun) {
        const { spec, metadata: next } = this.#view.parts(wanted, hosted.place);
        const now = this.#view.of(hosted);
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
      await keepManifest(hosted.store, wanted);
      hosted.wanted = wanted;
      const forced = metadata.annotations?.[FORCE_ANNOTATION];
      if (forced !== undefined && forced !== before.metadata.annotations?.[FORCE_ANNOTATION]) {
        await this.#opening.force(hosted);
        return this.#view.of(hosted);
      }
      try {
        await translated(name, () => this.#opening.bringUp(hosted));
      } catch (error) {
        // What was refused must not be tried again at the next start.
        await keepManifest(hosted.store, before);
        hosted.wanted = before;
        throw error;
      }
      this.#opening.expose(hosted);
      if (hosted.replicated === null) {
        this.#exposed.refresh(hosted.wanted, hosted.place.pool.snapshots(name));
      }
      if (metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0) {
        const last = this.#view.of(hosted);
        await this.#opening.remove(hosted);
        return last;
      }
      return this.#view.of(hosted);
    });
  }

  /** Resolves with the volume's last state; with finalizers set, the state in which it waits for them. */
  delete(name: string, options: DeleteOptions): Promise<VolumeObject> {
    return this.#table.exclusively(name, async () => {
      const hosted = this.#table.find(name);
      // Before any host is thrown out: a faulted pool cannot forget the volume.
      this.#table.refuseWhenDown(hosted.place);
      const { metadata } = hosted.wanted;
      checkVersion(name, options.resourceVersion, metadata);
      if (options.uid !== undefined && options.uid !== metadata.uid) {
        throw new ApiError('Conflict', `volumes "${name}" has another uid than the precondition`);
      }
      const initiators = this.#options.exporter.initiators(this.#table.iqn(name));
      if (initiators.length > 0 && !options.force) {
        throw busy(name, initiators);
      }
      this.#refuseWithSnapshots(name);
      if ((metadata.finalizers ?? []).length > 0 && options.finalized !== true) {
        if (metadata.deletionTimestamp === undefined) {
          const resourceVersion = await this.#table.nextVersion();
          const marked = { ...metadata, resourceVersion, deletionTimestamp: this.#table.nowIso() };
          const wanted = { ...hosted.wanted, metadata: marked };
          await keepManifest(hosted.store, wanted);
          hosted.wanted = wanted;
        }
        return this.#view.of(hosted);
      }
      const last = this.#view.of(hosted);
      await this.#opening.remove(hosted);
      return last;
    });
  }

  /** Throws where a deletion would be refused. */
  assertDeletable(name: string, force: boolean): void {
    this.#table.refuseWhenDown(this.#table.find(name).place);
    const initiators = this.#options.exporter.initiators(this.#table.iqn(name));
    if (initiators.length > 0 && !force) throw busy(name, initiators);
    this.#refuseWithSnapshots(name);
  }

  /** Before its hosts are thrown out: the store would refuse it afterwards. */
  #refuseWithSnapshots(name: string): void {
    const kept = this.snapshots.of(name).map((one) => `${name}@${one.name}`);
    if (kept.length > 0) throw hasSnapshots(name, kept);
  }

  iqn(name: string): string {
    return this.#table.iqn(name);
  }

  /** Hosts are gone: refuses new work and waits for what is under way. The pool is the caller's to close. */
  async close(): Promise<void> {
    this.#table.stopChanges();
    this.snapshots.groups.close();
    await this.#table.settled();
    await this.#exposed.close();
    await Promise.all(
      this.#table.all().map(({ volume, throttle, replicated }) => {
        throttle?.setLimits(NO_LIMITS);
        return replicated?.stop() ?? volume?.close();
      }),
    );
  }
}

function checkVersion(name: string, sent: string | undefined, metadata: Metadata): void {
  if (sent === undefined || sent === '' || sent === metadata.resourceVersion) return;
  throw new ApiError(
    'Conflict',
    `volumes "${name}" has been modified (version ${metadata.resourceVersion}, not ${sent}); read it again and apply your change to that`,
    { name, group: GROUP, kind: 'volumes' },
  );
}
