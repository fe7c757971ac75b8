// Goal: who one is and what one may do is answered as Kubernetes' API server answers it, is found by discovery, and is
// kept nowhere.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { buildHttp, TokenAccess } from '../../../src/apiserver/index.ts';
import { aServer } from './builders.ts';

const TOKENS = {
  read: 'r'.repeat(20),
  operate: 'o'.repeat(20),
  admin: 'a'.repeat(20),
} as const;
type Who = keyof typeof TOKENS;
let app: FastifyInstance;
let open: FastifyInstance;
before(async () => {
  const { server } = await aServer();
  const accounts = (Object.keys(TOKENS) as Who[]).map((role) => ({
    name: `the-${role}`,
    role,
    token: TOKENS[role],
  }));
  const options = { server, version: '0.1.0', loopbackOnly: false };
  app = await buildHttp({ ...options, access: new TokenAccess(accounts) });
  open = await buildHttp({ ...options, access: null });
});
after(() => Promise.all([app.close(), open.close()]));

async function ask(who: Who | null, path: string, body: object) {
  const answer = await (who === null ? open : app).inject({
    method: 'POST',
    url: `/apis/${path}`,
    payload: body,
    ...(who === null ? {} : { headers: { authorization: `Bearer ${TOKENS[who]}` } }),
  });
  return { code: answer.statusCode, body: answer.json(), text: answer.body };
}

const AUTHORIZATION = 'authorization.k8s.io/v1';
const ACCESS = `${AUTHORIZATION}/selfsubjectaccessreviews`;
const mayI = (verb: string, resource: string, group = 'example.com') => ({
  spec: { resourceAttributes: { namespace: 'default', verb, resource, group } },
});

test('everybody may ask what he may do', async () => {
  const may = async (who: Who | null, verb: string, resource: string, group?: string) => {
    const { code, body } = await ask(who, ACCESS, mayI(verb, resource, group));
    assert.equal(code, 201);
    assert.equal(body.kind, 'SelfSubjectAccessReview');
    assert.equal(body.spec.resourceAttributes.verb, verb);
    return body.status.allowed;
  };
  assert.equal(await may('read', 'list', 'widgets'), true);
  assert.equal(await may('read', 'create', 'widgets'), false);
  assert.equal(await may('operate', 'create', 'widgets'), true);
  assert.equal(await may('operate', '*', '*', '*'), false);
  assert.equal(await may('admin', 'create', 'tokenreviews', 'authentication.k8s.io'), true);
  assert.equal(await may('operate', 'create', 'tokenreviews', 'authentication.k8s.io'), false);
  assert.equal(
    await may('read', 'create', 'selfsubjectaccessreviews', 'authorization.k8s.io'),
    true,
  );
  assert.equal(await may('admin', 'list', 'widgits'), false);
  assert.equal(await may('admin', 'list', '*', '*'), true, 'what can be listed');
  assert.equal(await may('admin', 'juggle', '*', '*'), false);
  assert.equal(await may('admin', 'list', 'tokenreviews', 'authentication.k8s.io'), false);
  assert.equal(await may(null, 'delete', 'widgets'), true);
  const beside = { spec: { nonResourceAttributes: { path: '/metrics', verb: 'get' } } };
  assert.equal((await ask('read', ACCESS, beside)).body.status.allowed, true);
  const nothing = await ask('read', ACCESS, { spec: {} });
  assert.deepEqual(
    [nothing.code, nothing.body.details.causes[0].field],
    [422, 'spec.resourceAttributes'],
  );
});

test('all that one may do comes as rules', async () => {
  const { body } = await ask('read', `${AUTHORIZATION}/selfsubjectrulesreviews`, {
    spec: { namespace: 'default' },
  });
  const rules = body.status.resourceRules as { resources: string[]; verbs: string[] }[];
  const verbsFor = (resource: string) =>
    rules.find(({ resources }) => resources.includes(resource))?.verbs;
  assert.deepEqual(verbsFor('widgets'), ['get', 'list', 'watch']);
  assert.deepEqual(verbsFor('selfsubjectreviews'), ['create']);
  assert.equal(verbsFor('tokenreviews'), undefined);
});

