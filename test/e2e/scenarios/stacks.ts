// What Linux builds on a disk: volume groups, thin pools and their snapshots, mirrors, btrfs; and the tools with which
// an administrator looks at one. Each of them asks a disk in its own way, and none of them is ours.
import assert from 'node:assert/strict';
import type { Scenario, World } from '../support/world.ts';

export const stackScenarios: readonly Scenario[] = [
  { name: 'LVM over two disks: stripes, a thin pool, its snapshot, discards', run: volumeGroup },
  { name: 'md mirrors two disks, loses one and takes it back by its bitmap', run: mirror },
  { name: 'btrfs writes, trims, scrubs and is clean', run: btrfs },
  {
    name: 'sg3_utils, sdparm, lsscsi and smartctl understand every page',
    run: tools,
    needs: 'used-bytes',
  },
];

// The guest has no udev rules for device-mapper's own cookies: LVM makes its nodes itself.
const LVM = `
  modprobe dm_thin_pool; modprobe dm_snapshot
  export LVM_SUPPRESS_FD_WARNINGS=1
  lvm() { command lvm "$@" --config 'global{thin_check_executable=""} activation{udev_sync=0 udev_rules=0}' >/tmp/lvm.out 2>&1 \\
    || { local s=$?; echo "lvm $*: exit $s"; cat /tmp/lvm.out; return $s; }; }`;

async function volumeGroup(world: World): Promise<void> {
  const first = await world.volume({ sizeMiB: 96 });
  const second = await world.volume({ sizeMiB: 96 });
  await world.must(`${LVM}
    discover >/dev/null
    login ${first.iqn}; login ${second.iqn}
    A=$(disk_of ${first.iqn}); B=$(disk_of ${second.iqn})
    lvm pvcreate -y $A $B
    lvm vgcreate group $A $B
    lvm lvcreate -y -Wn -Zn -i 2 -I 64 -L 48M -n striped group
    lvm lvcreate -y --type thin-pool -L 64M -n pool group
    lvm lvcreate -y -V 256M --thinpool pool -n thin group
    fio_write striped /dev/mapper/group-striped 51 --size=8m
    fio_write thin /dev/mapper/group-thin 71 --size=8m
    lvm lvcreate -y -s -kn -n before group/thin
    fio_write thin-2 /dev/mapper/group-thin 72 --size=8m
    lvm vgchange -an group
    logout ${first.iqn}; logout ${second.iqn}
    login ${first.iqn}; login ${second.iqn}
    disk_of ${first.iqn} >/dev/null; disk_of ${second.iqn} >/dev/null
    lvm vgchange -ay -K group
    fio_check striped /dev/mapper/group-striped 51 --size=8m
    fio_check before /dev/mapper/group-before 71 --size=8m
    fio_check thin-2 /dev/mapper/group-thin 72 --size=8m
    blkdiscard /dev/mapper/group-thin
    fio_check before-2 /dev/mapper/group-before 71 --size=8m
    cmp -n 8388608 /dev/zero /dev/mapper/group-thin
    lvm vgremove -ff -y group`);
}

async function mirror(world: World): Promise<void> {
  const first = await world.volume({ sizeMiB: 32 });
  const second = await world.volume({ sizeMiB: 32 });
  const told = await world.must(`
    modprobe raid1
    discover >/dev/null
    login ${first.iqn}; login ${second.iqn}
    A=$(disk_of ${first.iqn}); B=$(disk_of ${second.iqn})
    mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --bitmap=internal --assume-clean $A $B >/dev/null 2>&1
    mdadm --wait /dev/md0 || true
    fio_write both /dev/md0 a1 --size=16m
    mdadm /dev/md0 --fail $B --remove $B >/dev/null 2>&1
    logout ${second.iqn}
    fio_write one /dev/md0 a2 --size=4m --offset=4m
    login ${second.iqn}
    B=$(disk_of ${second.iqn})
    mdadm /dev/md0 --re-add $B 2>&1
    mdadm --wait /dev/md0 || true
    echo check >/sys/block/md0/md/sync_action
    mdadm --wait /dev/md0 || true
    echo "differ: $(cat /sys/block/md0/md/mismatch_cnt), away: $(cat /sys/block/md0/md/degraded)"
    mdadm /dev/md0 --fail $A --remove $A >/dev/null 2>&1
    fio_check first /dev/md0 a1 --size=4m
    fio_check middle /dev/md0 a2 --size=4m --offset=4m
    fio_check last /dev/md0 a1 --size=8m --offset=8m
    mdadm --stop /dev/md0 >/dev/null 2>&1`);
  assert.match(told, /differ: 0, away: 0/);
}

