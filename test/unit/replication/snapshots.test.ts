// Goal: a snapshot of a replicated volume is one cut on every replica in sync, whatever goes on around it (P1, P3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockOp, BlockOpKind, IoStatus } from '../../../src/block/index.ts';
import type { StoreVolume } from '../../../src/store/index.ts';
import type { Volume } from '../../../src/volume/index.ts';
import { ACluster, type ANode, QUICK, run } from './cluster.ts';

const BLOCKS = 256;

async function write(cluster: ACluster, volume: Volume, lba: number, byte: number): Promise<void> {
  const data = cluster.buffers.allocate(4096)!;
  data.bytes.fill(byte);
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Write, lba, 1, data), IoStatus.Ok);
  data.release();
}

async function read(cluster: ACluster, volume: Volume, lba: number): Promise<number> {
  const data = cluster.buffers.allocate(4096)!;
  data.bytes.fill(0xff);
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Read, lba, 1, data), IoStatus.Ok);
  const [byte] = data.bytes;
  data.release();
  return byte!;
}

/** The first byte of a block of what the node's replica holds in this snapshot. */
async function inSnapshot(node: ANode, id: string, lba: number): Promise<number> {
  const [replica] = node.pool.volumes();
  const snapshot = node.pool.snapshot(`${replica!.name}@${id}`);
  assert.ok(snapshot !== null, `${node.name} has no snapshot ${id}`);
  return await readFrom(node, snapshot, lba);
}

async function readFrom(node: ANode, from: StoreVolume, lba: number): Promise<number> {
  const data = node.buffers.allocate(4096)!;
  const status = await new Promise<IoStatus>((resolve) => {
    const owner = { onBlockDone: (_op: BlockOp, end: IoStatus) => resolve(end) };
    const op = new BlockOp().begin(BlockOpKind.Read, lba, 1, data, 0, false, owner);
    op.lower = owner;
    node.turn.enter();
    from.submit(op, 0, 0);
    node.turn.leave();
  });
  assert.equal(status, IoStatus.Ok);
  const [byte] = data.bytes;
  data.release();
  return byte!;
}

function held(node: ANode): string[] {
  const [replica] = node.pool.volumes();
  return node.pool.snapshots(replica!.name).map(({ shortName }) => shortName);
}

async function serving(cluster: ACluster): Promise<Volume> {
  await cluster.makeVolume(BLOCKS, cluster.nodes.length);
  cluster.open();
  return await cluster.serving();
}

