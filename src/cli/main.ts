#!/usr/bin/env node
// The `ashlar` command. `serve` is the daemon; everything else speaks to its REST API, in the manner of kubectl.
// Exit codes: 0 done; 1 refused or failed; 2 called wrongly; 3 the API cannot be reached.
import { CommanderError } from 'commander';
import { ServerError, Unreachable } from './client.ts';
import { buildProgram } from './program.ts';
import { EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, GaveUp, UsageError } from './usage.ts';

/** Runs one command line; the exit code ends up in `process.exitCode`. */
async function main(): Promise<void> {
  // `ashlar get volumes | head -1` closes the pipe on us; that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  try {
    await buildProgram().parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (error instanceof ServerError) {
    process.stderr.write(`Error from server (${error.reason}): ${error.message}\n`);
    return EXIT_FAILED;
  }
  if (error instanceof Unreachable) {
    process.stderr.write(`error: ${error.message}\n`);
    return EXIT_UNREACHABLE;
  }
  if (error instanceof GaveUp) {
    process.stderr.write(`error: ${error.message}\n`);
    return EXIT_FAILED;
  }
  if (error instanceof UsageError) {
    process.stderr.write(`error: ${error.message}\n`);
    return EXIT_USAGE;
  }
  process.stderr.write(
    `error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return EXIT_FAILED;
}

await main();
