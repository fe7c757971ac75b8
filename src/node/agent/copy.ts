// Fills a new volume with what a snapshot holds: run by run of what is mapped there, then a flush. Nobody reads or writes
// the new one meanwhile, so doing it again from the beginning after a crash is no harm.
import { assert, type Turn } from '../../base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  type DataBuffer,
  type DataBufferPool,
  IoStatus,
  type MapExtent,
} from '../../block/index.ts';
import { STORE_BLOCK_BYTES, StoreError, type StoreVolume } from '../../store/index.ts';

const PIECE_BLOCKS = 256;
const RUNS = 256;

export interface CopyOptions {
  readonly from: StoreVolume;
  readonly to: StoreVolume;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly onProgress: (doneBlocks: number) => void;
}

/** Resolves when it is on stable storage. Rejects with StoreError. */
export async function copyBlocks(options: CopyOptions): Promise<void> {
  const { from, to, buffers, onProgress } = options;
  const { sizeBlocks } = from.info();
  assert(to.info().sizeBlocks >= sizeBlocks);
  // Above every version of an attempt before this one (E1).
  const epoch = to.info().epoch + 1;
  const run = runner(options, epoch);
  let copied = 0;
  for (let lba = 0; lba < sizeBlocks; ) {
    const extents = await mapOf(from, lba);
    for (const extent of extents) {
      lba = extent.lba + extent.blocks;
      if (!extent.mapped) continue;
      for (let at = extent.lba; at < lba; at += PIECE_BLOCKS) {
        const blocks = Math.min(PIECE_BLOCKS, lba - at, sizeBlocks - at);
        const data = await aBuffer(buffers, blocks * STORE_BLOCK_BYTES);
        try {
          await run(from, BlockOpKind.Read, at, blocks, data);
          await run(to, BlockOpKind.Write, at, blocks, data);
        } finally {
          data.release();
        }
        copied += blocks;
        onProgress(copied);
      }
    }
    if (extents.length === 0) break;
  }
  await run(to, BlockOpKind.Flush, 0, 0, null);
}

type Run = (
  volume: StoreVolume,
  kind: BlockOpKind,
  lba: number,
  blocks: number,
  data: DataBuffer | null,
) => Promise<void>;

function runner({ turn, to }: CopyOptions, epoch: number): Run {
  let opNumber = 0;
  return (volume, kind, lba, blocks, data) =>
    new Promise((resolve, reject) => {
      const owner = {
        onBlockDone(op: BlockOp, status: IoStatus): void {
          if (status === IoStatus.Ok) resolve();
          else {
            const what = kind === BlockOpKind.Read ? 'reading' : 'writing';
            const code = status === IoStatus.NoSpace ? 'STORE_NO_SPACE' : 'STORE_IO';
            reject(
              new StoreError(code, `${what} ${volume.name} at block ${op.lba} failed (${status})`),
            );
          }
        },
      };
      const op = new BlockOp().begin(kind, lba, blocks, data, 0, false, owner);
      op.lower = owner;
      if (volume === to && kind === BlockOpKind.Write) opNumber += 1;
      turn.enter();
      volume.submit(op, epoch, kind === BlockOpKind.Write ? opNumber : 0);
      turn.leave();
    });
}

function mapOf(volume: StoreVolume, lba: number): Promise<readonly MapExtent[]> {
  return new Promise((resolve, reject) => {
    volume.mapStatus(lba, RUNS, (status, extents) => {
      if (status === IoStatus.Ok) resolve(extents);
      else
        reject(new StoreError('STORE_IO', `the map of ${volume.name} cannot be read (${status})`));
    });
  });
}

async function aBuffer(buffers: DataBufferPool, bytes: number): Promise<DataBuffer> {
  for (;;) {
    const data = buffers.allocate(bytes);
    if (data !== null) return data;
    await new Promise<void>((resolve) => buffers.whenFreed(resolve));
  }
}
