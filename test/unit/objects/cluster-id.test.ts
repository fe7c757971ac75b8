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

test("a store from before clusters had ids gets its default namespace's uid: the same each time it is restored", async () => {
  const restored = async () => {
    const store = new MemoryObjectStore();
    await store.put('/core/namespaces/-/default', { metadata: { name: 'default', uid: 'u-1' } }, 0);
    return store;
  };
  const store = await restored();
  assert.deepEqual(await Promise.all([clusterId(store), clusterId(store), clusterId(store)]), [
    'u-1',
    'u-1',
    'u-1',
  ]);
  assert.equal(await clusterId(await restored()), 'u-1');
  // The id is kept when the namespace is made anew, and one that was given before stays.
  const entry = await store.get('/core/namespaces/-/default');
  await store.put(entry!.key, { metadata: { name: 'default', uid: 'u-2' } }, entry!.revision);
  assert.equal(await clusterId(store), 'u-1');
  const given = await restored();
  await given.put('/cluster', { id: 'older' }, 0);
  assert.equal(await clusterId(given), 'older');
});
