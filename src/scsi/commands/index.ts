// The commands of a disk, and what they plug into a logical unit.
import { type Command, CommandTable } from '../command.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import { Reservations } from '../reservations/reservations.ts';
import { cacheCommands } from './cache.ts';
import { capacityCommands } from './capacity.ts';
import { extendedCopyCommands } from './extended-copy.ts';
import { inquiryCommands } from './inquiry.ts';
import { maintenanceCommands } from './maintenance.ts';
import { modeCommands } from './mode.ts';
import { persistentReserveCommands } from './persistent-reserve.ts';
import { readCommands } from './read.ts';
import { readModifyWriteCommands } from './read-modify-write.ts';
import { reportLunsCommands } from './report-luns.ts';
import { reportOpcodesCommands } from './report-opcodes.ts';
import { reserveCommands } from './reserve.ts';
import { Sanitizer, sanitizeCommands } from './sanitize.ts';
import { unitStateCommands } from './unit-state.ts';
import { unmapCommands } from './unmap.ts';
import { verifyCommands } from './verify.ts';
import { writeCommands } from './write.ts';
import { writeSameCommands } from './write-same.ts';

const commands: readonly Command[] = [
  ...cacheCommands,
  ...capacityCommands,
  ...extendedCopyCommands,
  ...inquiryCommands,
  ...maintenanceCommands,
  ...modeCommands,
  ...persistentReserveCommands,
  ...readCommands,
  ...readModifyWriteCommands,
  ...reportLunsCommands,
  ...reportOpcodesCommands,
  ...reserveCommands,
  ...sanitizeCommands,
  ...unitStateCommands,
  ...unmapCommands,
  ...verifyCommands,
  ...writeCommands,
  ...writeSameCommands,
];

export const diskCommands = new CommandTable(commands);

/** Gives a new unit its reservations and its SANITIZE. */
export function plugHooks(unit: LogicalUnit): void {
  unit.reservations = new Reservations(unit);
  unit.sanitize = new Sanitizer(unit);
}
