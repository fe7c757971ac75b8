// A pool in memory with the replicas that it holds, and a volume of which one is to be made.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { SystemClock, silentLog, Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  type BlockOpKind,
  DataBufferPool,
  IoStatus,
  MAX_BUFFER_BYTES,
} from '../../../src/block/index.ts';
import { ReplicaHost } from '../../../src/replica/host.ts';
import { MemoryPool, type StoreVolume } from '../../../src/store/index.ts';
import { initialRecord } from '../../../src/wire/record.ts';

export const ID = { volumeId: 'v-uid', replicaId: 'r1' };
export const STORE = 'replica/v-uid/r1';

export class APool {
  readonly turn = new Turn();
  readonly pool = new MemoryPool({ name: 'p', turn: this.turn });
  readonly buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 4));
  readonly host = new ReplicaHost({
    pool: this.pool,
    buffers: this.buffers,
    turn: this.turn,
    clock: new SystemClock(),
    log: silentLog,
    leaseMs: 1000,
  });

  async begin(id: string = randomUUID()): Promise<StoreVolume> {
    this.host.start();
    return await this.pool.createVolume({ id, name: 'db', sizeBlocks: 64 });
  }

  /** The names of what it holds, snapshots too. */
  get held(): string[] {
    const volumes = this.pool.volumes().map(({ name }) => name);
    return volumes.flatMap((name) => [name, ...this.pool.snapshots(name).map((one) => one.name)]);
  }

  async io(volume: StoreVolume, kind: BlockOpKind, lba: number, op: number, byte = 0) {
    const data = this.buffers.allocate(4096)!;
    data.bytes.fill(byte, 0, 4096);
    const status = await new Promise<IoStatus>((resolve) => {
      const owner = { onBlockDone: (_op: BlockOp, ended: IoStatus) => resolve(ended) };
      const block = new BlockOp().begin(kind, lba, 1, data, 0, false, owner);
      block.lower = owner;
      this.turn.enter();
      volume.submit(block, 1, op);
      this.turn.leave();
    });
    assert.equal(status, IoStatus.Ok);
    const [first] = data.bytes;
    data.release();
    return first;
  }

  adopt(op: number): Promise<void> {
    return this.host.adopt({ ...ID, from: 'db', version: { epoch: 1, op } });
  }

  async record(op: number): Promise<void> {
    const { identity } = this.host.find(ID.volumeId, ID.replicaId)!.identity;
    const { storeId, openId, bootId } = identity;
    const member = { replicaId: ID.replicaId, storeId, openId, bootId, witness: false };
    const base = { epoch: 1, op };
    const blobs = [{ key: 'scsi.pr', value: Uint8Array.of(7) }];
    const of = { volumeId: ID.volumeId, sizeBlocks: 64, members: [member], base, blobs };
    await this.host.begin(initialRecord(of), ID.replicaId);
  }

  get store(): StoreVolume {
    return this.pool.volume(STORE)!;
  }
}
