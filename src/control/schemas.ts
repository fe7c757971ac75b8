// The API's objects, in the shape that Kubernetes' tools know: metadata, spec (what is wanted), status (what is).
// These schemas check requests, make the OpenAPI document and give the TypeScript types.
import { type Static, Type } from 'typebox';
import type { Condition, KubeObject, ObjectMeta } from '../apiserver/index.ts';
import type {
  PoolStatus as DeclaredPoolStatus,
  VolumeStatus as DeclaredStatus,
  PoolSpec,
  VolumeManifestSpec,
} from '../kinds/index.ts';
import { MAX_NAME_CHARACTERS } from './limits.ts';

export type { Condition, PoolSpec };
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

/** What one machine by itself always says of the common status. */
export type PoolStatus = Required<
  Omit<
    DeclaredPoolStatus,
    'replicaAddress' | 'mayProvisionBytes' | 'strayVolumes' | 'operation' | 'observedGeneration'
  >
>;

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
