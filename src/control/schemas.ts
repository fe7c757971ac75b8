// The API's objects, in the shape that Kubernetes' tools know: metadata, spec (what is wanted), status (what is).
// These schemas check requests, make the OpenAPI document and give the TypeScript types.
import { type Static, Type } from 'typebox';
import {
  MAX_CHAP_SECRET_BYTES,
  MAX_CHAP_USER_BYTES,
  MAX_INITIATORS,
  MAX_IQN_BYTES,
  MAX_LABELS,
  MAX_NAME_CHARACTERS,
} from './limits.ts';
import { LimitsSpec } from './volume-limits.ts';

export const GROUP = 'ashlar.io';
export const GROUP_VERSION = 'ashlar.io/v1';

const closed = { additionalProperties: false } as const;
const stringMap = Type.Record(Type.String(), Type.String(), { maxProperties: MAX_LABELS });

export const ObjectMeta = Type.Object(
  {
    name: Type.Optional(Type.String({ maxLength: 253 })),
    uid: Type.Optional(Type.String()),
    resourceVersion: Type.Optional(Type.String()),
    generation: Type.Optional(Type.Integer()),
    creationTimestamp: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    deletionTimestamp: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    deletionGracePeriodSeconds: Type.Optional(Type.Integer()),
    labels: Type.Optional(stringMap),
    annotations: Type.Optional(stringMap),
    finalizers: Type.Optional(Type.Array(Type.String({ maxLength: 253 }), { maxItems: 16 })),
    // Sent by tools, of no meaning here: there is one namespace, and no field has a manager.
    namespace: Type.Optional(Type.String()),
    generateName: Type.Optional(Type.String()),
    selfLink: Type.Optional(Type.String()),
    ownerReferences: Type.Optional(Type.Array(Type.Unknown(), { maxItems: 16 })),
    managedFields: Type.Optional(Type.Array(Type.Unknown())),
  },
  closed,
);

/** As answers carry it. */
export interface Metadata {
  name: string;
  uid: string;
  resourceVersion: string;
  generation: number;
  creationTimestamp: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
}

export const ChapSpec = Type.Object(
  {
    user: Type.String({ maxLength: MAX_CHAP_USER_BYTES, description: 'CHAP_N of the initiator' }),
    secret: Type.Optional(
      Type.String({
        maxLength: MAX_CHAP_SECRET_BYTES,
        writeOnly: true,
        description: '12 to 255 bytes. Never returned. Left out of an update, it stays as it was.',
      }),
    ),
  },
  closed,
);

export const VolumeSpec = Type.Object(
  {
    size: Type.Union([Type.String(), Type.Integer()], {
      description: 'A quantity of bytes: 5Gi. Grows online, never shrinks.',
    }),
    blockSize: Type.Optional(
      Type.Integer({ description: 'Logical block size: 512 or 4096. Fixed at creation.' }),
    ),
    writeCache: Type.Optional(
      Type.Boolean({
        description: 'The volatile write cache (WCE). Off: every acknowledged write is durable.',
      }),
    ),
    initiators: Type.Optional(
      Type.Array(Type.String({ maxLength: MAX_IQN_BYTES }), {
        maxItems: MAX_INITIATORS,
        description: 'Initiator names that may log in. Empty or left out: any.',
      }),
    ),
    chap: Type.Optional(Type.Union([ChapSpec, Type.Null()])),
    mutualChap: Type.Optional(Type.Union([ChapSpec, Type.Null()])),
    limits: Type.Optional(Type.Union([LimitsSpec, Type.Null()])),
  },
  closed,
);
export type VolumeSpec = Static<typeof VolumeSpec>;

export const Condition = Type.Object({
  type: Type.String(),
  status: Type.Union([Type.Literal('True'), Type.Literal('False'), Type.Literal('Unknown')]),
  reason: Type.String(),
  message: Type.String(),
  lastTransitionTime: Type.String(),
});
export type Condition = Static<typeof Condition>;

export const VolumePhase = Type.Union([
  Type.Literal('Pending'),
  Type.Literal('Ready'),
  Type.Literal('Deleting'),
  Type.Literal('Failed'),
]);
export const VolumeState = Type.Union([
  Type.Literal('Healthy'),
  Type.Literal('Offline'),
  Type.Literal('Faulted'),
]);

export const VolumeStatus = Type.Object({
  phase: VolumePhase,
  state: VolumeState,
  observedGeneration: Type.Integer(),
  iqn: Type.String(),
  lun: Type.Integer(),
  portals: Type.Array(Type.String()),
  pool: Type.String(),
  capacityBytes: Type.Integer(),
  usedBytes: Type.Integer({ description: 'Mapped blocks; what the volume takes of its pool.' }),
  blockSize: Type.Integer(),
  writeCache: Type.Boolean(),
  sessions: Type.Integer(),
  initiators: Type.Array(Type.String(), { description: 'Who is logged in now.' }),
  conditions: Type.Array(Condition),
});
export type VolumeStatus = Static<typeof VolumeStatus>;

