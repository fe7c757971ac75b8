// READ (6), (10), (12), (16): SBC-4 §5.16 to §5.19. Hot path: nothing is allocated here but a pooled buffer.
import { BlockOpKind, IoStatus } from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import {
  blockUsage,
  type CdbForm,
  DPO,
  FUA,
  PROTECT,
  refusesProtection,
  takeTransfer,
} from './block-range.ts';

function executeRead(execution: Execution, form: CdbForm) {
  if (form !== 6 && refusesProtection(execution)) return ENDED;
  if (!takeTransfer(execution, form)) return ENDED;
  if (execution.blocks === 0) return execution.good();
  // With FUA the data comes from the medium: what the volatile cache holds goes there first (SBC-4 §5.17).
  if (form !== 6 && (execution.cdb[1]! & FUA) !== 0 && execution.lu.device.writeCache) {
    return execution.submit(BlockOpKind.Flush, 0, 0, null, 0, false, readAfterFlush);
  }
  return startRead(execution);
}

function readAfterFlush(execution: Execution, status: IoStatus) {
  if (execution.aborted) return execution.stop();
  return status === IoStatus.Ok ? startRead(execution) : execution.failIo(status);
}

function startRead(execution: Execution) {
  const buffer = execution.takeAnswerBuffer(execution.bytes, startRead);
  if (buffer === null) return ENDED;
  const { lba, blocks } = execution;
  return execution.submit(BlockOpKind.Read, lba, blocks, buffer, 0, false, endRead);
}

function endRead(execution: Execution, status: IoStatus) {
  if (status === IoStatus.Ok) return execution.replyFromBuffer(execution.bytes);
  return execution.failIo(status);
}

function read(opcode: number, form: CdbForm): Command {
  return {
    opcode,
    serviceAction: null,
    name: `READ(${form})`,
    usage: blockUsage(opcode, form, PROTECT | DPO | FUA),
    access: Access.Read,
    execute: (execution) => executeRead(execution, form),
  };
}

export const readCommands: readonly Command[] = [
  read(0x08, 6),
  read(0x28, 10),
  read(0xa8, 12),
  read(0x88, 16),
];
