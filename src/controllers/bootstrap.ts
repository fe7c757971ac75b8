// What is there from the beginning: OpenEBS' namespace and classes. Made once; who deletes or changes them has his way
// until the next start, and his changes are kept.
import { type KindDefinition, NAMESPACES, type ObjectClient } from '../apiserver/index.ts';
import {
  CAS_CONFIG,
  CAS_TYPE,
  OPENEBS_NAMESPACE,
  PROVISIONER,
  SNAPSHOT_PROMOTER,
  SNAPSHOTTER,
  STORAGE_CLASS,
  VOLUME_SNAPSHOT_CLASS,
} from '../kinds/index.ts';
import { hasReason, type NewObject } from './controller.ts';
import { JIVA_CLASS } from './names.ts';

const BUILT_IN: readonly (readonly [KindDefinition, NewObject])[] = [
  [NAMESPACES as unknown as KindDefinition, { metadata: { name: 'default' } }],
  [NAMESPACES as unknown as KindDefinition, { metadata: { name: OPENEBS_NAMESPACE } }],
  [
    STORAGE_CLASS as unknown as KindDefinition,
    {
      metadata: {
        name: JIVA_CLASS,
        annotations: {
          [CAS_TYPE]: 'jiva',
          [CAS_CONFIG]: '- name: ReplicaCount\n  value: "3"\n',
        },
      },
      provisioner: PROVISIONER,
      reclaimPolicy: 'Delete',
    },
  ],
  [
    STORAGE_CLASS as unknown as KindDefinition,
    {
      metadata: { name: 'openebs-snapshot-promoter' },
      provisioner: SNAPSHOT_PROMOTER,
      reclaimPolicy: 'Delete',
    },
  ],
  [
    VOLUME_SNAPSHOT_CLASS as unknown as KindDefinition,
    {
      metadata: {
        name: 'openebs',
        annotations: { 'snapshot.storage.kubernetes.io/is-default-class': 'true' },
      },
      driver: SNAPSHOTTER,
      deletionPolicy: 'Delete',
    },
  ],
];

export async function makeBuiltIns(client: ObjectClient): Promise<void> {
  for (const [kind, object] of BUILT_IN) {
    try {
      await client.create(kind, object);
    } catch (error) {
      if (!hasReason(error, 'AlreadyExists')) throw error;
    }
  }
}
