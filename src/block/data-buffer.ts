// Data buffers live in one arena, aligned for O_DIRECT, handed out by a buddy allocator in powers of two from 4 KiB to
// 4 MiB. A buffer has one owner at a time and is given back. An arena that is used up is back pressure, never growth.
//
// Two of the largest buffers of any arena of some size are its reserve, one for each kind of need. Who may take one must
// end without waiting for anybody who waits for memory: then whatever the others hold, somebody always gets on. A large
// buffer would otherwise never come out of an arena that small ones keep in pieces.
import { assert } from '../base/index.ts';

export const MIN_BUFFER_BYTES = 4096;
export const MAX_BUFFER_BYTES = 4 * 1024 * 1024;
const MAX_ORDER = Math.log2(MAX_BUFFER_BYTES / MIN_BUFFER_BYTES);
/** A smaller arena, of a test, has no reserve. */
const MIN_ARENA_WITH_RESERVE_BYTES = 8 * MAX_BUFFER_BYTES;

export const ReserveKind = {
  /** For the data of a write that nothing in its task set holds up. */
  Gather: 0,
  /** For a command that runs. */
  Execute: 1,
} as const;
export type ReserveKind = (typeof ReserveKind)[keyof typeof ReserveKind];

export class DataBuffer {
  /** All of the buffer: capacity bytes, a power of two. Reused, never cleared: zero what you do not fill. */
  readonly bytes: Buffer;
  /** Where it begins in the arena: what the native engine is told. A multiple of 4096. */
  readonly arenaByteOffset: number;
  readonly order: number;
  #pool: DataBufferPool;
  /** True between `allocate` and the last `release`. */
  live = false;
  /** Who keeps it besides its owner: replicas that lag may still be sent bytes that the host has its answer for. */
  #retained = 0;
  inFreeList = false;
  /** It is of the reserve, and never of the free lists. */
  reserve = false;

  constructor(pool: DataBufferPool, bytes: Buffer, arenaByteOffset: number, order: number) {
    this.#pool = pool;
    this.bytes = bytes;
    this.arenaByteOffset = arenaByteOffset;
    this.order = order;
  }

  get capacityBytes(): number {
    return this.bytes.length;
  }

  /** One more must release it before it is free. Nobody writes to a retained buffer. */
  retain(): void {
    assert(this.live);
    this.#retained += 1;
  }

  /** Gives the buffer back: once, and once for each `retain`. */
  release(): void {
    if (this.#retained > 0) this.#retained -= 1;
    else this.#pool.give(this);
  }
}

export class DataBufferPool {
  readonly arena: ArrayBuffer;
  /** Buffer objects are made once per place and order, and kept. */
  readonly #buffers: (DataBuffer | undefined)[][] = [];
  readonly #free: DataBuffer[][] = [];
  readonly #reserve: DataBuffer[] = [];
  #freeBytes: number;
  #waiting: (() => void)[] = [];

  /** `arena`: a multiple of 4 MiB; its base aligned to 4096 when the native engine will read and write it. */
  constructor(arena: ArrayBuffer) {
    assert(arena.byteLength > 0 && arena.byteLength % MAX_BUFFER_BYTES === 0);
    this.arena = arena;
    this.#freeBytes = arena.byteLength;
    for (let order = 0; order <= MAX_ORDER; order += 1) {
      this.#buffers.push([]);
      this.#free.push([]);
    }
    for (let at = arena.byteLength - MAX_BUFFER_BYTES; at >= 0; at -= MAX_BUFFER_BYTES) {
      this.#push(this.#at(at, MAX_ORDER));
    }
    if (arena.byteLength < MIN_ARENA_WITH_RESERVE_BYTES) return;
    for (const _ of Object.values(ReserveKind)) {
      const buffer = this.#pop(MAX_ORDER);
      assert(buffer !== undefined);
      buffer.reserve = true;
      this.#freeBytes -= MAX_BUFFER_BYTES;
      this.#reserve.push(buffer);
    }
  }

