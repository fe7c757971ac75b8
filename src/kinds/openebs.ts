// The kinds that OpenEBS' users know, openebs.io/v1alpha1. A StoragePoolClaim is written by people and made into pools;
// the others show what there is, in the words and with the columns they know, and are kept by controllers.
import { type Static, Type } from 'typebox';
import { type KindDefinition, READ_VERBS, type SpecObject } from '../apiserver/index.ts';
import { CAS_CONFIG, parseCasConfig } from './cas-config.ts';
import { age, Bytes, closed, column, statusOnly } from './common.ts';

const GROUP = 'openebs.io';
const VERSION = 'v1alpha1';
/** Everything of OpenEBS' own lives here. */
export const OPENEBS_NAMESPACE = 'openebs';
const openebs = {
  group: GROUP,
  version: VERSION,
  hasStatus: true,
  categories: ['openebs'],
} as const;
/** Shown, not written: what they say is looked up when they are read (views.ts). */
const shown = { ...openebs, verbs: READ_VERBS } as const;
/** They cannot be written; `ours` can. */
function elsewhere(ours: string): Readonly<Record<string, string>> {
  const text = `they show what there is; write ${ours}`;
  return { create: text, update: text, patch: text, delete: text, deletecollection: text };
}

// --- StoragePoolClaim

export const StoragePoolClaimSpec = Type.Object(
  {
    name: Type.Optional(Type.String({ description: 'Of no meaning: metadata.name counts.' })),
    type: Type.Union([Type.Literal('disk'), Type.Literal('sparse')], {
      description: 'disk: devices; sparse: files that stand in for them.',
    }),
    maxPools: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1000,
        description: 'Without a list of devices: on how many nodes a pool is made.',
      }),
    ),
    minPools: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: 'Of no meaning here: each node of a device makes its pool.',
      }),
    ),
    poolSpec: Type.Object(
      {
        poolType: Type.Union([Type.Literal('striped'), Type.Literal('mirrored')], {
          description: 'striped, or mirrored: of every two devices in their order.',
        }),
        cacheFile: Type.Optional(Type.String({ description: 'Of no meaning here.' })),
        overProvisioning: Type.Optional(
          Type.Boolean({ description: 'false: no more is promised than there is.' }),
        ),
        thickProvisioning: Type.Optional(
          Type.Boolean({ description: 'true: no more is promised than there is.' }),
        ),
      },
      { ...closed, description: 'What each pool is like.' },
    ),
    blockDevices: Type.Optional(
      Type.Object(
        {
          blockDeviceList: Type.Array(Type.String({ minLength: 1, maxLength: 253 }), {
            maxItems: 1000,
            description:
              'Block devices by name. blockdevice-1 is the device of that name on every node that has one.',
          }),
        },
        { ...closed, description: 'The devices that pools are made of.' },
      ),
    ),
    disks: Type.Optional(
      Type.Object(
        {
          diskList: Type.Array(Type.String(), { maxItems: 1000, description: 'Names of devices.' }),
        },
        { ...closed, description: 'The devices in the words of older releases; see blockDevices.' },
      ),
    ),
  },
  { ...closed, description: 'The pools that are asked for.' },
);
export type StoragePoolClaimSpec = Static<typeof StoragePoolClaimSpec>;

export const StoragePoolClaimStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'Online, Pending or Failed.' })),
    pools: Type.Optional(Type.Integer({ description: 'Pools that were asked for.' })),
    readyPools: Type.Optional(Type.Integer({ description: 'Pools that serve.' })),
  },
  { description: 'How its pools are.' },
);
export type StoragePoolClaim = SpecObject<
  StoragePoolClaimSpec,
  Static<typeof StoragePoolClaimStatus>
>;

