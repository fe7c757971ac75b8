// Goal: a rebuild ends with the copy that it promised, whatever the volume is made of: data, long holes, what was never
// written. Over real sockets, since a message may be fine for both state machines and too long for what carries it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Volume } from '../../../src/volume/index.ts';
import { ACluster, BlockOpKind, IoStatus, run } from './cluster.ts';
import { memoryOf } from './whole.ts';

const BLOCKS = 16_384;
/** What mkfs does first: it discards nearly all of the disk, in long runs. */
const HOLE = { lba: 100, blocks: 9000 };

async function write(cluster: ACluster, volume: Volume, lba: number, byte: number): Promise<void> {
  const data = cluster.buffers.allocate(4096)!;
  data.bytes.fill(byte);
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Write, lba, 1, data), IoStatus.Ok);
  data.release();
}

async function read(cluster: ACluster, volume: Volume, lba: number): Promise<number> {
  const data = cluster.buffers.allocate(4096)!;
  data.bytes.fill(0xee);
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Read, lba, 1, data), IoStatus.Ok);
  const [byte] = data.bytes;
  data.release();
  return byte!;
}

async function discard(cluster: ACluster, volume: Volume): Promise<void> {
  const { lba, blocks } = HOLE;
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Unmap, lba, blocks, null), IoStatus.Ok);
}

for (const [kind, start] of [
  ['pools in memory', () => new ACluster(3).start()],
  ['pools of the engine', () => new ACluster(3).startOnDisk()],
] as const) {
  test(`a blank replica gets the long holes of a volume, and the data between them: ${kind}`, async () => {
    const cluster = await start();
    try {
      await cluster.makeVolume(BLOCKS, 2);
      cluster.open();
      const volume = await cluster.serving();
      await write(cluster, volume, 50, 1);
      await write(cluster, volume, 5000, 2);
      await discard(cluster, volume);
      await write(cluster, volume, 7000, 3);
      await cluster.addReplica('v-r3', cluster.nodes[2]!);
      await cluster.until('it is rebuilt', () => cluster.volume!.state() === 'Healthy');
      // The first two go in turn: what is read then is the third's as often as not.
      for (const away of cluster.nodes.slice(0, 2)) {
        away.stop();
        await cluster.until('one is out', () => cluster.volume!.state() === 'Degraded');
        for (let times = 0; times < 4; times += 1) {
          assert.equal(await read(cluster, volume, 50), 1);
          assert.equal(await read(cluster, volume, 5000), 0);
          assert.equal(await read(cluster, volume, 7000), 3);
        }
        await away.start();
        await cluster.until('it is back', () => cluster.volume!.state() === 'Healthy');
      }
    } finally {
      await cluster.stop();
    }
  });

  test(`a long hole that one member missed is settled before the next coordinator serves (V4): ${kind}`, async () => {
    const cluster = await start();
    try {
      await cluster.makeVolume(BLOCKS, 3);
      cluster.open();
      const volume = await cluster.serving();
      await write(cluster, volume, 5000, 2);
      // The third has not applied it when the coordinator ends: it is not even connected, and nobody says so on record.
      cluster.nodes[2]!.stop();
      await discard(cluster, volume);
      await cluster.volume!.coordinator.stop();
      await cluster.nodes[2]!.start();
      cluster.volume = null; // From here on the next one is meant.
      cluster.open();
      const again = await cluster.serving();
      await cluster.until('all are alike', () => cluster.volume!.state() === 'Healthy');
      for (let times = 0; times < 6; times += 1) {
        assert.equal(await read(cluster, again, 5000), 0);
      }
    } finally {
      await cluster.stop();
    }
  });
}

test('a rebuild that always fails is tried again less and less often, and not for ever in vain', async () => {
  const cluster = await new ACluster(3).start();
  try {
    await cluster.makeVolume(256, 3);
    cluster.open();
    const volume = await cluster.serving();
    const node = cluster.nodes[2]!;
    node.stop();
    await cluster.until('it is out', () => cluster.volume!.state() === 'Degraded');
    await write(cluster, volume, 1, 1);
    for (let times = 0; times < 4; times += 1) {
      memoryOf(node).failNext(BlockOpKind.Write, IoStatus.IoError);
    }
    const startMs = performance.now();
    await node.start();
    await cluster.until('it is back', () => cluster.volume!.state() === 'Healthy');
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs > 200 + 400 + 800 + 1600, `four failures and the fifth try in ${tookMs} ms`);
    assert.equal(await read(cluster, volume, 1), 1);
  } finally {
    await cluster.stop();
  }
});
