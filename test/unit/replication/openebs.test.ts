// The scenarios that OpenEBS tests its Jiva and cStor with, by their names; docs/openebs-scenarios.md is their table. Here
// those of replicas and their coordinator, over real sockets on loopback. Where theirs asserts what a host should not have
// to bear (a write that waits 10 s for a slow replica), ours asserts the opposite.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { ReadPolicy } from '../../../src/volume/coordinator/interfaces.ts';
import { FaultyLink } from '../../chaos/proxy.ts';
import { ACluster, type ANode, BlockOpKind, IoStatus, QUICK, run } from './cluster.ts';
import {
  alike,
  degraded,
  healthy,
  memoryOf,
  newDisk,
  nodeOf,
  read,
  tryWrite,
  withVolume,
  write,
} from './whole.ts';

const BLOCKS = 128;
const THREE = { blocks: BLOCKS, replicas: 3 };

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('a replica without an id is rejected, and so is one of another name', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async () => {
    const at = { host: '127.0.0.1', port: cluster.nodes[0]!.port };
    const { manager } = cluster.coordinators;
    const wanted = { volumeId: 'v', sizeBlocks: BLOCKS, witness: false, source: null };
    for (const replicaId of ['', 'a/b', '..', '-x']) {
      await assert.rejects(
        manager.create(at, { ...wanted, replicaId }),
        /ids are letters/,
        replicaId,
      );
    }
    const record = cluster.volume!.coordinator.record!;
    await assert.rejects(
      manager.begin(at, { ...record, epoch: 0, n: 1 }, 'v-r9'),
      /not on this node/,
    );
    // Another volume's record, to a replica that has one.
    await assert.rejects(
      manager.begin(at, { ...record, volumeId: 'w' }, 'v-r1'),
      /not on this node/,
    );
    assert.deepEqual(
      (await manager.list(at)).map(({ replicaId }) => replicaId),
      ['v-r1'],
    );
  });
});

test('more replicas than the factor: one that no record names gets nothing and has no vote', async () => {
  const cluster = new ACluster(4);
  await withVolume(cluster, THREE, async (volume) => {
    const extra = cluster.nodes[3]!;
    cluster.places.set('v-r4', extra);
    const at = { host: '127.0.0.1', port: extra.port };
    const { coordinator } = cluster.volume!;
    await cluster.coordinators.makeNewcomer('v', BLOCKS, { replicaId: 'v-r4', at, witness: false });
    coordinator.addReplica('v-r4');
    await cluster.until('it answers', () => coordinator.linkReason('v-r4') === '');
    await write(cluster, volume, 1, 7);
    assert.equal(cluster.volume!.state(), 'Healthy', 'it is none of the copies');
    assert.equal(coordinator.record!.members.length, 3);
    assert.equal(extra.pool.volume('replica/v/v-r4')!.info().mappedBlocks, 0);
    // Two of the three go: the fourth does not make up for them.
    cluster.nodes[0]!.stop();
    cluster.nodes[1]!.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    await pause(500);
    assert.equal(cluster.volume!.state(), 'Offline');
  });
});

test('a replacement with the same id and a new store is not believed, and rebuilt in full', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    const { coordinator } = cluster.volume!;
    for (let lba = 0; lba < 32; lba += 1) await write(cluster, volume, lba, lba + 1);
    const node = cluster.nodes[1]!;
    node.stop();
    newDisk(node);
    await node.start();
    await cluster.until('it is missed', () => coordinator.isMissing('v-r2'));
    const at = { host: '127.0.0.1', port: node.port };
    await cluster.coordinators.makeNewcomer('v', BLOCKS, { replicaId: 'v-r2', at, witness: false });
    const state = () =>
      cluster.volume!.status().members.find(({ replicaId }) => replicaId === 'v-r2')?.state;
    await cluster.until('it is called blank', () => state() === 'Blank');
    await write(cluster, volume, 40, 99);
    await coordinator.changeMember('v-r2', { replicaId: 'v-r2', witness: false });
    await healthy(cluster);
    const found = await alike(cluster, BLOCKS);
    assert.equal(found[31], 32);
    assert.equal(found[40], 99);
  });
});

