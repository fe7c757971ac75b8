// Bounds of the store, equal to the engine's.
import { assert } from '../base/index.ts';
import { StoreError } from './types.ts';

/** Of one blob; reservations and settings fit many times over. */
export const MAX_BLOB_BYTES = 64 * 1024;
/** Blobs of one volume, and of the pool. */
export const MAX_BLOBS = 4096;
/** Of a blob's key, in bytes of UTF-8. */
export const MAX_BLOB_KEY_BYTES = 63;
/** Of a volume's name, in bytes of UTF-8. */
export const MAX_VOLUME_NAME_BYTES = 255;
/** Blocks of one read or write: 4 MiB, the largest data buffer. */
export const MAX_OP_BLOCKS = 1024;
/** Blocks of one write that a crash leaves whole or undone: what one log entry can name. */
export const MAX_ATOMIC_BLOCKS = 256;
/** Runs of one answer of `changedSince`. */
export const MAX_CHANGED_RUNS = 65_536;
/** E1: an epoch has 24 bits, an op number 40. */
export const MAX_EPOCH = 2 ** 24 - 1;
export const MAX_OP_NUMBER = 2 ** 40 - 1;
/** What holds the superblocks, the log and anything worth having beside them. */
export const MIN_POOL_BYTES = 16 * 1024 * 1024;

/** Throws STORE_INVALID for what no volume can be called. */
export function checkVolumeName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_VOLUME_NAME_BYTES) {
    throw new StoreError(
      'STORE_INVALID',
      `a volume's name has 1 to ${MAX_VOLUME_NAME_BYTES} bytes, not ${bytes}`,
    );
  }
  if (name.includes('@')) {
    throw new StoreError(
      'STORE_INVALID',
      `a volume's name has no "@", which begins a snapshot's: ${name}`,
    );
  }
}

/** Throws STORE_INVALID for what no snapshot can be called. `name` is the part after the "@". */
export function checkSnapshotName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_VOLUME_NAME_BYTES || name.includes('@')) {
    throw new StoreError(
      'STORE_INVALID',
      `a snapshot's name has 1 to ${MAX_VOLUME_NAME_BYTES} bytes and no "@": ${JSON.stringify(name)}`,
    );
  }
}

/** `volume@name` in its two parts; throws STORE_INVALID for anything else. */
export function splitSnapshotName(fullName: string): { volume: string; name: string } {
  const at = fullName.lastIndexOf('@');
  if (at <= 0 || at === fullName.length - 1) {
    throw new StoreError(
      'STORE_INVALID',
      `a snapshot is named volume@name, not ${JSON.stringify(fullName)}`,
    );
  }
  return { volume: fullName.slice(0, at), name: fullName.slice(at + 1) };
}

/** Throws STORE_INVALID for what no volume can have. */
export function checkVolumeSize(sizeBlocks: number): void {
  if (!Number.isSafeInteger(sizeBlocks) || sizeBlocks <= 0) {
    throw new StoreError('STORE_INVALID', `a volume has at least one block, not ${sizeBlocks}`);
  }
}

export function checkBlob(key: string, value: Uint8Array | null): void {
  const keyBytes = Buffer.byteLength(key);
  assert(keyBytes > 0 && keyBytes <= MAX_BLOB_KEY_BYTES);
  assert(value === null || value.length <= MAX_BLOB_BYTES);
}
