// Goal: the API answers like a Kubernetes API server: objects, lists, and a Status that names the field.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { aManifest, anApi } from './builders.ts';

const VOLUMES = '/apis/ashlar.io/v1/volumes';
const MERGE = { 'content-type': 'application/merge-patch+json' };

test('a volume is created, read, listed, grown and deleted', async () => {
  const { app, exporter } = await anApi();
  const made = await app.inject({ method: 'POST', url: VOLUMES, payload: aManifest('db') });
  assert.equal(made.statusCode, 201);
  const volume = made.json();
  assert.equal(volume.kind, 'Volume');
  assert.equal(volume.apiVersion, 'ashlar.io/v1');
  assert.match(volume.metadata.uid, /^[0-9a-f-]{36}$/);
  assert.equal(volume.metadata.generation, 1);
  assert.equal(volume.metadata.creationTimestamp, '2026-11-01T00:00:00Z');
  assert.equal(volume.status.iqn, 'iqn.2026-11.io.ashlar:db');
  assert.equal(volume.status.capacityBytes, 64 * 2 ** 20);
  assert.equal(volume.status.usedBytes, 0);
  assert.equal(volume.status.state, 'Healthy');
  assert.equal(volume.status.phase, 'Ready');
  assert.equal(volume.status.conditions[0].status, 'True');
  assert.ok(exporter.exposed.has('iqn.2026-11.io.ashlar:db'));

  const list = (await app.inject(VOLUMES)).json();
  assert.equal(list.kind, 'VolumeList');
  assert.deepEqual(
    list.items.map((item: typeof volume) => item.metadata.name),
    ['db'],
  );

  const grown = await app.inject({
    method: 'PATCH',
    url: `${VOLUMES}/db`,
    headers: MERGE,
    payload: { spec: { size: '128Mi' } },
  });
  assert.equal(grown.statusCode, 200);
  assert.equal(grown.json().status.capacityBytes, 128 * 2 ** 20);
  assert.equal(grown.json().metadata.generation, 2);
  assert.ok(
    Number(grown.json().metadata.resourceVersion) > Number(volume.metadata.resourceVersion),
  );

  assert.equal((await app.inject({ method: 'DELETE', url: `${VOLUMES}/db` })).statusCode, 200);
  assert.equal((await app.inject(`${VOLUMES}/db`)).statusCode, 404);
  assert.equal(exporter.exposed.size, 0);
});

test('every mistake in a manifest is told at once, with its field', async () => {
  const { app } = await anApi();
  const payload = aManifest('Bad_Name', {
    size: '5Gx',
    blockSize: 1024,
    initiators: ['nobody'],
    chap: { user: 'u', secret: 'short' },
  });
  const answer = await app.inject({ method: 'POST', url: VOLUMES, payload });
  assert.equal(answer.statusCode, 422);
  const status = answer.json();
  assert.equal(status.kind, 'Status');
  assert.equal(status.reason, 'Invalid');
  assert.equal(status.code, 422);
  assert.deepEqual(
    status.details.causes.map((cause: { field: string }) => cause.field),
    ['metadata.name', 'spec.size', 'spec.blockSize', 'spec.initiators[0]', 'spec.chap.secret'],
  );
  assert.match(status.message, /'5Gx' is not a quantity; write it like 5Gi/);
});

test('unknown fields and wrong types are refused, not dropped or bent', async () => {
  const { app } = await anApi();
  const wrong: [object, string][] = [
    [{ metadata: { name: 'a' }, spec: { size: '1Gi', sise: 1 } }, 'spec.sise'],
    [{ metadata: { name: 'a' }, spec: { size: '1Gi', blockSize: '512' } }, 'spec.blockSize'],
    [{ metadata: { name: 'a' }, spec: {} }, 'spec.size'],
    [{ metadata: { name: 'a' } }, 'spec'],
    [{ kind: 'Pool', metadata: { name: 'a' }, spec: { size: '1Gi' } }, 'kind'],
    [{ apiVersion: 'v2', metadata: { name: 'a' }, spec: { size: '1Gi' } }, 'apiVersion'],
  ];
  for (const [payload, field] of wrong) {
    const answer = await app.inject({ method: 'POST', url: VOLUMES, payload });
    // Kubernetes tells a field that there is not from a wrong one.
    assert.equal(answer.statusCode, field === 'spec.sise' ? 400 : 422, field);
    const fields = answer.json().details.causes.map((cause: { field: string }) => cause.field);
    assert.ok(fields.includes(field), `${field} in ${fields}`);
  }
});

