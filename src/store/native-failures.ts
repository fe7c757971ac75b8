// What the engine refuses, in the words of the API and the log.
import { IoStatus } from '../block/index.ts';
import { StoreError, type StoreErrorCode, type StoreSnapshot } from './types.ts';

/** Status of pool.h to what the API and the log say. */
export const CONTROL_FAILURES: Readonly<Record<number, readonly [StoreErrorCode, string]>> = {
  [IoStatus.OutOfRange]: ['STORE_INVALID', 'a range outside of the volume'],
  [IoStatus.NoSpace]: ['STORE_NO_SPACE', 'the pool has no space left; delete a volume or trim one'],
  [IoStatus.Damaged]: ['STORE_CORRUPT', 'damaged metadata; run a check of the pool'],
  [IoStatus.IoError]: ['STORE_FAULTED', 'the medium failed'],
  [IoStatus.Offline]: ['STORE_CLOSED', 'the pool is closed'],
  [IoStatus.ReadOnly]: ['STORE_INVALID', 'the pool is open for reading only'],
  [IoStatus.Busy]: ['STORE_IN_USE', 'busy; try again'],
  16: ['STORE_NOT_FOUND', 'no such volume'],
  17: ['STORE_EXISTS', 'the name or the id is taken'],
  20: ['STORE_CORRUPT', 'damaged metadata; run a check of the pool'],
  21: ['STORE_TOO_SMALL', 'the device is too small'],
  23: ['STORE_TOO_FEW_DEVICES', 'no other device of its vdev has all the data'],
  25: ['STORE_DIVERGED', 'it was used without the rest of the pool; wipe it and attach it anew'],
  18: ['STORE_INVALID', 'refused as invalid (a volume only ever grows)'],
  32: ['STORE_HAS_SNAPSHOTS', 'it has snapshots; delete them first, or with it'],
  33: ['STORE_HAS_CLONES', 'it has clones; delete or promote them first'],
  34: ['STORE_LATER_SNAPSHOTS', 'there are later snapshots; delete them first, or with it'],
};

/** The engine's refusal, with the names of what stands in the way. */
export function explained(
  error: unknown,
  name: string,
  snapshots: readonly StoreSnapshot[],
): unknown {
  if (!(error instanceof StoreError)) return error;
  const infos = snapshots.map((snapshot) => snapshot.snapshotInfo());
  if (error.code === 'STORE_HAS_CLONES') {
    const clones = infos.flatMap((info) => info.clones).join(', ');
    return new StoreError(
      error.code,
      `${name} has clones (${clones}); delete or promote them first`,
      { cause: error },
    );
  }
  if (error.code === 'STORE_LATER_SNAPSHOTS') {
    const names = infos.map((info) => info.name).join(', ');
    return new StoreError(error.code, `volume ${name} has later snapshots (${names})`, {
      cause: error,
    });
  }
  if (error.code === 'STORE_HAS_SNAPSHOTS') {
    return new StoreError(
      error.code,
      `volume ${name} has snapshots (${infos.map((info) => info.name).join(', ')}); delete them first, or with it`,
      { cause: error },
    );
  }
  return error;
}
