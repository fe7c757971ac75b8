// What is wrong with a pool of a node that the schema alone does not see: the node, its devices, how many of them.
import type { KubeObject, ObjectClient, StatusCause } from '../apiserver/index.ts';
import { parseQuantity, periodMs } from '../base/index.ts';
import { BLOCK_DEVICE, type BlockDevice, NODE } from './ashlar.ts';
import type { Pool, PoolSpec } from './pool.ts';

/** On the labels of its devices. */
const MAX_NAME_BYTES = 63;
const LEAST_CACHE_BYTES = 16 * 2 ** 20;
const FIXED = [
  'nodeName',
  'layout',
  'type',
  'devices',
  'sides',
  'force',
  'import',
  'directory',
  'storagePoolClaim',
] as const;

/** What a BlockDevice is said to hold that carries the label of a pool. */
export const OUR_CONTENTS = 'an ashlar pool';

/** Why the pool of that name may not have the device; empty: it may. `force`: what it holds does not matter. */
export function deviceRefusal(
  { metadata, spec, status }: BlockDevice,
  pool: string,
  force: boolean,
): string {
  if (spec.claimRef !== undefined && spec.claimRef.pool !== pool) {
    return `belongs to pool ${spec.claimRef.pool}`;
  }
  if ((status?.inUse ?? '') !== '') return `is in use: ${status?.inUse}`;
  if (status?.state !== 'Active') return `is ${status?.state ?? 'Unknown'}`;
  if (!force && spec.claimRef === undefined && (status.contents ?? '') !== '') {
    // wipefs knows others' signatures, not ours.
    const clear =
      status.contents === OUR_CONTENTS
        ? `ashlar create pool NAME --device ${metadata.name} --force, and ashlar destroy pool NAME`
        : `wipefs -a ${spec.path}`;
    return `holds ${status.contents}; if that is not needed, clear it with: ${clear}`;
  }
  return '';
}

/** By the name of its object, by its name on its node, or by its path. */
export function deviceCalled(
  devices: readonly BlockDevice[],
  nodeName: string,
  named: string,
): BlockDevice | null {
  const here = devices.filter(({ spec }) => spec.nodeName === nodeName);
  return (
    here.find(({ metadata }) => metadata.name === named) ??
    here.find(({ spec }) => spec.deviceName === named) ??
    here.find(({ spec }) => spec.path === named || spec.byIdPath === named) ??
    null
  );
}

const LEAST_SCRUB_MS = 3_600_000;
/** Less would never come to an end. */
const LEAST_WALK_BYTES = 2 ** 20;

export function checkScrub({ scrub }: PoolSpec): StatusCause[] {
  const causes: StatusCause[] = [];
  const bad: Bad = (field, message) => {
    causes.push({ reason: 'FieldValueInvalid', field: `spec.scrub.${field}`, message });
  };
  const { every, bandwidth } = scrub ?? {};
  const everyMs = periodMs(every ?? '');
  if (every !== undefined && everyMs === null) {
    bad('every', `'${every}' is not a period; write it like 12h, 7d or 30d`);
  } else if (everyMs !== null && everyMs < LEAST_SCRUB_MS) {
    bad('every', `${every} is too often; the least is 1h`);
  }
  if (bandwidth === undefined) return causes;
  const bytes = parseQuantity(String(bandwidth));
  if (bytes === null) bad('bandwidth', `'${bandwidth}' is not a quantity; write it like 100Mi`);
  else if (bytes !== 0 && bytes < LEAST_WALK_BYTES) {
    bad('bandwidth', `${bandwidth} is too little; the least is 1Mi, or 0 for all there is`);
  }
  return causes;
}

type Bad = (field: string, message: string) => void;

export async function checkPool(
  { metadata, spec }: Pool,
  before: Pool | null,
  client: ObjectClient,
): Promise<StatusCause[]> {
  const causes: StatusCause[] = [];
  const bad: Bad = (field, message) => {
    causes.push({ reason: 'FieldValueInvalid', field: `spec.${field}`, message });
  };
  if ((spec.cacheBytes ?? LEAST_CACHE_BYTES) < LEAST_CACHE_BYTES) {
    bad('cacheBytes', `${spec.cacheBytes} is too few; the least is ${LEAST_CACHE_BYTES}`);
  }
  if (before !== null) {
    for (const field of FIXED) {
      if (JSON.stringify(spec[field]) === JSON.stringify(before.spec[field])) continue;
      bad(field, `is fixed at creation; devices come and go by ashlar device … ${metadata.name}`);
    }
    return causes;
  }
  // Those of a claim were looked at by who made them of it, those of folders have none.
  if (spec.storagePoolClaim !== undefined || spec.directory !== undefined) return causes;
  const nodes = (await client.list<KubeObject>(NODE)).items.map((node) => node.metadata.name);
  if (!nodes.includes(spec.nodeName)) {
    bad('nodeName', `there is no node '${spec.nodeName}'; there are ${nodes.join(', ') || 'none'}`);
    return causes;
  }
  if (spec.import !== undefined) {
    for (const field of ['layout', 'devices', 'sides', 'force'] as const) {
      if (spec[field] === undefined) continue;
      bad(field, 'does not go with spec.import: what is imported is as it is');
    }
    return causes;
  }
  if (metadata.name.length > MAX_NAME_BYTES) {
    const message = `has ${metadata.name.length} characters; a pool's name has at most ${MAX_NAME_BYTES}`;
    causes.push({ reason: 'FieldValueInvalid', field: 'metadata.name', message });
  }
  checkLayout(spec, bad);
  const all = (await client.list<BlockDevice>(BLOCK_DEVICE)).items;
  checkDevices(spec, metadata.name, all, bad);
  return causes;
}

function checkLayout({ layout, type, devices = [], sides }: PoolSpec, bad: Bad): void {
  const each = sides ?? (devices.length === 3 ? 3 : 2);
  const isMirror = layout === 'mirror' || type === 'mirrored';
  if (devices.length === 0) bad('devices', 'is required: what it is made of; or spec.import');
  else if (isMirror && (devices.length < 2 || devices.length % each !== 0)) {
    bad(
      'devices',
      `names ${devices.length}, and a mirror has ${each} sides each: name a multiple of ${each}, or give other sides (2 or 3)`,
    );
  }
}

function checkDevices(
  { nodeName = '', devices = [], force = false }: PoolSpec,
  pool: string,
  all: readonly BlockDevice[],
  bad: Bad,
): void {
  const seen = new Set<string>();
  for (const [index, named] of devices.entries()) {
    const device = deviceCalled(all, nodeName, named);
    const field = `devices[${index}]`;
    if (device === null) {
      bad(field, `there is no block device '${named}' on ${nodeName}: ashlar get blockdevices`);
      continue;
    }
    const { name } = device.metadata;
    if (seen.has(name)) bad(field, `${named} is named twice`);
    seen.add(name);
    const why = deviceRefusal(device, pool, force);
    if (why !== '') bad(field, `${named} ${why}`);
  }
}
