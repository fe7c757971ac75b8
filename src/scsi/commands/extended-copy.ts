// EXTENDED COPY(LID1) and RECEIVE COPY RESULTS(LID1), SPC-4 §6.4 and §6.18: the part that hypervisors use. The one segment
// descriptor is block device to block device (02h), the one target descriptor is by identification (E4h); source and
// destination are logical units of this daemon. A list is checked whole before its first block is copied.
import { IoStatus } from '../../block/index.ts';
import { Access, type Command } from '../command.ts';
import type { Ended, Execution } from '../execution.ts';
import { unitDesignators } from '../identity.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import type { NexusState } from '../nexus-state.ts';
import { Reservations } from '../reservations/reservations.ts';
import { Asc, type Sense, SenseKey } from '../sense.ts';
import { BlockCopy, type CopyRange } from './block-copy.ts';

const EXTENDED_COPY = 0x83;
const RECEIVE_COPY_RESULTS = 0x84;

const HEADER_BYTES = 16;
const TARGET_BYTES = 32;
const SEGMENT_BYTES = 28;
const IDENTIFICATION_TARGET = 0xe4;
const BLOCK_TO_BLOCK_SEGMENT = 0x02;

export const MAX_COPY_TARGETS = 16;
export const MAX_COPY_SEGMENTS = 256;
const MAX_DESCRIPTOR_LIST_BYTES =
  MAX_COPY_TARGETS * TARGET_BYTES + MAX_COPY_SEGMENTS * SEGMENT_BYTES;
const MAX_LIST_BYTES = HEADER_BYTES + MAX_DESCRIPTOR_LIST_BYTES;
/** All that a segment descriptor can say, with 4096-byte blocks. */
const MAX_SEGMENT_BYTES = 0xffff * 4096;
/** Copies of one nexus whose results are kept for RECEIVE COPY RESULTS. */
const MAX_KEPT_RESULTS = 16;
/** Copies at a time that hosts are asked to keep to; more are admitted, by the task set's bound. */
const CONCURRENT_COPIES = 16;

// SPC-4 annex D; not in Asc, as nothing else says them.
const OPERATION_IN_PROGRESS = 0x0016;
const UNEXPECTED_INEXACT_SEGMENT = 0x260a;

/** LIST ID USAGE (SPC-4 §6.4.3.2). */
const ListIdUsage = { Hold: 0, Reserved: 1, Discard: 2, None: 3 } as const;

/** What RECEIVE COPY RESULTS tells of a copy. */
interface CopyResult {
  readonly execution: Execution;
  /** COPY MANAGER STATUS: 0 in progress, 1 completed, 2 completed with an error. */
  status: 0 | 1 | 2;
  segments: number;
  bytes: number;
}

/** By nexus and list identifier, oldest first. Gone with the nexus, as SPC-4 §6.18.1 allows. */
const results = new WeakMap<NexusState, Map<number, CopyResult>>();

interface Segment extends CopyRange {
  readonly index: number;
}

/** A copy on its way: sits in `execution.scratch`. */
interface Copy {
  readonly segments: readonly Segment[];
  readonly result: CopyResult;
  next: number;
}

class BadList {
  readonly sense: Sense;

  constructor(sense: Sense) {
    this.sense = sense;
  }
}

const illegal = (code: number, byte?: number, bit: number | null = null): BadList =>
  new BadList(
    byte === undefined
      ? { key: SenseKey.IllegalRequest, code }
      : { key: SenseKey.IllegalRequest, code, field: { inCdb: false, byte, bit } },
  );

/** COPY ABORTED on behalf of a segment: its number is the COMMAND-SPECIFIC INFORMATION (SPC-4 §5.16.7.4). */
const copyAborted = (code: number, segment: number, field?: number): BadList =>
  new BadList({
    key: SenseKey.CopyAborted,
    code,
    commandSpecific: segment,
    ...(field === undefined ? {} : { segmentPointer: { inSegmentDescriptor: true, byte: field } }),
  });

/** A target descriptor, and why it cannot be used: told only if a segment uses it. */
interface CopyTarget {
  readonly unit: LogicalUnit | null;
  readonly problem: number;
}

// EXTENDED COPY.

