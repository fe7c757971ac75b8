// docs/on-disk-format.md is enough for a second implementation: a reader written from it alone finds in a pool what the
// engine finds, after a clean end and after none.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { crc32c, Turn } from '../../src/base/index.ts';
import { BlockOpKind, DataBufferPool, IoStatus } from '../../src/block/index.ts';
import {
  BLOCK_TAG_BYTES,
  BlockKind,
  BlockTags,
  createPoolFile,
  nativeArena,
  openPool,
  StoreOp,
  type StoreVolume,
  WriteGuard,
} from '../../src/store/index.ts';
import { BLOCK } from './bytes.ts';
import { PoolReader, type ReadVolume } from './reader.ts';

const MIB = 1024 * 1024;
const SIZE = 3000;

/** xorshift32: the same operations at each run. */
function randomBelow(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}

class Host {
  readonly buffers = new DataBufferPool(nativeArena(32 * MIB));
  readonly below = randomBelow(20_261);
  op = 0;

  run(volume: StoreVolume, request: StoreOp, epoch = 1, op = this.op): Promise<void> {
    return new Promise((resolve, reject) => {
      request.lower = {
        onBlockDone: (_op, status) =>
          status === IoStatus.Ok ? resolve() : reject(new Error(`ended ${status}`)),
      };
      volume.submitTagged(request, epoch, op);
    });
  }

  async write(volume: StoreVolume, lba: number, blocks: number, atomic: boolean): Promise<void> {
    this.op += 1;
    const data = this.buffers.allocate(blocks * BLOCK)!;
    for (let i = 0; i < blocks; i += 1) {
      data.bytes.fill(this.below(256), i * BLOCK, (i + 1) * BLOCK);
      data.bytes.writeUInt32LE(this.op, i * BLOCK);
    }
    const request = new StoreOp();
    request.begin(BlockOpKind.Write, lba, blocks, data, 0, false, request.owner);
    request.atomic = atomic;
    await this.run(volume, request);
    data.release();
  }

  async unmap(volume: StoreVolume, lba: number, blocks: number): Promise<void> {
    this.op += 1;
    const request = new StoreOp();
    request.begin(BlockOpKind.Unmap, lba, blocks, null, 0, false, request.owner);
    await this.run(volume, request);
  }

  /** Copies of older versions, with holes between them. */
  async install(volume: StoreVolume, lba: number, blocks: number): Promise<void> {
    const data = this.buffers.allocate(blocks * BLOCK)!;
    const tagBuffer = this.buffers.allocate(blocks * BLOCK_TAG_BYTES)!;
    const request = new StoreOp();
    request.begin(BlockOpKind.Write, lba, blocks, data, 0, false, request.owner);
    request.guard = WriteGuard.Join;
    const tags = new BlockTags(tagBuffer);
    request.tags = tags;
    for (let i = 0; i < blocks; i += 1) {
      const block = data.bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
      block.fill(this.below(256));
      const hole = this.below(3) === 0;
      tags.set(i, hole ? BlockKind.Hole : BlockKind.Data, 0, this.op + i, hole ? 0 : crc32c(block));
    }
    await this.run(volume, request, 1, this.op + 1);
    data.release();
    tagBuffer.release();
  }

  async bytesOf(volume: StoreVolume, lba: number, blocks: number): Promise<Buffer> {
    const data = this.buffers.allocate(blocks * BLOCK)!;
    const request = new StoreOp();
    request.begin(BlockOpKind.Read, lba, blocks, data, 0, false, request.owner);
    await this.run(volume, request);
    const copy = Buffer.from(data.bytes.subarray(0, blocks * BLOCK));
    data.release();
    return copy;
  }

