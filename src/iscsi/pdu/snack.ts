// SNACK Request, RFC 7143 §11.16. At error recovery level 0 it is answered with a Reject (§11.16: not allowed), so
// only what a Reject and a log line need is decoded.
//
//    0 0x10      1 1 . . . type(4)      2-3 reserved
//    8 LUN                             16 ITT              20 TTT or SNACK tag
//   24 reserved                        28 ExpStatSN        32 reserved
//   40 BegRun                          44 RunLength
import { encodeLun } from '../../scsi/lun.ts';
import { FINAL, Opcode, putFirstWord, putLengths, zeroWords } from './bhs.ts';
import { put32 } from './bytes.ts';

export interface Snack {
  type: number;
  lun: number;
  itt: number;
  ttt: number;
  expStatSn: number;
  begRun: number;
  runLength: number;
}

export function type(b: Buffer, at: number): number {
  return b[at + 1]! & 0x0f;
}

export function encode(b: Buffer, at: number, pdu: Readonly<Snack>): void {
  putFirstWord(b, at, Opcode.SnackRequest, FINAL | pdu.type, 0, 0);
  putLengths(b, at, 0, 0);
  encodeLun(pdu.lun, b, at + 8);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.ttt);
  put32(b, at + 24, 0);
  put32(b, at + 28, pdu.expStatSn);
  zeroWords(b, at, 32, 40);
  put32(b, at + 40, pdu.begRun);
  put32(b, at + 44, pdu.runLength);
}
