// Goal: a secret that is marked as one never changes its content, and its keys are such as programs can name files by.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, KindRegistry, ResourceServer } from '../../../src/apiserver/index.ts';
import { silentLog } from '../../../src/base/index.ts';
import { SECRET, type Secret } from '../../../src/kinds/core.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

function aServer(): ResourceServer {
  const registry = new KindRegistry();
  registry.register(SECRET);
  const store = new MemoryObjectStore();
  return new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
}

const names =
  (...fields: string[]) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ApiError && error.reason === 'Invalid', String(error));
    const found = (error.details.causes ?? []).map(({ field }) => field);
    assert.deepEqual(found, fields);
    return true;
  };

test('an immutable secret stays as it is, but for its metadata', async () => {
  const server = aServer();
  const sent = { metadata: { name: 's' }, immutable: true, stringData: { a: 'x' } };
  const made = await server.create<Secret>(SECRET, sent);
  const data = { ...made.data, b: 'eA==' };
  await assert.rejects(server.update(SECRET, { ...made, data }), names('data'));
  await assert.rejects(server.update(SECRET, { ...made, immutable: false }), names('immutable'));
  const labels = { a: 'b' };
  const labelled = { ...made, metadata: { ...made.metadata, labels } };
  assert.deepEqual((await server.update(SECRET, labelled)).metadata.labels, labels);
});

test('keys are names of files', async () => {
  const sent = { metadata: { name: 's' }, stringData: { 'a/b': 'x', '.ok-1': 'x' } };
  await assert.rejects(aServer().create(SECRET, sent), names('data[a/b]'));
});

test('a key that was kept before there was a rule stands against no change of the others', async () => {
  const before = { metadata: { name: 's' }, type: 'Opaque', data: { 'a/b': 'eA==' } };
  const refused = async (data: object) => {
    const changed = { ...before, data } as unknown as Secret;
    const causes = await SECRET.validate?.(changed, before as unknown as Secret, {} as never);
    return causes?.map(({ field }) => field);
  };
  assert.deepEqual(await refused({ 'a/b': 'eQ==', c: 'eA==' }), []);
  assert.deepEqual(await refused({ 'a/b': 'eA==', 'c/d': 'eA==' }), ['data[c/d]']);
});
