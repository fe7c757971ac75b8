// Goal: what one node promises beside the walk-through: limits that hold, what cannot be had said in events, a kill at any
// moment that loses nothing.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { run } from '../support/process.ts';
import { Cluster } from './cluster.ts';
import { claimSpec, spcSpec } from './wrong-manifests.ts';

let cluster: Cluster;
before(async () => {
  cluster = new Cluster({ nodes: 1 });
  await cluster.start();
});
after(() => cluster.stop());

/** `kubectl apply -f -`. */
function apply(manifest: object): Promise<{ code: number | null; err: string; out: string }> {
  return new Promise((resolve) => {
    const child = spawn(
      'kubectl',
      ['--kubeconfig', `${cluster.folder}/kubeconfig`, 'apply', '-f', '-'],
      {
        env: { ...process.env, HOME: cluster.folder },
      },
    );
    let err = '';
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    child.once('close', (code) => resolve({ code, err, out }));
    child.stdin.end(JSON.stringify(manifest));
  });
}

async function aClaim(name: string, size = '1Gi'): Promise<void> {
  const { code, err } = await apply({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      storageClassName: 'openebs-jiva-default',
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: size } },
    },
  });
  assert.equal(code, 0, err);
  await cluster.until(`claim ${name} is bound`, async () => {
    const found = await cluster.get<{ status?: { phase?: string } }>('pvc', name);
    return found?.status?.phase === 'Bound';
  });
}

async function volumeOf(claim: string): Promise<string> {
  const found = await cluster.get<{ spec: { volumeName: string } }>('pvc', claim);
  return found?.spec.volumeName ?? '';
}

/** Seconds that so many random 4 KiB writes take at that depth. */
async function bench(url: string, count: number, depth: number): Promise<number> {
  const { status, stdout, stderr } = await run(
    'qemu-img',
    ['bench', '-f', 'raw', '-w', '-c', String(count), '-d', String(depth), '-s', '4096', url],
    { timeoutMs: 120_000 },
  );
  assert.equal(status, 0, stderr);
  return Number(/completed in ([\d.]+) seconds/.exec(stdout)?.[1]);
}

test('1,000 IOPS are not exceeded over 10 s at depth 1 and 128, and lift at once', async () => {
  await aClaim('limited');
  const name = await volumeOf('limited');
  const url = await cluster.urlOf('limited');
  const limit = (iops: number | null): Promise<unknown> =>
    cluster.kubectl(
      'patch',
      'volumes.ashlar.io',
      name,
      '--type=merge',
      '-p',
      JSON.stringify({ spec: { limits: { iops } } }),
    );
  for (const depth of [1, 128]) {
    await limit(1000);
    const seconds = await bench(url, 10_000, depth);
    const iops = 10_000 / seconds;
    process.stdout.write(
      `# depth ${depth}: ${iops.toFixed(1)} IOPS over ${seconds.toFixed(2)} s\n`,
    );
    // That a limit does not hold back too much is shown by its clock (test/unit/volume/throttle.test.ts): what a host on a busy
    // machine does not ask for is no fault of the limit's.
    assert.ok(iops <= 1050, `depth ${depth}: ${iops} IOPS`);
  }
  await limit(1000);
  // Lifted in the middle: without that it would take 100 s.
  const running = bench(url, 100_000, 128);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await limit(null);
  const seconds = await running;
  process.stdout.write(`# lifted after a second: 100,000 writes in ${seconds.toFixed(2)} s\n`);
  assert.ok(seconds < 60, `${seconds} s`);
});

const meta = (name: string) => ({ name });

test('what is right in form and cannot be had says so in an event and waits', async () => {
  const spc = {
    apiVersion: 'openebs.io/v1alpha1',
    kind: 'StoragePoolClaim',
    metadata: meta('nowhere'),
  };
  await apply({
    ...spc,
    spec: { ...spcSpec, blockDevices: { blockDeviceList: ['blockdevice-77'] } },
  });
  await apply({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: meta('classless'),
    spec: { ...claimSpec, storageClassName: 'no-such-class' },
  });
  await cluster.until('both have told why', async () => {
    const { stdout } = await cluster.kubectl('get', 'events', '-A');
    return (
      /there is no block device blockdevice-77/.test(stdout) &&
      /storageclass.storage.k8s.io "no-such-class" not found/.test(stdout)
    );
  });
  await aClaim('shrinks', '2Gi');
  const { status, stderr } = await cluster.kubectl(
    ...['patch', 'pvc', 'shrinks', '--type=merge', '-p'],
    JSON.stringify({ spec: { resources: { requests: { storage: '1Gi' } } } }),
  );
  assert.notEqual(status, 0);
  assert.match(stderr, /spec.resources.requests.storage: .*less than it has/);
});

test('a node killed at any moment has everything again, and a disk its data', async () => {
  await aClaim('kept');
  await cluster.io(await cluster.urlOf('kept'), 'write -P 0x3c 0 4M', 'flush');
  const [node] = cluster.nodes;
  await node!.end('SIGKILL');
  await node!.start();
  await cluster.pointTo(node!);
  // Its portal has another port now: the PersistentVolume of a fixed portal would not change.
  const name = await volumeOf('kept');
  await cluster.until('it is served again', async () => {
    const found = await cluster.get<{ status?: { serving?: { portal: string } } }>(
      'volumes.ashlar.io',
      name,
    );
    return found?.status?.serving?.portal === node!.portal;
  });
  await cluster.io(`iscsi://${node!.portal}/iqn.2026-11.io.ashlar:${name}/0`, 'read -P 0x3c 0 4M');
});
