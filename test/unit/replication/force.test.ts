// C1: a majority is lost for good, and an operator says so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACluster, BlockOpKind, IoStatus, run } from './cluster.ts';

test('one replica of three serves alone by force, and is the only member from then on', async () => {
  const cluster = await new ACluster(3).start();
  try {
    await cluster.makeVolume(256, 3);
    cluster.open();
    const volume = await cluster.serving();
    const data = cluster.buffers.allocate(4096)!;
    data.bytes.fill(0x5a);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Write, 9, 1, data), IoStatus.Ok);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
    cluster.nodes[1]!.stop();
    cluster.nodes[2]!.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    await cluster.until(
      'what it waits for is said',
      () => cluster.volume!.status().waitingFor !== '',
    );
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await cluster.volume!.coordinator.force();
    await cluster.until('serving', () => cluster.volume!.state() === 'Healthy');
    assert.equal(cluster.volume!.coordinator.record?.members.length, 1);
    data.bytes.fill(0);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Read, 9, 1, data), IoStatus.Ok);
    assert.equal(data.bytes[77], 0x5a);
  } finally {
    await cluster.stop();
  }
});

test('a loss that was declared fails every SYNC and FUA until the sessions that outlived it are gone (C8)', async () => {
  const cluster = await new ACluster(3).start();
  try {
    await cluster.makeVolume(256, 3);
    cluster.sessions = ['first login'];
    cluster.open();
    const volume = await cluster.serving();
    const data = cluster.buffers.allocate(4096)!;
    data.bytes.fill(0x5a);
    const write = (fua: boolean) => run(volume, cluster.turn, BlockOpKind.Write, 9, 1, data, fua);
    const flush = () => run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null);
    assert.equal(await write(true), IoStatus.Ok);
    for (const node of cluster.nodes.slice(1)) node.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    await cluster.until('it waits', () => cluster.volume!.status().waitingFor !== '');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await cluster.volume!.coordinator.force();
    await cluster.until('serving', () => cluster.volume!.state() === 'Healthy');
    await cluster.until('hosts are told', () => cluster.heard.includes('loss'));
    assert.equal(await flush(), IoStatus.IoError);
    assert.equal(await write(true), IoStatus.IoError);
    assert.equal(await write(false), IoStatus.Ok);
    cluster.sessions.push('another login');
    assert.equal(await flush(), IoStatus.IoError, 'the first is still there');
    cluster.sessions = ['another login'];
    assert.equal(await flush(), IoStatus.Ok);
    assert.equal(await write(true), IoStatus.Ok);
  } finally {
    await cluster.stop();
  }
});
