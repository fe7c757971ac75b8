// V6, S9: a replica whose flush failed is not believed to have what it acknowledged before and never flushed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACluster, BlockOpKind, IoStatus, run } from './cluster.ts';
import { healthy, memoryOf, read, withVolume, write } from './whole.ts';

const THREE = { blocks: 64, replicas: 3 };

test('two of three reopen after failed flushes: that writes may be lost is declared, and what was flushed is there', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 1, 1);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
    await write(cluster, volume, 2, 2); // Acknowledged, and in caches alone.
    for (const node of cluster.nodes) node.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    for (const node of cluster.nodes.slice(0, 2)) {
      const pool = memoryOf(node);
      pool.fault('a flush failed');
      pool.powerCut();
      pool.reopen();
      await node.start();
    }
    // The third has all of it, and is awaited for a while; it does not come.
    await cluster.until('served by two', () => cluster.volume!.serving);
    await cluster.until('the loss is declared', () => cluster.heard.includes('loss'));
    assert.equal(await read(cluster, volume, 1), 1);
    await cluster.nodes[2]!.start();
    await healthy(cluster);
    assert.equal(await read(cluster, volume, 1), 1);
  });
});

test('one of three reopens after a failed flush: nothing is lost, and nothing is declared', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 2, 2);
    for (const node of cluster.nodes) node.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    const pool = memoryOf(cluster.nodes[0]!);
    pool.fault('a flush failed');
    pool.powerCut();
    pool.reopen();
    for (const node of cluster.nodes) await node.start();
    await healthy(cluster);
    for (let times = 0; times < 6; times += 1) assert.equal(await read(cluster, volume, 2), 2);
    assert.equal(cluster.heard.includes('loss'), false);
  });
});
