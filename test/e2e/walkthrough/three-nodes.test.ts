// Goal: three nodes with etcd: replicas on each, a coordinator that resumes elsewhere when its node is killed, hosts that
// are sent to it, I/O that goes on while etcd is away, controllers that are killed in the middle of anything and leave
// nothing behind.
// ASHLAR_LEADER_KILLS: how often the leader is killed; standard 3, the long run is 50.
// ASHLAR_LEADER_FIRST: the number of the first of them, so that a long run can be had in parts; standard 0.
// ASHLAR_ETCD_AWAY_SECONDS: how long etcd is away; standard 8, the long run is 60.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { parseQuantity } from '../../../src/base/index.ts';
import type { ClusterNode } from './cluster.ts';
import { EtcdCluster } from './etcd-cluster.ts';

interface Volume {
  readonly metadata: { readonly name: string };
  readonly spec?: { readonly rollback?: { readonly request: string } };
  readonly status?: {
    readonly state?: string;
    readonly iqn?: string;
    readonly serving?: {
      readonly nodeName: string;
      readonly portal: string;
      readonly epoch: number;
    };
    readonly target?: { readonly nodeName: string; readonly epoch: number };
    readonly rollback?: { readonly request: string; readonly phase: string };
  };
}

const AWAY_SECONDS = Number(process.env['ASHLAR_ETCD_AWAY_SECONDS'] ?? 8);
const KILLS = Number(process.env['ASHLAR_LEADER_KILLS'] ?? 3);
const FIRST = Number(process.env['ASHLAR_LEADER_FIRST'] ?? 0);
let cluster: EtcdCluster;
before(async () => {
  cluster = await EtcdCluster.with({ nodes: 3, disks: 1, config: { control: '{nodeGone: 20s}' } });
  await cluster.start();
  await cluster.applyClaim();
});
after(() => cluster.stop());

async function theVolume(): Promise<Volume> {
  const claim = await cluster.get<{ spec: { volumeName?: string } }>('pvc', 'cstor-pvc');
  const volume = await cluster.get<Volume>('volumes.ashlar.io', claim?.spec.volumeName ?? '-');
  assert.ok(volume !== null);
  return volume;
}
const healthy = (limitMs = 60_000): Promise<Volume> =>
  cluster.until(
    'the volume is healthy',
    async () => {
      const claim = await cluster.get<{ spec: { volumeName?: string } }>('pvc', 'cstor-pvc');
      if (claim?.spec.volumeName === undefined) return false;
      const volume = await theVolume();
      const { serving, target, state } = volume.status ?? {};
      return state === 'Healthy' && serving?.epoch === target?.epoch && volume;
    },
    limitMs,
  );
const uidsOf = (list: { items: { metadata: { uid: string } }[] } | null): string[] =>
  (list?.items ?? []).map(({ metadata }) => metadata.uid).sort();
const urlAt = (node: ClusterNode, volume: Volume): string =>
  `iscsi://${node.portal}/${volume.status?.iqn}/0`;
const nodeOf = (name: string | undefined): ClusterNode => {
  const node = cluster.nodes.find((known) => known.name === name);
  assert.ok(node !== undefined, name);
  return node;
};

test('a claim of three replicas is healthy on three nodes; any node leads hosts to it', async () => {
  const volume = await healthy();
  for (const [index, node] of cluster.nodes.entries()) {
    const at = `${index}M`;
    await cluster.io(
      urlAt(node, volume),
      `write -P ${index + 1} ${at} 64k`,
      'flush',
      `read -P ${index + 1} ${at} 64k`,
    );
  }
});

