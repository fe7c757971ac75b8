// The initiator's machine: Debian 12's cloud kernel and open-iscsi as one raw ext4 image, made from Debian's packages
// by apt-get, dpkg-deb and mke2fs. No root, no mount, no loop device. Built once per recipe (about half a minute and
// 100 MB) and kept under ${XDG_CACHE_HOME:-~/.cache}/ashlar/e2e.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { mustRun, run } from './process.ts';

export type GuestImage = {
  readonly kernel: string;
  readonly initrd: string;
  readonly root: string;
};

const PACKAGES = [
  'linux-image-cloud-amd64',
  'open-iscsi',
  'multipath-tools',
  'sg3-utils',
  'e2fsprogs',
  'xfsprogs',
  'btrfs-progs',
  'lvm2',
  'mdadm',
  'fdisk',
  'sdparm',
  'lsscsi',
  'smartmontools',
  'fio',
  'util-linux',
  'mount',
  'iproute2',
  'iptables',
  'udev',
  'kmod',
  'bash',
  'coreutils',
  'diffutils',
  'grep',
  'sed',
  'gawk',
  'procps',
  'busybox-static',
];

/** Dependencies of maintainer scripts, which never run here. */
const LEFT_OUT =
  /^(perl|libperl|lib.*-perl$|python3|libpython3|gcc-\d+-base|dpkg|debconf|adduser|initramfs-tools|klibc|libklibc|usrmerge|linux-base|init-system-helpers|media-types)/;

/** Raise when what is made from the packages changes in a way that the recipe below does not show. */
const RECIPE_VERSION = 6;

const GROUPS = ['root', 'tty', 'dialout', 'kmem', 'input', 'video', 'audio', 'render', 'sgx', 'kvm']
  .concat(['lp', 'disk', 'cdrom', 'tape', 'floppy', 'plugdev', 'netdev'])
  .map((name, index) => `${name}:x:${index}:`);

/** Modules of the first stage, before the root file system can be read. */
const INITRD_MODULES = ['virtio_pci', 'virtio_blk', 'ext4'];

const INITRD_INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /root
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod /lib/$module; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/guest-init
`;

// Process 1 of the guest. The host's loopback is 10.0.2.2 in QEMU's user network, while a target that listens on the
// loopback rightly tells SendTargets 127.0.0.1: so the guest translates 127.0.0.1 to 10.0.2.2 in its own kernel.
//
// After that it is an agent: one line "NONCE BASE64" is a script, run by bash with its output sent back as it comes,
// and "@@NONCE STATUS" ends it.
const GUEST_INIT = `#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/lock/iscsi /run/lock /dev/pts /mnt/a /mnt/b
mount -t devpts pts /dev/pts
for m in virtio_net virtio_console iscsi_tcp sd_mod sg crc32c_generic crc32c_intel xfs dm_multipath dm_service_time iptable_nat xt_nat xt_MASQUERADE; do
  modprobe "$m" 2>/dev/null
done
echo initiator >/proc/sys/kernel/hostname
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet
iptables-legacy -t nat -A OUTPUT -p tcp -d 127.0.0.1 -j DNAT --to-destination 10.0.2.2
iptables-legacy -t nat -A POSTROUTING -o eth0 -s 127.0.0.1 -j SNAT --to-source 10.0.2.15
/lib/systemd/systemd-udevd --daemon
udevadm trigger
udevadm settle -t 10
iscsid
for port in /sys/class/virtio-ports/*; do
  [ "$(cat $port/name)" = agent ] && agent=/dev/\${port##*/}
done
exec 3<>"$agent"
printf '@@ready 0\\n' >&3
while IFS=' ' read -r nonce script <&3; do
  base64 -d <<<"$script" >/tmp/turn.sh
  bash /tmp/turn.sh </dev/null >&3 2>&1 3>&-
  printf '\\n@@%s %d\\n' "$nonce" "$?" >&3
