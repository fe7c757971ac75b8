// Streams and backups of this node's volumes. A volume that a stream is received into is not exported until the stream
// is whole: what a host would see before is neither the old state nor the new.
import { randomUUID } from 'node:crypto';
import {
  BackupError,
  type BackupManifest,
  type BackupStore,
  listBackups,
  makeBackup,
  readBackup,
  restoreChain,
} from '../backup/index.ts';
import { formatQuantity, type Log } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import {
  nativeStreamReader,
  nativeStreamWriter,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreSnapshot,
} from '../store/index.ts';
import {
  type Received,
  type ResumePoint,
  receiveStream,
  type StreamDescription,
  StreamError,
  type StreamSource,
  sendStream,
} from '../stream/index.ts';
import { ApiError, notFound } from './errors.ts';
import type { Receiving } from './receiving-mark.ts';
import { SnapshotSource, VolumeTarget } from './stream-ends.ts';
import type { VolumeController } from './volume-controller.ts';

export interface TransfersOptions {
  readonly controller: VolumeController;
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
    const { controller } = this.#options;
    const onReplicas = controller.snapshots.source(request.snapshot, request.from);
    if (onReplicas !== null) return this.#send(onReplicas, request);
    const snapshot = this.#snapshot(request.snapshot);
    const { volume } = snapshot.snapshotInfo();
    const from = request.from === null ? null : this.#snapshot(`${volume}@${request.from}`);
    if (from !== null) {
      const all = controller
        .poolOf(volume)
        .snapshots(volume)
        .map(({ name }) => name);
      if (all.indexOf(from.name) >= all.indexOf(snapshot.name)) {
        throw refuse(`${from.name} is not older than ${snapshot.name}`);
      }
    }
    const blockSize = controller.receiving.blockSize(volume);
    return this.#send(new SnapshotSource(snapshot, from, blockSize), request);
  }

  #send(
    source: StreamSource,
    request: SendRequest,
  ): { description: StreamDescription; pieces: AsyncIterable<Buffer> } {
    const { buffers } = this.#options;
    if (request.resumeLba > source.description.sizeBlocks) {
      throw refuse(`${request.snapshot} has ${source.description.sizeBlocks} blocks`);
    }
    const { resumeLba } = request;
    const options = { source, writer: nativeStreamWriter(), buffers, fromLba: resumeLba };
    return { description: source.description, pieces: sendStream(options) };
  }

  /** Where an interrupted stream into the volume goes on; null: nothing is being received. */
  resumePoint(name: string): ResumePoint | null {
    const receiving = this.#options.controller.receiving.of(name);
    if (receiving === null) return null;
    const { snapshotId, fromId, lba } = receiving;
    return { snapshotId, fromId, lba };
  }

  /** Rejects with ApiError, StreamError or StoreError; what came up to the last mark is kept, and can be gone on with. */
  async receive(name: string, pieces: AsyncIterable<Uint8Array>): Promise<Received> {
    const { buffers, log } = this.#options;
    const received = await receiveStream({
      pieces,
      reader: nativeStreamReader(),
      buffers,
      open: (description, fromLba) => this.#open(name, description, fromLba),
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
  ): Promise<void> {
    const chain = await restoreChain(store, source.volume, source.snapshot);
    for (const manifest of chain) {
      // After an interrupted restore: what is whole already is not asked for again.
      if (this.#has(name, manifest.snapshotId)) continue;
      onProgress(manifest.snapshot);
      await this.receive(name, readBackup(store, manifest));
    }
  }

  #snapshot(fullName: string): StoreSnapshot {
    const pool = this.#options.controller.poolOf(fullName.split('@')[0]!);
    const snapshot = pool.snapshot(fullName);
    if (snapshot === null) throw notFound('snapshots', fullName);
    return snapshot;
  }

  #has(volume: string, snapshotId: string): boolean {
    const pool = this.#options.controller.poolOf(volume);
    if (pool.volume(volume) === null) return false;
    return pool.snapshots(volume).some((one) => one.snapshotInfo().id === snapshotId);
  }

  async #open(
    name: string,
    description: StreamDescription,
    fromLba: number,
  ): Promise<VolumeTarget> {
    const { controller } = this.#options;
    const { snapshotId, snapshot } = description;
    const fromId = description.from?.id ?? null;
    const before = controller.find(name) === null ? null : controller.receiving.of(name);
    if (fromLba > 0) this.#assertContinues(name, before, description, fromLba);
    const receiving: Receiving = { snapshotId, snapshot, fromId, lba: fromLba };
    if (before !== null && before.snapshotId !== snapshotId) {
      throw new StreamError(
        'STREAM_MISMATCH',
        `volume "${name}" is in the middle of receiving ${before.snapshot}; finish that, or delete the volume`,
      );
    }
    if (before === null && fromId === null) {
      await this.#makeVolume(name, description, receiving);
    } else if (before === null) {
      // Before hosts lose the volume for nothing; and again when they have.
      this.#assertUnchangedSince(name, description);
      await controller.receiving.begin(name, receiving, () =>
        this.#assertUnchangedSince(name, description),
      );
    }
    const volume = controller.receiving.volume(name);
    const wantedBytes = description.sizeBlocks * STORE_BLOCK_BYTES;
    const { blocks, logicalBlockBytes } = volume.geometry;
    if (wantedBytes > blocks * logicalBlockBytes) await volume.resize(wantedBytes);
    return new VolumeTarget({
      device: volume,
      name,
      keepMark: (lba) => controller.receiving.keep(name, { ...receiving, lba }),
      finish: async () => {
        const { epoch, opNumber } = volume.cut();
        const request = { volume: name, name: snapshot, id: snapshotId, epoch, opNumber };
        const pool = controller.poolOf(name);
        await pool.createSnapshots([request], new Date(description.createdAt).getTime());
        await controller.receiving.end(name);
      },
    });
  }

  async #makeVolume(
    name: string,
    description: StreamDescription,
    receiving: Receiving,
  ): Promise<void> {
    const { controller } = this.#options;
    if (controller.find(name) !== null) {
      throw new StreamError(
        'STREAM_MISMATCH',
        `volume "${name}" exists, and this is a full stream: receive it under another name, or delete the volume`,
      );
    }
    const size = formatQuantity(description.sizeBlocks * STORE_BLOCK_BYTES);
    const blockSize = description.logicalBlockBytes === 512 ? 512 : 4096;
    await controller.create(
      { metadata: { name }, spec: { size, blockSize } },
      { dryRun: false, uid: randomUUID(), receiving },
    );
  }

  #assertContinues(
    name: string,
    before: Receiving | null,
    description: StreamDescription,
    fromLba: number,
  ): void {
    if (before?.snapshotId === description.snapshotId && fromLba <= before.lba) return;
    const has =
      before === null
        ? 'nothing is being received there'
        : `it goes on at ${before.snapshot}, block ${before.lba}`;
    throw new StreamError(
      'STREAM_MISMATCH',
      `this stream goes on at block ${fromLba} of ${description.snapshot}, and volume "${name}" does not: ${has}`,
    );
  }

  /** An incremental stream fits only on exactly what it was made from. */
  #assertUnchangedSince(name: string, description: StreamDescription): void {
    const pool = this.#options.controller.poolOf(name);
    const from = description.from!;
    const store = pool.volume(name);
    if (store === null) {
      throw new StreamError(
        'STREAM_MISMATCH',
        `there is no volume "${name}": this stream holds what changed since ${from.name}; receive that first`,
      );
    }
    const newest = pool.snapshots(name).at(-1);
    if (newest?.snapshotInfo().id !== from.id) {
      throw new StreamError(
        'STREAM_MISMATCH',
        `this stream holds what changed since ${from.name}, which is not the newest snapshot of volume "${name}"`,
      );
    }
    const cut = newest.snapshotInfo();
    const head = store.info();
    if (head.epoch > cut.epoch || (head.epoch === cut.epoch && head.op > cut.op)) {
      throw new StreamError(
        'STREAM_MISMATCH',
        `volume "${name}" was changed since ${from.name}: a stream on top of that would mix the two`,
      );
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
