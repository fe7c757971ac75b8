// `npm test`: sets up what is missing, runs every phase, ends with a table and one line of totals.
//
//   npm test -- --only unit,conformance     these phases
//   npm test -- --skip e2e                  all but these
//   npm test -- --one-by-one                nothing beside anything else
//   npm test -- --list                      what there is
//
// Two phases run at a time. Most that drive real processes wait for most of their time: they have the first lane, in order.
// Those that only compute are in the second, at the lowest priority: they get what the first lane leaves of the processors,
// and do not disturb its clocks.
//
// A missing tool fails its phase under CI=true. Elsewhere the phase is shown as skipped, in words, and never as passed.
import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { listPhases } from './phases.mjs';
import { fail, say } from './progress.mjs';
import { root, setUp } from './setup.mjs';

const ci = process.env.CI === 'true' || process.env.CI === '1';
const terminal = process.stdout.isTTY === true;
/** A phase that prints more is cut in the summary; its log file has all of it. */
const TAIL_BYTES = 24 * 1024;

function optionOf(name) {
  const at = process.argv.findIndex(
    (word) => word === `--${name}` || word.startsWith(`--${name}=`),
  );
  if (at === -1) return null;
  const word = process.argv[at];
  const value = word.includes('=') ? word.slice(word.indexOf('=') + 1) : process.argv[at + 1];
  if (value === undefined || value.startsWith('--'))
    fail(`--${name} wants a list like unit,native`);
  return value.split(',');
}

