// Logout Response, RFC 7143 §11.15.
//
//    0 0x26      1 0x80                 2 response         3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength 0
//    8 reserved                        16 ITT              20 reserved
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN
//   36 reserved                        40 Time2Wait        42 Time2Retain   44 reserved
import {
  FINAL,
  Opcode,
  putFirstWord,
  putLengths,
  putTargetNumbers,
  type TargetNumbers,
  zeroWords,
} from './bhs.ts';
import { get16, put32 } from './bytes.ts';

/** §11.15.1. */
export const LogoutResponseCode = {
  Closed: 0,
  CidNotFound: 1,
  RecoveryNotSupported: 2,
  CleanupFailed: 3,
} as const;
export type LogoutResponseCode = (typeof LogoutResponseCode)[keyof typeof LogoutResponseCode];

export interface LogoutResponse extends TargetNumbers {
  response: LogoutResponseCode;
  itt: number;
  time2WaitSeconds: number;
  time2RetainSeconds: number;
}

export function encode(b: Buffer, at: number, pdu: Readonly<LogoutResponse>): void {
  putFirstWord(b, at, Opcode.LogoutResponse, FINAL, pdu.response, 0);
  putLengths(b, at, 0, 0);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, 0);
  putTargetNumbers(b, at, pdu);
  put32(b, at + 36, 0);
  put32(b, at + 40, (pdu.time2WaitSeconds << 16) | pdu.time2RetainSeconds);
  put32(b, at + 44, 0);
}

export function response(b: Buffer, at: number): number {
  return b[at + 2]!;
}

export function time2WaitSeconds(b: Buffer, at: number): number {
  return get16(b, at + 40);
}
