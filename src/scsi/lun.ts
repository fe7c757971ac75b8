// Logical unit numbers, SAM-5 §4.7: eight bytes, of which a single level is all that we hand out.
import { assert } from '../base/index.ts';

/** What `decodeLun` answers for a format that addresses nothing of ours. */
export const NO_LUN = -1;
/** The REPORT LUNS well-known logical unit, C101h (SPC-4 §8.2). */
export const REPORT_LUNS_WELL_KNOWN_LUN = 0xc101;
/** Flat space addressing carries 14 bits. */
export const MAX_LUN = 0x3fff;

/** The 8-byte LUN field at `at` as a `ScsiTask.lun`. */
export function decodeLun(bytes: Buffer, at: number): number {
  // Levels two to four must be empty: there is nothing behind us to route to.
  if (bytes.readUInt32BE(at + 4) !== 0 || bytes.readUInt16BE(at + 2) !== 0) return NO_LUN;
  const level = bytes.readUInt16BE(at);
  switch (level >> 14) {
    case 0: // Peripheral device addressing; bus identifier 0 only.
      return level <= 0xff ? level : NO_LUN;
    case 1: // Flat space addressing.
      return level & 0x3fff;
    case 3:
      return level === REPORT_LUNS_WELL_KNOWN_LUN ? level : NO_LUN;
    default:
      return NO_LUN;
  }
}

/** Writes `lun` as REPORT LUNS lists it: peripheral addressing up to 255, flat above. */
export function encodeLun(lun: number, bytes: Buffer, at: number): void {
  assert(
    Number.isInteger(lun) && lun >= 0 && (lun <= MAX_LUN || lun === REPORT_LUNS_WELL_KNOWN_LUN),
  );
  bytes.fill(0, at, at + 8);
  bytes.writeUInt16BE(lun <= 0xff || lun === REPORT_LUNS_WELL_KNOWN_LUN ? lun : 0x4000 | lun, at);
}