function execute(execution: Execution): void {
  const { task } = execution;
  const listBytes = task.dataOutWantedBytes;
  // Nothing to be done, and done (SPC-4 §6.4.1).
  if (listBytes === 0) {
    execution.good();
    return;
  }
  const list = task.dataOut!.bytes.subarray(0, listBytes);
  const segments = decodeList(execution, list);
  if (segments instanceof BadList) {
    execution.fail(segments.sense);
    return;
  }
  const usage = (list[1]! >> 3) & 0x03;
  const result: CopyResult = { execution, status: 0, segments: 0, bytes: 0 };
  if (usage !== ListIdUsage.None && !keepResult(execution.nexus, list[0]!, result)) {
    execution.failWith(SenseKey.IllegalRequest, OPERATION_IN_PROGRESS);
    return;
  }
  const copy: Copy = { segments, result, next: 0 };
  execution.scratch = copy;
  nextSegment(execution, copy);
}

/** COPY MANAGER STATUS. A copy that was aborted while it waited for a buffer could not say so itself. */
function statusOf(result: CopyResult): 0 | 1 | 2 {
  const copy = result.execution.scratch as Copy | null;
  return result.status === 0 && copy?.result !== result ? 2 : result.status;
}

/** Remembers a copy under its list identifier; false when one of that number is still going on. */
function keepResult(nexus: NexusState, listId: number, result: CopyResult): boolean {
  let kept = results.get(nexus);
  if (kept === undefined) {
    kept = new Map();
    results.set(nexus, kept);
  }
  const before = kept.get(listId);
  if (before !== undefined && statusOf(before) === 0) return false;
  kept.delete(listId);
  kept.set(listId, result);
  for (const [oldId, old] of kept) {
    if (kept.size <= MAX_KEPT_RESULTS) break;
    if (old !== result && statusOf(old) !== 0) kept.delete(oldId);
  }
  return true;
}

/**
 * The parameter list, SPC-4 §6.4.3:
 *
 *    0 LIST IDENTIFIER    1 STR (bit 5), LIST ID USAGE (bits 4-3), PRIORITY (bits 2-0)
 *    2-3 target descriptor list length      4-7 reserved
 *    8-11 segment descriptor list length    12-15 INLINE DATA LENGTH    16 descriptors
 */
function decodeList(execution: Execution, list: Buffer): readonly Segment[] | BadList {
  if (list.length < HEADER_BYTES) return illegal(Asc.ParameterListLengthError);
  const usage = (list[1]! >> 3) & 0x03;
  const targetBytes = list.readUInt16BE(2);
  const segmentBytes = list.readUInt32BE(8);
  const inlineBytes = list.readUInt32BE(12);
  if (usage === ListIdUsage.Reserved) return illegal(Asc.InvalidFieldInParameterList, 1, 4);
  if (usage === ListIdUsage.None && list[0] !== 0) {
    return illegal(Asc.InvalidFieldInParameterList, 0);
  }
  if (targetBytes % TARGET_BYTES !== 0) return illegal(Asc.InvalidFieldInParameterList, 2);
  if (targetBytes + segmentBytes > MAX_DESCRIPTOR_LIST_BYTES) {
    return illegal(Asc.ParameterListLengthError);
  }
  if (inlineBytes !== 0) return illegal(Asc.InlineDataLengthExceeded, 12);
  if (HEADER_BYTES + targetBytes + segmentBytes > list.length) {
    return illegal(Asc.ParameterListLengthError);
  }
  if (targetBytes / TARGET_BYTES > MAX_COPY_TARGETS) {
    return illegal(Asc.TooManyTargetDescriptors, 2);
  }
  const segmentsAt = HEADER_BYTES + targetBytes;
  const targets: CopyTarget[] = [];
  for (let at = HEADER_BYTES; at < segmentsAt; at += TARGET_BYTES) {
    const target = decodeTarget(execution, list, at);
    if (target instanceof BadList) return target;
    targets.push(target);
  }
  return decodeSegments(
    execution,
    list.subarray(0, segmentsAt + segmentBytes),
    segmentsAt,
    targets,
  );
}

/**
 * Identification descriptor, SPC-4 §6.4.4.4:
 *
 *    0 E4h    1 ignored (bits 7-6), NUL (bit 5), peripheral device type    2-3 relative initiator port
 *    4 CODE SET    5 ASSOCIATION (bits 5-4), DESIGNATOR TYPE    7 DESIGNATOR LENGTH    8-27 DESIGNATOR
 *    28 PAD (bit 2)    29-31 DISK BLOCK LENGTH
 */
