// MODE SENSE and MODE SELECT, (6) and (10): SPC-4 §6.9 to §6.12, with the block descriptors of SBC-4 §6.4.2.
import { IoStatus } from '../../block/index.ts';
import { Access, type Command } from '../command.ts';
import type { Execution } from '../execution.ts';
import { MAX_PARAMETER_LIST_BYTES } from '../limits.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import { ALL_PAGES, ALL_SUBPAGES, type PageControl } from '../mode-pages.ts';
import { Asc, SenseKey } from '../sense.ts';
import { CONTROL } from './block-range.ts';

type ModeForm = 6 | 10;

const WP = 0x80;
const DPOFUA = 0x10;

// MODE SENSE

function executeModeSense(execution: Execution, form: ModeForm) {
  const { cdb, lu } = execution;
  const code = cdb[2]! & 0x3f;
  const subpage = cdb[3]!;
  const control = (cdb[2]! >> 6) as PageControl;
  if (!lu.modePages.knows(code)) return execution.failField(2, 5);
  if (code === ALL_PAGES && subpage !== 0 && subpage !== ALL_SUBPAGES) {
    return execution.failField(3);
  }
  const pages = lu.modePages.sense(code, subpage, control);
  if (pages.length === 0) return execution.failField(3);

  const withDescriptor = (cdb[1]! & 0x08) === 0; // DBD
  const long = form === 10 && (cdb[1]! & 0x10) !== 0; // LLBAA
  const descriptor = withDescriptor ? blockDescriptor(lu, long) : Buffer.alloc(0);
  const header = Buffer.alloc(form === 6 ? 4 : 8);
  const data = Buffer.concat([header, descriptor, ...pages]);
  const deviceSpecific = DPOFUA | (lu.writeProtected ? WP : 0);
  if (form === 6) {
    data[0] = data.length - 1;
    data[2] = deviceSpecific;
    data[3] = descriptor.length;
    return execution.reply(data, cdb[4]!);
  }
  data.writeUInt16BE(data.length - 2, 0);
  data[3] = deviceSpecific;
  data[4] = long && withDescriptor ? 0x01 : 0x00; // LONGLBA
  data.writeUInt16BE(descriptor.length, 6);
  return execution.reply(data, cdb.readUInt16BE(7));
}

function blockDescriptor(lu: LogicalUnit, long: boolean): Buffer {
  const { blocks, logicalBlockBytes } = lu.device.geometry;
  if (long) {
    const descriptor = Buffer.alloc(16);
    descriptor.writeBigUInt64BE(BigInt(blocks), 0);
    descriptor.writeUInt32BE(logicalBlockBytes, 12);
    return descriptor;
  }
  const descriptor = Buffer.alloc(8);
  descriptor.writeUInt32BE(Math.min(blocks, 0xffff_ffff), 0);
  descriptor.writeUIntBE(logicalBlockBytes, 5, 3);
  return descriptor;
}

// MODE SELECT: all of the list is checked before any of it is applied.

const PF = 0x10;
const RTD = 0x02;
const SP = 0x01;

function prepareModeSelect(execution: Execution, form: ModeForm): number {
  const { cdb } = execution;
  const bytes = form === 6 ? cdb[4]! : cdb.readUInt16BE(7);
  if (bytes > MAX_PARAMETER_LIST_BYTES) return execution.failField(form === 6 ? 4 : 7);
  if ((cdb[1]! & RTD) !== 0) return bytes === 0 ? 0 : execution.failField(1, 1);
  if ((cdb[1]! & PF) === 0 && bytes !== 0) return execution.failField(1, 4);
  return bytes;
}

