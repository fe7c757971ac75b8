// Goal: a pool that is faulted under its replicas says so to coordinators, which ask again ever less often and tell whoever
// looks which pool it is; the volume goes on with the others.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Log, silentLog } from '../../../src/base/index.ts';
import { ACluster } from './cluster.ts';
import { degraded, memoryOf, withVolume, write } from './whole.ts';

test('a faulted pool is named by its volume, and asked less and less often', async () => {
  let asked = 0;
  const count = (_fields: object, text: string): void => {
    if (/^a session (has ended|was refused)/.test(text)) asked += 1;
  };
  const log: Log = { ...silentLog, info: count, debug: count, child: () => log };
  const cluster = new ACluster(3, log);
  await withVolume(cluster, { blocks: 256, replicas: 3 }, async (volume) => {
    await write(cluster, volume, 0, 1);
    const [first] = cluster.nodes;
    memoryOf(first!).fault('EIO on the flush');
    await write(cluster, volume, 1, 2);
    await degraded(cluster);
    await cluster.until('the advice names the pool', () =>
      cluster
        .volume!.advice()
        .some((line) =>
          line.includes(`pool ${first!.pool.name} on node-1 is faulted: EIO on the flush`),
        ),
    );
    const before = asked;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    // After 100 ms, 200, 400, 800: at a steady 100 it would be fifteen.
    assert.ok(asked - before <= 4, `${asked - before} sessions with a faulted pool in 1.5 s`);
    await write(cluster, volume, 2, 3);
  });
});
