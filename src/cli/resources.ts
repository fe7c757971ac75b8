// What can be got: where each kind is, the columns of its table and how it is described.
import { formatBytes } from '../base/index.ts';
import type { PoolObject, SessionObject, VolumeObject } from '../control/index.ts';
import { type Column, renderAge } from './table.ts';

export interface ApiObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly creationTimestamp: string };
}

export interface Resource<T extends ApiObject = ApiObject> {
  readonly kind: string;
  readonly plural: string;
  readonly names: readonly string[];
  readonly path: string;
  readonly columns: readonly Column<T>[];
  readonly describe: (object: T) => readonly (readonly [label: string, value: string])[];
}

const BASE = '/apis/ashlar.io/v1';
const age = { title: 'AGE', value: ageOf } as const;

export const VOLUMES: Resource<VolumeObject> = {
  kind: 'Volume',
  plural: 'volumes',
  names: ['volume', 'volumes', 'vol'],
  path: `${BASE}/volumes`,
  columns: [
    { title: 'NAME', value: ({ metadata }) => metadata.name },
    { title: 'SIZE', value: ({ spec }) => String(spec.size) },
    { title: 'USED', value: ({ status }) => formatBytes(status.usedBytes) },
    { title: 'STATE', value: shownState },
    { title: 'SESSIONS', value: ({ status }) => String(status.sessions) },
    { title: 'IQN', value: ({ status }) => status.iqn },
    age,
    { title: 'BLOCK', wide: true, value: ({ status }) => String(status.blockSize) },
    { title: 'CACHE', wide: true, value: ({ status }) => (status.writeCache ? 'on' : 'off') },
    { title: 'AUTH', wide: true, value: shownAuth },
    { title: 'PORTALS', wide: true, value: ({ status }) => status.portals.join(',') },
    { title: 'INITIATORS', wide: true, value: ({ status }) => status.initiators.join(',') },
  ],
  describe: ({ metadata, spec, status }) => [
    ['Name', metadata.name],
    ['Labels', shownMap(metadata.labels)],
    ['Annotations', shownMap(metadata.annotations)],
    ['UID', metadata.uid],
    ['Created', metadata.creationTimestamp],
    ['Phase', status.phase],
    ['State', status.state],
    ['Target', status.iqn],
    ['LUN', String(status.lun)],
    ['Portals', status.portals.join(', ')],
    ['Pool', status.pool],
    ['Size', `${spec.size} (${status.capacityBytes} bytes)`],
    ['Used', shownUsed(status.usedBytes, status.capacityBytes)],
    ['Block size', String(status.blockSize)],
    ['Write cache', status.writeCache ? 'on' : 'off'],
    ['CHAP', shownAuthLong(spec)],
    ['Allowed initiators', (spec.initiators ?? ['any']).join(', ')],
    ['Limits', shownMap(spec.limits ?? {})],
    ['Sessions', `${status.sessions}`],
    ['Logged in', status.initiators.join(', ') || '<none>'],
    ...(status.conditions ?? []).map(
      ({ type, status: is, reason, message }) =>
        [`Condition ${type}`, `${is} (${reason}): ${message}`] as const,
    ),
  ],
};

const SESSIONS: Resource<SessionObject> = {
  kind: 'Session',
  plural: 'sessions',
  names: ['session', 'sessions'],
  path: `${BASE}/sessions`,
  columns: [
    { title: 'NAME', value: ({ metadata }) => metadata.name },
    { title: 'VOLUME', value: ({ status }) => status.volume ?? '' },
    { title: 'INITIATOR', value: ({ status }) => status.initiator },
    { title: 'PEER', value: ({ status }) => status.peer },
    { title: 'READ', value: ({ status }) => formatBytes(status.readBytes) },
    { title: 'WRITTEN', value: ({ status }) => formatBytes(status.writtenBytes) },
    age,
    { title: 'TYPE', wide: true, value: ({ status }) => status.type },
    { title: 'PORTAL', wide: true, value: ({ status }) => status.portal },
    { title: 'ISID', wide: true, value: ({ status }) => status.isid },
    { title: 'DIGESTS', wide: true, value: shownDigests },
    { title: 'USER', wide: true, value: ({ status }) => status.authenticatedAs ?? '' },
    { title: 'COMMANDS', wide: true, value: ({ status }) => String(status.commands) },
    { title: 'OUTSTANDING', wide: true, value: ({ status }) => String(status.outstanding) },
  ],
  describe: ({ metadata, status }) => [
    ['Name', metadata.name],
    ['Since', metadata.creationTimestamp],
    ...Object.entries(status).map(([name, value]) => [name, String(value ?? '<none>')] as const),
  ],
};

