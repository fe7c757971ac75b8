// Goal: the witness of a volume with two copies is on a node where neither of them is, also after a node is drained or
// gone for good; where there is no such node that is said; it goes when it is no longer wanted, or the volume is.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CLAIM,
  CSTOR_VOLUME_REPLICA,
  NODE,
  REPLICA,
  type Replica,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  VOLUME,
  VOLUME_POLICY,
} from '../../../src/kinds/index.ts';
import { aClaim, spc, storageClass } from './manifests.ts';
import { World } from './world.ts';

async function aWorld(nodes: number): Promise<World> {
  const world = new World();
  await world.start();
  for (let index = 1; index <= nodes; index += 1) await world.addNode(`node-${index}`);
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  const annotations = {
    ...storageClass.metadata.annotations,
    'cas.openebs.io/config':
      '- name: StoragePoolClaim\n  value: "cstor-disk-pool"\n- name: ReplicaCount\n  value: "2"\n- name: Witness\n  value: "on"\n',
  };
  await world.server.create(STORAGE_CLASS, {
    ...storageClass,
    metadata: { ...storageClass.metadata, annotations },
  });
  await world.settle();
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  return world;
}

async function theVolume(world: World) {
  const claim = await world.get(CLAIM, 'cstor-pvc', 'default');
  assert.equal(claim?.status?.phase, 'Bound', JSON.stringify(claim?.status));
  const volume = await world.get(VOLUME, claim.spec.volumeName ?? '');
  assert.ok(volume !== null);
  const said = volume.status?.conditions?.find(({ type }) => type === 'Healthy')?.message ?? '';
  return { volume, said };
}

/** Where copies and witness are; none of what is being deleted. */
async function places(world: World): Promise<{ copies: string[]; witnesses: string[] }> {
  const all = (await world.all(REPLICA)).filter(
    ({ metadata }) => metadata.deletionTimestamp === undefined,
  );
  const nodes = (is: (replica: Replica) => boolean): string[] =>
    all
      .filter(is)
      .map(({ spec }) => spec.nodeName)
      .sort();
  return {
    copies: nodes(({ spec }) => spec.witness !== true),
    witnesses: nodes(({ spec }) => spec.witness === true),
  };
}

async function patch(world: World, kind: unknown, name: string, spec: object): Promise<void> {
  await world.server.patch(kind as typeof NODE, null, name, { type: 'merge', body: { spec } });
}

function allApart({ copies, witnesses }: Awaited<ReturnType<typeof places>>): void {
  assert.equal(copies.length, 2);
  assert.equal(witnesses.length, 1);
  assert.equal(new Set([...copies, ...witnesses]).size, 3, `${copies} and ${witnesses}`);
}

test('two copies and a witness are on three nodes; the witness counts for no copy', async () => {
  const world = await aWorld(3);
  const { volume, said } = await theVolume(world);
  const found = await places(world);
  allApart(found);
  assert.equal(volume.status?.state, 'Healthy');
  assert.equal(said, `2 of 2 replicas in sync, a witness on ${found.witnesses[0]}`);
  assert.deepEqual(volume.status.replicas, { wanted: 2, placed: 2, inSync: 2 });
  assert.ok(found.copies.includes(volume.status.target?.nodeName ?? ''), 'served where data is');
  assert.equal((await world.all(CSTOR_VOLUME_REPLICA)).length, 2);
  const witness = (await world.all(REPLICA)).find(({ spec }) => spec.witness === true);
  const cell = (name: string) => REPLICA.columns?.find((one) => one.name === name)?.value(witness!);
  assert.equal(cell('Status'), 'Witness');
  assert.equal(cell('Role'), 'witness');
  await world.server.delete(CLAIM, 'default', 'cstor-pvc');
  await world.settle();
  assert.equal((await world.all(REPLICA)).length, 0);
  for (const { stores } of world.nodes.values()) assert.equal(stores.size, 0);
});

