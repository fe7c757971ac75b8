// RESERVE and RELEASE, SPC-2 §7.16 to §7.25, as SPC-4 §5.13.3 lets them live on beside persistent reservations. Third-party
// and extent reservations went out with SPC-2 and are refused.
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { reservationsOf } from '../reservations/reservations.ts';
import { ScsiStatus } from '../task.ts';

function executeReserve(execution: Execution): void {
  const reservations = reservationsOf(execution.lu);
  reservations.whenServed(execution, () => {
    const { nexus } = execution.nexus;
    const compatible = reservations.compatible(nexus);
    if (compatible ?? reservations.reserve(nexus)) execution.good();
    else execution.endWith(ScsiStatus.ReservationConflict);
  });
}

function executeRelease(execution: Execution): void {
  const reservations = reservationsOf(execution.lu);
  const { nexus } = execution.nexus;
  const compatible = reservations.compatible(nexus);
  if (compatible === null) reservations.release(nexus);
  if (compatible === false) execution.endWith(ScsiStatus.ReservationConflict);
  else execution.good();
}

/** 3RDPTY, LONGID and EXTENT. */
const OBSOLETE_BITS = [4, 1, 0] as const;

function prepare(execution: Execution): number {
  for (const bit of OBSOLETE_BITS) {
    if ((execution.cdb[1]! & (1 << bit)) !== 0) {
      execution.failField(1, bit);
      return ENDED;
    }
  }
  return 0;
}

function command(opcode: number, name: string, bytes: 6 | 10): Command {
  const releases = name.startsWith('RELEASE');
  const usage = [opcode, 0x13, ...new Array<number>(bytes - 3).fill(0), 0x04];
  return {
    opcode,
    serviceAction: null,
    name,
    usage,
    // Beside a persistent reservation they settle by themselves what they may.
    access: Access.Always,
    duringReserve: releases,
    prepare,
    execute: releases ? executeRelease : executeReserve,
  };
}

export const reserveCommands: readonly Command[] = [
  command(0x16, 'RESERVE(6)', 6),
  command(0x17, 'RELEASE(6)', 6),
  command(0x56, 'RESERVE(10)', 10),
  command(0x57, 'RELEASE(10)', 10),
];
