// Making, opening and checking pools of the native engine.
import { randomBytes } from 'node:crypto';
import type { Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import { MIN_POOL_BYTES } from './limits.ts';
import {
  asStoreError,
  type CheckReport,
  currentArena,
  type MediumBackend,
  native,
} from './native.ts';
import { NativePool } from './native-pool.ts';
import { StoreError } from './types.ts';

/** What a pool's mappings may take of memory unless configured otherwise. */
export const DEFAULT_CACHE_BYTES = 256 * 1024 * 1024;

export interface CreatePoolOptions {
  /** A file to be made, or a raw block device. */
  readonly path: string;
  /** Of a file; a block device has its own size. A multiple of 4096. */
  readonly sizeBytes?: number;
  /** The file takes space as it is written, and may find none: S11 wants this asked for. */
  readonly sparse?: boolean;
  /** Overwrites what is there. Never what is in use. */
  readonly force?: boolean;
  readonly name: string;
}

/** Makes an empty pool. A file appears under its name only once it is complete. Rejects with StoreError. */
export async function createPoolFile(options: CreatePoolOptions): Promise<void> {
  const { path, sizeBytes = 0, sparse = false, force = false, name } = options;
  if (sizeBytes !== 0 && (sizeBytes < MIN_POOL_BYTES || sizeBytes % 4096 !== 0)) {
    throw new StoreError(
      sizeBytes < MIN_POOL_BYTES ? 'STORE_TOO_SMALL' : 'STORE_INVALID',
      `${path}: the size of a pool is a multiple of 4096 bytes and at least ${MIN_POOL_BYTES}, not ${sizeBytes}`,
    );
  }
  if (Buffer.byteLength(name) > 63) {
    throw new StoreError('STORE_INVALID', `a pool's name has at most 63 bytes: ${name}`);
  }
  try {
    const storeId = randomUuidBytes();
    await native().createPool({ path, sizeBytes, sparse, force, name, storeId });
  } catch (error) {
    throw asStoreError(error);
  }
}

export interface OpenPoolOptions {
  readonly path: string;
  /** For map and space pages: the bound on mapping memory. */
  readonly cacheBytes?: number;
  readonly turn: Turn;
  /** Over `nativeArena(…)`: the engine reads and writes these buffers in place. */
  readonly buffers: DataBufferPool;
  readonly backend?: MediumBackend;
}

/** Opens a pool, recovering what its log holds. It is ours alone until closed. Rejects with StoreError. */
export async function openPool(options: OpenPoolOptions): Promise<NativePool> {
  const { path, cacheBytes = DEFAULT_CACHE_BYTES, turn, buffers, backend = 'auto' } = options;
  if (buffers.arena !== currentArena()) {
    throw new StoreError('STORE_INVALID', 'the data buffers of a native pool are in nativeArena()');
  }
  try {
    const openId = randomUuidBytes(); // E7: fresh at every opening.
    const handle = await native().openPool({ path, cacheBytes, openId, readOnly: false, backend });
    return new NativePool(handle, path, turn);
  } catch (error) {
    throw asStoreError(error);
  }
}

/** Walks a pool that is not open (S15). What it finds is in the report; rejects only if it cannot walk. */
export async function checkPool(
  path: string,
  options: { withData?: boolean } = {},
): Promise<CheckReport> {
  try {
    return await native().checkPool({ path, withData: options.withData ?? true });
  } catch (error) {
    throw asStoreError(error);
  }
}

/** Whose pool is there? Rejects with STORE_NOT_A_POOL if nobody's. */
export async function probePool(path: string): Promise<{ id: string; name: string }> {
  try {
    const { id, name } = await native().probePool({ path });
    return { id: uuidText(id), name };
  } catch (error) {
    throw asStoreError(error);
  }
}

/** RFC 9562 §5.4: version 4, random. */
function randomUuidBytes(): Uint8Array {
  const bytes = Uint8Array.from(randomBytes(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}

function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
