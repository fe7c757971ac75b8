// What the volume controller compares by, and how it says what went wrong.

import type { Pool, StoreVolume } from '../store/types.ts';
import { ApiError, type StatusCause } from './errors.ts';
import { GROUP, type Metadata } from './schemas.ts';
import type { WantedVolume } from './volume-manifest.ts';

/** Volumes of the pool that are replicas of somebody's, or beside those: no business of the volume controller. */
const REPLICA_PREFIXES = ['replica/', 'branch/'];

/** Names of volumes that are hosts' own: replicas are somebody else's. */
export function volumesIn(pool: Pool): string[] {
  return pool
    .volumes()
    .map(({ name }) => name)
    .filter((name) => REPLICA_PREFIXES.every((prefix) => !name.startsWith(prefix)));
}

/** Never reported as made, and never served: without a manifest of its own, and nothing was written to it. */
export function isHalfMade(store: StoreVolume, manifest: Uint8Array | null): boolean {
  const { mappedBlocks, origin, writtenBlocks } = store.info();
  if (origin !== null) return manifest === null && writtenBlocks === 0;
  return manifest === null && mappedBlocks === 0;
}

export function busy(name: string, initiators: readonly string[]): ApiError {
  const causes: StatusCause[] = [...new Set(initiators)].map((initiator) => ({
    reason: 'Busy',
    field: 'status.initiators',
    message: `${initiator} is logged in`,
  }));
  const who = causes.map((cause) => cause.message).join('; ');
  return new ApiError(
    'Conflict',
    `volumes "${name}" is in use: ${who}. Log out there first (iscsiadm -m node -T … --logout), or force it`,
    { name, group: GROUP, kind: 'volumes', causes },
  );
}

export function hasSnapshots(name: string, snapshots: readonly string[]): ApiError {
  const shown = snapshots.length > 8 ? [...snapshots.slice(0, 8), '…'] : snapshots;
  const message = `volumes "${name}" has ${snapshots.length} snapshots: ${shown.join(', ')}. Delete them first (ashlar delete snapshot ${snapshots[0]})`;
  const causes: StatusCause[] = [{ reason: 'Busy', field: 'metadata.name', message }];
  return new ApiError('Conflict', message, { name, group: GROUP, kind: 'volumes', causes });
}

export function storeFailure(
  name: string,
  code: string,
  message: string,
  cause?: Error,
  plural = 'volumes',
): ApiError {
  const details = { name, group: GROUP, kind: plural };
  const options = cause === undefined ? {} : { cause };
  switch (code) {
    case 'STORE_NO_SPACE':
      return new ApiError('InsufficientStorage', message, details, options);
    case 'STORE_EXISTS':
      return new ApiError('AlreadyExists', message, details, options);
    case 'STORE_NOT_FOUND':
      return new ApiError('NotFound', message, details, options);
    case 'STORE_INVALID':
    case 'STORE_UNSUPPORTED':
    case 'STORE_TOO_SMALL':
    case 'STORE_FOREIGN_SIGNATURE':
    case 'STORE_FOREIGN_DEVICE':
    case 'STORE_NOT_A_POOL':
      return new ApiError('Invalid', message, details, options);
    case 'STORE_HAS_SNAPSHOTS':
    case 'STORE_HAS_CLONES':
    case 'STORE_LATER_SNAPSHOTS':
    case 'STORE_IN_USE':
    case 'STORE_TOO_FEW_DEVICES':
    case 'STORE_DIVERGED':
    case 'STORE_OWNED':
      return new ApiError(
        'Conflict',
        message,
        // With a cause: it is no race, and trying again does not help.
        { ...details, causes: [{ reason: 'Busy', field: 'status', message }] },
        options,
      );
    case 'STORE_FAULTED':
    case 'STORE_CLOSED':
    case 'STORE_IO':
      return new ApiError('ServiceUnavailable', message, details, options);
    default:
      return new ApiError('InternalError', message, details, options);
  }
}

export function sameSpec(
  a: Omit<WantedVolume, 'metadata'>,
  b: Omit<WantedVolume, 'metadata'>,
): boolean {
  const parts = (wanted: Omit<WantedVolume, 'metadata'>): string =>
    JSON.stringify([
      wanted.size,
      wanted.blockSize,
      wanted.writeCache,
      wanted.initiators,
      wanted.chap,
      wanted.mutualChap,
      wanted.limits,
      wanted.cacheSize ?? null,
      wanted.ioWorkers ?? null,
      wanted.replicas,
      wanted.snapshots ?? null,
    ]);
  return parts(a) === parts(b);
}

export function sameMetadata(a: Metadata, b: Metadata): boolean {
  const parts = (metadata: Metadata): string =>
    JSON.stringify([
      Object.entries(metadata.labels ?? {}).sort(),
      Object.entries(metadata.annotations ?? {}).sort(),
      metadata.finalizers ?? [],
      metadata.ownerReferences ?? [],
      metadata.deletionTimestamp ?? '',
    ]);
  return parts(a) === parts(b);
}
