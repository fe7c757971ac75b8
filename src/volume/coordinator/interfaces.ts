// The coordinator core's surroundings (T1): sessions to members below it, the volume above it. The production shell
// implements them over TCP and src/volume, the simulator over models; the core is the same.
//
// The shell calls the core's methods, one event each, with `nowMs` of a monotonic clock that does not go back. What
// comes back are calls of the interfaces below, made before the method returns; none of them may call the core from
// inside, but for the end of an operation, where the owner may submit the next one.
//
// Time: after each event the shell looks at `core.wakeAtMs` and sees to it that `tick` is called then, or soon after.
import type { BlockOp } from '../../block/index.ts';
import type {
  Changed,
  ChangedRuns,
  CoordinatorMessage,
  CopyData,
  MemberMessage,
  Payload,
} from '../../wire/messages.ts';
import type { SnapshotEntry, VolumeRecord } from '../../wire/record.ts';
import type { Version } from '../../wire/version.ts';

/**
 * The links to members. A peer is a small number that the core gave in `addPeer`. The shell keeps trying to connect to
 * each peer until `removePeer`, with back-off, and says `onConnected` and `onDisconnected` in turn.
 */
export interface CoordinatorTransport {
  /** The message is lent for the call, an Apply's payload too: what cannot be sent at once is retained. Hot. */
  send(peer: number, message: CoordinatorMessage): void;
  /** Ends the session at once, unsent bytes and all. `onDisconnected` is not called for it; the next is `onConnected`. */
  disconnect(peer: number): void;
}

export const CoordinatorPhase = {
  /** Not started, or stopped, or deposed: serves nothing. */
  Idle: 0,
  /** V1: gathers promises. Operations are held. */
  Collecting: 1,
  /** V4: brings the blocks that differ to one value at all of P ∩ S. */
  Reconciling: 2,
  /** V5: the activation record is proposed. */
  Activating: 3,
  Active: 4,
} as const;
export type CoordinatorPhase = (typeof CoordinatorPhase)[keyof typeof CoordinatorPhase];

/** The fault of a member that has lost a page of its map (H6), in words for whoever runs it. */
export const MAP_LOST =
  'a part of its map cannot be read any more: replace it with an empty one, see docs/operations.md';

export const AlarmKind = {
  /** H5: copies of one version differ. */
  CrossScrubMismatch: 1,
  /** W9: no member has the block. */
  BlockLost: 2,
  /** N2: a member was detached because it is full. */
  MemberFull: 3,
  /** An op, a flush or a record failed at a member, or it lagged beyond the limits (W4). */
  MemberDetached: 4,
  /** E6, E7: a store that is not the one of the record, or went back in time: it must be replaced (B8). */
  ForeignStore: 5,
  /** An operator's force crossed a rule (C1). */
  Forced: 6,
} as const;
export type AlarmKind = (typeof AlarmKind)[keyof typeof AlarmKind];

/** Upward: what the volume, the sessions of hosts and the log must hear. All rare but `fill` and `checksum`. */
export interface CoordinatorHost {
  /** A read has come in for `op`: take the bytes over into `op.data` now, `data` is lent. Hot. */
  fill(op: BlockOp, data: Payload): void;
  /** H1: the CRC32C of each block of a Write, computed once for all members, from index 0. Hot. */
  checksum(op: BlockOp, into: Uint32Array): void;
  onPhase(phase: CoordinatorPhase, epoch: number): void;
  /** A record is committed and in force. */
  onRecord(record: VolumeRecord): void;
  /**
   * C10: commands have been held too long. Close the sessions without an answer, and refuse logins with 0301h until
   * `onServing`. Their operations end as Offline right after, for nobody to answer.
   */
  onHoldExpired(): void;
  /** Operations are served (again). */
  onServing(): void;
  /** E5: another coordinator has a higher epoch. Close the sessions, answer nothing. The core is Idle. */
  onDeposed(byEpoch: number): void;
  /**
   * C8: acknowledged writes that were not flushed may be lost; unit attention, and SYNC and FUA fail until login. Those that
   * wait now the core fails itself, right after.
   */
  onLossDeclared(): void;
  /** A record names a replica that `addPeer` was never called for: its number, to connect to it. */
  onPeerNeeded(replicaId: string, peer: number): void;
  onAlarm(kind: AlarmKind, replicaId: string, lba: number, text: string): void;
}

