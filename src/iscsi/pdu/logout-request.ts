// Logout Request, RFC 7143 §11.14.
//
//    0 I 0x06    1 1 reason(7)          2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength 0
//    8 reserved                        16 ITT              20 CID (2), reserved (2)
//   24 CmdSN                           28 ExpStatSN        32-47 reserved
import {
  FINAL,
  IMMEDIATE,
  isImmediate,
  ittOf,
  Opcode,
  putFirstWord,
  putLengths,
  zeroWords,
} from './bhs.ts';
import { get16, get32, put32 } from './bytes.ts';

/** §11.14.1. */
export const LogoutReason = {
  CloseSession: 0,
  CloseConnection: 1,
  RemoveConnectionForRecovery: 2,
} as const;

export interface LogoutRequest {
  immediate: boolean;
  /** One of LogoutReason, or a number that is none. */
  reason: number;
  itt: number;
  cid: number;
  cmdSn: number;
  expStatSn: number;
}

export function decode(b: Buffer, at: number): LogoutRequest {
  return {
    immediate: isImmediate(b, at),
    reason: b[at + 1]! & 0x7f,
    itt: ittOf(b, at),
    cid: get16(b, at + 20),
    cmdSn: get32(b, at + 24),
    expStatSn: get32(b, at + 28),
  };
}

export function encode(b: Buffer, at: number, pdu: Readonly<LogoutRequest>): void {
  const opcode = Opcode.LogoutRequest | (pdu.immediate ? IMMEDIATE : 0);
  putFirstWord(b, at, opcode, FINAL | pdu.reason, 0, 0);
  putLengths(b, at, 0, 0);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.cid << 16);
  put32(b, at + 24, pdu.cmdSn);
  put32(b, at + 28, pdu.expStatSn);
  zeroWords(b, at, 32, 48);
}
