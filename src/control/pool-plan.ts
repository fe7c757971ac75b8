// What a pool that is asked for is made of: devices that are there and nobody's, in the layout that was named, and files that are to
// be made. Each field that is wrong is named, with the way out.
import { randomUUID } from 'node:crypto';
import { formatQuantity } from '../base/index.ts';
import { layOut, MIN_POOL_BYTES, type PoolLayout } from '../store/index.ts';
import { invalid, type StatusCause } from './errors.ts';
import type { NewPool, PoolMedia, PoolRequest } from './held-pools.ts';

const MAX_DEVICES = 60;

interface Surroundings {
  readonly media: PoolMedia;
  /** By identity: the pool that has the device. */
  readonly owners: ReadonlyMap<string, string>;
  /** What is wrong with its name; the rest is added. */
  readonly causes: StatusCause[];
}

type Bad = (field: string, message: string) => void;

/** Throws with every field that is wrong. */
export async function planPool(
  name: string,
  request: PoolRequest,
  around: Surroundings,
): Promise<NewPool> {
  const { causes, media } = around;
  const bad: Bad = (field, message) => {
    causes.push({ reason: 'FieldValueInvalid', field, message });
  };
  const { layout = 'stripe', devices = [], force = false, sparse = false } = request;
  const { sizeBytes = 0, growthLimitPercent = null } = request;
  const sides = request.sides ?? (devices.length === 3 ? 3 : 2);
  let vdevs: readonly (readonly string[])[] = [];
  if (devices.length === 0) bad('spec.devices', 'is empty: name at least one device');
  else if (devices.length > MAX_DEVICES) bad('spec.devices', `names more than ${MAX_DEVICES}`);
  else if (layout === 'mirror' && (devices.length < 2 || devices.length % sides !== 0)) {
    bad(
      'spec.devices',
      `names ${devices.length}, and a mirror has ${sides} sides each: name a multiple of ${sides}, or give other sides (2 or 3)`,
    );
  } else {
    devices.forEach((path, index) => {
      if (!path.startsWith('/')) {
        bad(`spec.devices[${index}]`, `'${path}' is not an absolute path`);
      }
    });
  }
  if (causes.length === 0) {
    vdevs = await examined({ devices, layout, sides, force, sizeBytes }, around, bad);
  }
  if (causes.length > 0) throw invalid('Pool', name, causes);
  const files = await fileBytes(media, devices, sizeBytes);
  if (files.sizeBytes !== 0 && files.sizeBytes < MIN_POOL_BYTES) {
    const least = formatQuantity(MIN_POOL_BYTES);
    bad('spec.size', `${files.sizeBytes} bytes are too few for a device: the least is ${least}`);
    throw invalid('Pool', name, causes);
  }
  return {
    id: randomUUID(),
    name,
    vdevs,
    sizeBytes: files.sizeBytes,
    sparse: sparse || files.areThere,
    force: force || files.areEmpty,
    growthLimitPercent,
  };
}

async function examined(
  request: {
    devices: readonly string[];
    layout: PoolLayout;
    sides: number;
    force: boolean;
    sizeBytes: number;
  },
  { media, owners }: Surroundings,
  bad: Bad,
): Promise<readonly (readonly string[])[]> {
  const { devices, layout, sides, force, sizeBytes } = request;
  const seen = new Map<string, string>();
  for (const [index, path] of devices.entries()) {
    const field = `spec.devices[${index}]`;
    const identity = media.identity(path);
    const before = seen.get(identity);
    const holder = owners.get(identity);
    if (before !== undefined) {
      bad(field, before === path ? `${path} is named twice` : `${path} is the same as ${before}`);
      continue;
    }
    seen.set(identity, path);
    if (holder !== undefined) {
      bad(field, `${path} is a device of pool ${holder}`);
      continue;
    }
    const { kind, obstacle, empty } = await media.examine(path);
    if (kind === 'Missing' && path.startsWith('/dev/')) {
      bad(field, `${path} is not there; ls -l /dev/disk/by-id shows the disks of this machine`);
    } else if (kind === 'Missing' && sizeBytes === 0) {
      bad(field, `${path} is not there: name one that is, or give a size (--size) to make a file`);
    } else if (obstacle !== null && !(force && obstacle.forceable)) bad(field, obstacle.message);
    else if (kind === 'File' && !empty && !force) {
      bad(field, `${path} exists already and is not empty; --force replaces it by the pool`);
    }
  }
  return seen.size === devices.length ? layOut(layout, devices, sides) : [];
}

/** Files that stand in for disks: as large as asked, or as the smallest that is there. */
async function fileBytes(
  media: PoolMedia,
  devices: readonly string[],
  sizeBytes: number,
): Promise<{ sizeBytes: number; areThere: boolean; areEmpty: boolean }> {
  const all = await Promise.all(devices.map((path) => media.examine(path)));
  const there = all.filter(({ kind }) => kind === 'File');
  const least = Math.min(...there.map((file) => file.sizeBytes));
  const known = there.length > 0 && sizeBytes === 0;
  return {
    sizeBytes: known ? Math.floor(least / 4096) * 4096 : sizeBytes,
    areThere: known && there.every(({ empty }) => empty),
    // Beside devices a file that is there must be forced: `force` is of all.
    areEmpty: there.length === all.length && there.every(({ empty }) => empty),
  };
}
