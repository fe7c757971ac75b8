// SCSI Data-In, RFC 7143 §11.7: data of a read; the last one may carry the status (phase collapse).
//
//    0 0x25      1 F A . . . O U S      2 reserved         3 status, if S
//    4 TotalAHSLength 0                 5-7 DataSegmentLength
//    8 LUN, if A                       16 ITT              20 TTT, if A, else FFFFFFFFh
//   24 StatSN, if S                    28 ExpCmdSN         32 MaxCmdSN
//   36 DataSN                          40 Buffer Offset    44 Residual Count, if S
//
// At error recovery level 0 the A bit is never set (§11.7.2), so LUN and TTT say nothing.
import { assert } from '../../base/index.ts';
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
import { get32, put32 } from './bytes.ts';
import type { Residual } from './scsi-response.ts';

const STATUS = 0x01;

export interface DataIn extends TargetNumbers {
  /** Ends a sequence (MaxBurstLength). */
  final: boolean;
  /** Carries status, StatSN and residual: only with `final`. Without it `statSn` must be 0 (reserved). */
  hasStatus: boolean;
  status: number;
  dataBytes: number;
  itt: number;
  dataSn: number;
  bufferOffset: number;
  residual: Residual;
  residualBytes: number;
}

/** Writes the BHS; the data are the caller's. */
export function encode(b: Buffer, at: number, pdu: Readonly<DataIn>): void {
  // Only a status may be Good, Condition Met and their like; sense data need a SCSI Response (§11.7.3).
  assert(pdu.hasStatus ? pdu.final : pdu.residual === 0 && pdu.residualBytes === 0);
  const flags = (pdu.final ? FINAL : 0) | (pdu.hasStatus ? STATUS | pdu.residual : 0);
  putFirstWord(b, at, Opcode.DataIn, flags, 0, pdu.hasStatus ? pdu.status : 0);
  putLengths(b, at, 0, pdu.dataBytes);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, RESERVED_TAG);
  putTargetNumbers(b, at, pdu);
  if (!pdu.hasStatus) put32(b, at + 24, 0);
  put32(b, at + 36, pdu.dataSn);
  put32(b, at + 40, pdu.bufferOffset);
  put32(b, at + 44, pdu.residualBytes);
}

export function hasStatus(b: Buffer, at: number): boolean {
  return (b[at + 1]! & STATUS) !== 0;
}

export function dataSn(b: Buffer, at: number): number {
  return get32(b, at + 36);
}

export function bufferOffset(b: Buffer, at: number): number {
  return get32(b, at + 40);
}
