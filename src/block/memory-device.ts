// A Buffer as a BlockDevice: the smallest one there is, to put in any layer's place. It can be told to hold operations
// back and to fail them, so that a test decides when and how each one ends.
import { assert } from '../base/index.ts';
import type { BlockDevice, BlockDeviceListener, Geometry, MapExtent } from './device.ts';
import { type BlockOp, BlockOpKind } from './op.ts';
import { IoStatus } from './status.ts';

const PHYSICAL_BLOCK_BYTES = 4096;
/** Memory knows no crash: a write is whole whatever its size. */
const ATOMIC_WRITE_BYTES = 1024 * 1024;
const MAX_METADATA_BYTES = 64 * 1024;

export interface MemoryDeviceOptions {
  readonly bytes: number;
  readonly logicalBlockBytes?: 512 | 4096;
  readonly readOnly?: boolean;
  /** What a previous device `exported`: a restart. */
  readonly metadata?: ReadonlyMap<string, Uint8Array>;
}

/** A failure to come: the first operation of `kind` (null: any) that touches `lba` (null: wherever) ends so. */
export interface PlannedFailure {
  readonly status: IoStatus;
  readonly kind: BlockOpKind | null;
  readonly lba: number | null;
}

export class MemoryDevice implements BlockDevice {
  #bytes: Buffer;
  #mapped: Uint8Array;
  readonly #logicalBlockBytes: number;
  readonly readOnly: boolean;
  #writeCache = true;
  readonly metadata: Map<string, Uint8Array>;
  readonly #listeners: BlockDeviceListener[] = [];
  #geometry: Geometry;
  /** While set, operations wait in `held` for `release`. */
  hold = false;
  readonly held: BlockOp[] = [];
  /** What is held has not begun, and may be taken back: as where a limit holds it. */
  givesBack = false;
  /** What is held may be told to go on, as where a limit holds it (`hasten`). */
  letsPass = false;
  readonly failures: PlannedFailure[] = [];
  /** Completed flushes, FUA operations included. */
  flushes = 0;

  constructor(options: MemoryDeviceOptions) {
    assert(options.bytes > 0 && options.bytes % PHYSICAL_BLOCK_BYTES === 0);
    this.#bytes = Buffer.alloc(options.bytes);
    this.#mapped = new Uint8Array(options.bytes / PHYSICAL_BLOCK_BYTES);
    this.#logicalBlockBytes = options.logicalBlockBytes ?? PHYSICAL_BLOCK_BYTES;
    this.readOnly = options.readOnly ?? false;
    this.metadata = new Map(options.metadata ?? []);
    this.#geometry = this.#measure();
  }

  get geometry(): Geometry {
    return this.#geometry;
  }

  get writeCache(): boolean {
    return this.#writeCache;
  }

  /** What the device holds now. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  submit(op: BlockOp): void {
    if (this.hold) this.held.push(op);
    else this.#run(op);
  }

  withdraw(op: BlockOp): boolean {
    const index = this.givesBack ? this.held.indexOf(op) : -1;
    if (index >= 0) this.held.splice(index, 1);
    return index >= 0;
  }

  hasten(op: BlockOp): void {
    const index = this.letsPass ? this.held.indexOf(op) : -1;
    if (index >= 0) this.#run(this.held.splice(index, 1)[0]!);
  }

  /** Lets the oldest held operation go; false when there was none. */
  release(): boolean {
    const op = this.held.shift();
    if (op === undefined) return false;
    this.#run(op);
    return true;
  }

  /** Ends the holding, and lets all go in order. */
  releaseAll(): void {
    this.hold = false;
    while (this.release());
  }

