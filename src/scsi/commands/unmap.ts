// UNMAP, SBC-4 §5.32. The whole list is judged before anything is unmapped. It is no atomic command: one that ends with an
// error has been done in part, and of each block named the mapping may or may not be gone, as after one that ends well.
import { BlockOpKind, IoStatus } from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS } from '../limits.ts';
import { Asc, SenseKey } from '../sense.ts';
import { CONTROL, GROUP, refusesWrite } from './block-range.ts';

const HEADER_BYTES = 8;
const DESCRIPTOR_BYTES = 16;

const unmap: Command = {
  opcode: 0x42,
  serviceAction: null,
  name: 'UNMAP',
  usage: [0x42, 0x01, 0, 0, 0, 0, GROUP, 0xff, 0xff, CONTROL],
  access: Access.Write,
  prepare(execution) {
    const { cdb } = execution;
    if ((cdb[1]! & 0x01) !== 0) return execution.failField(1, 0); // ANCHOR: ANC_SUP is zero.
    const listBytes = cdb.readUInt16BE(7);
    if (listBytes !== 0 && listBytes < HEADER_BYTES) {
      return execution.failWith(SenseKey.IllegalRequest, Asc.ParameterListLengthError);
    }
    return refusesWrite(execution) ? ENDED : listBytes;
  },
  execute: executeUnmap,
};

function executeUnmap(execution: Execution) {
  const { task, lu } = execution;
  if (refusesWrite(execution)) return ENDED;
  if (task.dataOut === null || task.dataOutBytes < HEADER_BYTES) return execution.good();
  const list = task.dataOut.bytes.subarray(0, task.dataOutBytes);
  // UNMAP BLOCK DESCRIPTOR DATA LENGTH, cut to what came; a descriptor in part is ignored.
  const described = Math.min(list.readUInt16BE(2), list.length - HEADER_BYTES);
  const descriptors = Math.floor(described / DESCRIPTOR_BYTES);
  if (descriptors > MAX_UNMAP_DESCRIPTORS) return execution.failParameter(2);

  const capacity = lu.device.geometry.blocks;
  let total = 0;
  for (let index = 0; index < descriptors; index += 1) {
    const at = HEADER_BYTES + index * DESCRIPTOR_BYTES;
    const lba = lbaAt(list, at);
    const blocks = list.readUInt32BE(at + 8);
    if (lba > capacity || blocks > capacity - lba) {
      return execution.failWith(SenseKey.IllegalRequest, Asc.LbaOutOfRange);
    }
    total += blocks;
    if (total > MAX_UNMAP_BLOCKS) return execution.failParameter(at + 8);
  }
  execution.blocks = descriptors;
  return unmapNext(execution);
}

/** `done` counts descriptors. */
function unmapNext(execution: Execution) {
  if (execution.aborted) return execution.stop();
  const list = execution.task.dataOut!.bytes;
  for (; execution.done < execution.blocks; execution.done += 1) {
    const at = HEADER_BYTES + execution.done * DESCRIPTOR_BYTES;
    const blocks = list.readUInt32BE(at + 8);
    if (blocks === 0) continue;
    execution.done += 1;
    const lba = lbaAt(list, at);
    return execution.submit(BlockOpKind.Unmap, lba, blocks, null, 0, false, unmapped);
  }
  return execution.good();
}

function unmapped(execution: Execution, status: IoStatus) {
  return status === IoStatus.Ok ? unmapNext(execution) : execution.failIo(status);
}

function lbaAt(list: Buffer, at: number): number {
  return list.readUInt32BE(at) * 0x1_0000_0000 + list.readUInt32BE(at + 4);
}

export const unmapCommands: readonly Command[] = [unmap];