test('a known replica returns: it gets what it missed, and nothing else', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    for (let lba = 0; lba < 100; lba += 1) await write(cluster, volume, lba, 1);
    cluster.nodes[2]!.stop();
    await degraded(cluster);
    for (let lba = 0; lba < 3; lba += 1) await write(cluster, volume, lba, 2);
    let copied = 0;
    await cluster.nodes[2]!.start();
    await cluster.until('healthy', () => {
      for (const { copiedBytes } of cluster.volume!.status().members) {
        copied = Math.max(copied, copiedBytes);
      }
      return cluster.volume!.state() === 'Healthy';
    });
    assert.ok(copied <= 8 * 4096, `${copied} bytes were copied for 3 blocks`);
    assert.equal((await alike(cluster, BLOCKS))[0], 2);
  });
});

test('scale 1 -> 3 -> 2 -> 1: each copy is byte-identical when it counts', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, { blocks: BLOCKS, replicas: 1 }, async (volume) => {
    const { coordinator } = cluster.volume!;
    for (let lba = 0; lba < 64; lba += 1) await write(cluster, volume, lba, lba + 1);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Unmap, 10, 5, null), IoStatus.Ok);
    for (const index of [1, 2]) {
      await cluster.addReplica(`v-r${index + 1}`, cluster.nodes[index]!);
      await healthy(cluster);
      await write(cluster, volume, 70 + index, index);
      assert.equal((await alike(cluster, BLOCKS))[12], 0);
    }
    await coordinator.changeMember('v-r1', null);
    await healthy(cluster);
    await write(cluster, volume, 80, 5);
    await coordinator.changeMember('v-r3', null);
    await healthy(cluster);
    assert.deepEqual(
      coordinator.record!.members.map(({ replicaId }) => replicaId),
      ['v-r2'],
    );
    const found = await alike(cluster, BLOCKS);
    assert.deepEqual([found[63], found[71], found[72], found[80]], [64, 1, 2, 5]);
    assert.equal(await read(cluster, volume, 63), 64);
  });
});

test('scale with wrong ids is refused in words, and a second one waits for the first', async () => {
  const cluster = new ACluster(5);
  await withVolume(cluster, THREE, async (volume) => {
    const { coordinator } = cluster.volume!;
    const newcomer = (replicaId: string) => ({ replicaId, witness: false });
    await assert.rejects(coordinator.changeMember('v-r9', null), /v-r9 is not a member/);
    await assert.rejects(coordinator.changeMember(null, newcomer('v-r2')), /is a member already/);
    await assert.rejects(coordinator.changeMember(null, newcomer('v-r8')), /v-r8 is not connected/);
    // Two at once: one record at a time (R5), so both are done, one after the other.
    await Promise.all([
      cluster.addReplica('v-r4', cluster.nodes[3]!),
      cluster.addReplica('v-r5', cluster.nodes[4]!),
    ]);
    await healthy(cluster);
    assert.equal(coordinator.record!.members.length, 5);
    await write(cluster, volume, 3, 3);
    assert.equal((await alike(cluster, BLOCKS))[3], 3);
    // The last copy in sync does not leave.
    const alone = new ACluster(1);
    await withVolume(alone, { blocks: 8, replicas: 1 }, async () => {
      await assert.rejects(
        alone.volume!.coordinator.changeMember('v-r1', null),
        /last member in sync/,
      );
    });
  });
});

test('quorum with one known and four unknown replicas is Offline', async () => {
  const cluster = new ACluster(5);
  await withVolume(cluster, { blocks: BLOCKS, replicas: 5 }, async (volume) => {
    await write(cluster, volume, 1, 1);
    for (const node of cluster.nodes) node.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    for (const node of cluster.nodes.slice(1)) newDisk(node);
    for (const node of cluster.nodes) await node.start();
    for (const [index, node] of cluster.nodes.slice(1).entries()) {
      const at = { host: '127.0.0.1', port: node.port };
      const replicaId = `v-r${index + 2}`;
      await cluster.coordinators.makeNewcomer('v', BLOCKS, { replicaId, at, witness: false });
    }
    const { coordinator } = cluster.volume!;
    const ids = [...cluster.places.keys()];
    await cluster.until('all answer', () => ids.every((id) => coordinator.linkReason(id) === ''));
    await pause(1500);
    assert.equal(
      cluster.volume!.state(),
      'Offline',
      'four blank stores and one known are no majority',
    );
    assert.equal(cluster.volume!.serving && coordinator.phase === 4, false);
  });
});

