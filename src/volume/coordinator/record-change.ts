// The changes a record can go through (E9), as pure functions: each returns the next record.
import type { MemberIdentity } from '../../wire/messages.ts';
import {
  findMember,
  type MemberEntry,
  MemberState,
  type SnapshotEntry,
  type VolumeRecord,
} from '../../wire/record.ts';
import { ALL_RULES, type Rules } from '../../wire/rules.ts';
import { maxVersion, minVersion, type Version, ZERO_VERSION } from '../../wire/version.ts';
import type { Adoption } from './adoption.ts';

/** The next record of the epoch; a loss that an activation declared is no longer pending (V7). */
export function nextRecord(
  record: VolumeRecord,
  change: Partial<VolumeRecord>,
  rules: Rules = ALL_RULES,
): VolumeRecord {
  const holeFloor = holeFloorAfter(
    rules.B7_committedFloor ? record : { ...record, ...change },
    change.members ?? record.members,
    rules,
  );
  return { ...record, lossPending: false, holeFloor, ...change, n: record.n + 1 };
}

/**
 * B7: the next record's floor, once `record` is committed: R1 made all it counts flush everything up to `allApplied`. Below
 * every `since` as well, and every snapshot that a rebuild may have to tell from the head (B6). Never from a record that
 * is only proposed: who has not stored it may lose the holes with its cache, and nobody could tell any more that it did.
 * A snapshot whose record is still to come is above `allApplied`: no record came since its cut (P3).
 */
function holeFloorAfter(
  record: VolumeRecord,
  changed: readonly MemberEntry[],
  rules: Rules,
): Version {
  let floor = record.allApplied;
  for (const member of [...record.members, ...changed]) {
    if (!member.witness && member.state !== MemberState.InSync)
      floor = minVersion(floor, member.since);
  }
  if (rules.B7_belowSnapshots) {
    for (const snapshot of record.snapshots) floor = minVersion(floor, snapshot.version);
  }
  return maxVersion(record.holeFloor, floor);
}

function withMember(
  record: VolumeRecord,
  replicaId: string,
  change: (entry: MemberEntry) => MemberEntry,
): readonly MemberEntry[] {
  return record.members.map((entry) => (entry.replicaId === replicaId ? change(entry) : entry));
}

/** V5. */
export function activationRecord(
  adoption: Adoption,
  epoch: number,
  coordinatorId: string,
  rules: Rules,
  force: boolean,
): VolumeRecord {
  const { record, present, trusted, lowest } = adoption;
  let heard = record.allApplied;
  if (rules.W10_hint) for (const { promise } of present) heard = maxVersion(heard, promise.hint);
  const members = record.members.map((entry): MemberEntry => {
    if (entry.witness) return entry;
    const inSync = trusted.find((one) => one.inSync && one.replicaId === entry.replicaId);
    if (inSync !== undefined) {
      const { openId, bootId } = inSync.promise;
      return {
        ...entry,
        openId,
        bootId,
        state: MemberState.InSync,
        join: ZERO_VERSION,
        since: ZERO_VERSION,
      };
    }
    if (!rules.V5_markAbsent && entry.state === MemberState.InSync) return entry;
    let { since } = entry;
    if (entry.state === MemberState.InSync) {
      const here = present.find(({ replicaId }) => replicaId === entry.replicaId);
      const own =
        here === undefined || here.promise.record === null
          ? undefined
          : findMember(here.promise.record, entry.replicaId);
      // Here, but below the role that the record gives it (V3): as its own record says. Away: what all had applied.
      since = here === undefined ? heard : (own?.since ?? ZERO_VERSION);
    }
    if (rules.V5_capByContig) since = minVersion(since, lowest);
    return { ...entry, state: MemberState.Stale, join: ZERO_VERSION, since };
  });
  // P3: a record that was only proposed may name a snapshot that a member lost with its cache. It was never reported then;
  // without any holder it does not exist.
  const here = new Set(present.map(({ replicaId }) => replicaId));
  const snapshots = record.snapshots
    .map((snapshot) => ({
      ...snapshot,
      holders: snapshot.holders.filter((holder) => {
        const promiser = present.find(({ replicaId }) => replicaId === holder);
        if (promiser === undefined) return !force;
        return !rules.P3_holdersSay || promiser.promise.snapshots.includes(snapshot.id);
      }),
    }))
    .filter(({ holders }) => holders.length > 0);
  return {
    ...record,
    epoch,
    n: 1,
    coordinatorId,
    // C1: by an operator's word the others are gone for good.
    members: force ? members.filter((entry) => here.has(entry.replicaId)) : members,
    oldMembers: force ? [] : record.oldMembers,
    snapshots,
    allApplied: rules.V5_keepAllApplied ? record.allApplied : { epoch, op: 0 },
    lossPending: adoption.loss,
  };
}

