// Three nodes of the control plane under a host that has logged in to all of them, as docs/nodes.md tells its
// administrator: a node dies in the middle of writing, and another one serves.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEtcd } from '../../support/etcd.ts';
import { freePort } from '../support/process.ts';
import type { Scenario, World } from '../support/world.ts';
import { Cluster } from '../walkthrough/cluster.ts';

export const nodeScenarios: readonly Scenario[] = [
  {
    name: 'a node of three is killed -9 under fio through multipath: served elsewhere within 15 s, nothing is lost, its replica is made anew on what is left',
    run: nodeKilled,
    needs: 'nodes',
  },
];

/** From the kill to the first write that completes, as the host sees it. */
const PAUSE_LIMIT_MS = 15_000;
/** For hangs: a busy machine takes several times what a free one does. */
const LIMIT_MS = 180_000;
const SIZE_MIB = 4;
const JOURNAL_MIB = 1;
const GI = 2 ** 30;

// docs/nodes.md, "What hosts set up".
const MULTIPATH = `
defaults {
  find_multipaths no
  polling_interval 2
}
devices {
  device {
    vendor "ASHLAR"
    product "VIRTUAL DISK"
    path_grouping_policy multibus
    path_checker tur
    no_path_retry queue
    fast_io_fail_tmo 5
  }
}
`;

const PATHS_ACTIVE = `
    for i in $(seq 1200); do
      paths=$(multipathd show paths format '%d %t %T' | grep -c 'active ready' || true)
      [ "$paths" = 3 ] && break
      sleep 0.1
    done
    [ "$paths" = 3 ] || { multipath -ll; multipathd show paths; exit 1; }`;

// Two pools on each node: what is left after one is gone has room for three replicas.
const POOLS = ['first', 'second']
  .map(
    (name, index) => `
apiVersion: openebs.io/v1alpha1
kind: StoragePoolClaim
metadata: {name: ${name}}
spec:
  type: sparse
  poolSpec: {poolType: striped}
  blockDevices: {blockDeviceList: [blockdevice-${index + 1}]}
`,
  )
  .join('---');
const VOLUME = `
apiVersion: ashlar.io/v1
kind: Volume
metadata: {name: db}
spec: {size: 64Mi, blockSize: 512, replicaCount: 3, minimumReplicas: 3, replicaPlacement: pool}
`;

interface Volume {
  readonly status?: {
    readonly state?: string;
    readonly iqn?: string;
    readonly serving?: { readonly nodeName: string; readonly epoch: number };
    readonly target?: { readonly epoch: number };
    readonly replicas?: { readonly inSync: number };
  };
}
interface Items<T> {
  readonly items: readonly T[];
}
interface Replica {
  readonly metadata: { readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName: string; readonly poolName: string };
}
interface Pool {
  readonly spec: { readonly directory?: string };
  readonly status?: { readonly phase?: string; readonly volumes?: number };
}

