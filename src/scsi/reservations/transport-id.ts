// iSCSI TransportIDs, SPC-4 §7.6.4.6: how PERSISTENT RESERVE parameter data names an initiator port.
//
//    0 FORMAT CODE (bits 7-6), PROTOCOL IDENTIFIER 5h (bits 3-0)    1 reserved    2-3 ADDITIONAL LENGTH
//    4 the name, null-terminated, null-padded to a multiple of four, at least 20 bytes:
//      format 00b  iSCSI name                      the initiator device, by whatever port
//      format 01b  iSCSI name ",i,0x" ISID         one initiator port

const ISCSI = 0x5;
const MIN_NAME_BYTES = 20;
/** iSCSI names have up to 223 bytes (RFC 7143 §4.2.7.1); with ",i,0x", an ISID and the null. */
const MAX_NAME_BYTES = 244;
const PORT_NAME = /^([^,]+),i,0x([0-9a-f]{1,12})$/;

export interface TransportId {
  /** The iSCSI name, lower case. */
  readonly initiatorName: string;
  /** `<iqn>,i,0x<isid>`, as `Nexus.initiatorPort`; null with format 00b. */
  readonly initiatorPort: string | null;
  /** Its length in the parameter list, in bytes. */
  readonly bytes: number;
}

/** The one spelling of an initiator port name: lower case, the ISID in 12 digits. */
export function canonicalPort(port: string): string {
  const match = PORT_NAME.exec(port.toLowerCase());
  if (match === null) return port.toLowerCase();
  return `${match[1]},i,0x${match[2]!.padStart(12, '0')}`;
}

/** The TransportID of an initiator port, in format 01b. */
export function encodeTransportId(initiatorPort: string): Buffer {
  const name = Buffer.from(initiatorPort, 'utf8');
  const nameBytes = Math.max(MIN_NAME_BYTES, Math.ceil((name.length + 1) / 4) * 4);
  const bytes = Buffer.alloc(4 + nameBytes);
  bytes[0] = 0x40 | ISCSI;
  bytes.writeUInt16BE(nameBytes, 2);
  name.copy(bytes, 4);
  return bytes;
}

/** The TransportID at `at`, or null where there is none that is sound. */
export function decodeTransportId(list: Buffer, at: number): TransportId | null {
  if (at + 4 > list.length || (list[at]! & 0x0f) !== ISCSI) return null;
  const format = list[at]! >> 6;
  const nameBytes = list.readUInt16BE(at + 2);
  if (nameBytes < MIN_NAME_BYTES || nameBytes > MAX_NAME_BYTES || nameBytes % 4 !== 0) return null;
  if (at + 4 + nameBytes > list.length) return null;
  const field = list.subarray(at + 4, at + 4 + nameBytes);
  const end = field.indexOf(0);
  if (end <= 0) return null;
  const name = field.toString('utf8', 0, end).toLowerCase();
  const bytes = 4 + nameBytes;
  if (format === 0) {
    return name.includes(',') ? null : { initiatorName: name, initiatorPort: null, bytes };
  }
  const match = PORT_NAME.exec(name);
  if (format !== 1 || match === null) return null;
  return { initiatorName: match[1]!, initiatorPort: canonicalPort(name), bytes };
}
