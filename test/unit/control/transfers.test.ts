// Goal: what a volume is made of from streams and backups is, block by block, what the snapshot held; and until that is
// so, no host sees it.
// Method: two nodes, each with a pool, over every kind of store; random writes and unmaps between snapshots.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openPlace } from '../../../src/backup/index.ts';
import { ManualClock, silentLog, Turn } from '../../../src/base/index.ts';
import { BlockOp, BlockOpKind, DataBufferPool, IoStatus } from '../../../src/block/index.ts';
import {
  ApiError,
  ServedEnds,
  Transfers,
  VolumeController,
  type VolumeManifest,
  type VolumeObject,
} from '../../../src/control/index.ts';
import {
  createPoolFile,
  MemoryPool,
  nativeArena,
  openPool,
  type Pool,
  STORE_BLOCK_BYTES,
} from '../../../src/store/index.ts';
import { StreamError } from '../../../src/stream/index.ts';
import { FakeExporter } from './builders.ts';

const MIB = 2 ** 20;
const BLOCKS = 2048;
let folder: string;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-transfers-'));
});
after(() => rmSync(folder, { recursive: true }));

class Node {
  readonly pool: Pool;
  readonly controller: VolumeController;
  readonly transfers: Transfers;
  readonly exporter = new FakeExporter();
  readonly buffers: DataBufferPool;

  private constructor(pool: Pool, turn: Turn, buffers: DataBufferPool) {
    this.pool = pool;
    this.buffers = buffers;
    const now = () => new Date('2026-11-01T00:00:00Z');
    this.controller = new VolumeController({
      clock: new ManualClock(),
      pool,
      buffers,
      turn,
      exporter: this.exporter,
      iqnPrefix: 'iqn.2026-11.io.ashlar',
      defaults: { blockSize: 4096, writeCache: true },
      log: silentLog,
      now,
    });
    const { controller } = this;
    const ends = new ServedEnds(controller);
    this.transfers = new Transfers({ ends, buffers, log: silentLog, now });
  }

  static async on(pool: Pool, turn: Turn, buffers: DataBufferPool): Promise<Node> {
    const node = new Node(pool, turn, buffers);
    await node.controller.start();
    return node;
  }

  exported(name: string): boolean {
    return this.exporter.exposed.has(`iqn.2026-11.io.ashlar:${name}`);
  }

  async change(name: string, kind: BlockOpKind, lba: number, blocks: number, seed = 0) {
    const [open] = this.controller.open().filter((one) => one.name === name);
    const data = kind === BlockOpKind.Write ? this.buffers.allocate(blocks * 4096) : null;
    data?.bytes.fill(seed);
    for (let block = 0; data !== null && block < blocks; block += 1) {
      data.bytes.writeUInt32LE(lba + block, block * 4096);
    }
    await new Promise<void>((resolve) => {
      const owner = {
        onBlockDone: (_op: BlockOp, status: IoStatus) => {
          assert.equal(status, IoStatus.Ok);
          resolve();
        },
      };
      open!.volume.submit(new BlockOp().begin(kind, lba, blocks, data, 0, false, owner));
    });
    data?.release();
  }

  async snapshot(volume: string, name: string): Promise<void> {
    const [open] = this.controller.open().filter((one) => one.name === volume);
    const { epoch, opNumber } = open!.volume.cut();
    const id = randomUUID();
    await this.pool.createSnapshots([{ volume, name, id, epoch, opNumber }], 1_790_000_000_000);
  }

  /** Every byte of a snapshot. */
  async bytesOf(fullName: string): Promise<Buffer> {
    const snapshot = this.pool.snapshot(fullName)!;
    const { sizeBlocks } = snapshot.snapshotInfo();
    const all = Buffer.alloc(sizeBlocks * STORE_BLOCK_BYTES);
    const step = 128;
    for (let lba = 0; lba < sizeBlocks; lba += step) {
      const data = this.buffers.allocate(step * 4096)!;
      await new Promise<void>((resolve) => {
        const owner = {
          onBlockDone: (_op: BlockOp, status: IoStatus) => {
            assert.equal(status, IoStatus.Ok);
            resolve();
          },
        };
        const op = new BlockOp().begin(BlockOpKind.Read, lba, step, data, 0, false, owner);
        op.lower = owner;
        snapshot.submit(op, 0, 0);
      });
      data.bytes.copy(all, lba * 4096, 0, step * 4096);
      data.release();
    }
    return all;
  }

