import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterId, MemoryObjectStore } from '../../../src/objects/index.ts';

test('a cluster has one id, whichever node asks first, and another than any other cluster', async () => {
  const store = new MemoryObjectStore();
  const [one, two] = await Promise.all([clusterId(store), clusterId(store)]);
  assert.equal(one, two);
  assert.equal(await clusterId(store), one);
  assert.notEqual(await clusterId(new MemoryObjectStore()), one);
});

test('an entry that names none is written anew', async () => {
  const store = new MemoryObjectStore();
  await store.put('/cluster', {}, 0);
  const id = await clusterId(store);
  assert.equal(await clusterId(store), id);
});