export const STORAGE_POOL_CLAIM: KindDefinition<StoragePoolClaim> = {
  ...openebs,
  kind: 'StoragePoolClaim',
  plural: 'storagepoolclaims',
  shortNames: ['spc'],
  namespaced: false,
  description: 'Asks for pools of block devices, one on each node that has some of them.',
  fields: { spec: StoragePoolClaimSpec, status: StoragePoolClaimStatus },
  required: ['spec'],
  columns: [
    age,
    column('Status', 'Online when all of its pools are.', (spc) => spc.status?.phase, {
      wide: true,
    }),
    column(
      'Pools',
      'Online / all.',
      ({ status }) => `${status?.readyPools ?? 0}/${status?.pools ?? 0}`,
      {
        wide: true,
      },
    ),
  ],
  validate: (spc, before) => {
    const { causes } = parseCasConfig(spc.metadata.annotations?.[CAS_CONFIG]);
    const found = [...causes];
    const devices = spc.spec.blockDevices?.blockDeviceList ?? [];
    devices.forEach((name, index) => {
      if (devices.indexOf(name) !== index) {
        found.push({
          reason: 'FieldValueInvalid',
          field: `spec.blockDevices.blockDeviceList[${index}]`,
          message: `'${name}' is named twice`,
        });
      }
    });
    const older = spc.spec.disks?.diskList ?? [];
    if (devices.length === 0 && older.length > 0) {
      found.push({
        reason: 'FieldValueNotSupported',
        field: 'spec.disks.diskList',
        message:
          'is of older releases: name the devices in spec.blockDevices.blockDeviceList (kubectl get blockdevice -n openebs)',
      });
    } else if (devices.length === 0 && spc.spec.maxPools === undefined) {
      found.push({
        reason: 'FieldValueRequired',
        field: 'spec.maxPools',
        message: 'is required where spec.blockDevices names no devices',
      });
    }
    if (before !== null && spc.spec.poolSpec.poolType !== before.spec.poolSpec.poolType) {
      found.push({
        reason: 'FieldValueInvalid',
        field: 'spec.poolSpec.poolType',
        message: `is fixed (${before.spec.poolSpec.poolType}): pools cannot be made over; make another claim`,
      });
    }
    return found;
  },
  warnings: (spc) => parseCasConfig(spc.metadata.annotations?.[CAS_CONFIG]).warnings,
};

// --- CStorPool

export const CStorPoolSpec = Type.Object(
  {
    poolSpec: Type.Object(
      {
        poolType: Type.String({ description: 'striped or mirrored.' }),
        overProvisioning: Type.Boolean({
          description: 'Whether more may be promised than there is.',
        }),
      },
      { description: 'What it is like.' },
    ),
    nodeName: Type.String({ description: 'The node that has its devices.' }),
    storagePoolClaim: Type.Optional(
      Type.String({ description: 'The claim that it was made for.' }),
    ),
    blockDevices: Type.Array(Type.String(), { description: 'The devices that it is made of.' }),
  },
  { description: 'What it is made of.' },
);
export const CStorPoolStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'ONLINE, DEGRADED, FAULTED, OFFLINE, …' })),
    readOnly: Type.Optional(Type.Boolean({ description: 'Writes that grow are refused.' })),
    capacity: Type.Optional(
      Type.Object(
        {
          free: Type.String({ description: 'What writes may still take.' }),
          total: Type.String({ description: 'The size of its devices.' }),
          used: Type.String({ description: 'What is in use.' }),
        },
        { description: 'How much it holds.' },
      ),
    ),
  },
  { description: 'How it is.' },
);
export type CStorPool = SpecObject<Static<typeof CStorPoolSpec>, Static<typeof CStorPoolStatus>>;

export const CSTOR_POOL: KindDefinition<CStorPool> = {
  ...shown,
  instead: elsewhere('the StoragePoolClaim (spc), or pools.ashlar.io NAME'),
  kind: 'CStorPool',
  plural: 'cstorpools',
  shortNames: ['csp'],
  namespaced: false,
  description: 'A pool of one node, as OpenEBS shows it.',
  fields: { spec: CStorPoolSpec, status: CStorPoolStatus },
  required: ['spec'],
  columns: [
    column('Allocated', 'Space in use.', ({ status }) => status?.capacity?.used),
    column('Free', 'Space that can be used.', ({ status }) => status?.capacity?.free),
    column('Capacity', 'All of its space.', ({ status }) => status?.capacity?.total),
    column('Status', 'Healthy, Degraded, Offline, Init.', ({ status }) => status?.phase),
    column('ReadOnly', 'Takes no new data.', ({ status }) => status?.readOnly ?? false, {
      type: 'boolean',
    }),
    column('Type', 'striped or mirrored.', ({ spec }) => spec.poolSpec.poolType),
    age,
    column('Node', 'Where it is.', ({ spec }) => spec.nodeName, { wide: true }),
    column('Devices', 'What it is made of.', ({ spec }) => spec.blockDevices.join(','), {
      wide: true,
    }),
  ],
};

// --- CStorVolume

