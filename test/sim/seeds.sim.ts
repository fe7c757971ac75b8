// Seeds that once found something, kept: each replays the run that did.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runSeed } from './swarm.ts';

const MINUTES = 1.5;

/** What the seed found, the seed, and the minutes that it needs. */
const FOUND: readonly (readonly [string, number, number?])[] = [
  ['after members were replaced, those that records name are asked too (N = 3)', 126],
  ['after members were replaced, those that records name are asked too (2 and a witness)', 654],
  ['timers that rounding made early stopped time (N = 3)', 875],
  ['timers that rounding made early stopped time (N = 5)', 912],
  ['timers that rounding made early stopped time (N = 2)', 944],
  ['a store that was opened 17 times without a coordinator knows its attached opening', 923],
  [
    'what a member holds is asked for again before it joins: a snapshot lost its last holder',
    89,
    10,
  ],
];

for (const [what, seed, minutes = MINUTES] of FOUND) {
  test(`seed ${seed}: ${what}`, () => {
    const { failure } = runSeed({ seed, minutes });
    assert.equal(failure, null);
  });
}
