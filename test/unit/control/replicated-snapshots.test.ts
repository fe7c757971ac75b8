// Goal: nobody is told of a snapshot of a volume whose blocks are elsewhere: the pool here would keep an empty one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, silentLog, Turn } from '../../../src/base/index.ts';
import { DataBufferPool } from '../../../src/block/index.ts';
import { ApiError, type ReplicatedHandle, VolumeController } from '../../../src/control/index.ts';
import { aManifest, aPool, FakeExporter } from './builders.ts';

const handle: ReplicatedHandle = {
  volume: null,
  serving: false,
  state: () => 'Healthy',
  epoch: () => 1,
  advice: () => [],
  replicas: () => [],
  sizeBlocks: () => 0,
  usedBlocks: () => 0,
  changeReplicas: async () => undefined,
  configure: () => undefined,
  force: async () => undefined,
  stop: async () => undefined,
};

test('snapshots, schedules, clones and rollbacks of a volume on replicas are refused in words', async () => {
  const pool = aPool();
  const controller = new VolumeController({
    clock: new ManualClock(),
    pool,
    buffers: new DataBufferPool(new ArrayBuffer(4 * 2 ** 20)),
    turn: new Turn(),
    exporter: new FakeExporter(),
    iqnPrefix: 'iqn.2026-11.io.ashlar',
    defaults: { blockSize: 4096, writeCache: true },
    log: silentLog,
    now: () => new Date('2026-11-01T00:00:00Z'),
    replication: {
      make: async () => undefined,
      open: () => handle,
      destroy: async () => undefined,
    },
  });
  await controller.start();
  const replicaNodes = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];
  await controller.create(aManifest('far', { replicaNodes }), { dryRun: false });
  const refused = (error: unknown): boolean =>
    error instanceof ApiError && /on replicas, which have no snapshots yet/.test(error.message);
  await assert.rejects(controller.takeSnapshots(['far'], 'a'), refused);
  const request = { to: 'a', deleteLater: false, force: false };
  await assert.rejects(controller.rollback('far', request), refused);
  assert.deepEqual(pool.snapshots('far'), []);
  const source = { snapshot: 'far@a' };
  assert.throws(
    () => controller.create(aManifest('copy', { replicaNodes, source }), { dryRun: false }),
    /spec\.source: a volume on replicas has no snapshots yet/,
  );
});