for (const [kind, start] of [
  ['pools in memory', () => new ACluster(3).start()],
  ['pools of the engine', () => new ACluster(3).startOnDisk()],
] as const) {
  test(`a snapshot under writes holds on every replica what was acknowledged before, nothing issued after: ${kind}`, async () => {
    const cluster = await start();
    try {
      const volume = await serving(cluster);
      const { coordinator } = cluster.volume!;
      await write(cluster, volume, 7, 1);
      // Writes that are under way when the cut is made: in it or not, but alike everywhere.
      const around = Array.from({ length: 32 }, (_, index) =>
        write(cluster, volume, 32 + index, 9),
      );
      await coordinator.takeSnapshot({ id: 'id-1', name: 'one', createdMs: 1000 });
      await write(cluster, volume, 7, 2);
      await Promise.all(around);
      const [entry] = coordinator.record!.snapshots;
      assert.deepEqual(entry?.holders, ['v-r1', 'v-r2', 'v-r3']);
      assert.deepEqual([entry?.id, entry?.name, entry?.createdMs], ['id-1', 'one', 1000]);
      for (const node of cluster.nodes) assert.equal(await inSnapshot(node, 'id-1', 7), 1);
      for (let lba = 32; lba < 64; lba += 1) {
        const [first, ...others] = await Promise.all(
          cluster.nodes.map((node) => inSnapshot(node, 'id-1', lba)),
        );
        for (const other of others) assert.equal(other, first);
      }
      await assert.rejects(
        coordinator.takeSnapshot({ id: 'id-2', name: 'one', createdMs: 0 }),
        /already/,
      );
      await coordinator.deleteSnapshot('id-1');
      for (const node of cluster.nodes) assert.deepEqual(held(node), []);
      await assert.rejects(coordinator.deleteSnapshot('id-1'), /no snapshot/);
    } finally {
      await cluster.stop();
    }
  });

  test(`a replica that was away learns of a deletion, and is no holder of what it missed: ${kind}`, async () => {
    const cluster = await start();
    try {
      const volume = await serving(cluster);
      const { coordinator } = cluster.volume!;
      await write(cluster, volume, 3, 1);
      await coordinator.takeSnapshot({ id: 'old', name: 'old', createdMs: 0 });
      await coordinator.takeSnapshot({ id: 'kept', name: 'kept', createdMs: 0 });
      const away = cluster.nodes[2]!;
      away.stop();
      await cluster.until('it is out', () => cluster.volume!.state() === 'Degraded');
      await write(cluster, volume, 3, 2);
      await coordinator.deleteSnapshot('old');
      await coordinator.takeSnapshot({ id: 'missed', name: 'missed', createdMs: 0 });
      await write(cluster, volume, 3, 3);
      assert.deepEqual(held(away), ['old', 'kept']);
      await away.start();
      await cluster.until('it is back', () => cluster.volume!.state() === 'Healthy');
      assert.deepEqual(held(away), ['kept']);
      const holders = new Map(
        coordinator.record!.snapshots.map((entry) => [entry.id, entry.holders.join()]),
      );
      assert.equal(holders.get('kept'), 'v-r1,v-r2,v-r3');
      assert.equal(holders.get('missed'), 'v-r1,v-r2');
      for (const node of cluster.nodes) assert.equal(await inSnapshot(node, 'kept', 3), 1);
      for (const node of cluster.nodes.slice(0, 2)) {
        assert.equal(await inSnapshot(node, 'missed', 3), 2);
      }
    } finally {
      await cluster.stop();
    }
  });

  test(`a volume made from a snapshot is replicated at once, and lives without its source: ${kind}`, async () => {
    const cluster = await start();
    try {
      const source = await serving(cluster);
      const { coordinator } = cluster.volume!;
      await write(cluster, source, 7, 1);
      await write(cluster, source, 200, 2);
      await write(cluster, source, 100, 8);
      await coordinator.takeSnapshot({ id: 'cut', name: 'cut', createdMs: 0 });
      await write(cluster, source, 7, 3);
      await cluster.makeVolume(BLOCKS * 2, 3, { volumeId: 'w', from: 'cut' });
      await cluster.makeVolume(BLOCKS * 2, 3, { volumeId: 'w', from: 'cut' }); // Asked again: the same.
      const copy = cluster.open(QUICK, 'w');
      await cluster.until('the copy is served', () => copy.state() === 'Healthy');
      const restored = copy.volume!;
      assert.equal(copy.coordinator.record!.sizeBlocks, BLOCKS * 2);
      assert.equal(await read(cluster, restored, 7), 1);
      assert.equal(await read(cluster, restored, 200), 2);
      assert.equal(await read(cluster, restored, BLOCKS + 1), 0);
      assert.equal(await read(cluster, source, 7), 3);
      await write(cluster, restored, 200, 4); // A lower number than the source's, and the block takes it.
      await write(cluster, restored, BLOCKS + 1, 5);

      // The source goes, snapshot and all; the snapshot's blocks stay with those who need them.
      await coordinator.deleteSnapshot('cut');
      const { epoch } = coordinator;
      await cluster.volumes[0]!.stop();
      for (const [index, node] of cluster.nodes.entries()) {
        const which = { volumeId: 'v', replicaId: `v-r${index + 1}`, epoch };
        await cluster.coordinators.manager.delete({ host: '127.0.0.1', port: node.port }, which);
        const names = node.pool.volumes().map(({ name }) => name);
        assert.deepEqual(names, [`replica/w/w-r${index + 1}`]);
        assert.deepEqual(node.pool.snapshots(names[0]!), []);
      }
      assert.equal(await read(cluster, restored, 7), 1);
      assert.equal(await read(cluster, restored, 200), 4);

      // A replica that lost everything gets what came from the snapshot as well (W2: in its order).
      const lost = cluster.nodes[2]!;
      const which = { volumeId: 'w', replicaId: 'w-r3', epoch: copy.coordinator.epoch };
      const at = { host: '127.0.0.1', port: lost.port };
      await cluster.coordinators.manager.delete(at, which);
      await cluster.until('it is out', () => copy.state() === 'Degraded');
      const newcomer = { replicaId: 'w-r3', at, witness: false };
      await cluster.coordinators.makeNewcomer('w', BLOCKS * 2, newcomer);
      await cluster.until('it is there', () => copy.coordinator.linkReason('w-r3') === '');
      await copy.coordinator.changeMember('w-r3', { replicaId: 'w-r3', witness: false });
      await cluster.until('it is whole', () => copy.state() === 'Healthy');
      await write(cluster, restored, 7, 6); // Over a block that was copied there.
      await copy.coordinator.crossScrub(0, BLOCKS * 2);
      for (const [lba, byte] of [
        [7, 6],
        [200, 4],
        [BLOCKS + 1, 5],
        [9, 0],
        [100, 8],
      ] as const) {
        assert.equal(await read(cluster, restored, lba), byte);
        for (const node of cluster.nodes) {
          const [replica] = node.pool.volumes();
          assert.equal(await readFrom(node, replica!, lba), byte, `${node.name} block ${lba}`);
        }
      }
    } finally {
      await cluster.stop();
    }
  });
}
