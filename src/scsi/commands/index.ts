// The commands of a disk, and what they plug into a logical unit.
import { type Command, CommandTable } from '../command.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import { inquiryCommands } from './inquiry.ts';
import { reportLunsCommands } from './report-luns.ts';

const commands: readonly Command[] = [...inquiryCommands, ...reportLunsCommands];

export const diskCommands = new CommandTable(commands);

/** Gives a new unit its reservations and its SANITIZE. */
export function plugHooks(_unit: LogicalUnit): void {}
