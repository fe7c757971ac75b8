// Goal: a volume that was made with one replica gets others when more are asked for, while hosts use it; killed at any moment
// its node goes on, with all that was written; then the node that it began on may go.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { type EtcdUnderTest, startEtcd } from '../../support/etcd.ts';
import { run } from '../support/process.ts';
import { Cluster } from './cluster.ts';

interface Volume {
  readonly status?: {
    readonly state?: string;
    readonly iqn?: string;
    readonly mode?: string;
    readonly members?: readonly unknown[];
    readonly replicas?: { readonly inSync: number };
    readonly conditions?: { readonly type: string; readonly message: string }[];
    readonly serving?: { readonly nodeName: string; readonly portal: string };
  };
}

const POOLS = `
apiVersion: openebs.io/v1alpha1
kind: StoragePoolClaim
metadata: {name: disks}
spec:
  type: sparse
  poolSpec: {poolType: striped}
  blockDevices: {blockDeviceList: [blockdevice-1]}
`;
const VOLUME = `
apiVersion: ashlar.io/v1
kind: Volume
metadata: {name: db}
spec: {size: 64Mi, blockSize: 512, replicaCount: 1}
`;
const SNAPSHOT = `
apiVersion: ashlar.io/v1
kind: Snapshot
metadata: {name: before}
spec: {volumeName: db}
`;

let etcd: EtcdUnderTest;
let folder: string;
let cluster: Cluster;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-etcd-'));
  etcd = await startEtcd(folder);
  cluster = new Cluster({ nodes: 3, disks: 1, etcd: [etcd.endpoint] });
  await cluster.start();
  await apply(POOLS);
  await cluster.until('there are three pools', async () => {
    const pools = await cluster.get<{ items: { status?: { phase?: string } }[] }>(
      'pools.ashlar.io',
    );
    const online = pools?.items.filter(({ status }) => status?.phase === 'Online') ?? [];
    return online.length >= 3;
  });
});
afterEach(async () => {
  await cluster.stop();
  await etcd.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function ashlar(...args: string[]): Promise<void> {
  const { status, stderr } = await cluster.ashlar(...args);
  assert.equal(status, 0, stderr);
}

async function apply(manifest: string): Promise<void> {
  const file = join(cluster.folder, 'manifest.yaml');
  writeFileSync(file, manifest);
  await ashlar('apply', '-f', file);
}

function volumeThat(what: string, is: (volume: Volume) => boolean, limitMs = 90_000) {
  return cluster.until(
    `the volume is ${what}`,
    async () => {
      const volume = await cluster.get<Volume>('volumes.ashlar.io', 'db');
      return volume !== null && is(volume) && volume;
    },
    limitMs,
  );
}
const urlOf = ({ status }: Volume): string => `iscsi://${status?.serving?.portal}/${status?.iqn}/0`;
const isWhole = ({ status }: Volume): boolean =>
  status?.state === 'Healthy' && status.mode === 'replicated' && status.replicas?.inSync === 3;
const nodeOf = ({ status }: Volume) =>
  cluster.nodes.find(({ name }) => name === status?.serving?.nodeName)!;

async function aVolumeOfOne(): Promise<Volume> {
  await apply(VOLUME);
  const one = await volumeThat('served', ({ status }) => status?.state === 'Healthy');
  assert.equal(one.status?.mode, 'single');
  await cluster.io(urlOf(one), 'write -P 0x11 0M 1M', 'write -P 0x12 1M 64k', 'flush');
  return one;
}

test('scaled from one to three under I/O: hosts go on, and then the node that it began on may go', async () => {
  const one = await aVolumeOfOne();
  // Writes of which each waits for the one before; they go over the same session, or the one that takes its place.
  const args = [
    'bench',
    '-f',
    'raw',
    '-w',
    '-c',
    '14000',
    '-d',
    '4',
    '-s',
    '4096',
    '-o',
    '4194304',
  ];
  const writing = run('qemu-img', [...args, urlOf(one)], { timeoutMs: 120_000 });
  await ashlar('scale', 'volume', 'db', '--replicas', '3');
  const whole = await volumeThat('whole', isWhole);
  const { status, stderr } = await writing;
  assert.equal(status, 0, stderr);
  const reads = ['read -P 0x11 0M 1M', 'read -P 0x12 1M 64k'];
  await cluster.io(urlOf(whole), ...reads, 'write -P 0x13 2M 64k', 'flush');
  // What it was before is gone from the pool.
  const volumes = async (): Promise<number> => {
    const pools = await cluster.get<{ items: { status?: { volumes?: number } }[] }>(
      'pools.ashlar.io',
    );
    return (pools?.items ?? []).reduce((sum, pool) => sum + (pool.status?.volumes ?? 0), 0);
  };
  await cluster.until('three stores are left', async () => (await volumes()) === 3);
  const gone = nodeOf(whole);
  await cluster.pointTo(cluster.nodes.find((node) => node !== gone)!);
  await gone.end('SIGKILL');
  const moved = await volumeThat('served elsewhere', ({ status: now }) => {
    return now?.serving !== undefined && now.serving.nodeName !== gone.name;
  });
  await cluster.io(urlOf(moved), ...reads, 'read -P 0x13 2M 64k');
});

test('with a snapshot it keeps its one replica and says why; without it gets the others', async () => {
  const one = await aVolumeOfOne();
  await apply(SNAPSHOT);
  await cluster.until('the snapshot is taken', async () => {
    const found = await cluster.get<{ status?: { phase?: string } }>(
      'snapshots.ashlar.io',
      'before',
    );
    return found?.status?.phase === 'Ready';
  });
  await ashlar('scale', 'volume', 'db', '--replicas', '3');
  await volumeThat('not to be changed', ({ status }) => {
    const said = status?.conditions?.find(({ type }) => type === 'Healthy')?.message ?? '';
    return /2 have no place: .*it has a snapshot from when it has one replica \(before\)/.test(
      said,
    );
  });
  await cluster.io(urlOf(one), 'read -P 0x11 0M 1M');
  await ashlar('delete', 'snapshots.ashlar.io', 'before');
  const whole = await volumeThat('whole', isWhole);
  await cluster.io(urlOf(whole), 'read -P 0x11 0M 1M', 'read -P 0x12 1M 64k');
});

test('its node is killed while it becomes replicated: it goes on, with all that was written', async () => {
  const one = await aVolumeOfOne();
  const node = nodeOf(one);
  await cluster.pointTo(cluster.nodes.find((each) => each !== node)!);
  await ashlar('scale', 'volume', 'db', '--replicas', '3');
  for (const waitMs of [0, 40, 80, 160, 320, 640]) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    await node.end('SIGKILL');
    await node.start();
  }
  const whole = await volumeThat('whole', isWhole, 120_000);
  await cluster.io(urlOf(whole), 'read -P 0x11 0M 1M', 'read -P 0x12 1M 64k');
});
