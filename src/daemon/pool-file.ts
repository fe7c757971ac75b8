// The embedded pool: opens the file that the configuration names, or makes it the first time.
import { existsSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatBytes, formatQuantity } from '../base/index.ts';
import { makeFolderNow } from '../objects/index.ts';
import type { Config } from './config/index.ts';
import { StartError } from './ports.ts';

const STEP_BYTES = 64 * 2 ** 20;
/** Below this a pool is mostly log and reserve. */
const LEAST_BYTES = 256 * 2 ** 20;
/** What is left to the rest of the machine. */
const SPARE_FRACTION = 0.1;

export interface PoolPlan {
  readonly path: string;
  readonly create: boolean;
  readonly sizeBytes: number;
  /** For the operator, when it is not what the configuration says. */
  readonly note: string;
}

/**
 * Decides whether a pool must be made and how large. `exact`: the size was configured, and a smaller one is no answer;
 * without that, a short disk gets a smaller pool and a word about it.
 */
export function planPool(
  pool: Pick<Config['pool'], 'path' | 'sizeBytes' | 'sparse'>,
  exact: boolean,
): PoolPlan {
  const { path, sparse } = pool;
  const wantedBytes = Math.floor(pool.sizeBytes / STEP_BYTES) * STEP_BYTES || pool.sizeBytes;
  if (existsSync(path)) {
    if (statSync(path).isDirectory()) {
      throw new StartError(`pool.path: ${path} is a directory; name a file or a block device`);
    }
    return { path, create: false, sizeBytes: statSync(path).size, note: '' };
  }
  try {
    // The pool holds CHAP secrets: nobody else looks in.
    makeFolderNow(dirname(path));
  } catch (error) {
    throw new StartError(
      `cannot make the folder ${dirname(path)}: ${(error as Error).message}; choose another with --data`,
    );
  }
  const { bavail, bsize } = statfsSync(dirname(path));
  const freeBytes = bavail * bsize;
  const roomBytes = Math.floor((freeBytes * (1 - SPARE_FRACTION)) / STEP_BYTES) * STEP_BYTES;
  if (sparse || wantedBytes <= roomBytes) {
    return { path, create: true, sizeBytes: wantedBytes, note: '' };
  }
  const short = `${dirname(path)} has ${formatBytes(freeBytes)} free, and the pool should get ${formatQuantity(wantedBytes)}`;
  if (exact || roomBytes < LEAST_BYTES) {
    throw new StartError(
      `${short}; make room, choose another folder with --data, or set a smaller pool.size`,
    );
  }
  const note = `${short}: made with ${formatQuantity(roomBytes)} instead`;
  return { path, create: true, sizeBytes: roomBytes, note };
}
