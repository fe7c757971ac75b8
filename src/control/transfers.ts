// Streams and backups of this node's volumes. A volume that a stream is received into is not exported until the stream
// is whole: what a host would see before is neither the old state nor the new.
import {
  BackupError,
  type BackupManifest,
  type BackupStore,
  listBackups,
  makeBackup,
  readBackup,
  restoreChain,
} from '../backup/index.ts';
import type { Log } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import { nativeStreamReader, nativeStreamWriter, StoreError } from '../store/index.ts';
import {
  type Received,
  type ResumePoint,
  receiveStream,
  type StreamDescription,
  StreamError,
  type StreamSource,
  type StreamTarget,
  sendStream,
} from '../stream/index.ts';
import { ApiError } from './errors.ts';
import type { Receiving } from './receiving-mark.ts';

/** Where a new volume's copies go: `host:port` of replica services; none: it is in the pool of who receives it. */
export interface ReceivePlace {
  readonly replicaNodes: readonly string[];
  readonly witnessNode: string | null;
}

export const NO_PLACE: ReceivePlace = { replicaNodes: [], witnessNode: null };

/** What streams begin and end at. All throw or reject with ApiError, StreamError or StoreError. */
export interface TransferEnds {
  source(request: SendRequest): StreamSource;
  /** The stream that is being received into the volume, or was until it broke off; null: none. */
  receiving(name: string): Receiving | null;
  /** Whether the volume is there and has that snapshot. */
  has(name: string, snapshotId: string): Promise<boolean>;
  /** Finds or makes the volume that a stream is for, and takes it away from hosts. */
  target(
    name: string,
    description: StreamDescription,
    fromLba: number,
    place: ReceivePlace,
  ): Promise<StreamTarget>;
}

export interface TransfersOptions {
  readonly ends: TransferEnds;
  readonly buffers: DataBufferPool;
  readonly log: Log;
  readonly now: () => Date;
}

export interface SendRequest {
  /** `volume@name`. */
  readonly snapshot: string;
  /** An earlier one of the same volume, by its short name. */
  readonly from: string | null;
  readonly resumeLba: number;
}

export class Transfers {
  readonly #options: TransfersOptions;

  constructor(options: TransfersOptions) {
    this.#options = options;
  }

  /** Throws ApiError where there is no such snapshot, or `from` is none of the same volume before it. */
  send(request: SendRequest): { description: StreamDescription; pieces: AsyncIterable<Buffer> } {
    const { buffers, ends } = this.#options;
    const source = ends.source(request);
    if (request.resumeLba > source.description.sizeBlocks) {
      throw refuse(`${request.snapshot} has ${source.description.sizeBlocks} blocks`);
    }
    const { resumeLba } = request;
    const options = { source, writer: nativeStreamWriter(), buffers, fromLba: resumeLba };
    return { description: source.description, pieces: sendStream(options) };
  }

  /** Where an interrupted stream into the volume goes on; null: nothing is being received. */
  resumePoint(name: string): ResumePoint | null {
    const receiving = this.#options.ends.receiving(name);
    if (receiving === null) return null;
    const { snapshotId, fromId, from = fromId, lba } = receiving;
    return { snapshotId, fromId, from, lba };
  }

  /** Rejects with ApiError, StreamError or StoreError; what came up to the last mark is kept, and can be gone on with. */
  async receive(
    name: string,
    pieces: AsyncIterable<Uint8Array>,
    place: ReceivePlace = NO_PLACE,
  ): Promise<Received> {
    const { buffers, log, ends } = this.#options;
    const received = await receiveStream({
      pieces,
      reader: nativeStreamReader(),
      buffers,
      open: (description, fromLba) => ends.target(name, description, fromLba, place),
    });
    const { dataBlocks, description } = received;
    log.info({ volume: name, snapshot: description.snapshot, dataBlocks }, 'a stream was received');
    return received;
  }

  async backUp(
    request: SendRequest,
    store: BackupStore,
    onProgress: (streamBytes: number) => void,
  ): Promise<BackupManifest> {
    const { now } = this.#options;
    const { description, pieces } = this.send(request);
    if (description.from !== null) {
      const { id, name } = description.from;
      const base = (await listBackups(store, description.volume)).some(
        (one) => one.snapshotId === id,
      );
      if (!base) {
        throw new BackupError(
          'BACKUP_CHAIN',
          `${store.place} has no backup of ${description.volume}@${name} for this one to stand on`,
        );
      }
    }
    return await makeBackup({ store, description, pieces, now, onProgress });
  }

  /** Makes the volume `name` of the backup of `snapshot` of `volume`, and of those that it stands on. */
  async restore(
    name: string,
    store: BackupStore,
    source: { readonly volume: string; readonly snapshot: string },
    onProgress: (snapshot: string) => void,
    place: ReceivePlace = NO_PLACE,
  ): Promise<void> {
    const chain = await restoreChain(store, source.volume, source.snapshot);
    for (const manifest of chain) {
      // After an interrupted restore: what is whole already is not asked for again.
      if (await this.#options.ends.has(name, manifest.snapshotId)) continue;
      onProgress(manifest.snapshot);
      await this.receive(name, readBackup(store, manifest), place);
    }
  }
}

function refuse(message: string): ApiError {
  return new ApiError('BadRequest', message);
}

/** What the API answers for a failed transfer. */
export function transferFailure(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof StreamError) {
    const reason = error.code === 'STREAM_MISMATCH' ? 'Conflict' : 'BadRequest';
    return new ApiError(reason, message, {}, { cause: error });
  }
  if (error instanceof BackupError) {
    const reason =
      error.code === 'BACKUP_NOT_FOUND'
        ? 'NotFound'
        : error.code === 'BACKUP_PLACE'
          ? 'BadRequest'
          : 'Conflict';
    return new ApiError(reason, message, {}, { cause: error });
  }
  if (error instanceof StoreError) return new ApiError('Conflict', message, {}, { cause: error });
  return new ApiError('InternalError', message, {}, { cause: error });
}
