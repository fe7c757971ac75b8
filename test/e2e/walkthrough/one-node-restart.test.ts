// Goal: a node that is started again brings up what it had, and tells of nothing that has not changed: of a thousand volumes
// what it told would be most of its work for a minute, and nobody would find a real event among those.
// Method: more volumes than coordinators begin at one time, of three replicas each, in three pools of the one node.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { MOST_OPENINGS } from '../../../src/node/agent/openings.ts';
import { Cluster } from './cluster.ts';

const VOLUMES = MOST_OPENINGS + 6;

interface Seen {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
  };
  readonly status?: {
    readonly phase?: string;
    readonly state?: string;
    readonly conditions?: { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: { readonly restartCount: number }[];
  };
}

let cluster: Cluster;
before(async () => {
  cluster = new Cluster({ nodes: 1, disks: 3 });
  await cluster.start();
});
after(() => cluster.stop());

async function all(kind: string, namespace?: string): Promise<Seen[]> {
  return (await cluster.get<{ items: Seen[] }>(kind, undefined, namespace))?.items ?? [];
}
const versions = (objects: readonly Seen[]): Map<string, string> =>
  new Map(objects.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));

async function make(path: string, object: object): Promise<void> {
  const answer = await fetch(`http://${cluster.nodes[0]!.api}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(object),
  });
  assert.ok(answer.ok, await answer.text());
}

test('volumes are served again after a restart, and neither they nor their replicas are told of', async () => {
  const node = cluster.nodes[0]!;
  for (let disk = 1; disk <= 3; disk += 1) {
    const spec = {
      type: 'disk',
      poolSpec: { poolType: 'striped' },
      blockDevices: { blockDeviceList: [`blockdevice-${disk}`] },
    };
    const [apiVersion, kind] = ['openebs.io/v1alpha1', 'StoragePoolClaim'];
    const claim = { apiVersion, kind, metadata: { name: `pool-${disk}` }, spec };
    await make('/apis/openebs.io/v1alpha1/storagepoolclaims', claim);
  }
  await cluster.until('the pools are there', async () => {
    const pools = await all('storagepoolclaims');
    return pools.every(({ status }) => status?.phase === 'Online');
  });
  for (let index = 0; index < VOLUMES; index += 1) {
    await make('/apis/ashlar.io/v1/volumes', {
      apiVersion: 'ashlar.io/v1',
      kind: 'Volume',
      metadata: { name: `volume-${index}` },
      spec: { size: '64Mi', replicaCount: 3, replicaPlacement: 'pool' },
    });
  }
  await cluster.until('all are healthy', async () => {
    const volumes = await all('volumes.ashlar.io');
    return volumes.every(({ status }) => status?.state === 'Healthy');
  });
  const pods = async (): Promise<Map<string, Seen>> =>
    new Map((await all('pods', 'openebs')).map((pod) => [pod.metadata.name, pod]));
  const targets = (seen: Map<string, Seen>): string[] =>
    [...seen.keys()].filter((name) => name.endsWith('-target'));
  await cluster.until(
    'all targets have pods',
    async () => targets(await pods()).length === VOLUMES,
  );
  const podsBefore = await pods();
  await node.end('SIGTERM');
  node.output = '';
  await node.start();
  await cluster.pointTo(node);
  const served = (): Set<string> =>
    new Set(
      [...node.output.matchAll(/"volume":"([^"]+)".*"a volume is served"/g)].map(([, v]) => v!),
    );
  await cluster.until('all are served', async () => served().size === VOLUMES);
  const restarted = (name: string, seen: Map<string, Seen>): boolean =>
    seen.get(name)?.status?.containerStatuses?.[0]?.restartCount === 1;
  await cluster.until('all pods say so', async () => {
    const seen = await pods();
    return targets(seen).filter((name) => restarted(name, seen)).length === VOLUMES;
  });
  for (const [name, { metadata }] of await pods()) {
    assert.equal(metadata.uid, podsBefore.get(name)?.metadata.uid, `${name} is another pod`);
  }
  const told = [...node.output.matchAll(/"kind":"(Volume|Replica)".*"reason":"(\w+)"/g)];
  assert.deepEqual(
    told.map(([, kind, reason]) => `${kind} ${reason}`),
    [],
  );
  const replicas = versions(await all('replicas'));
  assert.equal(replicas.size, 3 * VOLUMES);
  await cluster.until('and it is quiet', async () => {
    const before = versions(await all('volumes.ashlar.io'));
    await new Promise((resolve) => setTimeout(resolve, 6000)); // More than a round of reports.
    assert.deepEqual(versions(await all('replicas')), replicas);
    return (
      JSON.stringify([...versions(await all('volumes.ashlar.io'))]) === JSON.stringify([...before])
    );
  });
});
