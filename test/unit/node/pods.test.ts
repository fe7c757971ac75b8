import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EVERYTHING, StoreBackend } from '../../../src/apiserver/index.ts';
import { POD, type Pod } from '../../../src/kinds/index.ts';
import { PodKeeper } from '../../../src/node/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

const apiServer = { component: 'maya-apiserver' };
const target = { component: 'cstor-target', volume: 'db' };
const other = { component: 'cstor-target', volume: 'other' };

/** A node with its pods; `restart` begins anew over what there is, some minutes later. */
function aNode() {
  const store = new MemoryObjectStore();
  const backend = new StoreBackend(store, POD);
  let startMs = Date.parse('2026-01-01T00:00:00Z');
  const keeper = () => {
    const now = new Date(startMs);
    startMs += 300_000;
    const address = '192.0.2.1';
    return new PodKeeper({ backend, nodeName: 'n', address, version: '1', now: () => now });
  };
  const pods = async (): Promise<Map<string, Pod>> => {
    const { items } = await backend.list(null, EVERYTHING);
    return new Map((items as Pod[]).map((pod) => [pod.metadata.name, pod]));
  };
  return { keeper, pods };
}

test('a node that is started again keeps the pods of what it is about to serve, and counts the restart', async () => {
  const { keeper, pods } = aNode();
  await keeper().agree([apiServer, target, other]);
  const before = (await pods()).get('db-target')!;
  const again = keeper();
  await again.agree([apiServer], [target]);
  assert.deepEqual([...(await pods()).keys()].sort(), ['db-target', 'maya-apiserver-n']);
  assert.deepEqual((await pods()).get('db-target'), before, 'nothing was written yet');
  await again.agree([apiServer, target], []);
  const after = (await pods()).get('db-target')!;
  assert.equal(after.metadata.uid, before.metadata.uid);
  assert.equal(after.status?.containerStatuses?.[0]?.restartCount, 1);
  assert.notEqual(after.status?.startTime, before.status?.startTime);
});

test('what was to come back and does not is not shown for ever', async () => {
  const { keeper, pods } = aNode();
  await keeper().agree([apiServer, target]);
  const again = keeper();
  await again.agree([apiServer], [target]);
  await again.agree([apiServer], []);
  assert.deepEqual([...(await pods()).keys()], ['maya-apiserver-n']);
});
