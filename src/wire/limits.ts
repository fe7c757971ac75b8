// The bounds of a connection, each with its unit and its reason.
import { assert } from '../base/index.ts';

/** Every frame begins with a header of this size. */
export const HEADER_BYTES = 48;
/** The unit of data: what replicas store, checksum and version. */
export const WIRE_BLOCK_BYTES = 4096;
/** Blocks of one data frame: 4 MiB, the largest command of a host and the largest data buffer. */
export const MAX_DATA_BLOCKS = 1024;
/** A protobuf message: a listing of changed blocks is the largest, and comes in pages. */
export const MAX_MESSAGE_BYTES = 256 * 1024;
/** Of volumes, replicas, snapshots, stores, coordinators. */
export const MAX_ID_LENGTH = 255;
/** Before the handshake is through a peer is anybody: it may make us keep this much and no more. */
export const MAX_HANDSHAKE_BYTES = 4096;

/** One write to the socket: a burst of writes at depth 32, and what fits the second level cache. */
export const SEND_REGION_BYTES = 320 * 1024;
/** Free regions kept for the next connection in need. */
export const MAX_FREE_REGIONS = 32;
/** Payload of data frames that a receiver lets its peer have under way, by default: on a connection, on a stream. */
export const CONNECTION_WINDOW_BYTES = 32 * 1024 * 1024;
export const STREAM_WINDOW_BYTES = 16 * 1024 * 1024;
/**
 * What may wait in our memory for a peer, beyond the window: W4 detaches a member that lags by 64 MiB, this is the end for
 * one that takes nothing at all.
 */
export const MAX_BACKLOG_BYTES = 96 * 1024 * 1024;
/** Streams of a connection: one a replica, and a node serves at most as many volumes. */
export const MAX_STREAMS = 4096;
/** Requests without an answer, each way. */
export const MAX_REQUESTS = 1024;

/** Milliseconds between looks at deadlines; every deadline is met at most this late. */
export const TICK_MS = 250;

/** What the configuration may set. Milliseconds. */
export interface WireTimeouts {
  /** From accept or connect to the end of the handshake. */
  readonly handshakeMs: number;
  /** Silence after which a Ping asks whether the peer lives. */
  readonly pingIntervalMs: number;
  /** Silence after which it does not. */
  readonly silenceMs: number;
}

/** For a LAN: a dead peer is known in 5 s, as W4 wants it. */
export const DEFAULT_TIMEOUTS: WireTimeouts = {
  handshakeMs: 5000,
  pingIntervalMs: 1000,
  silenceMs: 5000,
};

/** The payload of a data frame of `blocks`: the CRCs of all blocks but the first, then the blocks. */
export function dataPayloadBytes(blocks: number): number {
  return blocks * WIRE_BLOCK_BYTES + (blocks - 1) * 4;
}

assert(SEND_REGION_BYTES > HEADER_BYTES + WIRE_BLOCK_BYTES);
assert(STREAM_WINDOW_BYTES >= 2 * dataPayloadBytes(MAX_DATA_BLOCKS));
assert(CONNECTION_WINDOW_BYTES >= STREAM_WINDOW_BYTES);
assert(MAX_BACKLOG_BYTES > CONNECTION_WINDOW_BYTES);
assert(MAX_HANDSHAKE_BYTES <= MAX_MESSAGE_BYTES);
