// What all commands share: how they can be called wrongly, and how texts on the command line are read.
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_UNREACHABLE = 3;

/** Called wrongly: the message says how to call it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Something was waited for and did not come. */
export class GaveUp extends Error {
  override readonly name = 'GaveUp';
}

export type Output = 'table' | 'wide' | 'json' | 'yaml' | 'name';

export interface OutputFlags {
  readonly output?: Output;
}

/** `1 volume`, `2 volumes`. */
export const counted = (count: number, plural: string): string =>
  `${count} ${count === 1 ? plural.slice(0, -1) : plural}`;

export const print = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

export const outputOption = (): Option =>
  new Option('-o, --output <format>', 'how to print').choices(['wide', 'json', 'yaml', 'name']);

export const namespaceOption = (): Option =>
  new Option('-n, --namespace <name>', 'namespace, for kinds that live in one').default('default');

export function readInput(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: cannot be read: ${(error as Error).message}`);
  }
}

export function toLabels(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair): [string, string] => {
      const at = pair.indexOf('=');
      if (at <= 0) throw new UsageError(`--label: '${pair}' is not a label; write it like app=db`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

export function toInteger(flag: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${flag}: '${text}' is not a number`);
  return Number(text);
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `30s`, `5m`; a bare number is seconds, as kubectl takes it. */
export function toMilliseconds(flag: string, text: string): number {
  const [, value, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? [];
  if (value === undefined) {
    throw new UsageError(`${flag}: '${text}' is not a duration; write it like 30s`);
  }
  return Number(value) * UNITS[unit]!;
}

export function collect(value: string, before: readonly string[]): string[] {
  if (value === '') throw new InvalidArgumentError('is empty');
  return [...before, value];
}

/** Adds a group command (`create`, `get`) once, whichever file comes first. */
export function groupCommand(program: Command, name: string, description: string): Command {
  const known = program.commands.find((command) => command.name() === name);
  return known ?? program.command(name).description(description);
}
