// Shows that something runs: a line that counts seconds on a terminal, one line at the start and one at the end elsewhere.
import { spawn } from 'node:child_process';

const terminal = process.stdout.isTTY === true;
/** How much of a failed command's output is worth reading. */
const TAIL_BYTES = 16 * 1024;

export function say(text) {
  process.stdout.write(`${text}\n`);
}

export function fail(text) {
  process.stderr.write(`\nerror: ${text}\n`);
  process.exit(1);
}

function elapsed(startMs) {
  return `${((Date.now() - startMs) / 1000).toFixed(0)} s`;
}

/**
 * Runs a command with `title` and the time as its progress; its output is shown only if it fails. Resolves with true when
 * it ended well.
 */
export async function step(title, command, args, options = {}) {
  const startMs = Date.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  let tail = '';
  let last = '';
  const keep = (chunk) => {
    tail = (tail + chunk).slice(-TAIL_BYTES);
    last = tail.trimEnd().split('\n').at(-1) ?? '';
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const draw = () => {
    const line = `${title} ... ${elapsed(startMs)}  ${last}`;
    process.stdout.write(`\r\u001b[K${line.slice(0, (process.stdout.columns ?? 80) - 1)}`);
  };
  if (!terminal) say(`${title} ...`);
  const timer = setInterval(
    () => (terminal ? draw() : say(`  ... ${elapsed(startMs)}`)),
    terminal ? 500 : 30_000,
  );
  const code = await new Promise((resolve) => {
    child.on('error', (error) => {
      tail += `${error.message}\n`;
      resolve(127);
    });
    child.on('close', (status, signal) => resolve(status ?? `signal ${signal}`));
  });
  clearInterval(timer);
  if (terminal) process.stdout.write('\r\u001b[K');
  say(`${title}: ${code === 0 ? 'done' : `failed (${code})`} in ${elapsed(startMs)}`);
  if (code !== 0) process.stderr.write(`${tail}\n`);
  return code === 0;
}