test('rebuild order: two stale replicas that return at once are rebuilt from the one in sync, under writes', async () => {
  const cluster = new ACluster(5);
  await withVolume(cluster, { blocks: BLOCKS, replicas: 5 }, async (volume) => {
    for (let lba = 0; lba < BLOCKS; lba += 1) await write(cluster, volume, lba, 1);
    cluster.nodes[0]!.stop();
    await degraded(cluster);
    for (let lba = 0; lba < 60; lba += 1) await write(cluster, volume, lba, 2);
    cluster.nodes[4]!.stop();
    for (let lba = 30; lba < 90; lba += 1) await write(cluster, volume, lba, 3);
    await Promise.all([cluster.nodes[0]!.start(), cluster.nodes[4]!.start()]);
    for (let lba = 100; lba < 120; lba += 1) await write(cluster, volume, lba, 4);
    await healthy(cluster);
    const found = await alike(cluster, BLOCKS);
    assert.deepEqual([found[0], found[59], found[95], found[110]], [2, 3, 1, 4]);
  });
});

test('resize with 2 of 3, with 1 of 3, and with bad arguments', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    const { coordinator } = cluster.volume!;
    await assert.rejects(coordinator.resize(BLOCKS - 1), /does not shrink/);
    cluster.nodes[2]!.stop();
    await degraded(cluster);
    await coordinator.resize(BLOCKS * 2);
    await write(cluster, volume, BLOCKS + 5, 9);
    cluster.nodes[1]!.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    // Below quorum it waits, as commands do; with the quorum back it is done.
    let done = false;
    const growing = coordinator.resize(BLOCKS * 3).then(() => {
      done = true;
    });
    await pause(300);
    assert.equal(done, false);
    await Promise.all([cluster.nodes[1]!.start(), cluster.nodes[2]!.start()]);
    await growing;
    await healthy(cluster);
    await write(cluster, await cluster.serving(), BLOCKS * 3 - 1, 8);
    const found = await alike(cluster, BLOCKS * 3);
    assert.deepEqual([found[BLOCKS + 5], found[BLOCKS * 3 - 1]], [9, 8]);
  });
});

test('a peer killed in the handshake costs nothing: at each of its steps, half a frame, garbage, a length beyond all bounds', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    const node = cluster.nodes[0]!;
    const tooLong = Buffer.alloc(48, 0xff);
    const pieces = [
      Buffer.alloc(0),
      Buffer.alloc(1),
      Buffer.alloc(47),
      Buffer.alloc(48),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(8)),
      tooLong,
    ];
    for (const piece of pieces) {
      for (const graceful of [false, true]) {
        const socket = connect({ host: '127.0.0.1', port: node.port });
        socket.on('error', () => {});
        await once(socket, 'connect');
        if (piece.length > 0) await new Promise((resolve) => socket.write(piece, resolve));
        if (graceful) socket.end();
        else socket.resetAndDestroy();
      }
      await write(cluster, volume, 2, piece.length + 1);
    }
    assert.equal(cluster.volume!.state(), 'Healthy');
    assert.equal((await alike(cluster, BLOCKS))[2], 49);
  });
});

test('each replica is killed and restarted under writes, then all are compared', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    let running = true;
    const last = new Map<number, number>();
    const writer = (async () => {
      for (let turn = 0; running; turn += 1) {
        const lba = (turn * 7) % BLOCKS;
        const byte = 1 + (turn % 250);
        await write(cluster, volume, lba, byte);
        last.set(lba, byte);
      }
    })();
    for (let round = 0; round < 2; round += 1) {
      for (const node of cluster.nodes) {
        node.stop();
        await degraded(cluster);
        await pause(50);
        await node.start();
        await healthy(cluster);
      }
    }
    running = false;
    await writer;
    const found = await alike(cluster, BLOCKS);
    for (const [lba, byte] of last) assert.equal(found[lba], byte, `block ${lba}`);
    assert.ok(last.size === BLOCKS);
  });
});

