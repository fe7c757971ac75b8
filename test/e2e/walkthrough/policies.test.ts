// Goal: every policy of a volume is in force while the volume is used: said of the volume itself, changed, taken away; said of
// the VolumePolicy that it follows, changed, taken away. And a class says them all in its annotation.
// Method: a table of policies, each with two values and what a person would see of either.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../support/process.ts';
import { Cluster } from './cluster.ts';

const MIB = 2 ** 20;

let cluster: Cluster;
before(async () => {
  cluster = new Cluster({ nodes: 1, disks: 2 });
  await cluster.start();
  await apply(
    ...[1, 2].map((index) => ({
      apiVersion: 'openebs.io/v1alpha1',
      kind: 'StoragePoolClaim',
      metadata: { name: `disk-${index}` },
      spec: {
        type: 'sparse',
        poolSpec: { poolType: 'striped' },
        blockDevices: { blockDeviceList: [`blockdevice-${index}`] },
      },
    })),
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'chap', namespace: 'default' },
      type: 'kubernetes.io/iscsi-chap',
      data: {
        'node.session.auth.username': Buffer.from('alice').toString('base64'),
        'node.session.auth.password': Buffer.from('alice-has-a-secret').toString('base64'),
      },
    },
    { apiVersion: 'ashlar.io/v1', kind: 'VolumePolicy', metadata: { name: 'gold' }, spec: {} },
  );
  await cluster.until('two pools are there, beside that of the node', async () => {
    const pools = await cluster.get<{ items: { status?: { phase?: string } }[] }>(
      'pools.ashlar.io',
    );
    return pools?.items.filter(({ status }) => status?.phase === 'Online').length === 3;
  });
  await apply({
    apiVersion: 'ashlar.io/v1',
    kind: 'Volume',
    metadata: { name: 'db' },
    spec: {
      size: '64Mi',
      blockSize: 512,
      replicaCount: 2,
      replicaPlacement: 'pool',
      policy: 'gold',
    },
  });
  await cluster.until('the volume is healthy on two pools', async () => {
    const { status } = (await volume()) ?? {};
    return status?.state === 'Healthy' && status.replicas?.inSync === 2;
  });
  await cluster.io(url(), 'write -P 0x5a 0 32M');
});
after(() => cluster.stop());

async function apply(...manifests: object[]): Promise<void> {
  const file = join(cluster.folder, 'manifests.json');
  writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests }));
  const { status, stderr } = await cluster.kubectl('apply', '-f', file);
  assert.equal(status, 0, stderr);
}

interface Volume {
  readonly status?: {
    readonly state?: string;
    readonly iqn?: string;
    readonly replicas?: { readonly wanted: number; readonly inSync: number };
  };
}
const volume = (): Promise<Volume | null> => cluster.get<Volume>('volumes.ashlar.io', 'db');

/** `who`: `user%secret@`. */
function url(who = ''): string {
  return `iscsi://${who}${cluster.nodes[0]!.portal}/iqn.2026-11.io.ashlar:db/0`;
}

type Target = 'volume' | 'policy';
async function patch(target: Target, spec: object): Promise<void> {
  const [kind, name] =
    target === 'volume' ? ['volumes.ashlar.io', 'db'] : ['volumepolicies', 'gold'];
  const body = JSON.stringify({ spec });
  const { status, stderr } = await cluster.kubectl('patch', kind, name, '--type=merge', '-p', body);
  assert.equal(status, 0, stderr);
}

/** Sums of a metric over its lines, by a label; of one without labels under ''. */
async function metric(name: string, label: string): Promise<Map<string, number>> {
  const answer = await fetch(`http://${cluster.nodes[0]!.api}/metrics`);
  const sums = new Map<string, number>();
  for (const line of (await answer.text()).split('\n')) {
    if (!line.startsWith(`${name}{`) || !line.includes('volume="db"')) continue;
    const of = new RegExp(`${label}="([^"]*)"`).exec(line)?.[1] ?? '';
    sums.set(of, (sums.get(of) ?? 0) + Number(line.slice(line.lastIndexOf(' ') + 1)));
  }
  return sums;
}

