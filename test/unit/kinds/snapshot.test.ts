// Goal: a Snapshot that cannot be had is refused by the field that is wrong.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, KindRegistry, ResourceServer } from '../../../src/apiserver/index.ts';
import { silentLog } from '../../../src/base/index.ts';
import { allKinds, SNAPSHOT, VOLUME } from '../../../src/kinds/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

function fields(error: unknown): string[] {
  assert.ok(error instanceof ApiError);
  return (error.details?.causes ?? []).map(({ field }) => String(field));
}

test('it names volumes that there are, each once, and for good', async () => {
  const store = new MemoryObjectStore();
  const registry = new KindRegistry();
  for (const kind of allKinds(store)) registry.register(kind);
  const now = (): Date => new Date();
  const server = new ResourceServer({ registry, store, log: silentLog, now });
  const take = (name: string, spec: object) =>
    server.create(SNAPSHOT, { metadata: { name }, spec } as never);
  for (const name of ['a', 'b']) {
    await server.create(VOLUME, { metadata: { name }, spec: { size: '16Mi' } } as never);
  }
  await assert.rejects(take('s', { volumeName: 'x', alsoVolumes: ['a', 'y'] }), (error) => {
    assert.deepEqual(fields(error), ['spec.volumeName', 'spec.alsoVolumes[1]']);
    return true;
  });
  await assert.rejects(take('s', { volumeName: 'a', alsoVolumes: ['a'] }), /names a volume twice/);
  await take('s', { volumeName: 'a' });
  const body = { spec: { volumeName: 'b' } };
  await assert.rejects(
    async () => await server.patch(SNAPSHOT, null, 's', { type: 'merge', body }),
    /spec\.volumeName: is fixed at creation/,
  );
});
