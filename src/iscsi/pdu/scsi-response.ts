// SCSI Response, RFC 7143 §11.4.
//
//    0 0x21      1 1 . . o u O U .      2 response         3 status
//    4 TotalAHSLength 0                 5-7 DataSegmentLength: 0, or SenseLength (2) and sense data
//    8 reserved                        16 ITT              20 SNACK tag, 0
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN
//   36 ExpDataSN                       40 Bidirectional Read Residual Count    44 Residual Count
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

/** Flags of SCSI Response and Data-In (§11.4.1). */
export const Residual = { None: 0, Overflow: 0x04, Underflow: 0x02 } as const;
export type Residual = (typeof Residual)[keyof typeof Residual];

/** §11.4.3. */
export const ScsiResponseCode = { Completed: 0x00, TargetFailure: 0x01 } as const;
export type ScsiResponseCode = (typeof ScsiResponseCode)[keyof typeof ScsiResponseCode];

export interface ScsiResponse extends TargetNumbers {
  response: ScsiResponseCode;
  status: number;
  /** SenseLength and sense data: 0, or 2 more than the sense data. */
  dataBytes: number;
  itt: number;
  /** Data-In and R2T PDUs sent for this command (§11.4.8). */
  expDataSn: number;
  residual: Residual;
  residualBytes: number;
}

/** Writes the BHS. The data segment is the caller's: SenseLength, 16 bits, then the sense data. */
export function encode(b: Buffer, at: number, pdu: Readonly<ScsiResponse>): void {
  putFirstWord(b, at, Opcode.ScsiResponse, FINAL | pdu.residual, pdu.response, pdu.status);
  putLengths(b, at, 0, pdu.dataBytes);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, 0);
  putTargetNumbers(b, at, pdu);
  put32(b, at + 36, pdu.expDataSn);
  put32(b, at + 40, 0);
  put32(b, at + 44, pdu.residualBytes);
}

export function response(b: Buffer, at: number): number {
  return b[at + 2]!;
}

export function status(b: Buffer, at: number): number {
  return b[at + 3]!;
}

/** The residual flags: 0, Residual.Overflow or Residual.Underflow; both together are an error of the target. */
export function residual(b: Buffer, at: number): number {
  return b[at + 1]! & (Residual.Overflow | Residual.Underflow);
}

export function expDataSn(b: Buffer, at: number): number {
  return get32(b, at + 36);
}

export function residualBytes(b: Buffer, at: number): number {
  return get32(b, at + 44);
}
