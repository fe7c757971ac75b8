// ashlar's own kinds, group ashlar.io/v1: what the system is made of. People write Volume, Snapshot, Pool and
// VolumePolicy, or the compatibility kinds that controllers translate into these; nodes write the rest.
import { type Static, Type } from 'typebox';
import {
  ApiError,
  type Column,
  type KindDefinition,
  type KubeObject,
  type ObjectClient,
  type SpecObject,
  type StatusCause,
} from '../apiserver/index.ts';
import { formatBytes } from '../base/index.ts';
import {
  age,
  Bytes,
  closed,
  column,
  described,
  Quantity,
  SecretRef,
  statusOnly,
} from './common.ts';
import { SNAPSHOT } from './snapshot.ts';
import { checkPolicy, checkVolumeSpec, foreignFields } from './volume-check.ts';
import { ChapSpec, Limits, orNull, SnapshotSchedule, type WithoutNull } from './volume-parts.ts';

const GROUP = 'ashlar.io';
const VERSION = 'v1';
const own = {
  group: GROUP,
  version: VERSION,
  namespaced: false,
  hasStatus: true,
  categories: ['ashlar'],
} as const;

// --- Node

export const NodeSpec = Type.Object(
  {
    unschedulable: Type.Optional(
      Type.Boolean({ description: 'Cordoned: no new replica or coordinator is put here.' }),
    ),
    drain: Type.Optional(
      Type.Boolean({ description: 'Replicas and coordinators are moved away from here.' }),
    ),
  },
  { ...closed, description: 'What its owner wants of it.' },
);
export type NodeSpec = Static<typeof NodeSpec>;

export const NodeStatus = Type.Object(
  {
    ...statusOnly,
    addresses: Type.Optional(Type.Array(Type.String(), { description: 'Its addresses.' })),
    portals: Type.Optional(
      Type.Array(Type.String(), { description: 'Where hosts log in: host:port.' }),
    ),
    replicaAddress: Type.Optional(
      Type.String({ description: 'Where other nodes reach its replicas.' }),
    ),
    apiAddress: Type.Optional(Type.String({ description: 'Where its API is served: host:port.' })),
    version: Type.Optional(Type.String({ description: 'Of ashlar.' })),
    machine: Type.Optional(
      Type.Object(
        {
          processors: Type.Integer({ description: 'That ashlar may use.' }),
          memoryBytes: Bytes,
          operatingSystem: Type.String({ description: 'linux.' }),
          osImage: Type.String({ description: 'The distribution.' }),
          kernelVersion: Type.String({ description: 'Of Linux.' }),
          architecture: Type.String({ description: 'As Go names it: amd64, arm64.' }),
          bootId: Type.String({ description: 'Another one after each boot.' }),
        },
        { description: 'What it runs on.' },
      ),
    ),
    pools: Type.Optional(Type.Integer({ description: 'Pools that it has open.' })),
    replicas: Type.Optional(Type.Integer({ description: 'Replicas that it holds.' })),
    coordinators: Type.Optional(Type.Integer({ description: 'Volumes that it serves.' })),
  },
  { description: 'How it is.' },
);
export type NodeStatus = Static<typeof NodeStatus>;

export type Node = SpecObject<NodeSpec, NodeStatus>;
export const NODE: KindDefinition<Node> = {
  ...own,
  kind: 'Node',
  plural: 'nodes',
  description: 'A machine that runs ashlar: it has disks, holds replicas and coordinates volumes.',
  shortNames: ['ano'],
  fields: { spec: NodeSpec, status: NodeStatus },
  defaults: (node) => {
    node.spec ??= {};
  },
  beforeDelete: ({ metadata, status }, { force }) => {
    const isReady = status?.conditions?.some(
      (condition) => condition.type === 'Ready' && condition.status === 'True',
    );
    if (isReady !== true || force) return;
    const { name } = metadata;
    throw new ApiError(
      'Conflict',
      `nodes.ashlar.io "${name}" is running: move what it holds away (ashlar drain ${name}), stop ashlar there, and delete it when it is silent`,
      { name, group: GROUP, kind: 'nodes' },
    );
  },
  columns: [
    column('Status', 'Ready, NotReady or Unknown; cordoned nodes say so.', shownNode),
    column('Pools', 'Pools it runs.', (node) => node.status?.pools ?? 0, { type: 'integer' }),
    column('Replicas', 'Replicas it holds.', (node) => node.status?.replicas ?? 0, {
      type: 'integer',
    }),
    column('Coordinators', 'Volumes it serves.', (node) => node.status?.coordinators ?? 0, {
      type: 'integer',
    }),
    column('Version', 'Of ashlar.', (node) => node.status?.version, { wide: true }),
    column('Portals', 'Where hosts log in.', (node) => node.status?.portals?.join(','), {
      wide: true,
    }),
    age,
  ],
};

