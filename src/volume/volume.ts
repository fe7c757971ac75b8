// A volume: what hosts see as one disk. It owns the order of operations (W1, W2), gives each change its version, widens
// what is smaller than a block (C7, W7) and makes writes durable when the write cache is off (C9). Today it stands on one
// store; with replicas it becomes their coordinator, behind the same BlockDevice.
import { assert, type Clock, LatencyHistogram, type Turn } from '../base/index.ts';
import {
  type BlockDevice,
  type BlockDeviceListener,
  type BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  BlockOpPool,
  type DataBufferPool,
  type Geometry,
  IoStatus,
  type MapExtent,
  METADATA_KEYS,
} from '../block/index.ts';
import { MAX_ATOMIC_BLOCKS } from '../store/limits.ts';
import {
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreVolume,
  type StoreVolumeInfo,
} from '../store/types.ts';
import { AccessMode, Admission } from './admission.ts';
import { WRITE_CACHE_BLOB } from './coordinator/write-cache.ts';
import { SlowPath } from './slow-path.ts';

const METADATA_PREFIX = 'scsi.';
/** E1: the operation number has 40 bits; at its end the epoch moves on. */
const MAX_OP_NUMBER = 2 ** 40 - 1;

/** What a volume stands on: a volume of the engine, or the coordinator of replicas. Ranges in 4 KiB blocks. */
export type VolumeStore = Pick<
  StoreVolume,
  'id' | 'name' | 'submit' | 'resize' | 'putBlob' | 'getBlob' | 'mapStatus'
> & {
  /** See BlockDevice. Not there where nothing waits for long. */
  withdraw?(op: BlockOp): boolean;
  info(): Pick<StoreVolumeInfo, 'sizeBlocks' | 'epoch' | 'mappedBlocks'>;
  /** See BlockDevice. Not there where nobody else can serve it. */
  confirmServed?(done: (status: IoStatus) => void): void;
};

export interface VolumeOptions {
  readonly store: VolumeStore;
  /** The longest write that is whole or undone after a crash, in 4 KiB blocks (C7). */
  readonly atomicBlocks?: number;
  /** 512 or 4096. With 512, smaller than a block is widened here (512e). */
  readonly logicalBlockBytes: number;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  /** For latencies; without one none are kept. */
  readonly clock?: Clock;
  readonly readOnly?: boolean;
}

/** Since the volume was opened. */
export interface VolumeCounters {
  readOps: number;
  readBytes: number;
  writeOps: number;
  writeBytes: number;
  unmapOps: number;
  flushOps: number;
  failedOps: number;
}

/**
 * From when an operation came to its answer, since the volume was opened. What a limit held back before is not in it.
 * Verifies are reads, updates are writes.
 */
export type VolumeLatencies = Readonly<
  Record<'read' | 'write' | 'unmap' | 'flush', LatencyHistogram>
>;

export class Volume implements BlockDevice, BlockOpOwner {
  readonly store: VolumeStore;
  readonly counters: VolumeCounters = {
    readOps: 0,
    readBytes: 0,
    writeOps: 0,
    writeBytes: 0,
    unmapOps: 0,
    flushOps: 0,
    failedOps: 0,
  };
  readonly latencies: VolumeLatencies = {
    read: new LatencyHistogram(),
    write: new LatencyHistogram(),
    unmap: new LatencyHistogram(),
    flush: new LatencyHistogram(),
  };
  readonly readOnly: boolean;

  readonly #clock: Clock | null;
  readonly #logicalBlockBytes: number;
  /** Logical blocks in a store block: 1 or 8. */
  readonly #ratio: number;
  readonly #atomicBlocks: number;
  readonly #turn: Turn;
  readonly #admission: Admission;
  readonly #slowPath: SlowPath;
  readonly #listeners: BlockDeviceListener[] = [];
  #geometry: Geometry;
  /** As hosts are told: off only once what was acknowledged from it is durable. */
  #writeCache: boolean;
  /** Changes go down as FUA: from the answer of the store that keeps the setting. */
  #writesThrough: boolean;
  /** Who waits for the cache to be drained and flushed since it was last turned off; null: that is not under way. */
  #turningOff: ((status: IoStatus) => void)[] | null = null;
  #epoch: number;
  #opNumber = 0;
  #flushing = 0;
  #closed = false;
  /** Changes that went down as cached ones, and who waits for their ends before the cache counts as off. */
  #cached: { readonly ops: Set<BlockOp>; readonly ended: () => void }[] = [];
  #drained: (() => void)[] = [];

