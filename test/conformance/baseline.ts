// The checked-in result of the conformance run, and what counts as a step back from it.
import { readFileSync, writeFileSync } from 'node:fs';
import type { Outcome, OutcomeKind } from './outcome.ts';

/** By test name: `pass`, or why it is skipped. A baseline never holds a failure: what fails gets repaired. */
export type Baseline = ReadonlyMap<
  string,
  { readonly kind: 'pass' | 'skip'; readonly reason: string }
>;

export type Change = {
  readonly test: string;
  readonly was: OutcomeKind | 'unknown';
  readonly outcome: Outcome;
};

export function readBaseline(path: string): Baseline {
  const parsed = JSON.parse(readFileSync(path, 'utf8')) as {
    pass: string[];
    skip: Record<string, string>;
  };
  const baseline = new Map<string, { kind: 'pass' | 'skip'; reason: string }>();
  for (const test of parsed.pass) baseline.set(test, { kind: 'pass', reason: '' });
  for (const [test, reason] of Object.entries(parsed.skip)) {
    baseline.set(test, { kind: 'skip', reason });
  }
  return baseline;
}

export function writeBaseline(path: string, outcomes: ReadonlyMap<string, Outcome>): void {
  const of = (kind: OutcomeKind): [string, Outcome][] =>
    [...outcomes]
      .filter(([, outcome]) => outcome.kind === kind)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  const content = {
    skip: Object.fromEntries(of('skip').map(([test, outcome]) => [test, outcome.reason])),
    pass: of('pass').map(([test]) => test),
  };
  writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`);
}

/** A regression: failing, hanging or crashing at all, or skipping what passed before. */
export function regressions(baseline: Baseline, outcomes: ReadonlyMap<string, Outcome>): Change[] {
  return changes(baseline, outcomes).filter(
    ({ was, outcome }) => !(outcome.kind === 'pass' || (outcome.kind === 'skip' && was === 'skip')),
  );
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