test('snapshots during churn: in every state of a rebuild one is right, or it waits', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    const { coordinator } = cluster.volume!;
    const snap = (id: string) => coordinator.takeSnapshot({ id, name: id, createdMs: 1 });
    await write(cluster, volume, 1, 1);
    await snap('healthy');
    cluster.nodes[2]!.stop();
    await degraded(cluster);
    await write(cluster, volume, 1, 2);
    await snap('degraded');
    await write(cluster, volume, 1, 3);
    const joining = snap('while-it-returns');
    await cluster.nodes[2]!.start();
    await joining;
    await healthy(cluster);
    const names = coordinator.record!.snapshots.map(({ id }) => id);
    assert.deepEqual(names, ['healthy', 'degraded', 'while-it-returns']);
    for (const { id, holders } of coordinator.record!.snapshots) {
      assert.ok(holders.length >= 2, id);
      for (const holder of holders) {
        const snapshot = nodeOf(cluster, holder).pool.snapshot(`replica/v/${holder}@${id}`);
        assert.ok(snapshot !== null, `${holder} holds ${id}`);
        assert.equal(snapshot.info().mappedBlocks, 1);
      }
    }
    await assert.rejects(snap('healthy'), /already/);
  });
});

test('a replica that times out after N I/Os is left out, and hosts hear nothing of it', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    const slow = memoryOf(cluster.nodes[1]!);
    for (let lba = 0; lba < 10; lba += 1) await write(cluster, volume, lba, 1);
    slow.hold();
    for (let lba = 0; lba < 20; lba += 1) await write(cluster, volume, lba, 2);
    await degraded(cluster); // It lags by more than lagMs (W4).
    await write(cluster, volume, 30, 3);
    slow.release();
    await healthy(cluster);
    const found = await alike(cluster, BLOCKS);
    assert.deepEqual([found[5], found[19], found[30]], [2, 2, 3]);
  });
});

test('a slow replica: writes and reads do not wait for it', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 1, 1);
    const slow = memoryOf(cluster.nodes[2]!);
    slow.hold();
    const startMs = performance.now();
    for (let lba = 0; lba < 20; lba += 1) {
      await write(cluster, volume, lba, 9);
      assert.equal(await read(cluster, volume, lba), 9);
    }
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs < 5000, `40 operations took ${tookMs} ms beside a replica that never answers`);
    slow.release();
    await healthy(cluster);
    assert.equal((await alike(cluster, BLOCKS))[19], 9);
  });
});

test('error-injecting replicas: a write, a flush, a read, then the keeping of a record', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    const bad = memoryOf(cluster.nodes[0]!);
    for (let lba = 0; lba < 16; lba += 1) await write(cluster, volume, lba, 1);
    for (const kind of [BlockOpKind.Write, BlockOpKind.Flush, BlockOpKind.Read]) {
      bad.failNext(kind, IoStatus.IoError);
      for (let times = 0; times < 6; times += 1) {
        await write(cluster, volume, times, 2);
        assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
        assert.equal(await read(cluster, volume, times), 2);
      }
      await healthy(cluster);
    }
    const found = await alike(cluster, BLOCKS);
    assert.deepEqual([found[5], found[15]], [2, 1]);
    assert.ok(cluster.heard.filter((line) => line.startsWith('record 1.')).length > 3);
  });
});

test('a damaged block of one replica is read from another, and mended', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 5, 4);
    // Two of the three: whoever is asked first says so, and the host hears nothing of it.
    for (const node of cluster.nodes.slice(0, 2)) {
      memoryOf(node).failNext(BlockOpKind.Read, IoStatus.Damaged, 5);
    }
    for (let times = 0; times < 6; times += 1) assert.equal(await read(cluster, volume, 5), 4);
    assert.equal((await alike(cluster, BLOCKS))[5], 4);
  });
});

