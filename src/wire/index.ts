// The wire: how a coordinator and a replica speak. Frames over one byte stream, streams within it, calls with deadlines,
// windows, keep-alive, a handshake that proves a shared secret. Owns no socket; docs/wire-protocol.md tells the bytes.
export type { CallDone } from './calls.ts';
export { OPEN_METHOD, WireConnection } from './connection.ts';
export { type ConnectionHandler, type ConnectionOptions, Refusal } from './connection-options.ts';
export { CoreGate } from './core-gate.ts';
export {
  blockCrc,
  FrameFlag,
  FrameHeader,
  FrameType,
  frameBytes,
  statusName,
  WireStatus,
} from './frame.ts';
export { type Agreement, PROTOCOL_VERSION, WireFeature } from './handshake.ts';
export {
  DEFAULT_TIMEOUTS,
  dataPayloadBytes,
  MAX_DATA_BLOCKS,
  MAX_MESSAGE_BYTES,
  WIRE_BLOCK_BYTES,
  type WireTimeouts,
} from './limits.ts';
export {
  type CreateReplica,
  createReplicaCodec,
  type DeleteReplica,
  decodeBegin,
  decodeReplicaIdentity,
  deleteReplicaCodec,
  encodeBegin,
  encodeReplicaIdentity,
  listReplicasCodec,
  ManageMethod,
  type ReplicaIdentity,
  type ReplicaListEntry,
  type ReplicaSource,
  replicaListCodec,
} from './management.ts';
export {
  decodeRecord,
  encodeRecord,
} from './message-codec.ts';
export { FrameOutput, FrameRegions } from './output.ts';
export { FrameParser, type FrameSink, type Place } from './parser.ts';
export { BytesPayload, type PayloadOwner, PayloadPool } from './payload.ts';
export {
  type Dial,
  PeerNode,
  PeerNodes,
  type PeerNodesOptions,
  type PeerNodeUser,
} from './peer-node.ts';
export { type Codec, codec } from './schema.ts';
export {
  CoordinatorEnd,
  type CoordinatorEndHandler,
  type CoordinatorEndOptions,
  decodeOpenStream,
  MemberEnd,
  type MemberEndHandler,
  openStreamBytes,
  payloadByteOffset,
  payloadBytes,
} from './session.ts';
export { type StreamHandler, WireStream } from './stream.ts';
