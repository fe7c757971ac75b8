// The record (E9): who the members of a volume are, and what each one's copy is worth. It is the only truth about that,
// stored by every member, proposed by a coordinator in its op stream (R1) and committed by the rules R2-R5. Records are
// immutable: a change makes a new one with a higher (epoch, n).
import { compareVersions, type Version, ZERO_VERSION } from './version.ts';

export const MemberState = {
  /** In sync: complete up to its own contiguous version. */
  InSync: 1,
  /** Joining since `join`: gets every op at or above it, its older blocks are incomplete. */
  Joining: 2,
  /** Stale since `since`: right up to it, untrusted above. */
  Stale: 3,
} as const;
export type MemberState = (typeof MemberState)[keyof typeof MemberState];

export interface MemberEntry {
  /** The replica's name in the control plane: stable over restarts, moves with its store. */
  readonly replicaId: string;
  /** E6: made with the store. Another store under the same replicaId is blank for this record. */
  readonly storeId: string;
  /** E7: the opening that was attached. A member that does not know it went back in time. */
  readonly openId: string;
  /** V6: the boot of the machine at attach; another one now means that unflushed writes are gone. */
  readonly bootId: string;
  /** Stores records and votes, holds no data, is never counted. Its state is Stale for ever. */
  readonly witness: boolean;
  readonly state: MemberState;
  /** Joining: the first version it gets in its stream. Else ZERO_VERSION. */
  readonly join: Version;
  /** Joining and Stale: right up to this version (B1). In sync: ZERO_VERSION. */
  readonly since: Version;
}

export interface SnapshotEntry {
  readonly id: string;
  readonly name: string;
  /** P1: it holds exactly the ops below this version. */
  readonly version: Version;
  /** When it was asked for, as the host clock said: for people, compared by nobody. Milliseconds since 1970. */
  readonly createdMs: number;
  /** Of the volume at the cut, in 4 KiB blocks. */
  readonly sizeBlocks: number;
  /** Replicas that hold it. A member that was away when it was taken does not (decision 0023). */
  readonly holders: readonly string[];
}

export interface VolumeRecord {
  readonly volumeId: string;
  readonly epoch: number;
  /** Counts the records of an epoch; 1 is its activation. */
  readonly n: number;
  /** Who activated the epoch. */
  readonly coordinatorId: string;
  readonly members: readonly MemberEntry[];
  /**
   * R5: while it is not empty, promises and commits need a majority of these storeIds too. The list before the change:
   * the leaver is in it and not in `members`; every other entry's place is in `members`.
   */
  readonly oldMembers: readonly OldMember[];
  /** W10: everything at or below it is applied at every member that is in sync. */
  readonly allApplied: Version;
  /**
   * B7: holes at or below it may have lost their version. Everything up to it was durable at every counted member when the
   * record before was committed; whoever returns with less is compared from zero.
   */
  readonly holeFloor: Version;
  /** V7: acknowledged writes may be lost, and an activation has yet to declare it (C8). */
  readonly lossPending: boolean;
  /** Oldest first. */
  readonly snapshots: readonly SnapshotEntry[];
  /** In 4 KiB blocks. Grows only. */
  readonly sizeBlocks: number;
  /** Small durable values of the rooms above: persistent reservations, saved mode pages, the write cache's state. */
  readonly blobs: readonly { readonly key: string; readonly value: Uint8Array }[];
}

export interface OldMember {
  readonly replicaId: string;
  readonly storeId: string;
}

/** Negative, zero or positive as `a` is older than, the same as or newer than `b` (R4). */
export function compareRecords(a: VolumeRecord, b: VolumeRecord): number {
  return a.epoch === b.epoch ? a.n - b.n : a.epoch - b.epoch;
}

/** What a majority of `count` voters is: ⌊N/2⌋ + 1. */
export function majorityOf(count: number): number {
  return Math.floor(count / 2) + 1;
}

/** The entry of the store, or undefined where the record does not name it (E6). */
export function findMember(record: VolumeRecord, replicaId: string): MemberEntry | undefined {
  for (const member of record.members) if (member.replicaId === replicaId) return member;
  return undefined;
}

/** Is the store named, now or in the list that a member change leaves behind (R5)? */
export function recordNames(record: VolumeRecord, replicaId: string, storeId: string): boolean {
  for (const member of record.members) {
    if (member.replicaId === replicaId && member.storeId === storeId) return true;
  }
  for (const member of record.oldMembers) {
    if (member.replicaId === replicaId && member.storeId === storeId) return true;
  }
  return false;
}

export interface NewMember {
  readonly replicaId: string;
  readonly storeId: string;
  readonly openId: string;
  readonly bootId: string;
  readonly witness: boolean;
}

/**
 * The record that the stores of a new volume are created with: every member but the witness in sync and empty, epoch 0,
 * so that any coordinator must activate first. It is given to a store only together with the storeId it names, at its
 * creation, and never again: a store that came back empty has another storeId and is blank (E6).
 *
 * With `base`, the stores were made from one snapshot, cut at that version, and are alike: the record goes on from there, so
 * that every change to come has a higher version than any block has (E1), and a copy to a newcomer keeps its order (W2).
 */
export function initialRecord(options: {
  readonly volumeId: string;
  readonly sizeBlocks: number;
  readonly members: readonly NewMember[];
  readonly base?: Version;
  readonly blobs?: VolumeRecord['blobs'];
}): VolumeRecord {
  const { base = ZERO_VERSION, blobs = [] } = options;
  return {
    volumeId: options.volumeId,
    epoch: base.epoch,
    n: 1,
    coordinatorId: '',
    members: options.members.map((member) => ({
      ...member,
      state: member.witness ? MemberState.Stale : MemberState.InSync,
      join: ZERO_VERSION,
      since: ZERO_VERSION,
    })),
    oldMembers: [],
    allApplied: base,
    holeFloor: base,
    lossPending: false,
    snapshots: [],
    sizeBlocks: options.sizeBlocks,
    blobs,
  };
}

/** The blocks of a listing or copy compare by version; this is `compareVersions` for two `Version`s. */
export function compare(a: Version, b: Version): number {
  return compareVersions(a.epoch, a.op, b.epoch, b.op);
}
