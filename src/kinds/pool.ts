// Pools: one declaration for `ashlar serve` and `ashlar node`. What of it a program does not do, it refuses in words
// (foreignPoolFields).
import { type Static, Type } from 'typebox';
import type { KindDefinition, SpecObject, StatusCause } from '../apiserver/index.ts';
import { formatBytes } from '../base/index.ts';
import { age, Bytes, closed, column, described, Quantity, statusOnly } from './common.ts';
import { type ForeignFields, type Program, refuseForeign } from './foreign.ts';
import { PoolOperation, PoolOperationStatus } from './pool-actions.ts';
import { checkPool, checkScrub } from './pool-check.ts';
import { orNull } from './volume-parts.ts';

const DevicePath = Type.String({ minLength: 1, maxLength: 4096 });
export const MAX_POOL_DEVICES = 64;

export const ScrubSpec = Type.Object(
  {
    every: Type.Optional(
      Type.String({
        maxLength: 16,
        description: 'How long after the last one the next begins: 7d, 30d. At least 1h.',
      }),
    ),
    bandwidth: Type.Optional(
      Type.Unsafe<string | number>({
        ...Quantity,
        description:
          'What scrub, resilver and rebalance may take a second: 100Mi; 0: all there is. 256Mi.',
      }),
    ),
  },
  { ...closed, description: 'Everything is read by the clock. Changed online, effective at once.' },
);
export type ScrubSpec = Static<typeof ScrubSpec>;

export const PoolSpec = Type.Object(
  {
    nodeName: Type.Optional(Type.String({ description: 'The node that has its devices.' })),
    layout: Type.Optional(
      Type.Union([Type.Literal('stripe'), Type.Literal('mirror')], {
        description: 'mirror: of every two or three devices in their order; several are a stripe.',
      }),
    ),
    type: Type.Optional(
      Type.Union([Type.Literal('striped'), Type.Literal('mirrored')], {
        description: 'The layout in the words of a StoragePoolClaim. Say layout instead.',
      }),
    ),
    devices: Type.Optional(
      Type.Array(DevicePath, {
        maxItems: MAX_POOL_DEVICES,
        description:
          'BlockDevices of the node that it was made of, by name or path; status.devices has those of now. Of `ashlar serve` paths of devices, partitions or files.',
      }),
    ),
    sides: Type.Optional(
      Type.Integer({ minimum: 2, maximum: 3, description: 'Of each mirror. At creation only.' }),
    ),
    size: Type.Optional(
      Type.Unsafe<string | number>({
        ...Quantity,
        description: 'Of files that are to be made. At creation only.',
      }),
    ),
    sparse: Type.Optional(
      Type.Boolean({ description: 'Files take space as it is written, and may find none.' }),
    ),
    force: Type.Optional(
      Type.Boolean({
        description: 'Overwrites what devices hold. Never what is in use. At creation only.',
      }),
    ),
    growthLimitPercent: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100,
        description: 'Writes that grow end when so much of it is in use: 85. Can be changed.',
      }),
    ),
    import: Type.Optional(
      Type.Object(
        {
          pool: Type.Optional(
            Type.String({ maxLength: 64, description: 'Its name or id on its labels.' }),
          ),
          places: Type.Optional(
            Type.Array(DevicePath, {
              maxItems: MAX_POOL_DEVICES,
              description: 'Devices and folders to look in; none: every device of the machine.',
            }),
          ),
          force: Type.Optional(
            Type.Boolean({ description: 'Also one that was not exported where it was.' }),
          ),
        },
        { ...closed, description: 'Take in a pool that there is. At creation only.' },
      ),
    ),
    path: Type.Optional(
      Type.String({ description: "Of the daemon's own: pool.path of its configuration." }),
    ),
    directory: Type.Optional(
      Type.String({ description: 'A pool in a file of this folder instead of on devices.' }),
    ),
    storagePoolClaim: Type.Optional(
      Type.String({ description: 'The StoragePoolClaim that it was made for.' }),
    ),
    cacheBytes: Type.Optional(Type.Integer({ description: 'For its mappings.' })),
    overcommit: Type.Optional(
      Type.Number({
        minimum: 1,
        maximum: 1000,
        description: 'How often its capacity may be promised to thin volumes. Default 10.',
      }),
    ),
    scrub: orNull(ScrubSpec),
    operation: Type.Optional(PoolOperation),
  },
  { ...closed, description: 'What it is made of.' },
);
export type PoolSpec = Static<typeof PoolSpec>;

