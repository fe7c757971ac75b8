// Bounce buffers: where parts of blocks are put together. A few per arena, shared by all its volumes and held for ever:
// taken out of the arena when a task already holds the rest of it, they would never come (a deadlock). Waiting for one
// always ends, since who holds one waits for the store alone.
import { assert } from '../base/index.ts';
import type { DataBuffer, DataBufferPool } from '../block/index.ts';

/** Chunks of this size go through a bounce buffer. */
export const BOUNCE_BYTES = 128 * 1024;
const BUFFERS = 4;

const byArena = new WeakMap<DataBufferPool, BounceBuffers>();

export class BounceBuffers {
  readonly #free: DataBuffer[] = [];
  readonly #waiters: ((buffer: DataBuffer) => void)[] = [];

  private constructor(buffers: DataBufferPool) {
    for (let made = 0; made < BUFFERS; made += 1) {
      const buffer = buffers.allocate(BOUNCE_BYTES);
      assert(buffer !== null, 'the arena is too small for its bounce buffers, or in use already');
      this.#free.push(buffer);
    }
  }

  /** The arena's own. The first call, when its first volume opens, takes them out of it. */
  static of(buffers: DataBufferPool): BounceBuffers {
    let known = byArena.get(buffers);
    if (known === undefined) {
      known = new BounceBuffers(buffers);
      byArena.set(buffers, known);
    }
    return known;
  }

  take(): Promise<DataBuffer> {
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  give(buffer: DataBuffer): void {
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#free.push(buffer);
    else waiter(buffer);
  }
}