function shownNode({ spec, status }: Node): string {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const state =
    ready === undefined || ready.status === 'Unknown'
      ? 'Unknown'
      : ready.status === 'True'
        ? 'Ready'
        : 'NotReady';
  if (spec?.drain === true) return `${state},Draining`;
  return spec?.unschedulable === true ? `${state},SchedulingDisabled` : state;
}

// --- BlockDevice

export const BlockDeviceSpec = Type.Object(
  {
    nodeName: Type.String({ description: 'The node that has it.' }),
    deviceName: Type.String({ description: 'Its name on its node: blockdevice-1.' }),
    identity: Type.String({ description: 'What stays the same when the kernel renames it.' }),
    path: Type.String({ description: 'Where it is on its node.' }),
    byIdPath: Type.Optional(
      Type.String({ description: 'A path that stays when the kernel renames it.' }),
    ),
    sizeBytes: Bytes,
    logicalBlockBytes: Type.Integer({ description: 'Its logical blocks, in bytes.' }),
    model: Type.Optional(Type.String({ description: 'Its model.' })),
    serial: Type.Optional(Type.String({ description: 'Its serial number.' })),
    rotational: Type.Boolean({
      description: 'A disk that turns; false: of flash, or none that can tell.',
    }),
    sparse: Type.Boolean({ description: 'A file that stands in for a disk.' }),
    claimRef: Type.Optional(
      Type.Object(
        {
          pool: Type.String({ description: 'The name of the pool.' }),
          uid: Type.Optional(Type.String({ description: 'Its uid.' })),
        },
        { ...closed, description: 'The pool that it is kept for.' },
      ),
    ),
  },
  { ...closed, description: 'What the device is, and whose.' },
);
export type BlockDeviceSpec = Static<typeof BlockDeviceSpec>;

export const BlockDeviceStatus = Type.Object(
  {
    ...statusOnly,
    state: Type.Optional(Type.String({ description: 'Active, Inactive (gone) or Unknown.' })),
    contents: Type.Optional(Type.String({ description: 'What its bytes say it holds.' })),
    inUse: Type.Optional(Type.String({ description: 'Who uses it, when that is not ashlar.' })),
    pool: Type.Optional(
      Type.Object(
        {
          id: Type.String({ description: 'The id of the pool.' }),
          name: Type.String({ description: 'The name that it had.' }),
          devices: Type.Integer({ description: 'Of the whole pool.' }),
          exported: Type.Boolean({
            description: 'Whether it was exported, and may be imported as it is.',
          }),
        },
        { description: 'That its label names, where no pool here has it: it could be imported.' },
      ),
    ),
  },
  { description: 'How it is.' },
);
export type BlockDeviceStatus = Static<typeof BlockDeviceStatus>;

export type BlockDevice = SpecObject<BlockDeviceSpec, BlockDeviceStatus>;
export const BLOCK_DEVICE: KindDefinition<BlockDevice> = {
  ...own,
  kind: 'BlockDevice',
  plural: 'blockdevices',
  description: 'A disk of a node, or a file that stands in for one.',
  shortNames: ['abd'],
  fields: { spec: BlockDeviceSpec, status: BlockDeviceStatus },
  required: ['spec'],
  columns: [
    column('Node', 'The node it is in.', (device) => device.spec.nodeName),
    column('Path', 'Where it is.', (device) => device.spec.byIdPath ?? device.spec.path, {
      wide: true,
    }),
    column('Size', 'In bytes.', (device) => device.spec.sizeBytes, { type: 'integer' }),
    column('Model', 'As it says itself.', (device) => device.spec.model, { wide: true }),
    column('Holds', 'What is on it.', (device) => device.status?.contents, { wide: true }),
    column('Claim', 'Claimed, Unclaimed or InUse.', claimState),
    column('Pool', 'That it is kept for.', ({ spec }) => spec.claimRef?.pool),
    column('Status', 'Active or Inactive.', (device) => device.status?.state),
    age,
  ],
};

