// Seeds that once found something, kept: each replays the run that did.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runSeed } from './swarm.ts';

const MINUTES = 1.5;

/** What the seed found, and the seed. */
const FOUND: readonly (readonly [string, number])[] = [
  ['after members were replaced, those that records name are asked too (N = 3)', 126],
  ['after members were replaced, those that records name are asked too (2 and a witness)', 654],
];

for (const [what, seed] of FOUND) {
  test(`seed ${seed}: ${what}`, () => {
    const { failure } = runSeed({ seed, minutes: MINUTES });
    assert.equal(failure, null);
  });
}
