// Snapshots of claims, in the two forms that users have: the external-storage one that cStor's documents show, and the
// one that Kubernetes has since.
import { type Static, Type } from 'typebox';
import type { KindDefinition, KubeObject, SpecObject } from '../apiserver/index.ts';
import {
  age,
  Bytes,
  closed,
  column,
  described,
  ObjectReference,
  StringMap,
  statusOnly,
} from './common.ts';

export const EXTERNAL_SNAPSHOT_GROUP = 'volumesnapshot.external-storage.k8s.io';
export const SNAPSHOT_GROUP = 'snapshot.storage.k8s.io';
/** The snapshotter of our classes. */
export const SNAPSHOTTER = 'openebs.io/provisioner-iscsi';

// --- volumesnapshot.external-storage.k8s.io/v1

export const ExternalSnapshotSpec = Type.Object(
  {
    persistentVolumeClaimName: Type.String({
      minLength: 1,
      maxLength: 253,
      description: 'The claim, in the same namespace.',
    }),
    snapshotDataName: Type.Optional(
      Type.String({ maxLength: 253, description: 'The VolumeSnapshotData that stands for it.' }),
    ),
  },
  { ...closed, description: 'What to take.' },
);
export const ExternalSnapshotStatus = Type.Object(
  {
    ...statusOnly,
    creationTimestamp: Type.Optional(Type.String({ description: 'When it was taken.' })),
  },
  { description: 'Whether it was taken.' },
);
export type ExternalSnapshot = SpecObject<
  Static<typeof ExternalSnapshotSpec>,
  Static<typeof ExternalSnapshotStatus>
>;

export const EXTERNAL_SNAPSHOT: KindDefinition<ExternalSnapshot> = {
  group: EXTERNAL_SNAPSHOT_GROUP,
  version: 'v1',
  kind: 'VolumeSnapshot',
  plural: 'volumesnapshots',
  namespaced: true,
  hasStatus: true,
  description: "A claim's volume as it was at one moment.",
  fields: { spec: ExternalSnapshotSpec, status: ExternalSnapshotStatus },
  required: ['spec'],
  columns: [
    column('Claim', 'Of which claim.', ({ spec }) => spec.persistentVolumeClaimName),
    column('Ready', 'It can be restored from.', readyText),
    column('Data', 'The snapshot behind it.', ({ spec }) => spec.snapshotDataName ?? ''),
    age,
  ],
  validate: (snapshot, before) =>
    before !== null &&
    snapshot.spec.persistentVolumeClaimName !== before.spec.persistentVolumeClaimName
      ? [
          {
            reason: 'FieldValueForbidden',
            field: 'spec.persistentVolumeClaimName',
            message: 'is fixed at creation',
          },
        ]
      : [],
};

function readyText({ status }: ExternalSnapshot): string {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.status === 'True' ? 'true' : 'false';
}

export const ExternalSnapshotDataSpec = Type.Object(
  {
    volumeSnapshotRef: described(ObjectReference, 'The VolumeSnapshot that it is for.'),
    persistentVolumeRef: described(ObjectReference, 'The volume that it is of.'),
    openebsVolume: Type.Object(
      {
        snapshotId: Type.String({ description: 'Its name at its volume.' }),
        capacity: Type.String({ description: 'The size of the volume then.' }),
      },
      { description: 'What it is called by who took it.' },
    ),
  },
  { description: 'The snapshot that was taken.' },
);
export type ExternalSnapshotData = SpecObject<
  Static<typeof ExternalSnapshotDataSpec>,
  Static<typeof ExternalSnapshotStatus>
>;

export const EXTERNAL_SNAPSHOT_DATA: KindDefinition<ExternalSnapshotData> = {
  group: EXTERNAL_SNAPSHOT_GROUP,
  version: 'v1',
  kind: 'VolumeSnapshotData',
  plural: 'volumesnapshotdatas',
  namespaced: false,
  hasStatus: true,
  description: 'What stands behind a VolumeSnapshot.',
  fields: { spec: ExternalSnapshotDataSpec, status: ExternalSnapshotStatus },
  required: ['spec'],
  columns: [
    column('Volume', 'Of which volume.', ({ spec }) => spec.persistentVolumeRef.name),
    column('Snapshot', 'Its name here.', ({ spec }) => spec.openebsVolume.snapshotId),
    age,
  ],
};