async function btrfs(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 256 });
  const told = await world.must(`
    modprobe btrfs
    discover >/dev/null
    login ${iqn}
    A=$(disk_of ${iqn})
    mkfs.btrfs -q -f $A
    mount -o discard=async $A /mnt/a
    fio --name=files --directory=/mnt/a --rw=randwrite --bsrange=4k-64k --size=8m --numjobs=2 --fsync=32 \\
      --verify=crc32c --verify_fatal=1 --eta=never >/tmp/files.out 2>&1 || { tail -n 30 /tmp/files.out; exit 1; }
    btrfs subvolume snapshot -r /mnt/a /mnt/a/then >/dev/null
    rm /mnt/a/files.0.0
    sync; fstrim /mnt/a
    btrfs scrub start -B /mnt/a
    umount /mnt/a
    btrfs check $A 2>&1`);
  assert.match(told, /Error summary:\s+no errors found/);
  assert.match(told, /no error found/);
}

async function tools(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 32 });
  const told = await world.must(`
    discover >/dev/null
    login ${iqn}
    A=$(disk_of ${iqn})
    says() { local s=0; "$@" >/tmp/says 2>&1 || s=$?; [ $s = 0 ] || { echo "$*: exit $s"; head -n 5 /tmp/says; }; }
    pages=$(sg_vpd --long $A | awk '$1 ~ /^0x/ {print $1}')
    [ -n "$pages" ]
    for page in $pages; do says sg_vpd --page=$page $A; done
    for page in $(sg_logs $A | awk '$1 ~ /^0x/ {print $1}'); do says sg_logs --page=$page $A; done
    for words in 'sg_inq -d' 'sg_readcap --long' 'sg_luns' 'sg_modes -a' 'sg_modes --six -a' 'sg_modes -p 0x3f,0xff' \\
      'sg_modes --control=1 -a' 'sg_modes --control=2 -a' 'sg_modes --control=3 -a' sg_opcodes 'sg_opcodes --repd' \\
      sg_turs sg_requests 'sg_start --start' sg_sync 'sg_get_lba_status --16' 'sg_rtpg --decode' 'sg_senddiag --test' \\
      'sg_verify --16 --count=512' 'sg_copy_results --params' 'sg_persist -k' 'sg_persist -r' 'sg_persist -c' \\
      'sg_persist -s' 'sdparm --inquiry' 'sdparm --get=WCE' 'sdparm --command=sync' 'sdparm --command=capacity' \\
      'smartctl -H' 'smartctl -i' 'sg_write_same --16 --unmap --lba=8 --num=64' 'sg_reset --device'
    do says $words $A; done
    sg_turs $A >/dev/null 2>&1 || true # The reset is told of once.
    # The cache is switched off and on again as an administrator does it, and the disk says so.
    says sdparm --clear=WCE $A; sdparm --quiet --get=WCE $A
    says sdparm --set=WCE $A; sdparm --quiet --get=WCE $A
    # A copy inside the disk, by the disk.
    head -c 65536 /dev/urandom >/tmp/from; dd if=/tmp/from of=$A bs=64k oflag=direct status=none
    says sg_xcopy if=$A of=$A bs=512 count=128 seek=4096
    dd if=$A bs=64k skip=32 count=1 iflag=direct status=none | cmp - /tmp/from
    # What is there is not zeros: MISCOMPARE, exit status 14.
    s=0; head -c 1024 /dev/zero >/tmp/zeros; sg_compare_and_write --in=/tmp/zeros --lba=0 --num=1 --quiet $A 2>/dev/null || s=$?
    echo "miscompare: $s"
    smartctl -H $A | grep -i health
    lsscsi | grep -c ASHLAR`);
  assert.deepEqual(
    told.split('\n').map((line) => line.replace(/\s+/g, ' ').trim()),
    [
      'WCE 0 [cha: y, def: 1, sav: 0]',
      'WCE 1 [cha: y, def: 1, sav: 1]',
      'miscompare: 14',
      'SMART Health Status: OK',
      '1',
    ],
  );
}
