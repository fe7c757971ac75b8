// Goal: kinds that show others in other words are listed whole, however small the pages and whatever lies between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type KindDefinition, KindRegistry, ResourceServer } from '../../../src/apiserver/index.ts';
import { silentLog } from '../../../src/base/index.ts';
import { viewKinds } from '../../../src/kinds/views.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

test('a page without an object of the kind is not the end of the list', async () => {
  const store = new MemoryObjectStore();
  const registry = new KindRegistry();
  const kinds = viewKinds(store, 'openebs');
  for (const kind of kinds) registry.register(kind as unknown as KindDefinition);
  const jiva = kinds.find(({ plural }) => plural === 'jivavolumes') as unknown as KindDefinition;
  for (const [name, casType] of [
    ['a', 'cstor'],
    ['b', 'cstor'],
    ['c', 'cstor'],
    ['d', 'jiva'],
  ] as const) {
    const metadata = { name, uid: name, creationTimestamp: '2026-11-30T00:00:00Z' };
    const spec = { size: '1Gi', replicaCount: 1, casType };
    const object = { apiVersion: 'ashlar.io/v1', kind: 'Volume', metadata, spec };
    await store.put(`/ashlar.io/volumes/-/${name}`, object, 0);
  }
  const server = new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
  const page = await server.list(jiva, { limit: 1 });
  assert.deepEqual(
    page.items.map(({ metadata }) => metadata.name),
    ['d'],
  );
});
