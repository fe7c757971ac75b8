// T5: every directed scenario ends well with all rules on, and every switch is noticed by the seed or scenario that the
// table names. If a change of the simulator moves the dice, `search-switches.ts` finds other seeds.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ALL_RULE_NAMES, ALL_RULES, rulesWithout } from '../../src/wire/rules.ts';
import { Violation } from './checker.ts';
import { DIRECTED, type DirectedName } from './directed.ts';
import { runSeed } from './swarm.ts';
import { CATCHES, IMPLIED } from './switches.ts';

const SEEDS_TRIED = 40;

for (const name of Object.keys(DIRECTED) as DirectedName[]) {
  test(`${name}: ends well with all rules on`, () => DIRECTED[name](ALL_RULES));
}

for (const { off, scenario, seed, minutes = 1 } of CATCHES) {
  const by = scenario ?? `seed ${seed}`;
  test(`without ${off.join(' and ')}, ${by} ends in a violation`, () => {
    const rules = rulesWithout(...off);
    if (scenario !== undefined) {
      assert.throws(() => DIRECTED[scenario](rules), Violation);
      return;
    }
    for (let one = seed!; one < seed! + SEEDS_TRIED; one += 1) {
      const { failure } = runSeed({ seed: one, minutes, rules });
      if (failure === null) continue;
      assert.ok(!/Error: /.test(failure), failure);
      return;
    }
    assert.fail(`no seed from ${seed} to ${seed! + SEEDS_TRIED - 1} notices`);
  });
}

test('docs/rule-switches.md says of each switch what the table does', () => {
  const path = fileURLToPath(new URL('../../../docs/rule-switches.md', import.meta.url));
  const lines = readFileSync(path, 'utf8').split('\n');
  const rows = lines.filter((line) => line.startsWith('| `'));
  const wanted = CATCHES.map(({ off, scenario, seed }) => {
    const by = scenario === undefined ? `seed ${seed}` : `\`${scenario}\``;
    return `| ${off.map((name) => `\`${name}\``).join(', ')} | ${by} |`;
  });
  assert.deepEqual(rows, wanted);
  for (const name of Object.keys(IMPLIED)) {
    assert.ok(
      lines.some((line) => line.startsWith(`- \`${name}\`: `)),
      name,
    );
  }
});

test('every rule is in the table, or implied by others', () => {
  const caught = new Set(CATCHES.flatMap(({ off }) => off));
  const rest = ALL_RULE_NAMES.filter((name) => !caught.has(name) && IMPLIED[name] === undefined);
  assert.deepEqual(rest, []);
});
