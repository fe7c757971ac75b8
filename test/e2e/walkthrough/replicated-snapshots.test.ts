// Goal: a claim on three nodes is restored from a snapshot, and copied, with what it held at that moment, though the node
// of a replica is killed and comes back in between; of a snapshot taken meanwhile its object says who holds it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EtcdCluster } from './etcd-cluster.ts';

interface Volume {
  readonly metadata: { readonly name: string };
  readonly status?: {
    readonly state?: string;
    readonly iqn?: string;
    readonly serving?: { readonly nodeName: string; readonly portal: string };
    readonly replicas?: { readonly inSync: number };
  };
}

interface Snapshot {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly volumeName: string };
  readonly status?: {
    readonly phase?: string;
    readonly takenAt?: string;
    readonly holders?: readonly string[];
    readonly cuts?: readonly object[];
  };
}

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
let cluster: EtcdCluster;
before(async () => {
  cluster = await EtcdCluster.with({ nodes: 3, disks: 1 });
  await cluster.start();
  await cluster.applyClaim();
});
after(() => cluster.stop());

async function must(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await cluster.kubectl(...args);
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function apply(object: object): Promise<void> {
  const path = join(cluster.folder, 'object.json');
  writeFileSync(path, JSON.stringify(object));
  await must('apply', '-f', path);
}

/** The claim's volume, with every replica in sync. */
async function whole(claim: string): Promise<Volume> {
  return await cluster.until(`claim ${claim} is whole`, async () => {
    const found = await cluster.get<{ spec: { volumeName?: string } }>('pvc', claim);
    if (found?.spec.volumeName === undefined) return false;
    const volume = await cluster.get<Volume>('volumes.ashlar.io', found.spec.volumeName);
    return volume?.status?.state === 'Healthy' && volume.status.replicas?.inSync === 3 && volume;
  });
}

async function take(name: string): Promise<Snapshot> {
  await apply({
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: { name },
    spec: { source: { persistentVolumeClaimName: 'cstor-pvc' } },
  });
  return await cluster.until(`snapshot ${name} is ready`, async () => {
    const kind = 'volumesnapshots.snapshot.storage.k8s.io';
    const object = await cluster.get<{
      metadata: { uid: string };
      status?: { readyToUse?: boolean };
    }>(kind, name);
    if (object?.status?.readyToUse !== true) return false;
    return await cluster.get<Snapshot>('snapshots.ashlar.io', `snapshot-${object.metadata.uid}`);
  });
}

async function claimFrom(name: string, dataSource: object): Promise<void> {
  await apply({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      storageClassName: 'openebs-cstor-disk',
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '5Gi' } },
      dataSource,
    },
  });
}

const ofSnapshot = (name: string) => ({
  name,
  kind: 'VolumeSnapshot',
  apiGroup: 'snapshot.storage.k8s.io',
});

test('restored claims hold what was there at the cut, a copied one what is there now', async () => {
  const volume = await whole('cstor-pvc');
  const source = await cluster.urlOf('cstor-pvc');
  await cluster.io(source, 'write -P 0x11 0 4M', 'write -P 0x12 1G 64k', 'flush');
  const first = await take('first');
  assert.equal(first.status?.holders?.length, 3);
  await cluster.io(source, 'write -P 0x21 1M 1M', 'discard 2M 1M', 'flush');

  const away = cluster.nodes.find(({ name }) => name !== volume.status?.serving?.nodeName)!;
  const [here] = cluster.nodes.filter((node) => node !== away);
  await cluster.pointTo(here!);
  await away.end('SIGKILL');
  await cluster.io(source, 'write -P 0x22 3M 1M', 'flush');
  const second = await take('second');
  assert.equal(second.status?.holders?.length, 2);
  await cluster.io(source, 'write -P 0x31 0 64k', 'flush');
  await away.start();
  await whole('cstor-pvc');
  // B6: what it missed it makes up for.
  await cluster.until('all hold both', async () => {
    const all = await cluster.get<{ items: Snapshot[] }>('snapshots.ashlar.io');
    return all?.items.length === 2 && all.items.every((one) => one.status?.holders?.length === 3);
  });

  await claimFrom('of-first', ofSnapshot('first'));
  await claimFrom('of-second', ofSnapshot('second'));
  await claimFrom('copied', { name: 'cstor-pvc', kind: 'PersistentVolumeClaim' });
  for (const claim of ['of-first', 'of-second', 'copied']) await whole(claim);
  const io = async (claim: string, ...commands: string[]): Promise<unknown> =>
    await cluster.io(await cluster.urlOf(claim), ...commands);
  await io('of-first', 'read -P 0x11 0 4M', 'read -P 0x12 1G 64k', 'read -P 0 1025M 1M');
  const cut = ['read -P 0x21 1M 1M', 'read -P 0 2M 1M', 'read -P 0x22 3M 1M'];
  await io('of-second', 'read -P 0x11 0 1M', ...cut, 'read -P 0x12 1G 64k');
  await io('copied', 'read -P 0x31 0 64k', 'read -P 0x11 64k 960k', ...cut);
  await io('of-first', 'write -P 0x41 0 4M', 'flush', 'read -P 0x41 0 4M');
  await cluster.io(source, 'read -P 0x31 0 64k', 'read -P 0x11 64k 960k', ...cut);
});