function decodeTarget(execution: Execution, list: Buffer, at: number): CopyTarget | BadList {
  if (list[at] !== IDENTIFICATION_TARGET) {
    return illegal(Asc.UnsupportedTargetDescriptorType, at);
  }
  // SPC-4 ignores the LU ID TYPE of this descriptor; NUL, which it made obsolete, still means no device at all.
  if ((list[at + 1]! & 0x20) !== 0) return { unit: null, problem: Asc.UnreachableCopyTarget };
  if ((list[at + 1]! & 0x1f) !== 0) {
    return { unit: null, problem: Asc.IncorrectCopyTargetDeviceType };
  }
  const designatorBytes = list[at + 7]!;
  if (designatorBytes > 20) return illegal(Asc.InvalidFieldInParameterList, at + 7);
  const unit = findUnit(execution, {
    codeSet: list[at + 4]! & 0x0f,
    association: (list[at + 5]! >> 4) & 0x03,
    type: list[at + 5]! & 0x0f,
    bytes: list.subarray(at + 8, at + 8 + designatorBytes),
  });
  if (unit === null) return { unit: null, problem: Asc.CopyTargetDeviceNotReachable };
  const blockBytes = list.readUIntBE(at + 29, 3);
  if (blockBytes !== 0 && blockBytes !== unit.device.geometry.logicalBlockBytes) {
    return illegal(Asc.InvalidFieldInParameterList, at + 29);
  }
  return { unit, problem: Asc.None };
}

/**
 * The unit of this daemon that a designator names: this one, of this target, or of another target where the initiator is
 * logged in as well. What it may not log in to, it may not have copied either.
 */
function findUnit(
  execution: Execution,
  wanted: { codeSet: number; association: number; type: number; bytes: Buffer },
): LogicalUnit | null {
  const isNamed = (unit: LogicalUnit): boolean =>
    unitDesignators(unit.identity).some(
      (designator) =>
        designator.type === wanted.type &&
        designator.codeSet === wanted.codeSet &&
        designator.association === wanted.association &&
        designator.bytes.equals(wanted.bytes),
    );
  const own = execution.lu;
  if (isNamed(own)) return own;
  for (const unit of own.target.copyCandidates()) {
    if (isNamed(unit))
      return unit.target === own.target || isReached(execution, unit) ? unit : null;
  }
  return null;
}

/** Whether the initiator has a session with the unit's target, and has proven itself there as it has here. */
function isReached(execution: Execution, unit: LogicalUnit): boolean {
  const { initiatorName, authenticatedAs = null } = execution.nexus.nexus;
  for (const { nexus } of unit.nexuses()) {
    const same = (nexus.authenticatedAs ?? null) === authenticatedAs;
    if (same && nexus.initiatorName === initiatorName) return true;
  }
  return false;
}

/**
 * Block device to block device, SPC-4 §6.4.6.3:
 *
 *    0 02h    1 DC (bit 1), CAT (bit 0)    2-3 0018h    4-5 source index    6-7 destination index
 *    10-11 NUMBER OF BLOCKS    12-19 source LBA    20-27 destination LBA
 */
function decodeSegments(
  execution: Execution,
  list: Buffer,
  from: number,
  targets: readonly CopyTarget[],
): readonly Segment[] | BadList {
  // The types first: what is not known has no length to go by.
  let count = 0;
  for (let at = from; at < list.length; at += SEGMENT_BYTES) {
    if (list[at] !== BLOCK_TO_BLOCK_SEGMENT) {
      return illegal(Asc.UnsupportedSegmentDescriptorType, at);
    }
    if (at + SEGMENT_BYTES > list.length) return illegal(Asc.ParameterListLengthError);
    if (list.readUInt16BE(at + 2) !== SEGMENT_BYTES - 4) {
      return illegal(Asc.InvalidFieldInParameterList, at + 2);
    }
    count += 1;
    if (count > MAX_COPY_SEGMENTS) return illegal(Asc.TooManySegmentDescriptors, 8);
  }
  const segments: Segment[] = [];
  for (let at = from; at < list.length; at += SEGMENT_BYTES) {
    const segment = decodeSegment(execution, list, at, segments.length, targets);
    if (segment instanceof BadList) return segment;
    segments.push(segment);
  }
  return segments;
}

