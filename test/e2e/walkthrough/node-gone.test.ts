// Goal: a node that stays away has its replica made anew on what is left; when it comes back it finds out, and what it
// held is not left behind, neither on its disk nor as an object. And nothing that was acknowledged is lost on the way.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type EtcdUnderTest, startEtcd } from '../../support/etcd.ts';
import { Cluster, type ClusterNode } from './cluster.ts';

interface Volume {
  readonly status?: {
    readonly state?: string;
    readonly iqn?: string;
    readonly serving?: { readonly nodeName: string; readonly epoch: number };
    readonly target?: { readonly epoch: number };
    readonly replicas?: { readonly inSync: number };
    readonly members?: readonly { readonly replica: string }[];
  };
}
interface Replica {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName: string };
}
interface Pool {
  readonly spec: { readonly directory?: string };
  readonly status?: { readonly phase?: string; readonly volumes?: number };
}

let cluster: Cluster;
let etcd: EtcdUnderTest;
let folder: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-etcd-'));
  etcd = await startEtcd(folder);
  cluster = new Cluster({
    nodes: 3,
    disks: 2,
    diskBytes: 2 ** 30,
    etcd: [etcd.endpoint],
    config: { control: '{nodeGone: 10s}' },
  });
  await cluster.start();
});
after(async () => {
  await cluster.stop();
  await etcd.stop();
  rmSync(folder, { recursive: true, force: true });
});

// Two pools on each node: two nodes have room for three replicas.
const poolClaim = (name: string, device: string): object => ({
  apiVersion: 'openebs.io/v1alpha1',
  kind: 'StoragePoolClaim',
  metadata: { name },
  spec: {
    type: 'sparse',
    poolSpec: { poolType: 'striped' },
    blockDevices: { blockDeviceList: [device] },
  },
});
const VOLUME = {
  apiVersion: 'ashlar.io/v1',
  kind: 'Volume',
  metadata: { name: 'db' },
  spec: { size: '64Mi', replicaCount: 3, minimumReplicas: 3, replicaPlacement: 'pool' },
};

async function apply(...manifests: object[]): Promise<void> {
  const file = join(cluster.folder, 'manifest.yaml');
  writeFileSync(file, manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n'));
  const { status, stderr } = await cluster.ashlar('apply', '-f', file);
  assert.equal(status, 0, stderr);
}

async function devicePools(): Promise<Pool[]> {
  const pools = await cluster.get<{ items: Pool[] }>('pools.ashlar.io');
  return (pools?.items ?? []).filter(({ spec }) => spec.directory === undefined);
}

async function replicas(): Promise<Replica[]> {
  return (await cluster.get<{ items: Replica[] }>('replicas.ashlar.io'))?.items ?? [];
}

const healthy = (): Promise<Volume> =>
  cluster.until('the volume is healthy', async () => {
    const volume = await cluster.get<Volume>('volumes.ashlar.io', 'db');
    const { state, serving, target, replicas: counts } = volume?.status ?? {};
    return (
      state === 'Healthy' &&
      serving?.epoch === target?.epoch &&
      counts?.inSync === 3 &&
      (volume ?? false)
    );
  });

test('a node that is gone for long leaves its replica to others, and nothing behind when it comes back', async () => {
  await apply(poolClaim('first', 'blockdevice-1'), poolClaim('second', 'blockdevice-2'));
  await cluster.until('six pools are online', async () => {
    const pools = await devicePools();
    return pools.length === 6 && pools.every(({ status }) => status?.phase === 'Online');
  });
  await apply(VOLUME);
  const { status } = await healthy();
  const url = (node: ClusterNode): string => `iscsi://${node.portal}/${status?.iqn}/0`;
  const killed = cluster.nodes.find(({ name }) => name === status?.serving?.nodeName);
  const other = cluster.nodes.find((node) => node !== killed);
  assert.ok(killed !== undefined && other !== undefined);
  assert.equal(new Set((await replicas()).map(({ spec }) => spec.nodeName)).size, 3);
  await cluster.io(url(killed), 'write -P 0x5a 0 4M', 'flush');

  await cluster.pointTo(other);
  await killed.end('SIGKILL');
  await cluster.until('its replica has another place', async () => {
    const staying = (await replicas()).filter(
      ({ metadata }) => metadata.deletionTimestamp === undefined,
    );
    return staying.length === 3 && staying.every(({ spec }) => spec.nodeName !== killed.name);
  });
  await healthy();
  // Before it comes back, so that this is what it finds: the coordinator has let go of what was there.
  await cluster.until('its replica is no member any more', async () => {
    const volume = await cluster.get<Volume>('volumes.ashlar.io', 'db');
    return volume?.status?.members?.length === 3;
  });

  await killed.start();
  await cluster.until('three replicas, by the objects and by the pools', async () => {
    const pools = await devicePools();
    const held = pools.reduce((sum, pool) => sum + (pool.status?.volumes ?? 0), 0);
    return (
      (await replicas()).length === 3 &&
      pools.every(({ status: pool }) => pool?.phase === 'Online') &&
      held === 3
    );
  });
  await healthy();
  await cluster.io(url(killed), 'read -P 0x5a 0 4M');
});
