// Copies one range of blocks to another place, of the same device or another: chunk by chunk through data buffers, a few
// chunks at a time. What reads as zeros is unmapped rather than written, so that a copy of a thin disk stays thin.
import { assert } from '../../base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type DataBuffer,
  IoStatus,
} from '../../block/index.ts';
import type { AbortWaiter, Execution } from '../execution.ts';
import type { LogicalUnit, Visitor } from '../logical-unit.ts';
import { Asc } from '../sense.ts';
import type { Nexus } from '../task.ts';

export interface CopyRange {
  readonly source: LogicalUnit;
  readonly sourceLba: number;
  readonly destination: LogicalUnit;
  readonly destinationLba: number;
  readonly bytes: number;
}

/** What one buffer carries, in bytes: a multiple of every block size. */
const CHUNK_BYTES = 1024 * 1024;
const MAX_LANES = 4;
/** Further lanes leave the arena this much for the READs and WRITEs of hosts, in bytes. */
const ARENA_RESERVE_BYTES = 16 * 1024 * 1024;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** One buffer and the chunk it is carrying: read, then written. */
class Lane implements BlockOpOwner {
  readonly buffer: DataBuffer;
  readonly #copy: BlockCopy;
  readonly #op = new BlockOp();
  #byteOffset = 0;
  #bytes = 0;
  /** Its write is under way. */
  writing = false;

  constructor(copy: BlockCopy, buffer: DataBuffer) {
    this.#copy = copy;
    this.buffer = buffer;
  }

  carry(byteOffset: number, bytes: number): void {
    this.#byteOffset = byteOffset;
    this.#bytes = bytes;
    const { source, sourceLba } = this.#copy.range;
    const blockBytes = source.device.geometry.logicalBlockBytes;
    const lba = sourceLba + byteOffset / blockBytes;
    const blocks = bytes / blockBytes;
    source.device.submit(
      this.#op.begin(BlockOpKind.Read, lba, blocks, this.buffer, 0, false, this),
    );
  }