/** Counts what the kinds of runners say about themselves. */
function countResults(output) {
  let passed = 0;
  let failed = 0;
  const add = (pattern, take) => {
    for (const match of output.matchAll(pattern)) take(Number(match[1]), Number(match[2] ?? 0));
  };
  add(/^# pass (\d+)$/gm, (count) => (passed += count)); // node --test
  add(/^# fail (\d+)$/gm, (count) => (failed += count));
  add(/^(?:\d+)% tests passed, (\d+) tests? failed out of (\d+)/gm, (bad, all) => {
    failed += bad; // ctest
    passed += all - bad;
  });
  add(/^(?:[\w: -]*\s)?(\d+) passed, (\d+) failed/gm, (good, bad) => {
    passed += good; // ours
    failed += bad;
  });
  return { passed, failed };
}

function missingTool(phase) {
  return (phase.tools ?? []).find((tool) => spawnSync('which', [tool]).status !== 0);
}

/** Commands that run now. Each has a process group of its own, for it to end with all that it started. */
const running = new Set();

function endAll(signal) {
  for (const child of running) end(child, signal);
}

function end(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Gone already.
  }
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.once(signal, () => {
    endAll('SIGTERM');
    setTimeout(() => {
      endAll('SIGKILL');
      process.exit(code);
    }, 2000);
  });
}

const BEHIND_FACTOR = 3;
/** Behind everything else. A session's own group of the scheduler has a priority of its own, where kernels make such groups. */
const BEHIND = [
  'sh',
  '-c',
  '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 19 "$@"',
  'sh',
];

async function runCommand(words, { behind, log, limitMs, keep }) {
  const whole = words.map((word, at) => (at === 0 && word === 'node' ? process.execPath : word));
  const [command, ...args] = behind ? [...BEHIND, ...whole] : whole;
  const child = spawn(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  running.add(child);
  const take = (chunk) => {
    log.write(chunk);
    keep(String(chunk));
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end(child, 'SIGTERM');
    setTimeout(() => end(child, 'SIGKILL'), 5000).unref();
  }, limitMs);
  const code = await new Promise((resolve) => {
    child.on('error', () => resolve(127));
    child.on('close', (status) => resolve(status ?? 1));
  });
  clearTimeout(timer);
  running.delete(child);
  return { code, late };
}

/** On a terminal one line says what each lane is at. */
const drawn = new Map();

function draw(id, text) {
  if (text === null) drawn.delete(id);
  else drawn.set(id, text);
  const room = Math.floor(((process.stdout.columns ?? 80) - 1) / Math.max(1, drawn.size));
  const line = [...drawn.values()].map((one) => one.slice(0, room - 1).padEnd(room)).join('');
  process.stdout.write(`\r\u001b[K${line.trimEnd()}`);
}

/** A line of its own, above what is drawn. */
function sayLine(line) {
  if (terminal) process.stdout.write('\r\u001b[K');
  say(line);
}

/** As many of them at a time as there are processors. */
async function atOnce(commands, run) {
  const left = [...commands];
  const one = async () => {
    for (let words = left.shift(); words !== undefined; words = left.shift()) await run(words);
  };
  await Promise.all(cpus().map(one));
}

async function runPhase(phase, behind) {
  const startMs = Date.now();
  const seconds = () => Math.round((Date.now() - startMs) / 1000);
  // Behind others a phase has to wait for them.
  const limitS = phase.limitS * (behind ? BEHIND_FACTOR : 1);
  const result = { phase, state: 'passed', passed: 0, failed: 0, note: '', seconds: 0 };
  const tool = missingTool(phase);
  if (tool !== undefined) {
    result.state = ci ? 'failed' : 'skipped';
    result.failed = ci ? 1 : 0;
    result.note = `${tool} is not installed`;
    return result;
  }
  if (phase.files !== undefined && phase.files.length === 0) {
    return { ...result, state: 'failed', failed: 1, note: 'no compiled tests in dist/' };
  }
  const log = createWriteStream(join(root, 'build/test-logs', `${phase.id}.log`));
  let output = '';
  let last = '';
  const keep = (chunk) => {
    output += chunk;
    last = chunk.trimEnd().split('\n').at(-1) ?? '';
  };
  const tell = () => {
    if (terminal) draw(phase.id, `${phase.id}: ${seconds()} s  ${last}`);
    else say(`  ${phase.id}: ${seconds()} s`);
  };
  sayLine(`${phase.id}: ${phase.title}`);
  const timer = setInterval(tell, terminal ? 500 : 60_000);
  const run = async (words) => {
    if (result.state === 'failed') return;
    const leftMs = limitS * 1000 - (Date.now() - startMs);
    const limitMs = Math.max(1000, leftMs);
    const { code, late } = await runCommand(words, { behind, log, limitMs, keep });
    if (code === 0 && !late) return;
    result.state = 'failed';
    result.note = late
      ? `over its limit of ${limitS} s`
      : `${words.slice(0, 3).join(' ')} ended with ${code}`;
  };
  for (const step of phase.commands) {
    if (Array.isArray(step[0])) await atOnce(step, run);
    else await run(step);
  }
  clearInterval(timer);
  if (terminal) draw(phase.id, null);
  log.end();
  const counts = countResults(output);
  result.passed = counts.passed;
  result.failed = counts.failed;
  if (counts.failed > 0 && result.state === 'passed') {
    result.state = 'failed';
    result.note = 'tests failed';
  }
  // A phase is at least one check: that it ended well.
  if (result.state === 'failed') result.failed = Math.max(1, result.failed);
  else result.passed = Math.max(1, result.passed);
  result.seconds = seconds();
  if (result.state === 'failed') {
    // What failed may stand far above the end: its lines first.
    const bad = [...output.matchAll(/^ *not ok .*(?:\n(?! *(?:not )?ok ).*){0,24}/gm)];
    const first = bad.slice(0, 10).map(([lines]) => lines);
    sayLine([...first, output.slice(-TAIL_BYTES)].join('\n'));
  }
  sayLine(
    `${phase.id}: ${result.state} in ${result.seconds} s${result.note === '' ? '' : ` (${result.note})`}`,
  );
  return result;
}

const all = listPhases(root);
if (process.argv.includes('--list')) {
  for (const { id, title } of all) say(`${id.padEnd(14)}${title}`);
  process.exit(0);
}
const only = optionOf('only');
const skip = optionOf('skip') ?? [];
for (const id of [...(only ?? []), ...skip]) {
  if (!all.some((phase) => phase.id === id))
    fail(`no phase '${id}'; there are ${all.map((phase) => phase.id).join(', ')}`);
}
await setUp('test');
mkdirSync(join(root, 'build/test-logs'), { recursive: true });
const chosen = listPhases(root).filter(
  (phase) => (only === null || only.includes(phase.id)) && !skip.includes(phase.id),
);
const oneByOne = process.argv.includes('--one-by-one');
const startMs = Date.now();
const byPhase = new Map();
async function runLane(phases, behind) {
  for (const phase of phases) byPhase.set(phase, await runPhase(phase, behind));
}
if (oneByOne) await runLane(chosen, false);
else {
  await Promise.all([
    runLane(
      chosen.filter(({ computes }) => computes !== true),
      false,
    ),
    runLane(
      chosen.filter(({ computes }) => computes === true),
      true,
    ),
  ]);
}
const results = chosen.map((phase) => byPhase.get(phase));

say('');
say(
  `${'PHASE'.padEnd(14)}${'RESULT'.padEnd(10)}${'PASSED'.padStart(8)}${'FAILED'.padStart(8)}${'TIME'.padStart(8)}`,
);
for (const { phase, state, passed, failed, seconds, note } of results) {
  say(
    `${phase.id.padEnd(14)}${state.padEnd(10)}${String(passed).padStart(8)}${String(failed).padStart(8)}${`${seconds} s`.padStart(8)}  ${note}`,
  );
}
const total = (key) => results.reduce((sum, result) => sum + result[key], 0);
const skipped = results.filter((result) => result.state === 'skipped').length;
say('');
say(
  `${total('passed')} passed, ${total('failed')} failed${skipped === 0 ? '' : `, ${skipped} phases skipped`} in ${Math.round((Date.now() - startMs) / 1000)} s`,
);
process.exit(results.some((result) => result.state === 'failed') ? 1 : 0);
