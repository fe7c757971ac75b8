// The API's objects, in the shape that Kubernetes' tools know: metadata, spec (what is wanted), status (what is).
// These schemas check requests, make the OpenAPI document and give the TypeScript types.
import { type Static, Type } from 'typebox';
import {
  type Condition,
  ConditionsSchema,
  type KubeObject,
  type ObjectMeta,
} from '../apiserver/index.ts';
import type { VolumeStatus as DeclaredStatus, VolumeManifestSpec } from '../kinds/index.ts';
import { DeviceStatus, WalkStatusSchema } from './device-status.ts';
import { MAX_NAME_CHARACTERS } from './limits.ts';

export type { Condition };
export const GROUP = 'ashlar.io';
export const GROUP_VERSION = 'ashlar.io/v1';

/** As answers carry it. */
export type Metadata = ObjectMeta & { generation: number };

/** As it is sent: null says the same as leaving a field out. */
export type VolumeSpec = VolumeManifestSpec;

/** What one machine by itself always says of the common status. */
export type VolumeStatus = DeclaredStatus &
  Required<
    Pick<
      DeclaredStatus,
      | 'phase'
      | 'state'
      | 'observedGeneration'
      | 'iqn'
      | 'lun'
      | 'portals'
      | 'pool'
      | 'capacityBytes'
      | 'usedBytes'
      | 'blockSize'
      | 'writeCache'
      | 'sessions'
      | 'initiators'
      | 'conditions'
    >
  >;

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

const strict = { additionalProperties: false } as const;
const DevicePath = Type.String({ minLength: 1, maxLength: 4096 });

export const PoolSpec = Type.Object(
  {
    layout: Type.Optional(
      Type.Union([Type.Literal('stripe'), Type.Literal('mirror')], {
        description: 'mirror: of every two or three devices in their order; several are a stripe.',
      }),
    ),
    devices: Type.Optional(
      Type.Array(DevicePath, {
        maxItems: 64,
        description: 'Raw block devices, partitions or files. Use stable paths: /dev/disk/by-id.',
      }),
    ),
    sides: Type.Optional(
      Type.Integer({ minimum: 2, maximum: 3, description: 'Of each mirror. At creation only.' }),
    ),
    size: Type.Optional(
      Type.Unsafe<string | number>({
        anyOf: [
          { type: 'string', maxLength: 32 },
          { type: 'integer', minimum: 0 },
        ],
        description: 'Of files that are to be made. At creation only.',
      }),
    ),
    sparse: Type.Optional(
      Type.Boolean({ description: 'Files take space as it is written, and may find none.' }),
    ),
    force: Type.Optional(
      Type.Boolean({
        description: 'Overwrites what devices hold. Never what is in use. At creation only.',
      }),
    ),
    growthLimitPercent: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100,
        description: 'Writes that grow end when so much of it is in use. Can be changed.',
      }),
    ),
    import: Type.Optional(
      Type.Object(
        {
          pool: Type.Optional(
            Type.String({ maxLength: 64, description: 'Its name or id on its labels.' }),
          ),
          places: Type.Optional(
            Type.Array(DevicePath, {
              maxItems: 64,
              description: 'Devices and folders to look in; none: every device of the machine.',
            }),
          ),
          force: Type.Optional(
            Type.Boolean({ description: 'Also one that was not exported where it was.' }),
          ),
        },
        { ...strict, description: 'Take in a pool that there is. At creation only.' },
      ),
    ),
    path: Type.Optional(
      Type.String({ description: "Of the daemon's own: pool.path of its configuration." }),
    ),
    cacheBytes: Type.Optional(Type.Integer({ description: 'For its mappings. Configured.' })),
  },
  { ...strict, description: 'What it is made of.' },
);
export type PoolSpec = Static<typeof PoolSpec>;

export const PoolStatus = Type.Object({
  phase: Type.String({ description: 'Online, Degraded, Faulted, Offline or Closed.' }),
  layout: Type.String({ description: 'As its devices are now.' }),
  advice: Type.Array(Type.String(), { description: 'What to do next.' }),
  readOnly: Type.Boolean({
    description: 'Writes that grow are refused: overwrites, trim and deletes go on.',
  }),
  sizeBytes: Type.Integer(),
  usableBytes: Type.Integer(),
  allocatedBytes: Type.Integer(),
  freeBytes: Type.Integer({ description: 'What writes may still take.' }),
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
  rebalance: WalkStatusSchema,
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
