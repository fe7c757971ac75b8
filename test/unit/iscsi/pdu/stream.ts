// A sink that writes down what the parser delivers, and PDUs to feed it.
import {
  ahsBytesOf,
  assemblePdu,
  BHS_BYTES,
  type DataPlace,
  type Digests,
  dataOut,
  NO_DIGESTS,
  nopOut,
  Opcode,
  opcodeOf,
  type ParserLimits,
  PduParser,
  type PduSink,
  type StreamError,
} from '../../../../src/iscsi/pdu/index.ts';

/** One line a delivery, so that two runs compare with deepEqual. */
export class RecordingSink implements PduSink {
  readonly events: string[] = [];
  /** Where the data of cut PDUs shall go; null: the parser's scratch. */
  place: { bytes: Buffer; at: number } | null = null;
  onEach: (() => void) | null = null;

  placeData(_head: Buffer, _at: number, _dataBytes: number, place: DataPlace): void {
    if (this.place === null) return;
    place.bytes = this.place.bytes;
    place.at = this.place.at;
  }

  onPdu(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const bhs = head.toString('hex', at, at + BHS_BYTES + ahsBytesOf(head, at));
    this.events.push(`${bhs} ${data.toString('hex', dataAt, dataAt + dataBytes)}`);
    this.onEach?.();
  }

  onDataDigestError(head: Buffer, at: number): void {
    this.events.push(`data digest error, opcode ${opcodeOf(head, at)}`);
  }

  onStreamError(error: StreamError, head: Buffer, at: number): void {
    this.events.push(`${error}, opcode ${opcodeOf(head, at)}`);
  }
}

export const WIDE_LIMITS: ParserLimits = { maxAhsBytes: 1020, maxDataSegmentBytes: 65536 };

export function aParser(sink: PduSink, digests = NO_DIGESTS, limits = WIDE_LIMITS): PduParser {
  const parser = new PduParser(sink);
  parser.setLimits(limits);
  parser.setDigests(digests);
  return parser;
}

export function aNopOut(data: Buffer, digests: Digests = NO_DIGESTS): Buffer {
  return assemblePdu(
    (b, at) =>
      nopOut.encode(b, at, {
        immediate: true,
        dataBytes: data.length,
        lun: 0,
        itt: 7,
        ttt: 0xffffffff,
        cmdSn: 1,
        expStatSn: 2,
      }),
    { data },
    digests,
  );
}

export function aDataOut(data: Buffer, digests: Digests = NO_DIGESTS): Buffer {
  return assemblePdu(
    (b, at) =>
      dataOut.encode(b, at, {
        final: true,
        dataBytes: data.length,
        lun: 3,
        itt: 9,
        ttt: 0x11223344,
        expStatSn: 5,
        dataSn: 0,
        bufferOffset: 4096,
      }),
    { data },
    digests,
  );
}

/** A SCSI Command with AHS of `ahs.length` bytes and immediate data: raw, for the parser only. */
export function aCommandWithAhs(ahs: Buffer, data: Buffer, digests: Digests = NO_DIGESTS): Buffer {
  return assemblePdu(
    (b, at) => {
      b[at] = Opcode.ScsiCommand;
      b[at + 1] = 0xa0;
      b[at + 4] = ahs.length / 4;
      b[at + 5] = data.length >> 16;
      b[at + 6] = data.length >> 8;
      b[at + 7] = data.length;
    },
    { ahs, data },
    digests,
  );
}
