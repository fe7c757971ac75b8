// Why the start failed, for whoever has to mend it: the store says what is wrong, and here it is said what to do.
import { userInfo } from 'node:os';

/** Of what the store refuses at the start; where a code is missing its message says it itself. */
const ADVICE: Readonly<Record<string, string>> = {
  STORE_NOT_A_POOL:
    'Is pool.path the right one? wipefs PATH shows what it holds; a new pool wants a path where nothing is',
  STORE_FOREIGN_SIGNATURE:
    'If it is the right device and nobody needs what it holds: wipefs -a PATH',
  STORE_CORRUPT: 'Keep a copy of it before anything else (docs/operations.md)',
  STORE_OWNED:
    'Stop that machine for good, then start this once with --take-over (after an export there it is not needed). Also where this machine is the same with another /etc/machine-id',
  STORE_VERSION: 'Install that version again',
};

/** Null: nothing that an operator could mend is known of it. */
export function startAdvice(error: unknown): string | null {
  const { name, code, message } = error as { name: string; code?: string; message: string };
  if (name !== 'StoreError') return null;
  if (message.includes('Permission denied')) {
    return `This process runs as ${userName()}, who may not: ls -l shows whose it is`;
  }
  return ADVICE[code ?? ''] ?? null;
}

/** Its message, and after it what to do. */
export function withAdvice(error: Error): string {
  const advice = startAdvice(error);
  return advice === null ? error.message : `${error.message}. ${advice}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `user ${process.getuid?.()}`; // One without a line in /etc/passwd.
  }
}