async function login(who = ''): Promise<boolean> {
  const args = ['-f', 'raw', '-c', 'read 0 4k', url(who)];
  const { status, stdout, stderr } = await run('qemu-io', args);
  return status === 0 && !/failed|error/i.test(stdout + stderr);
}

/** Whether writes of 4 KiB at that depth are held back. */
async function throttled(count: number, depth: number): Promise<boolean> {
  const before = (await metric('ashlar_volume_throttled_ops', 'volume')).get('db') ?? 0;
  const args = ['-f', 'raw', '-w', '-c', String(count), '-d', String(depth), '-s', '4096'];
  const { status, stderr } = await run('qemu-img', ['bench', ...args, url()]);
  assert.equal(status, 0, stderr);
  return ((await metric('ashlar_volume_throttled_ops', 'volume')).get('db') ?? 0) > before;
}

/** What its coordinator was told last. */
function inForce(): Record<string, unknown> {
  const lines = cluster.nodes[0]!.output.split('\n');
  const line = lines.findLast((text) => text.includes('its policy is in force'));
  const { policy } = JSON.parse(line ?? '{}') as { policy?: Record<string, unknown> };
  return policy ?? {};
}

/** Replicas of it whose status has so much of a field; absent counts as 0. */
async function replicasWith(field: string, value: number): Promise<boolean> {
  const found = await cluster.get<{ items: { status?: Record<string, unknown> }[] }>('replicas');
  const values = found?.items.map(({ status }) => status?.[field] ?? 0) ?? [];
  return values.length === 2 && values.every((each) => each === value);
}

interface Policy {
  readonly name: string;
  readonly first: object;
  readonly second: object;
  /** As it is to be merged over either. */
  readonly none: object;
  readonly isFirst: () => Promise<boolean>;
  readonly isSecond: () => Promise<boolean>;
  readonly isNone: () => Promise<boolean>;
}

const told = (key: string, value: unknown) => async (): Promise<boolean> =>
  inForce()[key] === value;
const coordinated = (
  name: string,
  [field, key]: readonly [string, string],
  [first, second]: readonly [unknown, unknown],
  factor: number | null = null,
): Policy => {
  const spec = (value: unknown): object =>
    name.startsWith('timeouts.') ? { timeouts: { [field]: value } } : { [field]: value };
  const shown = (value: unknown): unknown => (factor === null ? value : Number(value) * factor);
  return {
    name,
    first: spec(first),
    second: spec(second),
    none: spec(null),
    isFirst: told(key, shown(first)),
    isSecond: told(key, shown(second)),
    isNone: told(key, undefined),
  };
};
const limit = (name: string, first: object, second: object, none: object): Policy => ({
  name,
  first: { limits: first },
  second: { limits: second },
  none: { limits: none },
  isFirst: () => throttled(60, 32),
  isSecond: async () => !(await throttled(60, 32)),
  isNone: async () => !(await throttled(60, 32)),
});
const ofReplicas = (field: string, sent: readonly unknown[], shown: readonly number[]): Policy => ({
  name: field,
  first: { [field]: sent[0] },
  second: { [field]: sent[1] },
  none: { [field]: null },
  isFirst: () => replicasWith(field === 'cacheSize' ? 'cacheBytes' : field, shown[0]!),
  isSecond: () => replicasWith(field === 'cacheSize' ? 'cacheBytes' : field, shown[1]!),
  isNone: () => replicasWith(field === 'cacheSize' ? 'cacheBytes' : field, 0),
});

