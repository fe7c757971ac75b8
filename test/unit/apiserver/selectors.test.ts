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

test('selectors are taken as Kubernetes’ parser takes them, and what it refuses is refused', () => {
  const object = {
    metadata: { labels: { app: 'db', tier: '5', 'example.com/x': '' } },
  } as unknown as KubeObject;
  const chosen = (selector: string): boolean => labelMatcher(selector)(object);
  for (const selector of [
    'app in(db,web)',
    'app notin(web), tier>4,tier < 6',
    'example.com/x=',
    'example.com/x,!other',
    'other!=x',
    'other notin (a)',
    'app in ( db )',
  ]) {
    assert.ok(chosen(selector), selector);
  }
  for (const selector of ['tier>5', 'app>1', 'other<3', 'app in ()']) {
    assert.ok(!chosen(selector), selector);
  }
  for (const selector of [
    'app in db',
    'app=d b',
    'a/b/c=x',
    'app=@',
    'app in (@)',
    '>1',
    'a>b',
    '=x',
  ]) {
    assert.throws(() => labelMatcher(selector), { reason: 'BadRequest' }, selector);
  }
});