  /** What nobody has, the reserve included. */
  get freeBytes(): number {
    let bytes = this.#freeBytes;
    for (const buffer of this.#reserve) if (!buffer.live) bytes += MAX_BUFFER_BYTES;
    return bytes;
  }

  /** So little is left that no new work should be taken on. */
  get scarce(): boolean {
    return this.#freeBytes < this.arena.byteLength / 16;
  }

  /** A buffer of at least `bytes`, or null when the arena has none: wait with `whenFreed`. */
  allocate(bytes: number): DataBuffer | null {
    assert(bytes > 0 && bytes <= MAX_BUFFER_BYTES);
    let order = 0;
    for (let size = MIN_BUFFER_BYTES; size < bytes; size *= 2) order += 1;
    let buffer = this.#take(order);
    if (buffer === undefined && this.#freeBytes >= bytes) {
      this.#coalesce();
      buffer = this.#take(order);
    }
    if (buffer === undefined) return null;
    buffer.live = true;
    this.#freeBytes -= buffer.capacityBytes;
    return buffer;
  }

  /** The reserve of the kind, for any size; null when it is in use. For when `allocate` has none. */
  allocateReserve(kind: ReserveKind): DataBuffer | null {
    const buffer = this.#reserve[kind];
    if (buffer === undefined || buffer.live) return null;
    buffer.live = true;
    return buffer;
  }

  give(buffer: DataBuffer): void {
    assert(buffer.live, 'a data buffer was released twice');
    buffer.live = false;
    if (!buffer.reserve) {
      this.#freeBytes += buffer.capacityBytes;
      this.#push(buffer);
    }
    if (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const callback of waiting) queueMicrotask(callback);
    }
  }

  /** Calls back once, soon after some buffer was given back; then try again. */
  whenFreed(callback: () => void): void {
    this.#waiting.push(callback);
  }

  #take(order: number): DataBuffer | undefined {
    for (let from = order; from <= MAX_ORDER; from += 1) {
      let buffer = this.#pop(from);
      if (buffer === undefined) continue;
      // Split down to the order asked for, freeing the upper half each time.
      while (from > order) {
        from -= 1;
        this.#push(this.#at(buffer.arenaByteOffset + (MIN_BUFFER_BYTES << from), from));
        buffer = this.#at(buffer.arenaByteOffset, from);
      }
      return buffer;
    }
    return undefined;
  }

  /** Merges all free buddies, smallest first. Rare: buffers come and go singly and fast, so `give` does not merge. */
  #coalesce(): void {
    for (let order = 0; order < MAX_ORDER; order += 1) {
      for (const buffer of this.#free[order]!) {
        if (!buffer.inFreeList) continue;
        const buddy = this.#buffers[order]![(buffer.arenaByteOffset >> (12 + order)) ^ 1];
        if (buddy?.inFreeList) {
          buffer.inFreeList = false;
          buddy.inFreeList = false;
          this.#push(this.#at(Math.min(buffer.arenaByteOffset, buddy.arenaByteOffset), order + 1));
        }
      }
      this.#free[order] = this.#free[order]!.filter((buffer) => buffer.inFreeList);
    }
  }

  #at(arenaByteOffset: number, order: number): DataBuffer {
    const index = arenaByteOffset >> (12 + order);
    const known = this.#buffers[order]![index];
    if (known !== undefined) return known;
    const bytes = Buffer.from(this.arena, arenaByteOffset, MIN_BUFFER_BYTES << order);
    const made = new DataBuffer(this, bytes, arenaByteOffset, order);
    this.#buffers[order]![index] = made;
    return made;
  }

  #push(buffer: DataBuffer): void {
    assert(!buffer.inFreeList);
    buffer.inFreeList = true;
    this.#free[buffer.order]!.push(buffer);
  }

  #pop(order: number): DataBuffer | undefined {
    const buffer = this.#free[order]!.pop();
    if (buffer === undefined) return undefined;
    assert(buffer.inFreeList);
    buffer.inFreeList = false;
    return buffer;
  }
}
