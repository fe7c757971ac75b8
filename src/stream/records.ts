// The records of a stream as the native engine takes them apart and puts them together: see
// native/engine/stream_format.h.
import type { NativeStreamReader } from '../store/index.ts';
import { StreamError } from './types.ts';

export const RecordKind = { Begin: 1, Data: 2, Hole: 3, Mark: 4, End: 5 } as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

export interface StreamRecord {
  readonly kind: RecordKind;
  readonly lba: number;
  readonly blocks: number;
  /** A view into the reader's window: used before the next record is asked for. */
  readonly payload: Buffer;
}

const FORMAT = 'STREAM_FORMAT' as const;
const DAMAGED = 'STREAM_DAMAGED' as const;
/** By StreamError in stream_format.h. */
const FAILURES = [
  null,
  [FORMAT, 'this is no ashlar stream'],
  [FORMAT, 'this stream was made by a later version of ashlar'],
  [DAMAGED, 'a record header is damaged'],
  [DAMAGED, 'a record is damaged'],
  [DAMAGED, 'a record is missing, doubled or out of place'],
  [DAMAGED, 'a record has a field out of its range'],
  [DAMAGED, 'the stream holds other amounts than it says at its end'],
  [DAMAGED, 'there are bytes behind the end of the stream'],
  [DAMAGED, 'a block differs from its checksum'],
] as const;

/** Reads records out of pieces of any size. Holds at most one record and one piece. Throws StreamError. */
export async function* readRecords(
  pieces: AsyncIterable<Uint8Array>,
  reader: NativeStreamReader,
): AsyncGenerator<StreamRecord, void, void> {
  const result = new Float64Array(8);
  let window: Buffer = Buffer.alloc(0);
  let at = 0;
  let streamByteOffset = 0;
  for await (const piece of pieces) {
    const rest = window.subarray(at);
    window =
      rest.length === 0
        ? Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
        : Buffer.concat([rest, piece]);
    at = 0;
    for (;;) {
      // While it needs more than there is, it is not asked: a window that grows piece by piece is looked at once.
      if (at > 0 || result[1] === 0 || window.length >= (result[1] as number)) {
        const taken = reader.next(window, at, window.length, result);
        const failure = FAILURES[result[0] as number];
        if (failure != null) {
          throw new StreamError(failure[0], `${failure[1]} (at byte ${streamByteOffset})`);
        }
        if (taken === 0) break;
        const payloadStart = result[6] as number;
        yield {
          kind: result[3] as RecordKind,
          lba: result[4] as number,
          blocks: result[5] as number,
          payload: window.subarray(payloadStart, payloadStart + (result[7] as number)),
        };
        at += taken;
        streamByteOffset += taken;
      } else {
        break;
      }
    }
  }
  if (result[2] !== 1) {
    throw new StreamError(
      'STREAM_CUT',
      streamByteOffset === 0 && window.length === 0
        ? 'the stream is empty'
        : `the stream is cut off after ${streamByteOffset + window.length - at} bytes`,
    );
  }
}