  onBlockDone(op: BlockOp, status: IoStatus): void {
    this.writing = false;
    // Fencing is exact: who lost the right to write meanwhile does not write what it has just read.
    if (op.kind !== BlockOpKind.Read || status !== IoStatus.Ok || !this.#copy.mayWrite()) {
      this.#copy.carried(this, status);
      return;
    }
    const { destination, destinationLba } = this.#copy.range;
    const blockBytes = destination.device.geometry.logicalBlockBytes;
    const lba = destinationLba + this.#byteOffset / blockBytes;
    const blocks = this.#bytes / blockBytes;
    const zeros = this.buffer.bytes.compare(ZEROS, 0, this.#bytes, 0, this.#bytes) === 0;
    const kind = zeros ? BlockOpKind.Unmap : BlockOpKind.Write;
    const data = zeros ? null : this.buffer;
    this.writing = true;
    destination.device.submit(this.#op.begin(kind, lba, blocks, data, 0, false, this));
  }
}

export class BlockCopy implements Visitor {
  readonly range: CopyRange;
  /** Why it stopped, an `Asc`: the unit that it writes to told it to, or its nexus lost its rights there. */
  denied: number = Asc.None;
  readonly #execution: Execution;
  readonly #denial: () => number;
  readonly #done: (copy: BlockCopy, status: IoStatus) => void;
  #waiters: AbortWaiter[] = [];
  /** Who waits for the writes that these lanes had under way. */
  #writesAwaited: { readonly lanes: Set<Lane>; readonly waiter: AbortWaiter }[] = [];
  #begun = false;
  readonly #lanes: Lane[] = [];
  readonly #idle: Lane[] = [];
  readonly #buffers: DataBuffer[] = [];
  /** From the end to the beginning: the destination overlaps the source from above. */
  readonly #backwards: boolean;
  readonly #mayOverlap: boolean;
  #startedBytes = 0;
  #busy = 0;
  #status: IoStatus = IoStatus.Ok;
  #pumping = false;

  /**
   * `denial` is asked before each write: an `Asc`, None for "go on". `done` is told once: with any status when the
   * execution was aborted or the copy was denied.
   */
  constructor(
    execution: Execution,
    range: CopyRange,
    denial: () => number,
    done: (copy: BlockCopy, status: IoStatus) => void,
  ) {
    this.#execution = execution;
    this.range = range;
    this.#denial = denial;
    this.#done = done;
    this.#mayOverlap = range.source.device === range.destination.device;
    this.#backwards = this.#mayOverlap && range.destinationLba > range.sourceLba;
  }

  /** True when no further chunk shall be written. */
  get stopping(): boolean {
    return this.denied !== Asc.None || this.#execution.aborted || this.#status !== IoStatus.Ok;
  }

  mayWrite(): boolean {
    if (!this.stopping) this.denied = this.#denial();
    return !this.stopping;
  }

  get nexus(): Nexus {
    return this.#execution.nexus.nexus;
  }

  evict(waiter: AbortWaiter): void {
    this.denied = Asc.CopyThirdPartyDeviceFailure;
    if (this.#begun) {
      this.#waiters.push(waiter);
      return;
    }
    // It still waits for its first buffer, and will not begin.
    this.range.destination.visitors.delete(this);
    waiter.onAborted();
  }

  awaitWrites(waiter: AbortWaiter): boolean {
    const lanes = new Set(this.#lanes.filter((lane) => lane.writing));
    if (lanes.size === 0) return false;
    this.#writesAwaited.push({ lanes, waiter });
    return true;
  }

  start(): void {
    if (this.range.bytes === 0) {
      this.#done(this, IoStatus.Ok);
      return;
    }
    // From here on: who takes the unit away, or resets it, does so from under one that waits for a buffer, too.
    const { visitors } = this.range.destination;
    visitors.add(this);
    this.#execution.whenEnded({ onAborted: () => visitors.delete(this) });
    startWithBuffer.set(this.#execution, this);
    takeFirstBuffer(this.#execution);
  }

  /** The first buffer is waited for, and is the execution's; more are taken if they are to be had. */
  begin(first: DataBuffer): void {
    this.#begun = true;
    if (this.stopping) {
      this.#end();
      return;
    }
    this.#addLane(first);
    const distanceBytes = this.#distanceBytes();
    // Chunks of ranges that overlap must go one after the other: what one writes another may still have to read.
    const chunks = Math.ceil(this.range.bytes / CHUNK_BYTES);
    const lanes = distanceBytes < this.range.bytes ? 1 : Math.min(MAX_LANES, chunks);
    const { pool } = this.#execution.lu.buffers;
    while (this.#idle.length < lanes && pool.freeBytes > ARENA_RESERVE_BYTES) {
      const buffer = pool.allocate(CHUNK_BYTES);
      if (buffer === null) break;
      this.#buffers.push(buffer);
      this.#addLane(buffer);
    }
    this.#pump();
  }

  #addLane(buffer: DataBuffer): void {
    const lane = new Lane(this, buffer);
    this.#lanes.push(lane);
    this.#idle.push(lane);
  }

  /** How far apart source and destination begin: Infinity on different devices. */
  #distanceBytes(): number {
    if (!this.#mayOverlap) return Number.POSITIVE_INFINITY;
    const { source, sourceLba, destinationLba } = this.range;
    const blockBytes = source.device.geometry.logicalBlockBytes;
    return Math.abs(destinationLba - sourceLba) * blockBytes;
  }

  #pump(): void {
    // A lane that ends at once comes back here: the loop goes on, not the stack down.
    if (this.#pumping) return;
    this.#pumping = true;
    while (!this.stopping && this.#startedBytes < this.range.bytes) {
      const lane = this.#idle.pop();
      if (lane === undefined) break;
      const bytes = Math.min(CHUNK_BYTES, this.range.bytes - this.#startedBytes);
      const byteOffset = this.#backwards
        ? this.range.bytes - this.#startedBytes - bytes
        : this.#startedBytes;
      this.#startedBytes += bytes;
      this.#busy += 1;
      lane.carry(byteOffset, bytes);
    }
    this.#pumping = false;
    if (this.#busy === 0) this.#end();
  }

  /** The lane's: its chunk has been copied, or has failed. */
  carried(lane: Lane, status: IoStatus): void {
    this.#busy -= 1;
    assert(this.#busy >= 0);
    this.#idle.push(lane);
    if (status !== IoStatus.Ok && this.#status === IoStatus.Ok) this.#status = status;
    if (this.#writesAwaited.length > 0) this.#written(lane);
    this.#pump();
  }

  #written(lane: Lane): void {
    for (const awaited of [...this.#writesAwaited]) {
      if (!awaited.lanes.delete(lane) || awaited.lanes.size > 0) continue;
      this.#writesAwaited.splice(this.#writesAwaited.indexOf(awaited), 1);
      awaited.waiter.onAborted();
    }
  }

  #end(): void {
    assert(this.stopping || this.#startedBytes === this.range.bytes);
    for (const buffer of this.#buffers) buffer.release();
    this.range.destination.visitors.delete(this);
    const waiters = this.#waiters;
    this.#waiters = [];
    this.#done(this, this.#status);
    for (const waiter of waiters) waiter.onAborted();
  }
}

/** Copies whose execution waits for its first buffer: a step is a module function and knows the execution only. */
const startWithBuffer = new WeakMap<Execution, BlockCopy>();

function takeFirstBuffer(execution: Execution): void {
  const buffer = execution.buffer ?? execution.takeBuffer(CHUNK_BYTES, takeFirstBuffer);
  if (buffer === null) return;
  execution.buffer = buffer;
  const copy = startWithBuffer.get(execution);
  assert(copy !== undefined);
  startWithBuffer.delete(execution);
  copy.begin(buffer);
}
