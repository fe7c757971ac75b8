// A volume on replicas as the target of a stream: its blocks are written as a host would, and the snapshot at the end is
// taken by its coordinator, under the name and the id that the stream tells.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Turn } from '../base/index.ts';
import { STORE_BLOCK_BYTES } from '../store/index.ts';
import { type StreamDescription, StreamError } from '../stream/index.ts';
import type { Volume } from '../volume/index.ts';
import { ApiError } from './errors.ts';
import type { ReplicatedHandle } from './replication.ts';
import { VolumeTarget } from './stream-ends.ts';

const LOOK_KEY = 'ashlar.look';
const MOST_TRIES = 100;
const PAUSE_MS = 50;

/**
 * Rejects with StreamError where the stream does not go on from what the volume holds: a whole one goes into one that
 * holds nothing, another one onto the snapshot that it was made from, unchanged. Hosts are kept away by the caller.
 */
export async function assertFits(
  name: string,
  handle: ReplicatedHandle,
  description: StreamDescription,
): Promise<void> {
  const { from } = description;
  const newest = handle.snapshots().at(-1);
  if (from === null) {
    if (newest !== undefined || !(await isEmpty(name, handle))) {
      throw mismatch(
        `volume "${name}" holds data, and this is a full stream: receive it under another name, or delete the volume`,
      );
    }
    return;
  }
  if (newest?.id !== from.id) {
    throw mismatch(
      `this stream holds what changed since ${from.name}, which is not the newest snapshot of volume "${name}"`,
    );
  }
  const sizeBlocks = handle.sizeBlocks();
  for (let lba = 0; lba < sizeBlocks; ) {
    const { runs, nextLba } = await handle.changedSince(newest.id, newest.id, lba, sizeBlocks);
    if (runs.length > 0) {
      throw mismatch(
        `volume "${name}" was changed since ${from.name}: a stream on top of that would mix the two`,
      );
    }
    if (nextLba <= lba) {
      throw mismatch(`whether volume "${name}" was changed since ${from.name} cannot be told now`);
    }
    lba = nextLba;
  }
}

/**
 * Whoever is asked by `assertFits` after that has applied all that hosts wrote before: R1, with a record every member in sync
 * has. Without it one that lags would be taken for what the volume holds. Hosts are kept away by the caller. The record
 * changes nothing: a mark that came before the look would be there after a crash, and be gone on from unlooked at.
 */
export async function applyAll(handle: ReplicatedHandle): Promise<void> {
  try {
    await handle.putBlob(LOOK_KEY, null);
  } catch (error) {
    throw new ApiError('Conflict', (error as Error).message, {}, { cause: error });
  }
}

async function isEmpty(name: string, handle: ReplicatedHandle): Promise<boolean> {
  const sizeBlocks = handle.sizeBlocks();
  let tries = 0;
  for (let lba = 0; lba < sizeBlocks; ) {
    const found = await handle.mappedFrom(lba);
    if (found?.isMapped === true) return false;
    if (found !== null && found.nextLba > lba) {
      lba = found.nextLba;
      continue;
    }
    // One that has just begun to be served has no leases yet.
    tries += 1;
    if (tries > MOST_TRIES)
      throw mismatch(`whether volume "${name}" holds data cannot be told now`);
    await sleep(PAUSE_MS);
  }
  return true;
}

export interface ReplicatedTargetOptions {
  readonly name: string;
  readonly handle: ReplicatedHandle;
  readonly volume: Volume;
  readonly turn: Turn;
  readonly description: StreamDescription;
  readonly keepMark: (lba: number) => Promise<void>;
  /** The snapshot is there. */
  readonly end: () => Promise<void>;
}

/** A partition table counts in logical blocks: under others it would mean something else. */
export function assertSameBlocks(
  name: string,
  { geometry }: Pick<Volume, 'geometry'>,
  { logicalBlockBytes }: StreamDescription,
): void {
  if (geometry.logicalBlockBytes === logicalBlockBytes) return;
  throw mismatch(
    `volume "${name}" has blocks of ${geometry.logicalBlockBytes} bytes, and the stream is of one with ${logicalBlockBytes}`,
  );
}

/** Grows the volume where the stream is larger. Rejects with StreamError where it counts in other blocks. */
export async function replicatedTarget(options: ReplicatedTargetOptions): Promise<VolumeTarget> {
  const { name, handle, volume, turn, description, keepMark, end } = options;
  assertSameBlocks(name, volume, description);
  const { blocks, logicalBlockBytes } = volume.geometry;
  const wantedBytes = description.sizeBlocks * STORE_BLOCK_BYTES;
  if (wantedBytes > blocks * logicalBlockBytes) await volume.resize(wantedBytes);
  const { snapshotId: id, snapshot, createdAt } = description;
  return new VolumeTarget({
    device: volume,
    name,
    turn,
    keepMark,
    losses: () => handle.losses(),
    finish: async () => {
      const createdMs = new Date(createdAt).getTime();
      await handle.takeSnapshot({ id, name: snapshot, createdMs });
      await end();
    },
  });
}

function mismatch(message: string): StreamError {
  return new StreamError('STREAM_MISMATCH', message);
}
