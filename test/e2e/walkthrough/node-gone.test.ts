// Goal: a node that stays away has its replica made anew on what is left; when it comes back it finds out, and what it
// held is not left behind, neither on its disk nor as an object. One that was deleted for good is forgotten. Pools that are
// exported on several nodes are emptied first. And nothing that was acknowledged is lost on the way.
import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ClusterNode } from './cluster.ts';
import { EtcdCluster } from './etcd-cluster.ts';

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
  readonly spec: {
    readonly nodeName: string;
    readonly poolName: string;
    readonly volumeName: string;
  };
}
interface Device {
  readonly spec: { readonly nodeName: string };
  readonly status?: { readonly contents?: string };
}
interface Pool {
  readonly spec: { readonly directory?: string };
  readonly status?: { readonly phase?: string; readonly volumes?: number };
}

const GI = 2 ** 30;

let cluster: EtcdCluster;
before(async () => {
  cluster = await EtcdCluster.with({
    nodes: 3,
    disks: 3,
    diskBytes: GI,
    config: { control: '{nodeGone: 10s}' },
  });
  // Of the last test: where most is free replicas go first.
  for (const { folder } of cluster.nodes) truncateSync(join(folder, 'disks', 'disk-3'), 2 * GI);
  await cluster.start();
  await cluster.apply(poolClaim('first', 'blockdevice-1'), poolClaim('second', 'blockdevice-2'));
  await sixPoolsOnline();
  await cluster.apply(VOLUME);
});
after(() => cluster.stop());

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

async function devicePools(): Promise<Pool[]> {
  const pools = await cluster.get<{ items: Pool[] }>('pools.ashlar.io');
  return (pools?.items ?? []).filter(({ spec }) => spec.directory === undefined);
}

async function replicas(): Promise<Replica[]> {
  return (await cluster.get<{ items: Replica[] }>('replicas.ashlar.io'))?.items ?? [];
}

const sixPoolsOnline = () =>
  cluster.until('six pools are online', async () => {
    const pools = await devicePools();
    return pools.length === 6 && pools.every(({ status }) => status?.phase === 'Online');
  });

const healthy = (inSync = 3, name = 'db'): Promise<Volume> =>
  cluster.until(`${name} is healthy`, async () => {
    const volume = await cluster.get<Volume>('volumes.ashlar.io', name);
    const { state, serving, target, replicas: counts } = volume?.status ?? {};
    return (
      state === 'Healthy' &&
      serving?.epoch === target?.epoch &&
      counts?.inSync === inSync &&
      (volume ?? false)
    );
  });

const urlAt = (node: ClusterNode, name = 'db'): string =>
  `iscsi://${node.portal}/iqn.2026-11.io.ashlar:${name}/0`;

/** The node that serves it, and another one, which the tools speak to from now on. */
async function serving(): Promise<{ node: ClusterNode; other: ClusterNode }> {
  const { status } = await healthy();
  const node = cluster.nodes.find(({ name }) => name === status?.serving?.nodeName);
  const other = cluster.nodes.find((one) => one !== node);
  assert.ok(node !== undefined && other !== undefined);
  await cluster.pointTo(other);
  return { node, other };
}

const placedElsewhere = ({ name }: ClusterNode) =>
  cluster.until('its replica has another place', async () => {
    const staying = (await replicas()).filter(
      ({ metadata }) => metadata.deletionTimestamp === undefined,
    );
    return staying.length === 3 && staying.every(({ spec }) => spec.nodeName !== name);
  });

/** So many stores in all pools of devices, by what nodes have counted. */
const heldInAll = (stores: number) =>
  cluster.until(`${stores} replicas, by the objects and by the pools`, async () => {
    const pools = await devicePools();
    const held = pools.reduce((sum, pool) => sum + (pool.status?.volumes ?? 0), 0);
    return (
      (await replicas()).length === stores &&
      pools.every(({ status }) => status?.phase === 'Online') &&
      held === stores
    );
  });

test('a node that is gone for long leaves its replica to others, and nothing behind when it comes back', async () => {
  const { node: killed } = await serving();
  assert.equal(new Set((await replicas()).map(({ spec }) => spec.nodeName)).size, 3);
  await cluster.io(urlAt(killed), 'write -P 0x5a 0 4M', 'flush');
  await killed.end('SIGKILL');
  await placedElsewhere(killed);
  await healthy();
  // Before it comes back, so that this is what it finds: the coordinator has let go of what was there.
  await cluster.until('its replica is no member any more', async () => {
    const volume = await cluster.get<Volume>('volumes.ashlar.io', 'db');
    return volume?.status?.members?.length === 3;
  });
  await killed.start();
  await heldInAll(3);
  await healthy();
  await cluster.io(urlAt(killed), 'read -P 0x5a 0 4M');
});

