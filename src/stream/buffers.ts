import type { DataBuffer, DataBufferPool } from '../block/index.ts';

/** A buffer of at least `bytes`, waiting until the arena has one: a stream yields to the I/O of hosts. */
export async function takeBuffer(buffers: DataBufferPool, bytes: number): Promise<DataBuffer> {
  for (;;) {
    const buffer = buffers.allocate(bytes);
    if (buffer !== null) return buffer;
    await new Promise<void>((resolve) => buffers.whenFreed(resolve));
  }
}
