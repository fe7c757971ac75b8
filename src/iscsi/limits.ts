// The bounds of sessions and connections, each with its unit and its reason.
import { assert } from '../base/index.ts';
import { MAX_BUFFER_BYTES } from '../block/index.ts';

/** Commands a session may have outstanding: MaxCmdSN - ExpCmdSN + 1 when idle. Linux asks for 128 by default. */
export const COMMAND_WINDOW = 128;
/** Immediate SCSI commands beside the window (RFC 7143 §4.2.2.1 lets a target bound them); then Reject. */
export const IMMEDIATE_COMMANDS = 16;
export const COMMAND_SLOTS = COMMAND_WINDOW + IMMEDIATE_COMMANDS;
/** Task management functions that a session may have running. */
export const MAX_TASK_MANAGEMENT = 32;
/** Copies of PDUs that came ahead of a gap in CmdSN, of a session, all together. An honest initiator leaves no gap. */
export const MAX_HELD_BYTES = 1024 * 1024;
/**
 * Data buffers that the writes of a session may hold, from their first R2T to their end: one hostile host must not take
 * them all.
 */
export const MAX_GATHERING_BYTES = 32 * 1024 * 1024;

/** One write to the socket. Two of the largest Data-In segments of an ordinary host, and their headers. */
export const SEND_REGION_BYTES = 320 * 1024;
/** Before full feature phase a connection only says text. */
export const LOGIN_SEND_REGION_BYTES = 16 * 1024;
/** Regions of a connection that the kernel has not taken yet. With all of them full, its input waits. */
export const MAX_REGIONS_IN_FLIGHT = 3;
/** Free regions kept for the next connection in need. */
export const MAX_FREE_REGIONS = 32;
/** One Data-In segment, whatever the initiator would take. */
export const MAX_DATA_IN_SEGMENT_BYTES = 128 * 1024;
/** Answers waiting for the end of the turn; with more, they are written at once. */
export const MAX_QUEUED_ANSWERS = 256;

/** Log lines a minute about connections that have not logged in. */
export const MAX_STRANGER_LOG_LINES = 20;

/** Seconds between looks at deadlines; every deadline is met at most this late. */
export const TICK_MS = 1000;

/**
 * Ticks in which no Data-Out of a write has come, after which it is given up with 0Bh/4Bh/06h. Hosts repeat a command
 * after 30 s and abort it before; one that still waits then has forgotten it, and its buffer is wanted by others.
 */
export const DATA_OUT_LIMIT_TICKS = 60;

assert(SEND_REGION_BYTES >= 2 * MAX_DATA_IN_SEGMENT_BYTES + 4096);
assert(COMMAND_SLOTS < 4095);
assert(MAX_GATHERING_BYTES >= MAX_BUFFER_BYTES);

/** What the daemon may set. */
export interface IscsiLimits {
  /** From accept to full feature phase (T12). */
  loginDeadlineMs: number;
  /** Connections that have not logged in, of one address and of all. */
  maxLoginsPerAddress: number;
  maxLogins: number;
  maxSessions: number;
  /** A peer that takes nothing of what it was sent for this long is gone (T12). */
  writeDeadlineMs: number;
  /** Silence after which a NOP-In asks whether the peer lives; 0: never. */
  pingIntervalMs: number;
  /** How long it may take to answer it. */
  pingTimeoutMs: number;
  /** How long a session that was asked to log out may take. */
  logoutDeadlineMs: number;
}

export const DEFAULT_LIMITS: Readonly<IscsiLimits> = {
  loginDeadlineMs: 15_000,
  // Half of all: one address cannot keep the others out, and many hosts may stand behind one.
  maxLoginsPerAddress: 128,
  maxLogins: 256,
  maxSessions: 1024,
  writeDeadlineMs: 30_000,
  pingIntervalMs: 15_000,
  pingTimeoutMs: 15_000,
  logoutDeadlineMs: 3_000,
};
