// Goal: three nodes that speak to each other over mutual TLS and serve their API over TLS to who has a token: a node with a
// certificate of somebody else is no part of it, and says so in words; renewed certificates are taken without a restart.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
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
    readonly advice?: readonly string[];
  };
}

const folder = mkdtempSync(join(tmpdir(), 'ashlar-secured-'));
const TOKENS = { read: 'read-token-0123456789', admin: 'admin-token-0123456789' };
let cluster: EtcdCluster;

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
}
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
function authority(name: string): void {
  const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`];
  openssl('req', '-x509', '-days', '365', ...EC, ...files, '-subj', `/CN=${name}`);
}
function certificate(name: string, signer: string): void {
  openssl('req', ...EC, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
  writeFileSync(join(folder, 'names'), 'subjectAltName=IP:127.0.0.1\n');
  const by = ['-CA', `${signer}.crt`, '-CAkey', `${signer}.key`, '-CAcreateserial', '-days', '365'];
  openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-extfile', 'names', '-out', `${name}.crt`);
}

/** Where the node's configuration looks for them, beside itself. */
function install(node: ClusterNode, name: string, signer = 'ours'): void {
  mkdirSync(join(node.folder, 'tls'), { recursive: true });
  for (const [from, to] of [
    [`${name}.crt`, 'node.crt'],
    [`${name}.key`, 'node.key'],
    [`${signer}.crt`, 'ca.crt'],
  ] as const) {
    copyFileSync(join(folder, from), join(node.folder, 'tls', to));
  }
}

before(async () => {
  authority('ours');
  authority('theirs');
  certificate('first', 'ours');
  certificate('second', 'ours');
  certificate('stranger', 'theirs');
  const tokens = Object.entries(TOKENS).map(([role, token]) => `${role} ${role}-account ${token}`);
  writeFileSync(join(folder, 'tokens'), `${tokens.join('\n')}\n`);
  for (const [role, token] of Object.entries(TOKENS)) writeFileSync(join(folder, role), token);
  writeFileSync(join(folder, 'nobody'), 'nobody-has-this-token');
  cluster = await EtcdCluster.with({
    nodes: 3,
    disks: 1,
    diskBytes: 2 ** 30,
    api: `tls: {certFile: ${folder}/first.crt, keyFile: ${folder}/first.key}, tokensFile: ${folder}/tokens`,
    config: {
      replication:
        '{tls: {certFile: tls/node.crt, keyFile: tls/node.key, caFile: tls/ca.crt}, listen: "127.0.0.1:0"}',
    },
    env: { ASHLAR_TOKEN_FILE: join(folder, 'admin'), ASHLAR_CA_FILE: join(folder, 'ours.crt') },
  });
  for (const node of cluster.nodes) install(node, 'first');
  await cluster.start();
});
after(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

const volumeThat = (what: string, is: (status: NonNullable<Volume['status']>) => boolean) =>
  cluster.until(
    `the volume is ${what}`,
    async () => {
      const volume = await cluster.get<Volume>('volumes.ashlar.io', 'db');
      const status = volume?.status;
      return status?.serving?.epoch === status?.target?.epoch && status && is(status) && status;
    },
    90_000,
  );

test('the API: a wrong token, another server, one that may only read, each in words', async () => {
  const as = (env: Record<string, string>, ...args: string[]) => cluster.ashlarWith(env, ...args);
  const none = await as({ ASHLAR_TOKEN_FILE: join(folder, 'nobody') }, 'get', 'pools');
  assert.match(none.stderr, /\(Unauthorized\)/);
  const stranger = await as({ ASHLAR_CA_FILE: join(folder, 'theirs.crt') }, 'get', 'pools');
  assert.equal(stranger.status, 3);
  assert.match(stranger.stderr, /certificate|self-signed/);
  const reader = { ASHLAR_TOKEN_FILE: join(folder, 'read') };
  assert.equal((await as(reader, 'get', 'pools')).status, 0);
  const refused = await as(reader, 'delete', 'pools', 'x');
  assert.match(refused.stderr, /"read-account" has the role read, and to delete it takes operate/);
});

test('replicas over mutual TLS; a stranger is refused; renewed certificates are taken as it runs', async () => {
  await cluster.apply({
    apiVersion: 'openebs.io/v1alpha1',
    kind: 'StoragePoolClaim',
    metadata: { name: 'pool' },
    spec: {
      type: 'sparse',
      poolSpec: { poolType: 'striped' },
      blockDevices: { blockDeviceList: ['blockdevice-1'] },
    },
  });
  await cluster.apply({
    apiVersion: 'ashlar.io/v1',
    kind: 'Volume',
    metadata: { name: 'db' },
    spec: { size: '64Mi', replicaCount: 3, minimumReplicas: 3, storagePoolClaim: 'pool' },
  });
  const isWell = ({ state, replicas }: NonNullable<Volume['status']>): boolean =>
    state === 'Healthy' && replicas?.inSync === 3;
  const status = await volumeThat('healthy', isWell);
  const serving = cluster.nodes.find(({ name }) => name === status.serving?.nodeName);
  const other = cluster.nodes.find((node) => node !== serving);
  assert.ok(serving !== undefined && other !== undefined);
  await cluster.pointTo(serving);
  const url = `iscsi://${serving.portal}/${status.iqn}/0`;
  await cluster.io(url, 'write -P 0x5a 0 1M', 'flush');

  // Lines of pools on all three nodes, of whichever node is asked.
  for (const tool of [cluster.kubectl, cluster.ashlar]) {
    const label = 'openebs.io/component-name=cstor-pool';
    const { status: code, stdout, stderr } = await tool('logs', '-n', 'openebs', '-l', label);
    assert.equal(code, 0, stderr);
    for (const { name } of cluster.nodes) assert.match(stdout, new RegExp(`"node":"${name}"`));
  }

  const doctor = () => cluster.ashlar('doctor');
  const well = await doctor();
  assert.match(well.stdout, /^Looked at 3 nodes, .* 1 volume, 3 replicas/m);
  // All that is to be said of three nodes on one machine.
  const said = well.stdout.split('\n').filter((line) => /^(BROKEN|care)/.test(line));
  const only = /which only that machine reaches|dataDir|the event loop/;
  assert.deepEqual(
    said.filter((line) => !only.test(line)),
    [],
    well.stdout,
  );

  // A node that comes back with somebody else's certificate: what it holds is not reached.
  await other.end('SIGKILL');
  await cluster.until('the doctor sees that it is gone', async () => {
    const { status: code, stdout } = await doctor();
    return code === 2 && new RegExp(`^BROKEN +node ${other.name} `, 'm').test(stdout);
  });
  install(other, 'stranger', 'theirs');
  await other.start();
  await volumeThat('degraded', ({ replicas }) => replicas?.inSync === 2);
  await cluster.until('it says what is wrong', async () => {
    const { stdout } = await cluster.ashlar('describe', 'volume', 'db');
    const { stdout: replicas } = await cluster.ashlar('describe', 'replicas');
    return /certificate|TLS|alert|self-signed/i.test(stdout + replicas);
  });
  await cluster.io(url, 'write -P 0x5b 1M 1M', 'flush');

  // The right one, in the same files: nothing is restarted.
  install(other, 'second');
  await volumeThat('healthy again', isWell);
  // And the others get new ones, under I/O.
  for (const node of cluster.nodes) install(node, 'second');
  await cluster.until('all have seen them', async () =>
    cluster.nodes.every(({ output }) =>
      /a new certificate is used for new connections/.test(output),
    ),
  );
  await cluster.io(url, 'read -P 0x5a 0 1M', 'read -P 0x5b 1M 1M');
  await volumeThat('healthy', isWell);
});
