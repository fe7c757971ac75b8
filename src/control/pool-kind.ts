// Pools as the API shows them: what each is made of, how its devices are, and what to do next.
import type { FastifyInstance } from 'fastify';
import {
  type Access,
  ageColumn,
  type KindDefinition,
  kubeTime,
  PolledBackend,
  type StatusCause,
  type Verb,
} from '../apiserver/index.ts';
import { type Clock, formatBytes, parseQuantity } from '../base/index.ts';
import { writableBlocks } from '../store/index.ts';
import { type Pool, STORE_BLOCK_BYTES } from '../store/types.ts';
import { presentDevice, presentWalk } from './device-status.ts';
import { ApiError, invalid } from './errors.ts';
import { poolActions } from './pool-actions.ts';
import type { HeldPool, PoolHost } from './pool-host.ts';
import { GROUP, GROUP_VERSION, type PoolObject, PoolSpec, PoolStatus } from './schemas.ts';

/** What the configuration says of pools. */
export interface PoolFacts {
  /** Of the daemon's own. */
  readonly path: string;
  readonly cacheBytes: number;
  readonly sparse: boolean;
}

export interface PoolKindOptions {
  readonly pools: PoolHost;
  readonly facts: PoolFacts;
  readonly clock: Clock;
}

/** Not `deletecollection`: pools are destroyed one by one. */
const VERBS: readonly Verb[] = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];
/** Damaged blocks that advice names. */
const SHOWN_DAMAGE = 3;

export function poolKind({ pools, facts, clock }: PoolKindOptions): KindDefinition<PoolObject> {
  const find = (name: string): PoolObject | null => {
    const held = pools.find(name);
    return held === null ? null : present(held, facts);
  };
  const backend = new PolledBackend(
    {
      list: () => pools.all().map((held) => present(held, facts)),
      get: (_namespace, name) => find(name),
      create: async ({ metadata, ...object }, dryRun) =>
        present(await make(pools, metadata.name, (object as PoolObject).spec, dryRun), facts),
      update: async (object, before, dryRun) => {
        await change(pools, object as PoolObject, before as PoolObject, dryRun);
        return dryRun ? object : find(object.metadata.name)!;
      },
      remove: async ({ metadata }, dryRun) => {
        if (dryRun) pools.assertDestroyable(metadata.name);
        else await pools.destroy(metadata.name);
      },
    },
    clock,
    Date.now(),
  );
  return {
    group: GROUP,
    version: 'v1',
    namespaced: false,
    categories: ['ashlar'],
    kind: 'Pool',
    plural: 'pools',
    verbs: VERBS,
    description: 'Where volumes keep their blocks: files or devices.',
    fields: { spec: PoolSpec, status: PoolStatus },
    required: ['spec'],
    hasStatus: true,
    nameRule: 'label',
    validate: ({ spec }, before) => (before === null ? faultsOf(spec) : []),
    beforeDelete: ({ metadata }) => pools.assertDestroyable(metadata.name),
    actions: poolActions(pools, (name) => find(name)!),
    backend,
    columns: [
      { name: 'State', description: 'Online, or why not.', value: ({ status }) => status.phase },
      { name: 'Size', value: ({ status }) => formatBytes(status.sizeBytes) },
      { name: 'Allocated', value: ({ status }) => formatBytes(status.allocatedBytes) },
      { name: 'Free', value: ({ status }) => formatBytes(status.freeBytes) },
      { name: 'Volumes', type: 'integer', value: ({ status }) => status.volumes },
      ageColumn,
      { name: 'Layout', wide: true, value: ({ status }) => status.layout },
      {
        name: 'Provisioned',
        wide: true,
        description: 'What all volumes promise together.',
        value: ({ status }) => formatBytes(status.provisionedBytes),
      },
      {
        name: 'Errors',
        wide: true,
        type: 'integer',
        description: 'Of checksums and of I/O.',
        value: ({ status }) => status.checksumErrors + status.ioErrors,
      },
      {
        name: 'ReadOnly',
        wide: true,
        type: 'boolean',
        description: 'Writes that grow are refused.',
        value: ({ status }) => status.readOnly,
      },
      { name: 'Devices', wide: true, value: ({ spec }) => (spec.devices ?? []).join(',') },
    ],
  };
}

const AT_CREATION = ['layout', 'devices', 'sides', 'size', 'sparse', 'force', 'import'] as const;

