// Goal: whatever a crash cut short is finished or gone after the next start, and nothing that was reported is lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApiError } from '../../../src/control/index.ts';
import { NO_LIMITS, Throttle } from '../../../src/volume/index.ts';
import { aController, aManifest, aPool } from './builders.ts';

const put = (store: { putBlob: (k: string, v: Uint8Array, d: () => void) => void }, text: string) =>
  new Promise<void>((resolve) => store.putBlob('manifest', Buffer.from(text), resolve));

test('volumes, their settings and rising versions survive a restart', async () => {
  const pool = aPool();
  const { controller } = await aController(pool);
  const initiators = ['iqn.1993-08.org.debian:01:abc'];
  const chap = { user: 'alice', secret: 'correct-horse-battery' };
  const made = await controller.create(
    aManifest('db', { initiators, chap, blockSize: 512 }, { labels: { app: 'x' } }),
    { dryRun: false },
  );
  const again = await aController(pool);
  const found = again.controller.get('db');
  assert.deepEqual(found.metadata, made.metadata);
  assert.deepEqual(found.spec, made.spec);
  assert.equal(found.status.phase, 'Ready');
  const wanted = again.exporter.exposed.get('iqn.2026-11.io.ashlar:db')?.wanted;
  assert.deepEqual(wanted?.chap, chap);
  assert.deepEqual(wanted?.initiators, initiators);
  const next = await again.controller.create(aManifest('other'), { dryRun: false });
  assert.ok(Number(next.metadata.resourceVersion) > Number(made.metadata.resourceVersion));
});

test('a creation that a crash cut short is gone after the start, and its name is free', async () => {
  const pool = aPool();
  await pool.createVolume({
    id: '11111111-1111-4111-8111-111111111111',
    name: 'half',
    sizeBlocks: 1024,
  });
  const { controller } = await aController(pool);
  assert.deepEqual(controller.list(), []);
  assert.equal(pool.volume('half'), null);
  await controller.create(aManifest('half'), { dryRun: false });
});

test("replicas in the pool, and the snapshots that they made up for, are no half-made volumes of the controller's", async () => {
  const pool = aPool();
  const names = ['replica/v/v-r1', 'branch/v/v-r1/snapshot-1'];
  for (const [index, name] of names.entries()) {
    const id = `${index + 1}1111111-1111-4111-8111-111111111111`;
    await pool.createVolume({ id, name, sizeBlocks: 1024 });
  }
  const { controller } = await aController(pool);
  assert.deepEqual(controller.list(), []);
  for (const name of names) assert.ok(pool.volume(name) !== null, name);
});

test('a resize whose manifest was kept is finished at the start', async () => {
  const pool = aPool();
  const { controller } = await aController(pool);
  await controller.create(aManifest('db'), { dryRun: false });
  const store = pool.volume('db')!;
  const kept = Buffer.from(store.getBlob('manifest')!).toString();
  await put(store, kept.replace('"size":"64Mi"', '"size":"96Mi"'));
  const again = await aController(pool);
  assert.equal(again.controller.get('db').status.capacityBytes, 96 * 2 ** 20);
});

test('a damaged manifest is shown as Failed, its volume is not exported and can be deleted', async () => {
  const pool = aPool();
  const { controller } = await aController(pool);
  await controller.create(aManifest('db'), { dryRun: false });
  for (const text of ['{', '{}', 'null', '[]', '{"apiVersion":"ashlar.io/v1"}']) {
    await put(pool.volume('db')!, text);
    const { controller: after, exporter } = await aController(pool);
    assert.equal(after.get('db').status.phase, 'Failed');
    assert.equal(exporter.exposed.size, 0);
  }
  const { controller: last } = await aController(pool);
  await last.delete('db', { force: false });
  assert.equal(pool.volume('db'), null);
});

test('shrinking and changing the block size are refused', async () => {
  const { controller } = await aController();
  await controller.create(aManifest('db'), { dryRun: false });
  const change = (spec: object) =>
    controller.update('db', (now) => ({ ...now, spec: { ...now.spec, ...spec } }), {
      dryRun: false,
    });
  await assert.rejects(change({ size: '32Mi' }), /only grows/);
  await assert.rejects(change({ blockSize: 512 }), /fixed at creation/);
  assert.equal(controller.get('db').metadata.generation, 1);
});

test('the write cache follows the manifest, and is then the host’s to change too', async () => {
  const { controller, exporter } = await aController();
  await controller.create(aManifest('db', { writeCache: false }), { dryRun: false });
  assert.equal(controller.get('db').status.writeCache, false);
  const { volume } = exporter.exposed.get('iqn.2026-11.io.ashlar:db')!;
  await new Promise((resolve) => volume.setWriteCache(true, resolve));
  assert.equal(controller.get('db').spec.writeCache, true);
});

test('creations of one name at the same time make one volume', async () => {
  const { controller } = await aController();
  const results = await Promise.allSettled(
    [1, 2, 3].map(() => controller.create(aManifest('db'), { dryRun: false })),
  );
  assert.deepEqual(results.map((result) => result.status).sort(), [
    'fulfilled',
    'rejected',
    'rejected',
  ]);
});

