// Goal: what newer clients of Kubernetes rely on, beyond the objects themselves: how fields that there are not are
// refused, health checks, compressed lists, an end that does not wait for connections nobody uses.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fastify from 'fastify';
import { takesGzip } from '../../../src/apiserver/compression.ts';
import { addHealth } from '../../../src/apiserver/index.ts';
import { aWidget, WIDGETS } from './builders.ts';
import { ApiUnderTest } from './http-client.ts';

const PATH = '/apis/example.com/v1/namespaces/default/widgets';
let api: ApiUnderTest;
before(async () => {
  api = await ApiUnderTest.start();
});
after(() => api.stop());

test('a field that there is not is a strict decoding error, 400, and is named', async () => {
  const body = aWidget('strict', { heft: 1 });
  for (const query of ['', '?fieldValidation=Strict']) {
    const made = await api.call('POST', `${PATH}${query}`, { body });
    assert.deepEqual([made.status, made.body.reason], [400, 'BadRequest']);
    assert.equal(
      made.body.message,
      'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.heft"',
    );
    assert.equal(made.body.details.causes[0].field, 'spec.heft');
  }
  await api.server.create(WIDGETS, aWidget('strict'));
  assert.equal((await api.call('PUT', `${PATH}/strict`, { body })).status, 400);
  const wrongToo = aWidget('both', { heft: 1, size: 'x' });
  const both = await api.call('POST', PATH, { body: wrongToo });
  assert.equal(both.status, 422, 'a wrong type is invalid, whatever stands beside it');
  assert.deepEqual(both.body.details.causes.map(({ field }: { field: string }) => field).sort(), [
    'spec.heft',
    'spec.size',
  ]);
  const patched = await api.call('PATCH', `${PATH}/strict`, {
    body: '{"spec":{"heft":2}}',
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  assert.deepEqual([patched.status, patched.body.reason], [422, 'Invalid']);
  assert.match(patched.body.message, /patch: strict decoding error: unknown field "spec\.heft"/);
});

test('health is told in a word, check by check, and one by one', async () => {
  const app = fastify();
  let why = '';
  addHealth(app, { ready: { startup: () => why, disk: () => '' } });
  const get = async (url: string) => {
    const { statusCode, body } = await app.inject(url);
    return [statusCode, body];
  };
  assert.deepEqual(await get('/livez'), [200, 'ok']);
  assert.deepEqual(await get('/healthz?verbose'), [200, '[+]ping ok\nhealthz check passed\n']);
  why = 'starting';
  assert.deepEqual(await get('/readyz'), [503, 'not ready: starting']);
  const lines = ['[+]ping ok', '[-]startup failed: starting', '[+]disk ok', 'readyz check failed'];
  assert.deepEqual(await get('/readyz?verbose=true'), [503, `${lines.join('\n')}\n`]);
  assert.deepEqual(await get('/readyz/startup'), [503, 'not ready: starting']);
  assert.deepEqual(await get('/readyz/disk'), [200, 'ok']);
  assert.equal((await get('/readyz?exclude=startup'))[0], 200);
  const misspelt = await get('/readyz?verbose&exclude=startop');
  assert.deepEqual([misspelt[0], /no check startop/.test(String(misspelt[1]))], [503, true]);
  assert.equal((await get('/readyz/none'))[0], 404);
  assert.equal((await app.inject({ method: 'HEAD', url: '/livez' })).statusCode, 200);
  await app.close();
});

test('a long list is compressed for who takes it', async () => {
  const tags = Array.from({ length: 400 }, (_, index) => `a-tag-of-some-length-${index}`);
  for (let index = 0; index < 20; index += 1) {
    await api.server.create(WIDGETS, aWidget(`long-${index}`, { tags }));
  }
  const raw = (path: string, accepted: string): Promise<{ headers: object; body: Buffer }> =>
    new Promise((resolve, reject) => {
      const options = { headers: { 'accept-encoding': accepted }, agent: false as const };
      request(`${api.url}${path}`, options, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => resolve({ headers: answer.headers, body: Buffer.concat(chunks) }));
      })
        .on('error', reject)
        .end();
    });
  const plain = await raw(PATH, 'identity');
  assert.equal(Reflect.get(plain.headers, 'content-encoding'), undefined);
  const packed = await raw(PATH, 'gzip');
  assert.equal(Reflect.get(packed.headers, 'content-encoding'), 'gzip');
  assert.equal(Reflect.get(packed.headers, 'content-length'), String(packed.body.length));
  assert.ok(packed.body.length < plain.body.length / 4);
  assert.deepEqual(gunzipSync(packed.body), plain.body);
  const short = await raw(`${PATH}/long-1`, 'gzip');
  assert.equal(Reflect.get(short.headers, 'content-encoding'), undefined);
  for (const [accepted, expected] of [
    ['', false],
    ['gzip', true],
    ['deflate, GZIP;q=1.0', true],
    ['gzip;q=0', false],
    ['*', true],
    ['*;q=0', false],
    ['gzip;q=0, *', false],
    ['br', false],
  ] as const) {
    assert.equal(takesGzip(accepted), expected, accepted);
  }
});

