// Where a pool is: on devices, or in a file of a folder. Made once, and from then on only opened: what is there under
// another identity is somebody else's, and a pool that is missing is not made anew over it.
import { existsSync, realpathSync } from 'node:fs';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Turn } from '../../base/index.ts';
import type { DataBufferPool } from '../../block/index.ts';
import {
  createPoolFile,
  destroyPool,
  layOut,
  openPool,
  type Pool,
  probePool,
  StoreError,
} from '../../store/index.ts';

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

export class NativeMedia implements PoolMedia {
  readonly #turn: Turn;
  readonly #buffers: DataBufferPool;

  constructor(options: { turn: Turn; buffers: DataBufferPool }) {
    this.#turn = options.turn;
    this.#buffers = options.buffers;
  }

  /** Of several devices the first one that carries a label speaks for all: opening checks that they belong together. */
  async probe({ paths }: PoolPlace): Promise<{ id: string; name: string } | null> {
    for (const path of paths) {
      if (!existsSync(path)) continue;
      try {
        return await probePool(path);
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== 'STORE_NOT_A_POOL') throw error;
      }
    }
    return null;
  }

  async create({ name, paths, mirrored, fileBytes }: PoolPlace): Promise<void> {
    const vdevs = layOut(mirrored ? 'mirror' : 'stripe', paths);
    if (fileBytes !== null) {
      // A pool holds whatever hosts write: nobody else looks in.
      for (const path of paths) await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await createPoolFile({ vdevs, sizeBytes: fileBytes, sparse: true, name });
      return;
    }
    const media = await Promise.all(paths.map(measure));
    const files = media.filter(({ isFile }) => isFile);
    if (files.length > 0 && files.length < media.length) {
      throw new StoreError('STORE_INVALID', `pool ${name}: files and devices do not go together`);
    }
    // Files that stand in for disks are there already: what they hold was looked at before they were claimed.
    const sizeBytes = Math.min(...files.map((file) => file.sizeBytes));
    await createPoolFile({
      vdevs,
      name,
      ...(files.length > 0 ? { sizeBytes, sparse: true, force: true } : {}),
    });
  }

  async open({ paths, cacheBytes }: PoolPlace): Promise<Pool> {
    return await openPool({
      paths,
      turn: this.#turn,
      buffers: this.#buffers,
      ...(cacheBytes === null ? {} : { cacheBytes }),
    });
  }

  async erase({ paths, fileBytes }: PoolPlace): Promise<void> {
    if (fileBytes !== null) for (const path of paths) await rm(path, { force: true });
    else await destroyPool(paths.filter((path) => existsSync(path)));
  }
}

async function measure(path: string): Promise<{ isFile: boolean; sizeBytes: number }> {
  const found = await stat(path);
  if (found.isFile()) return { isFile: true, sizeBytes: found.size };
  // stat knows no size of a block device.
  const sectors = await readFile(`/sys/class/block/${basename(realpathSync(path))}/size`, 'utf8');
  return { isFile: false, sizeBytes: Number(sectors) * 512 };
}
