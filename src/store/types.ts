// The store's face: pools of copy-on-write volumes. Two implementations: the native engine and a twin in memory.
// Ranges here are in 4 KiB blocks, whatever logical block size a volume shows its hosts (C7, W7).
import type { BlockOp, IoStatus, MapExtent } from '../block/index.ts';
import type { PoolDevices } from './devices.ts';
import type { ChangedRun, StoreOp, StoreVersion } from './replication.ts';

export const STORE_BLOCK_BYTES = 4096;

export type PoolState = 'Online' | 'Faulted' | 'Closed';

/** Counts are of 4 KiB blocks unless named otherwise; the fields are those of PoolStats in native/engine/pool.h. */
export interface PoolStats {
  readonly state: PoolState;
  readonly sizeBlocks: number;
  readonly usableBlocks: number;
  /** N3: writes that grow end when so much is in use. */
  readonly growthLimitPercent: number;
  readonly allocatedBlocks: number;
  readonly dataBlocks: number;
  readonly metadataBlocks: number;
  readonly pendingFreeBlocks: number;
  readonly freeBlocks: number;
  /**
   * H6: in parts of the map of free space that cannot be read; neither free nor usable until the next opening, which makes
   * those parts anew.
   */
  readonly unknownBlocks: number;
  /** Of that map, made anew by this opening. */
  readonly rebuiltPages: number;
  readonly checkpoints: number;
  readonly logBytesUsed: number;
  readonly logBytes: number;
  readonly cachePages: number;
  readonly cacheDirtyPages: number;
  readonly checksumErrors: number;
  readonly ioErrors: number;
  readonly replayedEntries: number;
  readonly droppedEntries: number;
  readonly logDamaged: boolean;
  /** Why, in words, when Faulted; else empty. */
  readonly fault: string;
}

/** What there is to say about a pool's backend, and do; empty when all is well. */
export function backendAdvice({ backend }: Pick<Pool, 'backend'>): string {
  if (backend !== 'threads') return '';
  return 'io_uring is not to be had, and its devices are reached by threads, which is slower: look at sysctl kernel.io_uring_disabled, the seccomp profile of the container, and the limit of locked memory (docs/operations.md)';
}

/** What writes may still take: without what is kept for deletes and checkpoints (N3). */
export function writableBlocks(stats: PoolStats): number {
  const { usableBlocks, allocatedBlocks, pendingFreeBlocks } = stats;
  return Math.max(0, usableBlocks - (allocatedBlocks - pendingFreeBlocks));
}

export interface StoreVolumeInfo {
  /** Lower-case UUID. */
  readonly id: string;
  readonly name: string;
  readonly sizeBlocks: number;
  readonly mappedBlocks: number;
  /** Highest version applied, as E1's two halves. */
  readonly epoch: number;
  readonly op: number;
  /**
   * W10: every change up to it, in the order of submission, is applied, and after a crash is still there; exact, by the
   * chain of what the log holds. It rests below a change that failed or was lost, until a change of a later epoch or
   * `setMarks`.
   */
  readonly contig: StoreVersion;
  /** The part of `contig` that the last completed flush covered. */
  readonly durable: StoreVersion;
  /** B7: holes of a version at or below it have none any more. Null: holes have no versions here. */
  readonly holeFloor: StoreVersion | null;
  /** Data written since the newest snapshot. */
  readonly writtenBlocks: number;
  /** What its snapshots keep and it does not name, metadata included. A clone's origin counts as one of them. */
  readonly snapshotBlocks: number;
  /** Of mappedBlocks: what a clone still shares with its origin. Null: not known, after a promotion. */
  readonly inheritedBlocks: number | null;
  /** Of a clone: its snapshot, `volume@name`; else null. */
  readonly origin: string | null;
}

/**
 * Space in the words that ZFS uses: mappedBlocks is "referenced" (data reached from here), uniqueBlocks "used" (what
 * deleting this snapshot gives back, metadata included), writtenBlocks "written" (data since the snapshot before).
 */
export interface StoreSnapshotInfo {
  /** Lower-case UUID. */
  readonly id: string;
  readonly name: string;
  readonly volume: string;
  /** The volume's when it was taken. */
  readonly sizeBlocks: number;
  readonly mappedBlocks: number;
  /** The cut (P1), as E1's two halves: it holds exactly the operations below. */
  readonly epoch: number;
  readonly op: number;
  /** Unix time. */
  readonly createdMs: number;
  readonly uniqueBlocks: number;
  readonly writtenBlocks: number;
  /** Whether uniqueBlocks is exact: false while it is counted anew, after a neighbour was deleted. */
  readonly settled: boolean;
  /** Names of the volumes that were cloned from it. */
  readonly clones: readonly string[];
}

/**
 * What a volume held at one point of its stream of operations. It reads, verifies and maps like a StoreVolume, so it can
 * be exported as one; what would change it ends with ReadOnly.
 */
export interface StoreSnapshot extends StoreVolume {
  /** The whole name, `volume@snapshot`. */
  readonly name: string;
  /** The part after the "@". */
  readonly shortName: string;
  snapshotInfo(): StoreSnapshotInfo;
}