done
sleep infinity
`;

export const INITIATOR_NAME = 'iqn.2026-11.io.ashlar.test:initiator-a';

/** The image, built now if this recipe has none yet. `say` hears what takes long. */
export async function guestImage(say: (line: string) => void): Promise<GuestImage> {
  const recipe = [RECIPE_VERSION, PACKAGES, String(LEFT_OUT), INITRD_INIT, GUEST_INIT, GROUPS];
  const key = createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 16);
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'ashlar/e2e');
  const folder = join(cache, key);
  const image = {
    kernel: join(folder, 'vmlinuz'),
    initrd: join(folder, 'initrd'),
    root: join(folder, 'root.ext4'),
  };
  if (existsSync(image.root)) return image;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'build-'));
  try {
    await build(work, say);
    // Renamed only when whole: a build that was interrupted leaves nothing that looks like an image.
    if (!existsSync(folder)) renameSync(join(work, 'out'), folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return image;
}

async function build(work: string, say: (line: string) => void): Promise<void> {
  const debs = join(work, 'debs');
  const root = join(work, 'root');
  const out = join(work, 'out');
  for (const folder of [debs, root, out]) mkdirSync(folder);

  say('initiator image: downloading Debian packages');
  await download(work, debs);
  say('initiator image: unpacking');
  await unpack(debs, root);
  configure(root);
  say('initiator image: making the initramfs and the file system');
  const version = readdirSync(join(root, 'usr/lib/modules'))[0];
  if (version === undefined) throw new Error('the kernel package has no modules');
  await mustRun('depmod', ['-b', join(root, 'usr'), '-m', '/lib/modules', version]).catch(() =>
    mustRun('depmod', ['-b', root, version]),
  );
  await makeInitrd(root, version, work, join(out, 'initrd'));
  copyFileSync(join(root, 'boot', `vmlinuz-${version}`), join(out, 'vmlinuz'));
  for (const unneeded of ['boot', 'usr/share/doc', 'usr/share/man', 'usr/share/locale']) {
    rmSync(join(root, unneeded), { recursive: true, force: true });
  }
  const image = join(out, 'root.ext4');
  await mustRun(
    'mke2fs',
    ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-d', root, image, '1500M'],
    { timeoutMs: 300_000 },
  );
}

/** apt resolves against a machine that has nothing installed, so the set of packages is whole. */
async function download(work: string, debs: string): Promise<void> {
  const status = join(work, 'status');
  writeFileSync(status, '');
  const base = ['-o', `Dir::State::status=${status}`, '-o', 'APT::Sandbox::User=root'];
  const candidates = [...(isDebian12() ? [base] : []), [...base, ...ownSources(work)]];
  let failure: unknown;
  for (const [index, options] of candidates.entries()) {
    try {
      if (index === candidates.length - 1) {
        await mustRun('apt-get', [...options, '-qq', 'update'], { timeoutMs: 300_000 });
      }
      const plan = await mustRun('apt-get', [
        ...options,
        ...['-s', '--no-install-recommends', 'install'],
        ...PACKAGES,
      ]);
      const names = [...plan.matchAll(/^Inst (\S+)/gm)]
        .map((match) => match[1] ?? '')
        .filter((name) => !LEFT_OUT.test(name));
      await mustRun('apt-get', [...options, '-qq', 'download', ...names], {
        cwd: debs,
        timeoutMs: 600_000,
      });
      return;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

function isDebian12(): boolean {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  return /^ID=debian$/m.test(release) && /^VERSION_ID="12"$/m.test(release);
}

/** On another distribution: Debian's own archive, in lists of our own, checked by Debian's keyring. */
function ownSources(work: string): string[] {
  const lists = join(work, 'lists');
  const cache = join(work, 'cache');
  for (const folder of [lists, cache]) mkdirSync(join(folder, 'partial'), { recursive: true });
  mkdirSync(join(cache, 'archives/partial'), { recursive: true });
  const sources = join(work, 'sources.list');
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  writeFileSync(sources, `deb [signed-by=${keyring}] http://deb.debian.org/debian bookworm main\n`);
  return [
    ...['-o', `Dir::Etc::sourcelist=${sources}`, '-o', 'Dir::Etc::sourceparts=-'],
    ...['-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${cache}`],
  ];
}

async function unpack(debs: string, root: string): Promise<void> {
  // Merged /usr, as Debian's base-files would find it: packages that still ship /bin land in /usr/bin.
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(root, name));
  }
  for (const deb of readdirSync(debs).filter((name) => name.endsWith('.deb'))) {
    const archive = join(work(debs), 'data.tar');
    await mustRun('sh', [
      '-c',
      'dpkg-deb --fsys-tarfile "$1" >"$2"',
      'sh',
      join(debs, deb),
      archive,
    ]);
    await mustRun('tar', [
      ...['-x', '-f', archive, '-C', root, '--keep-directory-symlink', '--no-same-owner'],
      ...['--exclude=./usr/share/doc', '--exclude=./usr/share/man', '--exclude=./usr/share/locale'],
    ]);
  }
}