// --- snapshot.storage.k8s.io/v1

export interface VolumeSnapshotClass extends KubeObject {
  driver: string;
  deletionPolicy: 'Delete' | 'Retain';
  parameters?: Record<string, string>;
}

export const VOLUME_SNAPSHOT_CLASS: KindDefinition<VolumeSnapshotClass> = {
  group: SNAPSHOT_GROUP,
  version: 'v1',
  alsoVersions: ['v1beta1'],
  kind: 'VolumeSnapshotClass',
  plural: 'volumesnapshotclasses',
  namespaced: false,
  description: 'What snapshots of a class are like.',
  fields: {
    driver: Type.String({
      minLength: 1,
      maxLength: 253,
      description: 'Who takes the snapshots: openebs.io/provisioner-iscsi.',
    }),
    deletionPolicy: Type.Union([Type.Literal('Delete'), Type.Literal('Retain')], {
      description: 'What becomes of a snapshot whose VolumeSnapshot is deleted: Delete or Retain.',
    }),
    parameters: described(StringMap, 'Settings of other drivers; ours has none.'),
  },
  required: ['driver', 'deletionPolicy'],
  columns: [
    column('Driver', 'Who takes them.', (snapshotClass) => snapshotClass.driver),
    column(
      'DeletionPolicy',
      'What becomes of the content.',
      ({ deletionPolicy }) => deletionPolicy,
    ),
    age,
  ],
};

export const VolumeSnapshotSpec = Type.Object(
  {
    volumeSnapshotClassName: Type.Optional(
      Type.String({ maxLength: 253, description: 'Its class; none: the default one.' }),
    ),
    source: Type.Object(
      {
        persistentVolumeClaimName: Type.Optional(
          Type.String({
            maxLength: 253,
            description: 'A claim: a snapshot of its volume is taken now.',
          }),
        ),
        volumeSnapshotContentName: Type.Optional(
          Type.String({ maxLength: 253, description: 'A snapshot that there is.' }),
        ),
      },
      { ...closed, description: 'What it is of: one of the two.' },
    ),
  },
  { ...closed, description: 'What to take.' },
);
export const VolumeSnapshotStatus = Type.Object(
  {
    ...statusOnly,
    boundVolumeSnapshotContentName: Type.Optional(
      Type.String({ description: 'The VolumeSnapshotContent that stands for it.' }),
    ),
    creationTime: Type.Optional(Type.String({ description: 'When it was taken.' })),
    readyToUse: Type.Optional(Type.Boolean({ description: 'Whether it can be restored from.' })),
    restoreSize: Type.Optional(
      Type.String({ description: 'The least size of a claim that is restored from it.' }),
    ),
    error: Type.Optional(
      Type.Object(
        {
          time: Type.Optional(Type.String({ description: 'When it was tried last.' })),
          message: Type.Optional(Type.String({ description: 'Why.' })),
        },
        { description: 'Why it could not be taken.' },
      ),
    ),
  },
  { description: 'Whether it was taken.' },
);
export type VolumeSnapshot = SpecObject<
  Static<typeof VolumeSnapshotSpec>,
  Static<typeof VolumeSnapshotStatus>
>;

