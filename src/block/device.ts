// BlockDevice is the house's favourite interface: a volume, a store, a fault injector and a plain Buffer all are one.
import type { BlockOp } from './op.ts';
import type { IoStatus } from './status.ts';

export interface Geometry {
  /** Logical block size in bytes: 512 or 4096. */
  readonly logicalBlockBytes: number;
  /** Physical block size in bytes: 4096. What is atomic, what UNMAP gives back (C7). */
  readonly physicalBlockBytes: number;
  /**
   * The longest write that a crash leaves whole or undone, in bytes: a multiple of `physicalBlockBytes`, which it is by
   * default. WRITE ATOMIC (16).
   */
  readonly atomicWriteBytes?: number;
  /** A count of logical blocks. Grows on resize. */
  readonly blocks: number;
}

/** One run of the map, for GET LBA STATUS. In logical blocks. */
export interface MapExtent {
  readonly lba: number;
  readonly blocks: number;
  readonly mapped: boolean;
}

export interface BlockDeviceListener {
  /** The geometry changed (online growth): hosts get 06h/2Ah/09h. */
  onResized(): void;
  /** The write cache is on, or off and all durable: turned so by a host or by an operator: hosts get 06h/2Ah/01h. */
  onWriteCacheChanged(): void;
}

/** All keys of what the device server keeps with a device (`saveMetadata`): who moves a device takes these with it. */
export const METADATA_KEYS = {
  reservations: 'pr',
  modePages: 'mode',
  sanitize: 'sanitize',
} as const;

export interface BlockDevice {
  /** Read it each time: it changes on resize. */
  readonly geometry: Geometry;
  readonly readOnly: boolean;
  /**
   * The volatile write cache (WCE). When off, every write behaves as FUA (C9). Kept durably. While it is being turned off it
   * counts as on, and after that has failed too.
   */
  readonly writeCache: boolean;

  /**
   * Starts an operation; its owner hears of the end exactly once, perhaps before submit returns. Takes ranges that
   * leave the device and answers OutOfRange.
   */
  submit(op: BlockOp): void;

  /**
   * Takes back an operation that waits and that nothing has been done of: true, and its owner hears nothing of it. False: it
   * ends by itself. Not there: nothing waits here.
   */
  withdraw?(op: BlockOp): boolean;

  /** An operation that a limit holds back goes on at once, and counts for those behind it. Not there: no limit holds anything back. */
  hasten?(op: BlockOp): void;

  /** Off: `done` comes, and `writeCache` tells, when all that was acknowledged from the cache is durable. */
  setWriteCache(enabled: boolean, done: (status: IoStatus) => void): void;

  /** At most `maxExtents` runs from `lba` on, the first beginning at `lba`, adjacent and alternating. Not a hot path. */
  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void;

  /**
   * For an answer that rests on nothing but this process's memory: Ok when the device is served from here and nowhere else
   * now, which may take a round trip; Offline when it is not, or no longer (E5). `done` may come before it returns.
   */
  confirmServed(done: (status: IoStatus) => void): void;

  /**
   * A small blob kept durably with the device: persistent reservations under APTPL, saved mode pages. At most
   * 64 KiB. `done` comes after it reached stable storage. Writes apply in the order of the calls.
   */
  saveMetadata(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void;
  /** What `saveMetadata` last kept under `key`, as loaded at open. */
  loadMetadata(key: string): Uint8Array | null;

  listen(listener: BlockDeviceListener): void;
}
