// Goal: who asks for what is wrong, or for what ashlar has not, is answered in words that name the field, or what to do
// instead: by kubectl, Debian's and the one that is installed here, and by `ashlar`.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { debianKubectl, installedKubectl, runKubectl } from '../../support/kubectl.ts';
import { run } from '../support/process.ts';
import { Cluster, tableOf } from './cluster.ts';
import { WRONG_MANIFESTS } from './wrong-manifests.ts';

interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}
type Client = (...args: string[]) => Promise<Answer>;

let cluster: Cluster;
/** By name. */
const clients = new Map<string, Client>();
/** Those of them that are kubectl. */
const kubectls = (): [string, Client][] => [...clients].filter(([name]) => name !== 'ashlar');

before(async () => {
  cluster = new Cluster({ nodes: 1 });
  await cluster.start();
  for (const kubectl of [debianKubectl(), installedKubectl()]) {
    if (kubectl === null) continue;
    const home = join(cluster.folder, `home-${kubectl.version}`);
    mkdirSync(home);
    copyFileSync(join(cluster.folder, 'kubeconfig'), join(home, 'config'));
    clients.set(`kubectl ${kubectl.version}`, (...args) => runKubectl(kubectl, home, args));
  }
  clients.set('ashlar', async (...args) => {
    const { status, stdout, stderr } = await cluster.ashlar(...args);
    return { code: status, out: stdout, err: stderr };
  });
});
after(() => cluster.stop());

function file(manifest: object): string {
  const path = join(cluster.folder, 'manifest.yaml');
  writeFileSync(path, JSON.stringify(manifest));
  return path;
}

test('a wrong manifest of each kind is answered with the field and what would be right', async () => {
  for (const { what, manifest, answer } of WRONG_MANIFESTS) {
    const path = file(manifest);
    for (const [name, client] of clients) {
      const { code, out, err } = await client('apply', '-f', path);
      const { kind } = manifest as { kind: string };
      assert.notEqual(code, 0, `${name}: ${kind} with ${what} is taken: ${out}`);
      assert.match(err, answer, `${name}: ${kind} with ${what}`);
      assert.doesNotMatch(err, /InternalError|at \w+.*\.js:/, `${name}: ${kind} with ${what}`);
    }
  }
});

test('an unknown field is answered with the one that may have been meant', async () => {
  const spec = { size: '1Gi', replicaCont: 3 };
  const volume = { apiVersion: 'ashlar.io/v1', kind: 'Volume', metadata: { name: 'x' }, spec };
  const { err } = await clients.get('ashlar')!('apply', '-f', file(volume));
  assert.match(err, /unknown field "spec\.replicaCont"; did you mean "replicaCount"\?/);
});

test('a class of somebody else is taken with a warning', async () => {
  const path = file({
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'foreign' },
    provisioner: 'example.com/x',
  });
  for (const [name, client] of clients) {
    const { code, err } = await client('apply', '-f', path);
    assert.equal(code, 0, err);
    assert.match(
      err,
      /claims of this class stay Pending; ours is openebs\.io\/provisioner-iscsi/,
      name,
    );
    await client('delete', 'storageclass', 'foreign');
  }
});

