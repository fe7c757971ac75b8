// The sending end: walks what changed, reads it some records ahead, and gives the stream's bytes piece by piece. Who
// takes the pieces sets the pace.
import { crc32c } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import type { NativeStreamWriter } from '../store/index.ts';
import { takeBuffer } from './buffers.ts';
import {
  BLOCK_BYTES,
  CHANGES_BATCH,
  MARK_EVERY_BLOCKS,
  MAX_RECORD_BLOCKS,
  PIPELINE_DEPTH,
} from './limits.ts';
import { RecordKind } from './records.ts';
import type { ChangedRange, StreamSource } from './types.ts';

export interface SendOptions {
  readonly source: StreamSource;
  readonly writer: NativeStreamWriter;
  readonly buffers: DataBufferPool;
  /** Where an interrupted receiver goes on. */
  readonly fromLba?: number;
  /** Told after each record: where the walk is, and the blocks of data sent. */
  readonly onProgress?: (lba: number, dataBlocks: number) => void;
}

const NOTHING = Buffer.alloc(0);

interface Ahead {
  readonly range: ChangedRange;
  /** Null for a hole. */
  readonly payload: Promise<Buffer> | null;
}

/** The bytes of the stream. Rejects with StoreError where a block cannot be read: nothing wrong is ever sent. */
export async function* sendStream(options: SendOptions): AsyncGenerator<Buffer, void, void> {
  const { source, writer, buffers } = options;
  const begin = Buffer.from(JSON.stringify(source.description));
  const fromLba = options.fromLba ?? 0;
  yield writer.seal(
    RecordKind.Begin,
    fromLba,
    source.description.sizeBlocks,
    begin,
    0,
    begin.length,
  );
  yield begin;

  const ahead: Ahead[] = [];
  let dataBlocks = 0;
  let unmarked = 0;
  try {
    for await (const range of recordRanges(source, fromLba)) {
      ahead.push({ range, payload: range.hole ? null : readPayload(source, buffers, range) });
      if (ahead.length < PIPELINE_DEPTH) continue;
      yield* emit(ahead.shift()!);
    }
    while (ahead.length > 0) yield* emit(ahead.shift()!);
  } finally {
    // The taker may have left in the middle: buffers come back before we are gone.
    await Promise.allSettled(ahead.map(({ payload }) => payload));
  }
  const totals = writer.totals();
  yield writer.seal(RecordKind.End, 0, 0, totals, 0, totals.length);
  yield totals;

  async function* emit({ range, payload }: Ahead): AsyncGenerator<Buffer, void, void> {
    const { lba, blocks } = range;
    if (payload === null) {
      yield writer.seal(RecordKind.Hole, lba, blocks, NOTHING, 0, 0);
    } else {
      const bytes = await payload;
      yield writer.seal(RecordKind.Data, lba, blocks, bytes, 0, bytes.length);
      yield bytes;
      dataBlocks += blocks;
      unmarked += blocks;
    }
    if (unmarked >= MARK_EVERY_BLOCKS) {
      unmarked = 0;
      yield writer.seal(RecordKind.Mark, lba + blocks, 0, NOTHING, 0, 0);
    }
    options.onProgress?.(lba + blocks, dataBlocks);
  }
}

/** What changed, in pieces that fit a record. Holes stay whole. */
async function* recordRanges(
  source: StreamSource,
  fromLba: number,
): AsyncGenerator<ChangedRange, void, void> {
  let lba = fromLba;
  for (;;) {
    const ranges = await source.changes(lba, CHANGES_BATCH);
    if (ranges.length === 0) return;
    for (const range of ranges) {
      lba = range.lba + range.blocks;
      if (range.hole) {
        yield range;
        continue;
      }
      for (let start = range.lba; start < lba; start += MAX_RECORD_BLOCKS) {
        yield { lba: start, blocks: Math.min(MAX_RECORD_BLOCKS, lba - start), hole: false };
      }
    }
  }
}

/** The checksum of each block, then the blocks. */
async function readPayload(
  source: StreamSource,
  buffers: DataBufferPool,
  { lba, blocks }: ChangedRange,
): Promise<Buffer> {
  const data = await takeBuffer(buffers, blocks * BLOCK_BYTES);
  try {
    await source.read(lba, blocks, data);
    const payload = Buffer.allocUnsafe(blocks * (BLOCK_BYTES + 4));
    for (let block = 0; block < blocks; block += 1) {
      const start = block * BLOCK_BYTES;
      payload.writeUInt32LE(crc32c(data.bytes, start, start + BLOCK_BYTES, 0), block * 4);
    }
    data.bytes.copy(payload, blocks * 4, 0, blocks * BLOCK_BYTES);
    return payload;
  } finally {
    data.release();
  }
}