test('an administrator asks for others, by name or by role', async () => {
  const about = (spec: object) =>
    ask('admin', `${AUTHORIZATION}/subjectaccessreviews`, {
      spec: { ...mayI('create', 'widgets').spec, ...spec },
    });
  assert.equal((await about({ user: 'the-operate' })).body.status.allowed, true);
  assert.equal((await about({ user: 'the-read' })).body.status.allowed, false);
  assert.equal((await about({ user: 'x', groups: ['ashlar:admin'] })).body.status.allowed, true);
  const nobody = await about({ user: 'nobody' });
  assert.equal(nobody.body.status.allowed, false);
  assert.match(nobody.body.status.reason, /nobody has that name/);
  const local = `${AUTHORIZATION}/namespaces/default/localsubjectaccessreviews`;
  const spec = { ...mayI('get', 'widgets').spec, user: 'the-read' };
  assert.equal((await ask('admin', local, { spec })).body.status.allowed, true);
  const refused = await ask('operate', `${AUTHORIZATION}/subjectaccessreviews`, { spec });
  assert.equal(refused.code, 403);
});

test('a token is known or not, and is never sent back', async () => {
  const path = 'authentication.k8s.io/v1/tokenreviews';
  const known = await ask('admin', path, { spec: { token: TOKENS.read } });
  assert.equal(known.code, 201);
  assert.equal(known.body.status.authenticated, true);
  assert.equal(known.body.status.user.username, 'the-read');
  assert.ok(known.body.status.user.groups.includes('ashlar:read'));
  assert.ok(!known.text.includes(TOKENS.read));
  const unknown = await ask('admin', path, { spec: { token: 'z'.repeat(20) } });
  assert.equal(unknown.body.status.authenticated, false);
  assert.equal((await ask('operate', path, { spec: { token: 'x' } })).code, 403);
  assert.equal((await ask(null, path, { spec: { token: 'x' } })).body.status.authenticated, false);
});

test('one is told who one is, in every version that there has been', async () => {
  for (const version of ['v1', 'v1beta1', 'v1alpha1']) {
    const path = `authentication.k8s.io/${version}/selfsubjectreviews`;
    const { code, body } = await ask('operate', path, {});
    assert.equal(code, 201);
    assert.equal(body.apiVersion, `authentication.k8s.io/${version}`);
    assert.equal(body.status.userInfo.username, 'the-operate');
  }
  const misspelt = { spec: { resourceAttribute: {} } };
  assert.match((await ask('read', ACCESS, misspelt)).body.message, /unknown field/);
});

test('discovery tells of them, and nothing but create is done with them', async () => {
  const headers = { authorization: `Bearer ${TOKENS.read}` };
  const groups = (await app.inject({ url: '/apis', headers })).json().groups;
  const names = groups.map(({ name }: { name: string }) => name);
  for (const name of ['authorization.k8s.io', 'authentication.k8s.io', 'events.k8s.io']) {
    assert.ok(names.includes(name), name);
  }
  const { resources } = (await app.inject({ url: `/apis/${AUTHORIZATION}`, headers })).json();
  assert.deepEqual(
    resources.map((one: { name: string; verbs: string[] }) => [one.name, one.verbs]),
    [
      ['selfsubjectaccessreviews', ['create']],
      ['selfsubjectrulesreviews', ['create']],
      ['subjectaccessreviews', ['create']],
      ['localsubjectaccessreviews', ['create']],
    ],
  );
  assert.equal((await app.inject({ url: `/apis/${ACCESS}`, headers })).statusCode, 405);
  assert.equal((await app.inject({ url: `/apis/${ACCESS}/x`, headers })).statusCode, 405);
  assert.equal((await app.inject({ method: 'POST', url: `/apis/${ACCESS}` })).statusCode, 401);
});
