// The daemon is killed or restarted while a host writes. The host must see a pause and nothing else: no error, and
// every acknowledged block with the value that was acknowledged.
//
// Each block is written exactly once in a generation, with its own offset in it, and the kill lands in the middle. So
// when fio ends without an error every block was acknowledged, and one that shows an older generation was lost.
import assert from 'node:assert/strict';
import { delay } from '../support/process.ts';
import type { Scenario, World } from '../support/world.ts';

export const crashScenarios: readonly Scenario[] = [
  {
    name: 'kill -9 twice under fio on the bare disk: the session recovers, nothing is lost',
    run: bareDisk,
  },
  {
    name: 'kill -9 under fio on ext4: no error, nothing synced is lost, fsck clean',
    run: underExt4,
  },
  { name: 'a clean restart of the daemon under fio is only a pause', run: cleanRestart },
];

const SIZE_MIB = 24;

async function bareDisk(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: SIZE_MIB });
  await world.must(`
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    fio_write old $disk a0 --bs=64k --size=${SIZE_MIB}m`);
  await startWriter(world, iqn, 'b1');
  for (let kill = 0; kill < 2; kill += 1) {
    await untilWriting(world, iqn);
    await world.target.crash();
    await delay(500);
    await world.target.start();
    await world.must(`wait_logged_in ${iqn}`);
  }
  await writerSucceeds(world);
  // Once more, so that what is checked comes from the medium and from no memory of the daemon that took the writes.
  await world.target.crash();
  await world.target.start();
  await world.must(`
    wait_logged_in ${iqn}
    disk=$(disk_of ${iqn})
    blockdev --flushbufs $disk
    fio_check new $disk b1 --size=${SIZE_MIB}m`);
}

async function underExt4(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 128 });
  await world.must(`
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    mkfs.ext4 -q $disk
    mount $disk /mnt/a
    (
      set +e
      fio_write files /mnt/a/file e4 --size=12m --thinktime=2500 --fsync=16 --fallocate=none --iodepth=4
      echo "ended $?" >/tmp/writer
    ) >/dev/null 2>&1 &`);
  await untilWriting(world, iqn);
  await world.target.crash();
  await delay(500);
  await world.target.start();
  await writerSucceeds(world);
  await world.must(`
    wait_logged_in ${iqn}
    disk=$(disk_of ${iqn})
    touch /mnt/a/still-writable
    umount /mnt/a
    e2fsck -fn $disk
    blockdev --flushbufs $disk
    mount $disk /mnt/a
    fio_check files-check /mnt/a/file e4 --size=12m
    umount /mnt/a`);
}

async function cleanRestart(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: SIZE_MIB });
  await world.must(`discover >/dev/null; login ${iqn}; disk_of ${iqn}`);
  await startWriter(world, iqn, 'c2');
  await untilWriting(world, iqn);
  await world.target.stop();
  await world.target.start();
  await writerSucceeds(world);
  await world.must(`
    wait_logged_in ${iqn}
    disk=$(disk_of ${iqn})
    blockdev --flushbufs $disk
    fio_check restarted $disk c2 --size=${SIZE_MIB}m`);
}

/**
 * A throttled writer in the background, so that there is a middle of the writing to kill in. It pauses after each write:
 * one that is held to a rate makes up for the time that the daemon was away, and is through before the next kill.
 */
async function startWriter(world: World, iqn: string, generation: string): Promise<void> {
  await world.must(`
    rm -f /tmp/writer
    disk=$(disk_of ${iqn})
    (
      set +e
      fio_write writer $disk ${generation} --size=${SIZE_MIB}m --thinktime=1400
      echo "ended $?" >/tmp/writer
    ) >/dev/null 2>&1 &`);
}

/** Until some hundred more writes were acknowledged; fails when the writer has ended already. */
async function untilWriting(world: World, iqn: string): Promise<void> {
  await world.must(`
    disk=$(disk_of ${iqn})
    from=$(written $disk)
    for i in $(seq 3000); do
      [ ! -e /tmp/writer ] || { echo "the writer is through before the kill: $(cat /tmp/writer)"; cat /tmp/*.out; exit 1; }
      [ $(($(written $disk) - from)) -ge 300 ] && exit 0
      sleep 0.1
    done
    echo "nothing is written"; exit 1`);
}

async function writerSucceeds(world: World): Promise<void> {
  const output = await world.must(
    `
    for i in $(seq 4000); do [ -e /tmp/writer ] && break; sleep 0.1; done
    cat /tmp/writer
    dmesg | grep -iE 'i/o error|buffer i/o|critical (target|medium)|remount' || true`,
  );
  assert.ok(output.trim() === 'ended 0', `the writer saw an error:\n${output}`);
}
