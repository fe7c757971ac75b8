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
    minPools: Type.Optional(Type.Integer({ minimum: 0 })),
    poolSpec: Type.Object(
      {
        poolType: Type.Union([Type.Literal('striped'), Type.Literal('mirrored')]),
        cacheFile: Type.Optional(Type.String({ description: 'Of no meaning here.' })),
        overProvisioning: Type.Optional(
          Type.Boolean({ description: 'false: no more is promised than there is.' }),
        ),
        thickProvisioning: Type.Optional(Type.Boolean()),
      },
      closed,
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
        closed,
      ),
    ),
    disks: Type.Optional(
      Type.Object({ diskList: Type.Array(Type.String(), { maxItems: 1000 }) }, closed),
    ),
  },
  closed,
);
export type StoragePoolClaimSpec = Static<typeof StoragePoolClaimSpec>;

export const StoragePoolClaimStatus = Type.Object({
  ...statusOnly,
  phase: Type.Optional(Type.String({ description: 'Online, Pending or Failed.' })),
  pools: Type.Optional(Type.Integer()),
  readyPools: Type.Optional(Type.Integer()),
});
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
    if (devices.length === 0 && spc.spec.maxPools === undefined) {
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

export const CStorPoolSpec = Type.Object({
  poolSpec: Type.Object({
    poolType: Type.String(),
    overProvisioning: Type.Boolean(),
  }),
  nodeName: Type.String(),
  storagePoolClaim: Type.Optional(Type.String()),
  blockDevices: Type.Array(Type.String()),
});
export const CStorPoolStatus = Type.Object({
  ...statusOnly,
  phase: Type.Optional(Type.String()),
  readOnly: Type.Optional(Type.Boolean()),
  capacity: Type.Optional(
    Type.Object({ free: Type.String(), total: Type.String(), used: Type.String() }),
  ),
});
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

export const CStorVolumeSpec = Type.Object({
  capacity: Type.String(),
  iqn: Type.String(),
  targetPortal: Type.String(),
  targetIP: Type.String(),
  targetPort: Type.String(),
  nodeBase: Type.String(),
  status: Type.Optional(Type.String()),
  replicationFactor: Type.Integer(),
  consistencyFactor: Type.Integer(),
});
export const CStorVolumeStatus = Type.Object({
  ...statusOnly,
  phase: Type.Optional(Type.String({ description: 'Healthy, Degraded, Offline or Init.' })),
  capacity: Type.Optional(Type.String()),
  replicaStatuses: Type.Optional(
    Type.Array(
      Type.Object({
        replicaId: Type.String(),
        mode: Type.String(),
        node: Type.String(),
      }),
    ),
  ),
});
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

export const CStorVolumeReplicaSpec = Type.Object({
  capacity: Type.String(),
  targetIP: Type.String(),
  replicaid: Type.String(),
});
export const CStorVolumeReplicaStatus = Type.Object({
  ...statusOnly,
  phase: Type.Optional(Type.String()),
  capacity: Type.Optional(Type.Object({ totalAllocated: Type.String(), used: Type.String() })),
});
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

export const OpenEbsBlockDeviceSpec = Type.Object({
  path: Type.String(),
  nodeAttributes: Type.Object({ nodeName: Type.String() }),
  capacity: Type.Object({ storage: Bytes, logicalSectorSize: Type.Integer() }),
  details: Type.Object({
    deviceType: Type.String(),
    model: Type.String(),
    serial: Type.String(),
    driveType: Type.String({ description: 'HDD or SSD.' }),
  }),
  devlinks: Type.Array(Type.Object({ kind: Type.String(), links: Type.Array(Type.String()) })),
  filesystem: Type.Object({ fsType: Type.String(), mountPoint: Type.String() }),
});
export const OpenEbsBlockDeviceStatus = Type.Object({
  state: Type.String({ description: 'Active, Inactive or Unknown.' }),
  claimState: Type.String({ description: 'Claimed, Unclaimed or InUse.' }),
});
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

export const JivaVolumeSpec = Type.Object({
  capacity: Type.String(),
  iqn: Type.String(),
  targetPortal: Type.String(),
  replicationFactor: Type.Integer(),
});
export const JivaVolumeStatus = Type.Object({
  ...statusOnly,
  phase: Type.Optional(Type.String()),
  status: Type.Optional(Type.String({ description: 'RW or RO.' })),
  replicaCount: Type.Optional(Type.Integer()),
});
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
