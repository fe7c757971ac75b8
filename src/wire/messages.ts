// What a coordinator and a member say to each other, as plain values. The codec (frames, protobuf) turns them into bytes
// and back; the cores (src/volume/coordinator, src/replica) know only these.
//
// Who owns a message: `send(message)` lends it for the length of the call, and `onMessage(message)` too. Both sides keep
// one object for each kind that is sent for every I/O and fill it anew each time, so who wants more than a look copies.
// Records and the arrays of listings and copies are immutable and may be kept.
//
// Order: within one session everything that is not marked *unordered* arrives in the order it was sent (W2, R1): one
// stream. Unordered messages may travel on other streams of the session and overtake, or be overtaken (B9). A session is
// one connection: when it ends, nothing of it arrives any more, and a new connection is a new session.
//
// Every message but Hello and its reply carries the epoch it belongs to (E2).
import type { IoStatus } from '../block/index.ts';
import type { VolumeRecord } from './record.ts';
import type { Version } from './version.ts';

/**
 * Bytes that the cores hand on and never touch: a DataBuffer in production, a list of values in the simulator. Who keeps
 * it beyond the call that lent it, retains and later releases.
 */
export interface Payload {
  retain(): void;
  release(): void;
}

export const MessageType = {
  // From the coordinator.
  Hello: 1,
  Prepare: 2,
  StoreRecord: 3,
  Heartbeat: 4,
  Apply: 5,
  TakeSnapshot: 6,
  Flush: 7,
  Read: 8,
  ListChanged: 9,
  CopyRead: 10,
  Install: 11,
  Digest: 12,
  ReleaseLease: 13,
  BranchSnapshot: 14,
  SealSnapshot: 15,
  // From the member.
  HelloReply: 33,
  PromiseMade: 34,
  RecordStored: 35,
  HeartbeatReply: 36,
  Applied: 37,
  SnapshotTaken: 38,
  Flushed: 39,
  ReadDone: 40,
  Changed: 41,
  CopyData: 42,
  Installed: 43,
  DigestDone: 44,
  Refused: 45,
  Branched: 46,
  DamageFound: 47,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

// ---------------------------------------------------------------------------------------------- from the coordinator

/** First on each session: which volume, which of its replicas, who asks. Changes nothing at the member. */
export interface Hello {
  type: typeof MessageType.Hello;
  volumeId: string;
  replicaId: string;
  /** New for each start of a coordinator: two lives of one process are two coordinators. */
  coordinatorId: string;
}

/** Asks for the promise of an epoch (E2). */
export interface Prepare {
  type: typeof MessageType.Prepare;
  epoch: number;
  coordinatorId: string;
}

/**
 * R1: apply and flush everything before it, then store it, flush, answer. What follows in the stream waits for it.
 * `op` is the number of the last op issued before it: who is in sync in it has everything up to (epoch, op).
 */
export interface StoreRecord {
  type: typeof MessageType.StoreRecord;
  epoch: number;
  op: number;
  record: VolumeRecord;
}

/** Renews the lease (E3) and carries `allApplied` (W10). Every heartbeat interval, to every member, witness included. */
export interface Heartbeat {
  type: typeof MessageType.Heartbeat;
  epoch: number;
  /** The coordinator's clock at sending: comes back in the reply, the lease counts from it. */
  sentMs: number;
  allAppliedEpoch: number;
  allAppliedOp: number;
}

export const ChangeKind = { Write: 1, Unmap: 2 } as const;
export type ChangeKind = (typeof ChangeKind)[keyof typeof ChangeKind];

/** One op of the stream (W2). Hot. */
export interface Apply {
  type: typeof MessageType.Apply;
  epoch: number;
  op: number;
  kind: ChangeKind;
  /** In blocks of 4 KiB (W7). */
  lba: number;
  blocks: number;
  /** Answer when durable (W5: an op with its marker). */
  fua: boolean;
  /** W10, in epoch `epoch`; 0 while nothing of it is known to be applied everywhere. */
  allAppliedOp: number;
  /** Write: one CRC32C a block (H1), `blocks` of them from index 0; the array may be longer. */
  crcs: Uint32Array | null;
  /** Write: the bytes, from `dataByteOffset` on. */
  data: Payload | null;
  dataByteOffset: number;
}

/** P1: the cut. Everything below (epoch, op) is in the snapshot, nothing above. Only to members in sync. */
export interface TakeSnapshot {
  type: typeof MessageType.TakeSnapshot;
  epoch: number;
  op: number;
  snapshotId: string;
  name: string;
}

/**
 * B6: begin, or go on with, the *branch* of a snapshot that the member lacks: something beside its volume that it fills by
 * installs until it is what the snapshot holds. Only to a member in sync, whose volume has every op below the cut.
 */
export interface BranchSnapshot {
  type: typeof MessageType.BranchSnapshot;
  epoch: number;
  id: number;
  snapshotId: string;
  /** The snapshot's cut. */
  version: Version;
}

/** B6: the branch is what the snapshot holds: from now on the member holds the snapshot, durably. */
export interface SealSnapshot {
  type: typeof MessageType.SealSnapshot;
  epoch: number;
  id: number;
  snapshotId: string;
  version: Version;
}

/** W5: answer when everything before it in the stream is durable. */
export interface Flush {
  type: typeof MessageType.Flush;
  epoch: number;
  id: number;
}

/** Unordered: the coordinator asks only who has applied all it must see (W8). Hot. */
export interface Read {
  type: typeof MessageType.Read;
  epoch: number;
  id: number;
  lba: number;
  blocks: number;
  /** VERIFY: check, and send no bytes. */
  verifyOnly: boolean;
}

/**
 * Unordered. Blocks of [fromLba, toLba) whose version is above `since`, holes with a version included (W6, B2), by
 * rising lba, at most `maxEntries` runs.
 */
export interface ListChanged {
  type: typeof MessageType.ListChanged;
  epoch: number;
  id: number;
  since: Version;
  fromLba: number;
  toLba: number;
  maxEntries: number;
  /** Of the branch of this snapshot (B6), or null: of the volume. */
  branchOf: string | null;
}

/** Unordered. The blocks with their versions, for a copy. */
export interface CopyRead {
  type: typeof MessageType.CopyRead;
  epoch: number;
  id: number;
  lba: number;
  blocks: number;
  /** Of this snapshot, or null: of the volume. */
  snapshotId: string | null;
}

export const InstallMode = {
  /** V4: install iff the local version is lower. */
  Reconcile: 1,
  /** B4: install iff the local version is below `join`, or below the copy's. Equal versions are skipped. */
  Rebuild: 2,
  /** H3: install iff the local version is the copy's: the block is damaged and comes back in a new place. */
  Repair: 3,
} as const;
export type InstallMode = (typeof InstallMode)[keyof typeof InstallMode];

/** Unordered. Copies of blocks. Each block is decided alone. */
export interface Install {
  type: typeof MessageType.Install;
  epoch: number;
  id: number;
  mode: InstallMode;
  /** Rebuild: B4's `j`. */
  join: Version;
  copy: BlockCopies;
  /** Into the branch of this snapshot (B6), or null: into the volume. */
  branchOf: string | null;
}

/** H5: a digest over (lba, version, CRC) of the range, taken at this place of the stream. */
export interface Digest {
  type: typeof MessageType.Digest;
  epoch: number;
  id: number;
  lba: number;
  blocks: number;
}

/** The coordinator serves no more: its lease may end now (a planned handover). */
export interface ReleaseLease {
  type: typeof MessageType.ReleaseLease;
  epoch: number;
}

export const BlockKind = {
  /** Never written, or its hole lost its version (B7): version zero. */
  Empty: 0,
  Data: 1,
  /** W6: a hole with a version. */
  Hole: 2,
  /**
   * Data of this version that no copy can deliver any more: whoever holds it answers Damaged until it is overwritten
   * (W9). In the engine: an entry whose CRC its bytes do not have.
   */
  Damaged: 3,
} as const;
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

/** Blocks lba, lba + 1, …: entry i of each array belongs to block lba + i. */
export interface BlockCopies {
  readonly lba: number;
  readonly blocks: number;
  readonly kinds: Uint8Array;
  readonly epochs: Uint32Array;
  /** Safe integers: op numbers have 40 bits. */
  readonly ops: Float64Array;
  /** CRC32C of the bytes; 0 where the kind is not Data. */
  readonly crcs: Uint32Array;
  /** The bytes of the blocks of kind Data, in order, packed. Null: none is. */
  readonly data: Payload | null;
}

// ----------------------------------------------------------------------------------------------------- from the member

/** Who the member is, and what it has. */
export interface MemberIdentity {
  readonly storeId: string;
  /** E7: of this opening. */
  readonly openId: string;
  /** E7: the last 16, the present one included, and the one that the record names. */
  readonly openIds: readonly string[];
  readonly bootId: string;
}

export interface HelloReply extends MemberIdentity {
  type: typeof MessageType.HelloReply;
  /** The highest epoch promised. */
  promised: number;
  /** Null: a blank store (E6). */
  record: VolumeRecord | null;
  contig: Version;
  hint: Version;
  /** Ids of those it holds: one that a record names may have been lost with the cache before that was committed (P3). */
  snapshots: readonly string[];
  witness: boolean;
  /** It knows BranchSnapshot, and with it `branchOf` (B6). */
  branches: boolean;
  /** N1: see Applied.credit; counted from this reply on. */
  credit: number;
}

/** E2: durably promised. Everything of lower epochs that had arrived is applied, and nothing of them will be. */
export interface PromiseMade extends MemberIdentity {
  type: typeof MessageType.PromiseMade;
  epoch: number;
  /** Never null: a store without a record has no vote (E6). */
  record: VolumeRecord | null;
  contig: Version;
  hint: Version;
  /** As in HelloReply. */
  snapshots: readonly string[];
  credit: number;
}

export interface RecordStored {
  type: typeof MessageType.RecordStored;
  epoch: number;
  n: number;
  /** As in HelloReply, now: it may have taken some since. */
  snapshots: readonly string[];
}

export interface HeartbeatReply {
  type: typeof MessageType.HeartbeatReply;
  epoch: number;
  sentMs: number;
  credit: number;
}

/** The op is applied here (durable, with `fua`), or failed here: then the member must be detached (W4). Hot. */
export interface Applied {
  type: typeof MessageType.Applied;
  epoch: number;
  op: number;
  status: IoStatus;
  /**
   * N1: how many blocks the member can take in all, counted from the beginning of the session: what it has taken so far
   * and what it has room for.
   */
  credit: number;
}

export interface SnapshotTaken {
  type: typeof MessageType.SnapshotTaken;
  epoch: number;
  op: number;
  status: IoStatus;
}

/** B6: the branch is there, or the snapshot itself. */
export interface Branched {
  type: typeof MessageType.Branched;
  epoch: number;
  id: number;
  status: IoStatus;
  /** The snapshot is here, with this very cut: nothing is to be copied. */
  complete: boolean;
}

/** Places of one DamageFound: as many as a coordinator mends at a time. */
export const MAX_DAMAGE_TOLD = 64;

/** A block without a good copy at the member. */
export interface DamagedPlace {
  readonly lba: number;
  /** Of this snapshot, or null: of the volume. */
  readonly snapshotId: string | null;
}

/**
 * H4: what a scrub found damaged there. Follows a HeartbeatReply, and comes again until it is mended; never sent to a
 * coordinator that does not know WireFeature.DamageFound.
 */
export interface DamageFound {
  type: typeof MessageType.DamageFound;
  epoch: number;
  /** At most MAX_DAMAGE_TOLD. */
  places: readonly DamagedPlace[];
}

export interface Flushed {
  type: typeof MessageType.Flushed;
  epoch: number;
  id: number;
  status: IoStatus;
}

/** Hot. */
export interface ReadDone {
  type: typeof MessageType.ReadDone;
  epoch: number;
  id: number;
  /** Ok, Damaged (W9) or IoError. */
  status: IoStatus;
  /** With Damaged: the first bad block. */
  failedLba: number;
  /** With Ok, unless only verified. Lent for the call. */
  data: Payload | null;
}

/** Runs of blocks by rising lba: entry i is [lbas[i], lbas[i] + counts[i]), all of one version and kind. */
export interface ChangedRuns {
  readonly lbas: Float64Array;
  readonly counts: Float64Array;
  readonly kinds: Uint8Array;
  readonly epochs: Uint32Array;
  readonly ops: Float64Array;
}

export interface Changed {
  type: typeof MessageType.Changed;
  epoch: number;
  id: number;
  status: IoStatus;
  runs: ChangedRuns;
  /** The listing is complete below this lba; ask again from here. `toLba` of the request: it is the end. */
  nextLba: number;
}

export interface CopyData {
  type: typeof MessageType.CopyData;
  epoch: number;
  id: number;
  /** Ok also where some blocks are damaged: those have kind Damaged. */
  status: IoStatus;
  copy: BlockCopies | null;
}

export interface Installed {
  type: typeof MessageType.Installed;
  epoch: number;
  id: number;
  status: IoStatus;
}

export interface DigestDone {
  type: typeof MessageType.DigestDone;
  epoch: number;
  id: number;
  status: IoStatus;
  /** 32 bits each. */
  digestHigh: number;
  digestLow: number;
}

export const RefusalReason = {
  /** A higher epoch is promised (E2): `promised` says which. Whoever asks with a lower one is deposed (E5). */
  Fenced: 1,
  /** Another coordinator holds a lease here (E3): it has been active within the time of a lease. Ask later. */
  Leased: 2,
  /** The store is blank or another than the record names (E6, E7): it has no vote. */
  Blank: 3,
  /** No lease for this coordinator by the member's own clock: it serves no read (E3). */
  NoLease: 4,
  /** The volume or replica is not here. */
  NotFound: 5,
  /** Out of order: an op before its record, a message of an epoch that was never promised. */
  Protocol: 6,
  /** The store has failed (S9). */
  Faulted: 7,
  /** A lease granted before this member's restart may still run (E4). Ask later. */
  JustStarted: 8,
} as const;
export type RefusalReason = (typeof RefusalReason)[keyof typeof RefusalReason];

export interface Refused {
  type: typeof MessageType.Refused;
  /** The epoch of what was refused. */
  epoch: number;
  reason: RefusalReason;
  /** The type of what was refused, and its id where it had one (reads, flushes, copies), else 0. */
  refusedType: MessageType;
  id: number;
  /** The highest epoch promised here; with Leased the epoch of the lease. */
  promised: number;
  /** Leased, JustStarted: no use to ask before. */
  retryAfterMs: number;
}

export type CoordinatorMessage =
  | Hello
  | Prepare
  | StoreRecord
  | Heartbeat
  | Apply
  | TakeSnapshot
  | Flush
  | Read
  | ListChanged
  | CopyRead
  | Install
  | Digest
  | ReleaseLease
  | BranchSnapshot
  | SealSnapshot;

export type MemberMessage =
  | HelloReply
  | PromiseMade
  | RecordStored
  | HeartbeatReply
  | Applied
  | SnapshotTaken
  | Flushed
  | ReadDone
  | Changed
  | CopyData
  | Installed
  | DigestDone
  | Refused
  | Branched
  | DamageFound;

/** The messages that may leave the ordered stream. */
export function isUnordered(type: MessageType): boolean {
  return (
    type === MessageType.Read ||
    type === MessageType.ListChanged ||
    type === MessageType.CopyRead ||
    type === MessageType.Install ||
    type === MessageType.ReadDone ||
    type === MessageType.Changed ||
    type === MessageType.CopyData ||
    type === MessageType.Installed
  );
}
