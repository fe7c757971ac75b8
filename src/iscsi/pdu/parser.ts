// Finds the PDUs in a byte stream, RFC 7143 §11.1, and checks their digests (§13.1).
//
// Made for batches: one `feed` may carry dozens of PDUs, each delivered in place, without a copy or an allocation. Only
// a PDU cut by the end of a read is put together here: its header in a fixed buffer, its data wherever the sink says
// (for a write: straight into the task's data buffer, the one copy between socket and disk), else in a scratch buffer.
//
// Invariants: nothing is allocated or buffered for a PDU before its lengths were checked against the limits in force;
// what a peer sends never throws; after a stream error or `close` the sink is not called again; any way of cutting a
// stream into feeds gives the same PDUs.
import { assert, crc32c } from '../../base/index.ts';
import {
  ahsBytesOf,
  BHS_BYTES,
  DIGEST_BYTES,
  dataBytesOf,
  MAX_AHS_BYTES,
  MAX_DATA_SEGMENT_BYTES,
  padded,
} from './bhs.ts';

/** Why a stream cannot be trusted any more: the connection must be closed. */
export const StreamError = {
  /** TotalAHSLength over `maxAhsBytes`. */
  AhsTooLong: 'ahs-too-long',
  /** DataSegmentLength over `maxDataSegmentBytes`: MaxRecvDataSegmentLength, or the bound before login. */
  DataSegmentTooLong: 'data-segment-too-long',
  /** The header digest is wrong: where the next PDU begins is unknown (§7.7). */
  HeaderDigest: 'header-digest',
} as const;
export type StreamError = (typeof StreamError)[keyof typeof StreamError];

/** Where the data of a PDU that is still arriving shall go. The parser's own, reused. */
export interface DataPlace {
  /** null: into the parser's scratch buffer. */
  bytes: Buffer | null;
  /** Offset in `bytes`; the data segment must fit from there on. */
  at: number;
}

/** Takes what the parser finds. All calls come from inside `feed`. Buffers lent are valid during the call only. */
export interface PduSink {
  /**
   * The header of a PDU is complete and good, its data are only partly here. The sink may set `place` to have them
   * delivered straight to their place as they arrive; it then keeps that memory alive until `onPdu`, or calls
   * `discardData` first. Not called for PDUs that lie whole in one feed, nor for those without data.
   */
  placeData(head: Buffer, at: number, dataBytes: number, place: DataPlace): void;
  /**
   * A whole PDU, digests good. BHS and AHS are at `head[at]`; the data, without padding, at `data[dataAt]`. When
   * `placeData` gave a place, `data` and `dataAt` are that place. After `discardData`, `data` is empty.
   */
  onPdu(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void;
  /** A PDU whose header is good and whose data digest is not. The stream goes on (§7.8). */
  onDataDigestError(head: Buffer, at: number): void;
  /** The end of the stream's use: see StreamError. `head[at]` holds a BHS. Nothing is delivered after it. */
  onStreamError(error: StreamError, head: Buffer, at: number): void;
}

export interface ParserLimits {
  maxAhsBytes: number;
  maxDataSegmentBytes: number;
}

/** Before login: no AHS, and 8 KiB of text a PDU (§6.1: MaxRecvDataSegmentLength is 8192 until declared). */
export const LOGIN_PARSER_LIMITS: Readonly<ParserLimits> = {
  maxAhsBytes: 0,
  maxDataSegmentBytes: 8192,
};

/** A scratch buffer up to this size is kept for the next PDU, a larger one is let go. */
const SCRATCH_KEPT_BYTES = 64 * 1024;
const EMPTY: Buffer = Buffer.alloc(0);

const Phase = { Header: 0, Data: 1, Trailer: 2 } as const;
type Phase = (typeof Phase)[keyof typeof Phase];

export class PduParser {
  readonly #sink: PduSink;
  #maxAhsBytes = LOGIN_PARSER_LIMITS.maxAhsBytes;
  #maxDataSegmentBytes = LOGIN_PARSER_LIMITS.maxDataSegmentBytes;
  #headerDigestBytes = 0;
  #dataDigestBytes = 0;
  #closed = false;
  #paused = false;

  // The PDU being put together. `#have` counts bytes of the phase's part, `#need` is all of it.
  #phase: Phase = Phase.Header;
  #have = 0;
  #need = BHS_BYTES;
  readonly #head = Buffer.alloc(BHS_BYTES + MAX_AHS_BYTES + DIGEST_BYTES);
  readonly #trailer = Buffer.alloc(3 + DIGEST_BYTES);
  readonly #place: DataPlace = { bytes: null, at: 0 };
  #data = EMPTY;
  #dataAt = 0;
  #dataBytes = 0;
  #discarding = false;
  #crc = 0;
  #scratch = EMPTY;

