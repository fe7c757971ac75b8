// COMPARE AND WRITE (SBC-4 §5.3) and ORWRITE (16) (§5.13): reads that decide what is written, with the range held.
import { BlockOpKind, IoStatus } from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { Asc, SenseKey } from '../sense.ts';
import {
  blockUsage,
  CONTROL,
  DPO,
  FUA,
  GROUP,
  lbaOf,
  PROTECT,
  refusesProtection,
  refusesWrite,
  takeRange,
  takeTransfer,
} from './block-range.ts';

// COMPARE AND WRITE: Data-Out is the verify instance, then the write instance, each as long as the range.

const compareAndWrite: Command = {
  opcode: 0x89,
  serviceAction: null,
  name: 'COMPARE AND WRITE',
  usage: [
    0x89,
    PROTECT | DPO | FUA,
    ...new Array<number>(8).fill(0xff),
    0,
    0,
    0,
    0xff,
    GROUP,
    CONTROL,
  ],
  access: Access.Write,
  prepare(execution) {
    const { cdb, lu } = execution;
    if (refusesProtection(execution)) return ENDED;
    const { logicalBlockBytes, physicalBlockBytes } = lu.device.geometry;
    if (!takeRange(execution, lbaOf(cdb, 16), cdb[13]!)) return ENDED;
    if (execution.bytes > physicalBlockBytes) return execution.failField(13);
    if (refusesWrite(execution)) return ENDED;
    const wantedBytes = 2 * execution.blocks * logicalBlockBytes;
    // NUMBER OF LOGICAL BLOCKS is what hosts get wrong here, 256 as 0 for one: point at it.
    if (execution.task.expectedBytes !== wantedBytes) return execution.failField(13);
    return wantedBytes;
  },
  execute: (execution) => startUpdate(execution, compareThenReplace, endCompareAndWrite),
};

/** Puts the write instance in place of what the verify instance equals; else notes where they first differ. */
function compareThenReplace(execution: Execution): boolean {
  const current = execution.buffer!.bytes;
  const wanted = execution.task.dataOut!.bytes;
  const { bytes } = execution;
  if (current.compare(wanted, 0, bytes, 0, bytes) !== 0) {
    let offset = 0;
    while (current[offset] === wanted[offset]) offset += 1;
    execution.done = offset;
    execution.flag = true;
    return false;
  }
  wanted.copy(current, 0, bytes, 2 * bytes);
  return true;
}

function endCompareAndWrite(execution: Execution, status: IoStatus) {
  if (execution.flag) {
    // INFORMATION: the offset of the first byte that differs (SBC-4 §5.3).
    return execution.fail({
      key: SenseKey.Miscompare,
      code: Asc.MiscompareDuringVerify,
      information: execution.done,
    });
  }
  return endUpdate(execution, status);
}

const orWrite: Command = {
  opcode: 0x8b,
  serviceAction: null,
  name: 'ORWRITE(16)',
  usage: blockUsage(0x8b, 16, PROTECT | DPO | FUA),
  access: Access.Write,
  prepare(execution) {
    if (refusesProtection(execution) || !takeTransfer(execution, 16)) return ENDED;
    return refusesWrite(execution) ? ENDED : execution.bytes;
  },
  execute: (execution) => startUpdate(execution, mergeOr, endUpdate),
};

function mergeOr(execution: Execution): boolean {
  const current = execution.buffer!.bytes;
  const added = execution.task.dataOut!.bytes;
  const { bytes } = execution;
  for (let at = 0; at < bytes; at += 1) current[at]! |= added[at]!;
  return true;
}

function startUpdate(
  execution: Execution,
  update: (execution: Execution) => boolean,
  end: (execution: Execution, status: IoStatus) => unknown,
) {
  if (refusesWrite(execution)) return ENDED;
  if (execution.blocks === 0) return execution.good();
  const buffer = execution.takeBuffer(execution.bytes, (again) => startUpdate(again, update, end));
  if (buffer === null) return ENDED;
  execution.buffer = buffer;
  const fua = (execution.cdb[1]! & FUA) !== 0;
  return execution.submitUpdate(BlockOpKind.Update, buffer, fua, update, end);
}

function endUpdate(execution: Execution, status: IoStatus) {
  return status === IoStatus.Ok ? execution.good() : execution.failIo(status);
}

export const readModifyWriteCommands: readonly Command[] = [compareAndWrite, orWrite];
