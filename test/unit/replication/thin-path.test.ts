// Write, read and flush through a coordinator and three replicas over real sockets; one replica goes and comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACluster, BlockOpKind, IoStatus, run } from './cluster.ts';

test('what is written to three replicas is read back, with one of them gone too', async () => {
  const cluster = await new ACluster(3).start();
  try {
    await cluster.makeVolume(1024, 3);
    cluster.open();
    const volume = await cluster.serving();
    assert.equal(cluster.volume!.state(), 'Healthy');
    const data = cluster.buffers.allocate(4 * 4096)!;
    const write = async (lba: number, fill: number, blocks = 4): Promise<void> => {
      data.bytes.fill(fill);
      assert.equal(
        await run(volume, cluster.turn, BlockOpKind.Write, lba, blocks, data),
        IoStatus.Ok,
      );
    };
    const read = async (lba: number, fill: number, blocks = 4): Promise<void> => {
      data.bytes.fill(0xee);
      assert.equal(
        await run(volume, cluster.turn, BlockOpKind.Read, lba, blocks, data),
        IoStatus.Ok,
      );
      assert.ok(
        data.bytes.subarray(0, blocks * 4096).every((byte) => byte === fill),
        `lba ${lba}`,
      );
    };
    for (let index = 0; index < 32; index += 1) await write(index * 4, index + 1);
    for (let index = 0; index < 32; index += 1) await read(index * 4, index + 1);
    await read(800, 0);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Unmap, 4, 4, null), IoStatus.Ok);
    await read(4, 0);

    cluster.nodes[2]!.stop();
    await write(8, 0x77);
    await read(8, 0x77);
    await cluster.until('degraded', () => cluster.volume!.state() === 'Degraded');
    assert.match(cluster.volume!.advice().join('\n'), /v-r3 cannot be reached/);
    await write(12, 0x78);

    await cluster.nodes[2]!.start();
    await cluster.until('healthy again', () => cluster.volume!.state() === 'Healthy');
    await read(12, 0x78);
    // And the others go: what the third has is all of it.
    assert.deepEqual(cluster.volume!.advice(), []);
  } finally {
    await cluster.stop();
  }
});