/** B1: `since` of each leaver, and `allApplied` over those that stay. */
export function detached(
  record: VolumeRecord,
  leavers: ReadonlyMap<string, Version>,
  allApplied: Version,
  rules: Rules,
): VolumeRecord {
  const applied = maxVersion(record.allApplied, allApplied);
  return nextRecord(
    record,
    {
      allApplied: applied,
      members: record.members.map((entry) => {
        const contig = leavers.get(entry.replicaId);
        if (contig === undefined) return entry;
        const since =
          entry.state === MemberState.Joining && rules.B5_interrupted
            ? entry.since // B5: interrupted, stale since the old version.
            : rules.B1_minOfBoth
              ? minVersion(contig, allApplied)
              : contig;
        return { ...entry, state: MemberState.Stale, join: ZERO_VERSION, since };
      }),
    },
    rules,
  );
}

/** B3: the member gets every op from `join` on. */
export function joined(
  record: VolumeRecord,
  replicaId: string,
  identity: MemberIdentity & { readonly snapshots: readonly string[] },
  join: Version,
  since: Version,
  rules: Rules,
): VolumeRecord {
  const { openId, bootId, snapshots } = identity;
  return nextRecord(
    record,
    {
      snapshots: record.snapshots
        .map((snapshot) => ({
          ...snapshot,
          holders: snapshot.holders.filter(
            (holder) =>
              holder !== replicaId || !rules.P3_holdersSay || snapshots.includes(snapshot.id),
          ),
        }))
        .filter(({ holders }) => holders.length > 0), // As at an activation: nobody has it.
      members: withMember(record, replicaId, (entry) => ({
        ...entry,
        openId,
        bootId,
        state: MemberState.Joining,
        join,
        since,
      })),
    },
    rules,
  );
}

/** B5. */
export function promoted(
  record: VolumeRecord,
  replicaId: string,
  snapshots: readonly SnapshotEntry[],
): VolumeRecord {
  return nextRecord(record, {
    snapshots,
    members: withMember(record, replicaId, (entry) => ({
      ...entry,
      state: MemberState.InSync,
      join: ZERO_VERSION,
      since: ZERO_VERSION,
    })),
  });
}

/** R5: the first of the two records of a member change. */
export function memberChanged(
  record: VolumeRecord,
  leaver: string | null,
  newcomer: (MemberIdentity & { readonly replicaId: string; readonly witness: boolean }) | null,
  rules: Rules,
): VolumeRecord {
  const members = record.members.filter((entry) => entry.replicaId !== leaver);
  if (newcomer !== null) {
    const { replicaId, storeId, openId, bootId, witness } = newcomer;
    members.push({
      replicaId,
      storeId,
      openId,
      bootId,
      witness,
      // R6: data for no one until it is promoted.
      state: rules.R6_newcomerIsStale || witness ? MemberState.Stale : MemberState.InSync,
      join: ZERO_VERSION,
      since: ZERO_VERSION,
    });
  }
  return nextRecord(record, {
    members,
    oldMembers: rules.R5_joint
      ? record.members.map(({ replicaId, storeId }) => ({ replicaId, storeId }))
      : [],
    // What a store that is gone alone held is gone with it; of one that is there, the coordinator lets no last holder go.
    snapshots: record.snapshots
      .map((snapshot) => ({
        ...snapshot,
        holders: snapshot.holders.filter((holder) => holder !== leaver),
      }))
      .filter(({ holders }) => holders.length > 0),
  });
}