test('etcd away: I/O goes on, changes wait, nothing is torn down', async () => {
  const volume = await healthy();
  const before = await cluster.get<{ items: { metadata: { uid: string } }[] }>('replicas');
  const node = nodeOf(volume.status?.serving?.nodeName);
  await cluster.etcd.kill();
  const endMs = Date.now() + AWAY_SECONDS * 1000;
  let pattern = 0x40;
  while (Date.now() < endMs) {
    pattern = 0x40 + ((pattern + 1) % 64);
    await cluster.io(urlAt(node, volume), `write -P ${pattern} 8M 64k`, 'flush');
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  await cluster.io(urlAt(node, volume), `read -P ${pattern} 8M 64k`, 'read -P 1 0M 64k');
  await cluster.etcd.start();
  const again = await healthy();
  assert.deepEqual(again.status?.target, volume.status?.target, 'its coordinator stayed');
  const replicas = await cluster.get<{ items: { metadata: { uid: string } }[] }>('replicas');
  assert.deepEqual(uidsOf(replicas), uidsOf(before), 'nothing was made anew');
});

test('a majority that comes back at other addresses is found again by the coordinator that waits for it', async () => {
  const volume = await healthy();
  const coordinator = nodeOf(volume.status?.serving?.nodeName);
  await cluster.io(urlAt(coordinator, volume), 'write -P 0x59 12M 64k', 'flush');
  await cluster.pointTo(coordinator);
  const others = cluster.nodes.filter((node) => node !== coordinator);
  await Promise.all(others.map((node) => node.end('SIGKILL')));
  await cluster.until('it says that it is offline', async () => {
    const now = await cluster.get<Volume>('volumes.ashlar.io', volume.metadata.name);
    return now?.status?.state === 'Offline';
  });
  // Their replicas listen on any free port: on another one now.
  await Promise.all(others.map((node) => node.start()));
  const again = await healthy(90_000);
  await cluster.io(urlAt(coordinator, again), 'read -P 0x59 12M 64k');
});

test('the node of the coordinator is killed: another one serves what was acknowledged', async () => {
  const volume = await healthy();
  const killed = nodeOf(volume.status?.serving?.nodeName);
  await cluster.io(urlAt(killed, volume), 'write -P 0x5a 16M 4M', 'flush', 'write -P 0x5b 20M 64k');
  const pair = await aPair();
  await cluster.io(urlAt(killed, pair), 'write -P 0x5c 1M 64k', 'flush');
  const [other] = cluster.nodes.filter((node) => node !== killed);
  await cluster.pointTo(other!);
  const startMs = Date.now();
  await killed.end('SIGKILL');
  const moved = await cluster.until('it is served elsewhere', async () => {
    const now = await theVolume();
    const { serving, target } = now.status ?? {};
    return serving?.nodeName !== killed.name && serving?.epoch === target?.epoch && now;
  });
  process.stdout.write(`# resumed elsewhere after ${Date.now() - startMs} ms\n`);
  await cluster.io(urlAt(other!, moved), 'read -P 0x5a 16M 4M', 'read -P 0x5b 20M 64k');
  // Whichever of its three was there, a copy or the witness, two votes of three are left.
  await cluster.until('the pair is served', async () => {
    const { serving, target } = (await thePair())?.status ?? {};
    return serving?.nodeName !== killed.name && serving?.epoch === target?.epoch;
  });
  await cluster.io(urlAt(other!, pair), 'read -P 0x5c 1M 64k', 'write -P 0x5d 2M 64k', 'flush');
  await killed.start();
  await healthy(90_000);
  await pairIsHealthy();
  await cluster.io(urlAt(killed, pair), 'read -P 0x5c 1M 64k', 'read -P 0x5d 2M 64k');
  const gone = await cluster.kubectl('delete', 'volumes.ashlar.io', 'pair');
  assert.equal(gone.status, 0, gone.stderr);
});

const thePair = () => cluster.get<Volume>('volumes.ashlar.io', 'pair');
const pairIsHealthy = (): Promise<Volume> =>
  cluster.until('the pair is healthy', async () => {
    const pair = await thePair();
    return pair?.status?.state === 'Healthy' && pair;
  });

/** Two copies and a witness, as tables and descriptions show them. */
async function aPair(): Promise<Volume> {
  await cluster.apply({
    apiVersion: 'ashlar.io/v1',
    kind: 'Volume',
    metadata: { name: 'pair' },
    spec: { size: '64Mi', replicaCount: 2, witness: true, storagePoolClaim: 'cstor-disk-pool' },
  });
  const pair = await pairIsHealthy();
  const { stdout } = await cluster.ashlar('get', 'replicas', '-o', 'wide');
  const rows = stdout.split('\n').filter((line) => line.includes(' pair '));
  assert.equal(rows.length, 3, stdout);
  assert.equal(rows.filter((row) => /\bWitness\b.*\bwitness\b/.test(row)).length, 1, stdout);
  assert.equal(new Set(rows.map((row) => /node-\d/.exec(row)?.[0])).size, 3, stdout);
  const described = await cluster.ashlar('describe', 'volume.ashlar.io', 'pair');
  assert.match(described.stdout, /2 of 2 replicas in sync, a witness on node-\d/);
  return pair;
}

/** What people do to volumes; each leaves the cluster in a state that the next one may begin from. */
class Operations {
  readonly extras: string[] = [];
  readonly snapshots: string[] = [];
  readonly #clones: string[] = [];
  sizeMi = 5 * 1024;
  #replicas = 3;
  #count = 0;
  #rollback: { readonly name: string; readonly answer: ReturnType<EtcdCluster['ashlar']> } | null =
    null;
  drained: ClusterNode | null = null;

  readonly all: Readonly<Record<string, (volume: Volume) => Promise<void>>> = {
    create: async () => {
      const name = this.#next('extra');
      this.extras.push(name);
      await cluster.apply(claimOf(name, 64));
    },
    snapshot: async () => {
      const name = this.#next('snap');
      this.snapshots.push(name);
      await takeSnapshot(name);
    },
    clone: async () => {
      const name = this.#next('clone');
      this.#clones.push(name);
      const manifest = claimOf(name, this.sizeMi);
      const dataSource = { kind: 'PersistentVolumeClaim', name: 'cstor-pvc' };
      await cluster.apply({ ...manifest, spec: { ...manifest.spec, dataSource } });
    },
    grow: async () => {
      this.sizeMi += 64;
      await cluster.apply(claimOf('cstor-pvc', this.sizeMi));
    },
    scale: async ({ metadata }) => {
      this.#replicas = this.#replicas === 3 ? 2 : 3;
      await patch('volumes.ashlar.io', metadata.name, { replicaCount: this.#replicas });
    },
    move: async ({ status }) => {
      const before = this.drained;
      if (before !== null) {
        await patch('nodes.ashlar.io', before.name, { drain: false, unschedulable: false });
        this.drained = null;
        return;
      }
      const name = status?.target?.nodeName;
      this.drained = nodeOf(name);
      await patch('nodes.ashlar.io', name ?? '', { drain: true, unschedulable: true });
    },
    delete: async () => {
      const name = this.extras.shift();
      if (name === undefined) await this.all['create']?.(await theVolume());
      else await this.#delete('pvc', name);
    },
    'delete a clone': async () => {
      const name = this.#clones.shift();
      if (name !== undefined) await this.#delete('pvc', name);
    },
    'delete a snapshot': async () => {
      const name = this.snapshots.shift();
      if (name !== undefined)
        await this.#delete('volumesnapshot.volumesnapshot.external-storage.k8s.io', name);
    },
    'roll back': async () => {
      await this.rolledBack();
      const name = this.#next('before');
      await takeSnapshot(name);
      const kind = 'volumesnapshot.volumesnapshot.external-storage.k8s.io';
      await cluster.until('the snapshot is there', async () => {
        const found = await cluster.get<{ status?: { conditions?: { status: string }[] } }>(
          kind,
          name,
        );
        return found?.status?.conditions?.some(({ status }) => status === 'True');
      });
      await ioAsHostsDo('write -P 0x99 48M 64k', 'flush');
      const volume = await healthy();
      const args = ['rollback', 'volume', volume.metadata.name, '--to', name, '--force'];
      // Whoever leads is killed meanwhile, and with it perhaps who does it.
      this.#rollback = { name, answer: cluster.ashlar(...args) };
    },
  };

  /** What was asked for last has come to its end, and the volume is what it was. */
  async rolledBack(): Promise<void> {
    if (this.#rollback === null) return;
    const { name, answer } = this.#rollback;
    const { status, stderr } = await answer;
    // Said to go on by itself, or done.
    assert.ok(status === 0 || /goes on by itself/.test(stderr), stderr);
    await cluster.until(
      'it is rolled back',
      async () => {
        const { spec, status: now } = await theVolume();
        const isLast = now?.rollback?.request === spec?.rollback?.request;
        return isLast && now?.rollback?.phase === 'Done';
      },
      120_000,
    );
    await ioAsHostsDo('read -P 0 48M 64k');
    this.#rollback = null;
    this.snapshots.push(name);
  }

  #next(what: string): string {
    this.#count += 1;
    return `${what}-${this.#count}`;
  }

  async #delete(kind: string, name: string): Promise<void> {
    await cluster.kubectl('delete', kind, name, '--wait=false');
  }

  /** As it was: three replicas, every node in use, one claim and no snapshot. */
  async undo(volume: Volume): Promise<void> {
    await this.rolledBack();
    if (this.drained !== null) await this.all['move']?.(volume);
    if (this.#replicas !== 3) await this.all['scale']?.(volume);
    while (this.#clones.length > 0) await this.all['delete a clone']?.(volume);
    while (this.snapshots.length > 0) await this.all['delete a snapshot']?.(volume);
    while (this.extras.length > 0) await this.all['delete']?.(volume);
  }
}

/** Who leads or serves was killed a moment ago: what is said of the volume may be older than that. Logged in again until it works. */
async function ioAsHostsDo(...commands: string[]): Promise<void> {
  await cluster.until('a host reaches the volume', async () => {
    const volume = await healthy(90_000);
    try {
      await cluster.io(urlAt(cluster.nodes[0]!, volume), ...commands);
      return true;
    } catch (error) {
      if (!/can't open device/.test((error as Error).message)) throw error;
      return false;
    }
  });
}

const takeSnapshot = (name: string): Promise<void> =>
  cluster.apply({
    apiVersion: 'volumesnapshot.external-storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: { name },
    spec: { persistentVolumeClaimName: 'cstor-pvc' },
  });
const claimOf = (name: string, sizeMi: number) => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name },
  spec: {
    storageClassName: 'openebs-cstor-disk',
    accessModes: ['ReadWriteOnce'],
    resources: { requests: { storage: `${sizeMi}Mi` } },
  },
});

async function patch(kind: string, name: string, spec: object): Promise<void> {
  const body = JSON.stringify({ spec });
  const done = await cluster.kubectl('patch', kind, name, '--type', 'merge', '-p', body);
  assert.equal(done.status, 0, done.stderr);
}

test(`the leader killed ${KILLS} times at random instants: nothing leaks, nothing is lost`, async () => {
  const volume = await healthy();
  await cluster.kubectl(
    ...['patch', 'storageclass', 'openebs-cstor-disk', '--type', 'merge'],
    ...['-p', '{"allowVolumeExpansion": true}'],
  );
  await cluster.io(urlAt(cluster.nodes[0]!, volume), 'write -P 0x66 32M 64k', 'flush');
  let seed = 12345 + FIRST;
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const operations = new Operations();
  const names = Object.keys(operations.all);
  const done = new Map<string, number>();
  for (let kill = FIRST; kill < FIRST + KILLS; kill += 1) {
    interface Lease {
      spec: { holderIdentity: string };
    }
    const lease = await cluster.get<Lease>('leases', 'controllers', 'openebs');
    const leader = nodeOf(lease?.spec.holderIdentity.split('_')[0]);
    const [other] = cluster.nodes.filter((node) => node !== leader);
    await cluster.pointTo(other!);
    // Each in turn, and now and then two at once.
    for (let n = 0; n <= random(3) % 2; n += 1) {
      const name = names[(kill + n * 3) % names.length]!;
      done.set(name, (done.get(name) ?? 0) + 1);
      await operations.all[name]?.(await theVolume());
    }
    await new Promise((resolve) => setTimeout(resolve, random(1500)));
    await leader.end('SIGKILL');
    await leader.start();
  }
  process.stdout.write(`# killed in the middle of ${JSON.stringify([...done])}\n`);
  await operations.undo(await theVolume());
  await cluster.until(
    'only what is wanted is left',
    async () => {
      const volumes = await cluster.get<{ items: Volume[] }>('volumes.ashlar.io');
      const replicas = await cluster.get<{ items: object[] }>('replicas.ashlar.io');
      const snapshots = await cluster.get<{ items: object[] }>('snapshots.ashlar.io');
      return (
        volumes?.items.length === 1 && replicas?.items.length === 3 && snapshots?.items.length === 0
      );
    },
    120_000,
  );
  await cluster.until('it has grown', async () => {
    const claim = await cluster.get<{ status: { capacity?: { storage?: string } } }>(
      ...['pvc', 'cstor-pvc'],
    );
    const bytes = parseQuantity(claim?.status.capacity?.storage ?? '');
    return bytes === operations.sizeMi * 2 ** 20;
  });
  await ioAsHostsDo('read -P 0x66 32M 64k');
  // What nodes really hold: one store of one volume in each pool.
  const pools = await cluster.get<{
    items: { spec: { directory?: string }; status: { volumes: number } }[];
  }>('pools');
  // A node that was just started believes of what it has no use for only after a minute that nobody wants it.
  await cluster.until(
    'pools hold one replica each',
    async () => {
      const now = await cluster.get<typeof pools & object>('pools');
      return now?.items
        .filter(({ spec }) => spec.directory === undefined)
        .every(({ status }) => status.volumes === 1);
    },
    120_000,
  );
});
