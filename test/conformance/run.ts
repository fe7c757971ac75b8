// Conformance: each leaf test of libiscsi's iscsi-test-cu, families ALL and iSCSI, run alone against the daemon.
//
//   node dist/test/conformance/run.js                       its own ashlar daemon, compared with expected.json
//   … --only 'ALL.Read.*'                                   a part of it, by regular expression
//   … --block-size 4096                                     all of them on a volume of 4096-byte blocks; nothing compared
//   … --update                                              writes expected.json, when nothing failed
//   … --peer tgt                                            a tgtd of its own, nothing compared
//   … --portal HOST:PORT --iqn IQN [--lun N]                any target. It loses its data.
//
// Each test runs alone in its own process with a time limit, so that a hang or an abort costs one test and is put
// down to it. The limit is for a machine that is free: one that hits it while the machine has more work than processors
// gets a second run with as much more time as there is more work. After each test the daemon is looked at: one that died is a `crash` of that test, and is started again.
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Finished, mustRun, projectRoot, run } from '../e2e/support/process.ts';
import { AshlarTarget, isRunning, type Target, TgtTarget } from '../e2e/support/target.ts';
import {
  improvements,
  isKnownFailure,
  readBaseline,
  regressions,
  writeBaseline,
} from './baseline.ts';
import { judge, leafTests, type Outcome, type OutcomeKind } from './outcome.ts';

const FAMILIES = ['ALL', 'iSCSI'];
const TEST_LIMIT_MS = 15_000;
/** However busy the machine: nothing here takes minutes. */
const MAX_BUSY_FACTOR = 8;
/**
 * Tests that count blocks as though a physical block were one logical block, and so mean something on such a volume only.
 * All others run on a volume of 512-byte blocks, where several make a physical one and fewer tests skip themselves.
 */
const ON_4096_BYTE_BLOCKS: ReadonlySet<string> = new Set(['ALL.GetLBAStatus.UnmapSingle']);
/** Tests that want a write-protected unit: a snapshot that is shown to hosts is one. */
const ON_A_SNAPSHOT: ReadonlySet<string> = new Set(['ALL.ReadOnly.ReadOnlySBC']);
/** Small, because SANITIZE overwrites all of it, and larger than any range the tests touch. */
const VOLUME_MIB = 128;
const KINDS: readonly OutcomeKind[] = ['pass', 'skip', 'fail', 'hang', 'crash'];

type Options = {
  readonly only: RegExp | undefined;
  readonly update: boolean;
  readonly compare: boolean;
  readonly outDir: string | undefined;
  readonly quiet: boolean;
};

/** What the tests are pointed at; `target` is undefined for a daemon that somebody else runs. */
type Subject = {
  readonly url: string;
  /** Of a unit of another sort, where there is one beside it: which tests run there. */
  readonly elsewhere: readonly { readonly tests: ReadonlySet<string>; readonly url: string }[];
  readonly target: Target | undefined;
};

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      portal: { type: 'string' },
      iqn: { type: 'string' },
      lun: { type: 'string', default: '0' },
      peer: { type: 'string' },
      only: { type: 'string' },
      update: { type: 'boolean', default: false },
      out: { type: 'string' },
      'block-size': { type: 'string' },
      quiet: { type: 'boolean', default: false },
    },
  });
  const foreign = values.portal !== undefined || values.peer !== undefined;
  const blockSize = values['block-size'];
  if (blockSize !== undefined && blockSize !== '512' && blockSize !== '4096') {
    throw new Error(`--block-size: '${blockSize}' is neither 512 nor 4096`);
  }
  const options: Options = {
    only: values.only === undefined ? undefined : new RegExp(values.only),
    update: values.update && !foreign && blockSize === undefined,
    compare: !foreign && blockSize === undefined,
    outDir: values.out,
    quiet: values.quiet,
  };
  if (values.portal !== undefined) {
    if (values.iqn === undefined) throw new Error('--portal needs --iqn');
    const url = `iscsi://${values.portal}/${values.iqn}/${values.lun}`;
    return judgeAll({ url, elsewhere: [], target: undefined }, options);
  }
  const target = values.peer === 'tgt' ? new TgtTarget() : new AshlarTarget({ poolMiB: 1024 });
  try {
    await target.start();
    const volume = async (name: string, blockBytes: 512 | 4096): Promise<string> => {
      const made = await target.createVolume(name, { sizeMiB: VOLUME_MIB, blockBytes });
      return `iscsi://127.0.0.1:${target.portalPort}/${made.iqn}/${made.lun}`;
    };
    const url = await volume('conformance', blockSize === '4096' ? 4096 : 512);
    const both = blockSize === undefined && values.peer === undefined;
    const elsewhere = !both
      ? []
      : [
          { tests: ON_4096_BYTE_BLOCKS, url: await volume('conformance-4096', 4096) },
          { tests: ON_A_SNAPSHOT, url: await snapshotOf(target, 'conformance', url) },
        ];
    return await judgeAll({ url, elsewhere, target }, options);
  } finally {
    await target.dispose();
  }
}

/** A snapshot of the volume behind `url`, shown to hosts. */
async function snapshotOf(target: Target, volume: string, url: string): Promise<string> {
  if (!(target instanceof AshlarTarget)) throw new Error(`${target.name} has no snapshots`);
  await target.cli(['create', 'snapshot', 'shown', '--volume', volume]);
  await target.cli(['expose', 'snapshot', `${volume}@shown`]);
  return url.replace(/\/\d+$/, '.shown/0');
}

