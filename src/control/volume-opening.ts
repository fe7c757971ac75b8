// Volumes are opened, made what their manifests say, exported, and taken away again.
import { formatQuantity } from '../base/index.ts';
import { IoStatus } from '../block/index.ts';
import { STORE_BLOCK_BYTES, StoreError, type StoreVolume } from '../store/types.ts';
import { NO_LIMITS, Throttle, Volume } from '../volume/index.ts';
import { ApiError } from './errors.ts';
import type { ExposedSnapshots } from './exposed-snapshots.ts';
import {
  type Hosted,
  type HostedVolumes,
  keepManifest,
  type Place,
  translated,
  type VolumeControllerOptions,
} from './hosted-volumes.ts';
import { putReceiving, receivingOf } from './receiving-mark.ts';
import type { ReplicatedHandle, ReplicationBackend } from './replication.ts';
import { toVolumeLimits, toVolumeTuning } from './volume-limits.ts';
import type { WantedVolume } from './volume-manifest.ts';

export class VolumeOpening {
  readonly #options: VolumeControllerOptions;
  readonly #table: HostedVolumes;
  readonly #exposed: ExposedSnapshots;

  constructor(options: VolumeControllerOptions, table: HostedVolumes, exposed: ExposedSnapshots) {
    this.#options = options;
    this.#table = table;
    this.#exposed = exposed;
  }

