// The kinds room: what the control plane's objects look like. Declarations only: ashlar's own kinds, those that OpenEBS'
// users know, and Kubernetes' kinds for storage. The API server derives everything else from them.

export { allKinds } from './all.ts';
export * from './ashlar.ts';
export { CAS_CONFIG, CAS_TYPE, type CasConfig, parseCasConfig } from './cas-config.ts';
export * from './core.ts';
export { CORE_NODE, type CoreNode, nodeLeaseName } from './core-node.ts';
export * from './openebs.ts';
export {
  DeviceStatus,
  foreignPoolFields,
  layoutOf,
  MAX_POOL_DEVICES,
  POOL,
  POOL_DECLARATION,
  POOL_FINALIZER,
  type Pool,
  PoolSpec,
  PoolStatus,
  ScrubSpec,
  WalkStatusSchema,
} from './pool.ts';
export {
  type ActionBody,
  bodyOf,
  type DeviceActionName,
  isPoolIdle,
  operationOf,
  POOL_ACTIONS,
  type PoolAction,
  type PoolOperation,
} from './pool-actions.ts';
export { checkScrub, deviceCalled, deviceRefusal, OUR_CONTENTS } from './pool-check.ts';
export { REPLICA, type Replica, ReplicaSpec, ReplicaStatus, rebuildStatus } from './replica.ts';
export * from './snapshot.ts';
export * from './snapshots.ts';
export * from './storage.ts';
export {
  foreignFields,
  MAX_IO_WORKERS,
  MAX_REPLICAS,
  MIN_CACHE_BYTES,
  quantityBytes,
} from './volume-check.ts';
export { ChapSpec, Limits, SnapshotSchedule } from './volume-parts.ts';