test('what Kubernetes has and ashlar has not is answered with what to do instead', async () => {
  const pod = 'maya-apiserver-node-1';
  const asked: readonly [string[], RegExp][] = [
    [['exec', '-n', 'openebs', pod, '--', 'ls'], /no container: log in to its node.*systemctl/],
    [['attach', '-n', 'openebs', pod], /no container: log in to its node/],
    [['port-forward', '-n', 'openebs', `pod/${pod}`, '80:80'], /no container: log in to its node/],
    [['delete', 'pod', '-n', 'openebs', pod], /systemctl restart ashlar-node/],
    [['run', 'x', '--image=x'], /programs are not run here/],
    [['delete', 'blockdevice', '-n', 'openebs', 'blockdevice-1'], /devices\.exclude/],
    [['top', 'nodes'], /Metrics API not available/],
    [['delete', 'node', 'node-1'], /kubectl delete nodes\.ashlar\.io NODE/],
    [['get', 'deployments'], /doesn't have a resource type "deployments"/],
  ];
  for (const [name, client] of kubectls()) {
    for (const [args, answer] of asked) {
      const { code, err } = await client(...args);
      assert.notEqual(code, 0, `${name} ${args.join(' ')}`);
      assert.match(err, answer, `${name} ${args.join(' ')}`);
    }
    const { code, out, err } = await client('cluster-info');
    assert.equal(code, 0, err);
    assert.match(out, /is running at .*http:\/\/127\.0\.0\.1:/);
    assert.equal((await client('get', '--raw', '/healthz')).out, 'ok');
    assert.match((await client('logs', '-n', 'openebs', pod, '--tail=1')).out, /maya-apiserver/);
  }
});

test('services show where volumes are served', async () => {
  const volume = { apiVersion: 'ashlar.io/v1', kind: 'Volume', metadata: { name: 'served' } };
  const spec = { size: '64Mi', casType: 'jiva' };
  const [, kubectl] = kubectls()[0]!;
  assert.equal((await kubectl('apply', '-f', file({ ...volume, spec }))).code, 0);
  const { portal } = cluster.nodes[0]!;
  await cluster.until('it is shown', async () => {
    const { out } = await kubectl('get', 'svc', '-A');
    return out.includes('served') && out.includes(`${portal.split(':')[1]}/TCP`) && out;
  });
  assert.match(
    (await kubectl('describe', 'svc', '-n', 'openebs', 'served')).out,
    /iscsi +\d+\/TCP/,
  );
  // SBC-4 r22 §6.6.8: thresholds of thin provisioning are offered, in sets of 2^11 blocks of 512 bytes.
  const { iqn } = (await cluster.get<{ status: { iqn: string } }>('volumes.ashlar.io', 'served'))!
    .status;
  const { stdout } = await run('iscsi-inq', ['-e', '1', '-c', '178', `iscsi://${portal}/${iqn}/0`]);
  assert.match(stdout, /Threshold Exponent: *11/);
});

test('kubectl knows the nodes: their table is true, cordon, uncordon and label change ours, and all of it can be dumped', async () => {
  interface OurNode {
    spec: { unschedulable?: boolean };
    metadata: { labels: Record<string, string> };
  }
  const ours = async (): Promise<OurNode> =>
    (await cluster.get<OurNode>('nodes.ashlar.io', 'node-1'))!;
  for (const [name, client] of kubectls()) {
    const does = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await client(...args);
      assert.equal(code, 0, `${name} ${args.join(' ')}: ${err}`);
      return out;
    };
    // The node counts what it has every 5 s, also between two looks.
    const row = await cluster.until(
      'its pool is counted, and both kinds tell the same',
      async () => {
        const found = tableOf(await does('get', 'nodes', '-o', 'wide')).get('node-1')!;
        const { out } = await clients.get('ashlar')!('get', 'nodes');
        const own = tableOf(out).get('node-1')!;
        const counts = ['POOLS', 'REPLICAS', 'COORDINATORS'].map((count) => [
          found[count],
          own[count],
        ]);
        return found['POOLS'] === '1' && counts.every(([one, other]) => one === other) && found;
      },
    );
    const { STATUS, ROLES, VERSION } = row;
    assert.deepEqual([STATUS, ROLES], ['Ready', '<none>'], name);
    assert.equal(row['INTERNAL-IP'], '127.0.0.1');
    assert.equal(row['KERNEL-VERSION'], release());
    assert.match(VERSION ?? '', /^v\d+\.\d+\.\d+$/);
    const told = await does('describe', 'node', 'node-1');
    assert.match(told, /Unschedulable: +false/);
    assert.match(told, /InternalIP: +127\.0\.0\.1/);
    assert.match(told, new RegExp(`cpu: +${availableParallelism()}\\n`));
    assert.match(told, /openebs +maya-apiserver-node-1 /);
    const heard = /\n +Ready +True +(.*?) {2,}/.exec(told)?.[1] ?? '';
    assert.ok(Math.abs(Date.parse(heard) - Date.now()) < 20_000, `heard at ${heard}`);
    await does('cordon', 'node-1');
    assert.equal((await ours()).spec.unschedulable, true);
    assert.match(await does('get', 'nodes'), /Ready,SchedulingDisabled/);
    await does('uncordon', 'node-1');
    assert.equal((await ours()).spec.unschedulable, undefined);
    await does('label', 'node', 'node-1', 'topology.kubernetes.io/zone=a');
    assert.equal((await ours()).metadata.labels['topology.kubernetes.io/zone'], 'a');
    await does('label', 'node', 'node-1', 'topology.kubernetes.io/zone-');
    assert.match(
      await does('cluster-info', 'dump', '-A', '--output-directory', '-'),
      /"kind": "NodeList"[\s\S]*maya-apiserver/,
    );
    const version = await client('version');
    assert.equal(version.code, 0);
    assert.doesNotMatch(version.err, /skew/);
  }
  assert.match((await clients.get('ashlar')!('version')).out, /Server: v0\.1\.0$/m);
});
