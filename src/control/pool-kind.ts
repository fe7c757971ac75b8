// Pools as the API shows them: what each is made of, how its devices are, and what to do next.
import type { FastifyInstance } from 'fastify';
import {
  type Access,
  type KindDefinition,
  kubeTime,
  PolledBackend,
  type StatusCause,
  type Verb,
} from '../apiserver/index.ts';
import { type Clock, parseQuantity } from '../base/index.ts';
import { checkScrub, foreignPoolFields, POOL_DECLARATION } from '../kinds/index.ts';
import { ApiError, invalid } from './errors.ts';
import type { HeldPool } from './held-pools.ts';
import { poolActions } from './pool-actions.ts';
import type { PoolHost } from './pool-host.ts';
import { adviceOf, figuresOf, presentLayout, stateOf } from './pool-status.ts';
import { GROUP_VERSION, type PoolObject, type PoolSpec } from './schemas.ts';

/** What the configuration says of pools. */
export interface PoolFacts {
  /** Of the daemon's own. */
  readonly path: string;
  readonly cacheBytes: number;
  readonly sparse: boolean;
  readonly nodeName: string;
}

export interface PoolKindOptions {
  readonly pools: PoolHost;
  readonly facts: PoolFacts;
  readonly clock: Clock;
}

/** Not `deletecollection`: pools are destroyed one by one. */
const VERBS: readonly Verb[] = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];

export function poolKind({ pools, facts, clock }: PoolKindOptions): KindDefinition<PoolObject> {
  const find = (name: string): PoolObject | null => {
    const held = pools.find(name);
    return held === null ? null : present(held, facts);
  };
  const backend = new PolledBackend(
    {
      list: () => pools.all().map((held) => present(held, facts)),
      get: (_namespace, name) => find(name),
      create: async ({ metadata, ...object }, dryRun) => {
        const { spec } = object as PoolObject;
        const made = await make(pools, metadata.name, spec, dryRun);
        if (dryRun || (spec.scrub ?? null) === null) return present(made, facts);
        await pools.setScrub(metadata.name, spec.scrub ?? null);
        return find(metadata.name)!;
      },
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
    ...(POOL_DECLARATION as unknown as KindDefinition<PoolObject>),
    verbs: VERBS,
    nameRule: 'label',
    validate: ({ spec }, before) => [
      ...checkScrub(spec),
      ...(before === null ? faultsOf(spec, facts) : []),
    ],
    beforeDelete: ({ metadata }) => pools.assertDestroyable(metadata.name),
    actions: poolActions(pools, (name) => find(name)!),
    backend,
  };
}

const AT_CREATION = ['layout', 'devices', 'sides', 'size', 'sparse', 'force', 'import'] as const;

function faultsOf(spec: PoolSpec, { nodeName }: PoolFacts): StatusCause[] {
  const causes = foreignPoolFields(spec, 'serve');
  const bad = (field: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field: `spec.${field}`, message });
  };
  if (spec.nodeName !== undefined && spec.nodeName !== nodeName) {
    bad('nodeName', `is '${spec.nodeName}', and this is ${nodeName}: ask that one`);
  }
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
  if (dryRun) return;
  const scrub = object.spec.scrub ?? null;
  if (JSON.stringify(scrub) !== JSON.stringify(before.spec.scrub ?? null)) {
    await pools.setScrub(name, scrub);
  }
  if (limit === undefined || limit === before.spec.growthLimitPercent) return;
  await pools.changeDevices(name, [], ({ devices }) => devices.setGrowthLimit(limit));
}

function present(held: HeldPool, facts: PoolFacts): PoolObject {
  const { path, cacheBytes, sparse, nodeName } = facts;
  const { name, id, isOwn, paths, pool, why, openedAt, scrub } = held;
  const state = stateOf(pool);
  const spec: PoolSpec = {
    nodeName,
    ...(isOwn ? { path, sparse } : {}),
    layout: pool !== null && presentLayout(pool) !== 'stripe' ? 'mirror' : 'stripe',
    devices: [...paths],
    cacheBytes,
    ...(scrub === null ? {} : { scrub }),
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
      id,
      layout: pool === null ? '' : presentLayout(pool),
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