function decodeSegment(
  execution: Execution,
  list: Buffer,
  at: number,
  index: number,
  targets: readonly CopyTarget[],
): Segment | BadList {
  const from = targets[list.readUInt16BE(at + 4)];
  const to = targets[list.readUInt16BE(at + 6)];
  if (from === undefined) return copyAborted(Asc.UnreachableCopyTarget, index, 4);
  if (to === undefined) return copyAborted(Asc.UnreachableCopyTarget, index, 6);
  if (from.unit === null) return copyAborted(from.problem, index, 4);
  if (to.unit === null) return copyAborted(to.problem, index, 6);
  const source = from.unit.device.geometry;
  const destination = to.unit.device.geometry;
  const countsDestination = (list[at + 1]! & 0x02) !== 0;
  const blocks = list.readUInt16BE(at + 10);
  const bytes =
    blocks * (countsDestination ? destination.logicalBlockBytes : source.logicalBlockBytes);
  if (bytes % source.logicalBlockBytes !== 0 || bytes % destination.logicalBlockBytes !== 0) {
    return copyAborted(UNEXPECTED_INEXACT_SEGMENT, index, 10);
  }
  // Past 2^53 the number is not exact, and past every device all the same.
  const sourceLba = Number(list.readBigUInt64BE(at + 12));
  const destinationLba = Number(list.readBigUInt64BE(at + 20));
  if (sourceLba + bytes / source.logicalBlockBytes > source.blocks) {
    return copyAborted(Asc.None, index, 12);
  }
  if (destinationLba + bytes / destination.logicalBlockBytes > destination.blocks) {
    return copyAborted(Asc.None, index, 20);
  }
  const denied = denial(execution, from.unit, to.unit);
  if (denied !== Asc.None) return copyAborted(denied, index);
  return { index, source: from.unit, sourceLba, destination: to.unit, destinationLba, bytes };
}

/** Why the nexus may not read the one unit and write the other, as if by commands of its own; None when it may. */
function denial(execution: Execution, source: LogicalUnit, destination: LogicalUnit): number {
  const { nexus } = execution.nexus;
  const allows = (unit: LogicalUnit, access: Access): boolean =>
    !(unit.reservations instanceof Reservations) || unit.reservations.allows(nexus, access);
  // The list was checked when all were there: one may have been taken away since.
  const isThere = source.target.has(source) && destination.target.has(destination);
  if (!isThere || source.sanitize.active || destination.sanitize.active) {
    return Asc.CopyTargetDeviceNotReachable;
  }
  if (!allows(source, Access.Read) || !allows(destination, Access.Write)) {
    return Asc.CopyThirdPartyDeviceFailure;
  }
  return destination.writeProtected ? Asc.WriteProtected : Asc.None;
}

function nextSegment(execution: Execution, copy: Copy): void {
  const segment = copy.segments[copy.next];
  if (execution.aborted) {
    copy.result.status = 2;
    execution.stop();
    return;
  }
  if (segment === undefined) {
    copy.result.status = 1;
    execution.good();
    return;
  }
  // Fencing holds for each segment, not only for the first.
  const denied = denial(execution, segment.source, segment.destination);
  if (denied !== Asc.None) {
    copy.result.status = 2;
    execution.fail(copyAborted(denied, segment.index).sense);
    return;
  }
  new BlockCopy(
    execution,
    segment,
    () => denial(execution, segment.source, segment.destination),
    (blocks, status) => segmentDone(execution, copy, segment, blocks, status),
  ).start();
}

function segmentDone(
  execution: Execution,
  copy: Copy,
  segment: Segment,
  blocks: BlockCopy,
  status: IoStatus,
): void {
  if (blocks.denied !== Asc.None || status !== IoStatus.Ok) {
    copy.result.status = 2;
    if (execution.aborted) execution.stop();
    else if (blocks.denied === Asc.None) failCopy(execution, segment, status);
    else execution.fail(copyAborted(blocks.denied, segment.index).sense);
    return;
  }
  copy.next += 1;
  copy.result.segments += 1;
  copy.result.bytes += segment.bytes;
  nextSegment(execution, copy);
}

function failCopy(execution: Execution, segment: Segment, status: IoStatus): Ended {
  switch (status) {
    // Hosts know what to do about these two: they are told as for a WRITE.
    case IoStatus.NoSpace:
    case IoStatus.Busy:
      return execution.failIo(status);
    case IoStatus.Damaged:
      return execution.fail(copyAborted(Asc.UnrecoveredReadError, segment.index).sense);
    case IoStatus.ReadOnly:
      return execution.fail(copyAborted(Asc.WriteProtected, segment.index).sense);
    default:
      return execution.fail(copyAborted(Asc.CopyThirdPartyDeviceFailure, segment.index).sense);
  }
}

const extendedCopy: Command = {
  opcode: EXTENDED_COPY,
  serviceAction: 0x00,
  name: 'EXTENDED COPY(LID1)',
  usage: [EXTENDED_COPY, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0x04],
  access: Access.Write,
  prepare(execution) {
    const bytes = execution.cdb.readUInt32BE(10);
    if (bytes > MAX_LIST_BYTES) {
      return execution.failWith(SenseKey.IllegalRequest, Asc.ParameterListLengthError);
    }
    return bytes;
  },
  execute,
};

// RECEIVE COPY RESULTS.

