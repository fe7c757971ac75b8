// Loads the addon, and says what it exports. The only file that knows of it.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert, type Crc32c, type Crc32cEach } from '../base/index.ts';
import type { StoreVersion } from './replication.ts';
import { StoreError, type StoreErrorCode, type VolumeUse } from './types.ts';

// As in native/binding/pool_binding.h.
export const MAX_TAGS = 4096;
export const MAX_CONTROLS = 1024;
export const COMPLETION_SLOTS = 8192;
export const MAX_BATCH = 1024;
export const SUBMISSION_LANES = 12;
export const COMPLETION_LANES = 4;

export interface NativeVolumeInfo {
  readonly handle: number;
  readonly id: string;
  readonly name: string;
  readonly sizeBlocks: number;
  readonly mappedBlocks: number;
  readonly epoch: number;
  readonly op: number;
  readonly deleting: boolean;
  readonly contig: StoreVersion;
  readonly durable: StoreVersion;
  /** All bits set: holes have no versions. */
  readonly holeFloor: StoreVersion;
  readonly writtenBlocks: number;
  readonly snapshotBlocks: number;
  readonly inheritedBlocks: number;
  /** Handle of a snapshot, or 0. */
  readonly origin: number;
  readonly rollingBack: boolean;
}

export interface NativeSnapshotInfo {
  readonly handle: number;
  readonly volume: number;
  readonly id: string;
  readonly name: string;
  readonly sizeBlocks: number;
  readonly mappedBlocks: number;
  readonly epoch: number;
  readonly op: number;
  readonly createdMs: number;
  readonly uniqueBlocks: number;
  readonly writtenBlocks: number;
  readonly settled: boolean;
  readonly deleting: boolean;
  readonly clones: readonly number[];
}

/** Volume, id, name, epoch, op number. */
export type NativeSnapshotRequest = readonly [number, Uint8Array, string, number, number];

export interface NativeStats {
  /** 1 open, 2 faulted, 3 closed. */
  readonly state: number;
  readonly sizeBlocks: number;
  readonly usableBlocks: number;
  readonly growthLimitPercent: number;
  readonly allocatedBlocks: number;
  readonly dataBlocks: number;
  readonly metadataBlocks: number;
  readonly pendingFreeBlocks: number;
  readonly freeBlocks: number;
  readonly unknownBlocks: number;
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
  readonly fault: string;
}

/** As DeviceInfo in native/engine/pool_devices.h. */
export interface NativeDevice {
  readonly id: string;
  readonly path: string;
  readonly vdev: number;
  readonly place: number;
  readonly log: boolean;
  readonly state: number;
  readonly sizeBlocks: number;
  readonly deviceBlocks: number;
  readonly staleSince: number;
  readonly replaces?: string;
  readonly readErrors: number;
  readonly writeErrors: number;
  readonly checksumErrors: number;
  readonly why: string;
}

export interface NativeWalk {
  readonly state: number;
  readonly startedS: number;
  readonly endedS: number;
  readonly doneBlocks: number;
  readonly totalBlocks: number;
  readonly healedBlocks: number;
  readonly damagedBlocks: number;
  readonly secondsLeft: number;
}

