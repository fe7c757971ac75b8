// The checked-in result of the conformance run, and what counts as a step back from it.
import { readFileSync, writeFileSync } from 'node:fs';
import type { Outcome, OutcomeKind } from './outcome.ts';

/**
 * By test name: `pass`, why it is skipped, or why it is known to fail and by which assertion. What is known to fail is a
 * debt, explained in docs/conformance.md, shown in every run, and added by hand only.
 */
export type Baseline = ReadonlyMap<
  string,
  { readonly kind: 'pass' | 'skip' | 'known'; readonly reason: string }
>;

export type Change = {
  readonly test: string;
  readonly was: OutcomeKind | 'known' | 'unknown';
  readonly outcome: Outcome;
};

export function readBaseline(path: string): Baseline {
  const parsed = JSON.parse(readFileSync(path, 'utf8')) as {
    pass: string[];
    skip: Record<string, string>;
    known: Record<string, string>;
  };
  const baseline = new Map<string, { kind: 'pass' | 'skip' | 'known'; reason: string }>();
  for (const [test, assertion] of Object.entries(parsed.known)) {
    baseline.set(test, { kind: 'known', reason: assertion });
  }
  for (const test of parsed.pass) baseline.set(test, { kind: 'pass', reason: '' });
  for (const [test, reason] of Object.entries(parsed.skip)) {
    baseline.set(test, { kind: 'skip', reason });
  }
  return baseline;
}

export function writeBaseline(
  path: string,
  outcomes: ReadonlyMap<string, Outcome>,
  known: Readonly<Record<string, string>>,
): void {
  const of = (kind: OutcomeKind): [string, Outcome][] =>
    [...outcomes]
      .filter(([, outcome]) => outcome.kind === kind)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  const content = {
    known,
    skip: Object.fromEntries(of('skip').map(([test, outcome]) => [test, outcome.reason])),
    pass: of('pass').map(([test]) => test),
  };
  writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`);
}

/** Failing, and known to fail by this very assertion. A hang or a crash is never excused. */
export function isKnownFailure(baseline: Baseline, test: string, outcome: Outcome): boolean {
  const known = baseline.get(test);
  return (
    known?.kind === 'known' && outcome.kind === 'fail' && outcome.reason.includes(known.reason)
  );
}

/** A regression: failing, hanging or crashing otherwise than is known, or skipping what passed before. */
export function regressions(baseline: Baseline, outcomes: ReadonlyMap<string, Outcome>): Change[] {
  return changes(baseline, outcomes).filter(({ test, was, outcome }) => {
    if (outcome.kind === 'pass') return false;
    if (outcome.kind === 'skip') return was !== 'skip';
    return !isKnownFailure(baseline, test, outcome);
  });
}

export function improvements(baseline: Baseline, outcomes: ReadonlyMap<string, Outcome>): Change[] {
  return changes(baseline, outcomes).filter(
    ({ was, outcome }) => outcome.kind === 'pass' && was !== 'pass',
  );
}

function changes(baseline: Baseline, outcomes: ReadonlyMap<string, Outcome>): Change[] {
  return [...outcomes].map(([test, outcome]) => ({
    test,
    was: baseline.get(test)?.kind ?? 'unknown',
    outcome,
  }));
}