  /** Of a volume on replicas it does not wait for the coordinator. Throws nothing: what went wrong is in `failure`. */
  async open(place: Place, store: StoreVolume, wanted: WantedVolume): Promise<Hosted> {
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
      sinceIso: this.#table.nowIso(),
    };
    this.#table.set(wanted.metadata.name, hosted);
    try {
      await this.bringUp(hosted);
    } catch (error) {
      // Served as it is rather than not at all: the data is there, only a change is missing.
      log.error({ volume: store.name, err: error }, 'the volume does not match its manifest');
      hosted.failure = error instanceof Error ? error.message : String(error);
    }
    hosted.phase = 'Ready';
    this.expose(hosted);
    return hosted;
  }

  /** A volume on replicas: exported when its coordinator serves it, and not before. */
  #openReplicated(place: Place, store: StoreVolume, wanted: WantedVolume): Hosted {
    const { exporter, turn, clock, log } = this.#options;
    const { name } = wanted.metadata;
    const iqn = this.#table.iqn(name);
    const hosted: Hosted = {
      wanted,
      place,
      store,
      volume: null,
      throttle: null,
      replicated: null,
      phase: 'Ready',
      failure: '',
      sinceIso: this.#table.nowIso(),
    };
    this.#table.set(name, hosted);
    exporter.reserve(iqn, wanted);
    hosted.replicated = this.replication().open({
      id: store.id,
      name,
      iqn,
      blockSize: wanted.blockSize,
      replicas: wanted.replicas,
      onServing: (volume) => {
        hosted.sinceIso = this.#table.nowIso();
        if (hosted.volume === null) {
          hosted.volume = volume;
          hosted.throttle = new Throttle({ device: volume, clock, turn });
        }
        this.expose(hosted);
        void this.#table
          .exclusively(name, () => this.bringUp(hosted))
          .catch((error: unknown) => {
            log.error({ volume: name, err: error }, 'the volume does not match its manifest');
            hosted.failure = error instanceof Error ? error.message : String(error);
          });
      },
      onOffline: (reason) => {
        hosted.sinceIso = this.#table.nowIso();
        exporter.takeDown(iqn, reason);
      },
      onLoss: () => exporter.declareLoss(iqn),
    });
    return hosted;
  }

  /** Shown, so that somebody does something about it, and never served. */
  keepFailed(place: Place, store: StoreVolume, failure: string): void {
    const info = store.info();
    const sizeBytes = info.sizeBlocks * STORE_BLOCK_BYTES;
    this.#options.log.error({ volume: store.name, failure }, 'a volume cannot be opened');
    this.#table.set(store.name, {
      wanted: {
        metadata: {
          name: store.name,
          uid: store.id,
          resourceVersion: this.#table.resourceVersion,
          generation: 1,
          creationTimestamp: this.#table.nowIso(),
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
      sinceIso: this.#table.nowIso(),
    });
  }

  /** Makes the volume what its manifest says. Idempotent. */
  async bringUp(hosted: Hosted): Promise<void> {
    const { volume, wanted, store, replicated } = hosted;
    if (replicated !== null) await this.#changeReplicas(replicated, wanted);
    if (volume === null) return;
    if (replicated !== null) await this.#finishReceiving(hosted, replicated);
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
      await keepManifest(store, { ...wanted, writeCache: null });
      hosted.wanted = { ...wanted, writeCache: null };
    }
    hosted.failure = '';
  }

  /** As `finishReceiving`: what is on replicas is known when it is served. */
  async #finishReceiving(hosted: Hosted, replicated: ReplicatedHandle): Promise<void> {
    const receiving = receivingOf(hosted.store);
    if (receiving === null) return;
    if (!replicated.snapshots().some(({ id }) => id === receiving.snapshotId)) return;
    await putReceiving(hosted.store, null);
    this.expose(hosted);
  }

  async #changeReplicas(replicated: ReplicatedHandle, wanted: WantedVolume): Promise<void> {
    try {
      await replicated.changeReplicas(wanted.replicas);
    } catch (error) {
      throw new ApiError('Conflict', (error as Error).message, {}, { cause: error });
    }
  }

  /** To hosts, where it may be: with the limits, the access list and the accounts that are wanted now. */
  expose(hosted: Hosted): void {
    const { volume, throttle, wanted, replicated } = hosted;
    if (volume === null || throttle === null) return;
    if (replicated?.serving === false) return;
    if (hosted.withheld === true || receivingOf(hosted.store) !== null) return;
    const iqn = this.#table.iqn(wanted.metadata.name);
    throttle.setLimits(toVolumeLimits(wanted.limits));
    hosted.store.tune(toVolumeTuning(wanted));
    this.#options.exporter.expose({ iqn, wanted, volume, device: throttle });
  }

  /** C1: activates with the replicas that are there, which become the only ones. */
  async force(hosted: Hosted): Promise<void> {
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
    await keepManifest(store, hosted.wanted);
  }

  /** Hosts lose it, and nothing here touches its store any more. Its pool keeps it. */
  async letGo(hosted: Hosted): Promise<void> {
    hosted.throttle?.setLimits(NO_LIMITS);
    const { name } = hosted.wanted.metadata;
    await this.#exposed.hideAll(name);
    await this.#options.exporter.withdraw(this.#table.iqn(name));
    await (hosted.replicated?.stop() ?? hosted.volume?.close());
    hosted.volume = null;
  }

  /** Hosts first, then its replicas, then the store, which forgets the manifest with it. */
  async remove(hosted: Hosted): Promise<void> {
    const { exporter, log } = this.#options;
    const { pool } = hosted.place;
    const { name } = hosted.wanted.metadata;
    hosted.phase = 'Deleting';
    // What a limit holds back would only make the sessions linger.
    hosted.throttle?.setLimits(NO_LIMITS);
    await exporter.withdraw(this.#table.iqn(name));
    if (hosted.replicated !== null) {
      const epoch = hosted.replicated.epoch();
      await hosted.replicated.stop();
      await this.replication().destroy(hosted.store.id, epoch, hosted.wanted.replicas);
    } else await hosted.volume?.close();
    hosted.volume = null;
    try {
      await translated(name, () => pool.deleteVolume(name));
    } catch (error) {
      hosted.phase = 'Failed';
      hosted.failure = 'its deletion failed; delete it again';
      throw error;
    }
    this.#table.delete(name);
    log.info({ volume: name }, 'volume deleted');
  }

  /** Throws where this daemon coordinates no replicas. */
  replication(): ReplicationBackend {
    const { replication } = this.#options;
    if (replication === null || replication === undefined) {
      throw new ApiError('ServiceUnavailable', 'this daemon coordinates no replicas');
    }
    return replication;
  }
}
