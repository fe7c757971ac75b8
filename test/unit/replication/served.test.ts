// E5: whether a replicated volume is still served from here, as those ask who answer from memory alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Volume } from '../../../src/volume/index.ts';
import { ACluster, IoStatus } from './cluster.ts';
import { withVolume, write } from './whole.ts';

const confirmed = (volume: Volume): Promise<IoStatus> =>
  new Promise((resolve) => volume.confirmServed(resolve));

test('with its replicas there it is, after a quiet time too; without them it waits, and is not', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, { blocks: 64, replicas: 3 }, async (volume) => {
    await write(cluster, volume, 1, 1);
    assert.equal(await confirmed(volume), IoStatus.Ok);
    await cluster.until('it is quiet', () => cluster.volume!.coordinator.quietSpell !== null);
    assert.equal(await confirmed(volume), IoStatus.Ok);
    for (const node of cluster.nodes) node.stop();
    await new Promise((resolve) => setTimeout(resolve, 1000)); // Longer than a lease.
    assert.equal(await confirmed(volume), IoStatus.Offline);
    assert.ok(cluster.heard.includes('hold expired'));
  });
});
