// The devices of this machine, as pools are made of them and found on them. A device that somebody uses is known by the
// kernel's own books, and is not waited for; the engine opens what is left exclusively, and has the last word.
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Clock, Log, Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import type { ExaminedDevice, NewPool, OpenOptions, PoolMedia } from '../control/index.ts';
import {
  createPoolFile,
  destroyPool,
  type FoundPool,
  findPools,
  findSignature,
  givenTime,
  lastUseOf,
  openPool,
  type Pool,
  type PoolOwner,
  probePool,
  StoreError,
} from '../store/index.ts';

const BY_ID = '/dev/disk/by-id';
/** Marks are looked for so far from either end, as the engine does before it formats. */
const SIGNATURE_BYTES = 2 ** 20;
/** Never part of a pool: memory, optical and floppy drives. */
const NO_DISKS = /^(ram|zram|sr|fd|nbd)\d/;

export interface NativePoolMediaOptions {
  readonly turn: Turn;
  readonly buffers: DataBufferPool;
  readonly cacheBytes: number;
  /** This machine, as labels name it. */
  readonly owner: PoolOwner | null;
  readonly clock: Clock;
  readonly log: Log;
  /** Tells the service manager. */
  readonly notify: (text: string) => void;
}

export class NativePoolMedia implements PoolMedia {
  readonly #options: NativePoolMediaOptions;

  constructor(options: NativePoolMediaOptions) {
    this.#options = options;
  }

  async examine(path: string): Promise<ExaminedDevice> {
    let found: Stats;
    try {
      found = statSync(path);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const missing = code === 'ENOENT';
      const obstacle = missing ? null : { message: `${path}: ${message}`, forceable: false };
      return { kind: 'Missing', sizeBytes: 0, empty: false, obstacle };
    }
    if (!found.isFile() && !found.isBlockDevice()) {
      const message = `${path} is neither a block device nor a file`;
      return { kind: 'File', sizeBytes: 0, empty: false, obstacle: { message, forceable: false } };
    }
    const kind = found.isFile() ? 'File' : 'Device';
    // A file that is all hole was made to be a disk, and holds nothing.
    const empty = found.isFile() && (found.blocks === 0 || found.size === 0);
    const obstacle = await obstacleOf(path, kind);
    return { kind, sizeBytes: found.size, empty, obstacle };
  }

  identity(path: string): string {
    return identityOf(path);
  }

  async create(plan: NewPool): Promise<void> {
    const { growthLimitPercent, sizeBytes, ...rest } = plan;
    await createPoolFile({
      ...rest,
      ...(sizeBytes === 0 ? {} : { sizeBytes }),
      ...(growthLimitPercent === null ? {} : { growthLimitPercent }),
    });
  }

  async find(
    places: readonly string[],
    { without }: { readonly without: ReadonlySet<string> },
  ): Promise<readonly FoundPool[]> {
    return await findPoolsIn(places, without);
  }

  everywhere(): readonly string[] {
    return everyDevice();
  }

  async open(paths: readonly string[], options: OpenOptions = {}): Promise<Pool> {
    const { turn, buffers, cacheBytes, owner, clock, notify, log } = this.#options;
    const tell = (message: string): void => log.warn({ paths }, message);
    const opening = openPool({ ...options, paths, turn, buffers, cacheBytes, owner });
    return await givenTime(opening, { clock, notify, tell });
  }

  async wipe(paths: readonly string[]): Promise<void> {
    await destroyPool(paths);
  }

  async removeFile(path: string): Promise<void> {
    await rm(path, { force: true });
  }
}

/** Pools on these devices and in these folders, but for devices of these identities. */
export async function findPoolsIn(
  places: readonly string[],
  without: ReadonlySet<string> = new Set(),
): Promise<readonly FoundPool[]> {
  const used = usedDevices();
  const paths = places.flatMap(filesIn).filter((path) => {
    const identity = identityOf(path);
    return !without.has(identity) && !used.has(identity);
  });
  return await findPools(paths);
}

