// What replication asks of every store: versions, checksums, installs, changed-since, contig. Rules: docs/consistency.md.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../../src/base/index.ts';
import { BlockOpKind, type DataBuffer, IoStatus } from '../../src/block/index.ts';
import {
  BLOCK_TAG_BYTES,
  BlockKind,
  BlockTags,
  type ChangedRun,
  type Pool,
  STORE_BLOCK_BYTES,
  StoreOp,
  type StoreVersion,
  type StoreVolume,
  WriteGuard,
} from '../../src/store/index.ts';
import { kinds, MIB, type World } from './worlds.ts';

const BLOCKS = 1024;
/** One block to install: data filled with `value`, or a hole where it is null. */
type Copy = { value: number | null; epoch: number; op: number };

function version(epoch: number, op: number): StoreVersion {
  return { epoch, op };
}

class Replica {
  readonly world: World;
  readonly volume: StoreVolume;

  constructor(world: World, volume: StoreVolume) {
    this.world = world;
    this.volume = volume;
  }

  take(bytes: number): DataBuffer {
    const buffer = this.world.buffers.allocate(bytes);
    assert(buffer !== null);
    return buffer;
  }

  run(op: StoreOp, epoch: number, opNumber: number, tagged: boolean): Promise<IoStatus> {
    return new Promise((resolve) => {
      op.lower = { onBlockDone: (_op, status) => resolve(status) };
      if (tagged) this.volume.submitTagged(op, epoch, opNumber);
      else this.volume.submit(op, epoch, opNumber);
    });
  }

  async write(lba: number, values: number[], epoch: number, op: number, crcs?: number[]) {
    const data = this.take(values.length * STORE_BLOCK_BYTES);
    values.forEach((value, index) => {
      data.bytes.fill(value, index * STORE_BLOCK_BYTES, (index + 1) * STORE_BLOCK_BYTES);
    });
    const request = new StoreOp();
    request.begin(BlockOpKind.Write, lba, values.length, data, 0, false, request.owner);
    const tagBuffer = this.take(values.length * BLOCK_TAG_BYTES);
    if (crcs !== undefined) {
      request.tags = new BlockTags(tagBuffer);
      crcs.forEach((crc, index) => {
        request.tags?.set(index, BlockKind.Data, 0, 0, crc);
      });
    }
    const status = await this.run(request, epoch, op, crcs !== undefined);
    data.release();
    tagBuffer.release();
    return { status, failedLba: request.failedLba };
  }

  async unmap(lba: number, blocks: number, epoch: number, op: number) {
    const request = new StoreOp();
    request.begin(BlockOpKind.Unmap, lba, blocks, null, 0, false, request.owner);
    assert.equal(await this.run(request, epoch, op, false), IoStatus.Ok);
  }

  async flush() {
    const request = new StoreOp();
    request.begin(BlockOpKind.Flush, 0, 0, null, 0, false, request.owner);
    assert.equal(await this.run(request, 0, 0, false), IoStatus.Ok);
  }

  /** Which of the copies were installed. */
  async install(lba: number, copies: Copy[], guard: WriteGuard, join: StoreVersion) {
    const data = this.take(copies.length * STORE_BLOCK_BYTES);
    const tagBuffer = this.take(copies.length * BLOCK_TAG_BYTES);
    const request = new StoreOp();
    request.begin(BlockOpKind.Write, lba, copies.length, data, 0, false, request.owner);
    request.guard = guard;
    const tags = new BlockTags(tagBuffer);
    request.tags = tags;
    copies.forEach(({ value, epoch, op }, index) => {
      const block = data.bytes.subarray(index * STORE_BLOCK_BYTES, (index + 1) * STORE_BLOCK_BYTES);
      block.fill(value ?? 0xee);
      const kind = value !== null ? BlockKind.Data : op === 0 ? BlockKind.Empty : BlockKind.Hole;
      tags.set(index, kind, epoch, op, value === null ? 0 : crc32c(block));
    });
    const status = await this.run(request, join.epoch, join.op, true);
    assert.equal(status, IoStatus.Ok);
    const installed = copies.map((_, index) => tags.installed(index));
    data.release();
    tagBuffer.release();
    return installed;
  }