function faultsOf(spec: PoolSpec): StatusCause[] {
  const causes: StatusCause[] = [];
  const bad = (field: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field: `spec.${field}`, message });
  };
  for (const field of ['path', 'cacheBytes'] as const) {
    if (spec[field] !== undefined) bad(field, "is the configuration's to say");
  }
  if (spec.import !== undefined) {
    for (const field of AT_CREATION) {
      if (field === 'import' || spec[field] === undefined) continue;
      bad(field, 'does not go with spec.import: what is imported is as it is');
    }
  } else if (spec.devices === undefined) {
    const message = 'is required: what it is made of; or spec.import, to take in one that there is';
    causes.push({ reason: 'FieldValueRequired', field: 'spec.devices', message });
  }
  if (spec.size !== undefined && parseQuantity(String(spec.size)) === null) {
    bad('size', `'${String(spec.size).slice(0, 32)}' is not a quantity; write it like 5Gi`);
  }
  return causes;
}

async function make(
  pools: PoolHost,
  name: string,
  spec: PoolSpec,
  dryRun: boolean,
): Promise<HeldPool> {
  const { import: taken, size, layout, devices, sides, sparse, force, growthLimitPercent } = spec;
  if (taken !== undefined) {
    const { pool = null, places = null, force: anyway = false } = taken;
    return await pools.import(name, { pool, places, force: anyway }, dryRun);
  }
  // Files are made in whole blocks.
  const sizeBytes =
    size === undefined ? undefined : Math.floor((parseQuantity(String(size)) ?? 0) / 4096) * 4096;
  const request = { layout, devices, sides, sizeBytes, sparse, force, growthLimitPercent };
  return await pools.create(name, request, dryRun);
}

/** Of a pool that there is, the limit alone is its owner's to change; devices come and go by actions. */
async function change(
  pools: PoolHost,
  object: PoolObject,
  before: PoolObject,
  dryRun: boolean,
): Promise<void> {
  const { name } = object.metadata;
  const causes: StatusCause[] = [];
  for (const field of ['layout', 'devices'] as const) {
    const sent = object.spec[field];
    if (sent === undefined || JSON.stringify(sent) === JSON.stringify(before.spec[field])) continue;
    const message = `is changed by actions: ashlar device add, attach, replace, detach … ${name}`;
    causes.push({ reason: 'FieldValueInvalid', field: `spec.${field}`, message });
  }
  if (causes.length > 0) throw invalid('Pool', name, causes);
  const limit = object.spec.growthLimitPercent;
  if (dryRun || limit === undefined || limit === before.spec.growthLimitPercent) return;
  await pools.changeDevices(name, [], ({ devices }) => devices.setGrowthLimit(limit));
}

function present(held: HeldPool, { path, cacheBytes, sparse }: PoolFacts): PoolObject {
  const { name, id, isOwn, paths, pool, why, openedAt } = held;
  const state = stateOf(held);
  const spec: PoolSpec = {
    ...(isOwn ? { path, sparse } : {}),
    layout: pool !== null && layoutOf(pool) !== 'stripe' ? 'mirror' : 'stripe',
    devices: [...paths],
    cacheBytes,
  };
  const limit = pool?.stats().growthLimitPercent;
  if (limit !== undefined) spec.growthLimitPercent = limit;
  const serves = state === 'Online' || state === 'Degraded';
  const advice = adviceOf(held);
  const message = serves ? (advice[0] ?? 'volumes are served') : pool?.stats().fault || why;
  return {
    apiVersion: GROUP_VERSION,
    kind: 'Pool',
    metadata: {
      name,
      uid: id,
      resourceVersion: '',
      generation: 1,
      creationTimestamp: kubeTime(openedAt),
    },
    spec,
    status: {
      phase: state,
      layout: pool === null ? '' : layoutOf(pool),
      ...figuresOf(pool),
      advice,
      conditions: [
        {
          type: 'Ready',
          status: serves ? 'True' : 'False',
          reason: state,
          message,
          lastTransitionTime: kubeTime(openedAt),
        },
      ],
    },
  };
}

const IDLE = {
  state: 'None',
  startedAt: null,
  endedAt: null,
  percent: 0,
  healedBlocks: 0,
  damagedBlocks: 0,
  secondsLeft: null,
};

