// MemoryPool: the store's twin in memory, for tests of the rooms above. Same semantics as the engine, seen from outside:
// changes apply in the order of submission, completions come at the end of the turn, a full pool refuses growth and
// nothing else, a fault is final. Beside it what tests want: failures to order, completions held back, power cuts.
import { assert, assertNever, type Flushable, Turn, TurnPhase } from '../base/index.ts';
import { type BlockOp, BlockOpKind, IoStatus, type MapExtent } from '../block/index.ts';
import {
  checkVolumeName,
  checkVolumeSize,
  MAX_BLOB_BYTES,
  MAX_BLOB_KEY_BYTES,
  MAX_OP_BLOCKS,
} from './limits.ts';
import {
  type Pool,
  type PoolState,
  type PoolStats,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreVolume,
  type StoreVolumeInfo,
} from './types.ts';
import { uuidToBytes } from './uuid.ts';

export interface MemoryPoolOptions {
  readonly turn?: Turn;
  readonly name?: string;
  /** Blocks that data may take: what makes the pool full. */
  readonly sizeBlocks?: number;
}

interface Queued {
  readonly volume: MemoryVolume;
  readonly op: BlockOp;
  readonly epoch: number;
  readonly opNumber: number;
}

export class MemoryPool implements Pool, Flushable {
  readonly id = '00000000-0000-4000-8000-000000000001';
  readonly name: string;
  readonly #turn: Turn;
  readonly #sizeBlocks: number;
  readonly #volumes = new Map<string, MemoryVolume>();
  readonly #blobs = new Map<string, Uint8Array>();
  readonly #failures: { kind: BlockOpKind; status: IoStatus; failedLba: number }[] = [];
  readonly #faultListeners: ((why: string) => void)[] = [];
  #queue: Queued[] = [];
  #held = false;
  #deferred = false;
  #state: PoolState = 'Online';
  #fault = '';
  #checkpoints = 0;
  #checksumErrors = 0;
  #ioErrors = 0;

  constructor(options: MemoryPoolOptions = {}) {
    this.#turn = options.turn ?? new Turn();
    this.name = options.name ?? 'memory';
    this.#sizeBlocks = options.sizeBlocks ?? 1 << 20;
  }

  // Faults to order.

  /** The next operation of `kind` ends with `status` and does nothing. Several queue up. */
  failNext(kind: BlockOpKind, status: IoStatus, failedLba = 0): void {
    this.#failures.push({ kind, status, failedLba });
  }

  /** Operations wait from here on, unapplied, until `release`. */
  hold(): void {
    this.#held = true;
  }

  /** Lets held operations go on: the first `count`, or all and those to come. */
  release(count = Number.POSITIVE_INFINITY): void {
    if (count === Number.POSITIVE_INFINITY) this.#held = false;
    this.#turn.enter();
    this.#run(this.#queue.splice(0, Math.min(count, this.#queue.length)));
    this.#turn.leave();
  }

  /** Operations that are submitted and not done. */
  get pending(): number {
    return this.#queue.length;
  }

