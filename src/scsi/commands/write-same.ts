// WRITE SAME (10) and (16), SBC-4 §5.53: one block of data over a range, or the range unmapped.
import { BlockOpKind, type DataBuffer, IoStatus } from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { MAX_WRITE_SAME_BLOCKS, WRITE_SAME_CHUNK_BYTES } from '../limits.ts';
import {
  blocksOf,
  blockUsage,
  lbaOf,
  lengthByteOf,
  PROTECT,
  refusesLength,
  refusesProtection,
  refusesWrite,
  takeRange,
} from './block-range.ts';

const ANCHOR = 0x10;
const UNMAP = 0x08;
/** PBDATA and LBDATA, obsolete: they would have us invent data. */
const OBSOLETE = 0x06;
const NDOB = 0x01;

function hasData(execution: Execution, form: 10 | 16): boolean {
  return form === 10 || (execution.cdb[1]! & NDOB) === 0;
}

function prepareWriteSame(execution: Execution, form: 10 | 16): number {
  const { cdb, lu } = execution;
  const byte1 = cdb[1]!;
  if (refusesProtection(execution)) return ENDED;
  if ((byte1 & ANCHOR) !== 0) return execution.failField(1, 4); // ANC_SUP is zero.
  if ((byte1 & OBSOLETE) !== 0) return execution.failField(1, (byte1 & 0x04) !== 0 ? 2 : 1);
  if (form === 10 && (byte1 & NDOB) !== 0) return execution.failField(1, 0);
  const blocks = blocksOf(cdb, form);
  if (!takeRange(execution, lbaOf(cdb, form), blocks)) return ENDED;
  // WSNZ: zero, "to the end of the medium", is refused.
  if (blocks === 0 || blocks > MAX_WRITE_SAME_BLOCKS) {
    return execution.failField(lengthByteOf(form));
  }
  if (refusesWrite(execution)) return ENDED;
  const wantedBytes = hasData(execution, form) ? lu.device.geometry.logicalBlockBytes : 0;
  return refusesLength(execution, wantedBytes) ? ENDED : wantedBytes;
}

function executeWriteSame(execution: Execution, form: 10 | 16) {
  const { cdb, lba, blocks } = execution;
  // Unmapped blocks read as zeros (LBPRZ): only where that is the data asked for may they be unmapped.
  if ((cdb[1]! & UNMAP) !== 0 && writesZeros(execution, form)) {
    if (refusesWrite(execution)) return ENDED;
    return execution.submit(BlockOpKind.Unmap, lba, blocks, null, 0, false, endUnmap);
  }
  return startFill(execution);
}

function writesZeros(execution: Execution, form: 10 | 16): boolean {
  if (!hasData(execution, form)) return true;
  const { bytes } = execution.task.dataOut!;
  const length = execution.lu.device.geometry.logicalBlockBytes;
  for (let at = 0; at < length; at += 1) if (bytes[at] !== 0) return false;
  return true;
}

function endUnmap(execution: Execution, status: IoStatus) {
  return status === IoStatus.Ok ? execution.good() : execution.failIo(status);
}

function startFill(execution: Execution) {
  // SWP may have been set while it waited for its buffer.
  if (refusesWrite(execution)) return ENDED;
  const wanted = Math.min(execution.bytes, WRITE_SAME_CHUNK_BYTES);
  const buffer = execution.takeBuffer(wanted, startFill);
  if (buffer === null) return ENDED;
  execution.buffer = buffer;
  repeat(execution, buffer, wanted);
  return fillNext(execution);
}

function repeat(execution: Execution, buffer: DataBuffer, bytes: number): void {
  const { dataOut } = execution.task;
  if (dataOut === null) {
    buffer.bytes.fill(0, 0, bytes);
    return;
  }
  const block = execution.lu.device.geometry.logicalBlockBytes;
  dataOut.bytes.copy(buffer.bytes, 0, 0, block);
  for (let at = block; at < bytes; at *= 2) {
    buffer.bytes.copyWithin(at, 0, Math.min(at, bytes - at));
  }
}

function fillNext(execution: Execution) {
  if (execution.aborted) return execution.stop();
  const { lba, blocks, done, lu, buffer } = execution;
  const most = WRITE_SAME_CHUNK_BYTES / lu.device.geometry.logicalBlockBytes;
  const chunk = Math.min(blocks - done, most);
  return execution.submit(BlockOpKind.Write, lba + done, chunk, buffer, 0, false, filledChunk);
}

function filledChunk(execution: Execution, status: IoStatus) {
  if (status !== IoStatus.Ok) return execution.failIo(status);
  execution.done += execution.op.blocks;
  return execution.done === execution.blocks ? execution.good() : fillNext(execution);
}

function writeSame(opcode: number, form: 10 | 16): Command {
  const byte1 = PROTECT | ANCHOR | UNMAP | (form === 16 ? NDOB : 0);
  return {
    opcode,
    serviceAction: null,
    name: `WRITE SAME(${form})`,
    usage: blockUsage(opcode, form, byte1),
    access: Access.Write,
    prepare: (execution) => prepareWriteSame(execution, form),
    execute: (execution) => executeWriteSame(execution, form),
  };
}

export const writeSameCommands: readonly Command[] = [writeSame(0x41, 10), writeSame(0x93, 16)];
