// Operations on their way through the engine, and what they need of the arena: room for their bytes and tags. What has to
// wait for a buffer holds up everything that is started in order behind it.
import { assert, type Turn } from '../base/index.ts';
import type { DataBuffer, DataBufferPool, IoStatus } from '../block/index.ts';
import {
  BLOCK_TAG_BYTES,
  BlockTags,
  STORE_BLOCK_BYTES,
  StoreOp,
  WriteGuard,
} from '../store/index.ts';
import { type BytesPayload, type PayloadOwner, PayloadPool } from '../wire/index.ts';

/** The tags of the longest operation, and one buffer of the arena. */
const TAG_BUFFER_BYTES = 16 * 1024;

/** One operation on its way through the engine. */
export class ReplicaOp extends StoreOp {
  /** For `onApplied`, or the token of the others. */
  slot = 0;
  payload: BytesPayload | null = null;
  tagBuffer: DataBuffer | null = null;
  ended: ((op: ReplicaOp, status: IoStatus) => void) | null = null;
}

interface Waiting {
  /** False: there is no room yet. */
  readonly start: () => boolean;
}

export class EngineOps {
  readonly #buffers: DataBufferPool;
  readonly #turn: Turn;
  readonly #payloads: PayloadPool;
  readonly #freeOps: ReplicaOp[] = [];
  /** What waits for memory, in order. */
  readonly #waiting: Waiting[] = [];
  #asked = false;

  constructor(buffers: DataBufferPool, turn: Turn) {
    this.#buffers = buffers;
    this.#turn = turn;
    this.#payloads = new PayloadPool(buffers);
  }

  /** Starts now, or behind what waits for memory. */
  inOrder(start: () => boolean): void {
    if (this.#waiting.length > 0) this.wait(start);
    else start();
  }

  /** As `inOrder`, of what may find no room. */
  startOrWait(start: () => boolean): void {
    if (this.#waiting.length > 0 || !start()) this.wait(start);
  }

  /** Behind what waits for memory. */
  wait(start: () => boolean): void {
    this.#waiting.push({ start });
    if (this.#asked) return;
    this.#asked = true;
    this.#buffers.whenFreed(() => {
      this.#asked = false;
      this.#turn.enter();
      this.retry();
      this.#turn.leave();
    });
  }

  /** Memory may have been freed: by an operation that has ended. Hot. */
  retry(): void {
    if (this.#waiting.length === 0) return;
    while (this.#waiting.length > 0) {
      if (!this.#waiting[0]!.start()) break;
      this.#waiting.shift();
    }
    if (this.#waiting.length > 0 && !this.#asked) this.wait(this.#waiting.pop()!.start);
  }

  /** The engine reads and writes the arena alone: what lies elsewhere is copied there. Null: no room now. */
  inArena(
    op: ReplicaOp,
    payload: BytesPayload,
    byteOffset: number,
    blocks: number,
  ): DataBuffer | null {
    const { buffer } = payload;
    if (buffer !== null && (payload.byteOffset + byteOffset) % STORE_BLOCK_BYTES === 0)
      return buffer;
    const room = this.room(blocks);
    if (room === null) return null;
    const start = payload.byteOffset + byteOffset;
    room.bytes.set(payload.bytes.subarray(start, start + blocks * STORE_BLOCK_BYTES));
    op.payload = room;
    return room.buffer;
  }

  /** For so many blocks. Null: no room now. */
  room(blocks: number): BytesPayload | null {
    const bytes = blocks * STORE_BLOCK_BYTES;
    const payload = this.#payloads.take(bytes, this.#owner);
    if (payload.buffer !== null) return payload;
    payload.release();
    return null;
  }

  readonly #owner: PayloadOwner = { onFree: (payload) => this.#payloads.give(payload) };

  /** False: no room now. */
  withTags(op: ReplicaOp, blocks: number): boolean {
    if (op.tagBuffer !== null) return true;
    assert(blocks * BLOCK_TAG_BYTES <= TAG_BUFFER_BYTES);
    const buffer = this.#buffers.allocate(blocks * BLOCK_TAG_BYTES);
    if (buffer === null) return false;
    op.tagBuffer = buffer;
    op.tags = new BlockTags(buffer);
    return true;
  }

  dropTags(op: ReplicaOp): void {
    op.tagBuffer?.release();
    op.tagBuffer = null;
    op.tags = null;
  }

  take(slot: number): ReplicaOp {
    const op = this.#freeOps.pop() ?? new ReplicaOp();
    op.slot = slot;
    op.guard = WriteGuard.Newer;
    op.tagsOnly = false;
    op.offers = false;
    op.ended = null;
    return op;
  }

  give(op: ReplicaOp): void {
    this.dropTags(op);
    op.payload?.release();
    op.payload = null;
    op.data = null;
    op.ended = null;
    this.#freeOps.push(op);
  }
}
