// Goal: what is asked of nodes that are not there yet comes true when they are. A claim of three replicas on the first node
// of a cluster is bound with one, says what it lacks, and gets the others as nodes come, under I/O; then any node may go.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { EtcdCluster } from './etcd-cluster.ts';

interface Volume {
  readonly metadata: { readonly name: string };
  readonly status?: {
    readonly state?: string;
    readonly iqn?: string;
    readonly mode?: string;
    readonly replicas?: { readonly inSync: number };
    readonly conditions?: { readonly type: string; readonly message: string }[];
    readonly serving?: { readonly nodeName: string; readonly portal: string };
  };
}

let cluster: EtcdCluster;
beforeEach(async () => {
  cluster = await EtcdCluster.with({
    nodes: 3,
    disks: 1,
    config: { control: '{placePatience: 30s}' },
  });
});
afterEach(() => cluster.stop());

/** The claim's volume, once it is so. */
function volumeThat(what: string, is: (volume: Volume) => boolean, limitMs = 90_000) {
  return cluster.until(
    `the volume is ${what}`,
    async () => {
      const claim = await cluster.get<{ spec: { volumeName?: string } }>('pvc', 'cstor-pvc');
      if (claim?.spec.volumeName === undefined) return false;
      const volume = await cluster.get<Volume>('volumes.ashlar.io', claim.spec.volumeName);
      return volume !== null && is(volume) && volume;
    },
    limitMs,
  );
}
const urlOf = ({ status }: Volume): string => `iscsi://${status?.serving?.portal}/${status?.iqn}/0`;

/** What a coordinator does with its replicas changes while hosts use the volume; a wrong value is named. */
async function changePolicies({ metadata, status }: Volume): Promise<void> {
  const patch = (spec: object) =>
    cluster.kubectl(
      ...['patch', 'volumes.ashlar.io', metadata.name, '--type', 'merge'],
      ...['-p', JSON.stringify({ spec })],
    );
  const wrong = await patch({ timeouts: { holdSeconds: 0 } });
  assert.match(wrong.stderr, /spec\.timeouts\.holdSeconds: .*0 is out of range; use 1 to 600/);
  const good = await patch({ readPolicy: 'localFirst', timeouts: { holdSeconds: 20 } });
  assert.equal(good.status, 0, good.stderr);
  const node = cluster.nodes.find(({ name }) => name === status?.serving?.nodeName);
  await cluster.until('the policy is in force', async () =>
    /"readPolicy":"localFirst","holdMs":20000.*its policy is in force/.test(node?.output ?? ''),
  );
  await cluster.io(urlOf({ metadata, status: status! }), 'read -P 0x11 0M 64k');
}

test('on the first node a claim of three has one replica; others join as nodes come; then the first may go', async () => {
  await cluster.nodes[0]?.start();
  await cluster.pointTo(cluster.nodes[0]!);
  await cluster.applyClaim();
  const first = await volumeThat(
    'served with one replica',
    ({ status }) => status?.serving !== undefined && status.replicas?.inSync === 1,
  );
  assert.equal(first.status?.state, 'Degraded');
  assert.equal(first.status.mode, 'replicated');
  const message = first.status.conditions?.find(({ type }) => type === 'Healthy')?.message ?? '';
  assert.match(message, /1 of 3 replicas in sync; 2 have no place: its pools are on one node/);
  await cluster.io(urlOf(first), 'write -P 0x11 0M 1M', 'flush');
  await Promise.all(cluster.nodes.slice(1).map((node) => node.start()));
  let writes = 0;
  let isHealthy = false;
  const healthy = volumeThat('healthy', ({ status }) => status?.state === 'Healthy').finally(() => {
    isHealthy = true;
  });
  // Hosts notice nothing of it.
  while (!isHealthy) {
    await cluster.io(urlOf(first), `write -P ${0x20 + (writes % 64)} 4M 64k`, 'flush');
    writes += 1;
  }
  const grown = await healthy;
  assert.equal(grown.status?.replicas?.inSync, 3);
  const last = 0x20 + ((writes - 1) % 64);
  await cluster.io(urlOf(grown), 'write -P 0x12 8M 64k', 'flush');
  await changePolicies(grown);
  const [gone, other] = cluster.nodes;
  await cluster.pointTo(other!);
  await gone?.end('SIGKILL');
  const moved = await volumeThat(
    'served elsewhere',
    ({ status }) => status?.serving !== undefined && status.serving.nodeName !== gone?.name,
  );
  const reads = ['read -P 0x11 0M 1M', `read -P ${last} 4M 64k`, 'read -P 0x12 8M 64k'];
  await cluster.io(urlOf(moved), ...reads);
});

test('killed while others join, the only node with the data goes on where it was', async () => {
  const [first, ...others] = cluster.nodes;
  await first?.start();
  await cluster.pointTo(first!);
  await cluster.applyClaim();
  const alone = await volumeThat(
    'served with one replica',
    ({ status }) => status?.serving !== undefined && status.replicas?.inSync === 1,
  );
  await cluster.io(urlOf(alone), 'write -P 0x31 0M 1M', 'flush');
  await Promise.all(others.map((node) => node.start()));
  // Before, in, and after each of the two changes of members: they come some seconds after the nodes.
  for (const waitMs of [500, 1500, 2500, 4000]) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    await first?.end('SIGKILL');
    await first?.start();
    await cluster.pointTo(first!);
  }
  // What was told before the last kill is told still: of a portal that is gone with its process.
  const grown = await volumeThat(
    'healthy where a node runs now',
    ({ status }) =>
      status?.state === 'Healthy' &&
      status.replicas?.inSync === 3 &&
      cluster.nodes.some(({ portal }) => portal === status.serving?.portal),
    120_000,
  );
  await cluster.io(urlOf(grown), 'read -P 0x31 0M 1M');
});
