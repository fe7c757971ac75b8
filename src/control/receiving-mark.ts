// The mark of a volume that a stream is received into, kept with it: it says how far the stream has come.
import { IoStatus } from '../block/index.ts';
import type { Pool, StoreVolume } from '../store/types.ts';
import type { StreamDescription } from '../stream/index.ts';
import { ApiError } from './errors.ts';
import { storeFailure } from './volume-parts.ts';

const RECEIVING_KEY = 'control.receiving';

/** Of a volume that a stream is received into, kept with it: until the stream is whole, no host may log in. */
export interface Receiving {
  readonly snapshotId: string;
  readonly snapshot: string;
  /** Of an incremental stream. */
  readonly fromId: string | null;
  /** What it is called where the stream comes from; absent in marks that were made before this was kept. */
  readonly from?: string;
  /** All below is there, on stable storage. In 4 KiB blocks. */
  readonly lba: number;
}

/** Null: no stream is being received into it, or one was and is whole. */
export function receivingOf(store: StoreVolume): Receiving | null {
  const bytes = store.getBlob(RECEIVING_KEY);
  return bytes === null ? null : (JSON.parse(Buffer.from(bytes).toString()) as Receiving);
}

export async function putReceiving(store: StoreVolume, receiving: Receiving | null): Promise<void> {
  const value = receiving === null ? null : Buffer.from(JSON.stringify(receiving));
  const status = await new Promise<IoStatus>((resolve) => {
    store.putBlob(RECEIVING_KEY, value, resolve);
  });
  if (status === IoStatus.Ok) return;
  throw storeFailure(
    store.name,
    status === IoStatus.NoSpace ? 'STORE_NO_SPACE' : 'STORE_IO',
    `how far volume "${store.name}" was received could not be kept`,
  );
}

/** A stream goes on from its mark in what is there: nobody else may change or keep that until it is whole. */
export function refuseWhileReceiving(store: StoreVolume): void {
  const receiving = receivingOf(store);
  if (receiving === null) return;
  throw new ApiError(
    'Conflict',
    `volumes "${store.name}" is being received: the stream of snapshot ${receiving.snapshot} is not whole; finish that, or delete the volume`,
  );
}

/** What `ashlar send` is told to go on with the stream where it broke off. */
export function resumeFlags({ fromId, from, lba }: Receiving): string {
  return fromId === null ? `--resume ${lba}` : `--from ${from ?? fromId} --resume ${lba}`;
}

/** As it begins, or goes on from there. */
export function receivingFrom(
  { snapshotId, snapshot, from }: StreamDescription,
  lba: number,
): Receiving {
  const base = from === null ? { fromId: null } : { fromId: from.id, from: from.name };
  return { snapshotId, snapshot, ...base, lba };
}

/** A crash after the last step of a stream, the snapshot, and before this one. */
export async function finishReceiving(pool: Pool, store: StoreVolume): Promise<void> {
  const receiving = receivingOf(store);
  if (receiving === null) return;
  const { snapshotId } = receiving;
  const whole = pool.snapshots(store.name).some((one) => one.snapshotInfo().id === snapshotId);
  if (whole) await putReceiving(store, null);
}