async function judgeAll(subject: Subject, options: Options): Promise<number> {
  const list = await mustRun('iscsi-test-cu', ['--list']);
  const all = leafTests(list, FAMILIES);
  const tests = all.filter((test) => options.only?.test(test) ?? true);
  if (tests.length === 0) throw new Error('no such test');
  if (options.outDir !== undefined) mkdirSync(options.outDir, { recursive: true });

  const startedMs = Date.now();
  const outcomes = new Map<string, Outcome>();
  for (const [index, test] of tests.entries()) {
    const outcome = await runOne(subject, test, options);
    outcomes.set(test, outcome);
    const dull = outcome.kind === 'pass' || (options.quiet && outcome.kind === 'skip');
    if (!dull) console.log(`${outcome.kind.padEnd(5)} ${test}  ${outcome.reason}`);
    if (process.stdout.isTTY) process.stdout.write(`\r${index + 1}/${tests.length} \x1b[K\r`);
  }
  printTable(outcomes);
  console.log(`${tests.length} tests in ${Math.round((Date.now() - startedMs) / 1000)} s`);
  return options.compare ? compare(outcomes, all, options) : 0;
}

async function runOne(subject: Subject, test: string, options: Options): Promise<Outcome> {
  const { url, elsewhere } = subject;
  const on = elsewhere.find(({ tests }) => tests.has(test))?.url ?? url;
  const attempt = (timeoutMs: number): Promise<Finished> =>
    run('iscsi-test-cu', argumentsFor(test, on), { timeoutMs });
  let done = await attempt(TEST_LIMIT_MS);
  const busyFactor = Math.min(MAX_BUSY_FACTOR, loadavg()[0]! / cpus().length);
  if (done.timedOut && busyFactor > 1) {
    const limitMs = Math.ceil(TEST_LIMIT_MS * busyFactor);
    console.log(`slow  ${test}  the machine is busy: again, with ${Math.round(limitMs / 1000)} s`);
    done = await attempt(limitMs);
  }
  if (options.outDir !== undefined) {
    writeFileSync(join(options.outDir, `${test}.txt`), done.stdout + done.stderr);
  }
  const { target } = subject;
  if (target !== undefined && !isRunning(target)) {
    const died = target.process;
    await target.crash();
    await target.start();
    const how = died?.signalCode ?? `status ${died?.exitCode ?? '?'}`;
    return { kind: 'crash', reason: `the daemon ended with ${how}` };
  }
  return judge(done);
}

function argumentsFor(test: string, url: string): string[] {
  const args = ['--dataloss', '-t', test];
  if (test.includes('.Sanitize')) args.push('--allow-sanitize');
  args.push(url);
  // Two paths to one logical unit are two sessions to it; libiscsi tells them apart by their ISID.
  if (test.includes('.Multipath')) args.push(url);
  return args;
}

function printTable(outcomes: ReadonlyMap<string, Outcome>): void {
  const suites = new Map<string, Map<OutcomeKind, number>>();
  const add = (row: string, kind: OutcomeKind): void => {
    const counts = suites.get(row) ?? new Map<OutcomeKind, number>();
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    suites.set(row, counts);
  };
  for (const [test, { kind }] of outcomes) add(test.split('.').slice(0, 2).join('.'), kind);
  for (const [, { kind }] of outcomes) add('total', kind);
  const width = Math.max(...[...suites.keys()].map((name) => name.length));
  console.log(`${''.padEnd(width)}  ${KINDS.map((kind) => kind.padStart(5)).join(' ')}`);
  for (const [name, counts] of suites) {
    const cells = KINDS.map((kind) => String(counts.get(kind) ?? '·').padStart(5));
    console.log(`${name.padEnd(width)}  ${cells.join(' ')}`);
  }
}

function compare(
  outcomes: ReadonlyMap<string, Outcome>,
  all: readonly string[],
  options: Options,
): number {
  const path = join(projectRoot(), 'test/conformance/expected.json');
  const old = readBaseline(path);
  const known = [...outcomes].filter(([test, outcome]) => isKnownFailure(old, test, outcome));
  const bad = [...outcomes].filter(
    ([test, outcome]) =>
      outcome.kind !== 'pass' && outcome.kind !== 'skip' && !isKnownFailure(old, test, outcome),
  );
  if (options.update) {
    if (options.only !== undefined || bad.length > 0) {
      console.log('expected.json is written only from a whole run in which nothing failed');
      return 1;
    }
    const kept = known.map(([test]): [string, string] => [test, old.get(test)!.reason]);
    writeBaseline(path, outcomes, Object.fromEntries(kept));
    console.log(`wrote ${path}`);
    return 0;
  }
  const baseline = old;
  for (const [test] of known) {
    console.log(`KNOWN FAILURE ${test}: see docs/conformance.md`);
  }
  const better = improvements(baseline, outcomes);
  for (const { test } of better) console.log(`better than expected: ${test} (--update records it)`);
  const worse = regressions(baseline, outcomes);
  for (const { test, was, outcome } of worse) {
    console.log(`REGRESSION ${test}: was ${was}, is ${outcome.kind}: ${outcome.reason}`);
  }
  // A test that the installed program no longer has would otherwise vanish from the count unseen.
  const missing = [...baseline.keys()].filter((test) => !all.includes(test));
  for (const test of missing) console.log(`REGRESSION ${test}: iscsi-test-cu no longer lists it`);
  const failed = worse.length + missing.length;
  const passed = [...outcomes.values()].filter(({ kind }) => kind === 'pass').length;
  const skipped = [...outcomes.values()].filter(({ kind }) => kind === 'skip').length;
  console.log(`known failures: ${known.length}`);
  // What is known to fail is neither passed nor a step back: it stands with the skipped, and in the line above.
  console.log(`${passed} passed, ${failed} failed, ${skipped + known.length} skipped`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
