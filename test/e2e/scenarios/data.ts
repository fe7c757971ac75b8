// What is written is what is read: digests, file systems, the edges of the disk, space and size.
import assert from 'node:assert/strict';
import { waitFor } from '../support/process.ts';
import type { Scenario, World } from '../support/world.ts';

const MIB = 1024 * 1024;

export const dataScenarios: readonly Scenario[] = [
  { name: 'both digests with small bursts carry data right', run: bothDigests, needs: 'digests' },
  { name: 'each digest alone is agreed on', run: oneDigest, needs: 'digests' },
  { name: 'the last block is written and read, the one after it refused', run: edges },
  {
    name: 'mkfs.ext4, fio --verify, unmount, fsck clean',
    run: (world) => fileSystem(world, 'ext4'),
  },
  {
    name: 'mkfs.xfs on 4 KiB blocks, fio --verify, unmount, repair clean',
    run: (world) => fileSystem(world, 'xfs'),
  },
  { name: 'discarded and zeroed ranges read as zeros, their neighbours unharmed', run: discard },
  { name: 'fstrim gives space back to the pool', run: trim, needs: 'used-bytes' },
  { name: 'a resize under a mounted file system is seen and used', run: resize, needs: 'resize' },
];

async function bothDigests(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 32 });
  const agreed = await world.must(`
    discover >/dev/null
    setting ${iqn} 'node.conn[0].iscsi.HeaderDigest' CRC32C
    setting ${iqn} 'node.conn[0].iscsi.DataDigest' CRC32C
    setting ${iqn} 'node.conn[0].iscsi.MaxRecvDataSegmentLength' 4096
    setting ${iqn} node.session.iscsi.FirstBurstLength 4096
    setting ${iqn} node.session.iscsi.MaxBurstLength 16384
    setting ${iqn} node.session.iscsi.InitialR2T Yes
    setting ${iqn} node.session.iscsi.ImmediateData No
    login ${iqn}
    disk=$(disk_of ${iqn})
    fio_write digests $disk d1 --size=8m --iodepth=4
    fio_check digests-check $disk d1 --size=8m
    fio --name=sizes --filename=$disk --rw=randwrite --bsrange=4k-256k --size=16m --direct=1 --ioengine=libaio \\
      --iodepth=4 --verify=crc32c --verify_fatal=1 --eta=never >/tmp/sizes.out 2>&1
    iscsiadm -m session -P 3`);
  assert.match(agreed, /HeaderDigest: CRC32C/);
  assert.match(agreed, /DataDigest: CRC32C/);
  assert.match(agreed, /MaxBurstLength: 16384/);
  assert.match(agreed, /InitialR2T: Yes/);
  assert.match(agreed, /ImmediateData: No/);
}

async function oneDigest(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16 });
  await world.must('discover >/dev/null');
  for (const [header, data] of [
    ['CRC32C', 'None'],
    ['None', 'CRC32C'],
  ]) {
    const agreed = await world.must(`
      setting ${iqn} 'node.conn[0].iscsi.HeaderDigest' ${header}
      setting ${iqn} 'node.conn[0].iscsi.DataDigest' ${data}
      login ${iqn}
      disk=$(disk_of ${iqn})
      dd if=/dev/urandom of=/tmp/noise bs=64k count=8 status=none
      dd if=/tmp/noise of=$disk bs=64k oflag=direct status=none
      dd if=$disk bs=64k count=8 iflag=direct status=none | cmp - /tmp/noise
      iscsiadm -m session -P 3
      logout ${iqn}`);
    assert.match(agreed, new RegExp(`HeaderDigest: ${header}`));
    assert.match(agreed, new RegExp(`DataDigest: ${data}`));
  }
}

async function edges(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, blockBytes: 512 });
  const blocks = (16 * MIB) / 512;
  const beyond = blocks.toString(16).padStart(8, '0').replace(/(..)/g, '$1 ');
  const last = (blocks - 1).toString(16).padStart(8, '0').replace(/(..)/g, '$1 ');
  const output = await world.must(`
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    head -c 512 /dev/urandom >/tmp/block
    dd if=/tmp/block of=$disk bs=512 seek=${blocks - 1} oflag=direct status=none
    dd if=$disk bs=512 skip=${blocks - 1} count=1 iflag=direct status=none | cmp - /tmp/block
    sg_raw -r 512 $disk 28 00 ${beyond} 00 00 01 00 2>&1 || echo "read: $?"
    sg_raw -s 512 -i /tmp/block $disk 2a 00 ${beyond} 00 00 01 00 2>&1 || echo "write: $?"
    sg_raw -s 1024 -i /tmp/noise $disk 2a 00 ${last} 00 00 02 00 </dev/null 2>&1 || echo "across: $?"
    dd if=$disk bs=512 skip=${blocks - 1} count=1 iflag=direct status=none | cmp - /tmp/block`);
  assert.equal(output.match(/Logical block address out of range/g)?.length ?? 0, 2, output);
  assert.match(output, /across: /);
}

