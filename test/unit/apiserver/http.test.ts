// Goal: what stands around the objects is as Kubernetes' clients expect it: warnings, versions, refusals.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { aWidget, TALKERS, talking, WIDGETS } from './builders.ts';
import { ApiUnderTest } from './http-client.ts';

const PATH = '/apis/example.com/v1/namespaces/default/widgets';
let api: ApiUnderTest;
before(async () => {
  api = await ApiUnderTest.start();
});
after(() => api.stop());

test('every warning has a header of its own', async () => {
  const body = aWidget('warned', { colour: 1, heft: 'x"y' });
  const { status, headers } = await api.call('POST', `${PATH}?fieldValidation=Warn`, { body });
  assert.equal(status, 201);
  const warnings = headers.get('warning') ?? '';
  assert.match(warnings, /299 - "unknown field \\"spec\.colour\\"[^,]*"/);
  assert.match(warnings, /, 299 - "unknown field \\"spec\.heft\\""/);
});

test('the version has every field that Kubernetes’ clients require', async () => {
  const { body } = await api.call('GET', '/version');
  // https://github.com/kubernetes-client/python: VersionInfo.
  for (const field of [
    'buildDate',
    'compiler',
    'gitCommit',
    'gitTreeState',
    'gitVersion',
    'goVersion',
    'major',
    'minor',
    'platform',
  ]) {
    assert.equal(typeof body[field], 'string', field);
  }
});

test('what cannot be answered in a type that is taken is 406, and nothing is done', async () => {
  const protobuf = 'application/vnd.kubernetes.protobuf';
  for (const accept of [protobuf, 'text/html', 'application/json;as=Table;g=other;v=v1']) {
    const headers = { accept };
    const answer = await api.call('POST', PATH, { body: aWidget('unmade'), headers });
    assert.deepEqual([answer.status, answer.body.reason], [406, 'NotAcceptable'], accept);
  }
  const found = await api.call('GET', `${PATH}/unmade`);
  assert.equal(found.status, 404);
  const both = await api.call('GET', PATH, {
    headers: { accept: `${protobuf}, application/json` },
  });
  assert.equal(both.body.kind, 'WidgetList');
});

test('who asks for YAML gets it', async () => {
  await api.server.create(WIDGETS, aWidget('in-yaml'));
  const headers = { accept: 'application/yaml' };
  const one = await api.call('GET', `${PATH}/in-yaml`, { headers });
  assert.match(one.headers.get('content-type') ?? '', /^application\/yaml/);
  assert.match(one.text, /^apiVersion: example\.com\/v1\nkind: Widget\n/m);
  const list = await api.call('GET', PATH, { headers });
  assert.match(list.headers.get('content-type') ?? '', /^application\/yaml/);
  assert.equal((await api.call('GET', `${PATH}?watch=true`, { headers })).status, 406);
});

test('a disk that is full is said to be full, and what to do', async (t) => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
  });
  t.mock.method(api.server, 'create', () => Promise.reject(full));
  const { status, body } = await api.call('POST', PATH, { body: aWidget('no-room') });
  assert.equal(status, 500);
  assert.match(
    body.message,
    /no space left.*the disk below dataDir of this daemon is full; make room/,
  );
});

test('fields that stand twice are refused, or told of', async () => {
  const twice =
    '{"metadata":{"name":"twice"},"spec":{"size":1,"tags":["a\\"b"],"size":2,"parts":[{"name":"p"},{"name":"q","name":"r"}]}}';
  const asked = { body: twice, headers: { 'content-type': 'application/json' } };
  const refused = await api.call('POST', PATH, asked);
  assert.equal(refused.status, 400);
  assert.deepEqual(
    refused.body.details.causes.map(({ field }: { field: string }) => field),
    ['spec.size', 'spec.parts[1].name'],
  );
  const told = await api.call('POST', `${PATH}?fieldValidation=Warn`, asked);
  assert.equal(told.status, 201);
  assert.match(told.headers.get('warning') ?? '', /duplicate field \\"spec\.size\\"/);
  const ignored = await api.call('PUT', `${PATH}/twice?fieldValidation=Ignore`, asked);
  assert.deepEqual([ignored.status, ignored.headers.get('warning')], [200, null]);
});