/** An open pool of the addon. Control calls end with a completion whose tag is -1 - controlId. */
export interface NativePoolHandle {
  attach(
    submission: Int32Array,
    completion: Int32Array,
    shared: Int32Array,
    onCompletions: () => void,
  ): void;
  submit(count: number): void;
  createVolume(
    controlId: number,
    id: Uint8Array,
    name: string,
    sizeBlocks: number,
    keepsHoles: boolean,
    floorEpoch: number,
    floorOp: number,
  ): void;
  resizeVolume(controlId: number, handle: number, sizeBlocks: number): void;
  deleteVolume(controlId: number, handle: number, withSnapshots: boolean): void;
  createSnapshots(
    controlId: number,
    requests: readonly NativeSnapshotRequest[],
    createdMs: number,
  ): void;
  takeHandles(controlId: number): number[];
  cloneSnapshot(controlId: number, snapshot: number, id: Uint8Array, name: string): void;
  promoteVolume(controlId: number, handle: number): void;
  rollbackVolume(
    controlId: number,
    handle: number,
    snapshot: number,
    epoch: number,
    op: number,
    deleteLater: boolean,
  ): void;
  changed(controlId: number, from: number, to: number, lba: number, maxRuns: number): void;
  takeChangedRuns(controlId: number): Float64Array;
  deleteSnapshot(controlId: number, handle: number): void;
  snapshots(volume: number): NativeSnapshotInfo[];
  snapshot(handle: number): NativeSnapshotInfo | null;
  putBlob(controlId: number, handle: number, key: string, value: Uint8Array): void;
  getBlob(handle: number, key: string): Uint8Array | null;
  mapStatus(controlId: number, handle: number, lba: number, maxRuns: number): void;
  takeRuns(controlId: number): Float64Array;
  changedSince(
    controlId: number,
    handle: number,
    sinceEpoch: number,
    sinceOp: number,
    lba: number,
    maxRuns: number,
  ): void;
  takeChanged(controlId: number): Float64Array;
  setMarks(
    controlId: number,
    handle: number,
    which: number,
    floorEpoch: number,
    floorOp: number,
    contigEpoch: number,
    contigOp: number,
  ): void;
  creditBlocks(): number;
  openIds(): string[];
  checkpoint(controlId: number): void;
  close(controlId: number): void;
  release(): void;
  volumes(): NativeVolumeInfo[];
  volume(handle: number): NativeVolumeInfo | null;
  /** False: there is no such volume. */
  tune(handle: number, cacheBytes: number, ioWorkers: number): boolean;
  use(handle: number): VolumeUse | null;
  stats(): NativeStats | null;
  devices(): NativeDevice[];
  vdevs(): { vdev: number; log: boolean; sizeBlocks: number; usedBlocks: number }[];
  /** 1 scrub, 2 resilver, 3 rebalance. */
  walkInfo(kind: number): NativeWalk | null;
  damage(): { volume: string; lba: number; isData: boolean }[];
  addVdev(controlId: number, media: readonly unknown[]): void;
  attachDevice(
    controlId: number,
    beside: Uint8Array,
    media: readonly unknown[],
    replaces: boolean,
  ): void;
  detachDevice(controlId: number, id: Uint8Array): void;
  offlineDevice(controlId: number, id: Uint8Array): void;
  onlineDevice(
    controlId: number,
    id: Uint8Array,
    media: readonly unknown[],
    sequence: number,
  ): void;
  growDevices(controlId: number): void;
  setGrowthLimit(controlId: number, percent: number): void;
  exportPool(controlId: number): void;
  giveBack(controlId: number): void;
  startScrub(controlId: number): void;
  stopScrub(controlId: number, cancel: boolean): void;
  startRebalance(controlId: number): void;
  stopRebalance(controlId: number, cancel: boolean): void;
  setWalkRate(bytesPerSecond: number): void;
  identity(): { id: string; name: string; backend: string; direct: boolean };
}

/** What the offline walk found (S15). */
export interface CheckReport {
  readonly clean: boolean;
  readonly pagesChecked: number;
  readonly blocksChecked: number;
  readonly badMetadataPages: number;
  readonly badDataBlocks: number;
  readonly leakedBlocks: number;
  readonly doublyOwnedBlocks: number;
  readonly unmarkedBlocks: number;
  /** The first hundred, in words. */
  readonly findings: readonly string[];
}

/** How the medium is reached: chosen by what it is, save in tests and measurements. */
export type MediumBackend = 'auto' | 'io_uring' | 'threads' | 'sync';

/** Takes a send stream apart: native/engine/stream_format.h. */
export interface NativeStreamReader {
  /**
   * Looks at the record that begins at `window[start]`. Returns how many bytes it takes, or 0. `result` (8 lanes):
   * error, bytes needed, ended, kind, lba, blocks, where the payload begins in the window, its bytes.
   */
  next(window: Uint8Array, start: number, end: number, result: Float64Array): number;
}

/** Puts a send stream together. */
export interface NativeStreamWriter {
  /** The 64 bytes that go before `payload[start, end)`. */
  seal(
    kind: number,
    lba: number,
    blocks: number,
    payload: Uint8Array,
    start: number,
    end: number,
  ): Buffer;
  /** The payload of the End that is sealed next. */
  totals(): Buffer;
}

export interface NativeAddon {
  StreamReader: new () => NativeStreamReader;
  StreamWriter: new () => NativeStreamWriter;
  createArena(bytes: number): ArrayBuffer;
  crc32c: Crc32c;
  crc32cEach: Crc32cEach;
  sdNotify(text: string): boolean;
  setSpin(microseconds: number): void;
  findSignature(head: Uint8Array, tail: Uint8Array, sizeBytes: number): string | null;
  openPool(options: {
    paths: readonly string[];
    cacheBytes: number;
    openId: Uint8Array;
    /** All zeros: the machine has nothing that it could be known by. */
    owner: Uint8Array;
    ownerName: string;
    /** What this machine was known by before; all zeros: nothing else. */
    formerOwner: Uint8Array;
    takeOver: boolean;
    /** So long does a take-over wait between its labels and its first look at what there is. */
    settleMs: number;
    /** What is written so long after the labels were last read waits until they were read again. 0: never. */
    lookMs: number;
    readOnly: boolean;
    backend: MediumBackend;
    walkBytesPerSecond: number;
  }): Promise<NativePoolHandle>;
  createPool(options: {
    /** The vdevs: the paths of each one's sides. */
    data: readonly (readonly string[])[];
    log: readonly string[];
    sizeBytes: number;
    sparse: boolean;
    force: boolean;
    name: string;
    storeId: Uint8Array;
    growthLimitPercent: number;
  }): Promise<void>;
  probePool(options: { path: string }): Promise<{
    id: Uint8Array;
    name: string;
    deviceId: Uint8Array;
    devices: number;
    sequence: number;
    exported: boolean;
    owner: Uint8Array;
    ownerName: string;
    ownedSinceS: number;
  }>;
  /** A medium made or taken, and cleared; to be given to addVdev or attachDevice. */
  prepareDevice(options: {
    path: string;
    sizeBytes: number;
    sparse: boolean;
    force: boolean;
    id: Uint8Array;
  }): Promise<unknown>;
  openDevice(options: { path: string }): Promise<{
    medium: unknown;
    poolId: Uint8Array;
    deviceId: Uint8Array;
    sequence: number;
  }>;
  destroyPool(options: { paths: readonly string[] }): Promise<void>;
  checkPool(options: { paths: readonly string[]; withData: boolean }): Promise<CheckReport>;
}

