// Text Request, RFC 7143 §11.10.
//
//    0 I 0x04    1 F C                  2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength
//    8 LUN                             16 ITT              20 TTT
//   24 CmdSN                           28 ExpStatSN        32-47 reserved
import {
  CONTINUE,
  FINAL,
  IMMEDIATE,
  isFinal,
  isImmediate,
  ittOf,
  Opcode,
  putFirstWord,
  putLengths,
  zeroWords,
} from './bhs.ts';
import { get32, put32 } from './bytes.ts';

export interface TextRequest {
  immediate: boolean;
  final: boolean;
  /** The text goes on in the next PDU; never with `final` (§11.10.2). */
  continues: boolean;
  dataBytes: number;
  itt: number;
  /** RESERVED_TAG begins an exchange, else the tag of the target's last answer. */
  ttt: number;
  cmdSn: number;
  expStatSn: number;
}

export function decode(b: Buffer, at: number): TextRequest {
  return {
    immediate: isImmediate(b, at),
    final: isFinal(b, at),
    continues: (b[at + 1]! & CONTINUE) !== 0,
    dataBytes: get32(b, at + 4) & 0xffffff,
    itt: ittOf(b, at),
    ttt: get32(b, at + 20),
    cmdSn: get32(b, at + 24),
    expStatSn: get32(b, at + 28),
  };
}

export function encode(b: Buffer, at: number, pdu: Readonly<TextRequest>): void {
  const flags = (pdu.final ? FINAL : 0) | (pdu.continues ? CONTINUE : 0);
  putFirstWord(b, at, Opcode.TextRequest | (pdu.immediate ? IMMEDIATE : 0), flags, 0, 0);
  putLengths(b, at, 0, pdu.dataBytes);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.ttt);
  put32(b, at + 24, pdu.cmdSn);
  put32(b, at + 28, pdu.expStatSn);
  zeroWords(b, at, 32, 48);
}
