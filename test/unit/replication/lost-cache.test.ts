// V6, S9: a replica whose flush failed is not believed to have what it acknowledged before and never flushed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockOp } from '../../../src/block/index.ts';
import { rollBack } from '../../../src/replication/rollback.ts';
import { ACluster, BlockOpKind, IoStatus, run } from './cluster.ts';
import { healthy, loseCaches, memoryOf, read, withVolume, write } from './whole.ts';

const THREE = { blocks: 64, replicas: 3 };

test('two of three reopen after failed flushes: that writes may be lost is declared, and what was flushed is there', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 1, 1);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
    await write(cluster, volume, 2, 2); // Acknowledged, and in caches alone.
    // The third has all of it, and is awaited for a while; it does not come.
    await loseCaches(cluster, () => cluster.heard.includes('loss'));
    await cluster.until('served', () => cluster.volume!.serving);
    assert.equal(await read(cluster, volume, 1), 1);
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

test('a rollback whose writes were lost with the caches is not said to be done, and is done when it is done again', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 1, 1);
    const { coordinator } = cluster.volume!;
    await coordinator.takeSnapshot({ id: 's', name: 's', createdMs: 0 });
    await write(cluster, volume, 1, 2);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
    const { buffers, turn } = cluster;
    // Right before its flush.
    const losing = {
      get record() {
        return coordinator.record;
      },
      get losses() {
        return coordinator.losses;
      },
      ask: coordinator.ask.bind(coordinator),
      putBlob: coordinator.putBlob.bind(coordinator),
      submit: (op: BlockOp) => {
        if (op.kind !== BlockOpKind.Flush) coordinator.submit(op);
        else {
          void loseCaches(cluster, () => coordinator.losses > 0).then(() => {
            turn.enter();
            coordinator.submit(op);
            turn.leave();
          });
        }
      },
    };
    await assert.rejects(rollBack({ coordinator: losing, buffers, turn }, 's'), /writes were lost/);
    await rollBack({ coordinator, buffers, turn }, 's');
    assert.equal(await read(cluster, volume, 1), 1);
  });
});

test('a SYNC that waits while the loss is declared fails: it would speak for writes that are gone (C8)', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    cluster.sessions = ['a login'];
    await write(cluster, volume, 1, 1);
    for (const node of cluster.nodes) node.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    const flushed = run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null);
    await loseCaches(cluster, () => cluster.heard.includes('loss'));
    assert.equal(await flushed, IoStatus.IoError);
  });
});
