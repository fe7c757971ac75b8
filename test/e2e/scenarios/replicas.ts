// A volume on three replica processes under a host that knows nothing of them: ext4, and a job that writes as databases do.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Cluster } from '../../chaos/cluster.ts';
import type { Scenario, World } from '../support/world.ts';

export const replicaScenarios: readonly Scenario[] = [
  {
    name: 'a replica is emptied and rebuilt under a database job, the two others are lost, and it serves by force: fsck and verify clean',
    run: quorumOverride,
    needs: 'replicas',
  },
];

/** For hangs: a busy machine takes several times what a free one does. */
const LIMIT_MS = 180_000;

/**
 * Two jobs, each block written once in a generation and with its own offset: pages at random places with an fsync after
 * every few, and a log that is appended to and synced after every record.
 */
const DATABASE = `
  mkdir /mnt/a/db
  fio_write old /mnt/a/db/pages a1 --size=3m --bs=64k --fallocate=none --end_fsync=1
  (
    set +e
    fio_write pages /mnt/a/db/pages d2 --size=3m --fsync=8 --iodepth=4 --thinktime=4000 &
    fio_write log /mnt/a/db/log d3 --rw=write --size=1m --fdatasync=1 --iodepth=1 --thinktime=8000 --fallocate=none
    log=$?
    wait $!
    echo "ended $? $log" >/tmp/writer
  ) >/dev/null 2>&1 &`;

async function quorumOverride(world: World): Promise<void> {
  const cluster = new Cluster({ replicas: 3, poolSize: '128Mi' });
  let failed = true;
  try {
    await cluster.start();
    await runOn(world, cluster);
    failed = false;
  } finally {
    await cluster.dispose(failed); // Its logs are kept then.
  }
}

async function runOn(world: World, cluster: Cluster): Promise<void> {
  const iqn = await cluster.createVolume('db', '64Mi', 512);
  await cluster.untilState('db', 'Healthy', LIMIT_MS);
  const must = (script: string): Promise<string> =>
    world.must(`PORTAL=127.0.0.1:${cluster.portalPort}\n${script}`);

  await must(`
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    mkfs.ext4 -q $disk
    mount $disk /mnt/a
    ${DATABASE}`);

  // One replica dies in the middle of the writing and loses its disk; it comes back empty while the writing goes on.
  const [lost, ...others] = cluster.replicas;
  await untilWritten(must, iqn, 100);
  await cluster.kill(lost!);
  rmSync(join(cluster.folder, lost!.name), { recursive: true });
  await untilWritten(must, iqn, 100);
  await cluster.untilState('db', 'Degraded', LIMIT_MS);
  await cluster.run(lost!);
  await cluster.untilState('db', 'Healthy', LIMIT_MS);
  const output = await must(`
    for i in $(seq 2000); do [ -e /tmp/writer ] && break; sleep 0.1; done
    cat /tmp/writer
    dmesg | grep -iE 'i/o error|buffer i/o|critical (target|medium)|remount' || true
    sha256sum </mnt/a/db/pages >/tmp/pages.sum
    umount /mnt/a`);
  assert.ok(output.trim() === 'ended 0 0', `the jobs saw an error:\n${output}`);

  // Quorum is lost for good: docs/operations.md, step by step.
  await cluster.untilState('db', 'Healthy', LIMIT_MS);
  await Promise.all(others.map((daemon) => cluster.kill(daemon)));
  await cluster.untilState('db', 'Offline', LIMIT_MS);
  const refused = await cluster.ashlar('force', 'volume', 'db').catch((error) => String(error));
  assert.match(refused, /yes-i-lost-the-others/, 'force asks first');
  await cluster.ashlar('force', 'volume', 'db', '--yes-i-lost-the-others');

  // What is left is the replica that was empty; nobody else is alive to answer these reads. A session that was there when
  // the loss was declared has its flushes refused (C8), so the procedure begins with a new login.
  await must(`
    wait_logged_in ${iqn}
    logout ${iqn}
    login ${iqn}
    disk=$(disk_of ${iqn})
    e2fsck -fn $disk
    mount $disk /mnt/a
    sha256sum </mnt/a/db/pages | cmp - /tmp/pages.sum
    fio_check pages-check /mnt/a/db/pages d2 --size=3m
    fio_check log-check /mnt/a/db/log d3 --size=1m
    touch /mnt/a/still-writable
    umount /mnt/a
    e2fsck -fn $disk
    logout ${iqn}`);
}

/** Until that many more writes were acknowledged; fails when the jobs have ended already. */
async function untilWritten(
  must: (script: string) => Promise<string>,
  iqn: string,
  writes: number,
): Promise<void> {
  await must(`
    disk=$(disk_of ${iqn})
    from=$(written $disk)
    for i in $(seq 3000); do
      [ ! -e /tmp/writer ] || { echo "the jobs are through too early: $(cat /tmp/writer)"; cat /tmp/*.out; exit 1; }
      [ $(($(written $disk) - from)) -ge ${writes} ] && exit 0
      sleep 0.1
    done
    echo "nothing is written"; exit 1`);
}
