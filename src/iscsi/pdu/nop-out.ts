// NOP-Out, RFC 7143 §11.18: a ping (ITT valid), or the answer to ours (ITT reserved, TTT valid).
//
//    0 I 0x00    1 0x80                 2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength: ping data
//    8 LUN                             16 ITT              20 TTT
//   24 CmdSN                           28 ExpStatSN        32-47 reserved
import { encodeLun } from '../../scsi/lun.ts';
import { FINAL, IMMEDIATE, Opcode, putFirstWord, putLengths, zeroWords } from './bhs.ts';
import { get32, put32 } from './bytes.ts';

export interface NopOut {
  immediate: boolean;
  dataBytes: number;
  lun: number;
  itt: number;
  ttt: number;
  cmdSn: number;
  expStatSn: number;
}

export function ttt(b: Buffer, at: number): number {
  return get32(b, at + 20);
}

/** Writes the BHS; ping data are the caller's. */
export function encode(b: Buffer, at: number, pdu: Readonly<NopOut>): void {
  putFirstWord(b, at, Opcode.NopOut | (pdu.immediate ? IMMEDIATE : 0), FINAL, 0, 0);
  putLengths(b, at, 0, pdu.dataBytes);
  encodeLun(pdu.lun, b, at + 8);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.ttt);
  put32(b, at + 24, pdu.cmdSn);
  put32(b, at + 28, pdu.expStatSn);
  zeroWords(b, at, 32, 48);
}
