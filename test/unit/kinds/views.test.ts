// Goal: kinds that show others in other words are listed whole, however small the pages and whatever lies between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type KindDefinition, KindRegistry, ResourceServer } from '../../../src/apiserver/index.ts';
import { silentLog } from '../../../src/base/index.ts';
import { CORE_NODE, type CoreNode, NODE, type Node } from '../../../src/kinds/index.ts';
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

test('a node in Kubernetes words is changed in ours: uncordoning ends a drain, the rest stays, and what is not to be changed is refused', async () => {
  const store = new MemoryObjectStore();
  const registry = new KindRegistry();
  for (const kind of viewKinds(store, 'openebs')) {
    registry.register(kind as unknown as KindDefinition);
  }
  registry.register(NODE);
  const server = new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
  const finalizers = ['ashlar.io/kept'];
  const labels = { a: '1', b: '2' };
  await server.create(NODE, { metadata: { name: 'n', labels, finalizers }, spec: { drain: true } });
  const patch = (body: object, options = {}) =>
    server.patch(CORE_NODE, null, 'n', { type: 'merge', body }, options);
  const shown = await server.get<CoreNode>(CORE_NODE, null, 'n');
  assert.equal(shown.spec?.unschedulable, true);
  const ours = async () => await server.get<Node>(NODE, null, 'n');
  await patch({ metadata: { labels: { a: null, c: '3' } } });
  assert.deepEqual((await ours()).metadata.labels, { b: '2', c: '3' });
  assert.deepEqual((await ours()).spec, { drain: true }, 'still drained');
  await patch({ spec: { unschedulable: null } });
  assert.deepEqual((await ours()).spec, {});
  assert.deepEqual((await ours()).metadata.finalizers, finalizers);
  const before = await ours();
  await patch({ spec: { unschedulable: true } }, { dryRun: true });
  assert.deepEqual(await ours(), before);
  await patch({ spec: { unschedulable: true } });
  assert.deepEqual((await ours()).spec, { unschedulable: true });
  assert.equal((await ours()).metadata.generation, (before.metadata.generation ?? 0) + 1);
  await assert.rejects(patch({ spec: { taints: [] } }), /unknown field "spec\.taints"/);
  const status = { status: { pools: 7 } };
  await assert.rejects(patch(status, { subresource: 'status' }), /told by that node/);
  const stale = { ...shown, spec: {} };
  await assert.rejects(server.update(CORE_NODE, stale), /has been modified|changed/);
  await assert.rejects(server.delete(CORE_NODE, null, 'n'), /kubectl delete nodes\.ashlar\.io/);
});