export const VOLUME_SNAPSHOT: KindDefinition<VolumeSnapshot> = {
  group: SNAPSHOT_GROUP,
  version: 'v1',
  alsoVersions: ['v1beta1'],
  kind: 'VolumeSnapshot',
  plural: 'volumesnapshots',
  shortNames: ['vs'],
  namespaced: true,
  hasStatus: true,
  description: "A claim's volume as it was at one moment.",
  fields: { spec: VolumeSnapshotSpec, status: VolumeSnapshotStatus },
  required: ['spec'],
  columns: [
    column('ReadyToUse', 'It can be restored from.', ({ status }) => status?.readyToUse ?? false, {
      type: 'boolean',
    }),
    column(
      'SourcePVC',
      'Of which claim.',
      ({ spec }) => spec.source.persistentVolumeClaimName ?? '',
    ),
    column('RestoreSize', 'Of the volume then.', ({ status }) => status?.restoreSize ?? ''),
    column('SnapshotClass', 'Its class.', ({ spec }) => spec.volumeSnapshotClassName ?? ''),
    column(
      'SnapshotContent',
      'What stands behind it.',
      ({ status }) => status?.boundVolumeSnapshotContentName ?? '',
    ),
    age,
  ],
  validate: ({ spec }, before) => {
    if ((spec.source.persistentVolumeClaimName ?? '') === '') {
      return [
        {
          reason: 'FieldValueRequired',
          field: 'spec.source.persistentVolumeClaimName',
          message: 'is required: snapshots are taken of claims',
        },
      ];
    }
    return before !== null && JSON.stringify(spec.source) !== JSON.stringify(before.spec.source)
      ? [{ reason: 'FieldValueForbidden', field: 'spec.source', message: 'is fixed at creation' }]
      : [];
  },
};

export const VolumeSnapshotContentSpec = Type.Object(
  {
    driver: Type.String({ description: 'Who took it.' }),
    deletionPolicy: Type.String({
      description: 'What becomes of it without its VolumeSnapshot: Delete or Retain.',
    }),
    volumeSnapshotRef: described(ObjectReference, 'The VolumeSnapshot that it is for.'),
    source: Type.Object(
      {
        volumeHandle: Type.Optional(Type.String({ description: 'The volume.' })),
        snapshotHandle: Type.Optional(Type.String({ description: 'The snapshot.' })),
      },
      { description: 'What it was taken of, or what it is called.' },
    ),
    volumeSnapshotClassName: Type.Optional(
      Type.String({ description: 'The class that it was taken with.' }),
    ),
  },
  { description: 'The snapshot that was taken.' },
);
export const VolumeSnapshotContentStatus = Type.Object(
  {
    snapshotHandle: Type.Optional(
      Type.String({ description: 'What it is called by who took it.' }),
    ),
    creationTime: Type.Optional(Type.Integer({ description: 'Nanoseconds since 1970.' })),
    restoreSize: Type.Optional(Bytes),
    readyToUse: Type.Optional(Type.Boolean({ description: 'Whether it can be restored from.' })),
  },
  { description: 'Whether it is there.' },
);
export type VolumeSnapshotContent = SpecObject<
  Static<typeof VolumeSnapshotContentSpec>,
  Static<typeof VolumeSnapshotContentStatus>
>;

export const VOLUME_SNAPSHOT_CONTENT: KindDefinition<VolumeSnapshotContent> = {
  group: SNAPSHOT_GROUP,
  version: 'v1',
  alsoVersions: ['v1beta1'],
  kind: 'VolumeSnapshotContent',
  plural: 'volumesnapshotcontents',
  namespaced: false,
  hasStatus: true,
  description: 'What stands behind a VolumeSnapshot.',
  fields: { spec: VolumeSnapshotContentSpec, status: VolumeSnapshotContentStatus },
  required: ['spec'],
  columns: [
    column('ReadyToUse', 'It can be restored from.', ({ status }) => status?.readyToUse ?? false, {
      type: 'boolean',
    }),
    column('RestoreSize', 'In bytes.', ({ status }) => status?.restoreSize, { type: 'integer' }),
    column('DeletionPolicy', 'What becomes of it.', ({ spec }) => spec.deletionPolicy),
    column('Driver', 'Who took it.', ({ spec }) => spec.driver),
    column('VolumeSnapshot', 'Whose it is.', ({ spec }) => spec.volumeSnapshotRef.name),
    age,
  ],
};