/** A claim is in the spec; who else uses it, its node has found out. */
export function claimState({ spec, status }: BlockDevice): 'Claimed' | 'Unclaimed' | 'InUse' {
  if (spec.claimRef !== undefined) return 'Claimed';
  return (status?.inUse ?? '') === '' ? 'Unclaimed' : 'InUse';
}

// --- VolumePolicy: what may be changed of a volume while it is used

const TimeoutFields = {
  holdSeconds: Type.Optional(
    Type.Integer({
      description:
        'Without a quorum commands are held so long before sessions are closed. 1 to 600.',
    }),
  ),
  ioSeconds: Type.Optional(
    Type.Integer({
      description: 'A replica that answers nothing for so long is left out. 1 to 25.',
    }),
  ),
  hedgeMilliseconds: Type.Optional(
    Type.Integer({
      description: 'A read without an answer for so long goes to another replica, too. 0: never.',
    }),
  ),
};
export const Timeouts = Type.Object(TimeoutFields, {
  ...closed,
  description: 'Of volumes with several replicas; left out: as the node is configured.',
});
export type Timeouts = Static<typeof Timeouts>;

const policyFields = {
  replicaCount: Type.Optional(Type.Integer({ description: 'Copies of the data, 1 to 5.' })),
  witness: Type.Optional(
    Type.Boolean({
      description:
        'Beside two copies a third node that keeps a vote and no blocks, so that either copy may be lost.',
    }),
  ),
  minimumReplicas: Type.Optional(
    Type.Integer({ description: 'How many must have a place before the volume is served.' }),
  ),
  replicaPlacement: Type.Optional(
    Type.Union([Type.Literal('node'), Type.Literal('pool')], {
      description: 'node: no two replicas on one node (default). pool: not in one pool.',
    }),
  ),
  writeCache: Type.Optional(
    Type.Boolean({ description: 'Off: every acknowledged write is durable (sync policy always).' }),
  ),
  limits: Type.Optional(Limits),
  syncPolicy: Type.Optional(
    Type.Union([Type.Literal('quorum'), Type.Literal('all')], {
      description:
        'When a write is acknowledged: in a quorum of the replicas, or in all that count.',
    }),
  ),
  readPolicy: Type.Optional(
    Type.Union(
      [Type.Literal('leastOutstanding'), Type.Literal('localFirst'), Type.Literal('roundRobin')],
      { description: 'Which replica in sync a read is asked of.' },
    ),
  ),
  timeouts: Type.Optional(Timeouts),
  initiators: Type.Optional(
    Type.Array(Type.String({ maxLength: 223 }), {
      maxItems: 128,
      description: 'Who may log in; none named: any.',
    }),
  ),
  chapSecret: Type.Optional(SecretRef),
  ioWorkers: Type.Optional(
    Type.Integer({
      description:
        'Threads that check large reads against their checksums in place of the event loop, in each pool that has a replica. 0 to 64; none: 0.',
    }),
  ),
  cacheSize: Type.Optional(
    described(
      Quantity,
      "Of the pool's cache for mappings, in each pool that has a replica: so much for this volume alone, no more and no less. None: what others leave. At least 256Ki.",
    ),
  ),
};

export const VolumePolicySpec = Type.Object(policyFields, {
  ...closed,
  description: 'The settings.',
});
export type VolumePolicySpec = Static<typeof VolumePolicySpec>;

export type VolumePolicy = SpecObject<VolumePolicySpec>;
export const VOLUME_POLICY: KindDefinition<VolumePolicy> = {
  ...own,
  kind: 'VolumePolicy',
  plural: 'volumepolicies',
  description: 'Settings for the volumes that name it. A volume that says otherwise itself wins.',
  shortNames: ['avp'],
  hasStatus: false,
  fields: { spec: VolumePolicySpec },
  required: ['spec'],
  columns: [
    column('Replicas', 'Copies of the data.', (policy) => policy.spec.replicaCount, {
      type: 'integer',
    }),
    column('IOPS', 'Operations per second.', (policy) => policy.spec.limits?.iops, {
      type: 'integer',
    }),
    column('Bandwidth', 'Bytes per second.', (policy) => policy.spec.limits?.bandwidth),
    age,
  ],
  validate: (policy) => checkPolicy(policy.spec, 'spec'),
};

