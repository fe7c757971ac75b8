// What one run of `iscsi-test-cu -t FAMILY.SUITE.TEST` says about its test.
//
// The program ends with status 0 for a passed test, for one that skipped itself in its first line, and for a name it
// does not know; CUnit counts a skipped test as passed. So the text decides: the summary must say that one test ran,
// and a `[SKIPPED]` line makes a passed test a skipped one.
import type { Finished } from '../e2e/support/process.ts';

export type OutcomeKind = 'pass' | 'skip' | 'fail' | 'hang' | 'crash';

export type Outcome = {
  readonly kind: OutcomeKind;
  /** Why it skipped or failed, in the program's own words; empty for a pass. */
  readonly reason: string;
};

const MAX_REASON_CHARS = 200;

/** Judges the finished program. A hang is decided by the caller's deadline, a crash by looking at the daemon. */
export function judge(done: Finished): Outcome {
  if (done.timedOut) return { kind: 'hang', reason: lastLine(done.stdout) };
  const summary = /^\s*tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/m.exec(done.stdout);
  const asserts = /^\s*asserts\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/m.exec(done.stdout);
  if (summary === null || asserts === null) {
    const how = done.signal === null ? `status ${done.status}` : `signal ${done.signal}`;
    return { kind: 'fail', reason: `no summary, ${how}: ${lastLine(done.stderr || done.stdout)}` };
  }
  const ran = Number(summary[2]);
  const failed = Number(summary[4]) + Number(asserts[4]);
  if (ran !== 1) return { kind: 'fail', reason: `${ran} tests ran instead of one` };
  if (failed > 0 || done.status !== 0) {
    return { kind: 'fail', reason: firstFailure(done.stdout) };
  }
  const skipped = /\[SKIPPED\]\s*(.*)/.exec(done.stdout);
  if (skipped !== null) return { kind: 'skip', reason: clip(skipped[1] ?? '') };
  return { kind: 'pass', reason: '' };
}

function firstFailure(stdout: string): string {
  const said = /\[FAILED\]\s*(.*)/.exec(stdout)?.[1];
  const where = /^\s*1\.\s+(.*)$/m.exec(stdout)?.[1];
  return clip([said, where].filter((part) => part !== undefined).join(' | ') || lastLine(stdout));
}

function lastLine(text: string): string {
  return clip(text.trim().split('\n').at(-1) ?? '');
}

function clip(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length > MAX_REASON_CHARS ? `${line.slice(0, MAX_REASON_CHARS - 1)}…` : line;
}

/** The leaf tests (FAMILY.SUITE.TEST) of the families in the output of `iscsi-test-cu --list`, in its order. */
export function leafTests(list: string, families: readonly string[]): string[] {
  return list
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => {
      const parts = line.split('.');
      return (
        parts.length === 3 && families.includes(parts[0] ?? '') && parts.every((p) => p !== '')
      );
    });
}
