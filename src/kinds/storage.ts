// Kubernetes' kinds for storage: StorageClass, PersistentVolumeClaim, PersistentVolume, as a claim's user writes and
// reads them. Only fields that have a meaning for a volume of ours are known; the others are told of as unknown.
import { type Static, Type } from 'typebox';
import type { KindDefinition, KubeObject, SpecObject, StatusCause } from '../apiserver/index.ts';
import { formatQuantity } from '../base/index.ts';
import { CAS_CONFIG, CAS_TYPE, parseCasConfig } from './cas-config.ts';
import {
  age,
  closed,
  column,
  described,
  ObjectReference,
  Quantity,
  StringMap,
  statusOnly,
} from './common.ts';
import { EXTERNAL_SNAPSHOT_GROUP, SNAPSHOT_GROUP } from './snapshots.ts';
import { quantityBytes } from './volume-check.ts';

/** The provisioners whose claims are ours. */
export const PROVISIONER = 'openebs.io/provisioner-iscsi';
export const SNAPSHOT_PROMOTER = 'volumesnapshot.external-storage.k8s.io/snapshot-promoter';
export const DEFAULT_CLASS = 'storageclass.kubernetes.io/is-default-class';
export const BETA_DEFAULT_CLASS = 'storageclass.beta.kubernetes.io/is-default-class';

// --- StorageClass

export interface StorageClass extends KubeObject {
  provisioner: string;
  parameters?: Record<string, string>;
  reclaimPolicy?: 'Delete' | 'Retain';
  volumeBindingMode?: 'Immediate' | 'WaitForFirstConsumer';
  allowVolumeExpansion?: boolean;
  mountOptions?: string[];
}

export const STORAGE_CLASS: KindDefinition<StorageClass> = {
  group: 'storage.k8s.io',
  version: 'v1',
  alsoVersions: ['v1beta1'],
  kind: 'StorageClass',
  plural: 'storageclasses',
  shortNames: ['sc'],
  namespaced: false,
  description: 'What volumes of a class are like. Claims name it.',
  fields: {
    provisioner: Type.String({
      minLength: 1,
      maxLength: 253,
      description: 'Who makes its volumes: openebs.io/provisioner-iscsi. Fixed at creation.',
    }),
    parameters: described(
      StringMap,
      'Settings of other provisioners; ours reads the annotation cas.openebs.io/config.',
    ),
    reclaimPolicy: Type.Union([Type.Literal('Delete'), Type.Literal('Retain')], {
      description:
        'What becomes of a volume whose claim is deleted: Delete or Retain. Fixed at creation.',
    }),
    volumeBindingMode: Type.Union(
      [Type.Literal('Immediate'), Type.Literal('WaitForFirstConsumer')],
      {
        description:
          'When a volume is made: Immediate, or WaitForFirstConsumer. Fixed at creation.',
      },
    ),
    allowVolumeExpansion: Type.Boolean({
      description: 'Whether claims may ask for more later: true, unless the class says otherwise.',
    }),
    mountOptions: Type.Array(Type.String(), {
      maxItems: 32,
      description: 'Options that hosts mount file systems with.',
    }),
    allowedTopologies: Type.Array(Type.Unknown(), {
      maxItems: 64,
      description: 'Of no meaning here: ReplicaPlacement and cordons say where replicas go.',
    }),
  },
  required: ['provisioner'],
  columns: [
    column('Provisioner', 'Who makes its volumes.', (storageClass) => storageClass.provisioner),
    column(
      'ReclaimPolicy',
      'What becomes of a volume whose claim is deleted.',
      (storageClass) => storageClass.reclaimPolicy,
    ),
    column(
      'VolumeBindingMode',
      'When a volume is made.',
      (storageClass) => storageClass.volumeBindingMode,
    ),
    column(
      'AllowVolumeExpansion',
      'Whether claims may grow.',
      (storageClass) => storageClass.allowVolumeExpansion ?? false,
      { type: 'boolean' },
    ),
    age,
  ],
  defaults: (storageClass) => {
    storageClass.reclaimPolicy ??= 'Delete';
    storageClass.volumeBindingMode ??= 'Immediate';
    // Every volume of ours grows online: a class says no where it must not.
    if (storageClass.provisioner === PROVISIONER) storageClass.allowVolumeExpansion ??= true;
  },
  validate: (storageClass, before) => {
    const annotations = storageClass.metadata.annotations ?? {};
    const causes: StatusCause[] = [...parseCasConfig(annotations[CAS_CONFIG]).causes];
    const casType = annotations[CAS_TYPE];
    if (casType !== undefined && casType !== 'cstor' && casType !== 'jiva') {
      causes.push({
        reason: 'FieldValueNotSupported',
        field: `metadata.annotations[${CAS_TYPE}]`,
        message: `'${casType}' is neither cstor nor jiva`,
      });
    }
    if (before !== null) {
      for (const field of ['provisioner', 'reclaimPolicy', 'volumeBindingMode'] as const) {
        if (storageClass[field] !== before[field]) {
          causes.push({ reason: 'FieldValueForbidden', field, message: 'is fixed at creation' });
        }
      }
    }
    return causes;
  },
  warnings: ({ metadata, provisioner }) => [
    ...parseCasConfig(metadata.annotations?.[CAS_CONFIG]).warnings,
    ...(provisioner === PROVISIONER || provisioner === SNAPSHOT_PROMOTER
      ? []
      : [
          `provisioner: nobody here is '${provisioner}', and claims of this class stay Pending; ours is ${PROVISIONER}`,
        ]),
  ],
};

