// Goal: what the control plane keeps moves from an embedded store to etcd and back, and everything is there, with its data;
// and the words that a person has besides kubectl: explain, edit.
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type EtcdUnderTest, startEtcd } from '../../support/etcd.ts';
import { Cluster } from './cluster.ts';

interface Claim {
  readonly metadata: { readonly uid: string; readonly labels?: Record<string, string> };
  readonly spec: { readonly volumeName?: string };
  readonly status?: { readonly phase?: string };
}

let cluster: Cluster;
let etcd: EtcdUnderTest;
let folder: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-etcd-'));
  etcd = await startEtcd(folder);
  cluster = new Cluster({ nodes: 1, disks: 0 });
  await cluster.start();
  const manifest = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'kept', labels: { tier: 'silver' } },
    spec: {
      storageClassName: 'openebs-jiva-default',
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '1Gi' } },
    },
  };
  const file = join(cluster.folder, 'claim.json');
  writeFileSync(file, JSON.stringify(manifest));
  await good('apply', '-f', file);
  await bound();
});
after(async () => {
  await cluster.stop();
  await etcd.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function good(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await cluster.ashlar(...args);
  assert.equal(status, 0, `ashlar ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const bound = (): Promise<Claim> =>
  cluster.until('the claim is bound and served', async () => {
    const claim = await cluster.get<Claim>('pvc', 'kept');
    if (claim?.status?.phase !== 'Bound') return false;
    interface Served {
      status?: { serving?: { portal: string } };
    }
    const volume = await cluster.get<Served>('volumes.ashlar.io', claim.spec.volumeName ?? '');
    const isServed = volume?.status?.serving?.portal === cluster.nodes[0]!.portal;
    return isServed && claim;
  });

/** Where it is now: portals get another port with each start. */
async function url(): Promise<string> {
  const claim = await bound();
  return `iscsi://${cluster.nodes[0]!.portal}/iqn.2026-11.io.ashlar:${claim.spec.volumeName}/0`;
}

test('explain says what a field means, and which fields there are', async () => {
  const kind = await good('explain', 'spc');
  assert.match(kind, /^GROUP: +openebs\.io\nKIND: +StoragePoolClaim\nVERSION: +v1alpha1$/m);
  assert.match(kind, /^ {2}spec\t<Object> -required-$/m);
  const field = await good('explain', 'volume.spec.limits.iops');
  assert.match(field, /^FIELD: iops\t<integer>$/m);
  assert.match(await good('explain', 'volume', '--recursive'), /^ {6}iops\t<integer>$/m);
  assert.match(await good('explain', 'pvc.spec.accessModes'), /accessModes\t<\[\]string>/);
  const wrong = await cluster.ashlar('explain', 'volume.spec.sise');
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /volume\.spec has no field 'sise'; there are .*size/);
});

test('edit changes what was changed, says what is wrong, and leaves alone what was not touched', async () => {
  const edit = (editor: string, ...args: string[]) =>
    cluster.ashlarWith({ EDITOR: editor, KUBE_EDITOR: '' }, 'edit', ...args);
  const done = await edit('sed -i s/silver/gold/', 'pvc', 'kept');
  assert.equal(done.stdout, 'persistentvolumeclaim/kept edited\n', done.stderr);
  const claim = await cluster.get<Claim>('pvc', 'kept');
  assert.equal(claim?.metadata.labels?.['tier'], 'gold');

  assert.match((await edit('true', 'pvc/kept')).stdout, /no changes made/);
  assert.match((await edit('false', 'pvc', 'kept')).stderr, /ended with 1; nothing is changed/);
  // The same wrong text comes back unchanged: it gives up with the server's words.
  const wrong = await edit('sed -i "s/storage: 1Gi/storage: 5Gx/"', 'pvc', 'kept');
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /spec\.resources\.requests\.storage.*5Gx/);
  const torn = await edit('sed -i "s/^spec:$/spec: [/"', 'pvc', 'kept');
  assert.match(torn.stderr, /this is not YAML/);
});

test('objects move from the embedded store to etcd and back', async () => {
  const [node] = cluster.nodes;
  const before = await bound();
  await cluster.io(await url(), 'write -P 0x5a 0 1M', 'flush');

  const busy = await cluster.ashlar('objects', 'export', '--config', node!.config);
  assert.equal(busy.status, 1);
  assert.match(busy.stderr, /in use by another ashlar/);

  await node!.end('SIGTERM');
  const first = join(cluster.folder, 'first.export');
  writeFileSync(first, await good('objects', 'export', '--config', node!.config));
  const embedded = readFileSync(node!.config, 'utf8');
  appendFileSync(
    node!.config,
    `objects: {store: etcd, etcd: {endpoints: [${JSON.stringify(etcd.endpoint)}]}}\n`,
  );
  const cut = join(cluster.folder, 'cut.export');
  writeFileSync(cut, readFileSync(first, 'utf8').slice(0, -200));
  const refused = await cluster.ashlar('objects', 'import', cut, '--config', node!.config);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /not JSON|cut short/);
  assert.match(
    await good('objects', 'import', first, '--config', node!.config),
    /^\d+ objects imported$/m,
  );
  const twice = await cluster.ashlar('objects', 'import', first, '--config', node!.config);
  assert.match(twice.stderr, /not empty/);

  await node!.start();
  await cluster.pointTo(node!);
  assert.equal((await bound()).metadata.uid, before.metadata.uid);
  await cluster.io(await url(), 'read -P 0x5a 0 1M', 'write -P 0x5b 1M 1M', 'flush');

  // And back, into an embedded store elsewhere.
  await node!.end('SIGTERM');
  const second = join(cluster.folder, 'second.export');
  writeFileSync(second, await good('objects', 'export', '--config', node!.config));
  writeFileSync(
    node!.config,
    `${embedded}objects: {store: embedded, path: ${join(cluster.folder, 'moved')}}\n`,
  );
  await good('objects', 'import', second, '--config', node!.config);
  await node!.start();
  await cluster.pointTo(node!);
  assert.equal((await bound()).metadata.uid, before.metadata.uid);
  await cluster.io(await url(), 'read -P 0x5a 0 1M', 'read -P 0x5b 1M 1M');
});
