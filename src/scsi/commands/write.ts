// WRITE (6), (10), (12), (16), WRITE ATOMIC (16) and WRITE AND VERIFY (10), (12), (16): SBC-4 §5.40 to §5.52. Hot path.
import { BlockOpKind, IoStatus } from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import {
  blockUsage,
  type CdbForm,
  CONTROL,
  DPO,
  FUA,
  failDataLength,
  GROUP,
  lbaOf,
  PROTECT,
  refusesProtection,
  refusesWrite,
  takeRange,
  takeTransfer,
} from './block-range.ts';
import { verifyAgainstData } from './verify.ts';

function prepareWrite(execution: Execution, form: CdbForm): number {
  if (form !== 6 && refusesProtection(execution)) return ENDED;
  if (!takeTransfer(execution, form) || refusesWrite(execution)) return ENDED;
  return execution.bytes;
}

/**
 * A transport may bring less than the CDB describes: then the whole blocks that came are written, and the rest is a
 * residual (RFC 7143 §11.4.5.1); a part of a block is an error, and nothing is written. False: ended.
 */
function takeData(execution: Execution): boolean {
  const { task, lu } = execution;
  if (task.dataOutBytes >= execution.bytes) return true;
  const { logicalBlockBytes } = lu.device.geometry;
  if (task.dataOutBytes % logicalBlockBytes !== 0) {
    failDataLength(execution);
    return false;
  }
  execution.bytes = task.dataOutBytes;
  execution.blocks = task.dataOutBytes / logicalBlockBytes;
  return true;
}

function executeWrite(execution: Execution, fua: boolean) {
  // SWP may have been set while the data was on its way.
  if (refusesWrite(execution) || !takeData(execution)) return ENDED;
  if (execution.blocks === 0) return execution.good();
  const { lba, blocks, task } = execution;
  return execution.submit(BlockOpKind.Write, lba, blocks, task.dataOut, 0, fua, endWrite);
}

function endWrite(execution: Execution, status: IoStatus) {
  return status === IoStatus.Ok ? execution.good() : execution.failIo(status);
}

function write(opcode: number, form: CdbForm): Command {
  return {
    opcode,
    serviceAction: null,
    name: `WRITE(${form})`,
    usage: blockUsage(opcode, form, PROTECT | DPO | FUA),
    access: Access.Write,
    shortDataOut: true,
    prepare: (execution) => prepareWrite(execution, form),
    execute: (execution) => executeWrite(execution, form !== 6 && (execution.cdb[1]! & FUA) !== 0),
  };
}

// WRITE ATOMIC (16), SBC-4 §5.47: whole physical blocks, as many as the device can write all or none of.

const writeAtomic: Command = {
  opcode: 0x9c,
  serviceAction: null,
  name: 'WRITE ATOMIC(16)',
  usage: [
    0x9c,
    PROTECT | DPO | FUA,
    ...new Array<number>(8).fill(0xff),
    0xff,
    0xff,
    0xff,
    0xff,
    GROUP,
    CONTROL,
  ],
  access: Access.Write,
  prepare(execution) {
    const { cdb, lu } = execution;
    if (refusesProtection(execution)) return ENDED;
    const { geometry } = lu.device;
    const { logicalBlockBytes, physicalBlockBytes } = geometry;
    const most = (geometry.atomicWriteBytes ?? physicalBlockBytes) / logicalBlockBytes;
    const perPhysical = physicalBlockBytes / logicalBlockBytes;
    const blocks = cdb.readUInt16BE(12);
    if (!takeRange(execution, lbaOf(cdb, 16), blocks)) return ENDED;
    // ATOMIC BOUNDARY: MAXIMUM ATOMIC BOUNDARY SIZE is zero, so the write cannot be split.
    if (cdb.readUInt16BE(10) !== 0) return execution.failField(10);
    if (blocks > most || blocks % perPhysical !== 0) return execution.failField(12);
    if (execution.lba % perPhysical !== 0) return execution.failField(2);
    return refusesWrite(execution) ? ENDED : execution.bytes;
  },
  execute(execution) {
    if (refusesWrite(execution)) return ENDED;
    if (execution.blocks === 0) return execution.good();
    const fua = (execution.cdb[1]! & FUA) !== 0;
    return execution.submitAtomic(execution.task.dataOut, fua, endWrite);
  },
};

// WRITE AND VERIFY, SBC-4 §5.44: BYTCHK 00b checks that the medium reads, 01b that it reads the same.

function executeWriteAndVerify(execution: Execution) {
  if (refusesWrite(execution) || !takeData(execution)) return ENDED;
  if (execution.blocks === 0) return execution.good();
  const { lba, blocks, task } = execution;
  return execution.submit(BlockOpKind.Write, lba, blocks, task.dataOut, 0, true, verifyWritten);
}

function verifyWritten(execution: Execution, status: IoStatus) {
  if (execution.aborted) return execution.stop();
  if (status !== IoStatus.Ok) return execution.failIo(status);
  if ((execution.cdb[1]! & 0x06) !== 0) return verifyAgainstData(execution);
  const { lba, blocks } = execution;
  return execution.submit(BlockOpKind.Verify, lba, blocks, null, 0, false, endWrite);
}

function writeAndVerify(opcode: number, form: CdbForm): Command {
  return {
    opcode,
    serviceAction: null,
    name: `WRITE AND VERIFY(${form})`,
    usage: blockUsage(opcode, form, PROTECT | DPO | 0x06),
    access: Access.Write,
    shortDataOut: true,
    prepare(execution) {
      // BYTCHK 10b and 11b are reserved here.
      if ((execution.cdb[1]! & 0x04) !== 0) return execution.failField(1, 2);
      return prepareWrite(execution, form);
    },
    execute: executeWriteAndVerify,
  };
}

export const writeCommands: readonly Command[] = [
  write(0x0a, 6),
  write(0x2a, 10),
  write(0xaa, 12),
  write(0x8a, 16),
  writeAtomic,
  writeAndVerify(0x2e, 10),
  writeAndVerify(0xae, 12),
  writeAndVerify(0x8e, 16),
];
