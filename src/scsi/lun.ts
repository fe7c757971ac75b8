// Logical unit numbers, SAM-5 §4.7: eight bytes, of which a single level is all that we hand out.
import { assert } from '../base/index.ts';

/** What `decodeLun` answers for a format that addresses nothing of ours. */
export const NO_LUN = -1;
/** The REPORT LUNS well-known logical unit, C101h (SPC-4 §8.2). */
export const REPORT_LUNS_WELL_KNOWN_LUN = 0xc101;
/** Flat space addressing carries 14 bits. */
export const MAX_LUN = 0x3fff;

/** The 8-byte LUN field at `at` as a `ScsiTask.lun`. Hot path: every command has one. */
export function decodeLun(bytes: Buffer, at: number): number {
  // Levels two to four must be empty: there is nothing behind us to route to.
  const below =
    bytes[at + 2]! |
    bytes[at + 3]! |
    bytes[at + 4]! |
    bytes[at + 5]! |
    bytes[at + 6]! |
    bytes[at + 7]!;
  if (below !== 0) return NO_LUN;
  const level = (bytes[at]! << 8) | bytes[at + 1]!;
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
  const level = lun <= 0xff || lun === REPORT_LUNS_WELL_KNOWN_LUN ? lun : 0x4000 | lun;
  bytes[at] = level >> 8;
  bytes[at + 1] = level;
  for (let byte = at + 2; byte < at + 8; byte += 1) bytes[byte] = 0;
}