// --- Volume

/**
 * One declaration for `ashlar serve` and `ashlar node`: what of it a program does not do, it refuses in words (foreignFields).
 */
export const VolumeSpec = Type.Object(
  {
    size: Quantity,
    blockSize: Type.Optional(
      Type.Integer({ description: 'Logical block size: 512 or 4096. Fixed at creation.' }),
    ),
    ...policyFields,
    limits: orNull(Limits),
    source: orNull(
      Type.Object(
        {
          snapshot: Type.Optional(
            Type.String({ maxLength: 253, description: 'A snapshot to begin from.' }),
          ),
          volume: Type.Optional(Type.String({ description: 'A Volume to begin as a copy of.' })),
        },
        { ...closed, description: 'What it begins as. Fixed at creation.' },
      ),
    ),
    // Of a node of the control plane.
    storagePoolClaim: Type.Optional(
      Type.String({ description: 'Replicas go into pools of this claim; none: into any pool.' }),
    ),
    casType: Type.Optional(
      Type.Union([Type.Literal('cstor'), Type.Literal('jiva')], {
        description: 'Whose volume it is to look like: cstor or jiva.',
      }),
    ),
    policy: Type.Optional(Type.String({ description: 'The VolumePolicy it follows.' })),
    claimRef: Type.Optional(
      Type.Object(
        {
          namespace: Type.String({ description: 'The namespace of the claim.' }),
          name: Type.String({ description: 'Its name.' }),
          uid: Type.String({ description: 'Its uid.' }),
        },
        { ...closed, description: 'The claim that it was made for.' },
      ),
    ),
    rollback: Type.Optional(
      Type.Object(
        {
          to: Type.String({ maxLength: 253, description: 'The name of its Snapshot.' }),
          request: Type.String({ maxLength: 64, description: 'Another word for each time.' }),
          force: Type.Optional(Type.Boolean({ description: 'Also while hosts are logged in.' })),
        },
        {
          ...closed,
          description: 'Become what a snapshot holds, once. Written by volumes/NAME/rollback.',
        },
      ),
    ),
    // Of one machine by itself.
    pool: Type.Optional(
      Type.String({
        maxLength: 63,
        description: "The pool that its blocks are in; none: the daemon's own. Fixed at creation.",
      }),
    ),
    chap: orNull(ChapSpec),
    mutualChap: orNull(ChapSpec),
    snapshots: orNull(SnapshotSchedule),
    replicaNodes: Type.Optional(
      Type.Array(Type.String({ maxLength: 300 }), {
        maxItems: 5,
        description:
          'host:port of the replica services (ashlar replica) that keep a copy each: 1, 2, 3 or 5. None: the blocks live in this pool.',
      }),
    ),
    witnessNode: orNull(
      Type.String({
        maxLength: 300,
        description:
          'host:port of a replica service that keeps a vote and no blocks, so that one of two copies may be lost. Fixed at creation.',
      }),
    ),
  },
  { ...closed, description: 'What its owner wants.' },
);
/** As it is sent. */
export type VolumeManifestSpec = Static<typeof VolumeSpec>;
/** As it is kept. */
export type VolumeSpec = WithoutNull<VolumeManifestSpec>;

