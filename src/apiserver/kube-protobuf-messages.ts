// What kube-protobuf.ts reads, message by message. Field numbers are those of the generated.proto files of Kubernetes' api and
// apimachinery; fields that are not listed are passed over: what only the server sets, and what no kind here has.

export type Scalar = 'string' | 'bytes' | 'int' | 'bool' | 'time' | 'microTime' | 'quantity';
type Type = Scalar | Message | { readonly list: Scalar | Message } | { readonly map: Scalar };
/** By field number: name and type. What is not listed is passed over, as protobuf wants it. */
export type Message = {
  readonly fields: Readonly<Record<number, readonly [name: string, type: Type]>>;
};

const OBJECT_META: Message = {
  fields: {
    1: ['name', 'string'],
    2: ['generateName', 'string'],
    3: ['namespace', 'string'],
    5: ['uid', 'string'],
    6: ['resourceVersion', 'string'],
    7: ['generation', 'int'],
    8: ['creationTimestamp', 'time'],
    9: ['deletionTimestamp', 'time'],
    10: ['deletionGracePeriodSeconds', 'int'],
    11: ['labels', { map: 'string' }],
    12: ['annotations', { map: 'string' }],
    13: [
      'ownerReferences',
      {
        list: {
          fields: {
            1: ['kind', 'string'],
            3: ['name', 'string'],
            4: ['uid', 'string'],
            5: ['apiVersion', 'string'],
            6: ['controller', 'bool'],
            7: ['blockOwnerDeletion', 'bool'],
          },
        },
      },
    ],
    14: ['finalizers', { list: 'string' }],
  },
};

const NAMESPACE: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: ['spec', { fields: { 1: ['finalizers', { list: 'string' }] } }],
    3: ['status', { fields: { 1: ['phase', 'string'] } }],
  },
};

const SECRET: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: ['data', { map: 'bytes' }],
    3: ['type', 'string'],
    4: ['stringData', { map: 'string' }],
    5: ['immutable', 'bool'],
  },
};

const LEASE: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: [
      'spec',
      {
        fields: {
          1: ['holderIdentity', 'string'],
          2: ['leaseDurationSeconds', 'int'],
          3: ['acquireTime', 'microTime'],
          4: ['renewTime', 'microTime'],
          5: ['leaseTransitions', 'int'],
        },
      },
    ],
  },
};

export const DELETE_OPTIONS: Message = {
  fields: {
    1: ['gracePeriodSeconds', 'int'],
    2: ['preconditions', { fields: { 1: ['uid', 'string'], 2: ['resourceVersion', 'string'] } }],
    3: ['orphanDependents', 'bool'],
    4: ['propagationPolicy', 'string'],
    5: ['dryRun', { list: 'string' }],
  },
};

const ATTRIBUTES: Message['fields'] = {
  1: [
    'resourceAttributes',
    {
      fields: {
        1: ['namespace', 'string'],
        2: ['verb', 'string'],
        3: ['group', 'string'],
        4: ['version', 'string'],
        5: ['resource', 'string'],
        6: ['subresource', 'string'],
        7: ['name', 'string'],
      },
    },
  ],
  2: ['nonResourceAttributes', { fields: { 1: ['path', 'string'], 2: ['verb', 'string'] } }],
};

const SELF_ACCESS_REVIEW: Message = { fields: { 2: ['spec', { fields: ATTRIBUTES }] } };

const ACCESS_REVIEW: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: [
      'spec',
      {
        fields: {
          ...ATTRIBUTES,
          3: ['user', 'string'],
          4: ['groups', { list: 'string' }],
          6: ['uid', 'string'],
        },
      },
    ],
  },
};

const RULES_REVIEW: Message = {
  fields: { 2: ['spec', { fields: { 1: ['namespace', 'string'] } }] },
};

const TOKEN_REVIEW: Message = {
  fields: {
    2: ['spec', { fields: { 1: ['token', 'string'], 2: ['audiences', { list: 'string' }] } }],
  },
};

/** It asks by being sent. */
const SELF_REVIEW: Message = { fields: {} };