export const DeviceStatus = Type.Object({
  id: Type.String({ description: 'On its label: it stays when names change.' }),
  device: Type.Optional(Type.String({ description: 'The BlockDevice that it is.' })),
  path: Type.String({ description: 'Where it is.' }),
  vdev: Type.Integer({ description: 'Which stripe it is part of.' }),
  log: Type.Boolean({ description: 'It holds the intent log and nothing else.' }),
  state: Type.String({ description: 'InSync, Resilvering, Offline, Faulted or Missing.' }),
  sizeBytes: Type.Integer({ description: 'What the pool uses of it.' }),
  readErrors: Type.Integer({ description: 'Reads that failed.' }),
  writeErrors: Type.Integer({ description: 'Writes that failed.' }),
  checksumErrors: Type.Integer({ description: 'Blocks that did not fit their checksum.' }),
  why: Type.String({ description: 'Why it is out.' }),
  next: Type.String({ description: 'What to do about it.' }),
});
export type DeviceStatus = Static<typeof DeviceStatus>;

export const WalkStatusSchema = Type.Object({
  state: Type.String({ description: 'None, Running, Paused, Done or Cancelled.' }),
  startedAt: Type.Union([Type.String(), Type.Null()], { description: 'When it began.' }),
  endedAt: Type.Union([Type.String(), Type.Null()], { description: 'When it ended.' }),
  percent: Type.Number({ description: 'How far it is.' }),
  healedBlocks: Type.Integer({ description: 'Blocks that were made good from another copy.' }),
  damagedBlocks: Type.Integer({ description: 'Blocks that have no good copy.' }),
  secondsLeft: Type.Union([Type.Integer(), Type.Null()], {
    description: 'How long it will take at this pace; null: not known.',
  }),
});

export const PoolStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(
      Type.String({
        description: 'Pending, Online, Degraded, Faulted, Offline, Closed or Exported.',
      }),
    ),
    id: Type.Optional(Type.String({ description: 'On its labels.' })),
    layout: Type.Optional(Type.String({ description: 'As its devices are now.' })),
    advice: Type.Optional(Type.Array(Type.String(), { description: 'What to do next.' })),
    replicaAddress: Type.Optional(
      Type.String({ description: 'Where coordinators reach its replicas.' }),
    ),
    readOnly: Type.Optional(
      Type.Boolean({
        description: 'Writes that grow are refused: overwrites, trim and deletes go on.',
      }),
    ),
    sizeBytes: Type.Optional(Bytes),
    usableBytes: Type.Optional(Type.Integer({ description: 'What data and metadata may take.' })),
    allocatedBytes: Type.Optional(Bytes),
    freeBytes: Type.Optional(Type.Integer({ description: 'What writes may still take.' })),
    dataBytes: Type.Optional(Bytes),
    metadataBytes: Type.Optional(Bytes),
    pendingFreeBytes: Type.Optional(Bytes),
    provisionedBytes: Type.Optional(
      Type.Integer({ description: 'What all volumes promise together.' }),
    ),
    mayProvisionBytes: Type.Optional(
      Type.Integer({ description: 'How much may be promised (overcommit).' }),
    ),
    volumes: Type.Optional(Type.Integer({ description: 'In it; of a node, replicas.' })),
    strayVolumes: Type.Optional(
      Type.Array(Type.String(), { description: 'That came with it, and are no replicas here.' }),
    ),
    checksumErrors: Type.Optional(
      Type.Integer({ description: 'Blocks that did not fit their checksum, of all devices.' }),
    ),
    ioErrors: Type.Optional(
      Type.Integer({ description: 'Reads and writes that failed, of all devices.' }),
    ),
    logDamaged: Type.Optional(
      Type.Boolean({
        description: 'Its log was damaged when it was opened: see docs/operations.md.',
      }),
    ),
    backend: Type.Optional(
      Type.String({
        description:
          'How its devices are reached: io_uring, threads where that is not to be had (slower), sync where they lie in memory.',
      }),
    ),
    devices: Type.Optional(
      Type.Array(DeviceStatus, { description: 'The devices that it is made of.' }),
    ),
    scrub: Type.Optional(
      described(WalkStatusSchema, 'The reading of everything, to find what has rotted.'),
    ),
    resilver: Type.Optional(
      described(WalkStatusSchema, 'The filling of a device that came, or was away.'),
    ),
    rebalance: Type.Optional(
      described(
        WalkStatusSchema,
        'The moving of blocks to devices that came, or away from those that go.',
      ),
    ),
    operation: Type.Optional(described(PoolOperationStatus, 'What became of spec.operation.')),
  },
  { description: 'How it is.' },
);
export type PoolStatus = Static<typeof PoolStatus>;

