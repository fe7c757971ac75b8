// The stores that the contract is run over.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Turn } from '../../src/base/index.ts';
import { DataBufferPool } from '../../src/block/index.ts';
import {
  createPoolFile,
  MemoryPool,
  nativeArena,
  openPool,
  type Pool,
  STORE_BLOCK_BYTES,
} from '../../src/store/index.ts';

export const MIB = 1024 * 1024;

export interface World {
  readonly pool: Pool;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  /** Closes and opens again. */
  reopen(): Promise<Pool>;
  dispose(): Promise<void>;
}

export interface Kind {
  readonly name: string;
  /** A pool whose data may take about `bytes`. */
  make(bytes: number): Promise<World>;
}

export const kinds: Kind[] = [
  { name: 'in memory', make: async (bytes) => memoryWorld(bytes) },
  { name: 'native on disk', make: (bytes) => nativeWorld(tmpdir(), bytes) },
];
if (existsSync('/dev/shm')) {
  kinds.push({ name: 'native in RAM', make: (bytes) => nativeWorld('/dev/shm', bytes) });
}

function memoryWorld(bytes: number): World {
  const turn = new Turn();
  const pool = new MemoryPool({ turn, sizeBlocks: bytes / STORE_BLOCK_BYTES });
  return {
    pool,
    turn,
    buffers: new DataBufferPool(new ArrayBuffer(16 * MIB)),
    async reopen() {
      await pool.close();
      pool.reopen();
      return pool;
    },
    dispose: async () => undefined,
  };
}

async function nativeWorld(folder: string, bytes: number): Promise<World> {
  const directory = mkdtempSync(join(folder, 'ashlar-contract-'));
  const path = join(directory, 'pool');
  const turn = new Turn();
  const buffers = new DataBufferPool(nativeArena(32 * MIB));
  await createPoolFile({ path, sizeBytes: bytes, name: 'contract' });
  let pool = await openPool({ path, turn, buffers, cacheBytes: 16 * MIB });
  return {
    pool,
    turn,
    buffers,
    async reopen() {
      await pool.close();
      pool = await openPool({ path, turn, buffers, cacheBytes: 16 * MIB });
      return pool;
    },
    async dispose() {
      await pool.close();
      rmSync(directory, { recursive: true });
    },
  };
}
