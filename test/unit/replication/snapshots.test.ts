// Goal: a snapshot of a replicated volume is one cut on every replica in sync, whatever goes on around it (P1, P3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockOp, BlockOpKind, IoStatus } from '../../../src/block/index.ts';
import type { HostedReplica } from '../../../src/replica/host.ts';
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
  const snapshot = node.pool.snapshot(replicaOf(node).snapshotName(id));
  assert.ok(snapshot !== null, `${node.name} has no snapshot ${id}`);
  return await readFrom(node, snapshot, lba);
}

function replicaOf(node: ANode): HostedReplica {
  const { volumeId, replicaId } = node.replicas!.host.list().find((one) => one.volumeId === 'v')!;
  return node.replicas!.host.find(volumeId, replicaId)!;
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

/** In the line of the replica's volume; those that were made up for lie beside it. */
function held(node: ANode): string[] {
  const replica = node.pool.volumes().find(({ name }) => name.startsWith('replica/v/'));
  const own = node.pool.snapshots(replica!.name).map(({ shortName }) => shortName);
  return own.filter((name) => !name.startsWith('~'));
}

function allHold(cluster: ACluster, id: string): boolean {
  const { record } = cluster.volume!.coordinator;
  return record!.snapshots.find((entry) => entry.id === id)?.holders.length === 3;
}

async function unmap(cluster: ACluster, volume: Volume, lba: number, blocks: number) {
  const status = await run(volume, cluster.turn, BlockOpKind.Unmap, lba, blocks, null);
  assert.equal(status, IoStatus.Ok);
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

  test(`a replica that was away learns of a deletion, and makes up for what it missed: ${kind}`, async () => {
    const cluster = await start();
    try {
      const volume = await serving(cluster);
      const { coordinator } = cluster.volume!;
      for (const lba of [3, 4, 5, 6, 7, 100]) await write(cluster, volume, lba, 1);
      await coordinator.takeSnapshot({ id: 'old', name: 'old', createdMs: 0 });
      await coordinator.takeSnapshot({ id: 'kept', name: 'kept', createdMs: 0 });
      const away = cluster.nodes[2]!;
      away.stop();
      await cluster.until('it is out', () => cluster.volume!.state() === 'Degraded');
      await write(cluster, volume, 3, 2);
      await unmap(cluster, volume, 4, 1);
      await coordinator.deleteSnapshot('old');
      await coordinator.takeSnapshot({ id: 'first', name: 'first', createdMs: 0 });
      await write(cluster, volume, 3, 3);
      await write(cluster, volume, 4, 3);
      await write(cluster, volume, 200, 3);
      await unmap(cluster, volume, 5, 1);
      await coordinator.takeSnapshot({ id: 'second', name: 'second', createdMs: 0 });
      await unmap(cluster, volume, 3, 2);
      await write(cluster, volume, 5, 4);
      await write(cluster, volume, 6, 4);
      await unmap(cluster, volume, 100, 1);
      assert.deepEqual(held(away), ['old', 'kept']);
      await away.start();
      for (const id of ['first', 'second']) {
        await cluster.until(`all hold ${id}`, () => allHold(cluster, id));
      }
      assert.equal(cluster.volume!.state(), 'Healthy');
      assert.deepEqual(held(away), ['kept']);
      const wanted: Record<string, [number, number][]> = {
        kept: [3, 4, 5, 6, 7, 100].map((lba) => [lba, 1]),
        first: [...[3, 4, 5, 6, 7, 100, 200].entries()].map(([at, lba]) => [
          lba,
          [2, 0, 1, 1, 1, 1, 0][at]!,
        ]),
        second: [...[3, 4, 5, 6, 7, 100, 200].entries()].map(([at, lba]) => [
          lba,
          [3, 3, 0, 1, 1, 1, 3][at]!,
        ]),
      };
      for (const node of cluster.nodes) {
        for (const [id, blocks] of Object.entries(wanted)) {
          for (const [lba, byte] of blocks) {
            assert.equal(await inSnapshot(node, id, lba), byte, `${node.name} ${id} ${lba}`);
          }
        }
      }
      // It is a holder like any other: a volume begins from what it has, and outlives it.
      await cluster.makeVolume(BLOCKS, 3, { volumeId: 'w', from: 'first' });
      const copy = cluster.open(QUICK, 'w');
      await cluster.until('the copy is served', () => copy.state() === 'Healthy');
      await copy.coordinator.crossScrub(0, BLOCKS);
      for (const [lba, byte] of wanted['first']!) {
        assert.equal(await read(cluster, copy.volume!, lba), byte);
      }
      await coordinator.deleteSnapshot('second');
      await coordinator.deleteSnapshot('first');
      const { epoch } = coordinator;
      await cluster.volumes[0]!.stop();
      const at = { host: '127.0.0.1', port: away.port };
      await cluster.coordinators.manager.delete(at, { volumeId: 'v', replicaId: 'v-r3', epoch });
      const left = away.pool.volumes().map(({ name }) => name);
      assert.deepEqual(left, ['replica/w/w-r3']);
      for (const [lba, byte] of wanted['first']!) {
        const [replica] = away.pool.volumes();
        assert.equal(await readFrom(away, replica!, lba), byte);
      }
    } finally {
      await cluster.stop();
    }
  });

  test(`a replica whose store came back empty gets every snapshot, of whatever size the volume was: ${kind}`, async () => {
    const cluster = await start();
    try {
      const volume = await serving(cluster);
      const { coordinator } = cluster.volume!;
      await write(cluster, volume, 3, 1);
      await coordinator.takeSnapshot({ id: 'small', name: 'small', createdMs: 0 });
      await coordinator.resize(BLOCKS * 2);
      await write(cluster, volume, 3, 2);
      await write(cluster, volume, BLOCKS + 3, 2);
      await coordinator.takeSnapshot({ id: 'large', name: 'large', createdMs: 0 });
      await write(cluster, volume, BLOCKS + 4, 3);
      const lost = cluster.nodes[2]!;
      const at = { host: '127.0.0.1', port: lost.port };
      const which = { volumeId: 'v', replicaId: 'v-r3', epoch: coordinator.epoch };
      await cluster.coordinators.manager.delete(at, which);
      await cluster.until('it is out', () => cluster.volume!.state() === 'Degraded');
      const newcomer = { replicaId: 'v-r3', at, witness: false };
      await cluster.coordinators.makeNewcomer('v', BLOCKS * 2, newcomer);
      await cluster.until('it is there', () => coordinator.linkReason('v-r3') === '');
      await coordinator.changeMember('v-r3', { replicaId: 'v-r3', witness: false });
      for (const id of ['small', 'large']) {
        await cluster.until(`all hold ${id}`, () => allHold(cluster, id));
      }
      assert.equal(await inSnapshot(lost, 'small', 3), 1);
      assert.equal(await inSnapshot(lost, 'large', 3), 2);
      assert.equal(await inSnapshot(lost, 'large', BLOCKS + 3), 2);
      assert.equal(await inSnapshot(lost, 'large', BLOCKS + 4), 0);
      // What begins from the small one and grows has nothing there of what came later.
      await cluster.makeVolume(BLOCKS * 2, 3, { volumeId: 'w', from: 'small' });
      const copy = cluster.open(QUICK, 'w');
      await cluster.until('the copy is served', () => copy.state() === 'Healthy');
      await copy.coordinator.crossScrub(0, BLOCKS * 2);
      const [grown] = lost.pool.volumes().filter(({ name }) => name.startsWith('replica/w/'));
      for (const [lba, byte] of [
        [3, 1],
        [BLOCKS + 3, 0],
        [BLOCKS + 4, 0],
      ] as const) {
        assert.equal(await readFrom(lost, grown!, lba), byte);
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