/** COPY STATUS, SPC-4 §6.19. */
function copyStatus(result: CopyResult): Buffer {
  const data = Buffer.alloc(12);
  data.writeUInt32BE(8, 0);
  data[4] = statusOf(result);
  data.writeUInt16BE(result.segments, 5);
  // TRANSFER COUNT in bytes (00h) while it fits, else in KiB (01h): exact either way, all sizes are multiples of 512.
  const inKibibytes = result.bytes > 0xffffffff;
  data[7] = inKibibytes ? 0x01 : 0x00;
  data.writeUInt32BE(inKibibytes ? Math.floor(result.bytes / 1024) : result.bytes, 8);
  return data;
}

/** OPERATING PARAMETERS, SPC-4 §6.20. */
function operatingParameters(): Buffer {
  const types = [BLOCK_TO_BLOCK_SEGMENT, IDENTIFICATION_TARGET];
  const data = Buffer.alloc(44 + types.length);
  data.writeUInt32BE(data.length - 4, 0);
  data[4] = 0x01; // SNLID: commands without a list identifier are taken.
  data.writeUInt16BE(MAX_COPY_TARGETS, 8);
  data.writeUInt16BE(MAX_COPY_SEGMENTS, 10);
  data.writeUInt32BE(MAX_DESCRIPTOR_LIST_BYTES, 12);
  data.writeUInt32BE(MAX_SEGMENT_BYTES, 16);
  data.writeUInt16BE(CONCURRENT_COPIES, 34);
  data[36] = CONCURRENT_COPIES;
  data[37] = 9; // DATA SEGMENT GRANULARITY: 2^9 bytes.
  data[43] = types.length;
  for (const [index, type] of types.entries()) data[44 + index] = type;
  return data;
}

function receiveCommand(
  serviceAction: number,
  name: string,
  usesListId: boolean,
  run: (execution: Execution) => Buffer | null,
): Command {
  const listId = usesListId ? 0xff : 0;
  const allocation = [0xff, 0xff, 0xff, 0xff];
  return {
    opcode: RECEIVE_COPY_RESULTS,
    serviceAction,
    name: `RECEIVE COPY RESULTS(LID1): ${name}`,
    usage: [
      RECEIVE_COPY_RESULTS,
      serviceAction,
      listId,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      ...allocation,
      0,
      0x04,
    ],
    access: Access.Read,
    execute(execution) {
      const data = run(execution);
      if (data === null) execution.failField(2);
      else execution.reply(data, execution.cdb.readUInt32BE(10));
    },
  };
}

export const extendedCopyCommands: readonly Command[] = [
  extendedCopy,
  receiveCommand(0x00, 'COPY STATUS', true, (execution) => {
    const result = results.get(execution.nexus)?.get(execution.cdb[2]!);
    return result === undefined ? null : copyStatus(result);
  }),
  receiveCommand(0x03, 'OPERATING PARAMETERS', false, operatingParameters),
];

/** The descriptors of VPD page 8Fh, Third-party Copy (SPC-4 §7.8.17), without the page's header. */
export function thirdPartyCopyDescriptors(): Buffer {
  const descriptor = (type: number, body: readonly number[]): Buffer => {
    const bytes = Buffer.alloc(4 + Math.ceil(body.length / 4) * 4);
    bytes.writeUInt16BE(type, 0);
    bytes.writeUInt16BE(bytes.length - 4, 2);
    Buffer.from(body).copy(bytes, 4);
    return bytes;
  };
  const parameters = Buffer.alloc(28);
  parameters.writeUInt16BE(MAX_COPY_TARGETS, 4);
  parameters.writeUInt16BE(MAX_COPY_SEGMENTS, 6);
  parameters.writeUInt32BE(MAX_DESCRIPTOR_LIST_BYTES, 8);
  const general = Buffer.alloc(32);
  general.writeUInt32BE(CONCURRENT_COPIES, 0);
  general.writeUInt32BE(CONCURRENT_COPIES, 4);
  general.writeUInt32BE(MAX_SEGMENT_BYTES, 8);
  general[12] = 9; // DATA SEGMENT GRANULARITY: 2^9 bytes.
  // Each command: opcode, how many service actions, those.
  const commands = [EXTENDED_COPY, 1, 0x00, RECEIVE_COPY_RESULTS, 2, 0x00, 0x03];
  return Buffer.concat([
    descriptor(0x0001, [commands.length, ...commands]),
    descriptor(0x0004, [...parameters]),
    descriptor(0x0008, [2, BLOCK_TO_BLOCK_SEGMENT, IDENTIFICATION_TARGET]),
    descriptor(0x000c, [0, 0]), // No CSCD descriptor IDs besides the descriptors of the list.
    descriptor(0x8001, [...general]),
  ]);
}
