// Goal: volumes of which a group of snapshots is to be taken are coordinated by one node when it is, and none is pulled to
// and fro between two groups.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SNAPSHOT, STORAGE_POOL_CLAIM, VOLUME } from '../../../src/kinds/index.ts';
import { spc } from './manifests.ts';
import { World } from './world.ts';

test('volumes of a group come to the node of its first, once, also where two groups name the same', async () => {
  const world = new World();
  await world.start();
  for (let index = 1; index <= 3; index += 1) await world.addNode(`node-${index}`);
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  await world.settle();
  const names = ['a', 'b', 'c'];
  for (const name of names) {
    const spec = { size: '1Gi', replicaCount: 3, storagePoolClaim: 'cstor-disk-pool' };
    await world.server.create(VOLUME, { metadata: { name }, spec });
    await world.settle();
    await world.patchStatus(VOLUME, name, { mode: 'replicated', made: true });
  }
  const targets = async () => {
    const volumes = await Promise.all(names.map((name) => world.get(VOLUME, name)));
    return volumes.map((volume) => volume?.status?.target);
  };
  const before = await targets();
  assert.equal(new Set(before.map((target) => target?.nodeName)).size, 3, 'by load, each its own');
  world.takesGroups = false;
  const group = async (name: string, volumeName: string, alsoVolumes: string[]) => {
    await world.server.create(SNAPSHOT, { metadata: { name }, spec: { volumeName, alsoVolumes } });
    await world.settle();
  };
  await group('a.g', 'a', ['b']);
  await group('b.g2', 'b', ['a', 'c']);
  const together = await targets();
  assert.deepEqual(
    together.map((target) => target?.nodeName),
    Array.from({ length: 3 }, () => before[0]?.nodeName),
  );
  assert.deepEqual(
    together.map((target) => target?.epoch),
    [1, 2, 2],
  );
  world.takesGroups = true;
  await world.settle();
  assert.deepEqual(await targets(), together, 'they stay');
  world.stop();
});