test('a truth is one in any case of its letters', async () => {
  const lines = await api.watch(`${PATH}?watch=True&timeoutSeconds=1&allowWatchBookmarks=TRUE`);
  assert.ok(lines.some(({ type }) => type === 'BOOKMARK'));
  assert.equal((await api.call('GET', `${PATH}?watch=False`)).body.kind, 'WidgetList');
  assert.equal((await api.call('GET', `${PATH}?watch=maybe`)).status, 400);
});

test('one object can be watched by its own path', async () => {
  await api.server.create(WIDGETS, aWidget('alone'));
  const lines = await api.watch(`${PATH}/alone?watch=true&timeoutSeconds=1`);
  assert.deepEqual(
    lines.map(({ type, object }) => [type, object.metadata.name]),
    [['ADDED', 'alone']],
  );
});

test('documents that a client has are not sent again', async () => {
  const index = await api.call('GET', '/openapi/v3');
  const { serverRelativeURL } = index.body.paths['apis/example.com/v1'];
  for (const url of ['/openapi/v2', '/openapi/v3', '/openapi.json', serverRelativeURL]) {
    const first = await api.call('GET', url);
    assert.equal(first.status, 200);
    const etag = first.headers.get('etag') ?? '';
    assert.match(etag, /^"\w{32}P?"$/);
    const again = await api.call('GET', url, { headers: { 'if-none-match': `"x", ${etag}` } });
    assert.deepEqual([again.status, again.text], [304, '']);
    const other = await api.call('GET', url, { headers: { 'if-none-match': '"x"' } });
    assert.equal(other.status, 200);
  }
  // kubectl before 1.29 keeps the answer on disk, with the headers of the newest one.
  const accept = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
  const packed = await api.call('GET', '/openapi/v2', { headers: { accept } });
  const etag = packed.headers.get('etag') ?? '';
  const again = await api.call('GET', '/openapi/v2', {
    headers: { accept, 'if-none-match': etag },
  });
  assert.deepEqual([again.status, again.headers.get('content-type')], [304, null]);
  assert.doesNotMatch(packed.headers.get('content-type') ?? '', /@/);
  const named = await api.call('GET', serverRelativeURL);
  assert.match(named.headers.get('cache-control') ?? '', /immutable/);
  const unnamed = await api.call('GET', '/openapi/v3/apis/example.com/v1?hash=old');
  assert.doesNotMatch(unnamed.headers.get('cache-control') ?? '', /immutable/);
});

test('every operation of the documents has a name of its own', async () => {
  for (const url of ['/openapi/v2', '/openapi.json']) {
    const { body } = await api.call('GET', url);
    const items = Object.values(body.paths) as Record<string, { operationId: string }>[];
    assert.ok(items.every((item) => Object.keys(item).length > 0));
    const ids = items.flatMap((item) => Object.values(item).map(({ operationId }) => operationId));
    assert.equal(new Set(ids).size, ids.length);
    for (const id of [
      'createExampleComV1NamespacedWidget',
      'listExampleComV1WidgetForAllNamespaces',
      'deleteExampleComV1CollectionNamespacedWidget',
      'replaceExampleComV1NamespacedWidgetStatus',
      'readCoreV1Namespace',
      'createAuthorizationV1SelfSubjectAccessReview',
    ]) {
      assert.ok(ids.includes(id), id);
    }
  }
});

test('the root tells of all paths, and each of them is there', async () => {
  const { body } = await api.call('GET', '/');
  assert.ok(body.paths.includes('/apis/example.com/v1beta1'));
  const beside = ['/healthz', '/livez', '/readyz', '/metrics'];
  for (const path of body.paths.filter((one: string) => !beside.includes(one))) {
    assert.equal((await api.call('GET', path)).status, 200, path);
    assert.equal((await api.call('GET', `${path}/`)).status, 200, `${path}/`);
  }
  assert.equal((await api.call('GET', `${PATH}/`)).body.kind, 'WidgetList');
});

test('who would scale is told what to do instead', async () => {
  const { status, body } = await api.call('GET', `${PATH}/alone/scale`);
  assert.deepEqual([status, body.reason], [405, 'MethodNotAllowed']);
  assert.equal((await api.call('GET', `${PATH}/alone/constructor`)).status, 404);
  assert.match(body.message, /^widgets have no scale: .*spec\.replicaCount/);
});

test('the end does not wait for connections that nobody has used', async () => {
  const own = await ApiUnderTest.start();
  const { hostname, port } = new URL(own.url);
  const unused = connect(Number(port), hostname);
  await new Promise((resolve) => unused.once('connect', resolve));
  await own.call('GET', '/version');
  const gone = new Promise((resolve) => unused.once('close', resolve));
  const began = performance.now();
  await own.stop();
  await gone;
  assert.ok(performance.now() - began < 2000);
});
