// VERIFY (10), (12), (16), SBC-4 §5.33: BYTCHK 00b reads and checks, 01b compares with as much Data-Out, 11b compares
// each block with the one block of Data-Out.
import { BlockOpKind, IoStatus } from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { MAX_TRANSFER_BYTES, MAX_VERIFY_BYTES, VERIFY_CHUNK_BYTES } from '../limits.ts';
import { Asc, SenseKey } from '../sense.ts';
import {
  blocksOf,
  blockUsage,
  type CdbForm,
  DPO,
  lbaOf,
  lengthByteOf,
  PROTECT,
  refusesLength,
  refusesProtection,
  takeRange,
} from './block-range.ts';

const COMPARE_ALL = 1;
const COMPARE_ONE = 3;

function byteCheck(execution: Execution): number {
  return (execution.cdb[1]! >> 1) & 0x03;
}

function prepareVerify(execution: Execution, form: CdbForm): number {
  const { cdb, lu } = execution;
  if (refusesProtection(execution)) return ENDED;
  const check = byteCheck(execution);
  if (check === 2) return execution.failField(1, 2);
  if (!takeRange(execution, lbaOf(cdb, form), blocksOf(cdb, form))) return ENDED;
  const limitBytes = check === COMPARE_ALL ? MAX_TRANSFER_BYTES : MAX_VERIFY_BYTES;
  if (execution.bytes > limitBytes) return execution.failField(lengthByteOf(form));
  if (check === 0 || execution.blocks === 0) return 0;
  if (check === COMPARE_ALL) return execution.bytes;
  const { logicalBlockBytes } = lu.device.geometry;
  return refusesLength(execution, logicalBlockBytes) ? ENDED : logicalBlockBytes;
}

function executeVerify(execution: Execution) {
  if (execution.blocks === 0) return execution.good();
  return byteCheck(execution) === 0 ? verifyNext(execution) : verifyAgainstData(execution);
}

/** Goes through the range a chunk at a time; `done` counts blocks. */
function verifyNext(execution: Execution) {
  if (execution.aborted) return execution.stop();
  const { lba, blocks, done, lu } = execution;
  const chunk = Math.min(blocks - done, VERIFY_CHUNK_BYTES / lu.device.geometry.logicalBlockBytes);
  return execution.submit(BlockOpKind.Verify, lba + done, chunk, null, 0, false, verifiedChunk);
}

function verifiedChunk(execution: Execution, status: IoStatus) {
  if (status !== IoStatus.Ok) return execution.failIo(status);
  execution.done += execution.op.blocks;
  return execution.done === execution.blocks ? execution.good() : verifyNext(execution);
}

/** Compares the range with the task's Data-Out. Also the second half of WRITE AND VERIFY with BYTCHK 01b. */
export function verifyAgainstData(execution: Execution): typeof ENDED | undefined {
  if (execution.aborted) return execution.stop();
  const { lba, blocks, bytes, done, lu } = execution;
  const { logicalBlockBytes } = lu.device.geometry;
  if (execution.buffer === null) {
    const wanted = Math.min(bytes, VERIFY_CHUNK_BYTES);
    execution.buffer = execution.takeBuffer(wanted, verifyAgainstData);
    if (execution.buffer === null) return ENDED;
  }
  const chunk = Math.min(blocks - done, VERIFY_CHUNK_BYTES / logicalBlockBytes);
  execution.submit(BlockOpKind.Read, lba + done, chunk, execution.buffer, 0, false, comparedChunk);
  return undefined;
}

function comparedChunk(execution: Execution, status: IoStatus) {
  if (status !== IoStatus.Ok) return execution.failIo(status);
  const { lu, op, task } = execution;
  const { logicalBlockBytes } = lu.device.geometry;
  const read = execution.buffer!.bytes;
  const expected = task.dataOut!.bytes;
  const one = byteCheck(execution) === COMPARE_ONE;
  for (let block = 0; block < op.blocks; block += 1) {
    const at = block * logicalBlockBytes;
    const from = one ? 0 : execution.done * logicalBlockBytes + at;
    if (read.compare(expected, from, from + logicalBlockBytes, at, at + logicalBlockBytes) !== 0) {
      return execution.failWith(SenseKey.Miscompare, Asc.MiscompareDuringVerify);
    }
  }
  execution.done += op.blocks;
  return execution.done === execution.blocks ? execution.good() : verifyAgainstData(execution);
}

function verify(opcode: number, form: CdbForm): Command {
  return {
    opcode,
    serviceAction: null,
    name: `VERIFY(${form})`,
    usage: blockUsage(opcode, form, PROTECT | DPO | 0x06),
    access: Access.Read,
    prepare: (execution) => prepareVerify(execution, form),
    execute: executeVerify,
  };
}

export const verifyCommands: readonly Command[] = [
  verify(0x2f, 10),
  verify(0xaf, 12),
  verify(0x8f, 16),
];
