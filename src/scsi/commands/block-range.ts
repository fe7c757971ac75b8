// The fields that block commands share: where LBA, length and flags are in 6-, 10-, 12- and 16-byte CDBs (SBC-4 §5), and
// the checks of a range.
import type { ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { MAX_TRANSFER_BYTES } from '../limits.ts';
import { Asc, SenseKey } from '../sense.ts';

/** Bits of byte 1 of most block commands. */
export const PROTECT = 0xe0;
export const DPO = 0x10;
export const FUA = 0x08;
/** Control byte, group number as usage data: bits that are evaluated, and bits that may be set. */
export const CONTROL = 0x04;
export const GROUP = 0x3f;

/** CDB sizes that block commands come in. */
export type CdbForm = 6 | 10 | 12 | 16;

/**
 * The LBA of a CDB. Of a 16-byte one it may lie past 2^53 and lose its low bits there: still above any capacity, which is
 * all that matters.
 */
export function lbaOf(cdb: Buffer, form: CdbForm): number {
  if (form === 10 || form === 12) return cdb.readUInt32BE(2);
  if (form === 16) return cdb.readUInt32BE(2) * 0x1_0000_0000 + cdb.readUInt32BE(6);
  return ((cdb[1]! & 0x1f) << 16) | (cdb[2]! << 8) | cdb[3]!;
}

/** The transfer length of a CDB, in blocks. READ(6) and WRITE(6) mean 256 by 0. */
export function blocksOf(cdb: Buffer, form: CdbForm): number {
  if (form === 10) return (cdb[7]! << 8) | cdb[8]!;
  if (form === 12) return cdb.readUInt32BE(6);
  if (form === 16) return cdb.readUInt32BE(10);
  return cdb[4]! || 256;
}

/** Where the transfer length field begins: what a field pointer at it says. */
export function lengthByteOf(form: CdbForm): number {
  if (form === 10) return 7;
  if (form === 12) return 6;
  return form === 16 ? 10 : 4;
}

/** CDB usage data of a block command: opcode, byte 1, LBA, length, group number, control. */
export function blockUsage(opcode: number, form: CdbForm, byte1: number): number[] {
  const ff = (count: number): number[] => new Array<number>(count).fill(0xff);
  if (form === 6) return [opcode, 0x1f, 0xff, 0xff, 0xff, CONTROL];
  if (form === 10) return [opcode, byte1, ...ff(4), GROUP, ...ff(2), CONTROL];
  if (form === 12) return [opcode, byte1, ...ff(8), GROUP, CONTROL];
  return [opcode, byte1, ...ff(12), GROUP, CONTROL];
}

/**
 * Sets `lba`, `blocks` and `bytes` of the execution, if the range lies on the medium; else ends it. An LBA past the end
 * fails even when no block is asked for (SBC-4 §4.5). True: go on.
 */
export function takeRange(execution: Execution, lba: number, blocks: number): boolean {
  const { geometry } = execution.lu.device;
  if (lba >= geometry.blocks || blocks > geometry.blocks - lba) {
    execution.failWith(SenseKey.IllegalRequest, Asc.LbaOutOfRange);
    return false;
  }
  execution.lba = lba;
  execution.blocks = blocks;
  execution.bytes = blocks * geometry.logicalBlockBytes;
  return true;
}

/** As `takeRange`, by the CDB, for what moves data: also no longer than MAXIMUM TRANSFER LENGTH. */
export function takeTransfer(execution: Execution, form: CdbForm): boolean {
  const { cdb } = execution;
  if (!takeRange(execution, lbaOf(cdb, form), blocksOf(cdb, form))) return false;
  if (execution.bytes <= MAX_TRANSFER_BYTES) return true;
  execution.failField(lengthByteOf(form));
  return false;
}

/** RDPROTECT and its kin must be zero: there is no protection information (SBC-4 §4.21). */
export function refusesProtection(execution: Execution): boolean {
  if ((execution.cdb[1]! & PROTECT) === 0) return false;
  execution.failField(1, 7);
  return true;
}

/** A command that writes meets write protection before its data is asked for. */
export function refusesWrite(execution: Execution): boolean {
  const { lu } = execution;
  if (!lu.writeProtected) return false;
  const code = lu.device.readOnly ? Asc.WriteProtected : Asc.SoftwareWriteProtected;
  execution.failWith(SenseKey.DataProtect, code);
  return true;
}

/** For commands that are nothing without exactly the data their CDB describes (T12). True: ended. */
export function refusesLength(execution: Execution, wantedBytes: number): boolean {
  if (execution.task.expectedBytes === wantedBytes) return false;
  failDataLength(execution);
  return true;
}

/** The transport's data length contradicts the CDB: 05h/0Eh/03h. */
export function failDataLength(execution: Execution): typeof ENDED {
  return execution.failWith(SenseKey.IllegalRequest, Asc.InvalidFieldInCommandInformationUnit);
}
