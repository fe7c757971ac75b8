// Goal: nobody without a token gets in, and a role does what it says and no more.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Type } from 'typebox';
import {
  buildHttp,
  type KindDefinition,
  KindRegistry,
  ownKinds,
  ResourceServer,
  TokenAccess,
} from '../../../src/apiserver/index.ts';
import { silentLog } from '../../../src/base/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';
import { BOXES } from './builders.ts';

const KEYS: KindDefinition = {
  ...BOXES,
  kind: 'Key',
  plural: 'keys',
  secret: true,
  fields: { data: Type.Record(Type.String(), Type.String()) },
};

async function anApi() {
  const registry = new KindRegistry();
  const store = new MemoryObjectStore();
  for (const kind of [...ownKinds(store), BOXES, KEYS]) registry.register(kind);
  const server = new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
  const access = new TokenAccess([
    { name: 'watcher', role: 'read', token: 'read-token-0123456789' },
    { name: 'operator', role: 'operate', token: 'operate-token-0123456789' },
    { name: 'root', role: 'admin', token: 'admin-token-0123456789' },
  ]);
  return await buildHttp({ server, version: '0.1.0', loopbackOnly: false, access });
}

test('each role does what it says and no more', async () => {
  const app = await anApi();
  const ask = async (
    role: string,
    method: 'GET' | 'POST' | 'DELETE',
    url: string,
    payload?: object,
  ) => {
    const authorization = role === '' ? '' : `Bearer ${role}-token-0123456789`;
    const answer = await app.inject({
      method,
      url,
      headers: { authorization },
      ...(payload === undefined ? {} : { payload }),
    });
    return answer.statusCode;
  };
  const boxes = '/apis/example.com/v1/boxes';
  const keys = '/apis/example.com/v1/keys';
  const box = { metadata: { name: 'b' } };
  for (const url of [boxes, `${boxes}/b`, '/apis', '/api', '/openapi/v2', '/apis/example.com/v1']) {
    assert.equal(await ask('', 'GET', url), 401, url);
    assert.equal(await ask('nobody', 'GET', url), 401, url);
  }
  assert.equal(await ask('read', 'GET', boxes), 200);
  assert.equal(await ask('read', 'POST', boxes, box), 403);
  assert.equal(await ask('operate', 'POST', boxes, box), 201);
  assert.equal(await ask('read', 'DELETE', `${boxes}/b`), 403);
  assert.equal(await ask('read', 'DELETE', boxes), 403);
  assert.equal(await ask('operate', 'GET', keys), 403);
  assert.equal(await ask('operate', 'POST', keys, box), 403);
  assert.equal(await ask('admin', 'POST', keys, box), 201);
  assert.equal(await ask('admin', 'GET', keys), 200);
  assert.equal(await ask('operate', 'DELETE', `${boxes}/b`), 200);
  const refused = await app.inject({
    url: keys,
    headers: { authorization: 'Bearer read-token-0123456789' },
  });
  assert.match(refused.json().message, /"watcher" has the role read, and to list it takes admin/);
  const anonymous = await app.inject(boxes);
  assert.match(String(anonymous.headers['www-authenticate']), /^Bearer/);
});

test('who asks what he may do hears what a request would', async () => {
  const app = await anApi();
  const url = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
  const may = async (role: string, attributes: object): Promise<[boolean, string]> => {
    const headers = { authorization: `Bearer ${role}-token-0123456789` };
    const payload = { spec: { resourceAttributes: attributes } };
    const answer = await app.inject({ method: 'POST', url, headers, payload });
    assert.equal(answer.statusCode, 201);
    const { status } = answer.json() as { status: { allowed: boolean; reason?: string } };
    return [status.allowed, status.reason ?? ''];
  };
  const box = { group: 'example.com', resource: 'boxes' };
  const key = { group: 'example.com', resource: 'keys' };
  assert.deepEqual(await may('read', { ...box, verb: 'list' }), [true, 'role read']);
  const [allowed, why] = await may('read', { ...box, verb: 'create' });
  assert.equal(allowed, false);
  assert.match(why, /"watcher" has the role read, and to create it takes operate/);
  assert.equal((await may('operate', { ...box, verb: '*' }))[0], true);
  assert.equal((await may('operate', { ...key, verb: 'get' }))[0], false);
  assert.equal((await may('operate', { group: '*', resource: '*', verb: '*' }))[0], false);
  assert.equal((await may('admin', { group: '*', resource: '*', verb: '*' }))[0], true);
  assert.equal((await may('admin', { ...box, resource: 'crates', verb: 'get' }))[0], false);
  assert.equal((await may('admin', { ...box, verb: 'juggle' }))[0], false);

  const nobody = await app.inject({ method: 'POST', url, payload: {} });
  assert.equal(nobody.statusCode, 401);
  const headers = { authorization: 'Bearer read-token-0123456789' };
  const empty = await app.inject({ method: 'POST', url, headers, payload: {} });
  assert.equal(empty.statusCode, 422);
  const rules = await app.inject({
    method: 'POST',
    url: '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews',
    headers,
    payload: { spec: { namespace: 'default' } },
  });
  const { status } = rules.json() as {
    status: { resourceRules: { verbs: string[]; resources: string[] }[] };
  };
  const ofBoxes = status.resourceRules.find(({ resources }) => resources.includes('boxes'));
  assert.deepEqual(ofBoxes?.verbs, ['get', 'list', 'watch']);
  assert.ok(!status.resourceRules.some(({ resources }) => resources.includes('keys')));
});
