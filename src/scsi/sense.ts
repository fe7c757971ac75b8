// Sense data, SPC-4 §4.5: what a CHECK CONDITION says, in fixed (70h) and descriptor (72h) format.

/** SPC-4 §4.5.6. */
export const SenseKey = {
  NoSense: 0x0,
  RecoveredError: 0x1,
  NotReady: 0x2,
  MediumError: 0x3,
  HardwareError: 0x4,
  IllegalRequest: 0x5,
  UnitAttention: 0x6,
  DataProtect: 0x7,
  BlankCheck: 0x8,
  VendorSpecific: 0x9,
  CopyAborted: 0xa,
  AbortedCommand: 0xb,
  VolumeOverflow: 0xd,
  Miscompare: 0xe,
  Completed: 0xf,
} as const;
export type SenseKey = (typeof SenseKey)[keyof typeof SenseKey];

/** Additional sense codes with their qualifiers, ASC in the high byte (SPC-4 annex D). */
export const Asc = {
  None: 0x0000,
  LogicalUnitNotReady: 0x0400,
  BecomingReady: 0x0401,
  FormatInProgress: 0x0404,
  SanitizeInProgress: 0x041b,
  LogicalUnitCommunicationFailure: 0x0800,
  WriteError: 0x0c00,
  UnrecoveredReadError: 0x1100,
  ParameterListLengthError: 0x1a00,
  InvalidFieldInCommandInformationUnit: 0x0e03,
  MiscompareDuringVerify: 0x1d00,
  InvalidOperationCode: 0x2000,
  LbaOutOfRange: 0x2100,
  InvalidFieldInCdb: 0x2400,
  LogicalUnitNotSupported: 0x2500,
  InvalidFieldInParameterList: 0x2600,
  ParameterNotSupported: 0x2601,
  ParameterValueInvalid: 0x2602,
  InvalidReleaseOfPersistentReservation: 0x2604,
  TooManyTargetDescriptors: 0x2606,
  UnsupportedTargetDescriptorType: 0x2607,
  TooManySegmentDescriptors: 0x2608,
  UnsupportedSegmentDescriptorType: 0x2609,
  InlineDataLengthExceeded: 0x260b,
  WriteProtected: 0x2700,
  SoftwareWriteProtected: 0x2702,
  SpaceAllocationFailedWriteProtect: 0x2707,
  PowerOnResetOrBusDeviceReset: 0x2900,
  PowerOn: 0x2901,
  BusDeviceReset: 0x2903,
  NexusLoss: 0x2907,
  ModeParametersChanged: 0x2a01,
  ReservationsPreempted: 0x2a03,
  ReservationsReleased: 0x2a04,
  RegistrationsPreempted: 0x2a05,
  CapacityDataChanged: 0x2a09,
  CopyTargetDeviceNotReachable: 0x0d02,
  IncorrectCopyTargetDeviceType: 0x0d03,
  CopyThirdPartyDeviceFailure: 0x0d01,
  CommandSequenceError: 0x2c00,
  CommandsClearedByAnotherInitiator: 0x2f00,
  SanitizeCommandFailed: 0x3103,
  SavingParametersNotSupported: 0x3900,
  ThinProvisioningSoftThresholdReached: 0x3807,
  ReportedLunsDataHasChanged: 0x3f0e,
  InternalTargetFailure: 0x4400,
  InvalidMessage: 0x4900,
  OverlappedCommands: 0x4e00,
  InsufficientResources: 0x5503,
  InsufficientRegistrationResources: 0x5504,
  CopySegmentGranularityViolation: 0x260d,
  UnreachableCopyTarget: 0x0804,
} as const;
export type Asc = (typeof Asc)[keyof typeof Asc];

/** Where the offending bit is: SPC-4 §4.5.2.4.2. */
export interface FieldPointer {
  /** True: in the CDB; false: in the parameter list. */
  readonly inCdb: boolean;
  /** Of a field of several bytes, the first. */
  readonly byte: number;
  /** Of a field of several bits, the left-most; null when the whole byte, or several, are meant. */
  readonly bit: number | null;
}

