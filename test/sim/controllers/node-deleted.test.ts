// Goal: whoever deletes a Node while a volume is being scaled onto that node loses nothing and leaves nothing behind: the volume gets
// its replicas elsewhere, the copy that it had stays where it is, and no object waits for a node that there is not.
// Method: the Node is deleted after each single write that controllers do for the scaling, once with its machine gone for good,
// once while it runs on and registers anew, as the real one does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BLOCK_DEVICE,
  NODE,
  POOL,
  REPLICA,
  STORAGE_POOL_CLAIM,
  VOLUME,
} from '../../../src/kinds/index.ts';
import { spc } from './manifests.ts';
import { World } from './world.ts';

/** Four nodes, and a volume with one replica. */
async function aWorld(): Promise<{ world: World; home: string; store: string }> {
  const world = new World();
  await world.start();
  for (let index = 1; index <= 4; index += 1) await world.addNode(`node-${index}`);
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  await world.settle();
  const spec = { size: '1Gi', replicaCount: 1, storagePoolClaim: 'cstor-disk-pool' };
  await world.server.create(VOLUME, { metadata: { name: 'db' }, spec });
  await world.settle();
  const [replica] = await world.all(REPLICA);
  assert.ok(replica !== undefined);
  const { nodeName, poolName } = replica.spec;
  return { world, home: nodeName, store: `${poolName}/db` };
}

/** Where the volume is about to get a replica; before that is decided, any other node. */
async function victimOf(world: World, home: string): Promise<string> {
  const newcomers = (await world.all(REPLICA)).filter(({ spec }) => spec.nodeName !== home);
  const others = [...world.nodes.keys()].filter((name) => name !== home);
  return newcomers.at(-1)?.spec.nodeName ?? others[0]!;
}

/** False: the scaling takes fewer writes. */
async function deleteAt(write: number, comesBack: boolean): Promise<boolean> {
  const { world, home, store } = await aWorld();
  const what = `after write ${write}, ${comesBack ? 'running on' : 'gone'}`;
  const at = world.writes + write;
  let victim = '';
  world.afterWrite = async () => {
    assert.ok(world.nodes.get(home)!.stores.has(store), `${what}: its one copy is gone`);
    if (victim !== '' || world.writes < at) return;
    victim = await victimOf(world, home);
    if (!comesBack) world.nodes.get(victim)!.alive = false;
    await world.server.delete(NODE, null, victim);
  };
  const body = { spec: { replicaCount: 3 } };
  await world.server.patch(VOLUME, null, 'db', { type: 'merge', body });
  await world.pass(5000);
  if (victim === '') {
    world.stop();
    return false;
  }
  if (comesBack) await world.server.create(NODE, { metadata: { name: victim }, spec: {} });
  await world.pass(100_000);
  world.afterWrite = null;
  await world.pass(10_000);
  const replicas = await world.all(REPLICA);
  const nodes = new Set(replicas.map(({ spec }) => spec.nodeName));
  assert.equal(replicas.length, 3, what);
  assert.equal(nodes.size, 3, what);
  assert.ok(nodes.has(home), what);
  assert.equal((await world.get(VOLUME, 'db'))?.status?.state, 'Healthy', what);
  for (const [name, node] of world.nodes) {
    if (!node.alive) continue; // What a machine that is gone holds is swept when it comes back.
    for (const held of node.stores) {
      const known = replicas.some(
        ({ spec }) => spec.nodeName === name && `${spec.poolName}/${spec.volumeName}` === held,
      );
      assert.ok(known, `${what}: ${held} on ${name} is nobody's`);
    }
  }
  if (!comesBack) {
    const left = [...(await world.all(POOL)), ...(await world.all(BLOCK_DEVICE)), ...replicas];
    const named = left.filter(({ spec }) => spec.nodeName === victim);
    assert.deepEqual(
      named.map(({ metadata }) => metadata.name),
      [],
      what,
    );
  }
  world.stop();
  return true;
}

for (const comesBack of [false, true]) {
  const how = comesBack ? 'it runs on and registers anew' : 'its machine is gone for good';
  test(`a node is deleted while a volume is scaled onto it, and ${how}`, async () => {
    let writes = 0;
    while (writes < 60 && (await deleteAt(writes + 1, comesBack))) writes += 1;
    assert.ok(writes >= 4, `there were ${writes} writes`);
  });
}
