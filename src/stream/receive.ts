// The receiving end: checks every record before anything of it is written, writes some records at once, and notes on
// stable storage how far it came, so that an interrupted stream goes on from there.
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import type { DataBufferPool } from '../block/index.ts';
import type { NativeStreamReader } from '../store/index.ts';
import { takeBuffer } from './buffers.ts';
import { BLOCK_BYTES, PIPELINE_DEPTH } from './limits.ts';
import { Pipeline } from './pipeline.ts';
import { RecordKind, readRecords, type StreamRecord } from './records.ts';
import { type StreamDescription, StreamError, type StreamTarget } from './types.ts';

const Uuid = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });
const Name = Type.String({ minLength: 1, maxLength: 253 });
const Description = Type.Object({
  volume: Name,
  volumeId: Uuid,
  snapshot: Name,
  snapshotId: Uuid,
  from: Type.Union([Type.Null(), Type.Object({ name: Name, id: Uuid })]),
  sizeBlocks: Type.Integer({ minimum: 1 }),
  logicalBlockBytes: Type.Union([Type.Literal(512), Type.Literal(4096)]),
  createdAt: Type.String({ maxLength: 64 }),
});

export interface ReceiveOptions {
  readonly pieces: AsyncIterable<Uint8Array>;
  readonly reader: NativeStreamReader;
  readonly buffers: DataBufferPool;
  /**
   * Finds or makes the volume that the stream is for. `fromLba`: where a resumed stream begins. Rejects (StreamError,
   * StoreError) when there is none, or it is not as the stream needs it.
   */
  readonly open: (description: StreamDescription, fromLba: number) => Promise<StreamTarget>;
  /** Told after each record: where the stream is, and the blocks of data received. */
  readonly onProgress?: (lba: number, dataBlocks: number) => void;
}

export interface Received {
  readonly description: StreamDescription;
  readonly dataBlocks: number;
}

/** Takes the whole stream. Rejects with StreamError or StoreError; what came up to the last mark is then kept. */
export async function receiveStream(options: ReceiveOptions): Promise<Received> {
  const writes = new Pipeline(PIPELINE_DEPTH);
  let description: StreamDescription | null = null;
  let target: StreamTarget | null = null;
  let dataBlocks = 0;
  try {
    for await (const record of readRecords(options.pieces, options.reader)) {
      if (target === null || description === null) {
        // The reader lets nothing but Begin be first.
        description = parseDescription(record);
        target = await options.open(description, record.lba);
        continue;
      }
      await take(record, target);
      if (record.kind === RecordKind.Data) dataBlocks += record.blocks;
      options.onProgress?.(record.lba + record.blocks, dataBlocks);
    }
  } catch (error) {
    await writes.drain().catch(() => undefined); // The first failure is the one that is told.
    throw error;
  }
  if (target === null || description === null) {
    throw new StreamError('STREAM_CUT', 'the stream is empty');
  }
  await target.end();
  return { description, dataBlocks };

  async function take(record: StreamRecord, into: StreamTarget): Promise<void> {
    const { kind, lba, blocks } = record;
    if (kind === RecordKind.Data) {
      const data = await takeBuffer(options.buffers, blocks * BLOCK_BYTES);
      // Copied before the next record moves the window.
      record.payload.copy(data.bytes, 0, blocks * 4);
      await writes.run(() => into.write(lba, blocks, data).finally(() => data.release()));
    } else if (kind === RecordKind.Hole) {
      await writes.run(() => into.unmap(lba, blocks));
    } else if (kind === RecordKind.Mark) {
      await writes.drain();
      await into.mark(lba);
    } else {
      await writes.drain();
    }
  }
}

function parseDescription(record: StreamRecord): StreamDescription {
  let value: unknown;
  try {
    value = JSON.parse(record.payload.toString('utf8'));
  } catch (error) {
    throw new StreamError('STREAM_FORMAT', 'the description of the stream is no JSON', {
      cause: error,
    });
  }
  if (!Value.Check(Description, value)) {
    const [first] = Value.Errors(Description, value);
    throw new StreamError(
      'STREAM_FORMAT',
      `the description of the stream is wrong: ${first?.instancePath ?? ''} ${first?.message ?? ''}`,
    );
  }
  const description: Static<typeof Description> = value;
  if (description.sizeBlocks !== record.blocks) {
    throw new StreamError('STREAM_FORMAT', 'the description of the stream tells another size');
  }
  return description;
}
