// The daemon's log: JSON lines on standard error for machines; on a terminal, lines for people.
import { Writable } from 'node:stream';
import { type DestinationStream, destination, type Logger, pino } from 'pino';
import type { LogLevel } from './config/schema.ts';

/** Wherever these keys turn up, to this depth, their values are not written. */
const SECRETS = ['secret', 'password', 'chap.secret', 'mutualChap.secret', 'authorization'];
const REDACTED = SECRETS.flatMap((path) => [path, `*.${path}`, `*.*.${path}`]);

const LEVEL_NAMES: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
};
const LEFT_OUT = new Set(['level', 'time', 'msg', 'err', 'node', 'pid', 'hostname']);

export interface LogOptions {
  readonly level: LogLevel;
  readonly node: string;
  /** Called with each finished line for people; null: JSON to standard error. */
  readonly people: ((line: string) => void) | null;
  /** Told of each line of JSON as well. */
  readonly tee?: (line: string) => void;
}

export function createLog(options: LogOptions): Logger {
  const stream: DestinationStream =
    options.people === null ? toStandardError() : forPeople(options.people);
  const { tee } = options;
  const target: DestinationStream =
    tee === undefined
      ? stream
      : {
          write(line: string) {
            tee(line);
            stream.write(line);
          },
        };
  return pino(
    {
      level: options.level,
      base: { node: options.node },
      redact: { paths: REDACTED, censor: '[redacted]' },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    target,
  );
}

function toStandardError(): DestinationStream {
  // Synchronous: the last words of a dying daemon are the ones that are wanted.
  const stream = destination({ dest: 2, sync: true });
  // Whoever read it is gone: a lost line is no reason to stop serving.
  stream.on('error', () => {});
  return stream;
}

function forPeople(write: (line: string) => void): DestinationStream {
  return new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      for (const line of chunk.split('\n')) if (line !== '') write(toLine(line));
      done();
    },
  });
}

function toLine(json: string): string {
  const record = JSON.parse(json) as Record<string, unknown>;
  const level = LEVEL_NAMES[record['level'] as number] ?? '';
  const time = String(record['time']).slice(11, 19);
  const error = record['err'] as { message?: string } | undefined;
  const fields = Object.entries(record)
    .filter(([name]) => !LEFT_OUT.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  if (error?.message !== undefined) fields.push(`error=${JSON.stringify(error.message)}`);
  return [time, level.padEnd(5), String(record['msg'] ?? ''), ...fields].join(' ');
}
