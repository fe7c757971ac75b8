// TEST UNIT READY, REQUEST SENSE (SPC-4 §6.39), START STOP UNIT (SBC-4 §5.28), PREVENT ALLOW MEDIUM REMOVAL.
import { BlockOpKind, IoStatus } from '../../block/index.ts';
import { Access, type Command } from '../command.ts';
import type { Execution } from '../execution.ts';
import { Asc, encodeSense, type Sense, SenseKey } from '../sense.ts';
import { CONTROL } from './block-range.ts';

const testUnitReady: Command = {
  opcode: 0x00,
  serviceAction: null,
  name: 'TEST UNIT READY',
  usage: [0x00, 0, 0, 0, 0, CONTROL],
  access: Access.Always,
  execute: (execution) => execution.good(),
};

/** The sense data that REQUEST SENSE is asked for: a unit attention is reported by it, and so cleared. */
function currentSense(execution: Execution): Sense {
  const { lu, nexus } = execution;
  if (nexus.attentions.pending) {
    return { key: SenseKey.UnitAttention, code: nexus.attentions.take() };
  }
  if (lu.sanitize.active) return lu.sanitize.sense();
  return { key: SenseKey.NoSense, code: Asc.None };
}

const requestSense: Command = {
  opcode: 0x03,
  serviceAction: null,
  name: 'REQUEST SENSE',
  usage: [0x03, 0x01, 0, 0, 0xff, CONTROL],
  access: Access.Always,
  duringReserve: true,
  duringUnitAttention: true,
  duringSanitize: true,
  execute(execution) {
    const { cdb } = execution;
    const descriptor = (cdb[1]! & 0x01) !== 0;
    return execution.reply(encodeSense(currentSense(execution), descriptor), cdb[4]!);
  },
};

const POWER_CONDITION = 0xf0;
const NO_FLUSH = 0x04;
const LOEJ = 0x02;
const START = 0x01;

const startStopUnit: Command = {
  opcode: 0x1b,
  serviceAction: null,
  name: 'START STOP UNIT',
  usage: [0x1b, 0x01, 0, 0x0f, 0xf7, CONTROL],
  access: Access.Write,
  /** Starting disturbs nobody: allowed under any reservation (SBC-4 table 14). */
  accessOf: (cdb) =>
    (cdb[4]! & (POWER_CONDITION | START)) === START ? Access.Always : Access.Write,
  execute(execution) {
    const byte4 = execution.cdb[4]!;
    // No power conditions, and nothing to load or eject.
    if ((byte4 & POWER_CONDITION) !== 0) return execution.failField(4, 7);
    if ((byte4 & LOEJ) !== 0) return execution.failField(4, 1);
    // A virtual medium that one host stops must not vanish from under the others: stopping only flushes.
    if ((byte4 & (START | NO_FLUSH)) !== 0) return execution.good();
    return execution.submit(BlockOpKind.Flush, 0, 0, null, 0, false, endFlush);
  },
};

function endFlush(execution: Execution, status: IoStatus) {
  return status === IoStatus.Ok ? execution.good() : execution.failIo(status);
}

const preventAllow: Command = {
  opcode: 0x1e,
  serviceAction: null,
  name: 'PREVENT ALLOW MEDIUM REMOVAL',
  usage: [0x1e, 0, 0, 0, 0x03, CONTROL],
  access: Access.Write,
  accessOf: (cdb) => ((cdb[4]! & 0x03) === 0 ? Access.Always : Access.Write),
  execute(execution) {
    const prevent = execution.cdb[4]! & 0x03;
    if (prevent > 1) return execution.failField(4, 1); // 10b and 11b are obsolete.
    execution.nexus.preventsRemoval = prevent === 1;
    return execution.good();
  },
};

export const unitStateCommands: readonly Command[] = [
  testUnitReady,
  requestSense,
  startStopUnit,
  preventAllow,
];
