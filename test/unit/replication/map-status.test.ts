// GET LBA STATUS of a replicated volume: the map of a member in sync, never one that lacks what was acknowledged.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MapExtent } from '../../../src/block/index.ts';
import type { Volume } from '../../../src/volume/index.ts';
import { ACluster, BlockOpKind, IoStatus, run } from './cluster.ts';
import { degraded, memoryOf, withVolume, write } from './whole.ts';

const THREE = { blocks: 256, replicas: 3 };

function mapOf(volume: Volume, lba: number, maxExtents = 16): Promise<string> {
  return new Promise((resolve) => {
    volume.store.mapStatus(lba, maxExtents, (status: IoStatus, extents: readonly MapExtent[]) => {
      assert.equal(status, IoStatus.Ok);
      const shown = extents.map(
        ({ lba: at, blocks, mapped }) => `${at}+${blocks}${mapped ? 'm' : 'u'}`,
      );
      resolve(shown.join(' '));
    });
  });
}

test('what was written is mapped, what was unmapped or never written is not', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 0, 1); // By then it has its lease: before, nobody may be asked.
    assert.equal(await mapOf(volume, 0), '0+1m 1+255u');
    for (const lba of [0, 1, 2, 10]) await write(cluster, volume, lba, 1);
    assert.equal(await mapOf(volume, 0), '0+3m 3+7u 10+1m 11+245u');
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Unmap, 1, 1, null), IoStatus.Ok);
    assert.equal(await mapOf(volume, 0), '0+1m 1+1u 2+1m 3+7u 10+1m 11+245u');
    assert.equal(await mapOf(volume, 2), '2+1m 3+7u 10+1m 11+245u');
    assert.equal(await mapOf(volume, 0, 2), '0+1m 1+1u');
    cluster.nodes[0]!.stop();
    await degraded(cluster);
    assert.equal(await mapOf(volume, 10), '10+1m 11+245u');
  });
});

test('a member that lacks acknowledged writes is not asked; without anybody to ask all counts as mapped', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    memoryOf(cluster.nodes[0]!).hold();
    await write(cluster, volume, 7, 1);
    for (let times = 0; times < 6; times += 1) {
      assert.equal(await mapOf(volume, 0), '0+7u 7+1m 8+248u');
    }
    memoryOf(cluster.nodes[0]!).release();
    for (const node of cluster.nodes) node.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    assert.equal(await mapOf(volume, 5), '5+251m');
  });
});