export const CStorVolumeSpec = Type.Object(
  {
    capacity: Type.String({ description: 'Its size.' }),
    iqn: Type.String({ description: 'The name of its target.' }),
    targetPortal: Type.String({ description: 'Where hosts log in.' }),
    targetIP: Type.String({ description: 'The address of that.' }),
    targetPort: Type.String({ description: 'The port of that.' }),
    nodeBase: Type.String({ description: 'What the names of all targets begin with.' }),
    status: Type.Optional(Type.String({ description: 'Init, or what it was made as.' })),
    replicationFactor: Type.Integer({ description: 'Copies that are wanted.' }),
    consistencyFactor: Type.Integer({ description: 'Copies that a write needs: a majority.' }),
  },
  { description: 'How hosts reach it, and of how many copies it is.' },
);
export const CStorVolumeStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'Healthy, Degraded, Offline or Init.' })),
    capacity: Type.Optional(Type.String({ description: 'Its size now.' })),
    replicaStatuses: Type.Optional(
      Type.Array(
        Type.Object({
          replicaId: Type.String({ description: 'The id of the replica.' }),
          mode: Type.String({ description: 'Healthy, Degraded, …' }),
          node: Type.String({ description: 'The node that has it.' }),
        }),
        { description: 'How its copies are.' },
      ),
    ),
  },
  { description: 'How it is.' },
);
export type CStorVolume = SpecObject<
  Static<typeof CStorVolumeSpec>,
  Static<typeof CStorVolumeStatus>
>;

export const CSTOR_VOLUME: KindDefinition<CStorVolume> = {
  ...shown,
  instead: elsewhere('the claim (pvc), or volumes.ashlar.io NAME'),
  kind: 'CStorVolume',
  plural: 'cstorvolumes',
  shortNames: ['cvolume', 'cv'],
  namespaced: true,
  description: 'A volume with its target, as OpenEBS shows it.',
  fields: { spec: CStorVolumeSpec, status: CStorVolumeStatus },
  required: ['spec'],
  columns: [
    column('Capacity', 'Its size.', ({ status, spec }) => status?.capacity ?? spec.capacity),
    column('Status', 'Healthy, Degraded, Offline or Init.', ({ status }) => status?.phase),
    age,
    column('Target', 'Where hosts log in.', ({ spec }) => spec.targetPortal, { wide: true }),
    column('IQN', 'Its target name.', ({ spec }) => spec.iqn, { wide: true }),
  ],
};

// --- CStorVolumeReplica

export const CStorVolumeReplicaSpec = Type.Object(
  {
    capacity: Type.String({ description: 'The size of its volume.' }),
    targetIP: Type.String({ description: 'The address of the node that serves its volume.' }),
    replicaid: Type.String({ description: 'The id of the replica.' }),
  },
  { description: 'Which copy it is.' },
);
export const CStorVolumeReplicaStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'Healthy, Degraded, Rebuilding, Offline, …' })),
    capacity: Type.Optional(
      Type.Object(
        {
          totalAllocated: Type.String({ description: 'What it takes of its pool.' }),
          used: Type.String({ description: 'What hosts have written.' }),
        },
        { description: 'What it takes.' },
      ),
    ),
  },
  { description: 'How it is.' },
);
export type CStorVolumeReplica = SpecObject<
  Static<typeof CStorVolumeReplicaSpec>,
  Static<typeof CStorVolumeReplicaStatus>
>;

export const CSTOR_VOLUME_REPLICA: KindDefinition<CStorVolumeReplica> = {
  ...shown,
  instead: elsewhere('spec.replicaCount of volumes.ashlar.io NAME (ashlar scale volume)'),
  kind: 'CStorVolumeReplica',
  plural: 'cstorvolumereplicas',
  shortNames: ['cvr'],
  namespaced: true,
  description: 'One copy of a volume in one pool, as OpenEBS shows it.',
  fields: { spec: CStorVolumeReplicaSpec, status: CStorVolumeReplicaStatus },
  required: ['spec'],
  columns: [
    column(
      'Allocated',
      'Space it takes of its pool.',
      ({ status }) => status?.capacity?.totalAllocated,
    ),
    column('Used', 'Space its data fills.', ({ status }) => status?.capacity?.used),
    column(
      'Status',
      'Healthy, Degraded, Rebuilding, Offline or Init.',
      ({ status }) => status?.phase,
    ),
    age,
  ],
};

// --- BlockDevice

