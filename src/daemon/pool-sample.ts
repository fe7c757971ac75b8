// A pool as the metrics show it.
import type { PoolSample } from '../metrics/index.ts';
import { type Pool, STORE_BLOCK_BYTES, writableBlocks } from '../store/index.ts';

export function samplePool(pool: Pool, name = pool.name): PoolSample {
  const stats = pool.stats();
  const bytes = (blocks: number): number => blocks * STORE_BLOCK_BYTES;
  return {
    pool: name,
    state: stats.state,
    backend: pool.backend,
    sizeBytes: bytes(stats.sizeBlocks),
    usableBytes: bytes(stats.usableBlocks),
    allocatedBytes: bytes(stats.allocatedBlocks),
    freeBytes: bytes(writableBlocks(stats)),
    metadataBytes: bytes(stats.metadataBlocks),
    checkpoints: stats.checkpoints,
    checksumErrors: stats.checksumErrors,
    ioErrors: stats.ioErrors,
  };
}
