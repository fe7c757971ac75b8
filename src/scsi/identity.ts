// Who a logical unit is: everything a host may recognise it by again, all of it made from the volume's UUID, so that it
// stays the same over restarts, renames and moves.
import { createHash } from 'node:crypto';
import { assert } from '../base/index.ts';

export const VENDOR = 'ASHLAR';
export const PRODUCT = 'VIRTUAL DISK';
/** Four characters; changes with the behaviour of the device server. */
export const REVISION = '0001';

export interface Identity {
  /** The volume's UUID, lower case. */
  readonly uuid: string;
  /** VPD page 80h: the UUID's 32 hex digits. */
  readonly serial: string;
  /** VPD page 83h, the designators of the logical unit. */
  readonly naa: Buffer;
  readonly t10: Buffer;
}

/** One designation descriptor of VPD page 83h (SPC-4 §7.8.6). */
export interface Designator {
  /** 1 binary, 2 ASCII, 3 UTF-8. */
  readonly codeSet: number;
  /** 1 T10 vendor ID, 3 NAA, 4 relative target port, 5 target port group, 8 SCSI name string. */
  readonly type: number;
  /** 0 logical unit, 1 target port, 2 target device. */
  readonly association: number;
  readonly bytes: Buffer;
}

/** Pads or cuts `text` to `length` ASCII bytes, with spaces, as SPC-4 §4.4.1 wants left-aligned fields. */
export function asciiField(text: string, length: number): Buffer {
  const bytes = Buffer.alloc(length, 0x20);
  bytes.write(text.slice(0, length), 'latin1');
  return bytes;
}

export function identityOf(uuid: string): Identity {
  const serial = uuid.toLowerCase().replaceAll('-', '');
  assert(/^[0-9a-f]{32}$/.test(serial), 'a volume id is a UUID');
  // NAA 3h, locally assigned (SPC-4 §7.8.6.6.4): 60 bits of our own choice. NAA 6h would need an IEEE company
  // identifier, and using another's is how two arrays come to share a name.
  const naa = createHash('sha256').update(serial).digest().subarray(0, 8);
  naa[0] = 0x30 | (naa[0]! & 0x0f);
  const t10 = Buffer.concat([asciiField(VENDOR, 8), Buffer.from(serial, 'latin1')]);
  return { uuid, serial, naa: Buffer.from(naa), t10 };
}

/** The designators of the logical unit itself: what EXTENDED COPY's target descriptors may name. */
export function unitDesignators(identity: Identity): Designator[] {
  return [
    { codeSet: 1, type: 3, association: 0, bytes: identity.naa },
    { codeSet: 2, type: 1, association: 0, bytes: identity.t10 },
  ];
}