  /** The medium fails for good (S9). */
  fault(why: string): void {
    if (this.#state !== 'Online') return;
    this.#state = 'Faulted';
    this.#fault = why;
    for (const listener of this.#faultListeners) listener(why);
  }

  /** Loses what was not flushed, as a power cut may: every block falls back to its last flushed value. */
  powerCut(): void {
    this.#queue = [];
    for (const volume of this.#volumes.values()) volume.forgetUnflushed();
  }

  /** The power comes back after `powerCut`, `fault` or `close`: what was durable, opened anew. */
  reopen(): void {
    this.#state = 'Online';
    this.#fault = '';
  }

  // Pool.

  stats(): PoolStats {
    const dataBlocks = this.#dataBlocks();
    return {
      state: this.#state,
      sizeBlocks: this.#sizeBlocks,
      usableBlocks: this.#sizeBlocks,
      allocatedBlocks: dataBlocks,
      dataBlocks,
      metadataBlocks: 0,
      pendingFreeBlocks: 0,
      freeBlocks: this.#sizeBlocks - dataBlocks,
      checkpoints: this.#checkpoints,
      logBytesUsed: 0,
      logBytes: 0,
      cachePages: 0,
      cacheDirtyPages: 0,
      checksumErrors: this.#checksumErrors,
      ioErrors: this.#ioErrors,
      replayedEntries: 0,
      droppedEntries: 0,
      logDamaged: false,
      fault: this.#fault,
    };
  }

  volumes(): readonly StoreVolume[] {
    return [...this.#volumes.values()];
  }

  volume(name: string): StoreVolume | null {
    return this.#volumes.get(name) ?? null;
  }

  async createVolume(options: {
    id: string;
    name: string;
    sizeBlocks: number;
  }): Promise<StoreVolume> {
    const { id, name, sizeBlocks } = options;
    checkVolumeName(name);
    checkVolumeSize(sizeBlocks);
    uuidToBytes(id);
    this.#checkServing();
    const taken = this.#volumes.has(name) || [...this.#volumes.values()].some((v) => v.id === id);
    if (taken) throw new StoreError('STORE_EXISTS', `volume ${name}: the name or the id is taken`);
    const volume = new MemoryVolume(this, id, name, sizeBlocks);
    this.#volumes.set(name, volume);
    return volume;
  }

  async deleteVolume(name: string): Promise<void> {
    this.#checkServing();
    const volume = this.#volumes.get(name);
    if (volume === undefined) throw new StoreError('STORE_NOT_FOUND', `no volume ${name}`);
    volume.gone = true;
    this.#volumes.delete(name);
  }

  async putBlob(key: string, value: Uint8Array | null): Promise<void> {
    this.#checkServing();
    keepBlob(this.#blobs, key, value);
  }

  getBlob(key: string): Uint8Array | null {
    return copyOf(this.#blobs.get(key));
  }

  async checkpoint(): Promise<void> {
    this.#checkServing();
    this.#checkpoints += 1;
    for (const volume of this.#volumes.values()) volume.makeDurable();
  }

  async close(): Promise<void> {
    if (this.#state === 'Closed') return;
    this.release();
    const faulted = this.#state === 'Faulted';
    this.#state = 'Closed';
    if (faulted) throw new StoreError('STORE_FAULTED', `the pool was faulted: ${this.#fault}`);
    for (const volume of this.#volumes.values()) volume.makeDurable();
  }

  onFault(listener: (why: string) => void): void {
    this.#faultListeners.push(listener);
  }

  #checkServing(): void {
    if (this.#state === 'Faulted') throw new StoreError('STORE_FAULTED', this.#fault);
    if (this.#state === 'Closed') throw new StoreError('STORE_CLOSED', 'the pool is closed');
  }

  // The data path, for MemoryVolume.

  submit(volume: MemoryVolume, op: BlockOp, epoch: number, opNumber: number): void {
    if (this.#state === 'Closed' || volume.gone) {
      op.lower.onBlockDone(op, IoStatus.Offline);
      return;
    }
    this.#queue.push({ volume, op, epoch, opNumber });
    if (this.#held || this.#deferred) return;
    this.#deferred = true;
    this.#turn.defer(TurnPhase.Submit, this);
  }

  flushTurn(): void {
    this.#deferred = false;
    if (!this.#held) this.#run(this.#queue.splice(0));
  }

  /** How the data path would answer right now, before looking at the operation itself. */
  get serving(): IoStatus {
    if (this.#state === 'Faulted') return IoStatus.IoError;
    return this.#state === 'Closed' ? IoStatus.Offline : IoStatus.Ok;
  }

  #run(batch: readonly Queued[]): void {
    for (const { volume, op, epoch, opNumber } of batch) {
      op.lower.onBlockDone(op, this.#carryOut(volume, op, epoch, opNumber));
    }
  }

  #carryOut(volume: MemoryVolume, op: BlockOp, epoch: number, opNumber: number): IoStatus {
    if (this.serving !== IoStatus.Ok) return this.serving;
    if (volume.gone) return IoStatus.Offline;
    const failure = this.#failures.findIndex(({ kind }) => kind === op.kind);
    if (failure >= 0) {
      const { status, failedLba } = this.#failures.splice(failure, 1)[0]!;
      op.failedLba = failedLba;
      if (status === IoStatus.Damaged) this.#checksumErrors += 1;
      if (status === IoStatus.IoError) this.#ioErrors += 1;
      return status;
    }
    return volume.carryOut(op, epoch, opNumber, this.#sizeBlocks - this.#dataBlocks());
  }

  #dataBlocks(): number {
    let blocks = 0;
    for (const volume of this.#volumes.values()) blocks += volume.mappedBlocks;
    return blocks;
  }
}

class MemoryVolume implements StoreVolume {
  readonly id: string;
  readonly name: string;
  gone = false;
  readonly #pool: MemoryPool;
  readonly #blocks = new Map<number, Uint8Array>();
  /** What a block was when it was last flushed, for those that changed since; null: unmapped. */
  readonly #flushed = new Map<number, Uint8Array | null>();
  readonly #blobs = new Map<string, Uint8Array>();
  #sizeBlocks: number;
  #epoch = 0;
  #opNumber = 0;

  constructor(pool: MemoryPool, id: string, name: string, sizeBlocks: number) {
    this.#pool = pool;
    this.id = id;
    this.name = name;
    this.#sizeBlocks = sizeBlocks;
  }

  get mappedBlocks(): number {
    return this.#blocks.size;
  }

  info(): StoreVolumeInfo {
    return {
      id: this.id,
      name: this.name,
      sizeBlocks: this.#sizeBlocks,
      mappedBlocks: this.#blocks.size,
      epoch: this.#epoch,
      op: this.#opNumber,
    };
  }

  submit(op: BlockOp, epoch: number, opNumber: number): void {
    this.#pool.submit(this, op, epoch, opNumber);
  }

  async resize(sizeBlocks: number): Promise<void> {
    checkVolumeSize(sizeBlocks);
    if (this.#pool.serving !== IoStatus.Ok) {
      throw new StoreError('STORE_CLOSED', 'the pool is closed or faulted');
    }
    if (sizeBlocks < this.#sizeBlocks) {
      throw new StoreError('STORE_INVALID', `volume ${this.name} only ever grows`);
    }
    this.#sizeBlocks = sizeBlocks;
  }

  putBlob(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    const { serving } = this.#pool;
    if (serving === IoStatus.Ok && !this.gone) keepBlob(this.#blobs, key, value);
    done(this.gone ? IoStatus.Offline : serving);
  }

  getBlob(key: string): Uint8Array | null {
    return copyOf(this.#blobs.get(key));
  }

  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    const { serving } = this.#pool;
    let status: IoStatus = this.gone ? IoStatus.Offline : serving;
    if (status === IoStatus.Ok && lba >= this.#sizeBlocks) status = IoStatus.OutOfRange;
    done(status, status === IoStatus.Ok ? this.#extents(lba, maxExtents) : []);
  }

  #extents(lba: number, maxExtents: number): MapExtent[] {
    const extents: MapExtent[] = [];
    const mapped = [...this.#blocks.keys()].filter((at) => at >= lba).sort((a, b) => a - b);
    let at = lba;
    let index = 0;
    while (at < this.#sizeBlocks && extents.length < maxExtents) {
      const begin = at;
      if (mapped[index] === at) {
        while (mapped[index] === at) {
          index += 1;
          at += 1;
        }
        extents.push({ lba: begin, blocks: at - begin, mapped: true });
      } else {
        at = mapped[index] ?? this.#sizeBlocks;
        extents.push({ lba: begin, blocks: at - begin, mapped: false });
      }
    }
    return extents;
  }

  /** For the pool: does what `op` asks. */
  carryOut(op: BlockOp, epoch: number, opNumber: number, freeBlocks: number): IoStatus {
    const { kind, lba, blocks } = op;
    if (kind === BlockOpKind.Flush) {
      this.makeDurable();
      return IoStatus.Ok;
    }
    if (lba + blocks > this.#sizeBlocks) return IoStatus.OutOfRange;
    switch (kind) {
      case BlockOpKind.Read:
        this.#read(op);
        return IoStatus.Ok;
      case BlockOpKind.Verify:
        return IoStatus.Ok;
      case BlockOpKind.Write: {
        let grows = 0;
        for (let at = lba; at < lba + blocks; at += 1) if (!this.#blocks.has(at)) grows += 1;
        if (grows > freeBlocks) return IoStatus.NoSpace;
        this.#write(op);
        break;
      }
      case BlockOpKind.Unmap:
        this.#unmap(lba, blocks);
        break;
      case BlockOpKind.Update:
        assert(false, 'the volume splits updates');
        break;
      default:
        assertNever(kind);
    }
    // E1: the highest version applied.
    if (epoch > this.#epoch || (epoch === this.#epoch && opNumber > this.#opNumber)) {
      this.#epoch = epoch;
      this.#opNumber = opNumber;
    }
    // The engine flushes the medium, and with it everything before; so does the twin.
    if (op.fua) this.makeDurable();
    return IoStatus.Ok;
  }

  #bytesOf(op: BlockOp): Uint8Array {
    assert(op.data !== null && op.blocks <= MAX_OP_BLOCKS);
    const end = op.dataByteOffset + op.blocks * STORE_BLOCK_BYTES;
    assert(op.dataByteOffset % STORE_BLOCK_BYTES === 0 && end <= op.data.capacityBytes);
    return op.data.bytes.subarray(op.dataByteOffset, end);
  }

  #read(op: BlockOp): void {
    const bytes = this.#bytesOf(op);
    for (let index = 0; index < op.blocks; index += 1) {
      const at = index * STORE_BLOCK_BYTES;
      const block = this.#blocks.get(op.lba + index);
      if (block === undefined) bytes.fill(0, at, at + STORE_BLOCK_BYTES);
      else bytes.set(block, at);
    }
  }

  #write(op: BlockOp): void {
    const bytes = this.#bytesOf(op);
    for (let index = 0; index < op.blocks; index += 1) {
      const at = index * STORE_BLOCK_BYTES;
      this.#remember(op.lba + index);
      this.#blocks.set(op.lba + index, Uint8Array.from(bytes.subarray(at, at + STORE_BLOCK_BYTES)));
    }
  }

  #unmap(lba: number, blocks: number): void {
    const forget = (at: number): void => {
      this.#remember(at);
      this.#blocks.delete(at);
    };
    // The whole of a large volume costs what is mapped of it, not what it could hold.
    if (blocks > this.#blocks.size) {
      for (const at of [...this.#blocks.keys()]) if (at >= lba && at < lba + blocks) forget(at);
    } else {
      for (let at = lba; at < lba + blocks; at += 1) if (this.#blocks.has(at)) forget(at);
    }
  }

  #remember(lba: number): void {
    if (!this.#flushed.has(lba)) this.#flushed.set(lba, this.#blocks.get(lba) ?? null);
  }

  makeDurable(): void {
    this.#flushed.clear();
  }

  forgetUnflushed(): void {
    for (const [lba, block] of this.#flushed) {
      if (block === null) this.#blocks.delete(lba);
      else this.#blocks.set(lba, block);
    }
    this.#flushed.clear();
  }
}

function keepBlob(blobs: Map<string, Uint8Array>, key: string, value: Uint8Array | null): void {
  const keyBytes = Buffer.byteLength(key);
  assert(keyBytes > 0 && keyBytes <= MAX_BLOB_KEY_BYTES);
  assert(value === null || value.length <= MAX_BLOB_BYTES);
  if (value === null || value.length === 0) blobs.delete(key);
  else blobs.set(key, Uint8Array.from(value));
}

function copyOf(value: Uint8Array | undefined): Uint8Array | null {
  return value === undefined ? null : Uint8Array.from(value);
}
