// Where a pool is: on devices, or in a file of a folder. Made once, and from then on only opened: what is there under
// another identity is somebody else's, and a pool that is missing is not made anew over it.
import { existsSync, realpathSync } from 'node:fs';
import { readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Clock, Log, Turn } from '../../base/index.ts';
import type { DataBufferPool } from '../../block/index.ts';
import type { OpenOptions } from '../../control/index.ts';
import { makeFolder } from '../../objects/index.ts';
import {
  createPoolFile,
  destroyPool,
  type FoundPool,
  givenTime,
  layOut,
  type NewDevice,
  openPool,
  type Pool,
  type PoolLayout,
  type PoolOwner,
  probePool,
  StoreError,
  withProbe,
} from '../../store/index.ts';

/** A pool that is to be made. */
export interface PoolPlan {
  readonly id: string;
  readonly name: string;
  readonly layout: PoolLayout;
  /** Of each mirror; undefined: as many as fit. */
  readonly sides: number | undefined;
  readonly paths: readonly string[];
  /** Of a file of our own, made with the pool; null: devices, or files that stand in for them. */
  readonly fileBytes: number | null;
  /** Overwrites what is there. */
  readonly force: boolean;
  readonly growthLimitPercent: number | undefined;
}

/** Makes and opens pools: the native engine's, or in memory in a test. Rejects with StoreError. */
export interface PoolMedia {
  /** Pools on these devices, by their labels. Rejects where there is none, and a device could not be looked at. */
  find(paths: readonly string[]): Promise<readonly FoundPool[]>;
  create(plan: PoolPlan): Promise<void>;
  /** Rejects with STORE_OWNED where it is another machine's. */
  open(
    paths: readonly string[],
    options: OpenOptions & { readonly cacheBytes: number | null },
  ): Promise<Pool>;
  /** The pool is closed: its marks are taken off the devices. */
  erase(paths: readonly string[]): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** How a device is called that joins an open pool: claimed, and what it holds was looked at. */
  joining(path: string, options: { force: boolean }): Promise<NewDevice>;
}

export interface NativeMediaOptions {
  readonly turn: Turn;
  readonly buffers: DataBufferPool;
  /** This node, as labels name it. */
  readonly owner: PoolOwner;
  /**
   * Its pools are opened although another machine used them last: --take-over. It is said once: of each pool it holds until that
   * is open, and of all for a while after the start.
   */
  readonly takeOver: boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** Tells the service manager. */
  readonly notify: (text: string) => void;
}

/** For devices that appear late. What comes later was not meant. */
const TAKE_OVER_MS = 10 * 60_000;

export class NativeMedia implements PoolMedia {
  readonly #options: NativeMediaOptions;
  readonly #startedMs: number;
  /** Ids of pools that have been open: --take-over is over for them. */
  readonly #opened = new Set<string>();

  constructor(options: NativeMediaOptions) {
    this.#options = options;
    this.#startedMs = options.clock.nowMs();
  }

  async find(paths: readonly string[]): Promise<readonly FoundPool[]> {
    const found = new Map<string, FoundPool>();
    let why: unknown = null;
    for (const path of paths) {
      if (!existsSync(path)) continue;
      try {
        const probe = await probePool(path);
        found.set(probe.id, withProbe(found.get(probe.id), probe, path));
      } catch (error) {
        // One of several that cannot be read leaves the others of a mirror.
        if (!(error instanceof StoreError)) throw error;
        if (error.code !== 'STORE_NOT_A_POOL') why ??= error;
      }
    }
    if (found.size === 0 && why !== null) throw why;
    return [...found.values()];
  }

  async create(plan: PoolPlan): Promise<void> {
    const { id, name, layout, paths, fileBytes, force, growthLimitPercent } = plan;
    const sides = plan.sides ?? (paths.length === 3 ? 3 : 2);
    const vdevs = layOut(layout, paths, sides);
    const common = { vdevs, id, name };
    const limit = growthLimitPercent === undefined ? {} : { growthLimitPercent };
    if (fileBytes !== null) {
      // A pool holds whatever hosts write: nobody else looks in.
      for (const path of paths) await makeFolder(dirname(path));
      await createPoolFile({ ...common, ...limit, sizeBytes: fileBytes, sparse: true });
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
      ...common,
      ...limit,
      ...(files.length > 0 ? { sizeBytes, sparse: true, force: true } : { force }),
    });
  }

  async open(
    paths: readonly string[],
    { cacheBytes, takeOver, ...options }: OpenOptions & { readonly cacheBytes: number | null },
  ): Promise<Pool> {
    const { turn, buffers, owner, clock, log, notify } = this.#options;
    const size = cacheBytes === null ? {} : { cacheBytes };
    const opening = openPool({
      ...options,
      paths,
      turn,
      buffers,
      owner,
      takeOver: takeOver ?? (await this.#mayTakeOver(paths)),
      ...size,
    });
    const tell = (message: string): void => log.warn({ paths }, message);
    const pool = await givenTime(opening, { clock, notify, tell });
    this.#opened.add(pool.id);
    return pool;
  }

  async #mayTakeOver(paths: readonly string[]): Promise<boolean> {
    const { takeOver, clock, owner, log } = this.#options;
    if (!takeOver || clock.nowMs() - this.#startedMs > TAKE_OVER_MS) return false;
    const found = (await this.find(paths)).filter(({ id }) => !this.#opened.has(id));
    for (const { name, id, exported, owner: last } of found) {
      const isOurs = last === undefined || last.id === owner.id || last.id === owner.formerId;
      if (isOurs || exported) continue;
      log.warn({ pool: name, id, from: last.name }, 'a pool is taken over, by --take-over');
    }
    return found.length > 0;
  }

  async erase(paths: readonly string[]): Promise<void> {
    await destroyPool(paths);
  }

  async removeFile(path: string): Promise<void> {
    await rm(path, { force: true });
  }

  async joining(path: string, { force }: { force: boolean }): Promise<NewDevice> {
    const { isFile, sizeBytes } = await measure(path);
    return isFile ? { path, sizeBytes, sparse: true, force: true } : { path, force };
  }
}

async function measure(path: string): Promise<{ isFile: boolean; sizeBytes: number }> {
  const found = await stat(path);
  if (found.isFile()) return { isFile: true, sizeBytes: Math.floor(found.size / 4096) * 4096 };
  // stat knows no size of a block device.
  const sectors = await readFile(`/sys/class/block/${basename(realpathSync(path))}/size`, 'utf8');
  return { isFile: false, sizeBytes: Number(sectors) * 512 };
}
