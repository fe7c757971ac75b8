// Where a pool is: on devices, or in a file of a folder. Made once, and from then on only opened: what is there under
// another identity is somebody else's, and a pool that is missing is not made anew over it.
import { existsSync, realpathSync } from 'node:fs';
import { mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Turn } from '../../base/index.ts';
import type { DataBufferPool } from '../../block/index.ts';
import { createPoolFile, openPool, type Pool, probePool, StoreError } from '../../store/index.ts';

export interface PoolPlace {
  readonly name: string;
  readonly paths: readonly string[];
  readonly mirrored: boolean;
  /** Of a file of our own, made with the pool; null: devices, or files that stand in for them. */
  readonly fileBytes: number | null;
  readonly cacheBytes: number | null;
}

/** Makes and opens pools: the native engine's, or in memory in a test. */
export interface PoolMedia {
  /** Whose pool is there; null: nobody's. Rejects where it cannot be read. */
  probe(place: PoolPlace): Promise<{ id: string; name: string } | null>;
  create(place: PoolPlace): Promise<void>;
  open(place: PoolPlace): Promise<Pool>;
  /** The pool is closed: its marks are taken off the devices, its file is removed. */
  erase(place: PoolPlace): Promise<void>;
}

/** Labels and superblocks lie within this distance from either end. */
const MARKS_BYTES = 1024 * 1024;

export class NativeMedia implements PoolMedia {
  readonly #turn: Turn;
  readonly #buffers: DataBufferPool;

  constructor(options: { turn: Turn; buffers: DataBufferPool }) {
    this.#turn = options.turn;
    this.#buffers = options.buffers;
  }

  async probe({ paths }: PoolPlace): Promise<{ id: string; name: string } | null> {
    const path = paths[0] ?? '';
    if (!existsSync(path)) return null;
    try {
      return await probePool(path);
    } catch (error) {
      if (error instanceof StoreError && error.code === 'STORE_NOT_A_POOL') return null;
      throw error;
    }
  }

  async create(place: PoolPlace): Promise<void> {
    const path = onlyPath(place);
    if (place.fileBytes !== null) {
      // A pool holds whatever hosts write: nobody else looks in.
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await createPoolFile({ path, sizeBytes: place.fileBytes, sparse: true, name: place.name });
      return;
    }
    const { isFile, sizeBytes } = await measure(path);
    // A file that stands in for a disk is there already: what it holds was looked at before it was claimed.
    await createPoolFile({
      path,
      name: place.name,
      ...(isFile ? { sizeBytes, sparse: true, force: true } : {}),
    });
  }

  async open(place: PoolPlace): Promise<Pool> {
    return await openPool({
      path: onlyPath(place),
      turn: this.#turn,
      buffers: this.#buffers,
      ...(place.cacheBytes === null ? {} : { cacheBytes: place.cacheBytes }),
    });
  }

  async erase({ paths, fileBytes }: PoolPlace): Promise<void> {
    for (const path of paths) {
      if (fileBytes !== null) await rm(path, { force: true });
      else if (existsSync(path)) await eraseEnds(path);
    }
  }
}

function onlyPath({ name, paths }: PoolPlace): string {
  const [path, ...more] = paths;
  if (path === undefined || more.length > 0) {
    throw new StoreError('STORE_UNSUPPORTED', `pool ${name}: one device, not ${paths.length}`);
  }
  return path;
}

/** Zeros over both ends. */
async function eraseEnds(path: string): Promise<void> {
  const { sizeBytes } = await measure(path);
  const file = await open(path, 'r+');
  try {
    const zeros = Buffer.alloc(Math.min(MARKS_BYTES, sizeBytes));
    await file.write(zeros, 0, zeros.length, 0);
    await file.write(zeros, 0, zeros.length, sizeBytes - zeros.length);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function measure(path: string): Promise<{ isFile: boolean; sizeBytes: number }> {
  const found = await stat(path);
  if (found.isFile()) return { isFile: true, sizeBytes: found.size };
  // stat knows no size of a block device.
  const sectors = await readFile(`/sys/class/block/${basename(realpathSync(path))}/size`, 'utf8');
  return { isFile: false, sizeBytes: Number(sectors) * 512 };
}
