// Goal: nobody without a token gets in, and a role does what it says and no more.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Type } from 'typebox';
import {
  buildHttp,
  type KindDefinition,
  KindRegistry,
  NAMESPACES,
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
  for (const kind of [NAMESPACES, BOXES, KEYS]) registry.register(kind as KindDefinition);
  const store = new MemoryObjectStore();
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