async function fileSystem(world: World, kind: 'ext4' | 'xfs'): Promise<void> {
  // mkfs.xfs refuses less than 300 MiB; the volume is thin, so this costs nothing.
  const { iqn } = await world.volume(
    kind === 'xfs' ? { sizeMiB: 320, blockBytes: 4096 } : { sizeMiB: 256, blockBytes: 512 },
  );
  const check = kind === 'xfs' ? 'xfs_repair -n' : 'e2fsck -fn';
  await world.must(
    `
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    mkfs.${kind} -q $disk
    mount $disk /mnt/a
    fio --name=crc --directory=/mnt/a --rw=randrw --bsrange=512-64k --bs_unaligned --size=8m --numjobs=2 \\
      --randseed=7 --verify=crc32c --verify_fatal=1 --fsync=32 --eta=never --output=/tmp/crc.out
    fio_write own /mnt/a/own c3 --size=24m --fallocate=none
    fio_check own-check /mnt/a/own c3 --size=24m
    head -c 3000000 /dev/urandom >/mnt/a/tail
    sum=$(sha256sum </mnt/a/tail)
    umount /mnt/a
    ${check} $disk
    blockdev --flushbufs $disk
    mount $disk /mnt/a
    [ "$sum" = "$(sha256sum </mnt/a/tail)" ]
    fio_check own-again /mnt/a/own c3 --size=24m
    umount /mnt/a
    logout ${iqn}
    login ${iqn}
    disk=$(disk_of ${iqn})
    ${check} $disk`,
  );
}

async function discard(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 32, blockBytes: 512 });
  await world.must(`
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    dd if=/dev/urandom of=/tmp/noise bs=1M count=16 status=none
    dd if=/tmp/noise of=$disk bs=1M oflag=direct status=none
    sg_unmap --force --lba=2048 --num=4096 $disk
    sg_write_same --16 --unmap --lba=16384 --num=1024 --xferlen=512 --in=/dev/zero $disk
    sg_write_same --16 --lba=20480 --num=100 --xferlen=512 --in=/dev/zero $disk
    # 512-byte blocks: zeros at [1 MiB, 3 MiB), [8 MiB, 8.5 MiB) and 100 blocks from 10 MiB; the rest as it was.
    for hole in 2048:4096 16384:1024 20480:100; do
      dd if=/dev/zero of=/tmp/noise bs=512 seek=\${hole%:*} count=\${hole#*:} conv=notrunc status=none
    done
    blockdev --flushbufs $disk
    dd if=$disk bs=1M count=16 iflag=direct status=none | cmp - /tmp/noise`);
}

async function trim(world: World): Promise<void> {
  const { iqn, name } = await world.volume({ sizeMiB: 256 });
  const used = async (): Promise<number> => (await world.target.usedBytes(name)) ?? Number.NaN;
  await world.must(`
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    mkfs.ext4 -q $disk
    mount $disk /mnt/a
    sync`);
  const empty = await used();
  await world.must('dd if=/dev/urandom of=/mnt/a/big bs=1M count=64 conv=fsync status=none');
  const full = await used();
  assert.ok(full - empty >= 64 * MIB, `64 MiB were written, ${full - empty} more bytes are in use`);
  await world.must('rm /mnt/a/big; sync; fstrim -v /mnt/a');
  // Space of a block that was mapped a moment ago is given back with the next checkpoint.
  await waitFor('the trimmed space to be given back', 180_000, async () =>
    full - (await used()) >= 63 * MIB ? true : undefined,
  );
  await world.must('umount /mnt/a');
}

async function resize(world: World): Promise<void> {
  const { iqn, name } = await world.volume({ sizeMiB: 64 });
  await world.must(`
    discover >/dev/null
    login ${iqn}
    disk=$(disk_of ${iqn})
    mkfs.ext4 -q $disk
    mount $disk /mnt/a
    dd if=/dev/urandom of=/mnt/a/file bs=1M count=4 conv=fsync status=none
    sha256sum </mnt/a/file >/tmp/sum`);
  await world.target.resizeVolume(name, 128);
  const size = await world.must(`
    disk=$(disk_of ${iqn})
    iscsiadm -m session -R >/dev/null
    for i in $(seq 600); do [ $(blockdev --getsize64 $disk) -gt ${64 * MIB} ] && break; sleep 0.1; done
    blockdev --getsize64 $disk`);
  assert.equal(Number(size), 128 * MIB);
  const free = await world.must(`
    disk=$(disk_of ${iqn})
    resize2fs $disk >/dev/null 2>&1
    dd if=/dev/urandom of=/mnt/a/more bs=1M count=80 conv=fsync status=none
    sha256sum </mnt/a/file | cmp - /tmp/sum
    umount /mnt/a
    e2fsck -fn $disk >/dev/null
    echo clean`);
  assert.match(free, /clean/);
}
