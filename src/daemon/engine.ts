// The medium side of the daemon: the arena, the native checksum, and the pool, made the first time it is started.
import { setCrc32c, type Turn } from '../base/index.ts';
import { DataBufferPool } from '../block/index.ts';
import {
  createPoolFile,
  nativeArena,
  nativeCrc32c,
  openPool,
  type Pool,
  sdNotify,
  setSpin,
} from '../store/index.ts';
import type { Config } from './config/index.ts';
import { planPool } from './pool-file.ts';

const POOL_NAME = 'pool';

export interface EngineOptions {
  readonly config: Config;
  readonly turn: Turn;
  /** The pool's size was configured: a smaller one is no answer. */
  readonly exactPoolSize: boolean;
  readonly progress: (message: string) => void;
}

export interface Engine {
  readonly pool: Pool;
  readonly buffers: DataBufferPool;
  /** For the operator, when something is not as the configuration says. */
  readonly note: string;
}

/** Opens the configured pool. Rejects with StoreError or StartError. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { config, turn, exactPoolSize, progress } = options;
  const { path, cacheBytes, sparse } = config.pool;
  const step = 4 * 2 ** 20;
  const arena = nativeArena(Math.ceil(config.memory.buffersBytes / step) * step);
  setCrc32c(nativeCrc32c());
  setSpin(config.cpu.spinMicroseconds);
  const buffers = new DataBufferPool(arena);
  const plan = planPool(config.pool, exactPoolSize);
  if (plan.create) {
    progress(`Making the pool ${path} ...`);
    await createPoolFile({ path, sizeBytes: plan.sizeBytes, sparse, name: POOL_NAME });
  }
  const pool = await openPool({ path, cacheBytes, turn, buffers });
  return { pool, buffers, note: plan.note };
}

/** Tells systemd; does nothing where systemd did not start us. */
export function notifySystemd(text: string): void {
  if (process.env['NOTIFY_SOCKET'] !== undefined) sdNotify(text);
}