const POLICIES: readonly Policy[] = [
  coordinated('syncPolicy', ['syncPolicy', 'syncPolicy'], ['all', 'quorum']),
  coordinated('readPolicy', ['readPolicy', 'readPolicy'], ['localFirst', 'roundRobin']),
  coordinated('timeouts.holdSeconds', ['holdSeconds', 'holdMs'], [60, 30], 1000),
  coordinated('timeouts.ioSeconds', ['ioSeconds', 'lagMs'], [3, 7], 1000),
  coordinated('timeouts.hedgeMilliseconds', ['hedgeMilliseconds', 'hedgeMs'], [20, 0], 1),
  limit('limits.iops', { iops: 20 }, { iops: 100_000 }, { iops: null }),
  limit('limits.bandwidth', { bandwidth: '64Ki' }, { bandwidth: '1Gi' }, { bandwidth: null }),
  limit('limits.queueDepth', { queueDepth: 1 }, { queueDepth: 512 }, { queueDepth: null }),
  limit(
    'limits.iopsBurst',
    { iops: 20, iopsBurst: 1 },
    { iops: 20, iopsBurst: 10_000 },
    { iops: null, iopsBurst: null },
  ),
  limit(
    'limits.bandwidthBurst',
    { bandwidth: '64Ki', bandwidthBurst: '4Ki' },
    { bandwidth: '64Ki', bandwidthBurst: '16Mi' },
    { bandwidth: null, bandwidthBurst: null },
  ),
  ofReplicas('cacheSize', ['1Mi', '2Mi'], [MIB, 2 * MIB]),
  ofReplicas('ioWorkers', [2, 3], [2, 3]),
  {
    name: 'initiators',
    first: { initiators: ['iqn.2008-11.org.linux-kvm:elsewhere'] },
    second: { initiators: ['iqn.2008-11.org.linux-kvm:elsewhere', 'iqn.2026-11.io.ashlar:nobody'] },
    none: { initiators: null },
    isFirst: async () => !(await login()),
    isSecond: async () => !(await login()),
    isNone: () => login(),
  },
  {
    name: 'chapSecret',
    first: { chapSecret: { name: 'chap' } },
    second: { chapSecret: { name: 'chap', namespace: 'default' } },
    none: { chapSecret: null },
    isFirst: async () => !(await login()) && (await login('alice%alice-has-a-secret@')),
    isSecond: async () => !(await login('alice%another-secret@')),
    isNone: () => login(),
  },
];

for (const policy of POLICIES) {
  test(`${policy.name}: of the volume, then of its policy; changed, and taken away`, async () => {
    assert.ok(await policy.isNone(), 'as it was before');
    for (const target of ['volume', 'policy'] as const) {
      for (const [spec, look] of [
        [policy.first, policy.isFirst],
        [policy.second, policy.isSecond],
        [policy.first, policy.isFirst],
        [policy.none, policy.isNone],
      ] as const) {
        await patch(target, spec);
        await cluster.until(`${policy.name} of the ${target}: ${JSON.stringify(spec)}`, look);
      }
    }
  });
}

test('replicaCount: of its policy, where the volume itself says nothing', async () => {
  const wanted = (count: number) => async () =>
    (await volume())?.status?.replicas?.wanted === count;
  await patch('policy', { replicaCount: 3 });
  assert.ok(await wanted(2)(), 'what the volume says itself wins');
  await patch('volume', { replicaCount: null });
  await cluster.until('three are wanted', wanted(3));
  await patch('policy', { replicaCount: 2 });
  await cluster.until('two are wanted', wanted(2));
  await patch('volume', { replicaCount: 2 });
  await patch('policy', { replicaCount: null });
  await cluster.until('two are still wanted', wanted(2));
});

test('workers and a part of the cache do what they are for', async () => {
  await patch('policy', { cacheSize: '1Mi', ioWorkers: 2 });
  await cluster.until('both have a part', () => replicasWith('cacheBytes', MIB));
  const sums = async (name: string): Promise<number> =>
    [...(await metric(name, 'pool')).values()].reduce((sum, value) => sum + value, 0);
  const before = await sums('ashlar_volume_worker_blocks_total');
  const args = ['bench', '-f', 'raw', '-c', '64', '-d', '4', '-s', '524288', url()];
  const { status, stderr } = await run('qemu-img', args);
  assert.equal(status, 0, stderr);
  assert.ok((await sums('ashlar_volume_worker_blocks_total')) - before >= 64 * 96);
  assert.equal(await sums('ashlar_volume_cache_own_bytes'), 2 * MIB);
  assert.ok((await sums('ashlar_volume_cache_hits_total')) > 0);
  await patch('policy', { cacheSize: null, ioWorkers: null });
  await cluster.until('neither has one', () => replicasWith('ioWorkers', 0));
});

