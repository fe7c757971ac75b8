// Goal: what only time or the end of an object brings about is noticed, though no other object changes meanwhile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BLOCK_DEVICE,
  NODE,
  POOL,
  REPLICA,
  type Replica,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import { World } from './world.ts';

const NODES = ['node-1', 'node-2', 'node-3', 'node-4'];

/** Nodes of one pool each, and a volume with three replicas that is served. */
async function aWorld(): Promise<{ world: World; replicas: readonly Replica[] }> {
  const world = new World();
  await world.start();
  for (const nodeName of NODES) {
    await world.addNode(nodeName);
    const device = (await world.all(BLOCK_DEVICE)).find(({ spec }) => spec.nodeName === nodeName);
    await world.server.create(POOL, {
      metadata: { name: `p-${nodeName}`, finalizers: ['ashlar.io/pool'] },
      spec: { nodeName, layout: 'stripe', devices: [device?.metadata.name ?? ''] },
    });
  }
  await world.settle();
  await world.server.create(VOLUME, {
    metadata: { name: 'v' },
    spec: { size: '1Gi', replicaCount: 3 },
  });
  await world.settle();
  await world.patchStatus(VOLUME, 'v', { mode: 'replicated', made: true });
  await world.settle();
  return { world, replicas: await world.all(REPLICA) };
}

/** Time goes by for the controllers alone: no node tells of anything, which would have them look. */
async function wait(world: World, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 500) {
    world.clock.advance(500);
    for (const [name, { alive }] of world.nodes) {
      world.silences.set(name, alive ? 0 : (world.silences.get(name) ?? 0) + 500);
    }
    for (let turn = 0; turn < 8; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a volume that is well and waits to go from a drained node goes as soon as another one takes something again', async () => {
  const { world, replicas } = await aWorld();
  const holders = replicas.map(({ spec }) => spec.nodeName);
  const spare = NODES.find((name) => !holders.includes(name)) ?? '';
  const change = async (name: string, spec: object): Promise<void> => {
    await world.server.patch(NODE, null, name, { type: 'merge', body: { spec } });
    await wait(world, 2000);
  };
  await change(spare, { unschedulable: true });
  await change(holders[0] ?? '', { drain: true });
  await world.settle();
  const { status } = (await world.get(VOLUME, 'v'))!;
  const says = status?.conditions?.find(({ type }) => type === 'Healthy')?.reason;
  assert.deepEqual([status?.state, says], ['Healthy', 'ReplicasMissing']);
  assert.equal((await world.all(REPLICA)).length, 3);
  await change(spare, { unschedulable: null });
  const nodes = (await world.all(REPLICA)).map(({ spec }) => spec.nodeName);
  assert.ok(nodes.includes(spare), nodes.join(' '));
  world.stop();
});

test('a volume that is deleted while the node that serves it is dead goes from the others once that node is gone', async () => {
  const { world } = await aWorld();
  const serving = (await world.get(VOLUME, 'v'))?.status?.serving?.nodeName ?? '';
  world.nodes.get(serving)!.alive = false;
  await world.server.delete(VOLUME, null, 'v');
  await wait(world, 50_000);
  assert.equal((await world.get(VOLUME, 'v'))?.status?.serving?.nodeName, serving);
  await wait(world, 15_000);
  const volume: Volume | null = await world.get(VOLUME, 'v');
  assert.equal(volume?.status?.serving, undefined);
  const live = (await world.all(REPLICA)).filter((r) => r.metadata.deletionTimestamp === undefined);
  assert.deepEqual(live, []);
  world.stop();
});

test('a replica that was never made is placed elsewhere when the object of its pool is gone', async () => {
  const { world, replicas } = await aWorld();
  const [first] = replicas;
  const pool = first?.spec.poolName ?? '';
  await world.patchStatus(REPLICA, first?.metadata.name ?? '', { phase: 'Pending', storeId: null });
  await wait(world, 2000);
  const key = `/ashlar.io/pools/-/${pool}`;
  await world.store.delete(key, (await world.store.get(key))?.revision ?? 0);
  await wait(world, 5000);
  const pools = (await world.all(REPLICA)).map(({ spec }) => spec.poolName);
  assert.equal(new Set([...pools, pool]).size, 4, pools.join(' '));
  world.stop();
});