// --- PersistentVolumeClaim

const accessModes = Type.Array(
  Type.Union([
    Type.Literal('ReadWriteOnce'),
    Type.Literal('ReadOnlyMany'),
    Type.Literal('ReadWriteMany'),
    Type.Literal('ReadWriteOncePod'),
  ]),
  {
    minItems: 1,
    maxItems: 4,
    description:
      'How hosts may use it: ReadWriteOnce is what a disk without a cluster file system is for.',
  },
);
const dataSource = Type.Object(
  {
    apiGroup: Type.Optional(
      Type.String({
        maxLength: 253,
        description: 'The group of its kind; none for a PersistentVolumeClaim.',
      }),
    ),
    kind: Type.String({ maxLength: 63, description: 'PersistentVolumeClaim or VolumeSnapshot.' }),
    name: Type.String({
      minLength: 1,
      maxLength: 253,
      description: 'The name of the object, in the same namespace.',
    }),
  },
  {
    ...closed,
    description:
      'What it begins as: a PersistentVolumeClaim, or a VolumeSnapshot. Fixed at creation.',
  },
);

export const ClaimSpec = Type.Object(
  {
    accessModes,
    resources: Type.Object(
      {
        requests: Type.Object(
          { storage: Quantity },
          {
            ...closed,
            description:
              'The least that it is to have. Asked for more later, the volume grows online.',
          },
        ),
        limits: Type.Optional(
          Type.Object(
            { storage: Type.Optional(Quantity) },
            { ...closed, description: 'Of no meaning here: it has what it requests.' },
          ),
        ),
      },
      { ...closed, description: 'How much is asked for.' },
    ),
    storageClassName: Type.Optional(
      Type.String({ maxLength: 253, description: 'Its class; none: the default class.' }),
    ),
    volumeName: Type.Optional(
      Type.String({ maxLength: 253, description: 'The volume that it is bound to.' }),
    ),
    volumeMode: Type.Optional(
      Type.Union([Type.Literal('Filesystem'), Type.Literal('Block')], {
        description: 'Filesystem or Block: what hosts put on it. Fixed at creation.',
      }),
    ),
    selector: Type.Optional(
      Type.Unknown({ description: 'Of no meaning for volumes that are made for a claim.' }),
    ),
    dataSource: Type.Optional(dataSource),
    dataSourceRef: Type.Optional(dataSource),
  },
  { ...closed, description: 'What is asked for.' },
);
export type ClaimSpec = Static<typeof ClaimSpec>;

export const ClaimStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(
      Type.String({ description: 'Pending, Bound or Lost; its conditions say why.' }),
    ),
    accessModes: Type.Optional(
      Type.Array(Type.String(), { description: 'As its volume may be used.' }),
    ),
    capacity: Type.Optional(
      Type.Object({ storage: Quantity }, { description: 'The size of its volume.' }),
    ),
  },
  { description: 'What it has.' },
);
export type Claim = SpecObject<ClaimSpec, Static<typeof ClaimStatus>>;

const SHORT_MODES: Readonly<Record<string, string>> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
};
const shortModes = (modes: readonly string[] | undefined): string =>
  (modes ?? []).map((mode) => SHORT_MODES[mode] ?? mode).join(',');

