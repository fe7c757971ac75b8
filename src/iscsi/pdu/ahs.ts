// Additional Header Segments, RFC 7143 §11.2.2: after the BHS, each padded to four bytes.
//
//    0-1 AHSLength: bytes that follow byte 2, without padding     2 type     3 AHS-specific
//
//   type 1, extended CDB (§11.2.2.3):   3 reserved    4... CDB bytes from the 17th on   (AHSLength = CDB length - 15)
//   type 2, bidirectional read (§11.2.2.4): 3 reserved    4-7 Expected Read Data Transfer Length   (AHSLength = 5)
import { ahsBytesOf, BHS_BYTES, padded } from './bhs.ts';
import { get16, get32 } from './bytes.ts';
import { CDB_BYTES, CDB_OFFSET } from './scsi-command.ts';

export const AhsType = { ExtendedCdb: 1, BidirectionalRead: 2 } as const;

/** SPC-4 §4.2.3: a variable-length CDB has at most 260 bytes. */
export const MAX_CDB_BYTES = 260;

export interface CommandAhs {
  /** The whole CDB when it was extended, a copy; else null. */
  cdb: Buffer | null;
  /** Expected Read Data Transfer Length of a bidirectional command; -1 if there is none. */
  bidirectionalReadBytes: number;
}

/**
 * The AHS of a SCSI Command whose BHS is at `at`. null: they are malformed (a length that overruns, an unknown type, a
 * type twice), which is a protocol error of the initiator.
 */
export function decodeCommandAhs(b: Buffer, at: number): CommandAhs | null {
  const result: CommandAhs = { cdb: null, bidirectionalReadBytes: -1 };
  const end = at + BHS_BYTES + ahsBytesOf(b, at);
  for (let next = at + BHS_BYTES; next < end; ) {
    const length = get16(b, next);
    const after = next + padded(3 + length);
    if (length === 0 || after > end) return null;
    if (b[next + 2] === AhsType.ExtendedCdb) {
      const extraBytes = length - 1; // The byte at 3 is counted, and reserved.
      if (result.cdb !== null || CDB_BYTES + extraBytes > MAX_CDB_BYTES) return null;
      const cdb = Buffer.allocUnsafe(CDB_BYTES + extraBytes);
      b.copy(cdb, 0, at + CDB_OFFSET, at + CDB_OFFSET + CDB_BYTES);
      b.copy(cdb, CDB_BYTES, next + 4, next + 4 + extraBytes);
      result.cdb = cdb;
    } else if (b[next + 2] === AhsType.BidirectionalRead) {
      if (result.bidirectionalReadBytes !== -1 || length !== 5) return null;
      result.bidirectionalReadBytes = get32(b, next + 4);
    } else {
      return null;
    }
    next = after;
  }
  return result;
}