/** `All`: acked when every counted member has applied it. `Quorum`: when q of them have, one in sync (W3). */
export const SyncPolicy = { All: 1, Quorum: 2 } as const;
export type SyncPolicy = (typeof SyncPolicy)[keyof typeof SyncPolicy];

/** Which of the members that may answer a read is asked. */
export const ReadPolicy = { LocalFirst: 1, LeastOutstanding: 2, RoundRobin: 3 } as const;
export type ReadPolicy = (typeof ReadPolicy)[keyof typeof ReadPolicy];

export interface CoordinatorConfig {
  readonly syncPolicy: SyncPolicy;
  readonly readPolicy: ReadPolicy;
  /** LocalFirst: the replica on this node, or null. */
  readonly localReplicaId: string | null;
  /** E3's `T` at the members. The coordinator uses three quarters of it, from send. Default 4 000. */
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  /** E3: a volume that nobody has used for this long is *quiet*: its lease may lapse. Default 5 000. */
  readonly quietAfterMs: number;
  /**
   * What is between two heartbeats of a quiet volume: with it a member tells that it is stuck, while the connection to its
   * node, which asks every second, tells that it is gone. A thousand volumes say three thousand times in it that they are
   * there. Default 60 000.
   */
  readonly quietHeartbeatMs: number;
  /** V1: how long to wait for promises beyond the majority. Defaults 1 000 at a takeover, 10 000 at a cold start. */
  readonly promiseWaitMs: number;
  /** R3: a counted member that has not stored a proposed record by then is left out by a re-activation. Default 1 000. */
  readonly recordTimeoutMs: number;
  /** W4. Defaults 5 000 and 64 MiB. */
  readonly lagMs: number;
  readonly lagBytes: number;
  /** C10. Default 10 000. */
  readonly holdMs: number;
  /** A read without an answer goes to another member too. 0: never. */
  readonly hedgeMs: number;
  /** B9: bytes in flight in all rebuilds together, and their rate. */
  readonly rebuildWindowBytes: number;
  readonly rebuildBytesPerSecond: number;
}

/** What of it may change while the volume is served; the rest is agreed upon with members. */
export type CoordinatorPolicy = Pick<
  CoordinatorConfig,
  'syncPolicy' | 'readPolicy' | 'localReplicaId' | 'lagMs' | 'holdMs' | 'hedgeMs'
>;

export const DEFAULT_COORDINATOR_CONFIG: CoordinatorConfig = {
  syncPolicy: 1,
  readPolicy: 2,
  localReplicaId: null,
  leaseMs: 4000,
  heartbeatMs: 1000,
  quietAfterMs: 5000,
  quietHeartbeatMs: 60_000,
  promiseWaitMs: 1000,
  recordTimeoutMs: 1000,
  lagMs: 5000,
  lagBytes: 64 * 1024 * 1024,
  holdMs: 10_000,
  hedgeMs: 0,
  rebuildWindowBytes: 8 * 1024 * 1024,
  rebuildBytesPerSecond: Number.POSITIVE_INFINITY,
};

/** The seeded or the system's randomness: only for back-off. */
export interface CoordinatorRandom {
  /** Uniform in [0, bound). */
  below(bound: number): number;
}

/** The answer of a control operation; `error` names what stood in the way, in words. Called from within some event. */
export type ControlDone = (error: string | null) => void;

/** Runs that hold something, of a volume's rest up to `nextLba`; null: nobody can tell now. Called from within some event. */
export type MapListed = (runs: ChangedRuns | null, nextLba: number) => void;
/** About a snapshot: where the volume has changed since, or what it holds. */
export type Question =
  | {
      readonly kind: 'changed';
      readonly fromLba: number;
      readonly toLba: number;
      readonly maxEntries: number;
      /** Standard: the snapshot's cut. */
      readonly since?: Version;
    }
  | { readonly kind: 'copy'; readonly lba: number; readonly blocks: number };

/** The answer, lent for the call; null: nobody in sync holds the snapshot now, or who was asked is gone. */
export type AskDone = (answer: Changed | CopyData | null) => void;

/** What drives a coordinator core: src/volume/coordinator/coordinator.ts. */
export interface CoordinatorEvents {
  readonly phase: CoordinatorPhase;
  readonly epoch: number;
  /** The committed record, or the adopted one before activation; null before. */
  readonly record: VolumeRecord | null;
  /** When `tick` must be called: Infinity for not at all. Read it after each event. */
  readonly wakeAtMs: number;

