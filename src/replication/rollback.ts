// P4: a volume that no host uses becomes what a snapshot of it is. What changed since the cut is written anew, block by
// block, with what the snapshot has there: ordinary changes, with versions above all others, so that no rule has to know
// of it. What is to be done is kept in the record from before the first block until after the last, so that whoever
// coordinates next does it again before any host may look; done twice it comes out the same.
import type { Turn } from '../base/index.ts';
import { BlockOp, BlockOpKind, type DataBufferPool, IoStatus } from '../block/index.ts';
import { payloadByteOffset, payloadBytes, WIRE_BLOCK_BYTES } from '../wire/index.ts';
import { BlockKind, type Changed, type CopyData, MessageType } from '../wire/messages.ts';
import type { CoordinatorShell } from './coordinator-shell.ts';

const ROLLBACK_KEY = 'ashlar.rollback';
const MAX_RUNS = 1024;
const PIECE_BLOCKS = 128;

/** The id of the snapshot that a rollback is under way to; null: none is. */
export function rollbackOf(coordinator: CoordinatorShell): string | null {
  const kept = coordinator.getBlob(ROLLBACK_KEY);
  return kept === null ? null : Buffer.from(kept).toString();
}

export interface RollbackOptions {
  readonly coordinator: Pick<CoordinatorShell, 'ask' | 'losses' | 'putBlob' | 'record' | 'submit'>;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
}

/** No operation is in flight, and none comes. Rejects with what stood in the way: it is to be done again then. */
export async function rollBack(options: RollbackOptions, snapshotId: string): Promise<void> {
  const { coordinator } = options;
  // R1: with the record every member that counts has applied all before it, so any of them can say what has changed.
  await coordinator.putBlob(ROLLBACK_KEY, Buffer.from(snapshotId));
  const { losses } = coordinator;
  const sizeBlocks = coordinator.record?.sizeBlocks ?? 0;
  const kept = coordinator.record?.snapshots.find(({ id }) => id === snapshotId)?.sizeBlocks ?? 0;
  for (let lba = 0; lba < sizeBlocks; ) {
    const question = {
      kind: 'changed',
      fromLba: lba,
      toLba: sizeBlocks,
      maxEntries: MAX_RUNS,
    } as const;
    const found = await coordinator.ask(snapshotId, question, changedIn);
    if (found === null || found.nextLba <= lba) throw new Error('its replicas cannot be asked now');
    for (const run of found.runs) {
      const end = run.lba + run.blocks;
      for (let at = run.lba; at < end; ) {
        // Beyond what the volume was then, the snapshot has nothing.
        const border = at < kept ? Math.min(end, kept) : end;
        const blocks = Math.min(PIECE_BLOCKS, border - at);
        await restore(options, snapshotId, at, blocks, at < kept);
        at += blocks;
      }
    }
    lba = found.nextLba;
  }
  await submit(options, BlockOpKind.Flush, 0, 0, null, 0);
  // C8: what was written before it was flushed may be gone, and the flush says nothing of that.
  if (coordinator.losses !== losses)
    throw new Error('writes were lost with the caches of replicas');
  await coordinator.putBlob(ROLLBACK_KEY, null);
}

export interface Found {
  readonly runs: readonly {
    readonly lba: number;
    readonly blocks: number;
    readonly hole: boolean;
  }[];
  readonly nextLba: number;
}

export function changedIn(answer: Changed | CopyData | null): Found | null {
  if (answer?.type !== MessageType.Changed || answer.status !== IoStatus.Ok) return null;
  const { lbas, counts, kinds } = answer.runs;
  const runs = Array.from(lbas, (lba, index) => {
    return { lba, blocks: counts[index]!, hole: kinds[index] !== BlockKind.Data };
  });
  return { runs, nextLba: answer.nextLba };
}

/** Blocks of one kind that follow each other, in a buffer that has their bytes from its beginning. */
export interface Piece {
  readonly kinds: Uint8Array;
  readonly epochs: Uint32Array;
  readonly ops: Float64Array;
  readonly bytes: Uint8Array;
}

async function restore(
  options: RollbackOptions,
  snapshotId: string,
  lba: number,
  blocks: number,
  isHeld: boolean,
): Promise<void> {
  const question = { kind: 'copy', lba, blocks } as const;
  const piece = isHeld
    ? await options.coordinator.ask(snapshotId, question, pieceIn)
    : NOTHING(blocks);
  if (piece === null) throw new Error(`block ${lba} of the snapshot cannot be read now`);
  const { kinds, bytes } = piece;
  let packed = 0;
  for (let at = 0; at < blocks; ) {
    const isData = kinds[at] === BlockKind.Data;
    let end = at + 1;
    while (end < blocks && (kinds[end] === BlockKind.Data) === isData) end += 1;
    const count = end - at;
    if (isData) {
      const from = packed * WIRE_BLOCK_BYTES;
      const data = bytes.subarray(from, from + count * WIRE_BLOCK_BYTES);
      await submit(options, BlockOpKind.Write, lba + at, count, data, 0);
      packed += count;
    } else await submit(options, BlockOpKind.Unmap, lba + at, count, null, 0);
    at = end;
  }
}

/** The bytes are lent: this is the one copy of them. */
export function pieceIn(answer: Changed | CopyData | null): Piece | null {
  if (answer?.type !== MessageType.CopyData || answer.status !== IoStatus.Ok) return null;
  const { copy } = answer;
  // W9: what is damaged there is not what it was; another holder may have it whole.
  if (copy === null || copy.kinds.includes(BlockKind.Damaged)) return null;
  const kinds = Uint8Array.from(copy.kinds);
  const versions = { epochs: Uint32Array.from(copy.epochs), ops: Float64Array.from(copy.ops) };
  if (copy.data === null) return { kinds, ...versions, bytes: new Uint8Array(0) };
  const start = payloadByteOffset(copy.data);
  const count = kinds.filter((kind) => kind === BlockKind.Data).length;
  const bytes = payloadBytes(copy.data).subarray(start, start + count * WIRE_BLOCK_BYTES);
  return { kinds, ...versions, bytes: Uint8Array.from(bytes) };
}

const NOTHING = (blocks: number): Piece => ({
  kinds: new Uint8Array(blocks),
  epochs: new Uint32Array(blocks),
  ops: new Float64Array(blocks),
  bytes: new Uint8Array(0),
});

async function submit(
  { coordinator, buffers, turn }: RollbackOptions,
  kind: BlockOpKind,
  lba: number,
  blocks: number,
  bytes: Uint8Array | null,
  dataByteOffset: number,
): Promise<void> {
  let data = bytes === null ? null : buffers.allocate(bytes.length);
  while (bytes !== null && data === null) {
    await new Promise<void>((resolve) => buffers.whenFreed(resolve));
    data = buffers.allocate(bytes.length);
  }
  if (bytes !== null) data?.bytes.set(bytes);
  const status = await new Promise<IoStatus>((resolve) => {
    const owner = { onBlockDone: (_op: BlockOp, ended: IoStatus) => resolve(ended) };
    const op = new BlockOp().begin(kind, lba, blocks, data, dataByteOffset, false, owner);
    op.lower = owner;
    turn.enter();
    coordinator.submit(op);
    turn.leave();
  });
  data?.release();
  if (status !== IoStatus.Ok) throw new Error(`block ${lba} cannot be written (status ${status})`);
}