  constructor(sink: PduSink) {
    this.#sink = sink;
  }

  /** From the next PDU on. */
  setLimits(limits: Readonly<ParserLimits>): void {
    assert(limits.maxAhsBytes >= 0 && limits.maxAhsBytes <= MAX_AHS_BYTES);
    assert(limits.maxDataSegmentBytes <= MAX_DATA_SEGMENT_BYTES);
    this.#maxAhsBytes = limits.maxAhsBytes;
    this.#maxDataSegmentBytes = limits.maxDataSegmentBytes;
  }

  /** From the next PDU on: called between PDUs, at the end of login. */
  setDigests(digests: { readonly header: boolean; readonly data: boolean }): void {
    assert(this.#phase === Phase.Header && this.#have === 0, 'digests change between PDUs');
    this.#headerDigestBytes = digests.header ? DIGEST_BYTES : 0;
    this.#dataDigestBytes = digests.data ? DIGEST_BYTES : 0;
  }

  /** Called by the sink: `feed` returns after the PDU in hand. The next `feed` goes on. */
  pause(): void {
    this.#paused = true;
  }

  /** Nothing is delivered any more. */
  close(): void {
    this.#closed = true;
    this.#scratch = EMPTY;
    this.#data = EMPTY;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** True in the middle of a PDU: a stream that ends here was cut. */
  get midPdu(): boolean {
    return this.#phase !== Phase.Header || this.#have > 0;
  }

  /**
   * The memory given by `placeData` is wanted back: the rest of that PDU's data is read and dropped. Nothing happens
   * unless the data are on their way into `bytes`.
   */
  discardData(bytes: Buffer): void {
    if (this.#phase === Phase.Header || this.#data !== bytes || this.#discarding) return;
    this.#discarding = true;
    this.#data = EMPTY;
    this.#dataAt = 0;
  }

  /**
   * Takes `b[start, end)`. Returns the offset it came to: `end`, unless the sink paused it. After `close` or a stream
   * error everything is swallowed.
   */
  feed(b: Buffer, start: number, end: number): number {
    assert(start >= 0 && start <= end && end <= b.length);
    this.#paused = false;
    let at = start;
    while (at < end && !this.#closed && !this.#paused) {
      if (this.#phase === Phase.Header) {
        const next = this.#have === 0 ? this.#takeWhole(b, at, end) : at;
        at = next > at ? next : this.#fillHeader(b, at, end);
      } else if (this.#phase === Phase.Data) {
        at = this.#fillData(b, at, end);
      } else {
        at = this.#fillTrailer(b, at, end);
      }
    }
    return this.#closed ? end : at;
  }

  /** Delivers the PDU at `at` in place if all of it is here, and returns its end; else `at`. */
  #takeWhole(b: Buffer, at: number, end: number): number {
    if (end - at < BHS_BYTES) return at;
    if (!this.#checkLengths(b, at)) return end;
    const dataBytes = dataBytesOf(b, at);
    const headEnd = at + BHS_BYTES + ahsBytesOf(b, at);
    const dataAt = headEnd + this.#headerDigestBytes;
    if (dataBytes === 0) {
      if (dataAt > end) return at;
      if (this.#checkHeaderDigest(b, at, headEnd)) this.#sink.onPdu(b, at, EMPTY, 0, 0);
      return dataAt;
    }
    const dataEnd = dataAt + padded(dataBytes);
    // Read once: the sink may change the digests for the PDUs to come.
    const next = dataEnd + this.#dataDigestBytes;
    if (next > end) return at;
    if (!this.#checkHeaderDigest(b, at, headEnd)) return end;
    if (this.#dataDigestBytes > 0 && crc32c(b, dataAt, dataEnd, 0) !== getDigest(b, dataEnd)) {
      this.#sink.onDataDigestError(b, at);
    } else {
      this.#sink.onPdu(b, at, b, dataAt, dataBytes);
    }
    return next;
  }

  #fillHeader(b: Buffer, at: number, end: number): number {
    const taken = Math.min(end - at, this.#need - this.#have);
    b.copy(this.#head, this.#have, at, at + taken);
    this.#have += taken;
    if (this.#have < this.#need) return at + taken;

    if (this.#need === BHS_BYTES) {
      if (!this.#checkLengths(this.#head, 0)) return end;
      this.#need += ahsBytesOf(this.#head, 0) + this.#headerDigestBytes;
    }
    if (this.#have === this.#need) this.#headComplete();
    return at + taken;
  }

  #headComplete(): void {
    const head = this.#head;
    if (!this.#checkHeaderDigest(head, 0, this.#need - this.#headerDigestBytes)) return;
    this.#dataBytes = dataBytesOf(head, 0);
    if (this.#dataBytes === 0) {
      this.#begin(Phase.Header, BHS_BYTES);
      this.#sink.onPdu(head, 0, EMPTY, 0, 0);
      return;
    }
    this.#place.bytes = null;
    this.#place.at = 0;
    this.#sink.placeData(head, 0, this.#dataBytes, this.#place);
    if (this.#closed) return;
    this.#data = this.#place.bytes ?? this.#scratchOf(this.#dataBytes);
    this.#dataAt = this.#place.at;
    assert(this.#dataAt >= 0 && this.#dataAt + this.#dataBytes <= this.#data.length);
    this.#discarding = false;
    this.#crc = 0;
    this.#begin(Phase.Data, this.#dataBytes);
  }

  #fillData(b: Buffer, at: number, end: number): number {
    const taken = Math.min(end - at, this.#need - this.#have);
    if (!this.#discarding) b.copy(this.#data, this.#dataAt + this.#have, at, at + taken);
    // Over what came, not over what was stored: the destination may be shared with others' mistakes.
    if (this.#dataDigestBytes > 0) this.#crc = crc32c(b, at, at + taken, this.#crc);
    this.#have += taken;
    if (this.#have === this.#need) {
      const trailerBytes = padded(this.#dataBytes) - this.#dataBytes + this.#dataDigestBytes;
      if (trailerBytes > 0) this.#begin(Phase.Trailer, trailerBytes);
      else this.#dataComplete(true);
    }
    return at + taken;
  }

  /** Padding, then the data digest. */
  #fillTrailer(b: Buffer, at: number, end: number): number {
    const taken = Math.min(end - at, this.#need - this.#have);
    b.copy(this.#trailer, this.#have, at, at + taken);
    this.#have += taken;
    if (this.#have === this.#need) {
      const padBytes = this.#need - this.#dataDigestBytes;
      const good =
        this.#dataDigestBytes === 0 ||
        crc32c(this.#trailer, 0, padBytes, this.#crc) === getDigest(this.#trailer, padBytes);
      this.#dataComplete(good);
    }
    return at + taken;
  }

  #dataComplete(good: boolean): void {
    const data = this.#data;
    const dataAt = this.#dataAt;
    this.#data = EMPTY;
    this.#begin(Phase.Header, BHS_BYTES);
    if (good) this.#sink.onPdu(this.#head, 0, data, dataAt, this.#dataBytes);
    else this.#sink.onDataDigestError(this.#head, 0);
    if (this.#scratch.length > SCRATCH_KEPT_BYTES) this.#scratch = EMPTY;
  }

  #begin(phase: Phase, need: number): void {
    this.#phase = phase;
    this.#have = 0;
    this.#need = need;
  }

  #checkLengths(head: Buffer, at: number): boolean {
    if (ahsBytesOf(head, at) > this.#maxAhsBytes) {
      return this.#fail(StreamError.AhsTooLong, head, at);
    }
    if (dataBytesOf(head, at) > this.#maxDataSegmentBytes) {
      return this.#fail(StreamError.DataSegmentTooLong, head, at);
    }
    return true;
  }

  #checkHeaderDigest(head: Buffer, at: number, headEnd: number): boolean {
    if (this.#headerDigestBytes === 0) return true;
    if (crc32c(head, at, headEnd, 0) === getDigest(head, headEnd)) return true;
    return this.#fail(StreamError.HeaderDigest, head, at);
  }

  #fail(error: StreamError, head: Buffer, at: number): false {
    this.close();
    this.#sink.onStreamError(error, head, at);
    return false;
  }

  #scratchOf(bytes: number): Buffer {
    if (this.#scratch.length < bytes) {
      // The page of a small PDU is worth keeping; of a large one exactly what it needs.
      this.#scratch = Buffer.allocUnsafeSlow(Math.max(bytes, 4096));
    }
    return this.#scratch;
  }
}

/** A digest on the wire: the CRC's least significant byte first, as the examples of RFC 3720 B.4 have it. */
export function getDigest(b: Buffer, at: number): number {
  return (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0;
}