test('who applies says who he is; what he makes is 201, what he changes 200', async () => {
  const headers = { 'content-type': 'application/apply-patch+yaml' };
  const body = JSON.stringify({ apiVersion: 'example.com/v1', kind: 'Widget', spec: { size: 1 } });
  const nobody = await api.call('PATCH', `${PATH}/applied`, { body, headers });
  assert.deepEqual([nobody.status, nobody.body.details.causes[0].field], [422, 'fieldManager']);
  const query = 'fieldManager=me&force=true';
  const made = await api.call('PATCH', `${PATH}/applied?${query}`, { body, headers });
  assert.equal(made.status, 201);
  assert.equal(
    (await api.call('PATCH', `${PATH}/applied?${query}`, { body, headers })).status,
    200,
  );
  const merge = { 'content-type': 'application/merge-patch+json' };
  const forced = await api.call('PATCH', `${PATH}/applied?force=true`, {
    body: '{}',
    headers: merge,
  });
  assert.deepEqual([forced.status, forced.body.details.causes[0].field], [422, 'force']);
});

test('a status is written by itself, whatever stands beside it', async () => {
  await api.server.create(WIDGETS, aWidget('stated', { size: 3 }));
  for (const spec of [undefined, { size: 'many' }, { size: 99 }]) {
    const body = { metadata: { name: 'stated' }, spec, status: { phase: 'Good' } };
    const put = await api.call('PUT', `${PATH}/stated/status`, { body });
    assert.equal(put.status, 200, put.text);
    assert.deepEqual([put.body.spec.size, put.body.status.phase], [3, 'Good']);
  }
  const wrong = { metadata: { name: 'stated' }, status: { phase: 1 } };
  const refused = await api.call('PUT', `${PATH}/stated/status`, { body: wrong });
  assert.deepEqual([refused.status, refused.body.details.causes[0].field], [422, 'status.phase']);
});

test('a namespace has a phase, and the label that selectors of namespaces use', async () => {
  const { body } = await api.call(
    'GET',
    '/api/v1/namespaces?labelSelector=kubernetes.io%2Fmetadata.name%3Ddefault',
  );
  assert.equal(body.items.length, 1);
  assert.equal(body.items[0].status.phase, 'Active');
});

test('there is no OpenAPI document of a group that is not served', async () => {
  assert.equal((await api.call('GET', '/openapi/v3/apis/example.com/v1')).status, 200);
  assert.equal((await api.call('GET', '/openapi/v3/apis/example.com/v7')).status, 404);
  assert.equal((await api.call('GET', '/openapi/v3/api/v7')).status, 404);
});

test('a log of any length gets through; a silent one has a head, and ends with its reader', async () => {
  const talkers = '/apis/example.com/v1/namespaces/default/talkers';
  for (const name of ['loud', 'silent', 'broken']) {
    await api.server.create(TALKERS, { metadata: { name } });
  }
  const loud = await api.call('GET', `${talkers}/loud/log`);
  assert.equal(loud.text.length, 300 * 65_536);
  assert.equal((await api.call('GET', `${talkers}/broken/log`)).status, 503);
  const aborted = new AbortController();
  const silent = await fetch(`${api.url}${talkers}/silent/log?follow=true`, {
    signal: aborted.signal,
  });
  assert.equal(silent.status, 200);
  aborted.abort();
  while (talking.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  // Gone before there was a head.
  const early = new AbortController();
  const answer = fetch(`${api.url}${talkers}/silent/log?follow=true`, { signal: early.signal });
  while (talking.size === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  early.abort();
  await assert.rejects(answer);
  while (talking.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal((await api.call('GET', `${talkers}/loud/log?sinceTime=noon`)).status, 400);
});