test('snapshots are sent, and received into another replicated volume; what does not fit is refused', async () => {
  const { metadata } = await whole('cstor-pvc');
  await apply({
    apiVersion: 'ashlar.io/v1',
    kind: 'Volume',
    metadata: { name: 'received' },
    spec: { size: '5Gi', replicaCount: 3, storagePoolClaim: 'cstor-disk-pool' },
  });
  const url = await cluster.until('it is healthy', async () => {
    const { status } = (await cluster.get<Volume>('volumes.ashlar.io', 'received')) ?? {};
    return status?.state === 'Healthy' && `iscsi://${status.serving?.portal}/${status.iqn}/0`;
  });
  const [first, second] = ['first.ashlar', 'second.ashlar'].map((file) =>
    join(cluster.folder, file),
  );
  const ashlar = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await cluster.ashlar(...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  await ashlar('send', `${metadata.name}@first`, '-o', first!);
  await ashlar('send', `${metadata.name}@second`, '--from', 'first', '-o', second!);
  const early = await cluster.ashlar('receive', 'received', second!);
  assert.match(early.stderr, /which is not the newest snapshot of volume "received"/);
  await ashlar('receive', 'received', first!);
  const served = async (...commands: string[]): Promise<void> => {
    await cluster.until('hosts are let in', () => cluster.io(url, ...commands).catch(() => false));
  };
  await served('read -P 0x11 0 4M', 'read -P 0x12 1G 64k', 'read -P 0 1025M 1M');
  await ashlar('receive', 'received', second!);
  await served('read -P 0x21 1M 1M', 'read -P 0 2M 1M', 'read -P 0x22 3M 1M');
  await cluster.io(url, 'write -P 0x71 0 64k', 'flush');
  const full = await cluster.ashlar('receive', 'received', first!);
  assert.match(full.stderr, /volume "received" holds data, and this is a full stream/);
  await served('read -P 0x71 0 64k');
  const snapshots = await cluster.get<{ items: Snapshot[] }>('snapshots.ashlar.io');
  const names = snapshots?.items
    .filter(({ spec }) => spec.volumeName === 'received')
    .map((one) => one.metadata.name);
  assert.equal(names?.length, 2);
  await must('delete', 'snapshots.ashlar.io', ...names);
  await must('delete', 'volumes.ashlar.io', 'received');
});

test('the source is rolled back to what it was, and its coordinator is killed in between', async () => {
  const cut = ['read -P 0x21 1M 1M', 'read -P 0 2M 1M', 'read -P 0x22 3M 1M'];
  const { metadata, status } = await whole('cstor-pvc');
  const source = await cluster.urlOf('cstor-pvc');
  await cluster.io(source, 'write -P 0x51 0 8M', 'flush');
  const serving = cluster.nodes.find(({ name }) => name === status?.serving?.nodeName)!;
  await cluster.pointTo(cluster.nodes.find((node) => node !== serving)!);
  const asked = cluster.ashlar('rollback', 'volume', metadata.name, '--to', 'second');
  await cluster.until('it has begun', async () => {
    const seen = await cluster.get<{ spec: { rollback?: object } }>(
      'volumes.ashlar.io',
      metadata.name,
    );
    return seen?.spec.rollback;
  });
  await serving.end('SIGKILL');
  const { stdout, stderr } = await asked;
  assert.match(stdout, /rolled back to second/, stderr);
  await serving.start();
  await whole('cstor-pvc');
  // What its objects say may be of before the kill; a node that is started again here has other ports.
  const now = await cluster.until<string>('hosts get in again', async () => {
    const seen = await cluster.get<Volume>('volumes.ashlar.io', metadata.name);
    const url = `iscsi://${seen?.status?.serving?.portal}/${seen?.status?.iqn}/0`;
    try {
      await cluster.io(url, 'read -P 0x11 0 4k');
      return url;
    } catch {
      return false;
    }
  });
  await cluster.io(now, 'read -P 0x11 0 1M', ...cut, 'read -P 0 4M 4M', 'read -P 0x12 1G 64k');
});

test('two volumes have snapshots of one instant, though the node that takes them is killed meanwhile', async () => {
  const { metadata } = await whole('cstor-pvc');
  await apply({
    apiVersion: 'ashlar.io/v1',
    kind: 'Volume',
    metadata: { name: 'beside' },
    spec: { size: '64Mi', replicaCount: 3, storagePoolClaim: 'cstor-disk-pool' },
  });
  const beside = () => cluster.get<Volume>('volumes.ashlar.io', 'beside');
  const isHealthy = async () => {
    const volume = await beside();
    return volume?.status?.state === 'Healthy' && volume;
  };
  const { status } = await cluster.until('the second volume is healthy', isHealthy);
  await cluster.io(`iscsi://${status?.serving?.portal}/${status?.iqn}/0`, 'write -P 0x62 0 64k');
  const volume = await cluster.get<Volume>('volumes.ashlar.io', metadata.name);
  const taker = cluster.nodes.find(({ name }) => name === volume?.status?.serving?.nodeName)!;
  await cluster.pointTo(cluster.nodes.find((node) => node !== taker)!);
  const volumes = ['--volume', metadata.name, '--volume', 'beside'];
  const asked = await cluster.ashlar('create', 'snapshot', 'both', ...volumes);
  assert.equal(asked.status, 0, asked.stderr);
  const of = (name: string) => cluster.get<Snapshot>('snapshots.ashlar.io', `${name}.both`);
  // Its volumes come together there first; then it is in the middle of it, or has just done it.
  await cluster.until('it has begun', async () => (await of(metadata.name))?.status?.cuts);
  await taker.end('SIGKILL');
  const both = await cluster.until('both are ready', async () => {
    const found = await Promise.all([of(metadata.name), of('beside')]);
    return found.every((one) => one?.status?.phase === 'Ready') && found;
  });
  assert.equal(both[0]?.status?.takenAt, both[1]?.status?.takenAt);
  for (const one of both) assert.ok((one?.status?.holders?.length ?? 0) >= 2);
  await taker.start();
  await must('delete', 'snapshots.ashlar.io', `${metadata.name}.both`, 'beside.both');
  await must('delete', 'volumes.ashlar.io', 'beside');
  await whole('cstor-pvc');
});

test('the source and its snapshots go, and what was made of them lives on', async () => {
  await must('delete', 'volumesnapshots.snapshot.storage.k8s.io', 'first', 'second');
  await must('delete', 'pvc', 'cstor-pvc', '--wait=false');
  await cluster.until('they are gone', async () => {
    const volumes = await cluster.get<{ items: Volume[] }>('volumes.ashlar.io');
    const snapshots = await cluster.get<{ items: Snapshot[] }>('snapshots.ashlar.io');
    return volumes?.items.length === 3 && snapshots?.items.length === 0;
  });
  const restored = await cluster.urlOf('of-second');
  await cluster.io(restored, 'read -P 0x11 0 1M', 'read -P 0x22 3M 1M', 'read -P 0x12 1G 64k');
  await must('delete', 'pvc', 'of-first', 'of-second', 'copied', '--wait=false');
  await cluster.until('nothing is left', async () => {
    const replicas = await cluster.get<{ items: object[] }>('replicas.ashlar.io');
    return replicas?.items.length === 0;
  });
});

test('pools whose replicas were clones of each other check clean', async () => {
  for (const node of cluster.nodes) {
    assert.equal(await node.end('SIGTERM'), 0);
    const disk = join(node.folder, 'disks', 'disk-1');
    const { code, text } = await finished(MAIN, 'check', 'pool', disk);
    assert.equal(code, 0, text);
  }
});

async function finished(...args: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  child.stderr.on('data', (chunk) => {
    text += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.on('exit', resolve));
  return { code, text };
}
