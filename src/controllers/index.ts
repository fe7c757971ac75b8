// The controllers room: makes what is agree with what is wanted. Pools for StoragePoolClaims, volumes for claims, places
// for replicas, coordinators for volumes. Level-triggered and without memory of their own; one leader at a time.
import type { KindDefinition } from '../apiserver/index.ts';
import {
  BLOCK_DEVICE,
  CLAIM,
  EXTERNAL_SNAPSHOT,
  EXTERNAL_SNAPSHOT_DATA,
  NODE,
  PERSISTENT_VOLUME,
  POOL,
  REPLICA,
  SECRET,
  SNAPSHOT,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  VOLUME,
  VOLUME_POLICY,
  VOLUME_SNAPSHOT,
  VOLUME_SNAPSHOT_CLASS,
  VOLUME_SNAPSHOT_CONTENT,
} from '../kinds/index.ts';
import { ClaimController } from './claims.ts';
import type { Controller, Surroundings } from './controller.ts';
import { ForgetController } from './forget.ts';
import { NodeController } from './nodes.ts';
import { PoolController } from './pools.ts';
import { ReclaimController } from './reclaim.ts';
import { snapshotControllers } from './snapshots.ts';
import { VolumeController } from './volumes.ts';

export { makeBuiltIns } from './bootstrap.ts';
export { Catalog, type Index } from './catalog.ts';
export {
  type Controller,
  type ControlSettings,
  hasFinalizer,
  hasReason,
  isDeleting,
  type NewObject,
  type Surroundings,
  sameJson,
  type Trigger,
  trigger,
  Writer,
} from './controller.ts';
export { mayHold } from './expected-places.ts';
export * from './indexes.ts';
export { keyOf } from './keys.ts';
export { ControllerManager } from './manager.ts';
export {
  copySnapshotName,
  Finalizer,
  JIVA_CLASS,
  jivaPoolName,
  Label,
  MEMBERS_AS_WANTED,
  memberName,
  NO_QUORUM,
  poolName,
  REPLICAS_MISSING,
  replicaName,
  snapshotName,
  volumeName,
} from './names.ts';
export { withActions } from './node-kinds.ts';
export {
  isLeaving,
  type Placement,
  type PlacementRequest,
  placeReplicas,
} from './placement.ts';
export { importablePools } from './pool-actions.ts';
export { mayPromiseBytes } from './promises.ts';
export { restoreUnderWay } from './restores.ts';
export { WorkQueue, type WorkQueueOptions } from './work-queue.ts';

/** What controllers and nodes look at. */
export const LOOKED_AT = [
  BLOCK_DEVICE,
  CLAIM,
  EXTERNAL_SNAPSHOT,
  EXTERNAL_SNAPSHOT_DATA,
  NODE,
  PERSISTENT_VOLUME,
  POOL,
  REPLICA,
  SECRET,
  SNAPSHOT,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  VOLUME,
  VOLUME_POLICY,
  VOLUME_SNAPSHOT,
  VOLUME_SNAPSHOT_CLASS,
  VOLUME_SNAPSHOT_CONTENT,
] as unknown as readonly KindDefinition[];

/** In OpenEBS' words: who does it. */
export type Component = 'provisioner' | 'cstor-operator';

/** `around`: what each of them speaks and logs as. */
export function allControllers(around: (component: Component) => Surroundings): Controller[] {
  const operator = around('cstor-operator');
  const provisioner = around('provisioner');
  return [
    new NodeController(operator),
    new ForgetController(operator),
    new PoolController(operator),
    new VolumeController(operator),
    new ClaimController(provisioner),
    new ReclaimController(provisioner),
    ...snapshotControllers(provisioner),
  ];
}
