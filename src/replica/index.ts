// The replica room: a member of a volume. The core decides (member.ts), the engine store keeps, the server speaks.
export {
  HostedReplica,
  isReplicaVolume,
  ReplicaHost,
  type ReplicaHostOptions,
  ReplicaRefusal,
} from './host.ts';
export { DEFAULT_LEASE_MS } from './member-options.ts';
export { ReplicaServer, type ReplicaServerOptions } from './server.ts';
