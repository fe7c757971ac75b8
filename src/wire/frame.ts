// A frame: a header of 48 bytes, little endian, and its payload. docs/wire-protocol.md tells the whole protocol.
//
//    0 payload length, bytes, u32       4 type u8       5 flags u8       6 status u16
//    8 stream u32                      12 request u32: what an answer answers
//   16 version u64: epoch in the upper 24 bits, op number in the lower 40 (E1)
//   24 lba u64, in blocks of 4096 bytes
//   32 blocks u32: a count             36 aux u32: by type
//   40 payload CRC32C u32: of all of it in a message; of the first block in a data frame
//   44 header CRC32C u32: of bytes 0 to 43
//
// A wrong header CRC, an unknown type, a length that the type does not allow: the stream cannot be trusted any more, the
// connection is closed. What a type does not use is zero.
import { assert, crc32c, crc32cJs } from '../base/index.ts';
import { get16, get32, put16, put32 } from './bytes.ts';
import {
  dataPayloadBytes,
  HEADER_BYTES,
  MAX_DATA_BLOCKS,
  MAX_MESSAGE_BYTES,
  WIRE_BLOCK_BYTES,
} from './limits.ts';

export const FrameType = {
  // The connection. Stream 0.
  Hello: 1,
  Welcome: 2,
  Proof: 3,
  Ready: 4,
  Ping: 5,
  Pong: 6,
  /** No new streams or requests from here on; those under way go on. Message: why. */
  GoAway: 7,
  /** The sender of this frame took `aux` bytes of data payload: the receiver may send as many more. */
  Window: 8,
  // Calls: off the per-I/O path, protobuf messages.
  /** `blocks`: the method. `aux`: the deadline in milliseconds from now. */
  Request: 16,
  /** `status`; a message with a good one, the reason in words with a bad one. */
  Response: 17,
  /** The answer to `request` is not wanted any more. */
  Cancel: 18,
  /** A message without an answer. `blocks`: the method. */
  Event: 19,
  /** The stream has ended, with `status`; what was under way on it gets no answer. */
  Reset: 20,
  // The per-I/O path: header fields, and blocks. docs/wire-protocol.md has a table of what each field means in each.
  Write: 32,
  Unmap: 33,
  Flush: 34,
  Read: 35,
  /** The end of a Write or Unmap at a member. */
  Applied: 36,
  Flushed: 37,
  /** The end of a Read; with its blocks, if it went well and asked for them. */
  ReadDone: 38,
  /** The blocks of the copy that the Event before it on this stream describes. */
  CopyBlocks: 39,
  /** With WireFeature.HeartbeatFrames; without it they are Events. */
  Heartbeat: 40,
  HeartbeatReply: 41,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

export const FrameFlag = {
  /** Write, Unmap: durable before Done (FUA, or no write cache). */
  Fua: 1,
  /** Read: check the blocks, and send none. */
  VerifyOnly: 2,
} as const;

/** 0 to 16 as in gRPC; from 32 on what only block storage knows. */
export const WireStatus = {
  Ok: 0,
  Cancelled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  Unauthenticated: 16,
  /** A higher epoch was promised (E2). */
  Fenced: 32,
  NoSpace: 33,
  /** Bad checksum, or unreadable (W9). */
  Damaged: 34,
  IoError: 35,
} as const;
export type WireStatus = (typeof WireStatus)[keyof typeof WireStatus];

export function statusName(status: number): string {
  for (const [name, value] of Object.entries(WireStatus)) if (value === status) return name;
  return `status ${status}`;
}

/** What a type's payload may be. */
export const PayloadKind = { None: 0, Message: 1, Data: 2 } as const;
export type PayloadKind = (typeof PayloadKind)[keyof typeof PayloadKind];

const UNKNOWN_TYPE = 255;
/** By type: its payload kind, or UNKNOWN_TYPE. */
const KINDS = new Uint8Array(256).fill(UNKNOWN_TYPE);
for (const type of [
  FrameType.Ping,
  FrameType.Pong,
  FrameType.Window,
  FrameType.Cancel,
  FrameType.Unmap,
  FrameType.Flush,
  FrameType.Read,
  FrameType.Applied,
  FrameType.Flushed,
  FrameType.Heartbeat,
  FrameType.HeartbeatReply,
]) {
  KINDS[type] = PayloadKind.None;
}
for (const type of [
  FrameType.Hello,
  FrameType.Welcome,
  FrameType.Proof,
  FrameType.Ready,
  FrameType.GoAway,
  FrameType.Request,
  FrameType.Response,
  FrameType.Event,
  FrameType.Reset,
]) {
  KINDS[type] = PayloadKind.Message;
}
for (const type of [FrameType.Write, FrameType.ReadDone, FrameType.CopyBlocks])
  KINDS[type] = PayloadKind.Data;

/** One object is filled again and again: whoever keeps a field copies it. */
export class FrameHeader {
  payloadBytes = 0;
  type = 0;
  flags = 0;
  status = 0;
  stream = 0;
  request = 0;
  epoch = 0;
  op = 0;
  lba = 0;
  blocks = 0;
  aux = 0;
  payloadCrc = 0;

  get kind(): PayloadKind {
    return KINDS[this.type] as PayloadKind;
  }

  /** Everything zero but the type. */
  begin(type: FrameType, stream: number): this {
    this.payloadBytes = 0;
    this.type = type;
    this.flags = 0;
    this.status = 0;
    this.stream = stream;
    this.request = 0;
    this.epoch = 0;
    this.op = 0;
    this.lba = 0;
    this.blocks = 0;
    this.aux = 0;
    this.payloadCrc = 0;
    return this;
  }
}

const TWO_32 = 2 ** 32;
export const MAX_EPOCH = 2 ** 24 - 1;
export const MAX_OP = 2 ** 40 - 1;

/** Writes `header` at `b[at, at + 48)`. */
export function encodeHeader(b: Uint8Array, at: number, header: Readonly<FrameHeader>): void {
  const { epoch, op, lba } = header;
  assert(at + HEADER_BYTES <= b.length);
  assert(epoch >= 0 && epoch <= MAX_EPOCH && op >= 0 && op <= MAX_OP);
  assert(Number.isSafeInteger(lba) && lba >= 0);
  put32(b, at, header.payloadBytes);
  b[at + 4] = header.type;
  b[at + 5] = header.flags;
  put16(b, at + 6, header.status);
  put32(b, at + 8, header.stream);
  put32(b, at + 12, header.request);
  put32(b, at + 16, op);
  put32(b, at + 20, (epoch << 8) | (op / TWO_32));
  put32(b, at + 24, lba);
  put32(b, at + 28, lba / TWO_32);
  put32(b, at + 32, header.blocks);
  put32(b, at + 36, header.aux);
  put32(b, at + 40, header.payloadCrc);
  put32(b, at + 44, crc32cJs(b, at, at + 44, 0));
}

/** Reads the header at `b[at, at + 48)` into `header`. Null, or what is wrong with it. */
export function decodeHeader(b: Uint8Array, at: number, header: FrameHeader): string | null {
  // In JavaScript: for so few bytes the crossing into native code costs more than it saves.
  if (get32(b, at + 44) !== crc32cJs(b, at, at + 44, 0)) return 'a header with a bad checksum';
  header.payloadBytes = get32(b, at);
  header.type = b[at + 4]!;
  header.flags = b[at + 5]!;
  header.status = get16(b, at + 6);
  header.stream = get32(b, at + 8);
  header.request = get32(b, at + 12);
  const upper = get32(b, at + 20);
  header.op = get32(b, at + 16) + (upper & 0xff) * TWO_32;
  header.epoch = upper >>> 8;
  header.lba = get32(b, at + 24) + get32(b, at + 28) * TWO_32;
  header.blocks = get32(b, at + 32);
  header.aux = get32(b, at + 36);
  header.payloadCrc = get32(b, at + 40);
  const { payloadBytes, blocks } = header;
  if (!Number.isSafeInteger(header.lba + blocks)) return 'a block address beyond 2^53';
  switch (KINDS[header.type]) {
    case PayloadKind.None:
      return payloadBytes === 0 ? null : `a payload on a frame of type ${header.type}`;
    case PayloadKind.Message:
      return payloadBytes <= MAX_MESSAGE_BYTES ? null : `a message of ${payloadBytes} bytes`;
    case PayloadKind.Data:
      if (blocks === 0)
        return payloadBytes === 0 ? null : 'a data frame of no blocks with a payload';
      if (blocks > MAX_DATA_BLOCKS) return `a data frame of ${blocks} blocks`;
      return payloadBytes === dataPayloadBytes(blocks)
        ? null
        : `a data frame of ${blocks} blocks in ${payloadBytes} bytes`;
    default:
      return `an unknown frame type ${header.type}`;
  }
}

/** The CRC32C of block `index` of `data`. */
export function blockCrc(data: Uint8Array, byteOffset: number): number {
  return crc32c(data, byteOffset, byteOffset + WIRE_BLOCK_BYTES);
}

/** For tests: the bytes of one frame. */
export function frameBytes(header: FrameHeader, payload: Uint8Array = new Uint8Array(0)): Buffer {
  header.payloadBytes = payload.length;
  const b = Buffer.alloc(HEADER_BYTES + payload.length);
  b.set(payload, HEADER_BYTES);
  encodeHeader(b, 0, header);
  return b;
}
