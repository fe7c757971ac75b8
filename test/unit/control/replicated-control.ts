// The volume controller over a pool in memory, with the daemon's own coordinators and three nodes on loopback.
import assert from 'node:assert/strict';
import { SystemClock, silentLog } from '../../../src/base/index.ts';
import { type BlockDevice, BlockOp, BlockOpKind, IoStatus } from '../../../src/block/index.ts';
import { type ReplicatedHandle, VolumeController } from '../../../src/control/index.ts';
import { Replication } from '../../../src/daemon/replication.ts';
import type { MemoryPool } from '../../../src/store/index.ts';
import { DEFAULT_TIMEOUTS } from '../../../src/wire/index.ts';
import { ACluster, QUICK, SECRET } from '../replication/cluster.ts';
import { aManifest, aPool, FakeExporter } from './builders.ts';

export const SIZE = '2Mi';

export class Control {
  readonly exporter = new FakeExporter();
  readonly cluster: ACluster;
  readonly controller: VolumeController;
  readonly pool: MemoryPool;
  /** Volumes whose part of a snapshot of several never comes to an end. */
  readonly stuck = new Set<string>();
  readonly later: Control[] = [];
  /** The coordinator of each volume. */
  readonly handles = new Map<string, ReplicatedHandle>();
  /** How many records were committed for the sake of something that is kept with them. */
  records = 0;

  /** `pool`: one that was used before, as after a restart. */
  constructor(cluster: ACluster, pool: MemoryPool = aPool()) {
    this.cluster = cluster;
    this.pool = pool;
    const { turn, buffers } = cluster;
    const clock = new SystemClock();
    this.controller = new VolumeController({
      clock,
      pool,
      buffers,
      turn,
      exporter: this.exporter,
      iqnPrefix: 'iqn.2026-11.io.ashlar',
      defaults: { blockSize: 4096, writeCache: true },
      log: silentLog,
      now: () => new Date('2026-11-01T00:00:00Z'),
      replication: this.#withStuck(
        new Replication({
          config: {
            listen: null,
            secret: SECRET,
            tls: null,
            maxConnections: 16,
            connectTimeoutMs: 1000,
            timeouts: DEFAULT_TIMEOUTS,
            coordinator: QUICK,
          },
          node: 'here',
          version: 'test',
          buffers,
          turn,
          clock,
          log: silentLog,
          sessionsOf: () => [],
        }),
      ),
    });
  }

  #withStuck(replication: Replication): Replication {
    const open = replication.open.bind(replication);
    replication.open = (wanted) => {
      const handle = open(wanted);
      this.handles.set(wanted.name, handle);
      const takeSnapshotNow = handle.takeSnapshotNow.bind(handle);
      handle.takeSnapshotNow = (snapshot) =>
        this.stuck.has(wanted.name) ? new Promise(() => {}) : takeSnapshotNow(snapshot);
      const putBlob = handle.putBlob.bind(handle);
      handle.putBlob = async (key, value) => {
        await putBlob(key, value);
        this.records += 1;
      };
      return handle;
    };
    return replication;
  }

  /** A later life, which ends with the test. */
  next(later: Control): Control {
    this.later.push(later);
    return later;
  }

  get nodes(): string[] {
    return this.cluster.nodes.map(({ port }) => `127.0.0.1:${port}`);
  }

  async whole(name: string): Promise<void> {
    await this.cluster.until(`${name} is healthy`, () => {
      const { status } = this.controller.get(name);
      return status.state === 'Healthy' && this.exporter.exposed.has(this.controller.iqn(name));
    });
  }

  device(name: string): BlockDevice {
    return this.exporter.exposed.get(this.controller.iqn(name))!.device;
  }

  async write(name: string, lba: number, byte: number): Promise<void> {
    await this.#io(name, BlockOpKind.Write, lba, byte);
  }

  async read(name: string, lba: number): Promise<number> {
    return await this.#io(name, BlockOpKind.Read, lba, 0);
  }

  async unmap(name: string, lba: number): Promise<void> {
    await this.#io(name, BlockOpKind.Unmap, lba, 0);
  }

  async #io(name: string, kind: BlockOpKind, lba: number, byte: number): Promise<number> {
    const { turn, buffers } = this.cluster;
    const data = buffers.allocate(4096)!;
    data.bytes.fill(byte, 0, 4096);
    const status = await new Promise<IoStatus>((resolve) => {
      const owner = { onBlockDone: (_op: BlockOp, end: IoStatus) => resolve(end) };
      turn.enter();
      const bytes = kind === BlockOpKind.Unmap ? null : data;
      this.device(name).submit(new BlockOp().begin(kind, lba, 1, bytes, 0, false, owner));
      turn.leave();
    });
    assert.equal(status, IoStatus.Ok);
    const [first = -1] = data.bytes;
    data.release();
    return first;
  }
}

/** With `far`, a volume of SIZE on three nodes, served. */
export async function withControl(run: (control: Control) => Promise<void>): Promise<void> {
  const cluster = await new ACluster(3).start();
  const control = new Control(cluster);
  try {
    await control.controller.start();
    const manifest = aManifest('far', { size: SIZE, replicaNodes: control.nodes });
    await control.controller.create(manifest, { dryRun: false });
    await control.whole('far');
    await run(control);
  } finally {
    for (const one of [control, ...control.later]) await one.controller.close();
    await cluster.stop();
  }
}
