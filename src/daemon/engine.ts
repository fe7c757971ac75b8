// The medium side of the daemon: the arena, the native checksum, and the pool, made the first time it is started.
import { dirname } from 'node:path';
import { SystemClock, setCrc32c, type Turn } from '../base/index.ts';
import { DataBufferPool } from '../block/index.ts';
import type { KeptPool } from '../control/index.ts';
import {
  createPoolFile,
  type FoundPool,
  givenTime,
  nativeArena,
  nativeCrc32c,
  nativeCrc32cEach,
  openPool,
  type Pool,
  sdNotify,
  setSpin,
} from '../store/index.ts';
import type { Config } from './config/index.ts';
import { planPool } from './pool-file.ts';
import { everyDevice, findPoolsIn } from './pool-media.ts';
import { poolOwnerOf } from './pool-owner.ts';
import { StartError } from './ports.ts';

const POOL_NAME = 'pool';

export interface EngineOptions {
  readonly config: Config;
  readonly turn: Turn;
  /** The pool's size was configured: a smaller one is no answer. */
  readonly exactPoolSize: boolean;
  /** Its line in the list of pools, where it has one: its devices are others than the configuration names. */
  readonly kept?: KeptPool | null;
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
  const { path, cacheBytes, sparse, takeOver } = config.pool;
  const step = 4 * 2 ** 20;
  const arena = nativeArena(Math.ceil(config.memory.buffersBytes / step) * step);
  setCrc32c(nativeCrc32c(), nativeCrc32cEach());
  setSpin(config.cpu.spinMicroseconds);
  const buffers = new DataBufferPool(arena);
  const how = { cacheBytes, turn, buffers, takeOver };
  const open = async (paths: readonly string[]): Promise<Pool> =>
    await givenTime(openPool({ paths, ...how, owner: poolOwnerOf(config) }), {
      clock: new SystemClock(),
      notify: notifySystemd,
      tell: progress,
    });
  if (options.kept != null) {
    return { pool: await open(await devicesOf(options.kept, path)), buffers, note: '' };
  }
  const plan = planPool(config.pool, exactPoolSize);
  if (plan.create) {
    progress(`Making the pool ${path} ...`);
    await createPoolFile({ path, sizeBytes: plan.sizeBytes, sparse, name: POOL_NAME });
  }
  return { pool: await open([path]), buffers, note: plan.note };
}

/** By their labels: where they were, beside it, or on any device of this machine. Nothing is made anew instead. */
async function devicesOf({ id, paths }: KeptPool, configured: string): Promise<readonly string[]> {
  const known = [...new Set([...paths, configured])];
  const ofIt = (found: readonly FoundPool[]) => found.find((pool) => pool.id === id);
  const here = ofIt(await findPoolsIn(known));
  if (here !== undefined && here.paths.length >= here.devices) return here.paths;
  const near = known.map(dirname).filter((folder) => !`${folder}/`.startsWith('/dev/'));
  const places = [...known, ...new Set(near), ...everyDevice()];
  const anywhere = ofIt(await findPoolsIn(places));
  if (anywhere !== undefined) return anywhere.paths;
  throw new StartError(
    `the pool of this daemon (${id}) is not there: its devices were ${paths.join(', ')}. Connect them. To begin anew with ${configured}, take its line out of pools.json in the data folder`,
  );
}

/** Tells systemd; does nothing where systemd did not start us. */
export function notifySystemd(text: string): void {
  if (process.env['NOTIFY_SOCKET'] !== undefined) sdNotify(text);
}
