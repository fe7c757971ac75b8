// A Kubernetes-shaped API server made from declarations of kinds: discovery, checks, defaults, versions, patches,
// server-side apply, finalizers, selectors, tables, watches, events, leases. It has not heard of storage; the rooms
// that have declare their kinds to it and work on their objects through an ObjectClient.
export {
  type Access,
  type Account,
  type Identity,
  MIN_TOKEN_CHARACTERS,
  ROLES,
  type Role,
  TokenAccess,
} from './access.ts';
export {
  type Backend,
  type BackendEvent,
  type BackendPage,
  type BackendSink,
  type BackendWatch,
  type Cursor,
  EVERYTHING,
  type PageRequest,
  StoreBackend,
} from './backend.ts';
export type {
  DeleteRequest,
  KindRef,
  ListRequest,
  ObjectClient,
  Patch,
  WatchEvent,
  WatchHandle,
  WatchRequest,
  WatchSink,
  WriteOptions,
} from './client.ts';
export {
  ApiError,
  alreadyExists,
  conflict,
  invalid,
  type KindName,
  MODIFIED,
  notFound,
  type Status,
  type StatusCause,
  type StatusDetails,
  type StatusReason,
} from './errors.ts';
export { EventRecorder, type EventRecorderOptions } from './events.ts';
export { addHealth, type HealthCheck, type HealthOptions } from './health.ts';
export { Housekeeper, type HousekeeperOptions } from './housekeeping.ts';
export { buildHttp, type HttpOptions, namesLoopback, STREAM_TYPE } from './http.ts';
export { Informer, type InformerOptions } from './informer.ts';
export {
  type CheckContext,
  type Column,
  type KindAction,
  type KindDefinition,
  KindRegistry,
  type LogOptions,
  READ_VERBS,
  type Verb,
} from './kind.ts';
export {
  EVENTS,
  type EventObject,
  LEASES,
  type LeaseObject,
  NAMESPACES,
  type NamespaceObject,
  ObjectReference,
} from './kinds/core.ts';
export { ownKinds } from './kinds/own.ts';
export { LeaderElector, type LeaderHandlers, LeaseObserver, type LeaseOptions } from './leases.ts';
export {
  type Condition,
  ConditionSchema,
  ConditionsSchema,
  type KubeObject,
  kubeMicroTime,
  kubeTime,
  type ObjectList,
  type ObjectMeta,
  type OwnerReference,
  type SpecObject,
  setCondition,
} from './meta.ts';
export { NODE_SERVER_NAME, type PeerIdentity } from './peer-nodes.ts';
export { PolledBackend, type PolledSource } from './polled.ts';
export { ResourceServer, type ResourceServerOptions } from './resources.ts';
export { ageColumn, ageOf } from './table.ts';