const OBJECT_REFERENCE: Message = {
  fields: {
    1: ['kind', 'string'],
    2: ['namespace', 'string'],
    3: ['name', 'string'],
    4: ['uid', 'string'],
    5: ['apiVersion', 'string'],
    6: ['resourceVersion', 'string'],
    7: ['fieldPath', 'string'],
  },
};
const EVENT_SOURCE: Message = { fields: { 1: ['component', 'string'], 2: ['host', 'string'] } };
const EVENT_SERIES: Message = {
  fields: { 1: ['count', 'int'], 2: ['lastObservedTime', 'microTime'] },
};

const EVENT: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: ['involvedObject', OBJECT_REFERENCE],
    3: ['reason', 'string'],
    4: ['message', 'string'],
    5: ['source', EVENT_SOURCE],
    6: ['firstTimestamp', 'time'],
    7: ['lastTimestamp', 'time'],
    8: ['count', 'int'],
    9: ['type', 'string'],
    10: ['eventTime', 'microTime'],
    11: ['series', EVENT_SERIES],
    12: ['action', 'string'],
    13: ['related', OBJECT_REFERENCE],
    14: ['reportingComponent', 'string'],
    15: ['reportingInstance', 'string'],
  },
};

const NEWER_EVENT: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: ['eventTime', 'microTime'],
    3: ['series', EVENT_SERIES],
    4: ['reportingController', 'string'],
    5: ['reportingInstance', 'string'],
    6: ['action', 'string'],
    7: ['reason', 'string'],
    8: ['regarding', OBJECT_REFERENCE],
    9: ['related', OBJECT_REFERENCE],
    10: ['note', 'string'],
    11: ['type', 'string'],
    12: ['deprecatedSource', EVENT_SOURCE],
    13: ['deprecatedFirstTimestamp', 'time'],
    14: ['deprecatedLastTimestamp', 'time'],
    15: ['deprecatedCount', 'int'],
  },
};

const CLAIM: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: [
      'spec',
      {
        fields: {
          1: ['accessModes', { list: 'string' }],
          2: [
            'resources',
            {
              fields: { 1: ['limits', { map: 'quantity' }], 2: ['requests', { map: 'quantity' }] },
            },
          ],
          3: ['volumeName', 'string'],
          5: ['storageClassName', 'string'],
          6: ['volumeMode', 'string'],
          7: [
            'dataSource',
            { fields: { 1: ['apiGroup', 'string'], 2: ['kind', 'string'], 3: ['name', 'string'] } },
          ],
          8: [
            'dataSourceRef',
            {
              fields: {
                1: ['apiGroup', 'string'],
                2: ['kind', 'string'],
                3: ['name', 'string'],
                4: ['namespace', 'string'],
              },
            },
          ],
        },
      },
    ],
  },
};

const STORAGE_CLASS: Message = {
  fields: {
    1: ['metadata', OBJECT_META],
    2: ['provisioner', 'string'],
    3: ['parameters', { map: 'string' }],
    4: ['reclaimPolicy', 'string'],
    5: ['mountOptions', { list: 'string' }],
    6: ['allowVolumeExpansion', 'bool'],
    7: ['volumeBindingMode', 'string'],
  },
};

export const KINDS: Readonly<Record<string, Message>> = {
  'authentication.k8s.io/v1/SelfSubjectReview': SELF_REVIEW,
  'authentication.k8s.io/v1beta1/SelfSubjectReview': SELF_REVIEW,
  'authentication.k8s.io/v1alpha1/SelfSubjectReview': SELF_REVIEW,
  'authentication.k8s.io/v1/TokenReview': TOKEN_REVIEW,
  'authorization.k8s.io/v1/SelfSubjectAccessReview': SELF_ACCESS_REVIEW,
  'authorization.k8s.io/v1/SubjectAccessReview': ACCESS_REVIEW,
  'authorization.k8s.io/v1/LocalSubjectAccessReview': ACCESS_REVIEW,
  'authorization.k8s.io/v1/SelfSubjectRulesReview': RULES_REVIEW,
  'v1/Event': EVENT,
  'v1/Namespace': NAMESPACE,
  'v1/PersistentVolumeClaim': CLAIM,
  'v1/Secret': SECRET,
  'coordination.k8s.io/v1/Lease': LEASE,
  'events.k8s.io/v1/Event': NEWER_EVENT,
  'storage.k8s.io/v1/StorageClass': STORAGE_CLASS,
};