export interface Sense {
  readonly key: SenseKey;
  /** ASC in the high byte, ASCQ in the low one: mostly a name of `Asc`. */
  readonly code: number;
  /** INFORMATION: the LBA of a medium error, the offset of a miscompare. */
  readonly information?: number;
  /** COMMAND-SPECIFIC INFORMATION, 32 bits or less. */
  readonly commandSpecific?: number;
  readonly field?: FieldPointer;
  /** Progress indication, of 65536 (SPC-4 §4.5.2.4.4). */
  readonly progress?: number;
  /** EXTENDED COPY: the segment descriptor that failed (SPC-4 §4.5.2.4.5). Excludes `field` and `progress`. */
  readonly segmentPointer?: { readonly inSegmentDescriptor: boolean; readonly byte: number };
}

const SKSV = 0x80;
const FIXED_BYTES = 18;

/** The three sense-key specific bytes: false when there is nothing to say. */
function encodeSenseKeySpecific(sense: Sense, bytes: Buffer, at: number): boolean {
  if (sense.field !== undefined) {
    const { inCdb, byte, bit } = sense.field;
    bytes[at] = SKSV | (inCdb ? 0x40 : 0) | (bit === null ? 0 : 0x08 | bit);
    bytes.writeUInt16BE(Math.min(byte, 0xffff), at + 1);
    return true;
  }
  if (sense.progress !== undefined) {
    bytes[at] = SKSV;
    bytes.writeUInt16BE(Math.min(sense.progress, 0xffff), at + 1);
    return true;
  }
  if (sense.segmentPointer !== undefined) {
    bytes[at] = SKSV | (sense.segmentPointer.inSegmentDescriptor ? 0x20 : 0);
    bytes.writeUInt16BE(Math.min(sense.segmentPointer.byte, 0xffff), at + 1);
    return true;
  }
  return false;
}

function encodeFixed(sense: Sense): Buffer {
  const bytes = Buffer.alloc(FIXED_BYTES);
  bytes[0] = 0x70;
  bytes[2] = sense.key;
  // A value that needs more than four bytes cannot be said here: VALID stays clear (SPC-4 §4.5.3).
  if (sense.information !== undefined && sense.information <= 0xffffffff) {
    bytes[0] = 0xf0;
    bytes.writeUInt32BE(sense.information, 3);
  }
  bytes[7] = FIXED_BYTES - 8;
  if (sense.commandSpecific !== undefined) bytes.writeUInt32BE(sense.commandSpecific, 8);
  bytes.writeUInt16BE(sense.code, 12);
  encodeSenseKeySpecific(sense, bytes, 15);
  return bytes;
}

function encodeDescriptor(sense: Sense): Buffer {
  const bytes = Buffer.alloc(8 + 12 + 12 + 8);
  bytes[0] = 0x72;
  bytes[1] = sense.key;
  bytes.writeUInt16BE(sense.code, 2);
  let at = 8;
  if (sense.information !== undefined) {
    bytes[at] = 0x00;
    bytes[at + 1] = 0x0a;
    bytes[at + 2] = 0x80;
    bytes.writeBigUInt64BE(BigInt(sense.information), at + 4);
    at += 12;
  }
  if (sense.commandSpecific !== undefined) {
    bytes[at] = 0x01;
    bytes[at + 1] = 0x0a;
    bytes.writeBigUInt64BE(BigInt(sense.commandSpecific), at + 4);
    at += 12;
  }
  if (encodeSenseKeySpecific(sense, bytes, at + 4)) {
    bytes[at] = 0x02;
    bytes[at + 1] = 0x06;
    at += 8;
  }
  bytes[7] = at - 8;
  return bytes.subarray(0, at);
}

/** Sense data as the control mode page's D_SENSE, or REQUEST SENSE's DESC, wants it. */
export function encodeSense(sense: Sense, descriptorFormat: boolean): Buffer {
  return descriptorFormat ? encodeDescriptor(sense) : encodeFixed(sense);
}