  /** Kind, version and value of each block, the checksum checked. */
  async look(lba: number, blocks: number, tagsOnly = false) {
    const data = this.take(blocks * STORE_BLOCK_BYTES);
    const tagBuffer = this.take(blocks * BLOCK_TAG_BYTES);
    const tags = new BlockTags(tagBuffer);
    const request = new StoreOp();
    request.begin(BlockOpKind.Read, lba, blocks, tagsOnly ? null : data, 0, false, request.owner);
    request.tags = tags;
    request.tagsOnly = tagsOnly;
    assert.equal(await this.run(request, 0, 0, true), IoStatus.Ok);
    const found = Array.from({ length: blocks }, (_, index) => {
      const block = data.bytes.subarray(index * STORE_BLOCK_BYTES, (index + 1) * STORE_BLOCK_BYTES);
      const kind = tags.kind(index);
      if (kind === BlockKind.Data && !tagsOnly) assert.equal(crc32c(block), tags.crc(index));
      return [kind, tags.epoch(index), tags.op(index), tagsOnly ? tags.crc(index) : block[7]!];
    });
    data.release();
    tagBuffer.release();
    return found;
  }

  async changed(since: StoreVersion, maxRuns = 1000): Promise<ChangedRun[]> {
    const all: ChangedRun[] = [];
    for (let lba = 0; lba < this.volume.info().sizeBlocks; ) {
      lba = await new Promise<number>((resolve, reject) => {
        this.volume.changedSince(since, lba, maxRuns, (status, runs, next) => {
          if (status !== IoStatus.Ok || runs.length > maxRuns) reject(new Error(`ended ${status}`));
          all.push(...runs);
          resolve(next);
        });
      });
    }
    return all;
  }
}