export const OpenEbsBlockDeviceSpec = Type.Object(
  {
    path: Type.String({ description: 'Where it is on its node.' }),
    nodeAttributes: Type.Object(
      { nodeName: Type.String({ description: 'Its node.' }) },
      { description: 'Where it is.' },
    ),
    capacity: Type.Object(
      {
        storage: Bytes,
        logicalSectorSize: Type.Integer({ description: 'Its logical blocks, in bytes.' }),
      },
      { description: 'How large it is.' },
    ),
    details: Type.Object(
      {
        deviceType: Type.String({ description: 'disk, partition or sparse.' }),
        model: Type.String({ description: 'Its model.' }),
        serial: Type.String({ description: 'Its serial number.' }),
        driveType: Type.String({ description: 'HDD or SSD.' }),
      },
      { description: 'What its kernel says of it.' },
    ),
    devlinks: Type.Array(
      Type.Object({
        kind: Type.String({ description: 'by-id.' }),
        links: Type.Array(Type.String(), { description: 'Paths.' }),
      }),
      { description: 'Its other names.' },
    ),
    filesystem: Type.Object(
      {
        fsType: Type.String({ description: 'A file system, or another use; empty: nothing.' }),
        mountPoint: Type.String({ description: 'Where it is mounted, or who uses it.' }),
      },
      { description: 'What its bytes say it holds.' },
    ),
  },
  { description: 'What the device is.' },
);
export const OpenEbsBlockDeviceStatus = Type.Object(
  {
    state: Type.String({ description: 'Active, Inactive or Unknown.' }),
    claimState: Type.String({ description: 'Claimed, Unclaimed or InUse.' }),
  },
  { description: 'Whether it is there, and whose it is.' },
);
export type OpenEbsBlockDevice = SpecObject<
  Static<typeof OpenEbsBlockDeviceSpec>,
  Static<typeof OpenEbsBlockDeviceStatus>
>;

export const OPENEBS_BLOCK_DEVICE: KindDefinition<OpenEbsBlockDevice> = {
  ...shown,
  instead: elsewhere('devices.include and devices.exclude in the configuration of their node'),
  kind: 'BlockDevice',
  plural: 'blockdevices',
  shortNames: ['bd'],
  namespaced: true,
  description: 'A disk of a node, as OpenEBS shows it.',
  fields: { spec: OpenEbsBlockDeviceSpec, status: OpenEbsBlockDeviceStatus },
  required: ['spec'],
  columns: [
    column('NodeName', 'The node it is in.', ({ spec }) => spec.nodeAttributes.nodeName),
    column('Path', 'Where it is.', ({ spec }) => spec.path, { wide: true }),
    column('FSType', 'What is on it.', ({ spec }) => spec.filesystem.fsType, { wide: true }),
    column('Size', 'In bytes.', ({ spec }) => spec.capacity.storage, { type: 'integer' }),
    column('ClaimState', 'Claimed, Unclaimed or InUse.', ({ status }) => status?.claimState),
    column('Status', 'Active, Inactive or Unknown.', ({ status }) => status?.state),
    age,
  ],
};

// --- JivaVolume

export const JivaVolumeSpec = Type.Object(
  {
    capacity: Type.String({ description: 'Its size.' }),
    iqn: Type.String({ description: 'The name of its target.' }),
    targetPortal: Type.String({ description: 'Where hosts log in.' }),
    replicationFactor: Type.Integer({ description: 'Copies that are wanted.' }),
  },
  { description: 'How hosts reach it, and of how many copies it is.' },
);
export const JivaVolumeStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'Ready, Syncing or Offline.' })),
    status: Type.Optional(Type.String({ description: 'RW or RO.' })),
    replicaCount: Type.Optional(Type.Integer({ description: 'Copies in sync.' })),
  },
  { description: 'How it is.' },
);
export type JivaVolume = SpecObject<Static<typeof JivaVolumeSpec>, Static<typeof JivaVolumeStatus>>;

export const JIVA_VOLUME: KindDefinition<JivaVolume> = {
  ...shown,
  instead: elsewhere('the claim (pvc), or volumes.ashlar.io NAME'),
  kind: 'JivaVolume',
  plural: 'jivavolumes',
  shortNames: ['jv'],
  namespaced: true,
  description: 'A volume whose replicas are in directories, as OpenEBS shows it.',
  fields: { spec: JivaVolumeSpec, status: JivaVolumeStatus },
  required: ['spec'],
  columns: [
    column('ReplicaCount', 'Copies in sync.', ({ status }) => status?.replicaCount ?? 0, {
      type: 'integer',
    }),
    column('Phase', 'Ready, Degraded, Offline or Init.', ({ status }) => status?.phase),
    column('Status', 'RW or RO.', ({ status }) => status?.status),
    age,
    column('Capacity', 'Its size.', ({ spec }) => spec.capacity, { wide: true }),
  ],
};
