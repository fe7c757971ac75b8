// The volumes that are served, and the pools that they live in: what all parts of the volume controller look things up
// in, and what keeps changes to one name one after the other.
import { assert, type Clock, type Log, type Turn } from '../base/index.ts';
import { type BlockDevice, type DataBufferPool, IoStatus } from '../block/index.ts';
import { type Pool, StoreError, type StoreVolume } from '../store/types.ts';
import type { Throttle, Volume } from '../volume/index.ts';
import { ApiError, notFound } from './errors.ts';
import { RESOURCE_VERSION_STRIDE } from './limits.ts';
import type { ReplicatedHandle, ReplicationBackend } from './replication.ts';
import { encodeManifest, type VolumeDefaults, type WantedVolume } from './volume-manifest.ts';
import { storeFailure } from './volume-parts.ts';

/** A volume's manifest, as it is kept in its store. */
export const MANIFEST_KEY = 'manifest';
const VERSION_KEY = 'control.resourceVersion';

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
export interface Place {
  readonly name: string;
  readonly pool: Pool;
  /** Why it serves no more. */
  fault: string;
  /** It is being taken away: nothing new begins there. */
  leaving: boolean;
}

export interface Hosted {
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
  /** It is being found out whether a stream may go into it: no host may write meanwhile. */
  withheld?: boolean;
}

export class HostedVolumes {
  readonly #options: VolumeControllerOptions;
  readonly #hosted = new Map<string, Hosted>();
  /** By name; the first is the daemon's own, where a volume goes that says nothing else. */
  readonly #places = new Map<string, Place>();
  readonly own: Place;
  /** Changes to one name happen one after the other. */
  readonly #tails = new Map<string, Promise<unknown>>();
  #resourceVersion = 0;
  #reservedVersion = 0;
  #closing = false;

  constructor(options: VolumeControllerOptions) {
    this.#options = options;
    this.own = this.addPlace(options.pool.name, options.pool);
  }

  addPlace(name: string, pool: Pool): Place {
    assert(!this.#places.has(name));
    const place: Place = { name, pool, fault: '', leaving: false };
    this.#places.set(name, place);
    return place;
  }

  removePlace(name: string): void {
    this.#places.delete(name);
  }

  place(name: string): Place | undefined {
    return this.#places.get(name);
  }

  /** The pool that a volume is in; of one that there is none of, the daemon's own. */
  poolOf(volume: string): Pool {
    return this.#hosted.get(volume)?.place.pool ?? this.own.pool;
  }

  get placeNames(): readonly string[] {
    return [...this.#places.keys()];
  }

  places(): readonly Place[] {
    return [...this.#places.values()];
  }

  all(): Hosted[] {
    return [...this.#hosted.values()];
  }

  within(place: Place): Hosted[] {
    return this.all().filter((hosted) => hosted.place === place);
  }

  get(name: string): Hosted | undefined {
    return this.#hosted.get(name);
  }

  has(name: string): boolean {
    return this.#hosted.has(name);
  }

  find(name: string): Hosted {
    const hosted = this.#hosted.get(name);
    if (hosted === undefined) throw notFound('volumes', name);
    return hosted;
  }

  /** A volume's name leads to it from now on. */
  set(name: string, hosted: Hosted): void {
    this.#hosted.set(name, hosted);
  }

  delete(name: string): void {
    this.#hosted.delete(name);
  }

  iqn(name: string): string {
    return `${this.#options.iqnPrefix}:${name}`;
  }

  nowIso(): string {
    // Kubernetes writes whole seconds.
    return `${this.#options.now().toISOString().slice(0, 19)}Z`;
  }

  /** The highest resource version given so far: that of the list. */
  get resourceVersion(): string {
    return String(this.#resourceVersion);
  }

  async loadVersion(): Promise<void> {
    const kept = this.own.pool.getBlob(VERSION_KEY);
    this.#resourceVersion = kept === null ? 0 : Number(Buffer.from(kept).toString()) || 0;
    this.#reservedVersion = this.#resourceVersion;
    await this.nextVersion();
  }

  /** Of a volume that comes from a daemon that may have counted further. */
  raiseVersion(seen: number): void {
    if (seen > this.#resourceVersion) this.#resourceVersion = seen;
  }

  /** Versions rise for ever, over restarts too: a stride of them is reserved on disk before the first is used. */
  async nextVersion(): Promise<string> {
    const version = this.#resourceVersion + 1;
    if (version >= this.#reservedVersion) {
      const reserved = version + RESOURCE_VERSION_STRIDE;
      await translated('', () => this.own.pool.putBlob(VERSION_KEY, Buffer.from(String(reserved))));
      this.#reservedVersion = Math.max(this.#reservedVersion, reserved);
    }
    this.#resourceVersion = Math.max(this.#resourceVersion + 1, version);
    return String(this.#resourceVersion);
  }

  /** Runs `work` after every earlier change to `name`. */
  exclusively<T>(name: string, work: () => Promise<T>): Promise<T> {
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

  /** Resolves when what is under way has ended. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#tails.values());
  }

  /** Nothing new begins from here on. */
  stopChanges(): void {
    this.#closing = true;
  }

  /** The daemon's own pool, too: versions of objects are kept there. */
  refuseWhenDown(place: Place): void {
    if (this.#closing) throw new ApiError('ServiceUnavailable', 'ashlar is stopping');
    if (place.leaving) {
      throw new ApiError('ServiceUnavailable', `pool ${place.name} is being taken away`);
    }
    for (const { name, fault } of [this.own, place]) {
      if (fault === '') continue;
      throw new ApiError('ServiceUnavailable', `the pool is faulted: ${name}: ${fault}`);
    }
  }
}

/** Keeps what is wanted of a volume in its store. */
export async function keepManifest(store: StoreVolume, wanted: WantedVolume): Promise<void> {
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

/** What the store refuses, as the API says it. */
export async function translated<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StoreError) throw storeFailure(name, error.code, error.message, error);
    throw error;
  }
}
