// NOP-In, RFC 7143 §11.19: the answer to a ping (ITT of the ping, TTT reserved), a ping of ours (ITT reserved, TTT
// valid), or neither: only to tell the command window.
//
//    0 0x20      1 0x80                 2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength: ping data returned
//    8 LUN                             16 ITT              20 TTT
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN      36-47 reserved
import { encodeLun } from '../../scsi/lun.ts';
import {
  FINAL,
  Opcode,
  putFirstWord,
  putLengths,
  putTargetNumbers,
  type TargetNumbers,
  zeroWords,
} from './bhs.ts';
import { get32, put32 } from './bytes.ts';

/** `statSn` is the next to be used; it is advanced only in answer to a ping, ITT valid (§11.19.2). */
export interface NopIn extends TargetNumbers {
  dataBytes: number;
  lun: number;
  itt: number;
  ttt: number;
}

/** Writes the BHS; the ping data returned are the caller's. */
export function encode(b: Buffer, at: number, pdu: Readonly<NopIn>): void {
  putFirstWord(b, at, Opcode.NopIn, FINAL, 0, 0);
  putLengths(b, at, 0, pdu.dataBytes);
  encodeLun(pdu.lun, b, at + 8);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.ttt);
  putTargetNumbers(b, at, pdu);
  zeroWords(b, at, 36, 48);
}

export function ttt(b: Buffer, at: number): number {
  return get32(b, at + 20);
}
