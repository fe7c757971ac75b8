// Bytes on their way between a socket and a buffer: what the cores hand on as a Payload and never look into. Counted
// references: whoever keeps one beyond the call that lent it retains it, and the last release gives the memory back.
import { assert } from '../base/index.ts';
import type { DataBuffer, DataBufferPool } from '../block/index.ts';
import type { Payload } from './messages.ts';
import type { Place } from './parser.ts';

const NOTHING = new Uint8Array(0);
const NO_CRCS = new Uint32Array(0);

/** Who gave the memory, and hears when nobody needs it any more. */
export interface PayloadOwner {
  onFree(payload: BytesPayload): void;
}

export class BytesPayload implements Payload, Place {
  bytes: Uint8Array = NOTHING;
  byteOffset = 0;
  /** Where the bytes lie in the arena, or null: they are on the heap, and the engine cannot take them in place. */
  buffer: DataBuffer | null = null;
  owner: PayloadOwner | null = null;
  /** Of a read at a member: how many blocks there are, and their CRCs as the store keeps them (H1). */
  blocks = 0;
  crcs: Uint32Array = NO_CRCS;
  /** What the flow control was charged for it; the owner's to keep. */
  chargedBytes = 0;
  references = 0;

  /** Makes room for the CRCs of `blocks`. */
  expectCrcs(blocks: number): Uint32Array {
    this.blocks = blocks;
    if (this.crcs.length < blocks) this.crcs = new Uint32Array(Math.max(8, blocks));
    return this.crcs;
  }

  retain(): void {
    assert(this.references > 0);
    this.references += 1;
  }

  release(): void {
    assert(this.references > 0, 'a payload was released twice');
    this.references -= 1;
    if (this.references > 0) return;
    const { owner } = this;
    owner?.onFree(this);
  }
}

const MAX_FREE = 256;
/** Memory from the heap that is kept for the next: what a rebuild has under way, and reads besides. */
const MAX_FREE_HEAP_BYTES = 16 * 1024 * 1024;

/** Payload objects are made once and used again, memory from the heap too: in a rebuild half a MiB comes each millisecond. */
export class PayloadPool {
  readonly #free: BytesPayload[] = [];
  readonly #buffers: DataBufferPool | null;
  /** Of the heap, by power of two. */
  readonly #heap: Buffer[][] = [];
  #heapBytes = 0;

  /** `buffers`: the arena to take memory from while it has some; null: always the heap. */
  constructor(buffers: DataBufferPool | null) {
    this.#buffers = buffers;
  }

  /** Room for `bytes`, referenced once. */
  take(bytes: number, owner: PayloadOwner | null): BytesPayload {
    const payload = this.#object(owner);
    const buffer = this.#buffers?.allocate(bytes) ?? null;
    payload.buffer = buffer;
    payload.bytes = buffer === null ? this.#fromHeap(bytes) : buffer.bytes;
    return payload;
  }

  /** At least so many bytes, of whatever they held last. */
  #fromHeap(bytes: number): Buffer {
    const order = orderOf(bytes);
    const known = this.#heap[order]?.pop();
    if (known === undefined) return Buffer.allocUnsafeSlow(2 ** order);
    this.#heapBytes -= known.length;
    return known;
  }

  #toHeap(bytes: Buffer): void {
    if (this.#heapBytes + bytes.length > MAX_FREE_HEAP_BYTES) return;
    this.#heapBytes += bytes.length;
    const order = orderOf(bytes.length);
    while (this.#heap.length <= order) this.#heap.push([]);
    this.#heap[order]!.push(bytes);
  }

  /** A view of memory that somebody else keeps until `owner` hears of the end. */
  wrap(buffer: DataBuffer, byteOffset: number, owner: PayloadOwner | null): BytesPayload {
    const payload = this.#object(owner);
    payload.buffer = buffer;
    payload.bytes = buffer.bytes;
    payload.byteOffset = byteOffset;
    return payload;
  }

  /** For the owner, from `onFree`: memory that `take` gave. */
  give(payload: BytesPayload): void {
    if (payload.buffer !== null) payload.buffer.release();
    else this.#toHeap(payload.bytes as Buffer);
    this.giveObject(payload);
  }

  /** For the owner, from `onFree`: what `wrap` made. */
  giveObject(payload: BytesPayload): void {
    assert(payload.references === 0);
    payload.buffer = null;
    payload.bytes = NOTHING;
    payload.owner = null;
    if (this.#free.length < MAX_FREE) this.#free.push(payload);
  }

  #object(owner: PayloadOwner | null): BytesPayload {
    const payload = this.#free.pop() ?? new BytesPayload();
    payload.references = 1;
    payload.byteOffset = 0;
    payload.chargedBytes = 0;
    payload.blocks = 0;
    payload.owner = owner;
    return payload;
  }
}

/** The power of two that is as large or the next larger. */
function orderOf(bytes: number): number {
  return 32 - Math.clz32(bytes - 1);
}
