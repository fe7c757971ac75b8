// What every store keeps, whoever implements it: the native engine on a file in RAM and on disk, and the twin in memory.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  BlockOp,
  BlockOpKind,
  type DataBuffer,
  type DataBufferPool,
  IoStatus,
  type MapExtent,
} from '../../src/block/index.ts';
import {
  MAX_ATOMIC_BLOCKS,
  MAX_BLOB_BYTES,
  type Pool,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreSnapshot,
  type StoreVolume,
} from '../../src/store/index.ts';
import { kinds, MIB, type World } from './worlds.ts';

let version = 0;

interface Request {
  readonly lba?: number;
  readonly blocks?: number;
  readonly data?: DataBuffer | null;
  readonly fua?: boolean;
  readonly atomic?: boolean;
}

function start(
  volume: StoreVolume,
  kind: BlockOpKind,
  request: Request,
  done: (status: IoStatus, op: BlockOp) => void,
): void {
  const { lba = 0, blocks = 1, data = null, fua = false, atomic = false } = request;
  const owner = { onBlockDone: (op: BlockOp, status: IoStatus) => done(status, op) };
  const op = new BlockOp().begin(kind, lba, blocks, data, 0, fua, owner);
  op.atomic = atomic;
  op.lower = owner;
  version += 1;
  volume.submit(op, 1, version);
}

function run(volume: StoreVolume, kind: BlockOpKind, request: Request = {}): Promise<IoStatus> {
  return new Promise((resolve) => start(volume, kind, request, resolve));
}

function filled(buffers: DataBufferPool, blocks: number, value: number): DataBuffer {
  const buffer = buffers.allocate(blocks * STORE_BLOCK_BYTES);
  assert(buffer !== null);
  buffer.bytes.fill(value);
  return buffer;
}

async function write(
  world: World,
  volume: StoreVolume,
  lba: number,
  blocks: number,
  value: number,
) {
  const data = filled(world.buffers, blocks, value);
  const status = await run(volume, BlockOpKind.Write, { lba, blocks, data });
  data.release();
  return status;
}

/** The one value that fills each block read; -1 for a block that is not all one value. */
async function read(world: World, volume: StoreVolume, lba: number, blocks: number) {
  const data = filled(world.buffers, blocks, 0xee);
  assert.equal(await run(volume, BlockOpKind.Read, { lba, blocks, data }), IoStatus.Ok);
  const values: number[] = [];
  for (let index = 0; index < blocks; index += 1) {
    const block = data.bytes.subarray(index * STORE_BLOCK_BYTES, (index + 1) * STORE_BLOCK_BYTES);
    const value = block[0]!;
    values.push(block.every((byte) => byte === value) ? value : -1);
  }
  data.release();
  return values;
}

function mapOf(volume: StoreVolume, lba: number, maxExtents: number) {
  return new Promise<readonly MapExtent[]>((resolve) => {
    volume.mapStatus(lba, maxExtents, (status, extents) => {
      assert.equal(status, IoStatus.Ok);
      resolve(extents);
    });
  });
}

function aVolume(pool: Pool, name: string, sizeBlocks = 1024): Promise<StoreVolume> {
  return pool.createVolume({ id: randomUUID(), name, sizeBlocks });
}

function rejectsWith(code: StoreError['code']) {
  return (error: unknown) => error instanceof StoreError && error.code === code;
}