export const VolumeStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'Pending, Ready, Deleting or Failed.' })),
    state: Type.Optional(
      Type.String({ description: 'Healthy, Degraded, Rebuilding, Offline or Init.' }),
    ),
    target: Type.Optional(
      Type.Object(
        {
          nodeName: Type.String({ description: 'The node that is to coordinate it.' }),
          epoch: Type.Integer({ description: 'Rises with each assignment.' }),
        },
        { description: 'Who is to coordinate it.' },
      ),
    ),
    serving: Type.Optional(
      Type.Object(
        {
          nodeName: Type.String({ description: 'The node that coordinates it.' }),
          epoch: Type.Integer({ description: 'Of the assignment that it follows.' }),
          portal: Type.String({ description: 'Where hosts log in.' }),
        },
        { description: 'Who coordinates it.' },
      ),
    ),
    mode: Type.Optional(
      Type.String({
        description:
          'single: one replica, read and written where it is; replicated: over the wire. Decided once.',
      }),
    ),
    members: Type.Optional(
      Type.Array(
        Type.Object({
          id: Type.String({ description: 'The id of the replica.' }),
          replica: Type.String({ description: 'The name of its object.' }),
        }),
        {
          description: 'The replicas that its coordinator works with.',
        },
      ),
    ),
    made: Type.Optional(
      Type.Boolean({ description: 'Its first record is in all of its members.' }),
    ),
    rollback: Type.Optional(
      Type.Object(
        {
          request: Type.String({ description: 'The word for the request.' }),
          phase: Type.String({ description: 'Running, Done or Refused.' }),
          message: Type.String({ description: 'Why it was refused.' }),
        },
        { description: 'What became of spec.rollback.' },
      ),
    ),
    iqn: Type.Optional(Type.String({ description: 'The name of its target.' })),
    lun: Type.Optional(Type.Integer({ description: 'Its unit at the target: 0.' })),
    portals: Type.Optional(
      Type.Array(Type.String(), {
        description: 'Where hosts log in: of all nodes, the one that serves it first.',
      }),
    ),
    capacityBytes: Type.Optional(Bytes),
    usedBytes: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: 'Mapped blocks; what the volume takes of its pool.',
      }),
    ),
    pool: Type.Optional(
      Type.String({ description: 'Where its blocks are, of one machine by itself.' }),
    ),
    cacheBytes: Type.Optional(
      Type.Integer({
        description:
          "Its own part of its pool's cache, of one machine by itself: less than cacheSize where parts exceed half of it.",
      }),
    ),
    ioWorkers: Type.Optional(
      Type.Integer({
        description: 'Threads that check its large reads, of one machine by itself.',
      }),
    ),
    cachedBytes: Type.Optional(
      Type.Integer({ description: 'Of that, what mappings take in memory now.' }),
    ),
    blockSize: Type.Optional(Type.Integer({ description: 'Of its logical blocks, in bytes.' })),
    writeCache: Type.Optional(Type.Boolean({ description: 'Whether its write cache is on.' })),
    epoch: Type.Optional(Type.Integer({ description: "Of a replicated volume's coordinator." })),
    advice: Type.Optional(
      Type.Array(Type.String(), { description: 'What is wrong and what to do.' }),
    ),
    replicas: Type.Optional(
      Type.Object(
        {
          wanted: Type.Integer({ description: 'Copies that are wanted.' }),
          placed: Type.Integer({ description: 'Copies that have a place.' }),
          inSync: Type.Integer({ description: 'Copies that hold all that was written.' }),
          places: Type.Optional(
            Type.Integer({
              description:
                'Of a volume in mode single that is to have more: places for further copies.',
            }),
          ),
        },
        { description: 'How many copies it has.' },
      ),
    ),
    sessions: Type.Optional(Type.Integer({ description: 'How many sessions are logged in.' })),
    initiators: Type.Optional(Type.Array(Type.String(), { description: 'Who is logged in now.' })),
  },
  { description: 'How it is.' },
);
export type VolumeStatus = Static<typeof VolumeStatus>;