const POOLS: Resource<PoolObject> = {
  kind: 'Pool',
  plural: 'pools',
  names: ['pool', 'pools'],
  path: `${BASE}/pools`,
  columns: [
    { title: 'NAME', value: ({ metadata }) => metadata.name },
    { title: 'STATE', value: ({ status }) => status.phase },
    { title: 'SIZE', value: ({ status }) => formatBytes(status.sizeBytes) },
    { title: 'ALLOCATED', value: ({ status }) => formatBytes(status.allocatedBytes) },
    { title: 'FREE', value: ({ status }) => formatBytes(status.freeBytes) },
    { title: 'VOLUMES', value: ({ status }) => String(status.volumes) },
    age,
    {
      title: 'PROVISIONED',
      wide: true,
      value: ({ status }) => formatBytes(status.provisionedBytes),
    },
    { title: 'ERRORS', wide: true, value: shownErrors },
    { title: 'PATH', wide: true, value: ({ spec }) => spec.path },
  ],
  describe: ({ metadata, spec, status }) => [
    ['Name', metadata.name],
    ['UID', metadata.uid],
    ['Path', spec.path],
    ['State', status.phase],
    ['Size', formatBytes(status.sizeBytes)],
    ['Allocated', shownUsed(status.allocatedBytes, status.usableBytes)],
    ['Free', formatBytes(status.freeBytes)],
    ['Data', formatBytes(status.dataBytes)],
    ['Metadata', formatBytes(status.metadataBytes)],
    ['Freed soon', formatBytes(status.pendingFreeBytes)],
    ['Provisioned', `${formatBytes(status.provisionedBytes)} in ${status.volumes} volumes`],
    ['Map cache', `${formatBytes(spec.cacheBytes)} at most`],
    ['Checksum errors', String(status.checksumErrors)],
    ['I/O errors', String(status.ioErrors)],
    ...(status.conditions ?? []).map(
      ({ type, status: is, reason, message }) =>
        [`Condition ${type}`, `${is} (${reason}): ${message}`] as const,
    ),
  ],
};

const RESOURCES = [VOLUMES, SESSIONS, POOLS] as unknown as readonly Resource[];

/** By any of its names, upper case or lower. */
export function findResource(name: string): Resource | null {
  const wanted = name.toLowerCase();
  return RESOURCES.find((resource) => resource.names.includes(wanted)) ?? null;
}

export function resourceNames(): string {
  return RESOURCES.map((resource) => resource.plural).join(', ');
}

function ageOf({ metadata }: ApiObject): string {
  return renderAge(metadata.creationTimestamp, new Date());
}

function shownState({ status }: VolumeObject): string {
  return status.phase === 'Ready' ? status.state : status.phase;
}

function shownAuth({ spec }: VolumeObject): string {
  if (spec.chap === undefined || spec.chap === null) return '';
  return spec.mutualChap === undefined || spec.mutualChap === null ? 'CHAP' : 'mutual CHAP';
}

function shownAuthLong(spec: VolumeObject['spec']): string {
  if (spec.chap === undefined || spec.chap === null) return 'off';
  const mutual = spec.mutualChap ?? null;
  return `user ${spec.chap.user}${mutual === null ? '' : `; the target answers as ${mutual.user}`}`;
}

function shownDigests({ status }: SessionObject): string {
  const digests = [];
  if (status.headerDigest !== 'None') digests.push('header');
  if (status.dataDigest !== 'None') digests.push('data');
  return digests.join('+');
}

function shownErrors({ status }: PoolObject): string {
  return String(status.checksumErrors + status.ioErrors);
}

function shownUsed(usedBytes: number, ofBytes: number): string {
  const percent = ofBytes === 0 ? 0 : (100 * usedBytes) / ofBytes;
  return `${formatBytes(usedBytes)} (${percent.toFixed(1)} %)`;
}

function shownMap(map: Record<string, unknown> | undefined): string {
  const pairs = Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`);
  return pairs.join(', ') || '<none>';
}