/** What a client may send. `status` is accepted, as tools send back what they read, and ignored. */
export const VolumeManifest = Type.Object(
  {
    apiVersion: Type.Optional(Type.Literal(GROUP_VERSION)),
    kind: Type.Optional(Type.Literal('Volume')),
    metadata: ObjectMeta,
    spec: VolumeSpec,
    status: Type.Optional(Type.Unknown()),
  },
  { ...closed, $id: 'io.ashlar.v1.VolumeManifest' },
);
export type VolumeManifest = Static<typeof VolumeManifest>;

export interface VolumeObject {
  apiVersion: typeof GROUP_VERSION;
  kind: 'Volume';
  metadata: Metadata;
  spec: VolumeSpec;
  status: VolumeStatus;
}

export const SessionStatus = Type.Object({
  type: Type.String(),
  volume: Type.Union([Type.String(), Type.Null()]),
  target: Type.String(),
  initiator: Type.String(),
  isid: Type.String(),
  tsih: Type.Integer(),
  peer: Type.String(),
  portal: Type.String(),
  headerDigest: Type.String(),
  dataDigest: Type.String(),
  authenticatedAs: Type.Union([Type.String(), Type.Null()]),
  commands: Type.Integer(),
  readBytes: Type.Integer(),
  writtenBytes: Type.Integer(),
  outstanding: Type.Integer(),
});
export type SessionStatus = Static<typeof SessionStatus>;

export interface SessionObject {
  apiVersion: typeof GROUP_VERSION;
  kind: 'Session';
  metadata: Metadata;
  spec: Record<string, never>;
  status: SessionStatus;
}

export const PoolSpec = Type.Object({
  path: Type.String(),
  cacheBytes: Type.Integer(),
  sparse: Type.Boolean(),
});
export type PoolSpec = Static<typeof PoolSpec>;

export const PoolStatus = Type.Object({
  phase: Type.Union([Type.Literal('Online'), Type.Literal('Faulted'), Type.Literal('Closed')]),
  sizeBytes: Type.Integer(),
  usableBytes: Type.Integer(),
  allocatedBytes: Type.Integer(),
  freeBytes: Type.Integer(),
  dataBytes: Type.Integer(),
  metadataBytes: Type.Integer(),
  pendingFreeBytes: Type.Integer(),
  provisionedBytes: Type.Integer({ description: 'What all volumes promise together.' }),
  volumes: Type.Integer(),
  checksumErrors: Type.Integer(),
  ioErrors: Type.Integer(),
  logDamaged: Type.Boolean(),
  conditions: Type.Array(Condition),
});
export type PoolStatus = Static<typeof PoolStatus>;

export interface PoolObject {
  apiVersion: typeof GROUP_VERSION;
  kind: 'Pool';
  metadata: Metadata;
  spec: PoolSpec;
  status: PoolStatus;
}

const AnsweredMetadata = Type.Object({
  name: Type.String(),
  uid: Type.String(),
  resourceVersion: Type.String(),
  generation: Type.Integer(),
  creationTimestamp: Type.String(),
  deletionTimestamp: Type.Optional(Type.String()),
  labels: Type.Optional(stringMap),
  annotations: Type.Optional(stringMap),
  finalizers: Type.Optional(Type.Array(Type.String())),
});

function answered<S extends Type.TSchema, T extends Type.TSchema>(
  kind: string,
  spec: S,
  status: T,
) {
  return Type.Object(
    {
      apiVersion: Type.Literal(GROUP_VERSION),
      kind: Type.Literal(kind),
      metadata: AnsweredMetadata,
      spec,
      status,
    },
    { $id: `io.ashlar.v1.${kind}` },
  );
}

function listOf(kind: string) {
  return Type.Object(
    {
      apiVersion: Type.Literal(GROUP_VERSION),
      kind: Type.Literal(`${kind}List`),
      metadata: Type.Object({ resourceVersion: Type.String() }),
      items: Type.Array(Type.Ref(`io.ashlar.v1.${kind}`)),
    },
    { $id: `io.ashlar.v1.${kind}List` },
  );
}

export const StatusSchema = Type.Object(
  {
    apiVersion: Type.Literal('v1'),
    kind: Type.Literal('Status'),
    metadata: Type.Object({}),
    status: Type.String(),
    message: Type.String(),
    reason: Type.Optional(Type.String()),
    details: Type.Optional(
      Type.Object({
        name: Type.Optional(Type.String()),
        group: Type.Optional(Type.String()),
        kind: Type.Optional(Type.String()),
        uid: Type.Optional(Type.String()),
        causes: Type.Optional(
          Type.Array(
            Type.Object({ reason: Type.String(), message: Type.String(), field: Type.String() }),
          ),
        ),
      }),
    ),
    code: Type.Integer(),
  },
  { $id: 'io.k8s.v1.Status' },
);

/** Registered with the server by their $id, for the OpenAPI document. */
export const SCHEMAS = [
  VolumeManifest,
  answered('Volume', VolumeSpec, VolumeStatus),
  answered('Session', Type.Object({}), SessionStatus),
  answered('Pool', PoolSpec, PoolStatus),
  listOf('Volume'),
  listOf('Session'),
  listOf('Pool'),
  StatusSchema,
];

export const VOLUME_NAME = new RegExp(
  `^[a-z0-9]([-a-z0-9]{0,${MAX_NAME_CHARACTERS - 2}}[a-z0-9])?$`,
);