test('a secret goes in and never comes out, and survives an update that leaves it out', async () => {
  const { app, exporter } = await anApi();
  const secret = 'correct-horse-battery';
  const payload = aManifest('db', { chap: { user: 'alice', secret } });
  const made = await app.inject({ method: 'POST', url: VOLUMES, payload });
  assert.equal(made.statusCode, 201);
  const read = await app.inject(`${VOLUMES}/db`);
  const listed = await app.inject(VOLUMES);
  const patched = await app.inject({
    method: 'PATCH',
    url: `${VOLUMES}/db`,
    headers: MERGE,
    payload: { metadata: { labels: { app: 'db' } } },
  });
  for (const answer of [made, read, listed, patched]) assert.ok(!answer.body.includes(secret));
  assert.deepEqual(patched.json().spec.chap, { user: 'alice' });
  assert.equal(patched.json().metadata.generation, 1, 'labels are no part of the spec');
  const exposed = exporter.exposed.get('iqn.2026-11.io.ashlar:db');
  assert.deepEqual(exposed?.wanted.chap, { user: 'alice', secret });

  const short = aManifest('x', { chap: { user: 'u', secret: 'hunter2' } });
  const refused = await app.inject({ method: 'POST', url: VOLUMES, payload: short });
  assert.equal(refused.statusCode, 422);
  assert.ok(!refused.body.includes('hunter2'));
});

test('a volume in use is not deleted, unless forced', async () => {
  const { app, exporter } = await anApi();
  await app.inject({ method: 'POST', url: VOLUMES, payload: aManifest('db') });
  exporter.loggedIn.set('iqn.2026-11.io.ashlar:db', ['iqn.1993-08.org.debian:01:abc']);
  const refused = await app.inject({ method: 'DELETE', url: `${VOLUMES}/db` });
  assert.equal(refused.statusCode, 409);
  assert.match(refused.json().message, /iqn\.1993-08\.org\.debian:01:abc is logged in/);
  const forced = await app.inject({
    method: 'DELETE',
    url: `${VOLUMES}/db`,
    payload: { kind: 'DeleteOptions', gracePeriodSeconds: 0 },
  });
  assert.equal(forced.statusCode, 200);
});

test('preconditions, resource versions and finalizers hold', async () => {
  const { app } = await anApi();
  const payload = aManifest('db', {}, { finalizers: ['example.com/keep'] });
  const made = (await app.inject({ method: 'POST', url: VOLUMES, payload })).json();
  const put = async (version: string) =>
    await app.inject({
      method: 'PUT',
      url: `${VOLUMES}/db`,
      payload: {
        ...made,
        metadata: { ...made.metadata, resourceVersion: version },
        spec: { ...made.spec, size: '96Mi' },
      },
    });
  assert.equal((await put('999999')).statusCode, 409);
  assert.equal((await put(made.metadata.resourceVersion)).statusCode, 200);
  const other = { preconditions: { uid: 'other' } };
  const mismatch = await app.inject({ method: 'DELETE', url: `${VOLUMES}/db`, payload: other });
  assert.equal(mismatch.statusCode, 409);

  const waiting = (await app.inject({ method: 'DELETE', url: `${VOLUMES}/db` })).json();
  assert.equal(waiting.status.phase, 'Deleting');
  assert.ok(waiting.metadata.deletionTimestamp);
  await app.inject({
    method: 'PATCH',
    url: `${VOLUMES}/db`,
    headers: MERGE,
    payload: { metadata: { finalizers: null } },
  });
  assert.equal((await app.inject(`${VOLUMES}/db`)).statusCode, 404);
});

test('dry runs change nothing', async () => {
  const { app } = await anApi();
  const url = `${VOLUMES}?dryRun=All`;
  const tried = await app.inject({ method: 'POST', url, payload: aManifest('db') });
  assert.equal(tried.statusCode, 201);
  assert.equal((await app.inject(`${VOLUMES}/db`)).statusCode, 404);
});

test('a dry run of a deletion deletes nothing, by query or by body; an empty list is none', async () => {
  const { app } = await anApi();
  await app.inject({ method: 'POST', url: VOLUMES, payload: aManifest('db') });
  const url = `${VOLUMES}/db`;
  assert.equal((await app.inject({ method: 'DELETE', url: `${url}?dryRun=All` })).statusCode, 200);
  const payload = { dryRun: ['All'] };
  assert.equal((await app.inject({ method: 'DELETE', url, payload })).statusCode, 200);
  assert.equal((await app.inject({ method: 'DELETE', url: `${url}?dryRun=Some` })).statusCode, 400);
  assert.equal((await app.inject(url)).statusCode, 200);
  await app.inject({ method: 'DELETE', url, payload: { dryRun: [] } });
  assert.equal((await app.inject(url)).statusCode, 404);
});

test('lists take selectors', async () => {
  const { app } = await anApi();
  for (const [name, app_] of [
    ['a', 'db'],
    ['b', 'web'],
  ] as const) {
    const payload = aManifest(name, {}, { labels: { app: app_ } });
    await app.inject({ method: 'POST', url: VOLUMES, payload });
  }
  const names = async (query: string) =>
    (await app.inject(`${VOLUMES}?${query}`))
      .json()
      .items.map((item: { metadata: { name: string } }) => item.metadata.name);
  assert.deepEqual(await names('labelSelector=app%3Ddb'), ['a']);
  assert.deepEqual(await names('labelSelector=app!%3Ddb'), ['b']);
  assert.deepEqual(await names('labelSelector=app%20in%20(db,web)'), ['a', 'b']);
  assert.deepEqual(await names('labelSelector=!app'), []);
  assert.deepEqual(await names('fieldSelector=metadata.name%3Db'), ['b']);
  assert.equal((await app.inject(`${VOLUMES}?fieldSelector=spec.size%3D1`)).statusCode, 400);
});

