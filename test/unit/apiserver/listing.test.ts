// Goal: a list read in pages is the list of one moment, as Kubernetes' clients check it: one version, how many are left,
// a token that is too old answered with one to go on with; and lists of a version that is asked for.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  type KindDefinition,
  KindRegistry,
  type KubeObject,
  NAMESPACES,
  PolledBackend,
  ResourceServer,
} from '../../../src/apiserver/index.ts';
import { ManualClock, silentLog } from '../../../src/base/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';
import { aWidget, BOXES, WIDGETS } from './builders.ts';
import { ApiUnderTest } from './http-client.ts';

const PATH = '/apis/example.com/v1/namespaces/default/widgets';
let api: ApiUnderTest;
before(async () => {
  api = await ApiUnderTest.start();
});
after(() => api.stop());

const namesOf = ({ items }: { items: KubeObject[] }): string[] =>
  items.map(({ metadata }) => metadata.name);

test('pages are of one moment, whatever is changed between them', async () => {
  for (const name of ['a', 'b', 'c', 'd', 'e']) await api.server.create(WIDGETS, aWidget(name));
  const first = (await api.call('GET', `${PATH}?limit=2`)).body;
  assert.deepEqual(namesOf(first), ['a', 'b']);
  assert.equal(first.metadata.remainingItemCount, 3);
  await api.server.delete(WIDGETS, 'default', 'd');
  await api.server.create(WIDGETS, aWidget('bb'));
  const body = { spec: { size: 2 } };
  await api.server.patch(WIDGETS, 'default', 'c', { type: 'merge', body });
  const second = (await api.call('GET', `${PATH}?limit=2&continue=${first.metadata.continue}`))
    .body;
  assert.deepEqual(namesOf(second), ['c', 'd']);
  assert.equal(second.items[0].spec.size, 1);
  assert.equal(second.metadata.remainingItemCount, 1);
  assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion);
  const third = (await api.call('GET', `${PATH}?limit=2&continue=${second.metadata.continue}`))
    .body;
  assert.deepEqual(namesOf(third), ['e']);
  assert.equal(third.metadata.resourceVersion, first.metadata.resourceVersion);
  assert.equal(third.metadata.continue, undefined);
  assert.equal(third.metadata.remainingItemCount, undefined);
  // How many match is not known without looking at them.
  const selected = (await api.call('GET', `${PATH}?limit=1&fieldSelector=spec.color%3Dred`)).body;
  assert.equal(selected.metadata.remainingItemCount, undefined);
});

test('a token whose moment is forgotten is 410, with one for the rest as it is now', async () => {
  const own = await ApiUnderTest.start();
  for (const name of ['a', 'b', 'c']) await own.server.create(WIDGETS, aWidget(name));
  const first = (await own.call('GET', `${PATH}?limit=1`)).body;
  for (let n = 0; n < 20_100; n += 100) {
    await Promise.all(Array.from({ length: 100 }, () => own.store.put('/other', { n }, null)));
  }
  await own.server.delete(WIDGETS, 'default', 'b');
  const old = await own.call('GET', `${PATH}?limit=1&continue=${first.metadata.continue}`);
  assert.deepEqual([old.status, old.body.reason], [410, 'Expired']);
  const rest = await own.call('GET', `${PATH}?limit=1&continue=${old.body.metadata.continue}`);
  assert.equal(rest.status, 200);
  assert.deepEqual(namesOf(rest.body), ['c']);
  await own.stop();
});

test('a list may be asked for as new as a version, or of just that version', async () => {
  const before = (await api.call('GET', PATH)).body;
  const version = before.metadata.resourceVersion;
  await api.server.create(WIDGETS, aWidget('later'));
  const exact = (
    await api.call('GET', `${PATH}?resourceVersion=${version}&resourceVersionMatch=Exact`)
  ).body;
  assert.deepEqual(namesOf(exact), namesOf(before));
  assert.equal(exact.metadata.resourceVersion, version);
  for (const query of [
    `resourceVersion=${version}&resourceVersionMatch=NotOlderThan`,
    `resourceVersion=${version}`,
    'resourceVersion=0',
    'resourceVersion=',
  ]) {
    const { status, body } = await api.call('GET', `${PATH}?${query}`);
    assert.equal(status, 200, query);
    assert.ok(namesOf(body).includes('later'), query);
  }
  for (const match of ['', '&resourceVersionMatch=NotOlderThan', '&resourceVersionMatch=Exact']) {
    const future = await api.call(
      'GET',
      `${PATH}?resourceVersion=${Number(version) + 999}${match}`,
    );
    assert.deepEqual([future.status, future.body.reason], [504, 'Timeout'], match);
    assert.equal(future.body.details.causes[0].reason, 'ResourceVersionTooLarge');
  }
});

test('options of a list that do not go together are refused', async () => {
  const page = (await api.call('GET', `${PATH}?limit=1`)).body.metadata.continue;
  for (const [query, status] of [
    ['resourceVersionMatch=Exact', 422],
    ['resourceVersion=1&resourceVersionMatch=Newest', 422],
    ['resourceVersion=0&resourceVersionMatch=Exact', 422],
    ['sendInitialEvents=true', 422],
    [`continue=${page}&resourceVersionMatch=Exact&resourceVersion=1`, 422],
    [`continue=${page}&resourceVersion=1`, 400],
    ['resourceVersion=abc', 400],
    ['continue=abc', 400],
    ['limit=-1', 400],
  ] as const) {
    assert.equal((await api.call('GET', `${PATH}?${query}`)).status, status, query);
  }
});

test('pages of objects that live elsewhere are of one moment, too', async () => {
  const objects = new Map<string, KubeObject>();
  const put = (name: string): void => {
    const metadata = { name, uid: name, resourceVersion: '', creationTimestamp: '' };
    objects.set(name, { apiVersion: 'example.com/v1', kind: 'Box', metadata });
  };
  for (const name of ['a', 'b', 'c']) put(name);
  const backend = new PolledBackend({ list: () => [...objects.values()] }, new ManualClock(), 1000);
  const registry = new KindRegistry();
  registry.register(NAMESPACES);
  const boxes: KindDefinition = { ...BOXES, backend };
  registry.register(boxes);
  const now = () => new Date();
  const store = new MemoryObjectStore();
  const server = new ResourceServer({ registry, store, log: silentLog, now });
  const first = await server.list(boxes, { limit: 1 });
  assert.equal(first.metadata.remainingItemCount, 2);
  objects.delete('b');
  put('bb');
  const rest = await server.list(boxes, { continue: first.metadata.continue! });
  assert.deepEqual(namesOf(rest), ['b', 'c']);
  assert.equal(rest.metadata.resourceVersion, first.metadata.resourceVersion);
  assert.deepEqual(namesOf(await server.list(boxes)), ['a', 'bb', 'c']);
});
