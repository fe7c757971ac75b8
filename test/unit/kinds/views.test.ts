// Goal: kinds that show others in other words are listed whole, however small the pages and whatever lies between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ApiError,
  type KindDefinition,
  KindRegistry,
  LEASES,
  ResourceServer,
} from '../../../src/apiserver/index.ts';
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

/** A server of both kinds of nodes over one store. */
function nodesServed() {
  const store = new MemoryObjectStore();
  const registry = new KindRegistry();
  for (const kind of [...viewKinds(store, 'openebs'), NODE, LEASES]) {
    registry.register(kind as unknown as KindDefinition);
  }
  const server = new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
  const ours = async () => await server.get<Node>(NODE, null, 'n');
  const core = async () => await server.get<CoreNode>(CORE_NODE, null, 'n');
  const merge = (body: object) =>
    server.patch<CoreNode>(CORE_NODE, null, 'n', { type: 'merge', body });
  return { store, server, ours, core, merge };
}

const reason = (wanted: string, message: RegExp) => (error: unknown) =>
  error instanceof ApiError && error.reason === wanted && message.test(error.message);

test('a node in Kubernetes words is not applied by the server, which could not keep whose fields are whose; a client may', async () => {
  const { server, ours } = nodesServed();
  await server.create(NODE, { metadata: { name: 'n' }, spec: {} });
  for (const name of ['n', 'nobody']) {
    const body = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { a: '1' } } };
    await assert.rejects(
      server.patch(CORE_NODE, null, name, { type: 'apply', body }, { fieldManager: 'me' }),
      reason('MethodNotAllowed', /nodes\.ashlar\.io.*ashlar\.io\/v1/),
    );
  }
  const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{}' };
  const body = { metadata: { annotations, labels: { a: '1' } }, spec: { unschedulable: true } };
  await server.patch(CORE_NODE, null, 'n', { type: 'strategic', body });
  const { metadata, spec } = await ours();
  assert.deepEqual([metadata.labels, metadata.annotations], [{ a: '1' }, annotations]);
  assert.deepEqual(spec, { unschedulable: true });
});

test('a view whose objects may be patched makes none, and says so', async () => {
  const { store } = nodesServed();
  const registry = new KindRegistry();
  const kind = viewKinds(store, 'openebs').find(({ plural }) => plural === 'cstorpools');
  const patched = { ...kind, verbs: ['get', 'patch'] } as unknown as KindDefinition;
  registry.register(patched);
  const other = new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
  const body = {
    apiVersion: 'openebs.io/v1alpha1',
    kind: 'CStorPool',
    metadata: { name: 'p' },
    spec: { poolSpec: { poolType: 'striped', overProvisioning: false }, nodeName: 'n' },
  };
  await assert.rejects(
    other.patch(patched, null, 'p', { type: 'apply', body }, { fieldManager: 'me' }),
    reason('MethodNotAllowed', /create is not supported on cstorpools/),
  );
  const [backend] = viewKinds(store, 'openebs').map((one) => one.backend);
  await assert.rejects(backend!.remove({} as never, false, false), reason('MethodNotAllowed', /./));
});

test('a node that is being deleted is labelled in Kubernetes words too; what holds it is seen there, and changed in ours alone', async () => {
  const { server, ours, core, merge } = nodesServed();
  const finalizers = ['ashlar.io/kept'];
  await server.create(NODE, { metadata: { name: 'n', finalizers }, spec: {} });
  await server.delete(NODE, null, 'n', { force: true });
  assert.deepEqual((await core()).metadata.finalizers, finalizers);
  await merge({ metadata: { labels: { a: '1' } } });
  assert.deepEqual((await ours()).metadata.labels, { a: '1' });
  const before = await ours();
  const owner = { apiVersion: 'v1', kind: 'X', name: 'x', uid: 'u' };
  for (const metadata of [
    { finalizers: null },
    { finalizers: ['a.io/b'] },
    { ownerReferences: [owner] },
  ]) {
    await assert.rejects(merge({ metadata }), reason('Invalid', /nodes\.ashlar\.io/));
  }
  assert.deepEqual(await ours(), before);
});

test('what changes nothing of a node writes nothing', async () => {
  const { server, ours, core, merge } = nodesServed();
  await server.create(NODE, { metadata: { name: 'n' }, spec: {} });
  const before = await ours();
  await merge({ spec: { unschedulable: false } });
  await merge({ spec: null });
  const managedFields = [{}] as never;
  const shown = await core();
  await server.update(CORE_NODE, { ...shown, metadata: { ...shown.metadata, managedFields } });
  assert.deepEqual(await ours(), before);
});

test('a drain is ended by who says so: not by a manifest that tells nothing of it', async () => {
  const { server, ours, core, merge } = nodesServed();
  await server.create(NODE, { metadata: { name: 'n' }, spec: { drain: true } });
  const put = (spec: object | undefined, resourceVersion = '') =>
    server.update(CORE_NODE, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'n', resourceVersion, labels: { r: '1' } },
      ...(spec === undefined ? {} : { spec }),
    } as never);
  const version = async () => (await core()).metadata.resourceVersion;
  await put(undefined);
  await put({});
  await put(undefined, await version());
  assert.deepEqual((await ours()).metadata.labels, { r: '1' });
  assert.deepEqual((await ours()).spec, { drain: true });
  const drainAgain = () =>
    server.patch(NODE, null, 'n', { type: 'merge', body: { spec: { drain: true } } });
  for (const end of [
    () => put({ unschedulable: false }),
    // As a typed client writes what it has read, and set to false.
    async () => await put({}, await version()),
    () => merge({ spec: { unschedulable: null } }),
  ]) {
    await end();
    assert.deepEqual((await ours()).spec, {});
    await drainAgain();
  }
});

test('a node of one version is the same however it is read', async () => {
  const { store, server, core } = nodesServed();
  await server.create(NODE, { metadata: { name: 'n' }, spec: {} });
  await store.put(
    '/coordination.k8s.io/leases/openebs/node-n',
    {
      metadata: { name: 'node-n', namespace: 'openebs' },
      spec: { renewTime: '2026-11-30T00:00:09.000000Z' },
    },
    0,
  );
  const lastTransitionTime = '2026-11-30T00:00:00Z';
  const ready = { type: 'Ready', status: 'True', reason: 'x', message: 'm', lastTransitionTime };
  const seen: unknown[] = [];
  const watch = server.watch<CoreNode>(
    CORE_NODE,
    { resourceVersion: (await core()).metadata.resourceVersion },
    { onEvents: (events) => seen.push(...events.map(({ object }) => object)), onEnd: () => {} },
  );
  const body = { status: { conditions: [ready] } };
  await server.patch(NODE, null, 'n', { type: 'merge', body }, { subresource: 'status' });
  await new Promise((resolve) => setTimeout(resolve, 20));
  watch.close();
  const shown = await core();
  assert.deepEqual(seen, [shown]);
  assert.deepEqual((await server.list(CORE_NODE)).items, [shown]);
  const [condition] = shown.status?.conditions ?? [];
  const { lastHeartbeatTime } = condition as { lastHeartbeatTime?: string };
  assert.equal(lastHeartbeatTime, '2026-11-30T00:00:09Z');
});
