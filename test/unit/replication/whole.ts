// Words for tests of a whole cluster: blocks written and read through its volume, and what each replica holds for itself.
import assert from 'node:assert/strict';
import { BlockOp, BlockOpKind, IoStatus } from '../../../src/block/index.ts';
import { MemoryPool } from '../../../src/store/index.ts';
import type { Volume } from '../../../src/volume/index.ts';
import { type ACluster, type ANode, run } from './cluster.ts';

/** One block, filled with `byte`. Resolves with how it ended. */
export async function tryWrite(
  cluster: ACluster,
  volume: Volume,
  lba: number,
  byte: number,
): Promise<IoStatus> {
  const data = cluster.buffers.allocate(4096)!;
  data.bytes.fill(byte);
  const status = await run(volume, cluster.turn, BlockOpKind.Write, lba, 1, data);
  data.release();
  return status;
}

export async function write(
  cluster: ACluster,
  volume: Volume,
  lba: number,
  byte: number,
): Promise<void> {
  assert.equal(await tryWrite(cluster, volume, lba, byte), IoStatus.Ok);
}

/** The byte that fills the block; -1 if no one byte does. */
export async function read(cluster: ACluster, volume: Volume, lba: number): Promise<number> {
  const data = cluster.buffers.allocate(4096)!;
  data.bytes.fill(0xee);
  assert.equal(await run(volume, cluster.turn, BlockOpKind.Read, lba, 1, data), IoStatus.Ok);
  const byte = fillOf(data.bytes);
  data.release();
  return byte;
}

function fillOf(bytes: Uint8Array): number {
  const [byte = -1] = bytes;
  return bytes.every((other) => other === byte) ? byte : -1;
}

/** What the node's replica of the volume holds: a byte a block, as `read` tells it. */
export async function contents(
  node: ANode,
  replicaId: string,
  blocks: number,
  volumeId = 'v',
): Promise<number[]> {
  const replica = node.pool.volume(`replica/${volumeId}/${replicaId}`);
  assert.ok(replica !== null, `${node.name} has no ${replicaId}`);
  const found: number[] = [];
  for (let lba = 0; lba < blocks; lba += 1) {
    const data = node.buffers.allocate(4096)!;
    const status = await new Promise<IoStatus>((resolve) => {
      const owner = { onBlockDone: (_op: BlockOp, end: IoStatus) => resolve(end) };
      const op = new BlockOp().begin(BlockOpKind.Read, lba, 1, data, 0, false, owner);
      op.lower = owner;
      node.turn.enter();
      replica.submit(op, 0, 0);
      node.turn.leave();
    });
    assert.equal(status, IoStatus.Ok, `${node.name}, block ${lba}`);
    found.push(fillOf(data.bytes));
    data.release();
  }
  return found;
}

/** Every replica of the volume holds the same, byte for byte; that is returned. */
export async function alike(cluster: ACluster, blocks: number): Promise<number[]> {
  let first: number[] | null = null;
  for (const { replicaId } of cluster.volume!.coordinator.record!.members) {
    const found = await contents(nodeOf(cluster, replicaId), replicaId, blocks);
    first ??= found;
    assert.deepEqual(found, first, `${replicaId} differs`);
  }
  return first!;
}

export function nodeOf(cluster: ACluster, replicaId: string): ANode {
  return cluster.places.get(replicaId)!;
}

/** The node's pool, which takes orders to fail. */
export function memoryOf(node: ANode): MemoryPool {
  assert.ok(node.pool instanceof MemoryPool);
  return node.pool;
}

/**
 * All nodes stop; the first two come back with what they had flushed, and the coordinator goes on with them when it has said so
 * (`isDeclared`). The third, which has all, comes too late.
 */
export async function loseCaches(cluster: ACluster, isDeclared: () => boolean): Promise<void> {
  for (const node of cluster.nodes) node.stop();
  for (const node of cluster.nodes.slice(0, 2)) {
    const pool = memoryOf(node);
    pool.fault('a flush failed');
    pool.powerCut();
    pool.reopen();
    await node.start();
  }
  await cluster.until('the loss is declared', isDeclared);
  await cluster.nodes[2]!.start();
}

/** The node's disk is gone; a new one is in its place. */
export function newDisk(node: ANode): void {
  assert.equal(node.replicas, null, 'stop it first');
  node.pool = new MemoryPool({ name: node.name });
}

export async function healthy(cluster: ACluster): Promise<void> {
  await cluster.until('healthy', () => cluster.volume!.state() === 'Healthy');
}

export async function degraded(cluster: ACluster): Promise<void> {
  await cluster.until('degraded', () => cluster.volume!.state() === 'Degraded');
}

/** Work on a cluster of so many nodes, with a volume of `blocks` on the first `replicas`, served. */
export async function withVolume(
  cluster: ACluster,
  { blocks, replicas }: { blocks: number; replicas: number },
  work: (volume: Volume) => Promise<void>,
): Promise<void> {
  try {
    await cluster.start();
    await cluster.makeVolume(blocks, replicas);
    cluster.open();
    await work(await cluster.serving());
  } finally {
    await cluster.stop();
  }
}
