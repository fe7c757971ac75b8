// Commands for a LUN where no logical unit is (SPC-4 §5.3.2, SAM-5 §5.11): INQUIRY says so, REPORT LUNS still answers at
// LUN 0 and at its well-known unit, REQUEST SENSE carries the reason, all else fails with 05h/25h/00h.
import { standardInquiry } from './commands/inquiry.ts';
import { reportLunsData } from './commands/report-luns.ts';
import { REPORT_LUNS_WELL_KNOWN_LUN } from './lun.ts';
import { Asc, encodeSense, type Sense, SenseKey } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';

const notSupported: Sense = { key: SenseKey.IllegalRequest, code: Asc.LogicalUnitNotSupported };

/** Peripheral qualifier 011b, device type 1Fh: no unit can be here; 000b and 1Eh: a well-known unit. */
const NO_UNIT = 0x7f;
const WELL_KNOWN_UNIT = 0x1e;

/** Sets the outcome of `task`. */
export function executeAbsent(task: ScsiTask, luns: readonly number[]): void {
  answer(task, luns);
}

function answer(task: ScsiTask, luns: readonly number[]) {
  const { cdb } = task;
  const wellKnown = task.lun === REPORT_LUNS_WELL_KNOWN_LUN;
  switch (cdb[0]) {
    case 0x12: {
      if ((cdb[1]! & 0x01) !== 0 || cdb[2] !== 0) return failInquiry(task);
      const data = standardInquiry(wellKnown ? WELL_KNOWN_UNIT : NO_UNIT);
      return reply(task, data, cdb.readUInt16BE(3));
    }
    case 0xa0: {
      if (task.lun !== 0 && !wellKnown) break;
      const data = reportLunsData(luns, cdb[2]!);
      if (data === null) return failCdb(task, 2, null);
      return reply(task, data, cdb.readUInt32BE(6));
    }
    case 0x03: {
      const descriptor = (cdb[1]! & 0x01) !== 0;
      const sense = wellKnown ? { key: SenseKey.NoSense, code: Asc.None } : notSupported;
      return reply(task, encodeSense(sense, descriptor), cdb[4]!);
    }
    case 0x00:
      if (wellKnown) return;
      break;
    default:
      if (wellKnown) {
        return fail(task, { key: SenseKey.IllegalRequest, code: Asc.InvalidOperationCode });
      }
  }
  fail(task, notSupported);
}

function failInquiry(task: ScsiTask): void {
  if ((task.cdb[1]! & 0x01) === 0) failCdb(task, 2, null);
  else failCdb(task, 1, 0);
}

function failCdb(task: ScsiTask, byte: number, bit: number | null): void {
  const field = { inCdb: true, byte, bit };
  fail(task, { key: SenseKey.IllegalRequest, code: Asc.InvalidFieldInCdb, field });
}

function fail(task: ScsiTask, sense: Sense): void {
  task.status = ScsiStatus.CheckCondition;
  task.sense = encodeSense(sense, false);
}

function reply(task: ScsiTask, data: Buffer, allocationBytes: number): void {
  task.dataInSmall = data.subarray(0, Math.min(data.length, allocationBytes));
  task.dataInBytes = task.dataInSmall.length;
}