test('sessions are read-only objects, and the pool of the daemon stays', async () => {
  const { app } = await anApi();
  const sessions = (await app.inject('/apis/ashlar.io/v1/sessions')).json();
  assert.equal(sessions.items[0].metadata.name, 'tsih-7');
  assert.equal(sessions.items[0].status.volume, 'db');
  assert.equal(sessions.items[0].metadata.creationTimestamp, '2026-11-01T00:00:01Z');
  const pool = (await app.inject('/apis/ashlar.io/v1/pools/pool')).json();
  assert.equal(pool.status.phase, 'Online');
  const gone = await app.inject({ method: 'DELETE', url: '/apis/ashlar.io/v1/sessions/tsih-7' });
  assert.equal(gone.statusCode, 405);
  const refused = await app.inject({ method: 'DELETE', url: '/apis/ashlar.io/v1/pools/pool' });
  assert.equal(refused.statusCode, 409);
  assert.match(refused.json().message, /pool pool is the daemon's own \(pool\.path of its config/);
});

test('health, version, metrics, discovery and the OpenAPI document are served', async () => {
  const { app, setNotReady } = await anApi();
  assert.equal((await app.inject('/livez')).body, 'ok');
  assert.equal((await app.inject('/readyz')).statusCode, 200);
  setNotReady('the pool is faulted: EIO');
  assert.equal((await app.inject('/readyz')).statusCode, 503);
  const version = (await app.inject('/version')).json();
  assert.match(version.gitVersion, /^v1\.\d+\.0\+ashlar\.0\.1\.0$/);
  assert.equal(version.ashlarVersion, '0.1.0');
  assert.equal((await app.inject('/metrics')).body, 'metric 1\n');
  const resources = (await app.inject('/apis/ashlar.io/v1')).json().resources;
  assert.deepEqual(
    resources
      .map((resource: { name: string }) => resource.name)
      .filter((name: string) => !name.includes('/')),
    ['volumes', 'snapshots', 'replicas', 'sessions', 'pools'],
  );
  const openapi = (await app.inject('/openapi.json')).json();
  assert.match(openapi.openapi, /^3\./);
  assert.ok(openapi.paths[`${VOLUMES}/{name}`].patch);
  assert.ok(openapi.components.schemas['io.ashlar.v1.Volume']);
});

test('a Host that is not this machine is refused: DNS rebinding', async () => {
  const { app } = await anApi();
  for (const host of ['evil.example', '10.0.0.1:9808', '127.evil.example']) {
    const answer = await app.inject({ url: '/version', headers: { host } });
    assert.equal(answer.statusCode, 403, host);
  }
  for (const host of ['localhost:9808', '127.0.0.1', '[::1]:9808', 'LOCALHOST']) {
    assert.equal((await app.inject({ url: '/version', headers: { host } })).statusCode, 200, host);
  }
});

test('a faulted pool takes no changes and says why', async () => {
  const { app, pool, exporter } = await anApi();
  await app.inject({ method: 'POST', url: VOLUMES, payload: aManifest('db') });
  pool.fault('write: EIO');
  const refused = await app.inject({ method: 'POST', url: VOLUMES, payload: aManifest('other') });
  assert.equal(refused.statusCode, 503);
  assert.match(refused.json().message, /EIO/);
  const kept = await app.inject({ method: 'DELETE', url: `${VOLUMES}/db?gracePeriodSeconds=0` });
  assert.equal(kept.statusCode, 503);
  assert.ok(exporter.exposed.has('iqn.2026-11.io.ashlar:db'), 'no host is thrown out for nothing');
  const read = (await app.inject(`${VOLUMES}/db`)).json();
  assert.equal(read.status.state, 'Faulted');
  assert.equal(read.status.conditions[0].status, 'False');
});

test('any body gets an answer of the API, never a 500', async () => {
  const { app } = await anApi();
  const bodies = fc.oneof(
    fc.json(),
    fc.string(),
    fc
      .record({
        metadata: fc.record({ name: fc.oneof(fc.string(), fc.constant('a')), labels: fc.object() }),
        spec: fc.record(
          { size: fc.oneof(fc.string(), fc.constant('2Mi'), fc.double()), chap: fc.anything() },
          { requiredKeys: [] },
        ),
      })
      .map((value) => JSON.stringify(value) ?? ''),
  );
  const methods = fc.constantFrom(
    'POST' as const,
    'PUT' as const,
    'PATCH' as const,
    'DELETE' as const,
  );
  await fc.assert(
    fc.asyncProperty(methods, bodies, async (method, payload) => {
      const url = method === 'POST' ? VOLUMES : `${VOLUMES}/a`;
      const headers = method === 'PATCH' ? MERGE : { 'content-type': 'application/json' };
      const answer = await app.inject({ method, url, headers, payload });
      assert.ok(answer.statusCode < 500, answer.body);
      assert.ok(['Status', 'Volume'].includes(answer.json().kind));
    }),
    { numRuns: 500 },
  );
});
