// Goal: a volume of one replica is told whether others would have a place, by all that stands against one; its snapshots stay
// while the replica that holds them is there; and a node that is drained serves it until others have it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CLAIM,
  EXTERNAL_SNAPSHOT,
  NODE,
  POOL,
  REPLICA,
  SNAPSHOT,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import { aClaim, spc, storageClass, volumeSnapshot } from './manifests.ts';
import { World } from './world.ts';

/** Three nodes, and a volume that has one replica and is kept so. */
async function aSingle(): Promise<{ world: World; volume: Volume }> {
  const world = new World();
  await world.start();
  for (let index = 1; index <= 3; index += 1) await world.addNode(`node-${index}`);
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  const one = structuredClone(storageClass);
  one.metadata.annotations['cas.openebs.io/config'] =
    '- name: StoragePoolClaim\n  value: cstor-disk-pool\n- name: ReplicaCount\n  value: "1"\n';
  await world.server.create(STORAGE_CLASS, one);
  await world.settle();
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const [volume] = await world.all(VOLUME);
  const [replica] = await world.all(REPLICA);
  assert.ok(volume !== undefined && replica !== undefined);
  await world.patchStatus(VOLUME, volume.metadata.name, {
    mode: 'single',
    members: [{ id: `r-${replica.metadata.uid}`, replica: replica.metadata.name }],
  });
  await world.settle();
  return { world, volume };
}

async function scale(world: World, name: string, replicaCount: number) {
  const body = { spec: { replicaCount } };
  await world.server.patch(VOLUME, null, name, { type: 'merge', body });
  await world.settle();
  return (await world.get(VOLUME, name))?.status?.replicas;
}

test('places for others are counted as for any volume', async () => {
  const { world, volume } = await aSingle();
  const { name } = volume.metadata;
  assert.equal((await scale(world, name, 1))?.places, undefined);
  assert.equal((await scale(world, name, 3))?.places, 2);
  // Pools that must not promise so much are no places.
  const [only] = await world.all(REPLICA);
  for (const { metadata } of await world.all(POOL)) {
    if (metadata.name === only?.spec.poolName) continue;
    const body = { spec: { overcommit: 1 } };
    await world.server.patch(POOL, null, metadata.name, { type: 'merge', body });
  }
  const body = { spec: { size: '200Gi' } };
  await world.server.patch(VOLUME, null, name, { type: 'merge', body });
  await world.settle();
  assert.equal((await scale(world, name, 2))?.places, undefined);
  assert.equal((await world.all(REPLICA)).length, 1);
});

test('a snapshot stays with the one replica that holds it, while that is there and somebody else is gone', async () => {
  const { world, volume } = await aSingle();
  const { name } = volume.metadata;
  await world.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await world.settle();
  assert.equal((await world.all(SNAPSHOT)).length, 1);
  const [only] = await world.all(REPLICA);
  const other = [...world.nodes.keys()].find((node) => node !== only?.spec.nodeName) ?? '';
  const [pool] = (await world.all(POOL)).filter(
    ({ spec }) => spec.nodeName === other && spec.directory === undefined,
  );
  world.nodes.get(other)!.alive = false;
  await world.pass(500);
  // One that was placed and never became a member.
  const { labels, finalizers } = only!.metadata;
  await world.server.create(REPLICA, {
    metadata: { name: 'extra', labels, finalizers },
    spec: { ...only!.spec, nodeName: other, poolName: pool!.metadata.name },
  });
  await world.pass(70_000);
  // Its node is away for a while.
  world.nodes.get(only!.spec.nodeName)!.alive = false;
  await world.server.delete(EXTERNAL_SNAPSHOT, 'default', 'snapshot-cstor');
  await world.server.delete(CLAIM, 'default', 'cstor-pvc');
  await world.pass(2000);
  assert.ok((await world.get(VOLUME, name))?.metadata.deletionTimestamp !== undefined);
  await world.server.delete(NODE, null, other);
  await world.pass(20_000);
  assert.equal(await world.get(REPLICA, 'extra'), null, 'the node is forgotten');
  const left = await world.all(SNAPSHOT);
  assert.equal(left.length, 1, 'its node deletes it when it is back');
  world.nodes.get(only!.spec.nodeName)!.alive = true;
  await world.pass(20_000);
  assert.deepEqual([await world.all(SNAPSHOT), await world.get(VOLUME, name)], [[], null]);
});

async function patchNode(world: World, name: string, spec: object): Promise<void> {
  await world.server.patch(NODE, null, name, { type: 'merge', body: { spec } });
}

test('a drained node serves what only it has, and is told that there is a place for it elsewhere', async () => {
  const { world, volume } = await aSingle();
  const { name } = volume.metadata;
  const [only] = await world.all(REPLICA);
  assert.ok(only !== undefined);
  await patchNode(world, only.spec.nodeName, { unschedulable: true, drain: true });
  await world.settle();
  const { status } = (await world.get(VOLUME, name)) ?? {};
  assert.equal(status?.target?.nodeName, only.spec.nodeName);
  assert.equal(status?.serving?.nodeName, only.spec.nodeName);
  assert.equal((await world.all(REPLICA)).length, 1, 'its data is where it was');
  assert.equal(status?.replicas?.places, 1, 'its node may give it a record');
});

test('a drain without room elsewhere takes nothing away, and says why', async () => {
  const { world, volume } = await aSingle();
  const [only] = await world.all(REPLICA);
  assert.ok(only !== undefined);
  for (const { metadata } of await world.all(NODE)) {
    if (metadata.name !== only.spec.nodeName) {
      await patchNode(world, metadata.name, { unschedulable: true });
    }
  }
  await patchNode(world, only.spec.nodeName, { unschedulable: true, drain: true });
  await world.settle();
  const { status } = (await world.get(VOLUME, volume.metadata.name)) ?? {};
  assert.equal(status?.serving?.nodeName, only.spec.nodeName);
  assert.equal((await world.all(REPLICA)).length, 1);
  const said = status?.conditions?.find(({ type }) => type === 'Healthy')?.message ?? '';
  assert.match(said, /^1 of 1 replicas in sync; what it has on node-\d cannot leave: .*cordoned/);
  const events = await world.eventsOf(volume.metadata.name);
  assert.ok(events.some((text) => text.startsWith('Warning ReplicasMissing: ')));
});

test('a pool that nobody can reach is no place for the second replica of a volume that has one', async () => {
  const { world, volume } = await aSingle();
  const [only] = await world.all(REPLICA);
  for (const node of world.nodes.values()) {
    if (node.name !== only?.spec.nodeName) node.isReachable = false;
  }
  await world.settle();
  assert.equal((await scale(world, volume.metadata.name, 3))?.places, undefined);
  const { status } = (await world.get(VOLUME, volume.metadata.name)) ?? {};
  const said = status?.conditions?.find(({ type }) => type === 'Healthy')?.message ?? '';
  assert.match(said, /does not say where its replicas can be reached/);
  for (const node of world.nodes.values()) node.isReachable = true;
  await world.settle();
  assert.equal((await world.get(VOLUME, volume.metadata.name))?.status?.replicas?.places, 2);
});