  constructor(options: VolumeOptions) {
    assert(options.logicalBlockBytes === 512 || options.logicalBlockBytes === STORE_BLOCK_BYTES);
    this.store = options.store;
    this.readOnly = options.readOnly ?? false;
    this.#logicalBlockBytes = options.logicalBlockBytes;
    this.#ratio = STORE_BLOCK_BYTES / options.logicalBlockBytes;
    this.#atomicBlocks = options.atomicBlocks ?? MAX_ATOMIC_BLOCKS;
    this.#turn = options.turn;
    this.#clock = options.clock ?? null;
    this.#admission = new Admission((op) => this.#start(op));
    const info = options.store.info();
    // A fresh epoch at each opening: a version is never used twice, whatever of the last opening was lost (E1).
    this.#epoch = info.epoch + 1;
    this.#geometry = this.#geometryOf(info.sizeBlocks);
    this.#writeCache = options.store.getBlob(WRITE_CACHE_BLOB)?.[0] !== 0;
    this.#writesThrough = !this.#writeCache;
    this.#slowPath = new SlowPath({
      ratio: this.#ratio,
      logicalBlockBytes: this.#logicalBlockBytes,
      ops: new BlockOpPool(),
      buffers: options.buffers,
      submit: (op) => this.#toStore(op),
    });
  }

  get geometry(): Geometry {
    return this.#geometry;
  }

  get writeCache(): boolean {
    return this.#writeCache;
  }

  /** Operations that hosts wait for. */
  get inFlight(): number {
    return this.#admission.runningCount + this.#admission.waitingCount + this.#flushing;
  }

  submit(op: BlockOp): void {
    if (this.#closed) {
      op.owner.onBlockDone(op, IoStatus.Offline);
      return;
    }
    if (this.#clock !== null) op.submittedMs = this.#clock.nowMs();
    if (op.kind === BlockOpKind.Flush) {
      this.#flushing += 1;
      op.lower = this;
      this.store.submit(op, this.#epoch, 0);
      return;
    }
    if (op.lba + op.blocks > this.#geometry.blocks) {
      op.owner.onBlockDone(op, IoStatus.OutOfRange);
      return;
    }
    if (op.blocks === 0) {
      op.owner.onBlockDone(op, IoStatus.Ok);
      return;
    }
    const { kind } = op;
    const reads = kind === BlockOpKind.Read || kind === BlockOpKind.Verify;
    if (this.readOnly && !reads) {
      op.owner.onBlockDone(op, IoStatus.ReadOnly);
      return;
    }
    let mode: AccessMode = reads ? AccessMode.Read : AccessMode.Change;
    if (kind === BlockOpKind.Update || (!reads && !this.#whole(op))) mode = AccessMode.Exclusive;
    const ratio = this.#ratio;
    const start = ratio === 1 ? op.lba : Math.floor(op.lba / ratio);
    const end = ratio === 1 ? op.lba + op.blocks : Math.ceil((op.lba + op.blocks) / ratio);
    if (this.#admission.admit(op, start, end, mode)) this.#start(op);
  }

  /** What waits for others here, or below for a quorum. What goes down in pieces, and has begun, ends by itself. */
  withdraw(op: BlockOp): boolean {
    if (op.kind === BlockOpKind.Flush) {
      if (this.store.withdraw?.(op) !== true) return false;
      this.#flushing -= 1;
    } else if (!this.#admission.withdraw(op)) {
      if (op.admitted < 0 || this.store.withdraw?.(op) !== true) return false;
      this.#toLogical(op);
      this.#admission.release(op);
    }
    // Also one that others had let go and that had not begun.
    if (this.#cached.length > 0) this.#cachedEnded(op);
    // Whoever takes this one back may be about to take back those that it held up.
    queueMicrotask(() => {
      this.#turn.enter();
      this.#admission.startWaiters();
      if (this.#drained.length > 0) this.#checkDrained();
      this.#turn.leave();
    });
    return true;
  }

  /** The store's answer to an operation that went down as it was. */
  onBlockDone(op: BlockOp, status: IoStatus): void {
    if (op.kind === BlockOpKind.Flush) {
      this.#flushing -= 1;
      this.counters.flushOps += 1;
      this.#took(this.latencies.flush, op);
      if (status !== IoStatus.Ok) this.counters.failedOps += 1;
      op.owner.onBlockDone(op, status);
      if (this.#drained.length > 0) this.#checkDrained();
      return;
    }
    this.#toLogical(op);
    this.#finish(op, status);
  }

  /** Store blocks to logical ones, as they were when the operation came. */
  #toLogical(op: BlockOp): void {
    if (this.#ratio === 1) return;
    op.lba *= this.#ratio;
    op.blocks *= this.#ratio;
    op.failedLba *= this.#ratio;
  }

  setWriteCache(enabled: boolean, done: (status: IoStatus) => void): void {
    this.store.putBlob(WRITE_CACHE_BLOB, Uint8Array.of(enabled ? 1 : 0), (status) => {
      if (status !== IoStatus.Ok) {
        done(status);
        return;
      }
      this.#writesThrough = !enabled;
      if (!enabled) {
        this.#drainCache(done);
        return;
      }
      this.#turningOff = null; // Whoever waits for that hears of its flush; it is no longer the last word.
      this.#showWriteCache(true);
      done(IoStatus.Ok);
    });
  }

  /**
   * What was acknowledged from the cache must be durable before anybody hears that there is none (C9). So must what went down
   * as a cached write and is acknowledged only now: such a one may end after the flush. Whoever asks meanwhile waits too,
   * and whoever asks after a failure begins again.
   */
  #drainCache(done: (status: IoStatus) => void): void {
    if (!this.#writeCache) {
      done(IoStatus.Ok);
      return;
    }
    if (this.#turningOff !== null) {
      this.#turningOff.push(done);
      return;
    }
    const waiting = [done];
    this.#turningOff = waiting;
    const flushed = (status: IoStatus): void => {
      if (this.#turningOff === waiting) {
        this.#turningOff = null;
        if (status === IoStatus.Ok) this.#showWriteCache(false);
      }
      for (const waiter of waiting) waiter(status);
    };
    this.#whenCachedEnded(() => void this.#slowPath.flush().then(flushed));
  }

  #showWriteCache(enabled: boolean): void {
    if (this.#writeCache === enabled) return;
    this.#writeCache = enabled;
    for (const listener of this.#listeners) listener.onWriteCacheChanged();
  }

  #whenCachedEnded(ended: () => void): void {
    const ops = this.#admission.runningChanges();
    if (ops.size === 0) ended();
    else this.#cached.push({ ops, ended });
  }

  #cachedEnded(op: BlockOp): void {
    for (const waiting of [...this.#cached]) {
      if (!waiting.ops.delete(op) || waiting.ops.size > 0) continue;
      this.#cached.splice(this.#cached.indexOf(waiting), 1);
      waiting.ended();
    }
  }

  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    if (lba >= this.#geometry.blocks) {
      done(IoStatus.OutOfRange, []);
      return;
    }
    const ratio = this.#ratio;
    const startBlock = Math.floor(lba / ratio);
    this.store.mapStatus(startBlock, maxExtents, (status, extents) => {
      if (ratio === 1) {
        done(status, extents);
        return;
      }
      const skipped = lba - startBlock * ratio;
      done(
        status,
        extents.map((extent, index) => ({
          lba: extent.lba * ratio + (index === 0 ? skipped : 0),
          blocks: extent.blocks * ratio - (index === 0 ? skipped : 0),
          mapped: extent.mapped,
        })),
      );
    });
  }

  confirmServed(done: (status: IoStatus) => void): void {
    if (this.store.confirmServed === undefined) done(IoStatus.Ok);
    else this.store.confirmServed(done);
  }

  saveMetadata(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    this.store.putBlob(METADATA_PREFIX + key, value, done);
  }

  loadMetadata(key: string): Uint8Array | null {
    return this.store.getBlob(METADATA_PREFIX + key);
  }

  /** All that is kept beside its blocks, as its store calls it. */
  keptBlobs(): { readonly key: string; readonly value: Uint8Array }[] {
    const keys = Object.values(METADATA_KEYS).map((key) => METADATA_PREFIX + key);
    return [WRITE_CACHE_BLOB, ...keys].flatMap((key) => {
      const value = this.store.getBlob(key);
      return value === null ? [] : [{ key, value }];
    });
  }

  listen(listener: BlockDeviceListener): void {
    this.#listeners.push(listener);
  }

  /** Online growth. `sizeBytes` is a multiple of 4096. Rejects with StoreError; shrinking is STORE_INVALID. */
  async resize(sizeBytes: number): Promise<void> {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes % STORE_BLOCK_BYTES !== 0 || sizeBytes <= 0) {
      throw new StoreError('STORE_INVALID', `size ${sizeBytes} is not a multiple of 4096 bytes`);
    }
    await this.store.resize(sizeBytes / STORE_BLOCK_BYTES);
    this.refresh();
  }

  /** Takes over the size that the store has: hosts are told if it grew. */
  refresh(): void {
    const grown = this.#geometryOf(this.store.info().sizeBlocks);
    if (grown.blocks === this.#geometry.blocks) return;
    this.#geometry = grown;
    for (const listener of this.#listeners) listener.onResized();
  }

  /** Refuses new operations (Offline) and resolves when those under way have ended. The store stays open. */
  close(): Promise<void> {
    this.#closed = true;
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#checkDrained();
    });
  }

  #geometryOf(sizeBlocks: number): Geometry {
    return {
      logicalBlockBytes: this.#logicalBlockBytes,
      physicalBlockBytes: STORE_BLOCK_BYTES,
      atomicWriteBytes: this.#atomicBlocks * STORE_BLOCK_BYTES,
      blocks: sizeBlocks * this.#ratio,
    };
  }

  /** Whole store blocks, at a place that the medium can take as it is. */
  #whole(op: BlockOp): boolean {
    const ratio = this.#ratio;
    if (ratio !== 1 && (op.lba % ratio !== 0 || op.blocks % ratio !== 0)) return false;
    return op.dataByteOffset % STORE_BLOCK_BYTES === 0;
  }

  #start(op: BlockOp): void {
    if (op.kind === BlockOpKind.Update || !this.#whole(op)) {
      this.#startSlow(op);
      return;
    }
    if (this.#ratio !== 1) {
      op.lba /= this.#ratio;
      op.blocks /= this.#ratio;
    }
    op.lower = this;
    this.#toStore(op);
  }

  /**
   * The version of a snapshot that is taken now (P1): above every change submitted so far, below every later one. The
   * caller hands it to the store before anything else is submitted.
   */
  cut(): { readonly epoch: number; readonly opNumber: number } {
    this.#nextVersion();
    return { epoch: this.#epoch, opNumber: this.#opNumber };
  }

  #nextVersion(): void {
    if (this.#opNumber === MAX_OP_NUMBER) {
      this.#epoch += 1;
      this.#opNumber = 0;
    }
    this.#opNumber += 1;
  }

  /** Everything on its way to the store passes here: the version is given at issue (W2). */
  #toStore(op: BlockOp): void {
    if (op.kind === BlockOpKind.Write || op.kind === BlockOpKind.Unmap) {
      if (this.#writesThrough) op.fua = true;
      this.#nextVersion();
      this.store.submit(op, this.#epoch, this.#opNumber);
    } else {
      this.store.submit(op, this.#epoch, 0);
    }
  }

  #startSlow(op: BlockOp): void {
    void this.#slowPath.run(op).then((status) => {
      this.#turn.enter();
      this.#finish(op, status);
      this.#turn.leave();
    });
  }

  #finish(op: BlockOp, status: IoStatus): void {
    const { counters } = this;
    const bytes = op.blocks * this.#logicalBlockBytes;
    switch (op.kind) {
      case BlockOpKind.Read:
      case BlockOpKind.Verify:
        counters.readOps += 1;
        counters.readBytes += bytes;
        this.#took(this.latencies.read, op);
        break;
      case BlockOpKind.Unmap:
        counters.unmapOps += 1;
        this.#took(this.latencies.unmap, op);
        break;
      default:
        counters.writeOps += 1;
        counters.writeBytes += bytes;
        this.#took(this.latencies.write, op);
    }
    if (status !== IoStatus.Ok && status !== IoStatus.Declined) counters.failedOps += 1;
    // The owner hears before waiters start: a read that waited must not overtake the answer to the write it will see.
    this.#admission.release(op);
    if (this.#cached.length > 0) this.#cachedEnded(op);
    op.owner.onBlockDone(op, status);
    this.#admission.startWaiters();
    if (this.#drained.length > 0) this.#checkDrained();
  }

  #took(histogram: LatencyHistogram, op: BlockOp): void {
    if (this.#clock !== null) histogram.add(this.#clock.nowMs() - op.submittedMs);
  }

  #checkDrained(): void {
    if (this.inFlight > 0) return;
    const drained = this.#drained;
    this.#drained = [];
    for (const resolve of drained) resolve();
  }
}