for (const kind of kinds) {
  describe(`a store for replicas, ${kind.name}`, () => {
    let world: World;
    let pool: Pool;
    before(async () => {
      world = await kind.make(64 * MIB);
      pool = world.pool;
    });
    after(() => world.dispose());

    async function aReplica(sizeBlocks = BLOCKS): Promise<Replica> {
      const id = randomUUID();
      const options = { id, name: id, sizeBlocks, holeFloor: version(0, 0) };
      return new Replica(world, await pool.createVolume(options));
    }

    it('changes a block to a higher version only', async () => {
      const replica = await aReplica();
      await replica.write(0, [1, 2, 3], 1, 5);
      await replica.write(1, [9], 1, 4);
      await replica.unmap(0, 1, 1, 3);
      await replica.write(2, [7], 2, 1);
      assert.deepEqual(await replica.look(0, 4), [
        [BlockKind.Data, 1, 5, 1],
        [BlockKind.Data, 1, 5, 2],
        [BlockKind.Data, 2, 1, 7],
        [BlockKind.Empty, 0, 0, 0],
      ]);
    });

    it('leaves a hole with its version, on blocks that were never written too', async () => {
      const replica = await aReplica(1 << 30);
      await replica.write(300, [1], 1, 1);
      await replica.unmap(10, 1_000_000_000, 1, 2);
      await replica.write(400, [2], 1, 3);
      assert.deepEqual(await replica.look(300, 1), [[BlockKind.Hole, 1, 2, 0]]);
      assert.deepEqual(await replica.look(999_999_999, 1), [[BlockKind.Hole, 1, 2, 0]]);
      assert.deepEqual(await replica.look(9, 2), [
        [BlockKind.Empty, 0, 0, 0],
        [BlockKind.Hole, 1, 2, 0],
      ]);
      // A late copy of what was unmapped is older than the hole.
      assert.deepEqual(
        await replica.install(
          5_000_000,
          [{ value: 3, epoch: 1, op: 1 }],
          WriteGuard.Join,
          version(1, 2),
        ),
        [false],
      );
      assert.deepEqual(await replica.changed(version(1, 1)), [
        { lba: 10, blocks: 390, kind: BlockKind.Hole, epoch: 1, op: 2 },
        { lba: 400, blocks: 1, kind: BlockKind.Data, epoch: 1, op: 3 },
        { lba: 401, blocks: 999_999_609, kind: BlockKind.Hole, epoch: 1, op: 2 },
      ]);
      assert.equal(replica.volume.info().mappedBlocks, 1);
    });

    it('keeps no versions of holes at or below the floor', async () => {
      const replica = await aReplica();
      await replica.write(0, [1, 1, 1], 1, 1);
      await replica.volume.setMarks({ holeFloor: version(1, 2) });
      assert.deepEqual(replica.volume.info().holeFloor, version(1, 2));
      await replica.unmap(0, 1, 1, 2);
      await replica.unmap(1, 1, 1, 3);
      assert.deepEqual(await replica.look(0, 3), [
        [BlockKind.Empty, 0, 0, 0],
        [BlockKind.Hole, 1, 3, 0],
        [BlockKind.Data, 1, 1, 1],
      ]);
    });

    it('compares the data of a write with its checksums before it changes anything', async () => {
      const replica = await aReplica();
      const good = [1, 2, 3].map((value) => crc32c(Buffer.alloc(STORE_BLOCK_BYTES, value)));
      assert.deepEqual(await replica.write(126, [1, 2, 3], 1, 1, good), {
        status: IoStatus.Ok,
        failedLba: 0,
      });
      const bad = [good[0]!, good[1]!, 0];
      assert.deepEqual(await replica.write(200, [1, 2, 3], 1, 2, bad), {
        status: IoStatus.Damaged,
        failedLba: 202,
      });
      assert.deepEqual(await replica.look(200, 1), [[BlockKind.Empty, 0, 0, 0]]);
      assert.deepEqual(await replica.look(126, 3, true), [
        [BlockKind.Data, 1, 1, good[0]],
        [BlockKind.Data, 1, 1, good[1]],
        [BlockKind.Data, 1, 1, good[2]],
      ]);
    });

    it('installs a copy by the rule of B4, back to an older version too, and after a reopening', async () => {
      let replica = await aReplica();
      const { name } = replica.volume;
      await replica.write(0, [1, 1, 1, 1, 1], 1, 7); // Divergent, below j.
      await replica.write(1, [2], 3, 1); // Live, at or above j.
      const join = version(3, 0);
      const copies = [
        { value: 5, epoch: 1, op: 4 }, // Older: back to it.
        { value: 5, epoch: 1, op: 4 }, // A live op has won.
        { value: null, epoch: 1, op: 5 }, // A hole.
        { value: 1, epoch: 1, op: 7 }, // Equal: skipped.
        { value: null, epoch: 0, op: 0 }, // Never written at the source.
        { value: 6, epoch: 1, op: 3 }, // Nothing here yet.
      ];
      const installed = [true, false, true, false, true, true];
      assert.deepEqual(await replica.install(0, copies, WriteGuard.Join, join), installed);
      const expected = [
        [BlockKind.Data, 1, 4, 5],
        [BlockKind.Data, 3, 1, 2],
        [BlockKind.Hole, 1, 5, 0],
        [BlockKind.Data, 1, 7, 1],
        [BlockKind.Empty, 0, 0, 0],
        [BlockKind.Data, 1, 3, 6],
      ];
      assert.deepEqual(await replica.look(0, 6), expected);
      assert.deepEqual(
        await replica.install(0, copies, WriteGuard.Join, join),
        installed.map(() => false),
      );
      pool = await world.reopen();
      replica = new Replica(world, pool.volume(name)!);
      assert.deepEqual(await replica.look(0, 6), expected);
      assert.equal(replica.volume.info().mappedBlocks, 4);
    });

    it('takes over that a block is damaged, until it is overwritten, and after a reopening', async () => {
      let replica = await aReplica();
      const { name } = replica.volume;
      await replica.write(0, [1, 2, 3], 1, 1);
      const spoil = async (op: number): Promise<boolean[]> => {
        const data = replica.take(STORE_BLOCK_BYTES);
        const tagBuffer = replica.take(BLOCK_TAG_BYTES);
        const request = new StoreOp();
        request.begin(BlockOpKind.Write, 1, 1, data, 0, false, request.owner);
        request.guard = WriteGuard.Join;
        request.tags = new BlockTags(tagBuffer);
        request.tags.set(0, BlockKind.Unknown, 1, op, 0);
        assert.equal(await replica.run(request, 9, 0, true), IoStatus.Ok);
        const installed = request.tags.installed(0);
        data.release();
        tagBuffer.release();
        return [installed];
      };
      assert.deepEqual(await spoil(1), [false], 'of this version there is data here');
      assert.deepEqual(await spoil(5), [true]);
      const verify = async () => {
        const request = new StoreOp();
        request.begin(BlockOpKind.Verify, 0, 3, null, 0, false, request.owner);
        return { status: await replica.run(request, 0, 0, false), failedLba: request.failedLba };
      };
      const read = async () => {
        const data = replica.take(3 * STORE_BLOCK_BYTES);
        const tagBuffer = replica.take(3 * BLOCK_TAG_BYTES);
        const request = new StoreOp();
        request.begin(BlockOpKind.Read, 0, 3, data, 0, false, request.owner);
        const tags = new BlockTags(tagBuffer);
        request.tags = tags;
        const status = await replica.run(request, 0, 0, true);
        const damaged = [0, 1, 2].map((index) => tags.damaged(index));
        const found = [status, request.failedLba, damaged, tags.op(1)];
        data.release();
        tagBuffer.release();
        return found;
      };
      const expected = [IoStatus.Damaged, 1, [false, true, false], 5];
      assert.deepEqual(await read(), expected);
      assert.deepEqual(await verify(), { status: IoStatus.Damaged, failedLba: 1 });
      await replica.flush();
      pool = await world.reopen();
      replica = new Replica(world, pool.volume(name)!);
      assert.deepEqual(await read(), expected);
      // A rebuild and a recovery see that there is something of that version (B2, V4).
      const changed = await replica.changed(version(1, 4));
      assert.deepEqual(
        changed.map(({ lba, blocks, op }) => [lba, blocks, op]),
        [[1, 1, 5]],
      );
      await replica.write(1, [7], 1, 6);
      assert.deepEqual(await replica.look(1, 1), [[BlockKind.Data, 1, 6, 7]]);
      assert.equal((await verify()).status, IoStatus.Ok);
    });

    it('repairs a block only if it still has the version that was read', async () => {
      const replica = await aReplica();
      await replica.write(0, [1], 1, 1);
      const exact = async (op: number) =>
        replica.install(0, [{ value: 1, epoch: 1, op }], WriteGuard.Exact, version(0, 0));
      assert.deepEqual(await exact(2), [false]);
      assert.deepEqual(await exact(1), [true]);
      await replica.write(0, [2], 1, 3);
      assert.deepEqual(await exact(1), [false]);
      assert.deepEqual(await replica.look(0, 1), [[BlockKind.Data, 1, 3, 2]]);
    });

    it('repairs what a clone has from its snapshot, by the version that it shows', async () => {
      const origin = await aReplica();
      await origin.write(3, [1], 4, 9);
      const { name } = origin.volume;
      const cut = { volume: name, name: 's', id: randomUUID(), epoch: 4, opNumber: 10 };
      await pool.createSnapshots([cut], 0);
      const id = randomUUID();
      const clone = new Replica(
        world,
        await pool.cloneSnapshot(`${name}@s`, { id, name: 'clone' }),
      );
      await clone.volume.setMarks({ holeFloor: version(4, 10), contig: version(4, 10) });
      assert.deepEqual(await clone.look(3, 1), [[BlockKind.Data, 4, 9, 1]]);
      const exact = async (op: number) =>
        clone.install(3, [{ value: 1, epoch: 4, op }], WriteGuard.Exact, version(0, 0));
      assert.deepEqual(await exact(8), [false]);
      assert.deepEqual(await exact(9), [true]);
      assert.deepEqual(await clone.look(3, 1), [[BlockKind.Data, 4, 9, 1]]);
    });

    it('says how far the changes are applied, and what a flush covered', async () => {
      let replica = await aReplica();
      const { name } = replica.volume;
      await replica.write(0, [1], 1, 1);
      await replica.write(100, new Array<number>(300).fill(2), 1, 2);
      assert.deepEqual(replica.volume.info().contig, version(1, 2));
      await replica.flush();
      await replica.unmap(0, 500, 1, 9);
      assert.deepEqual(replica.volume.info().durable, version(1, 2));
      assert.deepEqual(replica.volume.info().contig, version(1, 9));
      pool = await world.reopen();
      replica = new Replica(world, pool.volume(name)!);
      assert.deepEqual(replica.volume.info().contig, version(1, 9));
      await replica.volume.setMarks({ contig: version(1, 5) });
      assert.deepEqual(replica.volume.info().contig, version(1, 5));
    });

    it('keeps the ids of its last sixteen openings', async () => {
      const first = pool.openIds();
      pool = await world.reopen();
      assert.deepEqual(pool.openIds().slice(0, -1), first.slice(-15));
      assert.equal(new Set(pool.openIds()).size, pool.openIds().length);
    });

    it('promises room that writes then find', async () => {
      const replica = await aReplica(100_000);
      const credit = pool.creditBlocks();
      assert(credit > 1000, `${credit} blocks`);
      const before = pool.stats().dataBlocks;
      // Each in a leaf of its own: the worst case for the map.
      for (let index = 0; index < Math.min(credit, 700); index += 1) {
        const { status } = await replica.write(index * 128, [index & 0xff], 9, index + 1);
        assert.equal(status, IoStatus.Ok);
      }
      assert(pool.stats().dataBlocks > before);
    });

    it('lists what changed as a model does, in any pieces', async () => {
      const replica = await aReplica();
      const change = fc.record({
        lba: fc.integer({ min: 0, max: BLOCKS - 1 }),
        blocks: fc.integer({ min: 1, max: 200 }),
        hole: fc.boolean(),
      });
      let op = 0;
      const model = new Map<number, [kind: BlockKind, op: number]>();
      await fc.assert(
        fc.asyncProperty(
          fc.array(change, { minLength: 1, maxLength: 8 }),
          fc.integer({ min: 1, max: 50 }),
          async (changes, maxRuns) => {
            const since = op;
            for (const { lba, blocks, hole } of changes) {
              op += 1;
              const count = Math.min(blocks, BLOCKS - lba);
              if (hole) await replica.unmap(lba, count, 1, op);
              else await replica.write(lba, new Array<number>(count).fill(op & 0xff), 1, op);
              const now = hole ? BlockKind.Hole : BlockKind.Data;
              for (let at = lba; at < lba + count; at += 1) model.set(at, [now, op]);
            }
            const found = new Map<number, [kind: BlockKind, op: number]>();
            for (const run of await replica.changed(version(1, since), maxRuns)) {
              for (let at = run.lba; at < run.lba + run.blocks; at += 1) {
                assert(!found.has(at));
                found.set(at, [run.kind, run.op]);
              }
            }
            const expected = [...model].filter(([, [, changed]]) => changed > since);
            const byLba = ([a]: [number, unknown], [b]: [number, unknown]) => a - b;
            assert.deepEqual([...found].sort(byLba), expected.sort(byLba));
          },
        ),
        { numRuns: 25 },
      );
    });
  });
}
