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
/** So many questions at once, and their answers kept until they are read: 4 MiB. */
const PIECES_AHEAD = 8;

interface KeptPiece {
  readonly lba: number;
  readonly blocks: number;
  readonly piece: SnapshotPiece;
}

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
  /** What changed is told by looking at it, and is read right after: of the last two answers, so it is asked for once. */
  #kept: KeptPiece[] = [];
  #keptBefore: KeptPiece[] = [];

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

  /** A few pieces may bring some more ranges than are asked for, and none is cut. */
  async changes(lba: number, _most?: number): Promise<readonly ChangedRange[]> {
    const { handle, snapshot, from } = this.#options;
    const { sizeBlocks } = snapshot;
    const found: ChangedRange[] = [];
    for (let at = lba; at < sizeBlocks; ) {
      const listed = await handle.changedSince(from?.id ?? null, snapshot.id, at, sizeBlocks);
      if (listed.nextLba <= at) throw new StoreError('STORE_IO', `${this.#name} cannot be listed`);
      const questions = piecesOf(listed.runs, at, sizeBlocks);
      for (let first = 0; first < questions.length; first += PIECES_AHEAD) {
        const asked = questions.slice(first, first + PIECES_AHEAD);
        const pieces = await Promise.all(
          asked.map(async (one) => ({ ...one, piece: await this.#piece(one.lba, one.blocks) })),
        );
        for (const { lba: start, blocks, piece } of pieces) {
          this.#addChanged(found, start, blocks, piece);
        }
        if (found.length === 0) continue;
        this.#keptBefore = this.#kept;
        this.#kept = pieces;
        return found;
      }
      at = listed.nextLba;
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
    for (let at = 0; at < blocks; ) {
      const kept = this.#keptAt(lba + at);
      const most = kept === null ? PIECE_BLOCKS : kept.lba + kept.blocks - (lba + at);
      const count = Math.min(most, blocks - at);
      const piece = kept?.piece ?? (await this.#piece(lba + at, count));
      copyPiece(piece, kept === null ? 0 : lba + at - kept.lba, count, data, at);
      at += count;
    }
  }

  #keptAt(lba: number): KeptPiece | null {
    const holds = (one: KeptPiece): boolean => one.lba <= lba && lba < one.lba + one.blocks;
    return this.#kept.find(holds) ?? this.#keptBefore.find(holds) ?? null;
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

/** What is to be looked at of the runs, in questions. */
function piecesOf(
  runs: readonly { readonly lba: number; readonly blocks: number }[],
  fromLba: number,
  sizeBlocks: number,
): { lba: number; blocks: number }[] {
  return runs.flatMap((run) => {
    const end = Math.min(run.lba + run.blocks, sizeBlocks);
    const pieces: { lba: number; blocks: number }[] = [];
    for (let lba = Math.max(run.lba, fromLba); lba < end; lba += PIECE_BLOCKS) {
      pieces.push({ lba, blocks: Math.min(PIECE_BLOCKS, end - lba) });
    }
    return pieces;
  });
}

/** `count` blocks of the piece from its block `first` on, to block `at` of the buffer. */
function copyPiece(
  { kinds, bytes }: SnapshotPiece,
  first: number,
  count: number,
  data: DataBuffer,
  at: number,
): void {
  let packed = 0;
  for (let index = 0; index < first; index += 1) if (kinds[index] === BlockKind.Data) packed += 1;
  for (let index = 0; index < count; index += 1) {
    const start = (at + index) * STORE_BLOCK_BYTES;
    if (kinds[first + index] !== BlockKind.Data) {
      data.bytes.fill(0, start, start + STORE_BLOCK_BYTES);
      continue;
    }
    const from = packed * STORE_BLOCK_BYTES;
    data.bytes.set(bytes.subarray(from, from + STORE_BLOCK_BYTES), start);
    packed += 1;
  }
}
