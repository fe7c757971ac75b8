// SYNCHRONIZE CACHE (10), (16) and PRE-FETCH (10), (16): SBC-4 §5.29 and §5.14.
import { BlockOpKind, IoStatus } from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { blocksOf, blockUsage, lbaOf, takeRange } from './block-range.ts';

const IMMED = 0x02;

/**
 * The whole cache is synchronized, whatever the range: more than asked is allowed, and costs the same. With IMMED the
 * status might come at once, and an error later and to nobody in particular; it comes after the flush instead.
 */
function synchronizeCache(opcode: number, form: 10 | 16): Command {
  return {
    opcode,
    serviceAction: null,
    name: `SYNCHRONIZE CACHE(${form})`,
    usage: blockUsage(opcode, form, IMMED),
    access: Access.Write,
    execute(execution) {
      const { cdb } = execution;
      if (!takeRange(execution, lbaOf(cdb, form), blocksOf(cdb, form))) return ENDED;
      return execution.submit(BlockOpKind.Flush, 0, 0, null, 0, false, endFlush);
    },
  };
}

function endFlush(execution: Execution, status: IoStatus) {
  return status === IoStatus.Ok ? execution.good() : execution.failIo(status);
}

/** There is no cache to fetch into that a host could fill: the range is checked, and GOOD says that it did not fit. */
function preFetch(opcode: number, form: 10 | 16): Command {
  return {
    opcode,
    serviceAction: null,
    name: `PRE-FETCH(${form})`,
    usage: blockUsage(opcode, form, IMMED),
    access: Access.Read,
    execute(execution) {
      const { cdb } = execution;
      if (!takeRange(execution, lbaOf(cdb, form), blocksOf(cdb, form))) return ENDED;
      return execution.good();
    },
  };
}

export const cacheCommands: readonly Command[] = [
  synchronizeCache(0x35, 10),
  synchronizeCache(0x91, 16),
  preFetch(0x34, 10),
  preFetch(0x90, 16),
];