/** What a volume gets of what the volumes of its pool share. Of this opening: whoever opens the pool says it anew. */
export interface VolumeTuning {
  /**
   * Of the pool's cache, for this volume's map alone: no more, and no less (changed pages come on top until a checkpoint).
   * Null: it shares what is not promised to others. Parts are promised up to half of the cache; together more, each gets
   * its proportion of that.
   */
  readonly cacheBytes: number | null;
  /**
   * Threads of the pool that compare what large reads bring (128 KiB and more) with its checksums, at most so many at a
   * time, so that the event loop need not; the pool has as many as the volume with most asks for. At most 64; 0: the event
   * loop does it.
   */
  readonly ioWorkers: number;
}

/** What it has had of it since the pool was opened. */
export interface VolumeUse {
  /** Its part of the cache as it is; 0: none of its own. */
  readonly cacheBytes: number;
  /** Pages of its map that are in memory. */
  readonly cachedBytes: number;
  /** Map leaves, of half a mebibyte of the volume each, that were found in memory. */
  readonly cacheHits: number;
  /** Map pages that were read from the medium. */
  readonly cacheMisses: number;
  /** Threads that it may have at work. */
  readonly ioWorkers: number;
  /** Blocks that they have checked. */
  readonly workerBlocks: number;
}

export const NO_USE: VolumeUse = {
  cacheBytes: 0,
  cachedBytes: 0,
  cacheHits: 0,
  cacheMisses: 0,
  ioWorkers: 0,
  workerBlocks: 0,
};

export interface SnapshotRequest {
  readonly volume: string;
  /** Of the snapshot: without "@", unique among the volume's. */
  readonly name: string;
  readonly id: string;
  /** E1: its version among the volume's operations, above every one submitted before. */
  readonly epoch: number;
  readonly opNumber: number;
}

export interface StoreVolume {
  readonly id: string;
  readonly name: string;
  info(): StoreVolumeInfo;
  /** At once, while it is used. */
  tune(tuning: VolumeTuning): void;
  /** Zeros once it is deleted. */
  use(): VolumeUse;

  /**
   * Starts an operation of kind Read, Write, Unmap, Flush or Verify whose range is in 4 KiB blocks and within the
   * volume. The end is told to `op.lower`, perhaps before submit returns. Overlapping changes apply in the order of
   * the calls. `epoch` and `opNumber` are the change's version (E1): two safe integers, rising; ignored for reads.
   * Inside a turn, operations are sent to the medium together at its end.
   */
  submit(op: BlockOp, epoch: number, opNumber: number): void;
  /**
   * As `submit`, for an operation with block tags: a Read that fills them in; a Write whose data is first compared with
   * their CRC32Cs (H1: Damaged and `failedLba`, and nothing is changed); with another guard than Newer an install (B4,
   * H3), whose version is the guard's `j`; a StoreOpKind.Tags, which reads no data.
   */
  submitTagged(op: StoreOp, epoch: number, opNumber: number): void;
  /**
   * Blocks and holes at or after `lba` whose version is above `since` (B2), by rising lba; at most `maxRuns` (65 536) and
   * a bounded walk a call: go on at `nextLba` until it is the volume's size. What changes meanwhile may or may not be in it.
   */
  changedSince(
    since: StoreVersion,
    lba: number,
    maxRuns: number,
    done: (status: IoStatus, runs: readonly ChangedRun[], nextLba: number) => void,
  ): void;
  /**
   * Durable before it resolves. The hole floor (B7; null: holes need no versions); `contig`, set with no change under way,
   * when copies have made up for what was missing (B5). Rejects with StoreError.
   */
  setMarks(marks: { holeFloor?: StoreVersion | null; contig?: StoreVersion }): Promise<void>;

  /** Growth. Durable before it resolves. Rejects with StoreError. */
  resize(sizeBlocks: number): Promise<void>;
  /** A small durable blob, at most 64 KiB; null removes it. `done` after it is on stable storage. In call order. */
  putBlob(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void;
  getBlob(key: string): Uint8Array | null;
  /** Extents in 4 KiB blocks, the first beginning at `lba`. */
  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void;
}

export interface NewVolume {
  readonly id: string;
  readonly name: string;
  readonly sizeBlocks: number;
  /** Given: a replica, whose holes have versions above it (W6). Null or absent: a volume that stands alone. */
  readonly holeFloor?: StoreVersion | null;
}

export interface Pool {
  /** The store's id (E6): random, new with each formatting. */
  readonly id: string;
  readonly name: string;
  /**
   * How its devices are reached: io_uring; threads, where the kernel or a container's rules deny that, which is slower; sync
   * where they lie in memory; memory: there are none.
   */
  readonly backend: string;
  stats(): PoolStats;
  volumes(): readonly StoreVolume[];
  volume(name: string): StoreVolume | null;
  /** Durable before it resolves. Rejects with StoreError: STORE_EXISTS, STORE_NO_SPACE, STORE_FAULTED, … */
  createVolume(options: NewVolume): Promise<StoreVolume>;
  /**
   * The name is free at once, space comes back in the background. The caller has stopped using the volume. Rejects with
   * STORE_HAS_SNAPSHOTS unless they are to go too, and with STORE_HAS_CLONES while one of them has a clone.
   */
  deleteVolume(name: string, options?: { withSnapshots?: boolean }): Promise<void>;