const ADDON_PATH = join('build', 'cmake', 'Release', 'ashlar.node');

let loaded: NativeAddon | null = null;
let arena: ArrayBuffer | null = null;

/** The addon, loaded at the first call. Throws StoreError when it has not been built. */
export function native(): NativeAddon {
  if (loaded !== null) return loaded;
  const path = process.env['ASHLAR_NATIVE'] ?? findAddon();
  try {
    loaded = createRequire(import.meta.url)(path) as NativeAddon;
  } catch (error) {
    throw new StoreError(
      'STORE_UNSUPPORTED',
      `the native engine at ${path} does not load (${String(error)}); build it again: npm run build:native, in ${packageFolder()}`,
      { cause: error },
    );
  }
  return loaded;
}

// This file runs as src/… or dist/src/… of the package, or from a test's own folder: the package is whichever parent
// holds the build.
function findAddon(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (const start of [here, process.cwd()]) {
    for (let folder = start; ; folder = dirname(folder)) {
      const path = join(folder, ADDON_PATH);
      if (existsSync(path)) return path;
      if (dirname(folder) === folder) break;
    }
  }
  throw new StoreError(
    'STORE_UNSUPPORTED',
    `the native engine is not built (no ${ADDON_PATH} in any folder above ${here}); build it: npm run build:native, in ${packageFolder()}`,
  );
}

/** Where npm scripts are run from: an npm that runs no scripts of what it installs leaves the engine to be built there. */
function packageFolder(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (let folder = here; dirname(folder) !== folder; folder = dirname(folder))
    if (existsSync(join(folder, 'package.json'))) return folder;
  return here;
}

/**
 * The process's one arena, aligned for O_DIRECT: what the DataBufferPool of a process with a native pool is made of. A
 * later call returns the same one, and must ask for no more than the first.
 */
export function nativeArena(bytes: number): ArrayBuffer {
  arena ??= native().createArena(bytes);
  assert(arena.byteLength >= bytes, 'the arena of this process was made smaller');
  return arena;
}

/** The arena if there is one: only buffers in it can be handed to the engine. */
export function currentArena(): ArrayBuffer | null {
  return arena;
}

/** CRC32C by the processor's instruction; what the daemon gives to base's setCrc32c. */
export function nativeCrc32c(): Crc32c {
  return native().crc32c;
}

/** … of many pieces in one call. */
export function nativeCrc32cEach(): Crc32cEach {
  return native().crc32cEach;
}

/** A fresh reader of one send stream. */
export function nativeStreamReader(): NativeStreamReader {
  return new (native().StreamReader)();
}

/** A fresh writer of one send stream. */
export function nativeStreamWriter(): NativeStreamWriter {
  return new (native().StreamWriter)();
}

/** Tells the service manager ("READY=1"). False where there is none. */
export function sdNotify(text: string): boolean {
  return native().sdNotify(text);
}

/**
 * Lets the event loop look for its next event for up to `microseconds` (0 to 1000, 0: not at all) before it sleeps, while
 * events come that fast and a processor would be idle anyway. Spares the wake-up that is half of an I/O's time at depth 1.
 */
export function setSpin(microseconds: number): void {
  native().setSpin(microseconds);
}

/** The addon's failures, as our own. */
export function asStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  if (typeof code === 'string' && code.startsWith('STORE_')) {
    return new StoreError(code as StoreErrorCode, (error as Error).message, { cause: error });
  }
  return new StoreError('STORE_IO', String(error), { cause: error });
}

/**
 * What the first and the last bytes of a medium of `sizeBytes` say it holds ("an XFS file system"), or null. A mebibyte of
 * either end is what the engine itself looks at before it formats.
 */
export function findSignature(
  head: Uint8Array,
  tail: Uint8Array,
  sizeBytes: number,
): string | null {
  return native().findSignature(head, tail, sizeBytes);
}
