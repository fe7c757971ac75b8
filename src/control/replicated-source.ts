// A snapshot of a replicated volume as the source of a stream, and of a list of what changed: asked of its holders, by the
// volume's coordinator.
//
// Whatever the snapshot has of a version above an earlier one's cut, the volume has above it too, the same or a newer: so the
// volume's changes since that cut are where to look, and what the snapshot has there is what is sent.
import type { DataBuffer } from '../block/index.ts';
import { BlockKind, STORE_BLOCK_BYTES, StoreError } from '../store/index.ts';
import type { ChangedRange, StreamDescription, StreamSource } from '../stream/index.ts';
import type { ReplicatedHandle, ReplicatedSnapshot, SnapshotPiece } from './replication.ts';

/** 512 KiB a question. */
const PIECE_BLOCKS = 128;

export interface ReplicatedSourceOptions {
  readonly handle: ReplicatedHandle;
  readonly volume: string;
  readonly volumeId: string;
  readonly snapshot: ReplicatedSnapshot;
  readonly from: ReplicatedSnapshot | null;
  readonly logicalBlockBytes: number;
}

export class ReplicatedSource implements StreamSource {
  readonly description: StreamDescription;
  readonly #options: ReplicatedSourceOptions;

  constructor(options: ReplicatedSourceOptions) {
    this.#options = options;
    const { snapshot, from, volume, volumeId, logicalBlockBytes } = options;
    this.description = {
      volume,
      volumeId,
      snapshot: snapshot.name,
      snapshotId: snapshot.id,
      from: from === null ? null : { name: from.name, id: from.id },
      sizeBlocks: snapshot.sizeBlocks,
      logicalBlockBytes,
      createdAt: new Date(snapshot.createdMs).toISOString(),
    };
  }

  async changes(lba: number, most: number): Promise<readonly ChangedRange[]> {
    const { handle, snapshot, from } = this.#options;
    const { sizeBlocks } = snapshot;
    const found: ChangedRange[] = [];
    for (let at = lba; at < sizeBlocks; ) {
      const listed = await handle.changedSince(from?.id ?? null, snapshot.id, at, sizeBlocks);
      if (listed.nextLba <= at) throw new StoreError('STORE_IO', `${this.#name} cannot be listed`);
      for (const run of listed.runs) {
        const end = Math.min(run.lba + run.blocks, sizeBlocks);
        for (let start = Math.max(run.lba, at); start < end; start += PIECE_BLOCKS) {
          const blocks = Math.min(PIECE_BLOCKS, end - start);
          this.#addChanged(found, start, blocks, await this.#piece(start, blocks));
          // One piece may bring some more than were asked for, and none is cut.
          if (found.length >= most) return found;
        }
      }
      at = listed.nextLba;
      if (found.length > 0) return found;
    }
    return found;
  }

  /** What the volume, as it is now, has otherwise than the snapshot: the next ranges from `lba` on; none: there are no more. */
  async changesSince(lba: number): Promise<readonly ChangedRange[]> {
    const { handle, snapshot } = this.#options;
    const sizeBlocks = handle.sizeBlocks();
    for (let at = lba; at < sizeBlocks; ) {
      const listed = await handle.changedSince(snapshot.id, snapshot.id, at, sizeBlocks);
      if (listed.nextLba <= at) throw new StoreError('STORE_IO', `${this.#name} cannot be listed`);
      if (listed.runs.length > 0) return listed.runs;
      at = listed.nextLba;
    }
    return [];
  }

  #addChanged(found: ChangedRange[], lba: number, blocks: number, piece: SnapshotPiece): void {
    const cut = this.#options.from?.version ?? null;
    for (let index = 0; index < blocks; index += 1) {
      const epoch = piece.epochs[index]!;
      const isNewer =
        cut === null || epoch > cut.epoch || (epoch === cut.epoch && piece.ops[index]! > cut.op);
      const hole = piece.kinds[index] !== BlockKind.Data;
      if (!isNewer || (cut === null && hole)) continue;
      const last = found.at(-1);
      if (last !== undefined && last.hole === hole && last.lba + last.blocks === lba + index) {
        found[found.length - 1] = { ...last, blocks: last.blocks + 1 };
      } else found.push({ lba: lba + index, blocks: 1, hole });
    }
  }

  async read(lba: number, blocks: number, data: DataBuffer): Promise<void> {
    for (let at = 0; at < blocks; at += PIECE_BLOCKS) {
      const count = Math.min(PIECE_BLOCKS, blocks - at);
      const { kinds, bytes } = await this.#piece(lba + at, count);
      let packed = 0;
      for (let index = 0; index < count; index += 1) {
        const start = (at + index) * STORE_BLOCK_BYTES;
        if (kinds[index] !== BlockKind.Data) {
          data.bytes.fill(0, start, start + STORE_BLOCK_BYTES);
          continue;
        }
        const from = packed * STORE_BLOCK_BYTES;
        data.bytes.set(bytes.subarray(from, from + STORE_BLOCK_BYTES), start);
        packed += 1;
      }
    }
  }

  async #piece(lba: number, blocks: number): Promise<SnapshotPiece> {
    const { handle, snapshot } = this.#options;
    const piece = await handle.readSnapshot(snapshot.id, lba, blocks);
    if (piece === null) {
      throw new StoreError('STORE_IO', `block ${lba} of ${this.#name} cannot be read now`);
    }
    return piece;
  }

  get #name(): string {
    return `${this.#options.volume}@${this.#options.snapshot.name}`;
  }
}