function executeModeSelect(execution: Execution, form: ModeForm) {
  const { cdb, task, lu } = execution;
  if ((cdb[1]! & RTD) !== 0) return applyPages(execution, lu.modePages.defaults());
  if (task.dataOut === null || task.dataOutBytes === 0) return execution.good();
  const list = Buffer.from(task.dataOut.bytes.subarray(0, task.dataOutBytes));
  const headerBytes = form === 6 ? 4 : 8;
  if (list.length < headerBytes) return failListLength(execution);
  const mediumType = form === 6 ? 1 : 2;
  if (list[mediumType] !== 0) return execution.failParameter(mediumType);
  const long = form === 10 && (list[4]! & 0x01) !== 0;
  const descriptorBytes = form === 6 ? list[3]! : list.readUInt16BE(6);
  if (descriptorBytes !== 0 && descriptorBytes !== (long ? 16 : 8)) {
    return execution.failParameter(form === 6 ? 3 : 6);
  }
  const start = headerBytes + descriptorBytes;
  if (list.length < start) return failListLength(execution);
  if (descriptorBytes !== 0) {
    const fault = checkDescriptor(lu, list.subarray(headerBytes, start), long);
    if (fault !== null) return execution.failParameter(headerBytes + fault);
  }

  const pages: Buffer[] = [];
  for (let at = start; at < list.length; ) {
    const subpageFormat = (list[at]! & 0x40) !== 0;
    const pageHeader = subpageFormat ? 4 : 2;
    if (at + pageHeader > list.length) return failListLength(execution);
    const pageBytes = pageHeader + (subpageFormat ? list.readUInt16BE(at + 2) : list[at + 1]!);
    const page = list.subarray(at, at + pageBytes);
    const fault = lu.modePages.check(page);
    if (at + pageBytes > list.length) return failListLength(execution);
    if (fault !== null) return execution.failParameter(at + fault.byte, fault.bit);
    pages.push(page);
    at += pageBytes;
  }
  return applyPages(execution, pages);
}

/** The medium has the size and block length that it has: a descriptor may only say so. Returns the wrong byte. */
function checkDescriptor(lu: LogicalUnit, descriptor: Buffer, long: boolean): number | null {
  const { blocks, logicalBlockBytes } = lu.device.geometry;
  if (long) {
    const said = descriptor.readBigUInt64BE(0);
    if (said !== 0n && said !== BigInt(blocks) && said !== 0xffff_ffff_ffff_ffffn) return 0;
    return descriptor.readUInt32BE(12) === logicalBlockBytes ? null : 12;
  }
  const said = descriptor.readUInt32BE(0);
  if (said !== 0 && said !== blocks && said !== 0xffff_ffff) return 0;
  return descriptor.readUIntBE(5, 3) === logicalBlockBytes ? null : 5;
}

function failListLength(execution: Execution) {
  return execution.failWith(SenseKey.IllegalRequest, Asc.ParameterListLengthError);
}

/** The write cache first, as it can fail; then the pages; then, with SP, to stable storage. Others hear of a change. */
function applyPages(execution: Execution, pages: readonly Buffer[]) {
  const { lu } = execution;
  let writeCache = lu.device.writeCache;
  for (const page of pages) writeCache = lu.modePages.wantsWriteCache(page) ?? writeCache;
  if (writeCache === lu.device.writeCache) return applyValues(execution, pages, false);
  return lu.setWriteCache(writeCache, execution.nexus, (status) => {
    if (status !== IoStatus.Ok) return execution.failIo(status);
    return applyValues(execution, pages, true);
  });
}

function applyValues(execution: Execution, pages: readonly Buffer[], changedAlready: boolean) {
  const { lu, nexus, cdb } = execution;
  let changed = changedAlready;
  for (const page of pages) changed = lu.modePages.apply(page) || changed;
  if (changed) lu.attentionToOthers(nexus, Asc.ModeParametersChanged);
  if ((cdb[1]! & SP) === 0) return execution.good();
  return lu.modePages.save((status) =>
    status === IoStatus.Ok ? execution.good() : execution.failIo(status),
  );
}

function modeSense(opcode: number, form: ModeForm): Command {
  return {
    opcode,
    serviceAction: null,
    name: `MODE SENSE(${form})`,
    usage:
      form === 6
        ? [opcode, 0x08, 0xff, 0xff, 0xff, CONTROL]
        : [opcode, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, CONTROL],
    access: Access.Write,
    execute: (execution) => executeModeSense(execution, form),
  };
}

function modeSelect(opcode: number, form: ModeForm): Command {
  return {
    opcode,
    serviceAction: null,
    name: `MODE SELECT(${form})`,
    usage:
      form === 6
        ? [opcode, 0x13, 0, 0, 0xff, CONTROL]
        : [opcode, 0x13, 0, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
    access: Access.Write,
    shortDataOut: true,
    prepare: (execution) => prepareModeSelect(execution, form),
    execute: (execution) => executeModeSelect(execution, form),
  };
}

export const modeCommands: readonly Command[] = [
  modeSense(0x1a, 6),
  modeSense(0x5a, 10),
  modeSelect(0x15, 6),
  modeSelect(0x55, 10),
];
