// Goal: `ashlar serve` and `ashlar node` declare one Volume: who writes a manifest, or a program, for one of them can show it
// to the other, and is told in words what that one does not do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KindDefinition } from '../../../src/apiserver/index.ts';
import { ManualClock, silentLog, Turn } from '../../../src/base/index.ts';
import { DataBufferPool } from '../../../src/block/index.ts';
import { VolumeController } from '../../../src/control/index.ts';
import { nodeKinds } from '../../../src/control/kinds.ts';
import { VOLUME, type Volume } from '../../../src/kinds/index.ts';
import { aManifest, aPool, FakeExporter, onlyPool } from './builders.ts';

async function aController(): Promise<VolumeController> {
  const controller = new VolumeController({
    clock: new ManualClock(),
    pool: aPool(),
    buffers: new DataBufferPool(new ArrayBuffer(4 * 2 ** 20)),
    turn: new Turn(),
    exporter: new FakeExporter(),
    iqnPrefix: 'iqn.2026-11.io.ashlar',
    nodeName: 'node-1',
    defaults: { blockSize: 4096, writeCache: true },
    log: silentLog,
    now: () => new Date('2026-11-01T00:00:00Z'),
  });
  await controller.start();
  return controller;
}

function served(controller: VolumeController): KindDefinition {
  const clock = new ManualClock();
  const poolFacts = { path: '/nowhere', cacheBytes: 0, sparse: true, nodeName: 'here' };
  const kinds = nodeKinds({
    controller,
    pools: onlyPool(controller, aPool()),
    poolFacts,
    clock,
    sessions: () => [],
    wallTime: () => new Date(0),
    iqnPrefix: 'iqn.2026-11.io.ashlar',
  });
  const kind = kinds.find(({ plural }) => plural === 'volumes');
  assert.ok(kind !== undefined);
  return kind;
}

const DECLARED = [
  'group',
  'version',
  'kind',
  'plural',
  'shortNames',
  'categories',
  'namespaced',
  'description',
  'fields',
  'required',
  'columns',
  'hasStatus',
] as const;

test('group, version, names, schema and columns are the same in both', async () => {
  const kind = served(await aController());
  for (const key of DECLARED) {
    assert.deepEqual(kind[key], (VOLUME as unknown as KindDefinition)[key], key);
  }
});

test('each column of a served volume holds a true value', async () => {
  const controller = await aController();
  await controller.create(aManifest('db'), { dryRun: false });
  const [volume] = controller.list();
  const row = Object.fromEntries(
    (VOLUME.columns ?? []).map(({ name, value }) => [name, value(volume as unknown as Volume)]),
  );
  assert.equal(row['Size'], '64Mi');
  assert.equal(row['State'], 'Healthy');
  assert.equal(row['Replicas'], '1/1');
  assert.equal(row['Node'], 'node-1');
  assert.equal(row['Sessions'], 0);
  assert.equal(row['IQN'], 'iqn.2026-11.io.ashlar:db');
  assert.equal(row['Block'], 4096);
  assert.equal(row['Cache'], 'on');
});

test('what the other program does is refused by its field, with what to do here', async () => {
  const controller = await aController();
  const manifest = aManifest('db');
  const sent = {
    ...manifest,
    spec: { ...manifest.spec, replicaCount: 3, chapSecret: { name: 'chap' } },
  };
  await assert.rejects(
    async () => await controller.create(sent, { dryRun: false }),
    (error: Error) => {
      assert.match(error.message, /spec\.replicaCount: is of `ashlar node`; here name the nodes/);
      assert.match(error.message, /spec\.chapSecret: .*spec\.chap/);
      return true;
    },
  );
  const volume = {
    apiVersion: 'ashlar.io/v1',
    kind: 'Volume',
    metadata: { name: 'db' },
    spec: { size: '64Mi', replicaNodes: ['node-1:9809'], limits: null, source: null },
  } as unknown as Volume;
  VOLUME.defaults?.(volume, null);
  assert.deepEqual(Object.keys(volume.spec), ['size', 'replicaNodes', 'blockSize'], 'no nulls');
  const causes = (await VOLUME.validate?.(volume, null, {} as never)) ?? [];
  assert.deepEqual(
    causes.map(({ field, message }) => `${field}: ${message}`),
    [
      'spec.replicaNodes: is of `ashlar serve`; here say how many in spec.replicaCount; nodes are found by the control plane',
    ],
  );
});