  async streamOf(snapshot: string, from: string | null = null, resumeLba = 0): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this.transfers.send({ snapshot, from, resumeLba }).pieces) {
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  async receive(name: string, bytes: Buffer): Promise<void> {
    async function* pieces(): AsyncGenerator<Buffer> {
      for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
    }
    await this.transfers.receive(name, pieces());
  }
}

function mismatch(pattern: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof StreamError && error.code === 'STREAM_MISMATCH' && pattern.test(error.message);
}

let pools = 0;
const turn = new Turn();
const kinds: [string, () => Promise<{ pool: Pool; buffers: DataBufferPool }>][] = [
  [
    'the store in memory',
    async () => ({
      pool: new MemoryPool({ turn, name: 'pool', sizeBlocks: 1 << 18 }),
      buffers: new DataBufferPool(new ArrayBuffer(32 * MIB)),
    }),
  ],
  [
    'the native engine',
    async () => {
      const buffers = nativeBuffers();
      pools += 1;
      const path = join(folder, `${pools}.img`);
      await createPoolFile({ path, sizeBytes: 256 * MIB, sparse: true, name: 'pool' });
      return { pool: await openPool({ path, cacheBytes: 16 * MIB, turn, buffers }), buffers };
    },
  ],
];
let shared: DataBufferPool | null = null;
function nativeBuffers(): DataBufferPool {
  shared ??= new DataBufferPool(nativeArena(32 * MIB));
  return shared;
}