/** Of a node: that has been said. */
export type Pool = SpecObject<PoolSpec & { nodeName: string }, PoolStatus>;

const bytes = (value: number | undefined): string =>
  value === undefined ? '' : formatBytes(value);

export const POOL_DECLARATION = {
  group: 'ashlar.io',
  version: 'v1',
  namespaced: false,
  hasStatus: true,
  categories: ['ashlar'],
  kind: 'Pool',
  plural: 'pools',
  shortNames: ['apool'],
  description: 'Where volumes, or replicas of them, keep their blocks: on devices or in a file.',
  fields: { spec: PoolSpec, status: PoolStatus },
  required: ['spec'],
  columns: [
    column('State', 'Online, or why not.', (pool: Pool) => pool.status?.phase),
    column('Size', 'Of its devices.', (pool: Pool) => bytes(pool.status?.sizeBytes)),
    column('Allocated', 'In use.', (pool: Pool) => bytes(pool.status?.allocatedBytes)),
    column('Free', 'What writes may take.', (pool: Pool) => bytes(pool.status?.freeBytes)),
    column('Volumes', 'In it, or replicas.', (pool: Pool) => pool.status?.volumes, {
      type: 'integer',
    }),
    column('Node', 'That has its devices.', (pool: Pool) => pool.spec.nodeName),
    age,
    column('Layout', 'As its devices are.', (pool: Pool) => pool.status?.layout, { wide: true }),
    column(
      'Provisioned',
      'What all volumes promise together.',
      (pool: Pool) => bytes(pool.status?.provisionedBytes),
      { wide: true },
    ),
    column(
      'Errors',
      'Of checksums and of I/O.',
      ({ status }: Pool) => (status?.checksumErrors ?? 0) + (status?.ioErrors ?? 0),
      { wide: true, type: 'integer' },
    ),
    column('ReadOnly', 'Writes that grow are refused.', (pool: Pool) => pool.status?.readOnly, {
      wide: true,
      type: 'boolean',
    }),
    column('Devices', 'What it is made of.', ({ spec }: Pool) => (spec.devices ?? []).join(','), {
      wide: true,
    }),
  ],
} as const satisfies Omit<KindDefinition<Pool>, 'backend'>;

/** Held by the pool's node: it is closed and its devices are nobody's. */
export const POOL_FINALIZER = 'ashlar.io/pool';

export const POOL: KindDefinition<Pool> = {
  ...POOL_DECLARATION,
  defaults: ({ metadata, spec }, before) => {
    if (before !== null) return;
    const { finalizers = [] } = metadata;
    if (!finalizers.includes(POOL_FINALIZER)) metadata.finalizers = [...finalizers, POOL_FINALIZER];
    if ((spec.nodeName as string | undefined) === undefined) return;
    metadata.labels = { 'ashlar.io/node': spec.nodeName, ...metadata.labels };
  },
  validate: async (pool, before, { client, subresource }) => {
    if (subresource === 'status') return [];
    const causes = foreignPoolFields(pool.spec, 'node');
    if ((pool.spec.nodeName as string | undefined) === undefined) {
      const message = 'is required: the node that has its devices';
      causes.push({ reason: 'FieldValueRequired', field: 'spec.nodeName', message });
      return causes;
    }
    return [...causes, ...checkScrub(pool.spec), ...(await checkPool(pool, before, client))];
  },
};

const FOREIGN: ForeignFields = {
  node: {
    path: 'name BlockDevices in spec.devices',
    size: 'files of devices.sparseFolder stand in for devices',
    sparse: 'files of devices.sparseFolder stand in for devices',
  },
  serve: {
    type: 'say spec.layout',
    directory: 'name a file in spec.devices',
    storagePoolClaim: 'there are no claims',
    overcommit: 'all may be promised; see status.provisionedBytes',
    operation: 'use the actions of the pool',
  },
};

export function foreignPoolFields(spec: PoolSpec, program: Program): StatusCause[] {
  return refuseForeign(spec, FOREIGN, program);
}

/** Of one that was asked for in either word. */
export function layoutOf({ layout, type }: PoolSpec): 'stripe' | 'mirror' {
  return layout ?? (type === 'mirrored' ? 'mirror' : 'stripe');
}
