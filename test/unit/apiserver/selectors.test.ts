import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../../../src/apiserver/index.ts';
import { labelMatcher } from '../../../src/apiserver/selectors.ts';

const labelled = (labels?: Record<string, string>) =>
  ({
    metadata: labels === undefined ? { name: 'v' } : { name: 'v', labels },
  }) as unknown as KubeObject;

test('selectors see an object’s own labels, not what every object inherits', () => {
  assert.equal(labelMatcher('constructor')(labelled({ app: 'db' })), false);
  assert.equal(labelMatcher('!toString')(labelled({ app: 'db' })), true);
  assert.equal(labelMatcher('app')(labelled({ app: 'db' })), true);
  assert.equal(labelMatcher('app=db,tier!=test,disk notin (a, b)')(labelled({ app: 'db' })), true);
  assert.equal(labelMatcher('app')(labelled()), false);
});
