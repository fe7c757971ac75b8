// Reject, RFC 7143 §11.17: the data segment is the header (BHS and AHS) of the PDU that was refused.
//
//    0 0x3f      1 0x80                 2 reason           3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength
//    8 reserved                        16 FFFFFFFFh        20 reserved
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN
//   36 DataSN/R2TSN or reserved        40-47 reserved
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
import { put32 } from './bytes.ts';

/** §11.17.1. */
export const RejectReason = {
  DataDigestError: 0x02,
  SnackReject: 0x03,
  ProtocolError: 0x04,
  CommandNotSupported: 0x05,
  ImmediateCommandReject: 0x06,
  TaskInProgress: 0x07,
  InvalidDataAck: 0x08,
  InvalidPduField: 0x09,
  LongOperationReject: 0x0a,
  NegotiationReset: 0x0b,
  WaitingForLogout: 0x0c,
} as const;
export type RejectReason = (typeof RejectReason)[keyof typeof RejectReason];

export interface Reject extends TargetNumbers {
  reason: RejectReason;
  /** Bytes of the refused header that follow: BHS_BYTES, and its AHS. */
  dataBytes: number;
}

/** Writes the BHS; the refused header is the caller's to copy. */
export function encode(b: Buffer, at: number, pdu: Readonly<Reject>): void {
  putFirstWord(b, at, Opcode.Reject, FINAL, pdu.reason, 0);
  putLengths(b, at, 0, pdu.dataBytes);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, RESERVED_TAG);
  put32(b, at + 20, 0);
  putTargetNumbers(b, at, pdu);
  zeroWords(b, at, 36, 48);
}

export function reason(b: Buffer, at: number): number {
  return b[at + 2]!;
}
