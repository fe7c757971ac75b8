// Snapshots of claims, in the two forms that users have: the external-storage one that cStor's documents show, and the
// one that Kubernetes has since.
import { type Static, Type } from 'typebox';
import type { KindDefinition, KubeObject, SpecObject } from '../apiserver/index.ts';
import { age, Bytes, closed, column, ObjectReference, StringMap, statusOnly } from './common.ts';

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
    snapshotDataName: Type.Optional(Type.String({ maxLength: 253 })),
  },
  closed,
);
export const ExternalSnapshotStatus = Type.Object({
  ...statusOnly,
  creationTimestamp: Type.Optional(Type.String()),
});
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

export const ExternalSnapshotDataSpec = Type.Object({
  volumeSnapshotRef: ObjectReference,
  persistentVolumeRef: ObjectReference,
  openebsVolume: Type.Object({
    snapshotId: Type.String(),
    capacity: Type.String(),
  }),
});
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
    driver: Type.String({ minLength: 1, maxLength: 253 }),
    deletionPolicy: Type.Union([Type.Literal('Delete'), Type.Literal('Retain')]),
    parameters: StringMap,
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
    volumeSnapshotClassName: Type.Optional(Type.String({ maxLength: 253 })),
    source: Type.Object(
      {
        persistentVolumeClaimName: Type.Optional(Type.String({ maxLength: 253 })),
        volumeSnapshotContentName: Type.Optional(Type.String({ maxLength: 253 })),
      },
      closed,
    ),
  },
  closed,
);
export const VolumeSnapshotStatus = Type.Object({
  ...statusOnly,
  boundVolumeSnapshotContentName: Type.Optional(Type.String()),
  creationTime: Type.Optional(Type.String()),
  readyToUse: Type.Optional(Type.Boolean()),
  restoreSize: Type.Optional(Type.String()),
  error: Type.Optional(
    Type.Object({ time: Type.Optional(Type.String()), message: Type.Optional(Type.String()) }),
  ),
});
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

export const VolumeSnapshotContentSpec = Type.Object({
  driver: Type.String(),
  deletionPolicy: Type.String(),
  volumeSnapshotRef: ObjectReference,
  source: Type.Object({
    volumeHandle: Type.Optional(Type.String()),
    snapshotHandle: Type.Optional(Type.String()),
  }),
  volumeSnapshotClassName: Type.Optional(Type.String()),
});
export const VolumeSnapshotContentStatus = Type.Object({
  snapshotHandle: Type.Optional(Type.String()),
  creationTime: Type.Optional(Type.Integer({ description: 'Nanoseconds since 1970.' })),
  restoreSize: Type.Optional(Bytes),
  readyToUse: Type.Optional(Type.Boolean()),
});
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