test('a node that was deleted for good is forgotten; that it comes back all the same hurts nobody', async () => {
  await healthy();
  // One of the three on one node, two on another: with that one two votes would be gone.
  const holders = (await replicas()).map(({ spec }) => spec.nodeName);
  const gone = cluster.nodes.find(
    ({ name }) => holders.filter((holder) => holder === name).length === 1,
  );
  const other = cluster.nodes.find((node) => node !== gone);
  assert.ok(gone !== undefined && other !== undefined);
  await cluster.pointTo(other);
  await cluster.io(urlAt(gone), 'write -P 0x5b 4M 1M', 'flush');
  const refused = await cluster.kubectl('delete', 'nodes.ashlar.io', gone.name);
  assert.match(refused.stderr, /is running: move what it holds away/);
  await gone.end('SIGKILL');
  await placedElsewhere(gone);
  const deleted = await cluster.kubectl('delete', 'nodes.ashlar.io', gone.name);
  assert.equal(deleted.status, 0, deleted.stderr);
  const objects = async (): Promise<string[]> => {
    const kinds = 'replicas.ashlar.io,pools.ashlar.io,blockdevices.ashlar.io';
    const all = await cluster.get<{ items: Replica[] }>(kinds);
    const here = (all?.items ?? []).filter(({ spec }) => spec.nodeName === gone.name);
    return here.map(({ metadata }) => metadata.name);
  };
  await cluster.until('nothing is said to be there', async () => (await objects()).length === 0);
  await healthy();
  await cluster.io(urlAt(other), 'write -P 0x5c 5M 1M', 'read -P 0x5b 4M 1M', 'flush');

  await gone.start();
  await cluster.until('its disks are known, and say what they hold', async () => {
    const devices = await cluster.get<{ items: Device[] }>('blockdevices.ashlar.io');
    const here = devices?.items.filter(({ spec }) => spec.nodeName === gone.name) ?? [];
    return here.filter(({ status }) => status?.contents === 'an ashlar pool').length === 2;
  });
  const claim = await cluster.until('the claim says what to do', async () => {
    const spc = await cluster.get<{ status?: { conditions?: { message: string }[] } }>(
      'spc',
      'first',
    );
    return spc?.status?.conditions?.find(({ message }) => /holds an ashlar pool/.test(message));
  });
  assert.match(claim.message, /ashlar create pool NAME --device blockdevice-1\S* --force/);
  await cluster.io(urlAt(gone), 'read -P 0x5a 0 4M', 'read -P 0x5b 4M 1M', 'read -P 0x5c 5M 1M');
  await healthy();

  // As the claim says: what is there is overwritten, and the claims go on by themselves.
  for (const device of ['blockdevice-1', 'blockdevice-2']) {
    const made = ['create', 'pool', 'scratch', '--node', gone.name, '--device', device, '--force'];
    for (const args of [made, ['destroy', 'pool', 'scratch', '--yes-clear-its-devices']]) {
      const { status, stderr } = await cluster.ashlar(...args);
      assert.equal(status, 0, stderr);
    }
  }
  await sixPoolsOnline();
});

test('pools on two nodes are exported at once: their replicas go elsewhere first, under I/O', async () => {
  const { node, other } = await serving();
  const pools = [node, other].map(({ name }) => ({ name: `tank-${name}`, node: name }));
  for (const { name, node: nodeName } of pools) {
    const flags = ['--node', nodeName, '--device', 'blockdevice-3'];
    const { status, stderr } = await cluster.ashlar('create', 'pool', name, ...flags);
    assert.equal(status, 0, stderr);
  }
  await cluster.apply({
    ...VOLUME,
    metadata: { name: 'pair' },
    spec: { size: '64Mi', replicaCount: 2, minimumReplicas: 2 },
  });
  await healthy(2, 'pair');
  const places = async (): Promise<string[]> =>
    (await replicas())
      .filter(({ spec }) => spec.volumeName === 'pair')
      .map(({ spec }) => spec.poolName)
      .sort();
  assert.deepEqual(await places(), pools.map(({ name }) => name).sort());
  await cluster.io(urlAt(other, 'pair'), 'write -P 0x61 0 4M', 'flush');
  const exports = pools.map(({ name }) => cluster.ashlar('export', 'pool', name, '--drain'));
  let isExported = false;
  const answers = Promise.all(exports).finally(() => {
    isExported = true;
  });
  let writes = 0;
  while (!isExported) {
    await cluster.io(urlAt(other, 'pair'), `write -P ${0x70 + (writes % 64)} 8M 64k`, 'flush');
    writes += 1;
  }
  for (const { status, stderr } of await answers) assert.equal(status, 0, stderr);
  await healthy(2, 'pair');
  assert.ok((await places()).every((pool) => !pool.startsWith('tank-')));
  const last = 0x70 + ((writes - 1) % 64);
  await cluster.io(urlAt(other, 'pair'), 'read -P 0x61 0 4M', `read -P ${last} 8M 64k`);
  const { stdout } = await cluster.ashlar('import', 'pool');
  for (const { name, node: at } of pools) {
    assert.match(stdout, new RegExp(`${name} +\\S+ +1/1 +yes +${at} `));
  }
});