/** Stable names first: they are what a pool's devices are then called by. */
export function everyDevice(): readonly string[] {
  const names = listed('/sys/class/block').filter(
    (name) => !NO_DISKS.test(name) && sectorsOf(name) > 0,
  );
  return [BY_ID, ...names.map((name) => join('/dev', name))];
}

function filesIn(place: string): string[] {
  try {
    if (!statSync(place).isDirectory()) return [place];
    return listed(place)
      .map((name) => join(place, name))
      .filter((path) => !statSync(path, { throwIfNoEntry: false })?.isDirectory());
  } catch {
    return []; // Not there: whoever asked for it sees that nothing was found.
  }
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function sectorsOf(name: string): number {
  try {
    return Number(readFileSync(`/sys/class/block/${name}/size`, 'utf8'));
  } catch {
    return 0;
  }
}

function identityOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Mounted, swapped to, or with something on top. */
function usedDevices(): Set<string> {
  const used = new Set<string>();
  for (const book of ['/proc/self/mounts', '/proc/swaps']) {
    for (const line of readBook(book).split('\n')) {
      const [first = ''] = line.split(/\s/, 1);
      if (first.startsWith('/dev/')) used.add(identityOf(first));
    }
  }
  for (const name of listed('/sys/class/block')) {
    if (listed(`/sys/class/block/${name}/holders`).length > 0) used.add(`/dev/${name}`);
  }
  return used;
}

function readBook(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function obstacleOf(
  path: string,
  kind: 'Device' | 'File',
): Promise<ExaminedDevice['obstacle']> {
  try {
    const { name, id, exported, owner } = await probePool(path);
    const elsewhere = exported ? '' : `, which was not exported: ${lastUseOf(owner)}`;
    const message = `${path} carries the label of pool ${name} (${id})${elsewhere}: take it in with ashlar import pool ${name}, or --force destroys it`;
    return { message, forceable: true };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    switch (error.code) {
      case 'STORE_NOT_A_POOL':
        return signatureOf(path);
      case 'STORE_IN_USE':
        return { message: `${error.message}${holderOf(path)}`, forceable: false };
      case 'STORE_VERSION':
      case 'STORE_CORRUPT':
        return { message: `${error.message}; --force destroys it`, forceable: true };
      case 'STORE_TOO_SMALL':
        // A file is made anew, as large as it is asked for.
        return { message: error.message, forceable: kind === 'File' };
      default:
        return { message: error.message, forceable: false };
    }
  }
}

/** By whom, as far as the kernel's books say. */
function holderOf(path: string): string {
  const device = identityOf(path);
  const mount = readBook('/proc/self/mounts')
    .split('\n')
    .map((line) => line.split(' '))
    .find(([source = '']) => source.startsWith('/dev/') && identityOf(source) === device);
  if (mount !== undefined) return `. It is mounted at ${mount[1]}: umount ${mount[1]}`;
  const holders = listed(`/sys/class/block/${basename(device)}/holders`);
  return holders.length === 0 ? '' : `. On top of it: ${holders.join(', ')}`;
}

function signatureOf(path: string): ExaminedDevice['obstacle'] {
  const fd = openSync(path, 'r');
  try {
    const found = fstatSync(fd);
    const sizeBytes = found.isFile() ? found.size : sectorsOf(basename(identityOf(path))) * 512;
    const bytes = Math.min(SIGNATURE_BYTES, sizeBytes);
    const head = Buffer.alloc(bytes);
    const tail = Buffer.alloc(bytes);
    readSync(fd, head, 0, bytes, 0);
    readSync(fd, tail, 0, bytes, sizeBytes - bytes);
    const what = findSignature(head, tail, sizeBytes);
    if (what === null) return null;
    const message = `${path} holds ${what}; --force destroys it and makes a pool there`;
    return { message, forceable: true };
  } catch (error) {
    return {
      message: `${path} cannot be read: ${(error as Error).message}`,
      forceable: false,
    };
  } finally {
    closeSync(fd);
  }
}
