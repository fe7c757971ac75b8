// What disks this machine has: read from /sys, /proc and /dev, and from the first and last mebibyte of those that nobody
// uses. A device in use (mounted, swap, part of a RAID or of a volume group, partitioned) is shown as such and not even
// opened. Nothing here writes.
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { OUR_CONTENTS } from '../../kinds/index.ts';

/** Where the kernel's files are: elsewhere in a test. */
export interface Roots {
  readonly sys: string;
  readonly proc: string;
  readonly dev: string;
}

export const SYSTEM_ROOTS: Roots = { sys: '/sys', proc: '/proc', dev: '/dev' };

export interface DiscoveredDevice {
  /** What stays the same when the kernel names it otherwise: serial, WWID, by-id name, or the path of a file. */
  readonly identity: string;
  readonly path: string;
  /** A name that survives a reboot, where udev keeps one; null elsewhere. */
  readonly byIdPath: string | null;
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly model: string;
  readonly serial: string;
  readonly rotational: boolean;
  readonly readOnly: boolean;
  /** A file that stands in for a disk. */
  readonly sparse: boolean;
  /** Who uses it, in words; empty: nobody. */
  readonly inUse: string;
  /** What its bytes say it holds ("an XFS file system"); empty: nothing known. */
  readonly contents: string;
}

/** The engine's own knowledge of marks, `findSignature` of src/store. */
export type FindSignature = (
  head: Uint8Array,
  tail: Uint8Array,
  sizeBytes: number,
) => string | null;

export interface DiscoverOptions {
  readonly roots?: Roots;
  readonly findSignature: FindSignature;
  /** Kernel names to leave out although they are disks; shell patterns with `*`. */
  readonly exclude?: readonly string[];
  /** Kernel names to take although they are left out otherwise: loop devices with a file behind them, say. */
  readonly include?: readonly string[];
  /** Each regular file in it stands in for a disk. */
  readonly sparseFolder?: string | null;
  /** Not opened either: somebody of ours has it. */
  readonly isOurs?: (path: string) => boolean;
}

const SECTOR_BYTES = 512; // The unit of /sys/block/*/size, whatever the device's own block is.
const ENDS_BYTES = 1024 * 1024;
/** Made of other devices, or of memory, or with a medium that comes and goes. */
const NO_DISKS = /^(loop|ram|zram|sr|fd|dm-|md|zd|rbd|nbd|drbd|bcache|mtdblock)\d*/;
/** Best first: what says most about the device itself. */
const BY_ID_ORDER = [
  /^nvme-(?!eui)/,
  /^ata-/,
  /^scsi-(?!\d)/,
  /^virtio-/,
  /^wwn-/,
  /^nvme-eui/,
  /^scsi-/,
];

/** Every disk and every file that stands in for one, in order of its path. */
export function discoverDevices(options: DiscoverOptions): DiscoveredDevice[] {
  const roots = options.roots ?? SYSTEM_ROOTS;
  const users = usersOf(roots);
  const found: DiscoveredDevice[] = [];
  for (const name of listFolder(join(roots.sys, 'block'))) {
    if (!wanted(name, options)) continue;
    const device = describeDisk(name, roots, users, options);
    if (device !== null) found.push(device);
  }
  const folder = options.sparseFolder ?? null;
  if (folder !== null) found.push(...describeFiles(folder, options));
  return found;
}

function wanted(name: string, { include = [], exclude = [] }: DiscoverOptions): boolean {
  if (exclude.some((pattern) => matches(pattern, name))) return false;
  return include.some((pattern) => matches(pattern, name)) || !NO_DISKS.test(name);
}

function matches(pattern: string, name: string): boolean {
  const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');
  return new RegExp(`^${escaped}$`).test(name);
}

function describeDisk(
  name: string,
  roots: Roots,
  users: Users,
  options: DiscoverOptions,
): DiscoveredDevice | null {
  const folder = join(roots.sys, 'block', name);
  const sizeBytes = Number(readText(join(folder, 'size'))) * SECTOR_BYTES;
  // No medium, or a loop device without a file.
  if (!(sizeBytes > 0)) return null;
  const path = join(roots.dev, name.replaceAll('!', '/'));
  const byIdPath = findById(name, roots);
  const serial = firstOf(join(folder, 'device/serial'), join(folder, 'serial'));
  const wwid = firstOf(join(folder, 'wwid'), join(folder, 'device/wwid'));
  const inUse = useOf(name, folder, users);
  const readOnly = readText(join(folder, 'ro')) === '1';
  return {
    identity: wwid || serial || (byIdPath === null ? path : basename(byIdPath)),
    path,
    byIdPath,
    sizeBytes,
    logicalBlockBytes: Number(readText(join(folder, 'queue/logical_block_size'))) || SECTOR_BYTES,
    model: firstOf(join(folder, 'device/model')),
    serial,
    rotational: readText(join(folder, 'queue/rotational')) === '1',
    readOnly,
    sparse: false,
    inUse,
    contents: inUse === '' ? contentsOf(path, sizeBytes, options) : '',
  };
}

