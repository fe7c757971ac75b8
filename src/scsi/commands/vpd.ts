// Vital product data pages, SPC-4 §7.8 and SBC-4 §6.6.
import { type Designator, unitDesignators } from '../identity.ts';
import {
  MAX_TRANSFER_BYTES,
  MAX_UNMAP_BLOCKS,
  MAX_UNMAP_DESCRIPTORS,
  MAX_WRITE_SAME_BLOCKS,
  OPTIMAL_TRANSFER_BYTES,
} from '../limits.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import { thresholdExponent } from '../provisioning.ts';
import type { Nexus } from '../task.ts';
import { thirdPartyCopyDescriptors } from './extended-copy.ts';

const SUPPORTED_PAGES = [0x00, 0x80, 0x83, 0x86, 0x8f, 0xb0, 0xb1, 0xb2];

/** The page, header and all; null when there is none such. */
export function vpdPage(code: number, unit: LogicalUnit, nexus: Nexus): Buffer | null {
  switch (code) {
    case 0x00:
      return page(code, Buffer.from(SUPPORTED_PAGES));
    case 0x80:
      return page(code, Buffer.from(unit.identity.serial, 'latin1'));
    case 0x83:
      return page(code, Buffer.concat(designators(unit, nexus).map(encodeDesignator)));
    case 0x86:
      return page(code, extendedInquiry());
    case 0x8f:
      return page(code, thirdPartyCopyDescriptors());
    case 0xb0:
      return page(code, blockLimits(unit));
    case 0xb1:
      return page(code, blockDeviceCharacteristics(unit));
    case 0xb2:
      return page(code, logicalBlockProvisioning(unit));
    default:
      return null;
  }
}

function page(code: number, body: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + body.length);
  bytes[1] = code;
  bytes.writeUInt16BE(body.length, 2);
  body.copy(bytes, 4);
  return bytes;
}

function designators(unit: LogicalUnit, nexus: Nexus): Designator[] {
  const port = Buffer.alloc(4);
  port.writeUInt16BE(nexus.relativeTargetPort, 2);
  const group = Buffer.alloc(4);
  group.writeUInt16BE(nexus.relativeTargetPort, 2);
  return [
    ...unitDesignators(unit.identity),
    { codeSet: 1, type: 4, association: 1, bytes: port },
    { codeSet: 1, type: 5, association: 1, bytes: group },
    { codeSet: 3, type: 8, association: 1, bytes: scsiName(nexus.targetPort) },
    { codeSet: 3, type: 8, association: 2, bytes: scsiName(unit.target.name) },
  ];
}

/** SCSI name string: UTF-8, null-terminated, padded to a multiple of four (SPC-4 §7.8.6.11). */
function scsiName(name: string): Buffer {
  const text = Buffer.from(name, 'utf8').subarray(0, 251);
  const bytes = Buffer.alloc(Math.ceil((text.length + 1) / 4) * 4);
  text.copy(bytes);
  return bytes;
}

const ISCSI_PROTOCOL = 0x5;

function encodeDesignator({ codeSet, type, association, bytes }: Designator): Buffer {
  const descriptor = Buffer.alloc(4 + bytes.length);
  // PIV and the protocol belong to ports and devices only (SPC-4 §7.8.6.1).
  const piv = association === 0 ? 0 : 0x80;
  descriptor[0] = (association === 0 ? 0 : ISCSI_PROTOCOL << 4) | codeSet;
  descriptor[1] = piv | (association << 4) | type;
  descriptor[3] = bytes.length;
  bytes.copy(descriptor, 4);
  return descriptor;
}

/** Extended INQUIRY data, SPC-4 §7.8.7. */
function extendedInquiry(): Buffer {
  const body = Buffer.alloc(60);
  body[1] = 0x07; // HEADSUP, ORDSUP, SIMPSUP (byte 5 of the page).
  body[2] = 0x01; // V_SUP: there is a volatile cache (byte 6).
  return body;
}

/** Block limits, SBC-4 §6.6.4. Offsets are those of the page less its four header bytes. */
function blockLimits(unit: LogicalUnit): Buffer {
  const { logicalBlockBytes, physicalBlockBytes, atomicWriteBytes } = unit.device.geometry;
  const perPhysical = physicalBlockBytes / logicalBlockBytes;
  const body = Buffer.alloc(60);
  body[0] = 0x01; // WSNZ: WRITE SAME of zero blocks is refused.
  body[1] = perPhysical; // MAXIMUM COMPARE AND WRITE LENGTH (C7).
  body.writeUInt16BE(perPhysical, 2); // OPTIMAL TRANSFER LENGTH GRANULARITY.
  body.writeUInt32BE(MAX_TRANSFER_BYTES / logicalBlockBytes, 4);
  body.writeUInt32BE(OPTIMAL_TRANSFER_BYTES / logicalBlockBytes, 8);
  body.writeUInt32BE(MAX_TRANSFER_BYTES / logicalBlockBytes, 12); // MAXIMUM PREFETCH LENGTH.
  body.writeUInt32BE(MAX_UNMAP_BLOCKS, 16);
  body.writeUInt32BE(MAX_UNMAP_DESCRIPTORS, 20);
  body.writeUInt32BE(perPhysical, 24); // OPTIMAL UNMAP GRANULARITY.
  body.writeUInt32BE(0x8000_0000, 28); // UGAVALID; alignment 0.
  body.writeBigUInt64BE(BigInt(MAX_WRITE_SAME_BLOCKS), 32);
  // MAXIMUM ATOMIC TRANSFER LENGTH.
  body.writeUInt32BE((atomicWriteBytes ?? physicalBlockBytes) / logicalBlockBytes, 40);
  body.writeUInt32BE(perPhysical, 44); // ATOMIC ALIGNMENT.
  body.writeUInt32BE(perPhysical, 48); // ATOMIC TRANSFER LENGTH GRANULARITY.
  return body;
}

/** Block device characteristics, SBC-4 §6.6.2. */
function blockDeviceCharacteristics(unit: LogicalUnit): Buffer {
  const body = Buffer.alloc(60);
  body.writeUInt16BE(0x0001, 0); // MEDIUM ROTATION RATE: non-rotating.
  // WABEREQ 01b: after SANITIZE BLOCK ERASE blocks can be read before they are written. Zero where it is refused.
  if (unit.allowSanitize) body[3] = 0x40;
  return body;
}

/** Logical block provisioning, SBC-4 §6.6.7. */
function logicalBlockProvisioning(unit: LogicalUnit): Buffer {
  const body = Buffer.alloc(4);
  // THRESHOLD EXPONENT: 0 where no thresholds are offered.
  body[0] = unit.space === null ? 0 : thresholdExponent(unit.device.geometry.logicalBlockBytes);
  body[1] = 0xe4; // LBPU, LBPWS, LBPWS10; LBPRZ 001b: unmapped blocks read as zeros.
  body[2] = 0x02; // Thin provisioned.
  return body;
}