  /**
   * Snapshots of one or several volumes at one instant, all or none, under live operations: those submitted before are
   * in them, those submitted after are not. Durable before it resolves. In the order of the requests.
   */
  createSnapshots(
    requests: readonly SnapshotRequest[],
    createdMs: number,
  ): Promise<readonly StoreSnapshot[]>;
  /** By `volume@name`. */
  snapshot(fullName: string): StoreSnapshot | null;
  /** Oldest first. */
  snapshots(volume: string): readonly StoreSnapshot[];
  /**
   * A volume that begins as what a snapshot holds, sharing its blocks, with versions of its own (S14): it takes any
   * version from the start. What it has from there shows the versions it had, in tags and listings. Rejects with STORE_EXISTS, STORE_NOT_FOUND.
   */
  cloneSnapshot(
    fullName: string,
    options: { readonly id: string; readonly name: string },
  ): Promise<StoreVolume>;
  /**
   * The clone gets its origin and the snapshots before it (their names change to `clone@…`); the volume that had them
   * becomes a clone of that one. Rejects with STORE_INVALID for what is no clone, STORE_EXISTS where two snapshots of one
   * name would meet, STORE_IN_USE while deletions are under way on either side (try again: they end by themselves).
   */
  promoteVolume(name: string): Promise<void>;
  /**
   * The volume becomes what the snapshot is, size included. Each block that differs gets the version (P4). With no
   * operation in flight; those that come before it resolves end with Busy. Rejects with STORE_LATER_SNAPSHOTS unless
   * those may go, and with STORE_HAS_CLONES while one of them has a clone.
   */
  rollbackVolume(
    name: string,
    options: {
      readonly to: string;
      readonly epoch: number;
      readonly opNumber: number;
      readonly deleteLater?: boolean;
    },
  ): Promise<void>;
  /**
   * What differs between a snapshot (null: nothing at all) and a later one, or its volume, or a clone that comes of it:
   * extents at or after `lba`, unmapped where `from` had a block and `to` has none. In O(changed); at most `maxExtents`
   * and a bounded walk a call: go on at `nextLba` until it is the size of `to`. Rejects with STORE_INVALID where `to`
   * does not come of `from`.
   */
  changedBetween(
    from: string | null,
    to: string,
    lba: number,
    maxExtents: number,
  ): Promise<{ readonly extents: readonly MapExtent[]; readonly nextLba: number }>;
  /** In any order. Rejects with STORE_HAS_CLONES, which names them. Space comes back in the background. */
  deleteSnapshot(fullName: string): Promise<void>;
  putBlob(key: string, value: Uint8Array | null): Promise<void>;
  getBlob(key: string): Uint8Array | null;
  /** N1: blocks that writes can be promised now, whatever map pages they need besides. */
  creditBlocks(): number;
  /** V6: another one after each loss of a volatile cache: a boot of the machine, a flush that failed. */
  readonly bootId: string;
  /** E7: the last sixteen openings of this store, the present one last. Lower-case UUIDs. */
  openIds(): readonly string[];
  /** Ends when a superblock that was read back reaches all that was applied before the call. Writes go on meanwhile. */
  checkpoint(): Promise<void>;
  /** Drains, flushes, checkpoints, lets go of the medium. */
  close(): Promise<void>;
  readonly devices: PoolDevices;
  /** `close`, and the devices say that they may be opened on another machine. */
  exportPool(): Promise<void>;
  /** `close`, and the devices name the owner, and have the mark, that this opening found: it is as if it had not been. */
  giveBack(): Promise<void>;
  /** Told once, when the medium failed (S9) or its metadata contradict each other, and the pool serves no more. */
  onFault(listener: (why: string) => void): void;
}

/** Stable codes, for the API and the log. */
export type StoreErrorCode =
  | 'STORE_EXISTS'
  | 'STORE_NOT_FOUND'
  | 'STORE_INVALID'
  | 'STORE_NO_SPACE'
  | 'STORE_FAULTED'
  | 'STORE_CLOSED'
  | 'STORE_IN_USE'
  | 'STORE_FOREIGN_SIGNATURE'
  | 'STORE_NOT_A_POOL'
  | 'STORE_CORRUPT'
  | 'STORE_VERSION'
  | 'STORE_TOO_SMALL'
  | 'STORE_TOO_FEW_DEVICES'
  | 'STORE_FOREIGN_DEVICE'
  | 'STORE_DIVERGED'
  | 'STORE_OWNED'
  | 'STORE_UNSUPPORTED'
  | 'STORE_HAS_SNAPSHOTS'
  | 'STORE_HAS_CLONES'
  | 'STORE_LATER_SNAPSHOTS'
  | 'STORE_IO';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