function describeFiles(folder: string, options: DiscoverOptions): DiscoveredDevice[] {
  const found: DiscoveredDevice[] = [];
  for (const name of listFolder(folder)) {
    // What an editor or a pool in the making leaves beside them.
    if (name.startsWith('.') || name.endsWith('.tmp')) continue;
    const path = join(folder, name);
    const sizeBytes = fileBytes(path);
    if (sizeBytes === null || sizeBytes === 0) continue;
    found.push({
      identity: path,
      path,
      byIdPath: null,
      sizeBytes,
      logicalBlockBytes: SECTOR_BYTES,
      model: 'file',
      serial: '',
      rotational: false,
      readOnly: false,
      sparse: true,
      inUse: '',
      contents: contentsOf(path, sizeBytes, options),
    });
  }
  return found;
}

interface Users {
  /** `major:minor` to where it is mounted. */
  readonly mounts: ReadonlyMap<string, string>;
  /** Kernel names of swap devices. */
  readonly swaps: ReadonlySet<string>;
}

function usersOf(roots: Roots): Users {
  const mounts = new Map<string, string>();
  // man 5 proc: mount ID, parent ID, major:minor, root, mount point, …
  for (const line of readText(join(roots.proc, 'self/mountinfo')).split('\n')) {
    const [, , number, , point] = line.split(' ');
    if (number !== undefined && point !== undefined && !mounts.has(number)) {
      mounts.set(number, point);
    }
  }
  const swaps = new Set<string>();
  for (const line of readText(join(roots.proc, 'swaps')).split('\n').slice(1)) {
    const [path] = line.split(/\s+/);
    if (path) swaps.add(basename(path));
  }
  return { mounts, swaps };
}

/** Of the disk itself or of any of its partitions. */
function useOf(name: string, folder: string, users: Users): string {
  const own = useOfPart(name, folder, users);
  if (own !== '') return own;
  const parts = listFolder(folder).filter(
    (part) => part.startsWith(name) && readText(join(folder, part, 'partition')) !== '',
  );
  for (const part of parts) {
    const use = useOfPart(part, join(folder, part), users);
    if (use !== '') return `${part}: ${use}`;
  }
  return parts.length > 0 ? `has partitions: ${parts.join(', ')}` : '';
}

function useOfPart(name: string, folder: string, { mounts, swaps }: Users): string {
  const mount = mounts.get(readText(join(folder, 'dev')));
  if (mount !== undefined) return `mounted at ${mount}`;
  if (swaps.has(name)) return 'swap space';
  const holders = listFolder(join(folder, 'holders'));
  return holders.length > 0 ? `held by ${holders.join(', ')}` : '';
}

function findById(name: string, roots: Roots): string | null {
  const folder = join(roots.dev, 'disk/by-id');
  const names = listFolder(folder).filter((link) => {
    try {
      return basename(readlinkSync(join(folder, link))) === name;
    } catch {
      return false; // Gone since it was listed.
    }
  });
  for (const pattern of BY_ID_ORDER) {
    const best = names.find((link) => pattern.test(link));
    if (best !== undefined) return join(folder, best);
  }
  return names[0] === undefined ? null : join(folder, names[0]);
}

function contentsOf(
  path: string,
  sizeBytes: number,
  { findSignature, isOurs }: DiscoverOptions,
): string {
  if (isOurs?.(path) === true) return OUR_CONTENTS;
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    return `unreadable: ${(error as Error).message}`;
  }
  try {
    const bytes = Math.min(ENDS_BYTES, sizeBytes);
    const head = Buffer.alloc(bytes);
    const tail = Buffer.alloc(bytes);
    readSync(file, head, 0, bytes, 0);
    readSync(file, tail, 0, bytes, sizeBytes - bytes);
    return findSignature(head, tail, sizeBytes) ?? '';
  } catch (error) {
    return `unreadable: ${(error as Error).message}`;
  } finally {
    closeSync(file);
  }
}

function fileBytes(path: string): number | null {
  try {
    const file = openSync(path, 'r');
    try {
      const stat = fstatSync(file);
      return stat.isFile() ? stat.size : null;
    } finally {
      closeSync(file);
    }
  } catch {
    return null; // Not a file that we may read: not a device of ours.
  }
}

function listFolder(path: string): string[] {
  try {
    return readdirSync(path).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  } catch {
    return []; // No such folder in this kernel, or for this device.
  }
}

/** One attribute of sysfs, trimmed; empty where there is none. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

function firstOf(...paths: string[]): string {
  for (const path of paths) {
    const text = readText(path);
    if (text !== '') return text;
  }
  return '';
}