test('without a third node it is said, and made when one comes, though that has no pool of devices', async () => {
  const world = await aWorld(2);
  const { volume, said } = await theVolume(world);
  assert.equal(volume.status?.state, 'Degraded');
  assert.match(said, /^2 of 2 replicas in sync; its witness has no place: a third node/);
  await world.addNode('node-3', 0);
  await world.settle();
  allApart(await places(world));
  assert.equal((await theVolume(world)).volume.status?.state, 'Healthy');
});

test('a drained node gives its witness away before it loses it', async () => {
  const world = await aWorld(4);
  const before = await places(world);
  let least = 1;
  world.afterWrite = async () => {
    least = Math.min(least, (await world.all(REPLICA)).filter(({ spec }) => spec.witness).length);
  };
  await patch(world, NODE, before.witnesses[0]!, { unschedulable: true, drain: true });
  await world.settle();
  const after = await places(world);
  allApart(after);
  assert.notDeepEqual(after.witnesses, before.witnesses);
  assert.deepEqual(after.copies, before.copies);
  assert.equal(least, 1);
  assert.equal((await theVolume(world)).volume.status?.state, 'Healthy');
});

test('a node that is gone for good leaves its witness to another', async () => {
  const world = await aWorld(4);
  const [gone = ''] = (await places(world)).witnesses;
  world.nodes.get(gone)!.alive = false;
  await world.pass(8_000);
  const { volume, said } = await theVolume(world);
  assert.equal(volume.status?.state, 'Degraded');
  assert.match(said, new RegExp(`its witness on ${gone} is Offline`));
  await world.pass(70_000);
  const after = await places(world);
  allApart(after);
  assert.ok(!after.witnesses.includes(gone));
  assert.equal((await theVolume(world)).volume.status?.state, 'Healthy');
});

test('a copy that has no other place goes to the witness, which goes on when there is a node for it', async () => {
  const world = await aWorld(3);
  const { copies, witnesses } = await places(world);
  const [gone = ''] = copies;
  world.nodes.get(gone)!.alive = false;
  await world.pass(80_000);
  const crowded = await places(world);
  assert.deepEqual(crowded.copies, [copies[1], witnesses[0]].sort());
  assert.deepEqual(crowded.witnesses, witnesses);
  const { volume, said } = await theVolume(world);
  assert.match(said, /its witness shares node-\d with a replica/);
  assert.equal(volume.status?.state, 'Degraded', 'one node takes two of three votes along');
  await world.addNode('node-4');
  await world.settle();
  await world.pass(5_000);
  allApart(await places(world));
});

test('with three copies it is not wanted, and it goes when the third is there', async () => {
  const world = await aWorld(4);
  const { volume } = await theVolume(world);
  const { name } = volume.metadata;
  await assert.rejects(
    patch(world, VOLUME, name, { replicaCount: 3 }),
    /spec\.witness: goes with replicaCount 2, and that is 3/,
  );
  await patch(world, VOLUME, name, { replicaCount: 3, witness: null });
  await world.settle();
  const { copies, witnesses } = await places(world);
  assert.deepEqual([copies.length, witnesses.length], [3, 0]);
  await patch(world, VOLUME, name, { replicaCount: 2, witness: true });
  await world.settle();
  allApart(await places(world));
});

test('a policy may ask for it; a volume that does not say how many copies may not', async () => {
  const world = await aWorld(3);
  await world.server.create(VOLUME_POLICY, {
    metadata: { name: 'pair' },
    spec: { replicaCount: 2, witness: true },
  });
  const spec = { size: '1Gi', storagePoolClaim: 'cstor-disk-pool' };
  await assert.rejects(
    world.server.create(VOLUME, { metadata: { name: 'bad' }, spec: { ...spec, witness: true } }),
    /spec\.witness: goes with replicaCount 2; say that, too/,
  );
  await world.server.create(VOLUME, { metadata: { name: 'v' }, spec: { ...spec, policy: 'pair' } });
  await world.settle();
  const mine = (await world.all(REPLICA)).filter(({ spec: { volumeName } }) => volumeName === 'v');
  assert.equal(mine.filter((replica) => replica.spec.witness === true).length, 1);
  assert.equal(mine.length, 3);
});