  setWriteCache(enabled: boolean, done: (status: IoStatus) => void): void {
    if (!enabled) this.flushes += 1;
    const changes = this.#writeCache !== enabled;
    this.#writeCache = enabled;
    if (changes) for (const listener of this.#listeners) listener.onWriteCacheChanged();
    done(IoStatus.Ok);
  }

  confirmServed(done: (status: IoStatus) => void): void {
    done(IoStatus.Ok);
  }

  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    const { blocks } = this.#geometry;
    if (lba >= blocks) {
      done(IoStatus.OutOfRange, []);
      return;
    }
    const extents: MapExtent[] = [];
    for (let at = lba; at < blocks && extents.length < maxExtents; ) {
      const mapped = this.#isMapped(at);
      let end = at + 1;
      while (end < blocks && this.#isMapped(end) === mapped) end += 1;
      extents.push({ lba: at, blocks: end - at, mapped });
      at = end;
    }
    done(IoStatus.Ok, extents);
  }

  saveMetadata(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    if (value === null) this.metadata.delete(key);
    else {
      assert(value.length <= MAX_METADATA_BYTES);
      this.metadata.set(key, Uint8Array.from(value));
    }
    done(IoStatus.Ok);
  }

  loadMetadata(key: string): Uint8Array | null {
    return this.metadata.get(key) ?? null;
  }

  listen(listener: BlockDeviceListener): void {
    this.#listeners.push(listener);
  }

  /** Online growth. */
  grow(bytes: number): void {
    assert(bytes > this.#bytes.length && bytes % PHYSICAL_BLOCK_BYTES === 0);
    this.#bytes = Buffer.concat([this.#bytes], bytes);
    const mapped = new Uint8Array(bytes / PHYSICAL_BLOCK_BYTES);
    mapped.set(this.#mapped);
    this.#mapped = mapped;
    this.#geometry = this.#measure();
    for (const listener of this.#listeners) listener.onResized();
  }

  #measure(): Geometry {
    return {
      logicalBlockBytes: this.#logicalBlockBytes,
      physicalBlockBytes: PHYSICAL_BLOCK_BYTES,
      atomicWriteBytes: ATOMIC_WRITE_BYTES,
      blocks: this.#bytes.length / this.#logicalBlockBytes,
    };
  }

  #isMapped(lba: number): boolean {
    return this.#mapped[Math.floor((lba * this.#logicalBlockBytes) / PHYSICAL_BLOCK_BYTES)] === 1;
  }

  #run(op: BlockOp): void {
    op.owner.onBlockDone(op, this.#apply(op));
  }

  #apply(op: BlockOp): IoStatus {
    if (op.kind === BlockOpKind.Flush) {
      const failed = this.#plannedFailure(op);
      if (failed === null) this.flushes += 1;
      return failed ?? IoStatus.Ok;
    }
    if (op.lba + op.blocks > this.#geometry.blocks) return IoStatus.OutOfRange;
    const changes =
      op.kind === BlockOpKind.Write ||
      op.kind === BlockOpKind.Unmap ||
      op.kind === BlockOpKind.Update;
    if (changes && this.readOnly) return IoStatus.ReadOnly;
    const failed = this.#plannedFailure(op);
    if (failed !== null) return failed;
    const status = this.#move(op);
    if (changes && (op.fua || !this.#writeCache)) this.flushes += 1;
    return status;
  }

  #move(op: BlockOp): IoStatus {
    const start = op.lba * this.#logicalBlockBytes;
    const end = start + op.blocks * this.#logicalBlockBytes;
    const at = op.dataByteOffset;
    switch (op.kind) {
      case BlockOpKind.Read:
        this.#bytes.copy(op.data!.bytes, at, start, end);
        return IoStatus.Ok;
      case BlockOpKind.Write:
        this.#store(op, start, end);
        return IoStatus.Ok;
      case BlockOpKind.Update:
        this.#bytes.copy(op.data!.bytes, at, start, end);
        if (op.owner.onUpdateRead?.(op) !== true) return IoStatus.Declined;
        this.#store(op, start, end);
        return IoStatus.Ok;
      case BlockOpKind.Unmap: {
        this.#bytes.fill(0, start, end);
        const first = Math.ceil(start / PHYSICAL_BLOCK_BYTES);
        const last = Math.floor(end / PHYSICAL_BLOCK_BYTES);
        if (last > first) this.#mapped.fill(0, first, last);
        return IoStatus.Ok;
      }
      default:
        return IoStatus.Ok;
    }
  }

  #store(op: BlockOp, start: number, end: number): void {
    op.data!.bytes.copy(this.#bytes, start, op.dataByteOffset, op.dataByteOffset + end - start);
    if (end === start) return;
    const first = Math.floor(start / PHYSICAL_BLOCK_BYTES);
    this.#mapped.fill(1, first, Math.ceil(end / PHYSICAL_BLOCK_BYTES));
  }

  #plannedFailure(op: BlockOp): IoStatus | null {
    const index = this.failures.findIndex(
      ({ kind, lba }) =>
        (kind === null || kind === op.kind) &&
        (lba === null || (lba >= op.lba && lba < op.lba + op.blocks)),
    );
    if (index < 0) return null;
    const [failure] = this.failures.splice(index, 1);
    op.failedLba = failure!.lba ?? op.lba;
    return failure!.status;
  }
}