test('a value that cannot be is refused by name, of the volume and of the policy', async () => {
  for (const [kind, name] of [
    ['volumes.ashlar.io', 'db'],
    ['volumepolicies', 'gold'],
  ] as const) {
    for (const [spec, words] of [
      [{ cacheSize: '4Ki' }, /spec\.cacheSize: .*4Ki is too small; the least is 262144 bytes/],
      [{ cacheSize: 'much' }, /spec\.cacheSize: .*'much' is not a quantity; write it like 100Mi/],
      [{ ioWorkers: 65 }, /spec\.ioWorkers: .*65 is out of range; use 0 to 64/],
      [{ limits: { queueDepth: 0 } }, /spec\.limits\.queueDepth: .*out of range; use 1 to 4096/],
      [{ timeouts: { ioSeconds: 90 } }, /spec\.timeouts\.ioSeconds: .*out of range; use 1 to 25/],
    ] as const) {
      const body = JSON.stringify({ spec });
      const { status, stderr } = await cluster.kubectl(
        'patch',
        kind,
        name,
        '--type=merge',
        '-p',
        body,
      );
      assert.notEqual(status, 0);
      assert.match(stderr, words);
    }
  }
});

test('a class says all of them, and what it says is in the volume of its claim', async () => {
  const keys: Readonly<Record<string, string>> = {
    ReplicaCount: '1',
    SyncPolicy: 'all',
    ReadPolicy: 'roundRobin',
    IOPSLimit: '5000',
    IOPSBurst: '6000',
    BandwidthLimit: '100Mi',
    BandwidthBurst: '200Mi',
    QueueDepth: '64',
    LuWorkers: '6',
    IOTimeoutSeconds: '7',
    HoldTimeSeconds: '30',
    CacheSize: '1Mi',
    WriteCache: 'off',
    Initiators: 'iqn.2008-11.org.linux-kvm:a',
    ChapSecret: 'chap',
  };
  const config = Object.entries(keys).map(([name, value]) => ({ name, value }));
  await apply(
    {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: {
        name: 'all-of-them',
        annotations: {
          'openebs.io/cas-type': 'jiva',
          'cas.openebs.io/config': JSON.stringify(config),
        },
      },
      provisioner: 'openebs.io/provisioner-iscsi',
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'classy', namespace: 'default' },
      spec: {
        storageClassName: 'all-of-them',
        accessModes: ['ReadWriteOnce'],
        resources: { requests: { storage: '64Mi' } },
      },
    },
  );
  const made = await cluster.until('the claim is bound', async () => {
    const claim = await cluster.get<{ status?: { phase?: string }; spec: { volumeName?: string } }>(
      'pvc',
      'classy',
    );
    return claim?.status?.phase === 'Bound' && claim.spec.volumeName;
  });
  const found = await cluster.get<{ spec: Record<string, unknown> }>('volumes.ashlar.io', made);
  const { spec = {} } = found ?? {};
  assert.deepEqual(
    {
      syncPolicy: spec['syncPolicy'],
      readPolicy: spec['readPolicy'],
      limits: spec['limits'],
      timeouts: spec['timeouts'],
      cacheSize: spec['cacheSize'],
      ioWorkers: spec['ioWorkers'],
      writeCache: spec['writeCache'],
      initiators: spec['initiators'],
      chapSecret: spec['chapSecret'],
    },
    {
      syncPolicy: 'all',
      readPolicy: 'roundRobin',
      limits: {
        iops: 5000,
        iopsBurst: 6000,
        bandwidth: '100Mi',
        bandwidthBurst: '200Mi',
        queueDepth: 64,
      },
      timeouts: { holdSeconds: 30, ioSeconds: 7 },
      cacheSize: '1Mi',
      ioWorkers: 6,
      writeCache: false,
      initiators: ['iqn.2008-11.org.linux-kvm:a'],
      chapSecret: { name: 'chap', namespace: 'default' },
    },
  );
  const replica = await cluster.until('its replica has its part of the cache', async () => {
    const replicas = await cluster.get<{
      items: {
        spec: { volumeName: string };
        status?: { cacheBytes?: number; ioWorkers?: number };
      }[];
    }>('replicas');
    const one = replicas?.items.find((each) => each.spec.volumeName === made);
    return one?.status?.cacheBytes === MIB && one;
  });
  assert.equal(replica.status?.ioWorkers, 6);
});