  async someChanges(volume: StoreVolume, count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      const blocks = 1 + this.below(this.below(5) === 0 ? 200 : 12);
      const lba = this.below(SIZE - blocks);
      const dice = this.below(10);
      if (dice < 6) await this.write(volume, lba, blocks, dice === 0 && blocks <= 200);
      else if (dice < 8) await this.unmap(volume, lba, blocks);
      else if (volume.info().holeFloor !== null) await this.install(volume, lba, blocks % 100 || 1);
    }
  }

  async compare(reader: PoolReader, volume: StoreVolume, found: ReadVolume | undefined) {
    assert(found !== undefined, `the reader finds no ${volume.name}`);
    assert.equal(found.id, volume.id);
    assert.equal(found.sizeBlocks, volume.info().sizeBlocks);
    for (let lba = 0; lba < found.sizeBlocks; lba += 100) {
      const blocks = Math.min(100, found.sizeBlocks - lba);
      const expected = await this.bytesOf(volume, lba, blocks);
      for (let i = 0; i < blocks; i += 1) {
        const same = reader
          .read(found, lba + i)
          .equals(expected.subarray(i * BLOCK, (i + 1) * BLOCK));
        assert(same, `${volume.name}: block ${lba + i} differs`);
      }
    }
  }
}

describe('the on-disk format', () => {
  it('is read by a second implementation, after a clean end and after none', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ashlar-format-'));
    try {
      const path = join(folder, 'pool');
      const image = join(folder, 'image');
      const host = new Host();
      const owner = { id: randomUUID(), name: 'alpha' };
      const options = { path, turn: new Turn(), buffers: host.buffers, owner };
      await createPoolFile({ path, sizeBytes: 128 * MIB, name: 'format' });
      let pool = await openPool(options);
      const create = (name: string, holeFloor: { epoch: number; op: number } | null) =>
        pool.createVolume({ id: randomUUID(), name, sizeBlocks: SIZE, holeFloor });
      const alone = await create('alone', null);
      const replica = await create('replica', { epoch: 0, op: 0 });
      await host.someChanges(alone, 60);
      await host.someChanges(replica, 60);
      host.op += 1;
      await pool.createSnapshots(
        [
          { volume: 'alone', name: 'first', id: randomUUID(), epoch: 1, opNumber: host.op },
          { volume: 'replica', name: 'first', id: randomUUID(), epoch: 1, opNumber: host.op },
        ],
        1,
      );
      await host.someChanges(alone, 30);
      await pool.checkpoint();
      await host.someChanges(alone, 40);
      await host.someChanges(replica, 40);
      await host.unmap(replica, 100, SIZE - 200);
      await alone.resize(SIZE + 77);
      const late = await create('late', null);
      await host.someChanges(late, 20);
      const names = ['alone', 'replica', 'late'];
      const compareAll = async (reader: PoolReader): Promise<void> => {
        for (const name of names)
          await host.compare(reader, pool.volume(name)!, reader.volume(name));
        for (const name of names.slice(0, 2)) {
          const snapshot = pool.snapshot(`${name}@first`)!;
          const found = reader.snapshot(name, 'first');
          await host.compare(reader, snapshot, found);
        }
      };

      // As a kill would leave it: nothing is under way, and nothing was closed.
      copyFileSync(path, image);
      let reader = new PoolReader([image]);
      assert.deepEqual([reader.owner.id, reader.owner.name], [owner.id, owner.name]);
      assert(Math.abs(reader.owner.sinceS - Date.now() / 1000) < 600, `${reader.owner.sinceS}`);
      assert(reader.replayed > 60, `${reader.replayed} log entries`);
      assert.equal(reader.dropped, 0);
      await compareAll(reader);
      reader.close();

      // Another one, and the same again.
      host.op += 1;
      const id = randomUUID();
      await pool.createSnapshots(
        [{ volume: 'alone', name: 'second', id, epoch: 1, opNumber: host.op }],
        2,
      );
      await host.someChanges(alone, 10);
      const compareSecond = (): Promise<void> =>
        host.compare(reader, pool.snapshot('alone@second')!, reader.snapshot('alone', 'second'));
      copyFileSync(path, image);
      reader = new PoolReader([image]);
      await compareAll(reader);
      await compareSecond();
      reader.close();

      await pool.close();
      pool = await openPool(options);
      reader = new PoolReader([path]);
      await compareAll(reader);
      await compareSecond();
      reader.close();
      await pool.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
