// SCSI Data-Out, RFC 7143 §11.7: data of a write, unsolicited (TTT reserved) or asked for by an R2T.
//
//    0 0x05      1 F                    2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength
//    8 LUN                             16 ITT              20 TTT
//   24 reserved                        28 ExpStatSN        32 reserved
//   36 DataSN                          40 Buffer Offset    44 reserved
import { encodeLun } from '../../scsi/lun.ts';
import { FINAL, Opcode, putFirstWord, putLengths } from './bhs.ts';
import { get32, put32 } from './bytes.ts';

export interface DataOut {
  final: boolean;
  dataBytes: number;
  lun: number;
  itt: number;
  ttt: number;
  expStatSn: number;
  dataSn: number;
  bufferOffset: number;
}

/** RESERVED_TAG: unsolicited. */
export function ttt(b: Buffer, at: number): number {
  return get32(b, at + 20);
}

export function dataSn(b: Buffer, at: number): number {
  return get32(b, at + 36);
}

/** Where the data belong in the command's whole transfer, in bytes. */
export function bufferOffset(b: Buffer, at: number): number {
  return get32(b, at + 40);
}

/** Writes the BHS; the data are the caller's. */
export function encode(b: Buffer, at: number, pdu: Readonly<DataOut>): void {
  putFirstWord(b, at, Opcode.DataOut, pdu.final ? FINAL : 0, 0, 0);
  putLengths(b, at, 0, pdu.dataBytes);
  encodeLun(pdu.lun, b, at + 8);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.ttt);
  put32(b, at + 24, 0);
  put32(b, at + 28, pdu.expStatSn);
  put32(b, at + 32, 0);
  put32(b, at + 36, pdu.dataSn);
  put32(b, at + 40, pdu.bufferOffset);
  put32(b, at + 44, 0);
}
