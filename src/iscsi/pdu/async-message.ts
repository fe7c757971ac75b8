// Asynchronous Message, RFC 7143 §11.9: what the target says unasked.
//
//    0 0x32      1 0x80                 2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength: sense data of a SCSI event, else 0
//    8 LUN, of a SCSI event            16 FFFFFFFFh        20 reserved
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN
//   36 AsyncEvent   37 AsyncVCode      38 Parameter1       40 Parameter2      42 Parameter3     44 reserved
import {
  FINAL,
  Opcode,
  putFirstWord,
  putLengths,
  putTargetNumbers,
  RESERVED_TAG,
  type TargetNumbers,
  zeroWords,
} from './bhs.ts';
import { get16, put16, put32 } from './bytes.ts';

/** §11.9.1. */
export const AsyncEvent = {
  ScsiEvent: 0,
  /** The initiator must log out within Parameter3 seconds. */
  LogoutRequested: 1,
  /** Parameter1: CID; Parameter2: Time2Wait; Parameter3: Time2Retain. */
  ConnectionDropped: 2,
  /** Parameter2: Time2Wait; Parameter3: Time2Retain. */
  SessionDropped: 3,
  /** Parameter3: seconds to begin a text negotiation in. */
  NegotiationRequested: 4,
  Vendor: 255,
} as const;
export type AsyncEvent = (typeof AsyncEvent)[keyof typeof AsyncEvent];

export interface AsyncMessage extends TargetNumbers {
  event: AsyncEvent;
  parameter1: number;
  parameter2: number;
  parameter3: number;
}

/** Writes the BHS of a message without data. */
export function encode(b: Buffer, at: number, pdu: Readonly<AsyncMessage>): void {
  putFirstWord(b, at, Opcode.AsyncMessage, FINAL, 0, 0);
  putLengths(b, at, 0, 0);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, RESERVED_TAG);
  put32(b, at + 20, 0);
  putTargetNumbers(b, at, pdu);
  b[at + 36] = pdu.event;
  b[at + 37] = 0;
  put16(b, at + 38, pdu.parameter1);
  put16(b, at + 40, pdu.parameter2);
  put16(b, at + 42, pdu.parameter3);
  put32(b, at + 44, 0);
}

export function event(b: Buffer, at: number): number {
  return b[at + 36]!;
}

/** `index`: 1, 2 or 3. */
export function parameter(b: Buffer, at: number, index: 1 | 2 | 3): number {
  return get16(b, at + 36 + 2 * index);
}
