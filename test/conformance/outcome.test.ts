import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Finished } from '../e2e/support/process.ts';
import { regressions } from './baseline.ts';
import { judge, leafTests } from './outcome.ts';

function aRun(lines: readonly string[], over: Partial<Finished> = {}): Finished {
  const stdout = lines.join('\n');
  return { status: 0, signal: null, timedOut: false, stdout, stderr: '', ...over };
}

const SUMMARY = (ran: number, failed: number, assertsFailed: number): string[] => [
  'Run Summary:    Type  Total    Ran Passed Failed Inactive',
  `               tests      ${ran}      ${ran}      ${ran - failed}      ${failed}        0`,
  `             asserts    512    512    ${512 - assertsFailed}      ${assertsFailed}      n/a`,
];

test('a test that ran and failed nothing is a pass', () => {
  assert.equal(judge(aRun(['  Test: Simple ...passed', ...SUMMARY(1, 0, 0)])).kind, 'pass');
});

test('a passed test that says it skipped is a skip, with its reason', () => {
  const lines = [
    '  Test: Simple ...    [SKIPPED] ORWRITE is not implemented.',
    ...SUMMARY(1, 0, 0),
  ];
  assert.deepEqual(judge(aRun(lines)), { kind: 'skip', reason: 'ORWRITE is not implemented.' });
});

test('a failed assertion is a failure, whatever the exit status and whatever was skipped before it', () => {
  const lines = [
    '  Test: X ...    [SKIPPED] something',
    '    [FAILED] READ10 command failed',
    'FAILED',
    '    1. test_read10.c:80  - CU_ASSERT_EQUAL(_r,0)',
    ...SUMMARY(1, 1, 1),
  ];
  const outcome = judge(aRun(lines));
  assert.equal(outcome.kind, 'fail');
  assert.match(outcome.reason, /READ10 command failed \| test_read10\.c:80/);
});

test('a name that ran no test, a missing summary and a signal are failures, a deadline is a hang', () => {
  assert.equal(judge(aRun(SUMMARY(0, 0, 0))).kind, 'fail');
  assert.equal(judge(aRun(['Failed to log in'])).kind, 'fail');
  assert.equal(judge(aRun([], { status: null, signal: 'SIGSEGV' })).kind, 'fail');
  assert.equal(judge(aRun([], { status: null, timedOut: true })).kind, 'hang');
});

test('leaf tests are names of three parts in the wanted families', () => {
  const list = 'ALL\nALL.Read10\nALL.Read10.Simple\nSCSI.Read10.Simple\niSCSI.TMF.Abort\n';
  assert.deepEqual(leafTests(list, ['ALL', 'iSCSI']), ['ALL.Read10.Simple', 'iSCSI.TMF.Abort']);
});

test('only a pass, or a skip that was expected, is no regression', () => {
  const baseline = new Map([
    ['a', { kind: 'pass' as const, reason: '' }],
    ['b', { kind: 'skip' as const, reason: '' }],
  ]);
  const worse = regressions(
    baseline,
    new Map([
      ['a', { kind: 'skip' as const, reason: '' }],
      ['b', { kind: 'skip' as const, reason: '' }],
      ['new', { kind: 'hang' as const, reason: '' }],
    ]),
  );
  assert.deepEqual(
    worse.map(({ test: name }) => name),
    ['a', 'new'],
  );
});