test('a repair whose source goes away holds up neither a read nor a stop', async () => {
  const cluster = new ACluster(3);
  try {
    await cluster.start();
    await cluster.makeVolume(BLOCKS, 3);
    cluster.open({ ...QUICK, readPolicy: ReadPolicy.LocalFirst, localReplicaId: 'v-r1' });
    const volume = await cluster.serving();
    await write(cluster, volume, 5, 4);
    for (const node of cluster.nodes.slice(1)) memoryOf(node).hold();
    memoryOf(cluster.nodes[0]!).failNext(BlockOpKind.Read, IoStatus.Damaged, 5);
    const reading = read(cluster, volume, 5); // r1 is damaged; whoever is asked then does not answer, and goes.
    await pause(100);
    for (const node of cluster.nodes.slice(1)) {
      node.stop();
      memoryOf(node).release();
    }
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    for (const node of cluster.nodes.slice(1)) await node.start();
    assert.equal(await reading, 4);
    await healthy(cluster);
  } finally {
    await cluster.stop();
  }
});

test('a rebuild waits for old in-flight I/O of its sources, and no write is missed by the joiner (B3)', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    for (let lba = 0; lba < 8; lba += 1) await write(cluster, volume, lba, 1);
    cluster.nodes[2]!.stop();
    await degraded(cluster);
    const source = memoryOf(cluster.nodes[0]!);
    source.hold();
    const waiting = tryWrite(cluster, volume, 3, 7); // Both others must apply it.
    await cluster.nodes[2]!.start();
    await pause(200);
    assert.notEqual(cluster.volume!.state(), 'Healthy');
    source.release();
    assert.equal(await waiting, IoStatus.Ok);
    await healthy(cluster);
    assert.equal((await alike(cluster, BLOCKS))[3], 7);
  });
});

test('a replica that has no room is left out, and comes back; hosts hear nothing of it', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 1, 1);
    memoryOf(cluster.nodes[0]!).failNext(BlockOpKind.Write, IoStatus.NoSpace);
    await write(cluster, volume, 2, 2);
    await healthy(cluster);
    assert.equal((await alike(cluster, BLOCKS))[2], 2);
  });
});

/** A replica behind a link that can be cut: its address as the coordinator knows it. */
async function behind(cluster: ACluster, replicaId: string): Promise<FaultyLink> {
  const node = nodeOf(cluster, replicaId);
  const link = new FaultyLink(node.port);
  await link.start();
  const place = Object.create(node, { port: { get: () => link.port } }) as ANode;
  cluster.places.set(replicaId, place);
  cluster.volume!.coordinator.relocate();
  return link;
}

for (const [kind, cut] of [
  ['abrupt', (link: FaultyLink) => link.cut()],
  ['graceful', (link: FaultyLink) => link.halfClose()],
] as const) {
  test(`a rebuild with ${kind} disconnects at many of its steps, with application I/O, ends with equal copies`, async () => {
    const cluster = new ACluster(3);
    await withVolume(cluster, { blocks: 1024, replicas: 3 }, async (volume) => {
      const link = await behind(cluster, 'v-r3');
      try {
        await healthy(cluster);
        for (let lba = 0; lba < 1024; lba += 8) await write(cluster, volume, lba, 1);
        const node = cluster.nodes[2]!;
        node.stop();
        await degraded(cluster);
        for (let lba = 0; lba < 1024; lba += 4) await write(cluster, volume, lba, 2);
        await node.start();
        for (let times = 0; times < 12; times += 1) {
          await pause(times * 3);
          cut(link);
          await write(cluster, volume, times * 16 + 1, 3);
          await cluster.until('it is seen', () => {
            const [, , third] = cluster.volume!.status().members;
            return third!.connected || cluster.volume!.state() !== 'Healthy';
          });
        }
        await healthy(cluster);
        const found = await alike(cluster, 1024);
        assert.deepEqual([found[0], found[4], found[8], found[17]], [2, 2, 2, 3]);
      } finally {
        link.close();
      }
    });
  });
}