function work(debs: string): string {
  return dirname(debs);
}

function configure(root: string): void {
  const put = (path: string, text: string, mode = 0o644): void => {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
    chmodSync(full, mode);
  };
  for (const folder of ['proc', 'sys', 'dev', 'run', 'tmp', 'mnt', 'root', 'var/lib']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  symlinkSync('gawk', join(root, 'usr/bin/awk')); // Made by update-alternatives elsewhere.
  put('etc/passwd', 'root:x:0:0:root:/root:/bin/bash\n');
  put('etc/group', `${GROUPS.join('\n')}\n`);
  put('etc/hosts', '127.0.0.1 localhost initiator\n');
  put(
    'etc/mke2fs.conf',
    '[defaults]\n\tblocksize = 4096\n[fs_types]\n\text4 = {\n\t\tfeatures = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize\n\t}\n',
  );
  put('etc/iscsi/initiatorname.iscsi', `InitiatorName=${INITIATOR_NAME}\n`);
  put('sbin/guest-init', GUEST_INIT, 0o755);
}

/** busybox, the modules in the order in which they can be loaded, and a script. */
async function makeInitrd(
  root: string,
  version: string,
  workFolder: string,
  file: string,
): Promise<void> {
  const folder = join(workFolder, 'initrd');
  mkdirSync(join(folder, 'bin'), { recursive: true });
  mkdirSync(join(folder, 'lib'));
  copyFileSync(join(root, 'bin/busybox'), join(folder, 'bin/busybox'));
  writeFileSync(join(folder, 'init'), INITRD_INIT);
  chmodSync(join(folder, 'init'), 0o755);
  chmodSync(join(folder, 'bin/busybox'), 0o755);
  const order: string[] = [];
  for (const path of moduleOrder(join(root, 'usr/lib/modules', version))) {
    const name = path.split('/').at(-1) ?? '';
    copyFileSync(join(root, 'usr/lib/modules', version, path), join(folder, 'lib', name));
    order.push(name);
  }
  writeFileSync(join(folder, 'modules'), `${order.join('\n')}\n`);
  await mustRun('sh', [
    '-c',
    'cd "$1" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 >"$2"',
    ...['sh', folder, file],
  ]);
}

/** Paths of the first stage's modules, each after those that it needs, by depmod's modules.dep. */
function moduleOrder(modules: string): string[] {
  const needs = new Map<string, readonly string[]>();
  for (const line of readFileSync(join(modules, 'modules.dep'), 'utf8').split('\n')) {
    const [path, rest] = line.split(':');
    if (path)
      needs.set(
        path,
        (rest ?? '').split(' ').filter((need) => need !== ''),
      );
  }
  const order: string[] = [];
  const add = (path: string): void => {
    if (order.includes(path)) return;
    // modules.dep lists the whole closure, the furthest need last.
    for (const need of [...(needs.get(path) ?? [])].reverse()) add(need);
    order.push(path);
  };
  for (const name of INITRD_MODULES) {
    const path = [...needs.keys()].find((key) => key.endsWith(`/${name}.ko`));
    if (path !== undefined) add(path); // Else it is built into the kernel.
  }
  // ext4 asks for crc32c by name, which modules.dep cannot know.
  const crc = [...needs.keys()].find((key) => key.endsWith('/crc32c_generic.ko'));
  if (crc !== undefined) add(crc);
  return order;
}

/** Says which of the programs that building and running the guest needs are missing. */
export async function missingPrograms(): Promise<string[]> {
  const needed: Record<string, string> = {
    'qemu-system-x86_64': 'qemu-system-x86',
    cpio: 'cpio',
    depmod: 'kmod',
    mke2fs: 'e2fsprogs',
    'dpkg-deb': 'dpkg',
    setpriv: 'util-linux',
  };
  const missing: string[] = [];
  for (const [program, name] of Object.entries(needed)) {
    const found = await run('sh', ['-c', 'command -v "$1"', 'sh', program], {
      env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
    });
    if (found.status !== 0) missing.push(name);
  }
  return missing;
}
