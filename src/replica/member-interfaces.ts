// The member core's surroundings: what it is given (store, sessions) and what drives it. The production shell implements
// them over the engine and TCP, the simulator over models; the core is the same (T1).
//
// The shell calls the core's methods, one event each, with `nowMs` of a monotonic clock; what comes back are calls of
// the interfaces below, made before the method returns. None of these calls may call the core from inside: a store that
// is done at once says so in a later event.
import type { IoStatus } from '../block/index.ts';
import type {
  Apply,
  BlockCopies,
  ChangedRuns,
  CoordinatorMessage,
  DamagedPlace,
  Install,
  MemberIdentity,
  MemberMessage,
  Payload,
} from '../wire/messages.ts';
import type { VolumeRecord } from '../wire/record.ts';
import type { Version } from '../wire/version.ts';

/** Sessions are numbers that the shell gives, never twice. */
export interface MemberTransport {
  /** The message is lent for the call. Silently nothing when the session has ended. */
  send(session: number, message: MemberMessage): void;
  /** Ends the session; `onSessionEnd` follows as for any other end, in a later event. */
  close(session: number): void;
}

/** What a store knows when it has been opened. */
export interface OpenedState extends MemberIdentity {
  readonly promised: number;
  readonly record: VolumeRecord | null;
  /**
   * W10: every op of its stream at or below it is applied, and survived. What `setContig` last said, or less where the
   * log lost its end (S6, S7). Durable with the ops themselves: a reboot brings both back.
   */
  readonly contig: Version;
  readonly hint: Version;
  readonly witness: boolean;
}

/**
 * One replica's copy on a pool. Changes (apply, install) take effect in the order of the calls, each block only to a
 * higher version (W2) or by the install's own rule (B4, V4, H3), judged when its turn comes: after every change that was
 * called earlier. Each call is answered once by the core's method named there. A failed flush or write that cannot be
 * put elsewhere is final (S9): the store answers IoError from then on.
 */
export interface MemberStore {
  /** As it stands on opening; the core keeps the present values itself. */
  readonly opened: OpenedState;
  /** Free room in blocks, after the reserve (N3): what N1's credit is made of. */
  readonly freeBlocks: number;

  /** Durable before `onStoreDone`. */
  savePromise(epoch: number, token: number): void;
  /**
   * Durable before `onStoreDone`. Everything before it was flushed (R1). Also: grows the volume to `sizeBlocks`, raises
   * the floor below which holes may lose their version (B7), deletes the snapshots that `dropSnapshots` names: before
   * `onStoreDone`, or at the end of the branches that are under way, which it does not wait for (R3).
   */
  saveRecord(
    record: VolumeRecord,
    hint: Version,
    holeFloor: Version,
    dropSnapshots: readonly string[],
    token: number,
  ): void;
  /** No I/O and no answer: the next log block carries it (S5). Only rises, but for `saveRecord` of a blank store. */
  setContig(epoch: number, op: number): void;

  /** Answered by `onApplied(slot)`. With `fua`, when durable. The message is lent for the call, its payload too. Hot. */
  apply(message: Apply, slot: number): void;
  /** Everything answered before is durable before `onStoreDone`. */
  flush(token: number): void;
  /** Answered by `onRead`. Hot. */
  read(lba: number, blocks: number, verifyOnly: boolean, token: number): void;
  /** Answered by `onListed`. With `branchOf`: of what is there of that snapshot. */
  listChanged(
    since: Version,
    fromLba: number,
    toLba: number,
    maxEntries: number,
    branchOf: string | null,
    token: number,
  ): void;
  /** Answered by `onCopyRead`: the kinds, versions and CRCs of the range, and the bytes of what has some. */
  copyRead(lba: number, blocks: number, snapshotId: string | null, token: number): void;
  /** Answered by `onStoreDone`. */
  install(message: Install, token: number): void;
  /** Answered by `onDigest`. Metadata only: (lba, version, CRC) of each block that has a version. */
  digest(lba: number, blocks: number, token: number): void;
  /**
   * Answered by `onStoreDone`. The core calls it when all earlier changes were answered and calls no change until it is:
   * the cut is exact (P1). A snapshot of that id that is there already is replaced.
   */
  takeSnapshot(snapshotId: string, name: string, version: Version, token: number): void;
  /**
   * B6: makes the branch of a snapshot from the next newer snapshot here, or from the volume as it is now; goes on with one
   * that is there. Durable before `onBranched`, which says whether the snapshot with that very cut is here already. Changes of
   * the volume may be under way, all of versions above the cut, and so may `saveRecord`, whose record need not name the snapshot
   * any more: what is made of it then is deleted by itself.
   */
  branchSnapshot(snapshotId: string, version: Version, token: number): void;
  /**
   * Answered by `onStoreDone`, when the branch is durably the snapshot: `snapshots` names it from then on. As with
   * `branchSnapshot`, changes of the volume may be under way.
   */
  sealSnapshot(snapshotId: string, version: Version, token: number): void;
  /** Snapshots that exist here, by id; not those whose branch is not sealed. */
  snapshots(): readonly string[];
  /** What is here of others, by their ids: begun and not sealed, or left over. `dropSnapshots` takes it away too. */
  branches(): readonly string[];
  /** H4: what a scrub found damaged here, to be told now: at most MAX_DAMAGE_TOLD, and again later until it is mended. */
  takeDamage(): readonly DamagedPlace[];
}

/** What drives a member core: src/replica/member.ts. */
export interface MemberEvents {
  /** A connection was accepted. Its first message must be Hello. */
  onSessionStart(nowMs: number, session: number): void;
  onSessionEnd(nowMs: number, session: number): void;
  /** The codec has checked the message's form and the CRC32C of each block (H1); a bad one never comes here. */
  onMessage(nowMs: number, session: number, message: CoordinatorMessage): void;

  onStoreDone(nowMs: number, token: number, status: IoStatus): void;
  onApplied(nowMs: number, slot: number, status: IoStatus): void;
  onRead(
    nowMs: number,
    token: number,
    status: IoStatus,
    failedLba: number,
    data: Payload | null,
  ): void;
  onListed(
    nowMs: number,
    token: number,
    status: IoStatus,
    runs: ChangedRuns,
    nextLba: number,
  ): void;
  onCopyRead(nowMs: number, token: number, status: IoStatus, copy: BlockCopies | null): void;
  onBranched(nowMs: number, token: number, status: IoStatus, complete: boolean): void;
  onDigest(
    nowMs: number,
    token: number,
    status: IoStatus,
    digestHigh: number,
    digestLow: number,
  ): void;
}
