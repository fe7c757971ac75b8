// The control room: the REST API in Kubernetes' manner, the manifests behind it, and what makes the volumes agree with
// them. Speaks to a pool and a volume below, and to an Exporter that the daemon makes iSCSI targets of.
export {
  type ApiOptions,
  buildApi,
  buildResources,
  type PoolFacts,
  type SessionFacts,
} from './api.ts';
export { DEVICE_ACTIONS } from './device-actions.ts';
export { ApiError, type Status, type StatusCause, type StatusReason } from './errors.ts';
export { cutTogether, takeBack } from './group-cuts.ts';
export type {
  ExaminedDevice,
  KeptPool,
  NewPool,
  Obstacle,
  OpenOptions,
  PoolList,
  PoolMedia,
} from './held-pools.ts';
export type { Exporter, ExposedVolume, VolumeControllerOptions } from './hosted-volumes.ts';
export { PoolHost, type PoolHostOptions } from './pool-host.ts';
export {
  adviceOf,
  figuresOf,
  isReadOnly,
  presentLayout,
  provisionedIn,
  stateOf,
} from './pool-status.ts';
export { type Receiving, receivingFrom, resumeFlags } from './receiving-mark.ts';
export {
  applyAll,
  assertFits,
  assertSameBlocks,
  replicatedTarget,
} from './replicated-receiving.ts';
export { ReplicatedSource } from './replicated-source.ts';
export {
  type KeptBlob,
  MAX_REPLICAS,
  type NewReplica,
  type OpenReplicated,
  parseNode,
  planReplicas,
  type ReplicaFacts,
  type ReplicaPolicy,
  type ReplicatedHandle,
  type ReplicatedSnapshot,
  type ReplicationBackend,
  type SnapshotPiece,
  STANDARD_REPLICA_PORT,
  type WantedReplica,
} from './replication.ts';
export { takeUpReturned } from './returning-devices.ts';
export type {
  PoolObject,
  SessionObject,
  VolumeManifest,
  VolumeObject,
  VolumeSpec,
} from './schemas.ts';
export { VOLUME_NAME } from './schemas.ts';
export { keepScrubbed, keepWalkRate } from './scrub-schedule.ts';
export { assertContinues, assertSameStream, ServedEnds } from './served-ends.ts';
export { SnapshotScheduler, type SnapshotSchedulerOptions } from './snapshot-schedule.ts';
export { SnapshotSource } from './stream-ends.ts';
export { addTransfers } from './transfer-routes.ts';
export {
  type ReceivePlace,
  type SendRequest,
  type TransferEnds,
  Transfers,
  type TransfersOptions,
} from './transfers.ts';
export { VolumeController } from './volume-controller.ts';
export type { ChapAccount, VolumeDefaults, WantedVolume } from './volume-manifest.ts';
