// node dist/test/sim/search-switches.js [--rules A,B] [--seeds 200] [--first-seed 1] [--minutes 1]
// For each rule: the first seed whose run fails with that rule off (and is clean with it on). What it finds goes into the
// table of switches.sim.ts.
import { parseArgs } from 'node:util';
import { ALL_RULE_NAMES, type RuleName, rulesWithout } from '../../src/wire/rules.ts';
import { runSeed } from './swarm.ts';

const { values } = parseArgs({
  options: {
    rules: { type: 'string' },
    seeds: { type: 'string', default: '200' },
    'first-seed': { type: 'string', default: '1' },
    minutes: { type: 'string', default: '1' },
    shape: { type: 'string' },
  },
});
const names = values.rules === undefined ? ALL_RULE_NAMES : (values.rules.split(',') as RuleName[]);
const minutes = Number(values.minutes);
const shape = values.shape === undefined ? {} : { shape: values.shape };
for (const name of names) {
  const startMs = performance.now();
  let line = `${name}: nothing in ${values.seeds} seeds`;
  for (let index = 0; index < Number(values.seeds); index += 1) {
    const seed = Number(values['first-seed']) + index;
    const result = runSeed({ seed, minutes, rules: rulesWithout(name), ...shape });
    if (result.failure === null) continue;
    line = `${name}: seed ${seed} (${result.shape}): ${result.failure.slice(0, 150)}`;
    break;
  }
  console.log(`${line} [${((performance.now() - startMs) / 1000).toFixed(0)} s]`);
}