export type Volume = SpecObject<VolumeSpec, VolumeStatus>;
/** What every program that has volumes declares of them. */
export const VOLUME_DECLARATION = {
  ...own,
  kind: 'Volume',
  plural: 'volumes',
  description: 'A disk that hosts log in to over iSCSI: thin, checksummed, growing online.',
  shortNames: ['vol', 'avol'],
  categories: ['all', 'ashlar'],
  fields: { spec: VolumeSpec, status: VolumeStatus },
  required: ['spec'],
  columns: [
    column('Size', 'As it was asked for.', (volume: Volume) => String(volume.spec.size)),
    column('Used', 'What it takes of its pool.', (volume: Volume) =>
      volume.status?.usedBytes === undefined ? '' : formatBytes(volume.status.usedBytes),
    ),
    column('State', 'Healthy, Degraded, Rebuilding, Offline.', (volume: Volume) =>
      volume.status?.phase === 'Ready' ? volume.status?.state : volume.status?.phase,
    ),
    column('Replicas', 'In sync / wanted.', (volume: Volume) =>
      volume.status?.replicas === undefined
        ? ''
        : `${volume.status.replicas.inSync}/${volume.status.replicas.wanted}`,
    ),
    column('Node', 'Where it is served.', (volume: Volume) => volume.status?.serving?.nodeName),
    column('Sessions', 'Hosts that are logged in.', (volume: Volume) => volume.status?.sessions, {
      type: 'integer',
    }),
    column('IQN', 'Its target name.', (volume: Volume) => volume.status?.iqn),
    age as unknown as Column<Volume>,
    column('Block', 'Logical block size.', (volume: Volume) => shownBlockSize(volume), {
      wide: true,
      type: 'integer',
    }),
    column('Cache', 'The volatile write cache.', shownCache, { wide: true }),
    column('Auth', 'How hosts prove who they are.', shownAuth, { wide: true }),
    column(
      'Portals',
      'Where hosts log in.',
      (volume: Volume) => volume.status?.portals?.join(','),
      {
        wide: true,
      },
    ),
    column('Initiators', 'Who is.', (volume: Volume) => volume.status?.initiators?.join(','), {
      wide: true,
    }),
  ],
} as const satisfies Omit<KindDefinition<Volume>, 'backend'>;

export const VOLUME: KindDefinition<Volume> = {
  ...VOLUME_DECLARATION,
  defaults: ({ spec }, before) => {
    const sent = spec as Record<string, unknown>;
    for (const [key, value] of Object.entries(sent)) if (value === null) delete sent[key];
    if (spec.blockSize !== undefined) return;
    // A copy counts as its source does, and its maker says how that is.
    const standard = spec.source === undefined ? STANDARD_BLOCK_BYTES : undefined;
    const blockSize = before === null ? standard : before.spec.blockSize;
    if (blockSize !== undefined) spec.blockSize = blockSize;
  },
  validate: async (volume, before, { client }) => [
    ...foreignFields(volume.spec, 'node'),
    ...checkVolumeSpec(volume.spec, before?.spec ?? null),
    ...(before === null ? await checkSourceBlocks(volume.spec, client) : []),
  ],
};

/** Of a new volume (docs/decisions/0002). One that says nothing was made when it was 4096. */
const STANDARD_BLOCK_BYTES = 512;

export function blockSizeOf({ blockSize }: Pick<VolumeSpec, 'blockSize'>): 512 | 4096 {
  return blockSize === 512 ? 512 : 4096;
}

/** A partition table counts in logical blocks: under others, what is copied would mean something else. */
async function checkSourceBlocks(
  spec: VolumeSpec,
  client: ObjectClient,
): Promise<readonly StatusCause[]> {
  const { source } = spec;
  if (source === undefined) return [];
  const find = async <T extends KubeObject>(kind: KindDefinition<T>, name: string) =>
    await client.get<T>(kind, null, name).catch(() => null); // Waited for, where it is to come.
  const name =
    source.volume ?? (await find(SNAPSHOT, source.snapshot ?? ''))?.spec.volumeName ?? '';
  const from = name === '' ? null : await find(VOLUME, name);
  if (from === null || blockSizeOf(from.spec) === blockSizeOf(spec)) return [];
  const theirs = blockSizeOf(from.spec);
  const message = `is ${theirs} for a copy of ${name}, which has blocks of ${theirs} bytes`;
  return [{ reason: 'FieldValueInvalid', field: 'spec.blockSize', message }];
}

function shownBlockSize({ spec, status }: Volume): number | undefined {
  return status?.blockSize ?? spec.blockSize;
}

function shownCache({ spec, status }: Volume): string {
  return (status?.writeCache ?? spec.writeCache ?? true) ? 'on' : 'off';
}

function shownAuth({ spec }: Volume): string {
  if (spec.chapSecret !== undefined) return 'CHAP';
  if ((spec.chap ?? null) === null) return '';
  return (spec.mutualChap ?? null) === null ? 'CHAP' : 'mutual CHAP';
}