  /** A replica to talk to: of the record, or a newcomer to be. Returns its number for the transport. */
  addPeer(nowMs: number, replicaId: string): number;
  removePeer(nowMs: number, replicaId: string): void;
  /** Begins to collect promises. `coordinatorId` is new at each start. */
  start(nowMs: number): void;
  /**
   * Refuses new operations (Offline), lets those under way end, releases the lease, then calls `done`. Below quorum it
   * gives up those under way.
   */
  stop(nowMs: number, done: () => void): void;

  onConnected(nowMs: number, peer: number): void;
  onDisconnected(nowMs: number, peer: number): void;
  onMessage(nowMs: number, peer: number, message: MemberMessage): void;
  tick(nowMs: number): void;

  /**
   * Kinds Read, Verify, Write, Unmap and Flush, in blocks of 4 KiB. The caller has admitted it: a read and a change that
   * overlap are never submitted at the same time (W1). `op.lower` hears of its end, from inside some event. Hot.
   */
  submit(nowMs: number, op: BlockOp): void;
  /**
   * For the shell's codec, when the bytes of a ReadDone come in: the operation that waits for them, so that they can go
   * straight to its buffer, or null when nobody does any more. `fill` is still called and may then do nothing.
   */
  readTarget(peer: number, id: number): BlockOp | null;

  /** R5, B8. `leaver` leaves, `newcomer` (a peer already, connected) comes, either null. One at a time. */
  changeMember(
    nowMs: number,
    leaver: string | null,
    newcomer: { readonly replicaId: string; readonly witness: boolean } | null,
    done: ControlDone,
  ): void;
  /** P1-P3. */
  takeSnapshot(
    nowMs: number,
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
    done: ControlDone,
  ): void;
  /** P5: the cut is made before it returns, or not at all (false, and `done` is not called); it is never made a second time. */
  takeSnapshotNow(
    nowMs: number,
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
    done: ControlDone,
  ): boolean;
  deleteSnapshot(nowMs: number, id: string, done: ControlDone): void;
  /** Asks one of the snapshot's holders in sync. `done` is called from within some event. */
  ask(nowMs: number, snapshotId: string, question: Question, done: AskDone): void;
  resize(nowMs: number, sizeBlocks: number, done: ControlDone): void;
  /** Null removes. Durable on a majority before `done`. */
  putBlob(nowMs: number, key: string, value: Uint8Array | null, done: ControlDone): void;
  getBlob(key: string): Uint8Array | null;
  /** What a member in sync has from `fromLba` on, for GET LBA STATUS. */
  listMapped(nowMs: number, fromLba: number, maxRuns: number, done: MapListed): void;
  /** E5: whether it is the active one, under a lease, which is waited for. `done` is called from within some event. */
  confirm(nowMs: number, done: (serves: boolean) => void): void;
  /** H5, over a range of at most 4 096 blocks. */
  /** C6: takes back an operation that waits and that no member has seen: true, and nobody hears of it again. */
  withdraw(op: BlockOp): boolean;
  crossScrub(nowMs: number, lba: number, blocks: number, done: ControlDone): void;
  /**
   * C1: an operator's word that the members without a promise are gone for good. Activates with those present, which
   * become the only members; logged, and losses declared. Needs one with data.
   */
  force(nowMs: number, done: ControlDone): void;
  status(nowMs: number): CoordinatorStatus;
}

export interface MemberStatus {
  readonly replicaId: string;
  readonly connected: boolean;
  /** InSync, Joining, Stale, Witness, Blank (a store the record does not name) or Unknown. */
  readonly state: 'InSync' | 'Joining' | 'Stale' | 'Witness' | 'Blank' | 'Unknown';
  /** Ops issued and not yet applied there. */
  readonly lagOps: number;
  readonly lagBytes: number;
  /** Blocks to go through and gone through of the rebuild under way; zero and zero when there is none. */
  readonly rebuildBlocks: number;
  readonly rebuiltBlocks: number;
  readonly copiedBytes: number;
  readonly lastFault: string;
}

export interface CoordinatorStatus {
  readonly phase: CoordinatorPhase;
  readonly epoch: number;
  /** Why operations are held, in words; empty when they are served. */
  readonly waitingFor: string;
  readonly heldOps: number;
  readonly members: readonly MemberStatus[];
}
