import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearestName } from '../../../src/base/index.ts';

test('a name that is one letter or the case off is known for what was meant; another one is not', () => {
  const names = ['replicaCount', 'size', 'blockSize'];
  assert.equal(nearestName('replicaCont', names), 'replicaCount');
  assert.equal(nearestName('BLOCKSIZE', names), 'blockSize');
  assert.equal(nearestName('sise', names), 'size');
  assert.equal(nearestName('initiators', names), null);
  assert.equal(nearestName('x'.repeat(1000), names), null);
  assert.equal(nearestName('size', []), null);
});
