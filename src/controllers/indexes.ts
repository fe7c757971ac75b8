// By what objects are found without a look at all of them.
import type { KindDefinition, KubeObject } from '../apiserver/index.ts';
import {
  CLAIM,
  type Node,
  type Pool,
  REPLICA,
  type Replica,
  SNAPSHOT,
  VOLUME,
  type Volume,
} from '../kinds/index.ts';
import type { Index } from './catalog.ts';
import { REPLICAS_MISSING } from './names.ts';
import { isLeaving } from './placement.ts';
import { mayPromiseBytes } from './promises.ts';

function index<T extends KubeObject>(
  kind: KindDefinition<T>,
  of: (object: T) => string | undefined,
): Index<T> {
  return { kind, of };
}

export const REPLICAS_OF_VOLUME = index(REPLICA, ({ spec }) => spec.volumeName);
export const REPLICAS_ON_NODE = index(REPLICA, ({ spec }) => spec.nodeName);
export const REPLICAS_IN_POOL = index(REPLICA, ({ spec }) => spec.poolName);
export const SNAPSHOTS_OF_VOLUME = index(SNAPSHOT, ({ spec }) => spec.volumeName);
/** Heads of groups that are yet to be taken, under 'yes'. */
export const PENDING_GROUPS = index(SNAPSHOT, ({ metadata, spec, status }) =>
  (spec.alsoVolumes ?? []).length > 0 &&
  status?.phase !== 'Ready' &&
  metadata.deletionTimestamp === undefined
    ? 'yes'
    : undefined,
);
/** Volumes by the node that is to serve them. */
export const VOLUMES_OF_TARGET = index(VOLUME, ({ status }) => status?.target?.nodeName);
/** By the name of their VolumePolicy. */
export const VOLUMES_OF_POLICY = index(VOLUME, ({ spec }) => spec.policy);
export const VOLUMES_OF_POOL_CLAIM = index(VOLUME, ({ spec }) => spec.storagePoolClaim);
/** Those that begin from another volume or a snapshot, under 'yes'. */
export const VOLUMES_WITH_SOURCE = index(VOLUME, ({ spec }) =>
  spec.source === undefined ? undefined : 'yes',
);
/** Those that a new node may help, under 'yes'. */
export const UNSETTLED_VOLUMES = index(VOLUME, ({ status }) =>
  status?.state !== 'Healthy' || status.target === undefined ? 'yes' : undefined,
);
/** Those that wait for places, which a pool may have for them, under 'yes'. */
export const LACKING_VOLUMES = index(VOLUME, ({ metadata, status }) =>
  metadata.deletionTimestamp === undefined && (status?.target === undefined || lacks(status))
    ? 'yes'
    : undefined,
);
/** Claims that have no volume yet, under 'yes'. */
export const WAITING_CLAIMS = index(CLAIM, ({ spec }) =>
  (spec.volumeName ?? '') === '' ? 'yes' : undefined,
);

/** As its controller has said. */
function lacks({ conditions }: NonNullable<Volume['status']>): boolean {
  return conditions?.find(({ type }) => type === 'Healthy')?.reason === REPLICAS_MISSING;
}

// What of an object matters to those that depend on it (`Trigger.aspect`).

/** Not how much is on it. */
export const placeOfReplica = ({ metadata, spec, status }: Replica): unknown => [
  spec,
  metadata.deletionTimestamp,
  status?.phase,
];
/** Where it is and whether it can be used; not how full it is. */
export const stateOfPool = ({ metadata, spec, status }: Pool): unknown => [
  spec,
  metadata.deletionTimestamp,
  status?.phase,
  status?.replicaAddress,
];
/** What there may be a place in it by: not how full it is, but what it has promised. */
export const roomOfPool = (pool: Pool): unknown => [
  stateOfPool(pool),
  isLeaving(pool),
  pool.status?.readOnly,
  pool.status?.strayVolumes,
  mayPromiseBytes(pool),
  pool.status?.provisionedBytes,
];
/** Not how many volumes and replicas it has. */
export const stateOfNode = ({ metadata, spec, status }: Node): unknown => [
  spec,
  metadata.labels,
  metadata.deletionTimestamp,
  status?.portals,
  status?.conditions?.map((condition) => [condition.type, condition.status]),
];
/** How it is kept and by whom; not what hosts do with it. */
export const keepingOfVolume = ({ metadata, spec, status }: Volume): unknown => [
  spec,
  metadata.deletionTimestamp,
  status?.mode,
  status?.made,
  status?.members,
  status?.target,
  status?.serving,
];