test('limits are kept, given to the throttle, changed online and checked by name', async () => {
  const pool = aPool();
  const { controller, exporter } = await aController(pool);
  const limits = { iops: 1000, bandwidth: '100Mi', queueDepth: 32 };
  await controller.create(aManifest('db', { limits }), { dryRun: false });
  const throttleOf = (from: typeof exporter): Throttle => {
    const device = from.exposed.get('iqn.2026-11.io.ashlar:db')?.device;
    assert.ok(device instanceof Throttle);
    return device;
  };
  const wanted = {
    iops: 1000,
    iopsBurst: null,
    bytesPerSecond: 100 * 2 ** 20,
    burstBytes: null,
    queueDepth: 32,
  };
  assert.deepEqual(throttleOf(exporter).limits, wanted);
  const again = await aController(pool);
  assert.deepEqual(again.controller.get('db').spec.limits, limits);
  assert.deepEqual(throttleOf(again.exporter).limits, wanted);
  const change = (sent: object) =>
    again.controller.update(
      'db',
      ({ metadata, spec }) => ({ metadata, spec: { ...spec, limits: sent } }),
      {
        dryRun: false,
      },
    );
  await change({ iops: 5000, iopsBurst: 9000 });
  assert.equal(throttleOf(again.exporter).limits.iops, 5000);
  for (const [bad, field] of [
    [{ iops: 0 }, 'spec.limits.iops'],
    [{ iopsBurst: 10 }, 'spec.limits.iopsBurst'],
    [{ bandwidth: 'fast' }, 'spec.limits.bandwidth'],
    [{ bandwidth: 1 }, 'spec.limits.bandwidth'],
    [{ bandwidth: '1Gi', bandwidthBurst: '1Ki' }, 'spec.limits.bandwidthBurst'],
    [{ queueDepth: 0 }, 'spec.limits.queueDepth'],
  ] as const) {
    await assert.rejects(change(bad), (error: ApiError) => {
      assert.equal(error.details.causes?.[0]?.field, field);
      return true;
    });
  }
  await change({});
  assert.deepEqual(throttleOf(again.exporter).limits, NO_LIMITS);
});

test("a part of the pool's cache is kept, given to the store, changed online and checked by name", async () => {
  const pool = aPool();
  const { controller } = await aController(pool);
  const usedBy = () => pool.volume('db')?.use().cacheBytes;
  await controller.create(aManifest('db', { cacheSize: '64Mi' }), { dryRun: false });
  assert.equal(usedBy(), 64 * 2 ** 20);
  assert.equal(controller.get('db').status.cacheBytes, 64 * 2 ** 20);
  pool.volume('db')?.tune({ cacheBytes: null, ioWorkers: 0 }); // As an engine that was opened anew.
  const again = await aController(pool);
  assert.equal(usedBy(), 64 * 2 ** 20);
  assert.equal(again.controller.get('db').spec.cacheSize, '64Mi');
  const change = (cacheSize?: string, replicaNodes?: string[]) =>
    again.controller.update(
      'db',
      ({ metadata, spec: { cacheSize: _, ...spec } }) => ({
        metadata,
        spec: {
          ...spec,
          ...(cacheSize === undefined ? {} : { cacheSize }),
          ...(replicaNodes === undefined ? {} : { replicaNodes }),
        },
      }),
      { dryRun: false },
    );
  await change('1Mi');
  assert.equal(usedBy(), 2 ** 20);
  for (const [sent, nodes, message] of [
    ['much', undefined, /'much' is not a quantity; write it like 64Mi/],
    ['4Ki', undefined, /4Ki is too small; the least is 262144 bytes/],
    ['1Mi', ['10.0.0.2:9809'], /leave it out here/],
  ] as const) {
    await assert.rejects(change(sent, nodes && [...nodes]), (error: ApiError) => {
      const cause = error.details.causes?.find(({ field }) => field === 'spec.cacheSize');
      assert.match(cause?.message ?? '', message);
      return true;
    });
  }
  await change();
  assert.equal(usedBy(), 0);
  assert.equal('cacheBytes' in again.controller.get('db').status, false);
});

test('workers are kept, asked for in the pool, changed online and checked by name', async () => {
  const pool = aPool();
  const { controller } = await aController(pool);
  await controller.create(aManifest('db', { ioWorkers: 4 }), { dryRun: false });
  const workers = () => pool.volume('db')?.use().ioWorkers;
  assert.equal(workers(), 4);
  const again = await aController(pool);
  const change = (sent: object) =>
    again.controller.update(
      'db',
      ({ metadata, spec: { ioWorkers: _, ...spec } }) => ({ metadata, spec: { ...spec, ...sent } }),
      { dryRun: false },
    );
  assert.equal(again.controller.get('db').spec.ioWorkers, 4);
  assert.equal(again.controller.get('db').status.ioWorkers, 4);
  await change({ ioWorkers: 2 });
  assert.equal(workers(), 2);
  for (const ioWorkers of [-1, 65]) {
    await assert.rejects(change({ ioWorkers }), (error: ApiError) => {
      assert.equal(error.details.causes?.[0]?.field, 'spec.ioWorkers');
      assert.match(error.details.causes?.[0]?.message ?? '', /is out of range; use 0 to 64/);
      return true;
    });
  }
  await change({});
  assert.equal(workers(), 0);
});
