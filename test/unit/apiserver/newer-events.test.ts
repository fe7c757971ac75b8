// Goal: an event is the same whether it is read and written as the core group's or as that of events.k8s.io.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EVENTS, type EventObject } from '../../../src/apiserver/index.ts';
import { ApiUnderTest } from './http-client.ts';

const NEWER = '/apis/events.k8s.io/v1/namespaces/default/events';
const CORE = '/api/v1/namespaces/default/events';
let api: ApiUnderTest;
before(async () => {
  api = await ApiUnderTest.start();
});
after(() => api.stop());

const SEEN = {
  metadata: { name: 'e', namespace: 'default' },
  involvedObject: { kind: 'Widget', name: 'w', namespace: 'default' },
  reason: 'Made',
  message: 'it was made',
  type: 'Normal',
  source: { component: 'maker', host: 'h' },
  reportingComponent: 'maker',
  firstTimestamp: '2026-11-01T00:00:00Z',
  lastTimestamp: '2026-11-01T00:00:05Z',
  count: 3,
};

test('an event of the core group is read in newer words', async () => {
  await api.server.create(EVENTS, SEEN);
  const { status, body } = await api.call('GET', `${NEWER}/e`);
  assert.equal(status, 200);
  assert.equal(body.apiVersion, 'events.k8s.io/v1');
  assert.deepEqual(body.regarding, SEEN.involvedObject);
  assert.equal(body.note, SEEN.message);
  assert.equal(body.reportingController, 'maker');
  assert.deepEqual(body.deprecatedSource, SEEN.source);
  assert.equal(body.deprecatedCount, 3);
  assert.equal(body.deprecatedFirstTimestamp, SEEN.firstTimestamp);
  assert.equal(body.eventTime, '2026-11-01T00:00:00.000000Z');
  for (const name of ['involvedObject', 'message', 'source', 'count', 'reportingComponent']) {
    assert.ok(!(name in body), name);
  }
  const core = await api.call('GET', `${CORE}/e`);
  assert.equal(core.body.metadata.uid, body.metadata.uid);
  assert.equal(core.body.metadata.resourceVersion, body.metadata.resourceVersion);
});

test('one that is written in newer words is one of the core group', async () => {
  const watched = api.watch(`${CORE}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dn`);
  const body = {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: 'n' },
    eventTime: '2026-11-01T00:00:00.000001Z',
    reportingController: 'newer',
    reportingInstance: 'h',
    action: 'Making',
    reason: 'Made',
    regarding: { kind: 'Widget', name: 'w2' },
    note: 'said so',
    type: 'Warning',
  };
  assert.equal((await api.call('POST', NEWER, { body })).status, 201);
  const core = await api.server.get<EventObject>(EVENTS, 'default', 'n');
  assert.equal(core.apiVersion, 'v1');
  assert.equal(core.message, 'said so');
  assert.equal(core.involvedObject.name, 'w2');
  assert.equal(core.reportingComponent, 'newer');
  const patched = await api.call('PATCH', `${NEWER}/n`, {
    body: '{"series":{"count":2,"lastObservedTime":"2026-11-01T00:00:01.000000Z"}}',
    headers: { 'content-type': 'application/strategic-merge-patch+json' },
  });
  assert.equal(patched.status, 200, patched.text);
  assert.equal(patched.body.series.count, 2);
  const again = await api.call('POST', NEWER, { body });
  assert.deepEqual([again.status, again.body.reason], [409, 'AlreadyExists']);
  assert.deepEqual(
    (await watched).map(({ type, object }) => [type, object.kind, object.message]),
    [
      ['ADDED', 'Event', 'said so'],
      ['MODIFIED', 'Event', 'said so'],
    ],
  );
});

test('newer events are selected, watched, shown as a table and deleted by their own words', async () => {
  await api.server.create(EVENTS, { ...SEEN, metadata: { name: 's', namespace: 'default' } });
  const list = await api.call('GET', `${NEWER}?fieldSelector=regarding.name%3Dw,reason%3DMade`);
  assert.ok(list.body.items.length > 0);
  assert.equal(list.body.kind, 'EventList');
  const headers = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' };
  const table = await api.call('GET', `${NEWER}/s`, { headers });
  const names = table.body.columnDefinitions.map(({ name }: { name: string }) => name);
  const cells = table.body.rows[0].cells as unknown[];
  assert.equal(cells[names.indexOf('Message')], 'it was made');
  const watch = await api.watch(`${NEWER}?watch=true&timeoutSeconds=1`);
  assert.ok(watch.some(({ object }) => object.note === 'it was made'));
  assert.equal((await api.call('DELETE', `${NEWER}/s`)).status, 200);
  assert.equal((await api.call('GET', `${CORE}/s`)).status, 404);
});
