// Ready To Transfer, RFC 7143 §11.8: the target asks for one burst of a write's data.
//
//    0 0x31      1 0x80                 2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength 0
//    8 LUN                             16 ITT              20 TTT
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN
//   36 R2TSN                           40 Buffer Offset    44 Desired Data Transfer Length

import { assert } from '../../base/index.ts';
import { encodeLun } from '../../scsi/lun.ts';
import {
  FINAL,
  Opcode,
  putFirstWord,
  putLengths,
  putTargetNumbers,
  RESERVED_TAG,
  type TargetNumbers,
} from './bhs.ts';
import { get32, put32 } from './bytes.ts';

/** `statSn` is the next one to be used: carried, not advanced, as an R2T has no status (§11.8.3). */
export interface R2t extends TargetNumbers {
  lun: number;
  itt: number;
  ttt: number;
  r2tSn: number;
  bufferOffset: number;
  desiredBytes: number;
}

/** Writes the BHS, which is all of it. */
export function encode(b: Buffer, at: number, pdu: Readonly<R2t>): void {
  assert(pdu.ttt !== RESERVED_TAG);
  assert(pdu.desiredBytes > 0);
  putFirstWord(b, at, Opcode.R2t, FINAL, 0, 0);
  putLengths(b, at, 0, 0);
  encodeLun(pdu.lun, b, at + 8);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.ttt);
  putTargetNumbers(b, at, pdu);
  put32(b, at + 36, pdu.r2tSn);
  put32(b, at + 40, pdu.bufferOffset);
  put32(b, at + 44, pdu.desiredBytes);
}

export function ttt(b: Buffer, at: number): number {
  return get32(b, at + 20);
}

export function r2tSn(b: Buffer, at: number): number {
  return get32(b, at + 36);
}

export function bufferOffset(b: Buffer, at: number): number {
  return get32(b, at + 40);
}

export function desiredBytes(b: Buffer, at: number): number {
  return get32(b, at + 44);
}