function figuresOf(
  pool: Pool | null,
): Omit<PoolStatus, 'phase' | 'layout' | 'advice' | 'conditions'> {
  const bytes = (blocks: number): number => blocks * STORE_BLOCK_BYTES;
  const stats = pool?.stats();
  const volumes = pool?.volumes() ?? [];
  const provisioned = volumes.reduce((sum, volume) => sum + volume.info().sizeBlocks, 0);
  return {
    readOnly: pool !== null && isReadOnly(pool),
    sizeBytes: bytes(stats?.sizeBlocks ?? 0),
    usableBytes: bytes(stats?.usableBlocks ?? 0),
    allocatedBytes: bytes(stats?.allocatedBlocks ?? 0),
    freeBytes: bytes(stats === undefined ? 0 : writableBlocks(stats)),
    dataBytes: bytes(stats?.dataBlocks ?? 0),
    metadataBytes: bytes(stats?.metadataBlocks ?? 0),
    pendingFreeBytes: bytes(stats?.pendingFreeBlocks ?? 0),
    provisionedBytes: bytes(provisioned),
    volumes: volumes.length,
    checksumErrors: stats?.checksumErrors ?? 0,
    ioErrors: stats?.ioErrors ?? 0,
    logDamaged: stats?.logDamaged ?? false,
    devices: pool?.devices.list().map(presentDevice) ?? [],
    scrub: pool === null ? IDLE : presentWalk(pool.devices.scrubStatus()),
    resilver: pool === null ? IDLE : presentWalk(pool.devices.resilverStatus()),
    rebalance: pool === null ? IDLE : presentWalk(pool.devices.rebalanceStatus()),
  };
}

/** N3: what still grows is refused. */
function isReadOnly(pool: Pool): boolean {
  return pool.stats().state === 'Online' && pool.creditBlocks() <= 0;
}

function stateOf({ pool }: HeldPool): string {
  if (pool === null) return 'Offline';
  const { state } = pool.stats();
  if (state !== 'Online') return state;
  // One that takes another's place leaves nothing uncovered: that one is there until it has everything.
  const isWhole = pool.devices
    .list()
    .every((device) => device.state === 'InSync' || device.replaces !== null);
  return isWhole ? 'Online' : 'Degraded';
}

function layoutOf(pool: Pool): string {
  const sides = new Map<number, number>();
  for (const { vdev, log, replaces } of pool.devices.list()) {
    if (!log && replaces === null) sides.set(vdev, (sides.get(vdev) ?? 0) + 1);
  }
  const mirrored = [...sides.values()].filter((count) => count > 1).length;
  if (mirrored === 0) return 'stripe';
  return sides.size === 1 ? 'mirror' : 'stripe of mirrors';
}

/** The most pressing first. */
function adviceOf({ name, pool, why, paths, clashes }: HeldPool): string[] {
  if (pool === null) {
    return [`${why}; its devices were ${paths.join(', ')}. It is tried again by itself`];
  }
  const { state, fault } = pool.stats();
  if (state === 'Faulted') return [`${fault}: see docs/operations.md, "The pool is faulted"`];
  const advice = pool.devices
    .list()
    .filter(({ advice: next }) => next !== '')
    .map(({ path, state: is, why: out, advice: next }) =>
      is === 'InSync'
        ? `${path}: ${next}`
        : `${path} is ${is}${out === '' ? '' : ` (${out})`}: ${next}`,
    );
  const damage = pool.devices.damage();
  if (damage.length > 0) {
    const shown = damage
      .slice(0, SHOWN_DAMAGE)
      .map(({ volume, lba }) => (volume === '' ? 'metadata' : `${volume} at ${lba * 4096}`));
    advice.push(
      `${damage.length} blocks have no good copy (${shown.join(', ')}${damage.length > SHOWN_DAMAGE ? ', …' : ''}): write them again, or restore what lies there`,
    );
  }
  if (isReadOnly(pool)) {
    advice.push(
      `the limit is reached: writes that grow are refused. Trim on the hosts, delete volumes or snapshots, or add a device (ashlar device add ${name} …)`,
    );
  }
  if (clashes.length > 0) {
    advice.push(
      `${clashes.join(', ')} in it ${clashes.length > 1 ? 'are' : 'is'} not served: volumes of other pools have these names. Delete those, then export and import this pool`,
    );
  }
  return advice;
}

/** GET …/importablepools?place=DIR: what could be imported. Devices are opened for it, so only when somebody asks. */
export function addImportable(app: FastifyInstance, pools: PoolHost, access: Access | null): void {
  app.get(`/apis/${GROUP_VERSION}/importablepools`, async (request) => {
    const identity = access?.identify(request.headers.authorization) ?? null;
    if (access !== null && identity?.role === 'read') {
      throw new ApiError('Forbidden', 'to look for pools needs the role operate or admin');
    }
    const { place = [] } = request.query as { place?: string | string[] };
    const places = [place].flat();
    const found = await pools.importable(places.length === 0 ? null : places);
    return {
      items: found.map(({ name, id, devices, paths, exported }) => ({
        name,
        id,
        devices,
        paths,
        exported,
      })),
    };
  });
}
