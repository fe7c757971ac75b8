import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCasConfig } from '../../../src/kinds/index.ts';

const entry = (name: string, value: string): string => `- name: ${name}\n  value: ${value}\n`;

test('keys with a meaning are read and typed', () => {
  const text =
    entry('StoragePoolClaim', '"cstor-disk-pool"') +
    entry('ReplicaCount', '"3"') +
    entry('FSType', 'xfs') +
    entry('IOPSLimit', '1000') +
    entry('ReplicaPlacement', 'pool') +
    '- name: PoolResourceLimits\n  value: |-\n      memory: 4Gi\n      cpu: 500m\n';
  assert.deepEqual(parseCasConfig(text), {
    config: {
      storagePoolClaim: 'cstor-disk-pool',
      replicaCount: 3,
      fsType: 'xfs',
      iops: 1000,
      replicaPlacement: 'pool',
      poolMemoryLimit: '4Gi',
    },
    causes: [],
    warnings: [],
  });
});

test('what OpenEBS knows and we have no use for is named with the reason; a switched-off entry is skipped', () => {
  const { causes, warnings } = parseCasConfig(
    `${entry('TargetDir', '"/x"')}- name: ReplicaCount\n  enabled: "false"\n  value: "x"\n`,
  );
  assert.deepEqual(causes, []);
  assert.match(warnings.join(), /TargetDir changes nothing here/);
});

test('every key of OpenEBS’ own templates and guides is known', () => {
  for (const name of [
    'AuxResourceLimits',
    'AuxResourceRequests',
    'CstorPoolExporterImage',
    'CstorPoolImage',
    'CstorPoolMgmtImage',
    'DeployInOpenEBSNamespace',
    'EvictionTolerations',
    'HostPathType',
    'PVCServiceAccountName',
    'ReplicaResourceLimits',
    'ReplicaTolerations',
    'ResyncInterval',
    'RetainReplicaData',
    'RunNamespace',
    'ServiceAccountName',
    'SparseDir',
    'TargetNodeSelector',
    'TargetTolerations',
    'Tolerations',
    'VolumeMonitorImage',
  ]) {
    const { causes, warnings } = parseCasConfig(entry(name, '"x"'));
    assert.deepEqual([causes, warnings.length], [[], 1], name);
  }
  for (const name of ['PoolResourceLimits', 'PoolResourceRequests', 'TargetResourceLimits']) {
    for (const value of ['"none"', '"false"', 'false']) {
      const read = parseCasConfig(entry(name, value));
      assert.deepEqual(read, { config: {}, causes: [], warnings: [] }, `${name}: ${value}`);
    }
  }
});

test('the cache of a volume goes by two names, which must not contradict each other', () => {
  const both = (first: string, second: string) =>
    parseCasConfig(entry('CacheSize', first) + entry('ReplicaCacheSize', second));
  assert.equal(parseCasConfig(entry('CacheSize', '64Mi')).config.cacheSize, '64Mi');
  assert.equal(both('64Mi', '65536Ki').config.cacheSize, '65536Ki');
  for (const [config, field, message] of [
    [both('64Mi', '32Mi'), 'ReplicaCacheSize', /32Mi contradicts another key, which says 64Mi/],
    [parseCasConfig(entry('CacheSize', 'x')), 'CacheSize', /'x' is not a quantity; write it like/],
    [parseCasConfig(entry('CacheSize', '4Ki')), 'CacheSize', /too small; the least is 262144/],
  ] as const) {
    assert.match(config.causes[0]?.field ?? '', new RegExp(`\\.${field}$`));
    assert.match(config.causes[0]?.message ?? '', message);
  }
});

test('workers go by the names of a target and of a replica, and the most counts', () => {
  const read = (text: string) => parseCasConfig(text);
  assert.equal(read(entry('LuWorkers', '"6"')).config.ioWorkers, 6);
  for (const text of [
    entry('Luworkers', '2') + entry('ZvolWorkers', '4'),
    entry('ZvolWorkers', '4') + entry('IOWorkers', '2'),
  ]) {
    assert.deepEqual(read(text), { config: { ioWorkers: 4 }, causes: [], warnings: [] });
  }
  for (const wrong of ['65', 'x', '-1']) {
    const [cause] = read(entry('LuWorkers', wrong)).causes;
    assert.match(cause?.field ?? '', /\.LuWorkers$/);
    assert.match(cause?.message ?? '', /is not a whole number from 0 to 64/);
  }
});

test('mistakes name their key: wrong values, unknown keys, twice, no list, no YAML', () => {
  for (const [text, field, message] of [
    [entry('ReplicaCount', '"x"'), 'ReplicaCount', /'x' is not a whole number from 1 to 5/],
    [entry('ReplicaCount', '9'), 'ReplicaCount', /from 1 to 5/],
    [entry('FSType', 'ntfs'), 'FSType', /none of ext4/],
    [entry('Lun', '3'), 'Lun', /LUN 0/],
    [entry('Replicas', '3'), 'Replicas', /is no key that is known/],
    [entry('constructor', '3'), 'constructor', /is no key that is known/],
    [entry('ReplicaCount', '3') + entry('ReplicaCount', '3'), 'ReplicaCount', /twice/],
    ['name: ReplicaCount', '', /is not a list/],
    ['- name: [', '', /is not YAML/],
    ['- value: 3', '[0].name', /is required/],
    ['- name: PoolResourceLimits\n  value: "memory: much"', 'PoolResourceLimits', /not a quantity/],
  ] as const) {
    const { causes } = parseCasConfig(text);
    assert.ok(causes.length > 0, text);
    assert.match(causes[0]!.message, message);
    assert.ok(causes[0]!.field.includes('metadata.annotations[cas.openebs.io/config]'));
    assert.ok(causes[0]!.field.endsWith(field), causes[0]!.field);
  }
});

test('a burst needs its limit', () => {
  const read = (text: string) => parseCasConfig(text);
  const good = read('- name: IOPSLimit\n  value: 1000\n- name: IOPSBurst\n  value: 5000\n');
  assert.deepEqual(good.causes, []);
  assert.equal(good.config.iopsBurst, 5000);
  const [cause] = read('- name: BandwidthBurst\n  value: 1Mi\n').causes;
  assert.match(cause?.field ?? '', /BandwidthBurst/);
  assert.match(cause?.message ?? '', /needs BandwidthLimit/);
});
