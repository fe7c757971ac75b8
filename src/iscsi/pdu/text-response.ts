// Text Response, RFC 7143 §11.11.
//
//    0 0x24      1 F C                  2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength
//    8 LUN                             16 ITT              20 TTT
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN      36-47 reserved
import { assert } from '../../base/index.ts';
import {
  CONTINUE,
  FINAL,
  isFinal,
  ittOf,
  Opcode,
  putFirstWord,
  putLengths,
  putTargetNumbers,
  RESERVED_TAG,
  type TargetNumbers,
  targetNumbersOf,
  zeroWords,
} from './bhs.ts';
import { get32, put32 } from './bytes.ts';

export interface TextResponse extends TargetNumbers {
  final: boolean;
  continues: boolean;
  dataBytes: number;
  itt: number;
  /** RESERVED_TAG exactly when `final` (§11.11.4). */
  ttt: number;
}

/** Writes the BHS; the text is the caller's. */
export function encode(b: Buffer, at: number, pdu: Readonly<TextResponse>): void {
  assert(pdu.final === (pdu.ttt === RESERVED_TAG));
  assert(!(pdu.final && pdu.continues));
  const flags = (pdu.final ? FINAL : 0) | (pdu.continues ? CONTINUE : 0);
  putFirstWord(b, at, Opcode.TextResponse, flags, 0, 0);
  putLengths(b, at, 0, pdu.dataBytes);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.ttt);
  putTargetNumbers(b, at, pdu);
  zeroWords(b, at, 36, 48);
}

export function decode(b: Buffer, at: number): TextResponse {
  return {
    final: isFinal(b, at),
    continues: (b[at + 1]! & CONTINUE) !== 0,
    dataBytes: get32(b, at + 4) & 0xffffff,
    itt: ittOf(b, at),
    ttt: get32(b, at + 20),
    ...targetNumbersOf(b, at),
  };
}