export const CLAIM: KindDefinition<Claim> = {
  group: '',
  version: 'v1',
  kind: 'PersistentVolumeClaim',
  plural: 'persistentvolumeclaims',
  shortNames: ['pvc'],
  namespaced: true,
  hasStatus: true,
  description: 'Asks for a volume of a class.',
  fields: { spec: ClaimSpec, status: ClaimStatus },
  required: ['spec'],
  columns: [
    column('Status', 'Pending, Bound or Lost.', ({ metadata, status }) =>
      metadata.deletionTimestamp !== undefined ? 'Terminating' : (status?.phase ?? 'Pending'),
    ),
    column('Volume', 'What it is bound to.', ({ spec }) => spec.volumeName ?? ''),
    column('Capacity', 'Of its volume.', ({ status }) => String(status?.capacity?.storage ?? '')),
    column('Access Modes', 'Of its volume.', ({ status }) => shortModes(status?.accessModes)),
    column('StorageClass', 'Its class.', ({ spec }) => spec.storageClassName ?? ''),
    age,
    column('VolumeMode', 'Filesystem or Block.', ({ spec }) => spec.volumeMode, { wide: true }),
  ],
  defaults: (claim) => {
    claim.spec.volumeMode ??= 'Filesystem';
  },
  validate: (claim, before) => checkClaim(claim, before),
};

const SNAPSHOT_SOURCES: readonly string[] = [EXTERNAL_SNAPSHOT_GROUP, SNAPSHOT_GROUP];

/** Whether a claim's content can come from such an object. */
function isSource({ kind, apiGroup = '' }: { kind: string; apiGroup?: string }): boolean {
  if (kind === 'PersistentVolumeClaim') return apiGroup === '';
  return kind === 'VolumeSnapshot' && SNAPSHOT_SOURCES.includes(apiGroup);
}

function checkClaim({ spec }: Claim, before: Claim | null): StatusCause[] {
  const causes: StatusCause[] = [];
  const bad = (field: string, message: string, forbidden = false): void => {
    causes.push({
      reason: forbidden ? 'FieldValueForbidden' : 'FieldValueInvalid',
      field,
      message,
    });
  };
  const field = 'spec.resources.requests.storage';
  const { storage } = spec.resources.requests;
  const bytes = quantityBytes(storage);
  if (bytes === null) bad(field, `'${storage}' is not a quantity; write it like 5Gi`);
  else if (bytes < 1024 * 1024) bad(field, `${storage} is too small; the least is 1Mi`);
  else if (bytes > 4 * 2 ** 50) bad(field, `${storage} is too large; the most is 4Pi`);
  for (const name of ['dataSource', 'dataSourceRef'] as const) {
    const source = spec[name];
    if (source === undefined || before !== null || isSource(source)) continue;
    bad(
      `spec.${name}`,
      `'${source.kind}'${source.apiGroup ? ` of ${source.apiGroup}` : ''} is no source; use a PersistentVolumeClaim, or a VolumeSnapshot of ${SNAPSHOT_SOURCES.join(' or ')}`,
    );
  }
  if (before === null) return causes;
  const least = Math.max(
    quantityBytes(before.spec.resources.requests.storage) ?? 0,
    quantityBytes(before.status?.capacity?.storage) ?? 0,
  );
  if (bytes !== null && bytes < least) {
    bad(
      field,
      `${storage} is less than it has (${formatQuantity(least)}); a claim only grows`,
      true,
    );
  }
  const fixed = ['accessModes', 'volumeMode', 'dataSource', 'dataSourceRef', 'selector'] as const;
  for (const name of fixed) {
    if (JSON.stringify(spec[name] ?? null) !== JSON.stringify(before.spec[name] ?? null)) {
      bad(`spec.${name}`, 'is fixed at creation', true);
    }
  }
  // Given once, by the user or by a controller.
  for (const name of ['storageClassName', 'volumeName'] as const) {
    const had = before.spec[name] ?? '';
    if (had !== '' && spec[name] !== had) bad(`spec.${name}`, `is fixed (${had})`, true);
  }
  return causes;
}

// --- PersistentVolume