test('a rebuild goes on through a resize', async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    cluster.nodes[1]!.stop();
    await degraded(cluster);
    for (let lba = 0; lba < BLOCKS; lba += 1) await write(cluster, volume, lba, 6);
    const growing = cluster.volume!.coordinator.resize(BLOCKS * 2);
    await cluster.nodes[1]!.start();
    await growing;
    await write(cluster, volume, BLOCKS * 2 - 1, 7);
    await healthy(cluster);
    const found = await alike(cluster, BLOCKS * 2);
    assert.deepEqual([found[0], found[BLOCKS * 2 - 1]], [6, 7]);
  });
});

test('a single replica: it goes and comes back, and there is nothing to rebuild from', async () => {
  const cluster = new ACluster(1);
  await withVolume(cluster, { blocks: BLOCKS, replicas: 1 }, async (volume) => {
    await write(cluster, volume, 1, 1);
    cluster.nodes[0]!.stop();
    await cluster.until('offline', () => cluster.volume!.state() === 'Offline');
    await cluster.nodes[0]!.start();
    await healthy(cluster);
    assert.equal(await read(cluster, await cluster.serving(), 1), 1);
  });
});

test("the replica's address changes: the coordinator follows, and copies only what was missed", async () => {
  const cluster = new ACluster(3);
  await withVolume(cluster, THREE, async (volume) => {
    await write(cluster, volume, 1, 1);
    const node = cluster.nodes[1]!;
    node.stop();
    await degraded(cluster);
    await write(cluster, volume, 2, 2);
    node.port = 0; // Another one.
    await node.start();
    cluster.volume!.coordinator.relocate();
    await healthy(cluster);
    const found = await alike(cluster, BLOCKS);
    assert.deepEqual([found[1], found[2]], [1, 2]);
  });
});

test('spare replacement: a newcomer takes the place of a dead member in one change', async () => {
  const cluster = new ACluster(4);
  await withVolume(cluster, THREE, async (volume) => {
    for (let lba = 0; lba < 20; lba += 1) await write(cluster, volume, lba, lba + 1);
    cluster.nodes[0]!.stop();
    await degraded(cluster);
    const spare = cluster.nodes[3]!;
    cluster.places.set('v-r4', spare);
    const { coordinator } = cluster.volume!;
    const at = { host: '127.0.0.1', port: spare.port };
    await cluster.coordinators.makeNewcomer('v', BLOCKS, { replicaId: 'v-r4', at, witness: false });
    coordinator.addReplica('v-r4');
    await cluster.until('it answers', () => coordinator.linkReason('v-r4') === '');
    await coordinator.changeMember('v-r1', { replicaId: 'v-r4', witness: false });
    await healthy(cluster);
    assert.equal((await alike(cluster, BLOCKS))[19], 20);
    // The old one comes back: nobody asks it anything any more.
    await cluster.nodes[0]!.start();
    await write(cluster, volume, 0, 77);
    assert.equal(cluster.volume!.state(), 'Healthy');
    assert.equal(await read(cluster, volume, 0), 77);
  });
});

test('a newcomer counts as reachable from its greeting on, not from the first byte of its session', async () => {
  const cluster = new ACluster(4);
  await withVolume(cluster, THREE, async () => {
    const { coordinator } = cluster.volume!;
    for (const round of [1, 2, 3, 4, 5]) {
      const extra = {
        replicaId: `v-x${round}`,
        at: { host: '127.0.0.1', port: 0 },
        witness: false,
      };
      extra.at.port = cluster.nodes[3]!.port;
      cluster.places.set(extra.replicaId, cluster.nodes[3]!);
      await cluster.coordinators.makeNewcomer('v', BLOCKS, extra);
      coordinator.addReplica(extra.replicaId);
      // Asked at every turn of the event loop, not each 20 ms: its answer comes a turn or more after the session is there.
      while (coordinator.linkReason(extra.replicaId) !== '') {
        await new Promise((resolve) => setImmediate(resolve));
      }
      await coordinator.changeMember(null, { replicaId: extra.replicaId, witness: false });
      await cluster.until('it is whole', () => cluster.volume!.state() === 'Healthy');
      await coordinator.changeMember(extra.replicaId, null);
      const which = { volumeId: 'v', replicaId: extra.replicaId, epoch: coordinator.epoch };
      coordinator.removeReplica(extra.replicaId);
      await cluster.coordinators.manager.delete(extra.at, which);
    }
  });
});
