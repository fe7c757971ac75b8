// SCSI Command, RFC 7143 §11.3.
//
//    0 I 0x01    1 F R W . . ATTR(3)    2-3 reserved
//    4 TotalAHSLength                   5-7 DataSegmentLength: immediate data
//    8 LUN                             16 ITT              20 Expected Data Transfer Length
//   24 CmdSN                           28 ExpStatSN        32-47 CDB
//
// Read in place: a field a function, nothing is allocated. AHS (extended CDB, bidirectional length): ahs.ts.

import { encodeLun } from '../../scsi/lun.ts';
import { TaskAttribute } from '../../scsi/task.ts';
import { FINAL, IMMEDIATE, Opcode, putFirstWord, putLengths } from './bhs.ts';
import { get32, put32 } from './bytes.ts';

export const READS = 0x40;
export const WRITES = 0x20;
const ATTRIBUTES = 0x07;

export interface ScsiCommand {
  immediate: boolean;
  final: boolean;
  reads: boolean;
  writes: boolean;
  attribute: TaskAttribute;
  ahsBytes: number;
  dataBytes: number;
  lun: number;
  itt: number;
  edtlBytes: number;
  cmdSn: number;
  expStatSn: number;
  /** At most 16 bytes; what is missing is zero. */
  cdb: Uint8Array;
}

/** Where the 16 bytes of CDB begin, from the BHS on. */
export const CDB_OFFSET = 32;
export const CDB_BYTES = 16;

export function reads(b: Buffer, at: number): boolean {
  return (b[at + 1]! & READS) !== 0;
}

export function writes(b: Buffer, at: number): boolean {
  return (b[at + 1]! & WRITES) !== 0;
}

/** Reserved values (5 to 7) are taken as Simple. */
export function attribute(b: Buffer, at: number): TaskAttribute {
  const value = b[at + 1]! & ATTRIBUTES;
  return value <= TaskAttribute.Aca ? (value as TaskAttribute) : TaskAttribute.Simple;
}

/** Expected Data Transfer Length (§11.3.4). */
export function edtlBytes(b: Buffer, at: number): number {
  return get32(b, at + 20);
}

/** Writes the BHS; AHS and immediate data are the caller's. */
export function encode(b: Buffer, at: number, command: Readonly<ScsiCommand>): void {
  const flags =
    (command.final ? FINAL : 0) |
    (command.reads ? READS : 0) |
    (command.writes ? WRITES : 0) |
    command.attribute;
  putFirstWord(b, at, Opcode.ScsiCommand | (command.immediate ? IMMEDIATE : 0), flags, 0, 0);
  putLengths(b, at, command.ahsBytes, command.dataBytes);
  encodeLun(command.lun, b, at + 8);
  put32(b, at + 16, command.itt);
  put32(b, at + 20, command.edtlBytes);
  put32(b, at + 24, command.cmdSn);
  put32(b, at + 28, command.expStatSn);
  for (let index = 0; index < CDB_BYTES; index += 1) {
    b[at + CDB_OFFSET + index] = command.cdb[index] ?? 0;
  }
}
