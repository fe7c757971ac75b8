// Replication put together: a node's replicas on the wire, a node's coordinators, and replicated volumes as hosts see them.
export {
  CoordinatorNode,
  type CoordinatorNodeOptions,
  type PlannedReplica,
} from './coordinator-node.ts';
export { ManageError, type NodePlace, ReplicaManager } from './manage.ts';
export { ReplicaNode, type ReplicaNodeOptions } from './replica-node.ts';
export {
  ReplicatedVolume,
  type ReplicatedVolumeListener,
  type ReplicatedVolumeOptions,
  type VolumeState,
} from './replicated-volume.ts';
export { changedIn, pieceIn, rollBack, rollbackOf } from './rollback.ts';
