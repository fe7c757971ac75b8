// Goal: the witness of two copies may be another one from one record to the next, and come and go beside a third copy;
// what was acknowledged before and after is served by either copy with the vote of the witness that is named then.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Volume } from '../../../src/volume/index.ts';
import { ACluster, BlockOpKind, IoStatus, run } from './cluster.ts';
import { memoryOf } from './whole.ts';

async function put(cluster: ACluster, volume: Volume, lba: number, value: number): Promise<void> {
  const data = cluster.buffers.allocate(4096)!;
  data.bytes.fill(value);
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Write, lba, 1, data, true), IoStatus.Ok);
  data.release();
}

async function get(cluster: ACluster, volume: Volume, lba: number): Promise<number> {
  const data = cluster.buffers.allocate(4096)!;
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Read, lba, 1, data), IoStatus.Ok);
  const [value = -1] = data.bytes;
  data.release();
  return value;
}

const roles = (cluster: ACluster): string =>
  cluster
    .volume!.coordinator.record!.members.map(
      ({ replicaId, witness }) => replicaId + (witness ? ':W' : ''),
    )
    .sort()
    .join(' ');

test('a witness is replaced by another, then by a copy, and comes back; either copy alone serves all', async () => {
  const cluster = await new ACluster(4).start();
  try {
    const [a, b, c, d] = cluster.nodes;
    await cluster.makeVolume(64, 3, { witness: true });
    cluster.open();
    const volume = await cluster.serving();
    const { coordinator } = cluster.volume!;
    await put(cluster, volume, 1, 11);
    await cluster.addReplica('v-r4', d!, { witness: true, leaver: 'v-r3' });
    coordinator.removeReplica('v-r3');
    c!.stop();
    assert.equal(roles(cluster), 'v-r1 v-r2 v-r4:W');
    await put(cluster, volume, 2, 22);
    // The vote of the new one: without the first copy there is a majority.
    a!.stop();
    await put(cluster, volume, 3, 33);
    assert.deepEqual([await get(cluster, volume, 1), await get(cluster, volume, 2)], [11, 22]);
    await a!.start();
    await cluster.until('both are in sync', () => cluster.volume!.state() === 'Healthy');
    // Two copies and a witness become three copies, and those two and a witness again.
    await c!.start();
    await cluster.addReplica('v-r5', c!, { leaver: 'v-r4' });
    await cluster.until('three are in sync', () => cluster.volume!.state() === 'Healthy');
    assert.equal(roles(cluster), 'v-r1 v-r2 v-r5');
    await put(cluster, volume, 4, 44);
    await cluster.addReplica('v-r6', d!, { witness: true, leaver: 'v-r1' });
    await cluster.until('two are in sync', () => cluster.volume!.state() === 'Healthy');
    assert.equal(roles(cluster), 'v-r2 v-r5 v-r6:W');
    await put(cluster, volume, 5, 55);
    b!.stop();
    await put(cluster, volume, 6, 66);
    const found: number[] = [];
    for (const lba of [1, 2, 3, 4, 5, 6]) found.push(await get(cluster, volume, lba));
    assert.deepEqual(found, [11, 22, 33, 44, 55, 66]);
  } finally {
    await cluster.stop();
  }
});

test('a witness whose making was cut short before it said that it is one is made anew', async () => {
  const cluster = await new ACluster(3).start();
  try {
    const node = cluster.nodes[2]!;
    const pool = memoryOf(node);
    const { createVolume } = pool;
    pool.createVolume = async (wanted) => {
      const volume = await createVolume.call(pool, wanted);
      volume.putBlob = (_key, _value, done) => done(IoStatus.IoError);
      return volume;
    };
    await assert.rejects(cluster.makeVolume(64, 3, { witness: true }), /replica.witness failed/);
    node.stop();
    pool.createVolume = createVolume;
    const [half] = pool.volumes();
    assert.equal(half?.getBlob('replica.witness'), null);
    await node.start();
    await cluster.makeVolume(64, 3, { witness: true });
    cluster.open();
    await cluster.serving();
    assert.equal(roles(cluster), 'v-r1 v-r2 v-r3:W');
    assert.notEqual(pool.volume('replica/v/v-r3')?.getBlob('replica.witness'), null);
  } finally {
    await cluster.stop();
  }
});
