// The API's objects, in the shape that Kubernetes' tools know: metadata, spec (what is wanted), status (what is).
// These schemas check requests, make the OpenAPI document and give the TypeScript types.
import { type Static, Type } from 'typebox';
import {
  type Condition,
  ConditionsSchema,
  type KubeObject,
  type ObjectMeta,
} from '../apiserver/index.ts';
import { DeviceStatus, WalkStatusSchema } from './device-status.ts';
import {
  MAX_CHAP_SECRET_BYTES,
  MAX_CHAP_USER_BYTES,
  MAX_INITIATORS,
  MAX_IQN_BYTES,
  MAX_NAME_CHARACTERS,
} from './limits.ts';
import { SnapshotSchedule } from './snapshot-schedule.ts';
import { LimitsSpec } from './volume-limits.ts';

export type { Condition };
export const GROUP = 'ashlar.io';
export const GROUP_VERSION = 'ashlar.io/v1';

const closed = { additionalProperties: false } as const;

/** As answers carry it. */
export type Metadata = ObjectMeta & { generation: number };

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
    snapshots: Type.Optional(Type.Union([SnapshotSchedule, Type.Null()])),
    source: Type.Optional(
      Type.Union([
        Type.Object(
          { snapshot: Type.String({ maxLength: 160, description: 'A snapshot: V@NAME.' }) },
          { ...closed, description: 'What it begins as. Fixed at creation.' },
        ),
        Type.Null(),
      ]),
    ),
    replicaNodes: Type.Optional(
      Type.Array(Type.String({ maxLength: 300 }), {
        maxItems: 5,
        description:
          'host:port of the replica services (ashlar replica) that keep a copy each: 1, 2, 3 or 5. None: the blocks live in this pool.',
      }),
    ),
  },
  { ...closed, description: 'What its owner wants.' },
);
export type VolumeSpec = Static<typeof VolumeSpec>;

export const VolumePhase = Type.Union([
  Type.Literal('Pending'),
  Type.Literal('Ready'),
  Type.Literal('Deleting'),
  Type.Literal('Failed'),
]);
export const VolumeState = Type.Union([
  Type.Literal('Healthy'),
  Type.Literal('Degraded'),
  Type.Literal('Rebuilding'),
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
  conditions: ConditionsSchema,
  epoch: Type.Optional(Type.Integer({ description: "Of a replicated volume's coordinator." })),
  advice: Type.Optional(
    Type.Array(Type.String(), { description: 'What is wrong and what to do.' }),
  ),
});
export type VolumeStatus = Static<typeof VolumeStatus>;

/** What a client may send; `status` is accepted, as tools send back what they read, and ignored. */
export interface VolumeManifest {
  apiVersion?: string;
  kind?: string;
  metadata: Partial<Metadata>;
  spec: VolumeSpec;
  status?: unknown;
}

export interface VolumeObject extends KubeObject {
  apiVersion: typeof GROUP_VERSION;
  kind: 'Volume';
  metadata: Metadata;
  spec: VolumeSpec;
  status: VolumeStatus;
}

export const ReplicaSpec = Type.Object({
  volumeName: Type.String(),
  nodeName: Type.String({ description: 'host:port of the replica service.' }),
});
export const ReplicaStatus = Type.Object({
  phase: Type.String({ description: 'Healthy, Rebuilding, Degraded, Offline or Blank.' }),
  connected: Type.Boolean(),
  state: Type.String({ description: 'InSync, Joining, Stale, Witness, Blank or Unknown.' }),
  lagOps: Type.Integer(),
  lagBytes: Type.Integer(),
  rebuild: Type.Union([
    Type.Object({
      doneBytes: Type.Integer(),
      totalBytes: Type.Integer(),
      percent: Type.Integer(),
      bytesPerSecond: Type.Integer(),
      secondsLeft: Type.Union([Type.Integer(), Type.Null()]),
    }),
    Type.Null(),
  ]),
  lastFault: Type.String(),
});

export interface ReplicaObject extends KubeObject {
  apiVersion: typeof GROUP_VERSION;
  kind: 'Replica';
  metadata: Metadata;
  spec: Static<typeof ReplicaSpec>;
  status: Static<typeof ReplicaStatus>;
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

export interface SessionObject extends KubeObject {
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
  devices: Type.Array(DeviceStatus),
  scrub: WalkStatusSchema,
  resilver: WalkStatusSchema,
  conditions: ConditionsSchema,
});
export type PoolStatus = Static<typeof PoolStatus>;

export interface PoolObject extends KubeObject {
  apiVersion: typeof GROUP_VERSION;
  kind: 'Pool';
  metadata: Metadata;
  spec: PoolSpec;
  status: PoolStatus;
}

export const VOLUME_NAME = new RegExp(
  `^[a-z0-9]([-a-z0-9]{0,${MAX_NAME_CHARACTERS - 2}}[a-z0-9])?$`,
);