for (const kind of kinds) {
  describe(`a store ${kind.name}`, () => {
    let world: World;
    let pool: Pool;
    before(async () => {
      world = await kind.make(256 * MIB);
      pool = world.pool;
    });
    after(() => world.dispose());

    it('reads zeros where nothing was written, and what was written where something was', async () => {
      const volume = await aVolume(pool, 'fresh');
      assert.deepEqual(await read(world, volume, 0, 4), [0, 0, 0, 0]);
      assert.equal(await write(world, volume, 1, 2, 7), IoStatus.Ok);
      assert.deepEqual(await read(world, volume, 0, 4), [0, 7, 7, 0]);
      assert.equal(await write(world, volume, 2, 1, 9), IoStatus.Ok);
      assert.deepEqual(await read(world, volume, 0, 4), [0, 7, 9, 0]);
    });

    it('takes an atomic write anywhere, up to its limit', async () => {
      const volume = await aVolume(pool, 'atomic');
      await write(world, volume, 0, 512, 3);
      for (const [lba, blocks] of [
        [100, MAX_ATOMIC_BLOCKS],
        [5, 7],
        [127, 2],
      ] as const) {
        const data = filled(world.buffers, blocks, lba);
        const request = { lba, blocks, data, atomic: true };
        assert.equal(await run(volume, BlockOpKind.Write, request), IoStatus.Ok);
        data.release();
        const around = await read(world, volume, lba - 1, blocks + 2);
        assert.deepEqual(around.slice(1, -1), new Array(blocks).fill(lba));
        assert.notEqual(around[0], lba);
        assert.notEqual(around.at(-1), lba);
      }
    });

    it('gives space back on unmap and reads zeros there', async () => {
      const volume = await aVolume(pool, 'trimmed');
      await write(world, volume, 0, 64, 5);
      assert.equal(volume.info().mappedBlocks, 64);
      assert.equal(await run(volume, BlockOpKind.Unmap, { lba: 8, blocks: 48 }), IoStatus.Ok);
      assert.equal(volume.info().mappedBlocks, 16);
      assert.deepEqual(await read(world, volume, 7, 3), [5, 0, 0]);
    });

    it('shows its map in runs that begin where they were asked for', async () => {
      const volume = await aVolume(pool, 'mapped', 100);
      await write(world, volume, 10, 5, 1);
      await write(world, volume, 20, 5, 1);
      assert.deepEqual(await mapOf(volume, 12, 8), [
        { lba: 12, blocks: 3, mapped: true },
        { lba: 15, blocks: 5, mapped: false },
        { lba: 20, blocks: 5, mapped: true },
        { lba: 25, blocks: 75, mapped: false },
      ]);
      assert.equal((await mapOf(volume, 0, 2)).length, 2);
    });

    it('applies overlapping changes in the order of submission', async () => {
      const volume = await aVolume(pool, 'ordered');
      const data = [1, 2, 3, 4].map((value) => filled(world.buffers, 4, value));
      const statuses = await Promise.all([
        run(volume, BlockOpKind.Write, { lba: 0, blocks: 4, data: data[0]! }),
        run(volume, BlockOpKind.Write, { lba: 1, blocks: 3, data: data[1]! }),
        run(volume, BlockOpKind.Unmap, { lba: 2, blocks: 2 }),
        run(volume, BlockOpKind.Write, { lba: 3, blocks: 1, data: data[3]! }),
      ]);
      assert.deepEqual(statuses, [0, 0, 0, 0]);
      assert.deepEqual(await read(world, volume, 0, 5), [1, 2, 0, 4, 0]);
      for (const buffer of data) buffer.release();
    });

    it('answers flush, verify and FUA', async () => {
      const volume = await aVolume(pool, 'flushed');
      const data = filled(world.buffers, 1, 3);
      assert.equal(await run(volume, BlockOpKind.Write, { data, fua: true }), IoStatus.Ok);
      assert.equal(await run(volume, BlockOpKind.Flush, { blocks: 0 }), IoStatus.Ok);
      assert.equal(await run(volume, BlockOpKind.Verify, { blocks: 1024 }), IoStatus.Ok);
      assert.equal(await run(volume, BlockOpKind.Unmap, { blocks: 8, fua: true }), IoStatus.Ok);
      data.release();
    });

    it('answers each operation once, however many are submitted in one turn', async () => {
      const volume = await aVolume(pool, 'busy', 8192);
      const data = filled(world.buffers, 1, 6);
      const count = 10_000;
      let done = 0;
      await new Promise<void>((resolve) => {
        world.turn.enter();
        for (let index = 0; index < count; index += 1) {
          const kindOf = index % 2 === 0 ? BlockOpKind.Write : BlockOpKind.Flush;
          start(volume, kindOf, { lba: index % 8192, data }, (status) => {
            assert.equal(status, IoStatus.Ok);
            done += 1;
            if (done === count) resolve();
          });
        }
        world.turn.leave();
      });
      data.release();
      assert.equal(done, count);
    });

    it('refuses a range that leaves the volume', async () => {
      const volume = await aVolume(pool, 'edge', 16);
      const data = filled(world.buffers, 2, 1);
      const outside = { lba: 15, blocks: 2, data };
      assert.equal(await run(volume, BlockOpKind.Write, outside), IoStatus.OutOfRange);
      assert.equal(await run(volume, BlockOpKind.Read, outside), IoStatus.OutOfRange);
      assert.equal(await run(volume, BlockOpKind.Unmap, outside), IoStatus.OutOfRange);
      assert.deepEqual(await read(world, volume, 15, 1), [0]);
      data.release();
    });

    it('grows a volume and never shrinks one', async () => {
      const volume = await aVolume(pool, 'grown', 16);
      await volume.resize(32);
      assert.equal(volume.info().sizeBlocks, 32);
      assert.equal(await write(world, volume, 31, 1, 4), IoStatus.Ok);
      await assert.rejects(volume.resize(16), rejectsWith('STORE_INVALID'));
    });

    it('keeps names apart and frees them on deletion', async () => {
      const volume = await aVolume(pool, 'twice');
      await write(world, volume, 0, 8, 1);
      await assert.rejects(aVolume(pool, 'twice'), rejectsWith('STORE_EXISTS'));
      await assert.rejects(aVolume(pool, ''), rejectsWith('STORE_INVALID'));
      await assert.rejects(aVolume(pool, 'empty', 0), rejectsWith('STORE_INVALID'));
      await pool.deleteVolume('twice');
      assert.equal(pool.volume('twice'), null);
      await assert.rejects(pool.deleteVolume('twice'), rejectsWith('STORE_NOT_FOUND'));
      assert.equal(await run(volume, BlockOpKind.Flush, { blocks: 0 }), IoStatus.Offline);
      const next = await aVolume(pool, 'twice');
      assert.deepEqual(await read(world, next, 0, 2), [0, 0]);
    });

    it('gives a volume its part of the cache at once, takes it away at once, and keeps nothing of it', async () => {
      const volume = await aVolume(pool, 'tuned');
      await write(world, volume, 0, 4, 9);
      volume.tune({ cacheBytes: MIB, ioWorkers: 0 });
      assert.equal(volume.use().cacheBytes, MIB);
      assert.deepEqual(await read(world, volume, 0, 4), [9, 9, 9, 9]);
      volume.tune({ cacheBytes: null, ioWorkers: 0 });
      assert.equal(volume.use().cacheBytes, 0);
      volume.tune({ cacheBytes: 2 * MIB, ioWorkers: 0 });
      assert.deepEqual(await read(world, volume, 0, 4), [9, 9, 9, 9]);
      await pool.deleteVolume('tuned');
      assert.ok([0, 2 * MIB].includes(volume.use().cacheBytes));
      volume.tune({ cacheBytes: MIB, ioWorkers: 0 }); // Nothing to be done, and no error.
    });

    it('reads what was written, with workers, fewer and none, while reads are under way', async () => {
      const volume = await aVolume(pool, 'checked', 8 * 256);
      for (let index = 0; index < 8; index += 1) {
        await write(world, volume, index * 256, 256, index + 1);
      }
      const whole = (first: number) => [
        ...new Array<number>(128).fill(first),
        ...new Array<number>(128).fill(first),
      ];
      const readAll = async (): Promise<void> => {
        const all = Array.from({ length: 8 }, (_, index) => read(world, volume, index * 256, 256));
        assert.deepEqual(
          await Promise.all(all),
          Array.from({ length: 8 }, (_, index) => whole(index + 1)),
        );
      };
      const workersOf = () => volume.use().ioWorkers;
      for (const ioWorkers of [0, 2, 1, 4, 0]) {
        const reading = readAll();
        volume.tune({ cacheBytes: null, ioWorkers });
        assert.equal(workersOf(), ioWorkers);
        const before = volume.use().workerBlocks;
        await reading;
        await readAll();
        const checked = volume.use().workerBlocks - before;
        // At most what was read twice; with none, only what they had been given before.
        if (kind.name === 'in memory') assert.equal(checked, 0);
        else if (ioWorkers > 0) assert.ok(checked >= 8 * 128, `${checked} blocks`);
        else assert.ok(checked <= 8 * 256, `${checked} blocks`);
      }
      await pool.deleteVolume('checked');
    });

    it('keeps blobs, of a volume and of the pool, apart by key', async () => {
      const volume = await aVolume(pool, 'annotated');
      const put = (key: string, value: Uint8Array | null) =>
        new Promise<IoStatus>((resolve) => volume.putBlob(key, value, resolve));
      const large = new Uint8Array(MAX_BLOB_BYTES).fill(0x5a);
      assert.equal(await put('small', Uint8Array.of(1, 2, 3)), IoStatus.Ok);
      assert.equal(await put('large', large), IoStatus.Ok);
      await pool.putBlob('small', Uint8Array.of(9));
      assert.deepEqual(volume.getBlob('small'), Uint8Array.of(1, 2, 3));
      assert.deepEqual(volume.getBlob('large'), large);
      assert.deepEqual(pool.getBlob('small'), Uint8Array.of(9));
      assert.equal(await put('small', null), IoStatus.Ok);
      assert.equal(volume.getBlob('small'), null);
      assert.equal(volume.getBlob('never'), null);
    });

    it('keeps the version of the newest change', async () => {
      const volume = await aVolume(pool, 'versioned');
      const before = version;
      await write(world, volume, 0, 1, 1);
      assert.deepEqual([volume.info().epoch, volume.info().op], [1, before + 1]);
    });

    it('carries versions and places beyond 32 bits', async () => {
      const volume = await aVolume(pool, 'huge', 2 ** 34);
      const data = filled(world.buffers, 1, 8);
      const lba = 2 ** 33 + 5;
      const status = await new Promise<IoStatus>((resolve) => {
        const owner = { onBlockDone: (_: BlockOp, s: IoStatus) => resolve(s) };
        const op = new BlockOp().begin(BlockOpKind.Write, lba, 1, data, 0, false, owner);
        op.lower = owner;
        volume.submit(op, 2 ** 24 - 1, 2 ** 40 - 1);
      });
      assert.equal(status, IoStatus.Ok);
      assert.deepEqual(await read(world, volume, lba - 1, 3), [0, 8, 0]);
      assert.deepEqual(await read(world, volume, 5, 1), [0]);
      assert.deepEqual([volume.info().epoch, volume.info().op], [2 ** 24 - 1, 2 ** 40 - 1]);
      data.release();
    });

    const snap = async (volume: StoreVolume, name: string): Promise<StoreSnapshot> => {
      version += 1;
      const request = { volume: volume.name, name, id: randomUUID(), epoch: 1, opNumber: version };
      const made = await pool.createSnapshots([request], 1_700_000_000_000);
      return made[0]!;
    };

    it('takes snapshots that keep what was there, and reads them like volumes', async () => {
      const volume = await aVolume(pool, 'kept', 100);
      await write(world, volume, 0, 10, 1);
      const first = await snap(volume, 'first');
      await write(world, volume, 5, 10, 2);
      const second = await snap(volume, 'second');
      await run(volume, BlockOpKind.Unmap, { lba: 0, blocks: 8 });
      await volume.resize(200);
      assert.deepEqual(await read(world, first, 4, 3), [1, 1, 1]);
      assert.deepEqual(await read(world, second, 4, 3), [1, 2, 2]);
      assert.deepEqual(await read(world, volume, 4, 6), [0, 0, 0, 0, 2, 2]);
      assert.deepEqual(await mapOf(first, 8, 4), [
        { lba: 8, blocks: 2, mapped: true },
        { lba: 10, blocks: 90, mapped: false },
      ]);
      assert.equal(await run(first, BlockOpKind.Verify, { blocks: 100 }), IoStatus.Ok);
      const data = filled(world.buffers, 1, 9);
      assert.equal(await run(first, BlockOpKind.Write, { data }), IoStatus.ReadOnly);
      assert.equal(await run(first, BlockOpKind.Unmap, {}), IoStatus.ReadOnly);
      data.release();
      assert.deepEqual([first.name, first.shortName], ['kept@first', 'first']);
      assert.deepEqual(
        pool.snapshots('kept').map((snapshot) => snapshot.name),
        ['kept@first', 'kept@second'],
      );
      assert.equal(pool.snapshot('kept@second'), second);
      const info = second.snapshotInfo();
      assert.deepEqual(
        [info.sizeBlocks, info.mappedBlocks, info.writtenBlocks, info.createdMs, info.volume],
        [100, 15, 10, 1_700_000_000_000, 'kept'],
      );
      assert.equal(volume.info().writtenBlocks, 0);
      assert(info.uniqueBlocks >= 3);
    });

    it('cuts the stream of operations where a snapshot was asked for', async () => {
      const volume = await aVolume(pool, 'cut');
      const data = [1, 2, 3].map((value) => filled(world.buffers, 1, value));
      world.turn.enter();
      const before = run(volume, BlockOpKind.Write, { lba: 0, data: data[0]! });
      const other = run(volume, BlockOpKind.Write, { lba: 1, data: data[1]! });
      const taking = snap(volume, 'here');
      const after = run(volume, BlockOpKind.Write, { lba: 0, data: data[2]! });
      world.turn.leave();
      assert.deepEqual(await Promise.all([before, other, after]), [0, 0, 0]);
      assert.deepEqual(await read(world, await taking, 0, 3), [1, 2, 0]);
      assert.deepEqual(await read(world, volume, 0, 3), [3, 2, 0]);
      for (const buffer of data) buffer.release();
    });

    it('snapshots several volumes at once, all or none', async () => {
      const volumes = [await aVolume(pool, 'group-a'), await aVolume(pool, 'group-b')];
      for (const [index, volume] of volumes.entries()) await write(world, volume, 0, 1, index + 1);
      const requests = (name: string) =>
        volumes.map((volume) => {
          version += 1;
          return { volume: volume.name, name, id: randomUUID(), epoch: 1, opNumber: version };
        });
      await snap(volumes[1]!, 'taken');
      await assert.rejects(pool.createSnapshots(requests('taken'), 0), rejectsWith('STORE_EXISTS'));
      assert.equal(pool.snapshot('group-a@taken'), null);
      const [a, b] = await pool.createSnapshots(requests('both'), 0);
      assert.deepEqual([a!.name, b!.name], ['group-a@both', 'group-b@both']);
      assert.deepEqual(await read(world, b!, 0, 1), [2]);
      await assert.rejects(
        pool.createSnapshots([{ ...requests('x')[0]!, volume: 'none' }], 0),
        rejectsWith('STORE_NOT_FOUND'),
      );
      await assert.rejects(pool.createSnapshots(requests('a@b'), 0), rejectsWith('STORE_INVALID'));
    });

    it('deletes snapshots in any order and keeps the others', async () => {
      const volume = await aVolume(pool, 'rotated');
      const taken: StoreSnapshot[] = [];
      for (let round = 1; round <= 5; round += 1) {
        await write(world, volume, round, 3, round);
        taken.push(await snap(volume, `s${round}`));
      }
      for (const index of [2, 4, 0]) await pool.deleteSnapshot(taken[index]!.name);
      assert.equal(pool.snapshot('rotated@s3'), null);
      await assert.rejects(pool.deleteSnapshot('rotated@s3'), rejectsWith('STORE_NOT_FOUND'));
      assert.equal(await run(taken[2]!, BlockOpKind.Verify, {}), IoStatus.Offline);
      assert.deepEqual(await read(world, taken[1]!, 1, 4), [1, 2, 2, 2]);
      assert.deepEqual(await read(world, taken[3]!, 1, 7), [1, 2, 3, 4, 4, 4, 0]);
      await assert.rejects(pool.deleteVolume('rotated'), rejectsWith('STORE_HAS_SNAPSHOTS'));
      await pool.deleteVolume('rotated', { withSnapshots: true });
      assert.equal(pool.snapshot('rotated@s2'), null);
      assert.equal(pool.volume('rotated'), null);
    });

    const changes = async (from: string | null, to: string, maxExtents = 2) => {
      const all: MapExtent[] = [];
      for (let lba = 0; ; ) {
        const { extents, nextLba } = await pool.changedBetween(from, to, lba, maxExtents);
        all.push(...extents);
        assert(nextLba > lba);
        lba = nextLba;
        const size = (pool.snapshot(to) ?? pool.volume(to))!.info().sizeBlocks;
        if (lba >= size) return all;
      }
    };

    it('lists what changed between snapshots, holes as holes', async () => {
      const volume = await aVolume(pool, 'compared', 1000);
      await write(world, volume, 0, 4, 1);
      await snap(volume, 'a');
      await write(world, volume, 2, 4, 2);
      await write(world, volume, 900, 1, 2);
      await run(volume, BlockOpKind.Unmap, { lba: 0, blocks: 1 });
      await snap(volume, 'b');
      await write(world, volume, 500, 1, 3);
      assert.deepEqual(await changes('compared@a', 'compared@b'), [
        { lba: 0, blocks: 1, mapped: false },
        { lba: 2, blocks: 4, mapped: true },
        { lba: 900, blocks: 1, mapped: true },
      ]);
      assert.deepEqual(await changes('compared@b', 'compared'), [
        { lba: 500, blocks: 1, mapped: true },
      ]);
      assert.deepEqual(await changes(null, 'compared@a'), [{ lba: 0, blocks: 4, mapped: true }]);
      await assert.rejects(
        pool.changedBetween('compared@b', 'compared@a', 0, 1),
        rejectsWith('STORE_INVALID'),
      );
      await assert.rejects(
        pool.changedBetween('compared@x', 'compared', 0, 1),
        rejectsWith('STORE_NOT_FOUND'),
      );
    });

    it('clones a snapshot, refuses its deletion meanwhile, and promotes the clone', async () => {
      const volume = await aVolume(pool, 'parent', 64);
      await write(world, volume, 0, 8, 1);
      await snap(volume, 'base');
      await write(world, volume, 0, 2, 2);
      const clone = await pool.cloneSnapshot('parent@base', { id: randomUUID(), name: 'child' });
      assert.equal(clone.info().origin, 'parent@base');
      assert.equal(clone.info().mappedBlocks, 8);
      await write(world, clone, 4, 1, 3);
      assert.deepEqual(await read(world, clone, 0, 6), [1, 1, 1, 1, 3, 1]);
      assert.deepEqual(await read(world, volume, 0, 6), [2, 2, 1, 1, 1, 1]);
      assert.equal(clone.info().inheritedBlocks, 7);
      assert.deepEqual(await changes('parent@base', 'child'), [
        { lba: 4, blocks: 1, mapped: true },
      ]);
      await assert.rejects(pool.deleteSnapshot('parent@base'), (error: unknown) => {
        assert(error instanceof StoreError && error.code === 'STORE_HAS_CLONES');
        return error.message.includes('child');
      });
      const deletion = pool.deleteVolume('parent', { withSnapshots: true });
      await assert.rejects(deletion, rejectsWith('STORE_HAS_CLONES'));
      await assert.rejects(pool.promoteVolume('parent'), rejectsWith('STORE_INVALID'));
      for (let tries = 0; ; tries += 1) {
        try {
          await pool.promoteVolume('child');
          break;
        } catch (error) {
          assert(error instanceof StoreError && error.code === 'STORE_IN_USE' && tries < 1000);
          await pool.checkpoint();
        }
      }
      assert.equal(pool.snapshot('parent@base'), null);
      assert.equal(pool.snapshot('child@base')?.snapshotInfo().volume, 'child');
      assert.equal(volume.info().origin, 'child@base');
      await pool.deleteVolume('parent');
      await pool.deleteSnapshot('child@base');
      assert.deepEqual(await read(world, clone, 0, 6), [1, 1, 1, 1, 3, 1]);
    });

    it('rolls a volume back, size and all, with later snapshots only if they may go', async () => {
      const volume = await aVolume(pool, 'rolled', 64);
      await write(world, volume, 0, 8, 1);
      await snap(volume, 'good');
      await write(world, volume, 4, 8, 2);
      await volume.resize(128);
      await snap(volume, 'late');
      await run(volume, BlockOpKind.Unmap, { lba: 0, blocks: 2 });
      version += 1;
      const to = { to: 'good', epoch: 1, opNumber: version };
      await assert.rejects(pool.rollbackVolume('rolled', to), rejectsWith('STORE_LATER_SNAPSHOTS'));
      await pool.rollbackVolume('rolled', { ...to, deleteLater: true });
      assert.deepEqual(await read(world, volume, 0, 12), [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
      const { sizeBlocks, mappedBlocks, op } = volume.info();
      assert.deepEqual([sizeBlocks, mappedBlocks, op], [64, 8, to.opNumber]);
      assert.equal(pool.snapshot('rolled@late'), null);
      assert.deepEqual(await changes('rolled@good', 'rolled'), []);
      assert.equal(await write(world, volume, 0, 1, 5), IoStatus.Ok);
      assert.deepEqual(await read(world, pool.snapshot('rolled@good')!, 0, 1), [1]);
    });

    it('agrees with a model over random histories', async () => {
      const sizeBlocks = 300;
      const step = fc.record({
        what: fc.constantFrom('write', 'write', 'read', 'unmap', 'flush'),
        lba: fc.nat(sizeBlocks - 1),
        blocks: fc.integer({ min: 1, max: 40 }),
        value: fc.integer({ min: 1, max: 250 }),
      });
      let round = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
          round += 1;
          const volume = await aVolume(pool, `model-${round}`, sizeBlocks);
          const model = new Uint8Array(sizeBlocks);
          for (const { what, lba, blocks: wanted, value } of steps) {
            const blocks = Math.min(wanted, sizeBlocks - lba);
            if (what === 'write') {
              assert.equal(await write(world, volume, lba, blocks, value), IoStatus.Ok);
              model.fill(value, lba, lba + blocks);
            } else if (what === 'unmap') {
              const status = await run(volume, BlockOpKind.Unmap, { lba, blocks });
              assert.equal(status, IoStatus.Ok);
              model.fill(0, lba, lba + blocks);
            } else if (what === 'read') {
              const values = await read(world, volume, lba, blocks);
              assert.deepEqual(values, [...model.subarray(lba, lba + blocks)]);
            } else {
              assert.equal(await run(volume, BlockOpKind.Flush, { blocks: 0 }), IoStatus.Ok);
            }
          }
          assert.deepEqual(await read(world, volume, 0, sizeBlocks), [...model]);
          assert.equal(volume.info().mappedBlocks, model.filter((value) => value !== 0).length);
          await pool.deleteVolume(volume.name);
        }),
        { numRuns: 25 },
      );
    });
  });

  describe(`a store ${kind.name}, closed and opened again`, () => {
    it('has kept volumes, data and blobs, and answers Offline in between', async () => {
      const world = await kind.make(64 * MIB);
      const volume = await aVolume(world.pool, 'kept');
      await write(world, volume, 3, 2, 0x21);
      const request = {
        volume: 'kept',
        name: 'then',
        id: randomUUID(),
        epoch: 1,
        opNumber: 2 ** 39,
      };
      await world.pool.createSnapshots([request], 5);
      await write(world, volume, 3, 1, 0x22);
      await world.pool.putBlob('settings', Uint8Array.of(4, 2));
      await new Promise((resolve) => volume.putBlob('own', Uint8Array.of(1), resolve));
      const { id } = volume;
      const pool = await world.reopen();
      if (pool !== world.pool) {
        assert.equal(await run(volume, BlockOpKind.Flush, { blocks: 0 }), IoStatus.Offline);
        assert.equal(world.pool.stats().state, 'Closed');
        await assert.rejects(world.pool.checkpoint(), rejectsWith('STORE_CLOSED'));
      }
      const again = pool.volume('kept');
      assert(again !== null);
      assert.equal(again.id, id);
      assert.deepEqual(await read(world, again, 2, 4), [0, 0x22, 0x21, 0]);
      const snapshot = pool.snapshot('kept@then');
      assert(snapshot !== null);
      assert.equal(snapshot.id, request.id);
      assert.deepEqual(await read(world, snapshot, 2, 4), [0, 0x21, 0x21, 0]);
      assert.deepEqual(pool.getBlob('settings'), Uint8Array.of(4, 2));
      assert.deepEqual(again.getBlob('own'), Uint8Array.of(1));
      await world.dispose();
    });
  });

  describe(`a store ${kind.name} that is full`, () => {
    it('refuses growth, still reads and unmaps, and has room again after that', async () => {
      const world = await kind.make(32 * MIB);
      const volume = await aVolume(world.pool, 'full', 64 * 256);
      let lba = 0;
      let status: IoStatus = IoStatus.Ok;
      for (; status === IoStatus.Ok; lba += 256) {
        assert(lba < 64 * 256, 'a pool of 32 MiB took 64');
        status = await write(world, volume, lba, 256, 1 + ((lba / 256) % 200));
      }
      assert.equal(status, IoStatus.NoSpace);
      const refused = lba - 256;
      assert.deepEqual(await read(world, volume, refused, 1), [0]);
      assert.deepEqual(await read(world, volume, 0, 2), [1, 1]);
      assert.equal(await write(world, volume, 0, 2, 0x77), IoStatus.Ok);
      const all = { lba: 0, blocks: 64 * 256 };
      assert.equal(await run(volume, BlockOpKind.Unmap, all), IoStatus.Ok);
      assert.equal(volume.info().mappedBlocks, 0);
      assert.equal(await write(world, volume, 0, 256, 0x78), IoStatus.Ok);
      await world.dispose();
    });
  });
}