for (const [title, open] of kinds) {
  describe(title, () => {
    const opened: Pool[] = [];
    const aNode = async (): Promise<Node> => {
      const { pool, buffers } = await open();
      opened.push(pool);
      return await Node.on(pool, turn, buffers);
    };
    after(async () => {
      for (const pool of opened) await pool.close();
    });
    const aSender = async (blockSize: 512 | 4096 = 4096): Promise<Node> => {
      const node = await aNode();
      const spec = { size: '8Mi', blockSize };
      await node.controller.create({ metadata: { name: 'db' }, spec }, { dryRun: false });
      return node;
    };

    it('a stream of a volume that has grown has the copy grow, and its manifest says so', async () => {
      const sender = await aSender();
      const receiver = await aNode();
      await sender.change('db', BlockOpKind.Write, 0, 8, 1);
      await sender.snapshot('db', 'one');
      await receiver.receive('copy', await sender.streamOf('db@one'));
      const grow = ({ metadata, spec }: VolumeObject) =>
        ({ metadata, spec: { ...spec, size: '16Mi' } }) as VolumeManifest;
      await sender.controller.update('db', grow, { dryRun: false });
      await sender.change('db', BlockOpKind.Write, BLOCKS, 8, 2);
      await sender.snapshot('db', 'two');
      await receiver.receive('copy', await sender.streamOf('db@two', 'one'));
      const wanted = await sender.bytesOf('db@two');
      assert.ok((await receiver.bytesOf('copy@two')).equals(wanted));
      assert.equal(receiver.controller.get('copy').spec.size, '16Mi');
    });

    it('a chain of random snapshots is received block by block, with what was unmapped gone', async () => {
      const sender = await aSender();
      const receiver = await aNode();
      let seed = 12_345;
      const below = (bound: number): number => {
        seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
        return (seed >> 8) % bound;
      };
      let from: string | null = null;
      for (const name of ['one', 'two', 'three', 'four']) {
        for (let turns = 0; turns < 40; turns += 1) {
          const lba = below(BLOCKS - 64);
          const kind = below(3) === 0 ? BlockOpKind.Unmap : BlockOpKind.Write;
          await sender.change('db', kind, lba, 1 + below(64), 1 + below(250));
        }
        await sender.snapshot('db', name);
        const bytes = await sender.streamOf(`db@${name}`, from);
        await receiver.receive('copy', bytes);
        const wanted = await sender.bytesOf(`db@${name}`);
        assert.ok((await receiver.bytesOf(`copy@${name}`)).equals(wanted), name);
        assert.equal(
          receiver.pool.snapshot(`copy@${name}`)!.snapshotInfo().mappedBlocks,
          sender.pool.snapshot(`db@${name}`)!.snapshotInfo().mappedBlocks,
          'holes are holes',
        );
        assert.ok(receiver.exported('copy'));
        from = name;
      }
      // What did not change is not sent.
      await sender.change('db', BlockOpKind.Write, 7, 1, 9);
      await sender.snapshot('db', 'five');
      assert.ok((await sender.streamOf('db@five', 'four')).length < 3 * 4096);
    });

    it('a volume that was emptied between two snapshots is emptied by the stream', async () => {
      const sender = await aSender();
      for (const lba of [0, 200, 1900]) {
        await sender.change('db', BlockOpKind.Write, lba, 64, 1);
      }
      await sender.snapshot('db', 'a');
      await sender.change('db', BlockOpKind.Unmap, 0, BLOCKS);
      await sender.snapshot('db', 'b');
      const receiver = await aNode();
      await receiver.receive('copy', await sender.streamOf('db@a'));
      await receiver.receive('copy', await sender.streamOf('db@b', 'a'));
      assert.equal(receiver.pool.snapshot('copy@b')!.snapshotInfo().mappedBlocks, 0);
      const zeros = Buffer.alloc(BLOCKS * STORE_BLOCK_BYTES);
      assert.ok((await receiver.bytesOf('copy@b')).equals(zeros));
      assert.ok((await receiver.bytesOf('copy@a')).equals(await sender.bytesOf('db@a')));
    });

    it('until a stream is whole no host may log in, and it goes on from its mark', async () => {
      const sender = await aSender(512);
      for (let lba = 0; lba < BLOCKS * 8; lba += 1024) {
        await sender.change('db', BlockOpKind.Write, lba, 128, 3);
      }
      await sender.snapshot('db', 'a');
      const bytes = await sender.streamOf('db@a');
      const receiver = await aNode();
      await assert.rejects(
        receiver.receive('copy', bytes.subarray(0, bytes.length - 100)),
        (error: StreamError) => error.code === 'STREAM_CUT',
      );
      assert.ok(!receiver.exported('copy'));
      const object = receiver.controller.get('copy');
      assert.equal(object.status.state, 'Offline');
      assert.match(
        object.status.conditions?.[0]?.message ?? '',
        /stream of snapshot a is not whole/,
      );
      assert.deepEqual(receiver.transfers.resumePoint('copy')?.lba, 0);
      // As after a restart of the daemon.
      const again = await Node.on(receiver.pool, turn, receiver.buffers);
      assert.ok(!again.exported('copy'));
      await assert.rejects(
        again.receive('copy', await sender.streamOf('db@a', null, 100)),
        mismatch(/goes on at block 100 of a, and volume "copy" does not/),
      );
      await again.receive('copy', bytes);
      assert.ok(again.exported('copy'));
      assert.equal(again.transfers.resumePoint('copy'), null);
      assert.ok((await again.bytesOf('copy@a')).equals(await sender.bytesOf('db@a')));
      assert.equal(again.controller.receiving.blockSize('copy'), 512);
    });

    it('a stream that broke off is gone on with by none since another base', async () => {
      const sender = await aSender();
      await sender.change('db', BlockOpKind.Write, 0, 64, 1);
      await sender.snapshot('db', 'a');
      await sender.change('db', BlockOpKind.Write, 1, 1, 2);
      await sender.snapshot('db', 'b');
      const receiver = await aNode();
      const cutShort = (bytes: Buffer) => receiver.receive('copy', bytes.subarray(0, -100));
      await receiver.receive('copy', await sender.streamOf('db@a'));
      const b = await sender.streamOf('db@b', 'a');
      await assert.rejects(cutShort(b), { code: 'STREAM_CUT' });
      const [condition] = receiver.controller.get('copy').status.conditions ?? [];
      assert.match(condition?.message ?? '', /send it again \(--from a --resume 0 goes on/);
      assert.equal(receiver.transfers.resumePoint('copy')?.from, 'a');
      // As when more of it has come.
      await receiver.controller.receiving.keep('copy', {
        ...receiver.controller.receiving.of('copy')!,
        lba: 100,
      });
      await assert.rejects(
        receiver.receive('copy', await sender.streamOf('db@b', null, 50)),
        mismatch(/block 50 of b, and .* does not: it goes on at b \(--from a\), block 100/),
      );
      await assert.rejects(
        receiver.receive('copy', await sender.streamOf('db@b')),
        mismatch(/in the middle of receiving b \(--from a\)/),
      );
      await receiver.receive('copy', b);
      assert.ok((await receiver.bytesOf('copy@b')).equals(await sender.bytesOf('db@b')));

      // And the other way round.
      const other = await aNode();
      const whole = await sender.streamOf('db@b');
      await assert.rejects(other.receive('copy', whole.subarray(0, -100)), { code: 'STREAM_CUT' });
      assert.equal(other.transfers.resumePoint('copy')?.from, null);
      await assert.rejects(other.receive('copy', b), mismatch(/in the middle of receiving b;/));
      await other.receive('copy', whole);
      assert.ok((await other.bytesOf('copy@b')).equals(await sender.bytesOf('db@b')));
    });

    it('a volume that is being received is neither rolled back nor cut', async () => {
      const sender = await aSender();
      await sender.change('db', BlockOpKind.Write, 0, 64, 1);
      await sender.snapshot('db', 'a');
      await sender.change('db', BlockOpKind.Write, 1, 1, 2);
      await sender.snapshot('db', 'b');
      const receiver = await aNode();
      await receiver.receive('copy', await sender.streamOf('db@a'));
      const b = await sender.streamOf('db@b', 'a');
      await assert.rejects(receiver.receive('copy', b.subarray(0, -100)), { code: 'STREAM_CUT' });
      const back = { to: 'a', deleteLater: false, force: true };
      await assert.rejects(
        receiver.controller.history.rollback('copy', back),
        /"copy" is being received: the stream of snapshot b is not whole/,
      );
      const { controller } = receiver;
      await controller.create(
        { metadata: { name: 'o' }, spec: { size: '8Mi' } },
        { dryRun: false },
      );
      for (const names of [['copy'], ['o', 'copy']]) {
        await assert.rejects(controller.snapshots.take(names, 'x'), /"copy" is being received/);
      }
      assert.deepEqual(controller.snapshots.of('o'), []);
      const snapshots = { every: '1h', keep: 2 };
      const manifest = { metadata: { name: 'copy' }, spec: { size: '8Mi', snapshots } };
      await controller.update('copy', () => manifest, { dryRun: false });
      assert.deepEqual(controller.snapshots.scheduled(), []);
      await receiver.receive('copy', b);
      assert.ok((await receiver.bytesOf('copy@b')).equals(await sender.bytesOf('db@b')));
      assert.equal(controller.snapshots.scheduled().length, 1);
      await receiver.controller.history.rollback('copy', { ...back, deleteLater: true });
      assert.ok(receiver.exported('copy'));
    });

    it('refuses what does not fit, and changes nothing', async () => {
      const sender = await aSender();
      await sender.change('db', BlockOpKind.Write, 0, 4, 1);
      await sender.snapshot('db', 'a');
      await sender.change('db', BlockOpKind.Write, 1, 1, 2);
      await sender.snapshot('db', 'b');
      await sender.snapshot('db', 'c');
      const full = await sender.streamOf('db@a');
      const b = await sender.streamOf('db@b', 'a');
      const receiver = await aNode();
      await assert.rejects(receiver.receive('copy', b), mismatch(/receive that first/));
      await receiver.receive('copy', full);
      await assert.rejects(receiver.receive('copy', full), mismatch(/exists, and this is a full/));
      await receiver.change('copy', BlockOpKind.Write, 9, 1, 7);
      await assert.rejects(receiver.receive('copy', b), mismatch(/was changed since a/));
      const c = await sender.streamOf('db@c', 'b');
      await assert.rejects(receiver.receive('copy', c), mismatch(/not the newest snapshot/));
      assert.ok(receiver.exported('copy'));
      const busy = await aNode();
      await busy.receive('copy', full);
      busy.exporter.loggedIn.set('iqn.2026-11.io.ashlar:copy', ['iqn.host']);
      await assert.rejects(busy.receive('copy', b), ApiError);
      assert.throws(
        () => sender.transfers.send({ snapshot: 'db@a', from: 'b', resumeLba: 0 }),
        /db@b is not older than db@a/,
      );
      assert.throws(
        () => sender.transfers.send({ snapshot: 'db@x', from: null, resumeLba: 0 }),
        /"db@x" not found/,
      );
    });

    it('what a host writes until its volume is withdrawn is never mixed with a stream', async () => {
      const sender = await aSender();
      await sender.change('db', BlockOpKind.Write, 0, 4, 1);
      await sender.snapshot('db', 'a');
      const full = await sender.streamOf('db@a');
      await sender.change('db', BlockOpKind.Write, 1, 1, 2);
      await sender.snapshot('db', 'b');
      const b = await sender.streamOf('db@b', 'a');
      const receiver = await aNode();
      await receiver.receive('copy', full);
      // It logs in when the volume has been found unchanged, writes, and is thrown out.
      receiver.exporter.beforeWithdrawn = () => receiver.change('copy', BlockOpKind.Write, 9, 1, 7);
      await assert.rejects(receiver.receive('copy', b), mismatch(/was changed since a/));
      assert.ok(receiver.exported('copy'), 'its hosts have it back');
      assert.equal(receiver.transfers.resumePoint('copy'), null);
      await receiver.snapshot('copy', 'after');
      const wanted = await sender.bytesOf('db@a');
      const found = await receiver.bytesOf('copy@after');
      assert.equal(found.readUInt32LE(9 * 4096), 9);
      wanted.copy(found, 9 * 4096, 9 * 4096, 10 * 4096);
      assert.ok(found.equals(wanted), 'nothing of the stream is there');
    });

    it('a volume is restored from a full backup and those on top of it', async () => {
      const sender = await aSender();
      const place = openPlace(join(folder, `backups-${title.replaceAll(' ', '-')}`));
      const backUp = (snapshot: string, from: string | null) =>
        sender.transfers.backUp({ snapshot, from, resumeLba: 0 }, place, () => undefined);
      await sender.change('db', BlockOpKind.Write, 0, 100, 1);
      await sender.snapshot('db', 'monday');
      await backUp('db@monday', null);
      await sender.change('db', BlockOpKind.Unmap, 10, 20);
      await sender.change('db', BlockOpKind.Write, 50, 100, 2);
      await sender.snapshot('db', 'tuesday');
      await sender.snapshot('db', 'wednesday');
      await backUp('db@tuesday', 'monday');
      const receiver = await aNode();
      const seen: string[] = [];
      const source = { volume: 'db', snapshot: 'tuesday' };
      await receiver.transfers.restore('copy', place, source, (name) => seen.push(name));
      assert.deepEqual(seen, ['monday', 'tuesday']);
      const wanted = await sender.bytesOf('db@tuesday');
      assert.ok((await receiver.bytesOf('copy@tuesday')).equals(wanted));
      // Again: everything is there already.
      await receiver.transfers.restore('copy', place, source, () => assert.fail());
      await sender.snapshot('db', 'x');
      await sender.snapshot('db', 'y');
      await assert.rejects(backUp('db@y', 'x'), /has no backup of db@x/);
    });
  });
}
