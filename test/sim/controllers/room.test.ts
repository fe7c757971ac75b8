// Goal: a volume that waits for room is looked at when there may be some, and no volume because a pool has a little more or
// less on it: of a thousand volumes each pool tells that every few seconds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  POOL,
  REPLICA,
  STORAGE_POOL_CLAIM,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import { spc } from './manifests.ts';
import { World } from './world.ts';

/** One node with one pool, which may promise 1,000 GiB. */
async function aWorld(): Promise<{ world: World; pool: string }> {
  const world = new World();
  await world.start();
  await world.addNode('node-1');
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  await world.settle();
  const pools = await world.all(POOL);
  const pool = pools.find(({ spec }) => spec.directory === undefined)?.metadata.name ?? '';
  return { world, pool };
}

async function make(world: World, name: string, spec: object): Promise<Volume> {
  const storagePoolClaim = 'cstor-disk-pool';
  await world.server.create(VOLUME, { metadata: { name }, spec: { storagePoolClaim, ...spec } });
  await world.settle();
  return (await world.get(VOLUME, name))!;
}

/** Writes, as they come from hosts. */
async function use(world: World, pool: string): Promise<void> {
  for (let round = 1; round <= 5; round += 1) {
    await world.patchStatus(POOL, pool, { freeBytes: (90 - round) * 2 ** 30 });
    // Not `settle`: the nodes of this world would tell their own figures again.
    for (let turn = 0; turn < 8; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

test('what hosts write to a pool has no volume looked at, be it served, waiting for a quorum, or for a place', async () => {
  const { world, pool } = await aWorld();
  await make(world, 'well', { size: '1Gi', replicaCount: 1 });
  await make(world, 'lacking', { size: '1Gi', replicaCount: 3 });
  await make(world, 'gathering', { size: '1Gi', replicaCount: 1 });
  const conditions = [
    { type: 'Served', status: 'False', reason: 'NoQuorum', message: 'gathering' },
  ];
  await world.patchStatus(VOLUME, 'gathering', { conditions });
  await world.settle();
  assert.equal((await world.get(VOLUME, 'gathering'))?.status?.state, 'Offline');
  const before = new Map(world.looks);
  await use(world, pool);
  for (const name of ['well', 'lacking', 'gathering']) {
    assert.equal(world.looks.get(`volumes ${name}`), before.get(`volumes ${name}`), name);
  }
  world.stop();
});

test('a volume that waits for room gets it at once when another one is gone', async () => {
  const { world } = await aWorld();
  await make(world, 'first', { size: '600Gi', replicaCount: 1 });
  const waiting = await make(world, 'second', { size: '600Gi', replicaCount: 1 });
  const said = waiting.status?.conditions?.find(({ type }) => type === 'Healthy')?.message ?? '';
  assert.match(said, /has promised/);
  await world.server.delete(VOLUME, null, 'first');
  await world.settle();
  const replicas = await world.all(REPLICA);
  assert.deepEqual(
    replicas.map(({ spec }) => spec.volumeName),
    ['second'],
  );
  world.stop();
});

test('a volume that waits for room gets it when its pool may promise more', async () => {
  const { world, pool } = await aWorld();
  await make(world, 'large', { size: '1200Gi', replicaCount: 1 });
  assert.deepEqual(await world.all(REPLICA), []);
  const body = { spec: { overcommit: 20 } };
  await world.server.patch(POOL, null, pool, { type: 'merge', body });
  await world.settle();
  assert.equal((await world.all(REPLICA)).length, 1);
  world.stop();
});