export const PersistentVolumeSpec = Type.Object(
  {
    capacity: Type.Object({ storage: Quantity }, { ...closed, description: 'Its size.' }),
    accessModes,
    persistentVolumeReclaimPolicy: Type.Optional(
      Type.Union([Type.Literal('Delete'), Type.Literal('Retain')], {
        description: 'What becomes of it without its claim: Delete or Retain.',
      }),
    ),
    storageClassName: Type.Optional(Type.String({ description: 'The class that it was made of.' })),
    volumeMode: Type.Optional(
      Type.String({ description: 'Filesystem or Block: what hosts put on it.' }),
    ),
    mountOptions: Type.Optional(
      Type.Array(Type.String(), { description: 'Options that hosts mount its file system with.' }),
    ),
    claimRef: Type.Optional(described(ObjectReference, 'The claim that it is bound to.')),
    iscsi: Type.Object(
      {
        targetPortal: Type.String({
          minLength: 1,
          description: 'Where hosts log in: host:port of the node that serves it.',
        }),
        portals: Type.Optional(
          Type.Array(Type.String(), {
            description: 'Other portals of the same target: the other nodes.',
          }),
        ),
        iqn: Type.String({ minLength: 1, description: 'The name of its target.' }),
        lun: Type.Integer({ minimum: 0, maximum: 255, description: 'Its unit at the target: 0.' }),
        iscsiInterface: Type.Optional(
          Type.String({ description: 'The interface of the initiator: default.' }),
        ),
        fsType: Type.Optional(
          Type.String({ description: 'The file system that a host is to make: ext4, xfs, …' }),
        ),
        readOnly: Type.Optional(
          Type.Boolean({ description: 'Whether hosts are to mount it read-only.' }),
        ),
        chapAuthDiscovery: Type.Optional(
          Type.Boolean({ description: 'Whether discovery asks for CHAP.' }),
        ),
        chapAuthSession: Type.Optional(
          Type.Boolean({
            description: 'Whether a login asks for CHAP, with what secretRef holds.',
          }),
        ),
        secretRef: Type.Optional(
          Type.Object(
            {
              name: Type.String({ description: 'The name of the Secret.' }),
              namespace: Type.Optional(
                Type.String({ description: 'The namespace of the Secret.' }),
              ),
            },
            {
              ...closed,
              description: 'The Secret of type kubernetes.io/iscsi-chap with the account.',
            },
          ),
        ),
        initiatorName: Type.Optional(
          Type.String({
            description: 'The name of the initiator that is to log in; none: its own.',
          }),
        ),
      },
      { ...closed, description: 'How hosts log in to it.' },
    ),
    nodeAffinity: Type.Optional(
      Type.Unknown({
        description: 'Of no meaning here: every host that reaches a portal may log in.',
      }),
    ),
  },
  { ...closed, description: 'The volume, and how hosts reach it.' },
);
export type PersistentVolumeSpec = Static<typeof PersistentVolumeSpec>;
export const PersistentVolumeStatus = Type.Object(
  {
    phase: Type.Optional(Type.String({ description: 'Available, Bound, Released or Failed.' })),
    message: Type.Optional(Type.String({ description: 'Why it is so, for people.' })),
    reason: Type.Optional(Type.String({ description: 'Why it is so, in a word.' })),
  },
  { description: 'Whether a claim has it.' },
);
export type PersistentVolume = SpecObject<
  PersistentVolumeSpec,
  Static<typeof PersistentVolumeStatus>
>;

export const PERSISTENT_VOLUME: KindDefinition<PersistentVolume> = {
  group: '',
  version: 'v1',
  kind: 'PersistentVolume',
  plural: 'persistentvolumes',
  shortNames: ['pv'],
  namespaced: false,
  hasStatus: true,
  description: 'A volume as hosts reach it: its portals, its target and its secret.',
  fields: { spec: PersistentVolumeSpec, status: PersistentVolumeStatus },
  required: ['spec'],
  columns: [
    column('Capacity', 'Its size.', ({ spec }) => String(spec.capacity.storage)),
    column('Access Modes', 'How it may be used.', ({ spec }) => shortModes(spec.accessModes)),
    column(
      'Reclaim Policy',
      'What becomes of it without its claim.',
      ({ spec }) => spec.persistentVolumeReclaimPolicy,
    ),
    column('Status', 'Available, Bound, Released or Failed.', ({ metadata, status }) =>
      metadata.deletionTimestamp !== undefined ? 'Terminating' : status?.phase,
    ),
    column('Claim', 'Whose it is.', ({ spec }) =>
      spec.claimRef === undefined ? '' : `${spec.claimRef.namespace}/${spec.claimRef.name}`,
    ),
    column('StorageClass', 'Its class.', ({ spec }) => spec.storageClassName),
    column('Reason', 'Why it is as it is.', ({ status }) => status?.reason ?? ''),
    age,
    column('VolumeMode', 'Filesystem or Block.', ({ spec }) => spec.volumeMode, { wide: true }),
  ],
  defaults: (volume) => {
    volume.spec.persistentVolumeReclaimPolicy ??= 'Retain';
    volume.spec.volumeMode ??= 'Filesystem';
  },
  validate: (volume) => {
    const { storage } = volume.spec.capacity;
    if (quantityBytes(storage) !== null) return [];
    return [
      {
        reason: 'FieldValueInvalid',
        field: 'spec.capacity.storage',
        message: `'${storage}' is not a quantity; write it like 5Gi`,
      },
    ];
  },
};