async function nodeKilled(world: World): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-etcd-'));
  const etcd = await startEtcd(folder);
  const portals = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  portals.push(`127.0.0.1:${await freePort()}`);
  const cluster = new Cluster({
    nodes: 3,
    disks: 2,
    diskBytes: GI,
    etcd: [etcd.endpoint],
    config: { control: '{nodeGone: 20s}' },
    portals,
  });
  try {
    await cluster.start();
    await runOn(world, cluster);
  } finally {
    await cluster.stop();
    await etcd.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runOn(world: World, cluster: Cluster): Promise<void> {
  const apply = async (manifest: string): Promise<void> => {
    const file = join(cluster.folder, 'manifest.yaml');
    writeFileSync(file, manifest);
    const { status, stderr } = await cluster.ashlar('apply', '-f', file);
    assert.equal(status, 0, stderr);
  };
  const replicaNodes = async (): Promise<string[]> => {
    const replicas = await cluster.get<Items<Replica>>('replicas.ashlar.io');
    // Those that go stay listed until their node is back to let go of them.
    return (replicas?.items ?? [])
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .map(({ spec }) => spec.nodeName)
      .sort();
  };
  const healthy = (): Promise<Volume> =>
    cluster.until(
      'the volume is healthy',
      async () => {
        const volume = await cluster.get<Volume>('volumes.ashlar.io', 'db');
        const { state, serving, target, replicas } = volume?.status ?? {};
        return (
          state === 'Healthy' &&
          serving?.epoch === target?.epoch &&
          replicas?.inSync === 3 &&
          (volume ?? false)
        );
      },
      LIMIT_MS,
    );

  await apply(POOLS);
  await cluster.until('six pools are online', async () => {
    const pools = await cluster.get<Items<Pool>>('pools.ashlar.io');
    const online = pools?.items.filter(({ status }) => status?.phase === 'Online');
    return online?.filter(({ spec }) => spec.directory === undefined).length === 6;
  });
  await apply(VOLUME);
  const { status } = await healthy();
  const iqn = status?.iqn ?? '';
  const names = cluster.nodes.map(({ name }) => name);
  assert.deepEqual(await replicaNodes(), names, 'a replica on each node');

  const must = (script: string): Promise<string> =>
    world.must(`PORTAL=${cluster.nodes[0]!.portal}\n${script}`);
  await must(`
    cat >/etc/multipath.conf <<'CONF'
${MULTIPATH}
CONF
    multipathd
    discover
    iscsiadm -m node -T ${iqn} --login
    path=$(basename $(disk_of ${iqn}))
    ${PATHS_ACTIVE}
    disk=/dev/$(ls /sys/block/$path/holders)
    echo $disk >/tmp/disk
    fio_write old $disk a0 --bs=64k --size=${SIZE_MIB}m
    (
      set +e
      fio_write pages $disk b1 --size=${SIZE_MIB}m --fsync=16 --iodepth=8 --thinktime=8000 &
      fio_write journal $disk c2 --rw=write --offset=${SIZE_MIB}m --size=${JOURNAL_MIB}m --iodepth=1 --fdatasync=1 \\
        --thinktime=20000 --write_lat_log=/tmp/journal --log_unix_epoch=1
      journal=$?
      wait $!
      echo "ended $? $journal" >/tmp/writer
    ) >/dev/null 2>&1 &`);
  await untilWritten(must, 100);
  const killed = cluster.nodes.find(({ name }) => name === status?.serving?.nodeName);
  assert.ok(killed !== undefined);
  await cluster.pointTo(cluster.nodes.find((node) => node !== killed)!);
  await killed.end('SIGKILL');
  await untilWritten(must, 100);
  const ended = await must(`
    for i in $(seq 3000); do [ -e /tmp/writer ] && break; sleep 0.1; done
    cat /tmp/writer
    dmesg | grep -iE 'buffer i/o|critical (target|medium)|dm-0.*error' || true`);
  assert.equal(ended.trim(), 'ended 0 0', 'the jobs saw an error');

  // Each write of the journal was acknowledged before the next one was sent: its longest silence is the outage.
  const pauseMs = Number(
    await must(
      `awk -F, '{ if (NR > 1 && $1 - last > most) most = $1 - last; last = $1 } END { print most }' /tmp/journal_clat.1.log`,
    ),
  );
  console.log(`      the host waited for ${(pauseMs / 1000).toFixed(1)} s`);
  assert.ok(pauseMs > 2000, `the node was killed in the middle of the writing (${pauseMs} ms)`);
  assert.ok(pauseMs < PAUSE_LIMIT_MS, `the host waited for ${pauseMs} ms`);

  // Long enough silent: its replica is made anew in a second pool of a node that is left.
  await cluster.until(
    'no replica is on the node that is gone',
    async () => {
      const nodes = await replicaNodes();
      return nodes.length === 3 && !nodes.includes(killed.name);
    },
    LIMIT_MS,
  );
  await healthy();
  const check = `
    disk=$(cat /tmp/disk)
    blockdev --flushbufs $disk
    fio_check pages-check $disk b1 --size=${SIZE_MIB}m
    fio_check journal-check $disk c2 --offset=${SIZE_MIB}m --size=${JOURNAL_MIB}m`;
  await must(check);

  // It comes back: what was its own is gone there too, and the host has three paths again.
  await killed.start();
  await cluster.until(
    'three replicas in all, wherever one looks',
    async () => {
      const pools = await cluster.get<Items<Pool>>('pools.ashlar.io');
      const held = (pools?.items ?? []).filter(({ spec }) => spec.directory === undefined);
      return (
        held.every(({ status }) => status?.phase === 'Online') &&
        held.reduce((sum, { status }) => sum + (status?.volumes ?? 0), 0) === 3 &&
        (await cluster.get<Items<Replica>>('replicas.ashlar.io'))?.items.length === 3
      );
    },
    LIMIT_MS,
  );
  await must(`wait_logged_in ${iqn}\n${PATHS_ACTIVE}\n${check}`);
}

/** Until so many more writes were acknowledged; fails when the jobs have ended already. */
async function untilWritten(
  must: (script: string) => Promise<string>,
  writes: number,
): Promise<void> {
  await must(`
    disk=$(cat /tmp/disk)
    from=$(written $disk)
    for i in $(seq 3000); do
      [ ! -e /tmp/writer ] || { echo "the jobs are through too early: $(cat /tmp/writer)"; cat /tmp/*.out; exit 1; }
      [ $(($(written $disk) - from)) -ge ${writes} ] && exit 0
      sleep 0.1
    done
    echo "nothing is written"; exit 1`);
}
