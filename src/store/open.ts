// Making, opening and checking pools of the native engine.
import { randomBytes } from 'node:crypto';
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { formatBytes, type Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import { MIN_POOL_BYTES } from './limits.ts';
import { CacheIdentity, markPlaces } from './lost-cache.ts';
import {
  asStoreError,
  type CheckReport,
  currentArena,
  type MediumBackend,
  native,
} from './native.ts';
import { NativePool } from './native-pool.ts';
import { type LastOwner, type PoolOwner, thisMachine } from './pool-owner.ts';
import { type Pool, StoreError } from './types.ts';
import { uuidText, uuidToBytes } from './uuid.ts';

/** What a pool's mappings may take of memory unless configured otherwise. */
export const DEFAULT_CACHE_BYTES = 256 * 1024 * 1024;

export interface CreatePoolOptions {
  /** A file to be made, or a raw block device: the whole pool. Or else `vdevs`. */
  readonly path?: string;
  /**
   * The devices: data is spread over the vdevs; a vdev of two or three devices is a mirror. `[['a', 'b'], ['c', 'd']]` is
   * a stripe of two mirrors.
   */
  readonly vdevs?: readonly (readonly string[])[];
  /** The device, or the mirror, that takes the intent log; else it lies on the first vdev. */
  readonly log?: readonly string[];
  /** Of a file; a block device has its own size. A multiple of 4096. */
  readonly sizeBytes?: number;
  /** The file takes space as it is written, and may find none: S11 wants this asked for. */
  readonly sparse?: boolean;
  /** Overwrites what is there. Never what is in use. */
  readonly force?: boolean;
  readonly name: string;
  /** Lower-case UUID; left out: a random one. */
  readonly id?: string;
  /** N3: writes that grow end once so many percent of the pool are in use. */
  readonly growthLimitPercent?: number;
}

/** Of a pool, where nothing else is configured. */
export const DEFAULT_GROWTH_LIMIT_PERCENT = 85;

export type PoolLayout = 'stripe' | 'mirror';

/**
 * Devices in the order given, as vdevs: a stripe of single ones, or of mirrors of `sides`. Throws STORE_INVALID where
 * they do not come out even.
 */
export function layOut(
  layout: PoolLayout,
  devices: readonly string[],
  sides = 2,
): readonly (readonly string[])[] {
  const each = layout === 'stripe' ? 1 : sides;
  if (devices.length === 0 || devices.length % each !== 0 || each > 3 || each < 1) {
    throw new StoreError(
      'STORE_INVALID',
      layout === 'stripe'
        ? 'a stripe needs at least one device'
        : `a mirror has 2 or 3 sides: ${devices.length} devices do not make mirrors of ${sides}`,
    );
  }
  if (new Set(devices).size !== devices.length) {
    throw new StoreError('STORE_INVALID', 'a device is named twice');
  }
  const vdevs: string[][] = [];
  for (let at = 0; at < devices.length; at += each) vdevs.push(devices.slice(at, at + each));
  return vdevs;
}

/** Makes an empty pool. A file appears under its name only once it is complete. Rejects with StoreError. */
export async function createPoolFile(options: CreatePoolOptions): Promise<void> {
  const { path, log = [], sizeBytes = 0, sparse = false, force = false, name } = options;
  const data = options.vdevs ?? (path === undefined ? [] : [[path]]);
  const { growthLimitPercent = DEFAULT_GROWTH_LIMIT_PERCENT } = options;
  if (sizeBytes !== 0 && (sizeBytes < MIN_POOL_BYTES || sizeBytes % 4096 !== 0)) {
    throw new StoreError(
      sizeBytes < MIN_POOL_BYTES ? 'STORE_TOO_SMALL' : 'STORE_INVALID',
      `${data.flat().join(', ')}: the size of a device is a multiple of 4096 bytes and at least ${MIN_POOL_BYTES}, not ${sizeBytes}`,
    );
  }
  if (Buffer.byteLength(name) > 63) {
    throw new StoreError('STORE_INVALID', `a pool's name has at most 63 bytes: ${name}`);
  }
  if (data.length === 0 || data.some((sides) => sides.length < 1 || sides.length > 3)) {
    throw new StoreError('STORE_INVALID', 'a pool has vdevs of 1 to 3 devices each');
  }
  if (growthLimitPercent < 1 || growthLimitPercent > 100) {
    throw new StoreError('STORE_INVALID', `a limit is 1 to 100 percent, not ${growthLimitPercent}`);
  }
  try {
    const storeId = options.id === undefined ? randomUuidBytes() : uuidToBytes(options.id);
    const medium = { sizeBytes, sparse, force };
    await native().createPool({ data, log, ...medium, name, storeId, growthLimitPercent });
  } catch (error) {
    throw asStoreError(error);
  }
}

export interface OpenPoolOptions {
  /** The pool's one device. Or else `paths`: all that there are, in any order. */
  readonly path?: string;
  readonly paths?: readonly string[];
  /** For map and space pages: the bound on mapping memory. */
  readonly cacheBytes?: number;
  readonly turn: Turn;
  /** Who opens it; left out: this machine. Null: nobody that could be known again. */
  readonly owner?: PoolOwner | null;
  /** Nothing is written, whoever's it is: changes are refused. For what cannot be opened otherwise. */
  readonly readOnly?: boolean;
  /** Also a pool that another machine used last and did not export: that one has stopped for good. */
  readonly takeOver?: boolean;
  /** Looks at what the pool holds before anything is written to it. What it throws refuses the pool, which is as it was. */
  readonly accept?: (pool: Pool) => void;
  /** Whether another machine has taken the pool over is looked up so often, while there are writes. 0: never. */
  readonly ownerLookMs?: number;
  /** Over `nativeArena(…)`: the engine reads and writes these buffers in place. */
  readonly buffers: DataBufferPool;
  readonly backend?: MediumBackend;
  /** Of scrub, resilver and rebalance; 0: as fast as it goes. */
  readonly walkBytesPerSecond?: number;
  /** After so long without a change there is a checkpoint; 0: none. */
  readonly idleCheckpointMs?: number;
}

/** Long enough to be no burden on a pool in use, short enough to be over before anybody restarts a quiet one. */
export const DEFAULT_IDLE_CHECKPOINT_MS = 30_000;

/** What scrub and resilver take of the devices unless configured otherwise: an hour or so for a terabyte. */
export const DEFAULT_WALK_BYTES_PER_SECOND = 256 * 1024 * 1024;

/** A machine that runs on although its pool was taken over writes to it for so long at most. */
const OWNER_LOOK_MS = 1000;
/** So long is waited for it before what it wrote is read: some looks, and what is on its way to the devices. */
const SETTLE_MS = 3 * OWNER_LOOK_MS;

const NOBODY = new Uint8Array(16);

/**
 * Opens a pool, recovering what its log holds. It is ours alone until closed. Rejects with StoreError; with STORE_OWNED
 * where it is another machine's.
 */
export async function openPool(options: OpenPoolOptions): Promise<NativePool> {
  const { cacheBytes = DEFAULT_CACHE_BYTES, turn, buffers, backend = 'auto' } = options;
  const { walkBytesPerSecond = DEFAULT_WALK_BYTES_PER_SECOND } = options;
  const paths = options.paths ?? (options.path === undefined ? [] : [options.path]);
  if (buffers.arena !== currentArena()) {
    throw new StoreError('STORE_INVALID', 'the data buffers of a native pool are in nativeArena()');
  }
  const memoryBytes = memoryOfMachine();
  if (cacheBytes > Math.max(memoryBytes, DEFAULT_CACHE_BYTES)) {
    throw new StoreError(
      'STORE_INVALID',
      `a cache of ${formatBytes(cacheBytes)} for mappings is more than the ${formatBytes(memoryBytes)} of memory that there are: the machine would kill this process when it fills. Set it lower (pool.cache of the configuration, cacheBytes of a Pool)`,
    );
  }
  const { owner = thisMachine(), takeOver = false, readOnly = false, accept } = options;
  if (!readOnly && (takeOver || accept !== undefined)) await rehearse(options);
  try {
    const openId = randomUuidBytes(); // E7: fresh at every opening.
    const whose = {
      owner: owner === null ? NOBODY : uuidToBytes(owner.id),
      ownerName: owner?.name ?? '',
      formerOwner: owner?.formerId === undefined ? NOBODY : uuidToBytes(owner.formerId),
      takeOver,
      settleMs: SETTLE_MS,
      lookMs: options.ownerLookMs ?? OWNER_LOOK_MS,
    };
    const how = { cacheBytes, openId, readOnly, backend, walkBytesPerSecond };
    const handle = await native().openPool({ paths, ...how, ...whose });
    const pool = new NativePool(handle, paths[0] ?? '', turn);
    if (readOnly) return pool;
    const cache = new CacheIdentity(markPlaces(pool.id, paths[0] ?? ''));
    // S6: acknowledged entries are missing from the log. S9: a flush may have lost what came before it.
    if (pool.stats().droppedEntries > 0) cache.lost();
    pool.bootId = cache.id;
    pool.onFault(() => cache.lost());
    pool.checkpointWhenIdle(options.idleCheckpointMs ?? DEFAULT_IDLE_CHECKPOINT_MS);
    return pool;
  } catch (error) {
    throw asStoreError(error);
  }
}

/** Opens it without writing: what fails only then would leave labels that name this machine, and a pool that it has not. */
async function rehearse({ accept, takeOver: _, ...options }: OpenPoolOptions): Promise<void> {
  const pool = await openPool({ ...options, owner: null, readOnly: true });
  try {
    accept?.(pool);
  } finally {
    await pool.close();
  }
}

/** Walks a pool that is not open (S15). What it finds is in the report; rejects only if it cannot walk. */
export async function checkPool(
  paths: string | readonly string[],
  options: { withData?: boolean } = {},
): Promise<CheckReport> {
  try {
    const all = typeof paths === 'string' ? [paths] : paths;
    return await native().checkPool({ paths: all, withData: options.withData ?? true });
  } catch (error) {
    throw asStoreError(error);
  }
}

/** What a device's label says. */
export interface PoolProbe {
  readonly id: string;
  readonly name: string;
  readonly deviceId: string;
  /** Of the whole pool. */
  readonly devices: number;
  /** Closed cleanly, to be opened elsewhere. */
  readonly exported: boolean;
  /** Of the newest label. */
  readonly sequence: number;
  /** Left out: nobody, or nobody that is known. */
  readonly owner?: LastOwner;
}

/** Whose pool is there? Rejects with STORE_NOT_A_POOL if nobody's. */
export async function probePool(path: string): Promise<PoolProbe> {
  try {
    const probe = await native().probePool({ path });
    const { id, name, deviceId, devices, sequence, exported } = probe;
    const { owner, ownerName, ownedSinceS } = probe;
    const since = new Date(ownedSinceS * 1000);
    return {
      id: uuidText(id),
      name,
      deviceId: uuidText(deviceId),
      devices,
      exported,
      sequence,
      ...(owner.some((byte) => byte !== 0) &&
        !Number.isNaN(since.getTime()) && {
          owner: { id: uuidText(owner), name: ownerName, since },
        }),
    };
  } catch (error) {
    throw asStoreError(error);
  }
}

export interface FoundPool extends PoolProbe {
  readonly paths: readonly string[];
  /** Whom labels of other devices name that are older: a take-over that a crash cut short, a device that was away. */
  readonly otherOwners?: readonly LastOwner[];
}

/**
 * The pools on these devices, or in these folders (/dev/disk/by-id): each with the paths of its devices that are here.
 * What carries no label, or cannot be looked at, is passed over. A device with several names counts once.
 */
export async function findPools(places: readonly string[]): Promise<readonly FoundPool[]> {
  const found = new Map<string, FoundPool>();
  const seen = new Set<string>();
  for (const path of places.flatMap(filesOf)) {
    try {
      const real = realpathSync(path);
      if (seen.has(real)) continue;
      seen.add(real);
      const probe = await probePool(path);
      const known = found.get(probe.id);
      found.set(probe.id, withProbe(known, probe, path));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
    }
  }
  return [...found.values()];
}

/**
 * `known`: what other devices said of that pool. It was exported when all say so: one alone may have been away since. Whose
 * it is the newest label says, as it does to whoever opens the pool; who is named elsewhere is told as well.
 */
export function withProbe(known: FoundPool | undefined, probe: PoolProbe, path: string): FoundPool {
  if (known === undefined) return { ...probe, paths: [path] };
  const { otherOwners = [], owner: _, ...rest } = known;
  const [newest, older] = probe.sequence > known.sequence ? [probe, known] : [known, probe];
  const { owner, sequence } = newest;
  const others = [...otherOwners, ...(older.owner === undefined ? [] : [older.owner])].filter(
    ({ id }, at, all) => id !== owner?.id && all.findIndex((one) => one.id === id) === at,
  );
  return {
    ...rest,
    sequence,
    exported: known.exported && probe.exported,
    paths: [...known.paths, path],
    ...(owner !== undefined && { owner }),
    ...(others.length > 0 && { otherOwners: others }),
  };
}

function filesOf(place: string): readonly string[] {
  try {
    if (!statSync(place).isDirectory()) return [place];
    return readdirSync(place)
      .sort()
      .map((name) => join(place, name));
  } catch {
    return [place]; // Whoever opens it says why it cannot.
  }
}

/** Wipes the labels of a pool that is not open: its devices are nobody's then. Rejects with StoreError. */
export async function destroyPool(paths: readonly string[]): Promise<void> {
  try {
    await native().destroyPool({ paths });
  } catch (error) {
    throw asStoreError(error);
  }
}

/** Of a container, what it is allowed. */
function memoryOfMachine(): number {
  const allowed = process.constrainedMemory();
  return allowed > 0 ? Math.min(allowed, totalmem()) : totalmem();
}

/** RFC 9562 §5.4: version 4, random. */
function randomUuidBytes(): Uint8Array {
  const bytes = Uint8Array.from(randomBytes(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}
