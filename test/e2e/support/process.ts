// Child processes of the end-to-end tests: started so that they die with us, run with a deadline, never by shell.
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What a finished command left behind. `status` is null when a signal, or the deadline, ended it. */
export type Finished = {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
};

export type RunOptions = {
  readonly timeoutMs?: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
};

/** More output than this from one command is cut: a command gone wild may not eat our memory. */
const MAX_OUTPUT_CHARS = 16 * 1024 * 1024;

/** The checkout: the nearest folder above the compiled file that has a package.json. */
export function projectRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('no package.json above the compiled tests');
    folder = parent;
  }
  return folder;
}

/** Runs a command to its end, or kills it at the deadline. Resolves also when it failed: look at `status`. */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (stdout.length < MAX_OUTPUT_CHARS) stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < MAX_OUTPUT_CHARS) stderr += text;
    });
    child.stdin.on('error', () => undefined); // A command that ends before it reads its input is no error of ours.
    child.stdin.end(options.input ?? '');
    const deadline = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, options.timeoutMs ?? 60_000);
    child.on('error', (error) => {
      clearTimeout(deadline);
      reject(error);
    });
    child.on('close', (status, signal) => {
      clearTimeout(deadline);
      resolve({ status, signal, timedOut, stdout, stderr });
    });
  });
}

/** Like `run`, but anything other than exit status 0 is an error that shows what the command said. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const done = await run(command, args, options);
  if (done.status !== 0) {
    const how = done.timedOut ? 'ran into its time limit' : `exit ${done.status ?? done.signal}`;
    const said = `${done.stdout}\n${done.stderr}`.trim().slice(-4000);
    throw new Error(`${command} ${args.join(' ')}: ${how}\n${said}`);
  }
  return done.stdout;
}

/**
 * Starts a long-running process. setpriv arms PR_SET_PDEATHSIG and execs, so the pid is the program's own and
 * the kernel kills it even when this process is killed with -9 and runs no handler of ours.
 */
export function startProcess(
  command: string,
  args: readonly string[],
  options: {
    readonly logFile?: string;
    readonly stdio?: StdioOptions;
    readonly env?: NodeJS.ProcessEnv;
  },
): ChildProcess {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], {
    stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  if (options.logFile !== undefined) {
    const log = createWriteStream(options.logFile, { flags: 'a' });
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    child.on('close', () => log.end());
  }
  return child;
}

/** Resolves once the process is gone; at once when it already is. */
export function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

/** A TCP port of the loopback that is free now. It may be taken before it is used: start again then. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks again until the answer is not undefined. The error names what was waited for. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  ask: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs / 1000} s for ${what}`);
    await delay(50);
  }
}
