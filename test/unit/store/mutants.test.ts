// The test of the crash tests: each fault that the engine can be given is one that `npm test` switches on,
// or that a directed test was seen to notice.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

test('every mutant of the engine is switched on by a phase, or has a directed test', () => {
  const header = readFileSync('native/engine/mutants.h', 'utf8');
  const count = (name: string) => Number(new RegExp(`${name} = (\\d+);`).exec(header)?.[1]);
  const phases = readFileSync('scripts/phases.mjs', 'utf8');
  const alone = [...phases.matchAll(/\.\.\.deviceMutant\('(\d+)'\)/g)].map((match) =>
    Number(match[1]),
  );
  // Those of one device are run all together, those of many one by one.
  const first = count('kMutants') + 1;
  const wanted = Array.from({ length: count('kDeviceMutants') }, (_, i) => first + i);
  assert.ok(wanted.length > 0);
  // Those that the comment in the phase names with the test that notices them.
  const directed = [9];
  assert.match(phases, /9 has a directed test in/);
  assert.deepEqual([...directed, ...alone], wanted);
  assert.match(phases, /crash_states', '--mutants'/);
});
