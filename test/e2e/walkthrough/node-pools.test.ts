// Goal: what `ashlar serve` does with pools and their devices, a node of the control plane does by the same commands: made,
// degraded, replaced, added to, grown, scrubbed, exported, imported, destroyed; through kill -9, and never over what is used.
// Method: one node as a process, files as disks, data written and read by qemu-io over iSCSI.
import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { BlockDevice, Pool } from '../../../src/kinds/index.ts';
import { Cluster, type ClusterNode } from './cluster.ts';

const MIB = 2 ** 20;
let cluster: Cluster;
let node: ClusterNode;

before(async () => {
  cluster = new Cluster({ nodes: 1, disks: 5, diskBytes: 160 * MIB });
  await cluster.start();
  [node] = cluster.nodes as [ClusterNode];
});
after(() => cluster.stop());

async function get<T>(path: string): Promise<T | null> {
  const answer = await fetch(`http://${node.api}/apis/ashlar.io/v1/${path}`);
  return answer.ok ? ((await answer.json()) as T) : null;
}

async function send(method: string, path: string, body?: object): Promise<void> {
  const patch = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
  const answer = await fetch(`http://${node.api}/apis/ashlar.io/v1/${path}`, {
    method,
    headers: body === undefined ? {} : { 'content-type': patch },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  assert.ok(answer.ok, await answer.text());
}

const tank = (): Promise<Pool | null> => get<Pool>('pools/tank');

function until(what: string, is: (pool: Pool) => boolean): Promise<Pool> {
  return cluster.until(what, async () => {
    const pool = await tank();
    return pool !== null && is(pool) && pool;
  });
}

/** Must succeed; the value is what it printed. */
async function does(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await cluster.ashlar(...args);
  assert.equal(status, 0, `ashlar ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** Must be refused; the value is in which words. */
async function refuses(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await cluster.ashlar(...args);
  assert.notEqual(status, 0, `ashlar ${args.join(' ')} was not refused: ${stdout}`);
  return stderr;
}

const namesOf = ({ status }: Pool): string =>
  (status?.devices ?? [])
    .map(({ device }) => device?.replace('blockdevice-', '') ?? '?')
    .sort()
    .join(',');

async function claims(): Promise<string> {
  const { items } = (await get<{ items: BlockDevice[] }>('blockdevices'))!;
  return items
    .filter(({ spec }) => spec.claimRef?.pool === 'tank')
    .map(({ spec }) => spec.deviceName.replace('blockdevice-', ''))
    .sort()
    .join(',');
}

const url = (): string => `iscsi://${node.portal}/iqn.2026-11.io.ashlar:db/0`;

async function served(): Promise<void> {
  await cluster.until('db is served', async () => {
    const found = await get<{
      status?: { serving?: object; conditions?: { type: string; status: string }[] };
    }>('volumes/db');
    return found?.status?.conditions?.some(
      ({ type, status }) => type === 'Ready' && status === 'True',
    );
  });
}

test('a pool is made of free devices of a node, and of no others', async () => {
  const second = join(node.folder, 'disks/disk-2');
  assert.match(
    await refuses('create', 'pool', 'tank', '--node', 'nowhere', '--device', 'blockdevice-1'),
    /spec\.nodeName: .*there is no node 'nowhere'; there are node-1/,
  );
  assert.match(
    await refuses('create', 'pool', 'tank', '--layout', 'mirror', '--device', 'blockdevice-9'),
    /spec\.devices: names 1, and a mirror[\s\S]*no block device 'blockdevice-9' on node-1/,
  );
  const flags = ['--layout', 'mirror', '--device', 'blockdevice-1', '--device', second];
  assert.equal(
    await does('create', 'pool', 'tank', '--node', 'node-1', ...flags),
    'pool/tank created\n',
  );
  const pool = (await tank())!;
  assert.equal(pool.status?.phase, 'Online');
  assert.equal(pool.status.layout, 'mirror');
  assert.equal(pool.status.id, pool.metadata.uid);
  assert.equal(namesOf(pool), '1,2');
  assert.equal(await claims(), '1,2');
  assert.match(
    await refuses('create', 'pool', 'other', '--device', 'blockdevice-1'),
    /spec\.devices\[0\]: .*belongs to pool tank/,
  );
});

test('what holds replicas is neither destroyed nor exported, and says whose they are', async () => {
  await send('POST', 'volumes', {
    apiVersion: 'ashlar.io/v1',
    kind: 'Volume',
    metadata: { name: 'db' },
    spec: { size: '64Mi' },
  });
  await served();
  await cluster.io(url(), 'write -P 0xa5 0 4M', 'flush');
  assert.match(
    await refuses('destroy', 'pool', 'tank', '--yes-clear-its-devices'),
    /pool tank holds replicas of db\. Delete/,
  );
  assert.match(
    await refuses('export', 'pool', 'tank'),
    /pool tank holds replicas of db, .*--drain moves them/,
  );
});

test('a side goes offline and comes back; another is replaced; a mirror is added', async () => {
  await does('device', 'offline', 'tank', 'blockdevice-1');
  await until('it is Degraded', ({ status }) => status?.phase === 'Degraded');
  await cluster.io(url(), 'write -P 0x5a 8M 1M', 'flush', 'read -P 0xa5 0 64k');
  assert.match(await does('describe', 'pool', 'tank'), /disk-1 is Offline.*: bring/);
  await does('device', 'online', 'tank', 'blockdevice-1');
  await until('it is whole', ({ status }) => status?.phase === 'Online');

  await does('device', 'replace', 'tank', 'blockdevice-1', 'blockdevice-3');
  await until('the old one has left', (pool) => namesOf(pool) === '2,3');
  await cluster.until('it is nobody’s', async () => (await claims()) === '2,3');
  assert.match(await refuses('device', 'add', 'tank', 'blockdevice-3'), /blockdevice-3|in use/);
  assert.match(await refuses('device', 'detach', 'tank', 'blockdevice-9'), /has no device/);

  const sizeBytes = (await tank())!.status?.sizeBytes ?? 0;
  await does('device', 'add', 'tank', 'blockdevice-4', 'blockdevice-5');
  const isLarger = ({ status }: Pool): boolean => (status?.sizeBytes ?? 0) > 1.5 * sizeBytes;
  await until('it has four', (pool) => namesOf(pool) === '2,3,4,5' && isLarger(pool));
  assert.equal(await claims(), '2,3,4,5');
  await does('rebalance', 'pool', 'tank');
});

test('it grows with its devices, is scrubbed, and takes no new data at its growth limit', async () => {
  const before = (await tank())!.status?.sizeBytes ?? 0;
  for (const disk of [2, 3]) truncateSync(join(node.folder, `disks/disk-${disk}`), 320 * MIB);
  await does('device', 'grow', 'tank');
  await until('it has grown', ({ status }) => (status?.sizeBytes ?? 0) > before + 100 * MIB);
  await does('scrub', 'pool', 'tank', '--every', '30d', '--bandwidth', '0');
  const scrubbed = await until('it is scrubbed', ({ status }) => status?.scrub?.state === 'Done');
  assert.equal(scrubbed.status?.scrub?.damagedBlocks, 0);
  await send('PATCH', 'pools/tank', { spec: { growthLimitPercent: 1 } });
  const full = await until('it is read-only', ({ status }) => status?.readOnly === true);
  assert.match(full.status?.advice?.join() ?? '', /the limit is reached/);
  await send('PATCH', 'pools/tank', { spec: { growthLimitPercent: 85 } });
  await until('it takes data again', ({ status }) => status?.readOnly === false);
});

test('after kill -9 it is there with the devices that it has now', async () => {
  await node.end('SIGKILL');
  await node.start();
  await cluster.pointTo(node);
  await served();
  assert.equal(
    namesOf(await until('it is open', ({ status }) => status?.phase === 'Online')),
    '2,3,4,5',
  );
  await cluster.io(url(), 'read -P 0xa5 1M 64k', 'read -P 0x5a 8M 64k');
});

test('empty, it is exported, found by its labels, taken in again and destroyed', async () => {
  await send('DELETE', 'volumes/db');
  await cluster.until('the volume is gone', async () => (await get('volumes/db')) === null);
  const id = (await tank())!.metadata.uid;
  assert.equal(await does('export', 'pool', 'tank'), 'pool/tank exported\n');
  assert.equal(await tank(), null);
  assert.equal(await claims(), '');
  assert.match(await does('import', 'pool'), new RegExp(`tank +${id} +4/4 +yes +node-1 +/`));
  await does('import', 'pool', id, '--as', 'tank');
  const again = (await tank())!;
  assert.equal(again.status?.id, id);
  assert.equal(again.status.phase, 'Online');
  assert.equal(await claims(), '2,3,4,5');
  assert.equal(
    await does('destroy', 'pool', 'tank', '--yes-clear-its-devices'),
    'pool/tank destroyed\n',
  );
  assert.equal(await claims(), '');
  assert.match(await refuses('import', 'pool', id), /there is no pool/);
});
