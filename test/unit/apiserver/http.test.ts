// Goal: what stands around the objects is as Kubernetes' clients expect it: warnings, versions, refusals.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { aWidget } from './builders.ts';
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
