// Recovery's decision (V1-V3, V6): from the promises at hand, which record is adopted, whom to trust how far, and whether
// acknowledged writes may be lost. Pure: the coordinator asks again with each promise.
import type { PromiseMade } from '../../wire/messages.ts';
import {
  compareRecords,
  findMember,
  MemberState,
  majorityOf,
  type VolumeRecord,
} from '../../wire/record.ts';
import type { Rules } from '../../wire/rules.ts';
import { minVersion, type Version } from '../../wire/version.ts';

export interface Promiser {
  readonly replicaId: string;
  readonly promise: PromiseMade;
}

export interface Trusted extends Promiser {
  /** V3: believed at versions from here on; zero for who is in sync. */
  readonly from: Version;
  readonly inSync: boolean;
}

export interface Adoption {
  readonly record: VolumeRecord;
  /** P: promisers that the record names, with the store it names. */
  readonly present: readonly Promiser[];
  /** In sync first, then joiners. */
  readonly trusted: readonly Trusted[];
  /** V4, V5: the lowest contiguous version in P ∩ S. */
  readonly lowest: Version;
  /** Every member of the record has promised: nobody to wait for. */
  readonly complete: boolean;
  /** V6: too few of those that hold the last acknowledged writes have kept their caches. */
  readonly loss: boolean;
  /** With `loss`: members that count have not promised; waiting for them may avoid it. */
  readonly lossAvoidable: boolean;
}

/** The adoption, or in words what is missing. */
export function adopt(
  promisers: readonly Promiser[],
  rules: Rules,
  options: {
    readonly force: boolean;
    readonly volatileCache: boolean;
    /** H6: promisers that lost a part of their map. They vote, and are data for nobody. An operator's force goes without this. */
    readonly lost?: ReadonlySet<string>;
  },
): Adoption | string {
  let record: VolumeRecord | null = null;
  for (const { promise } of promisers) {
    if (promise.record === null) continue;
    // R4: the highest, committed or not.
    const better = record === null || compareRecords(promise.record, record) > 0;
    if (better === rules.R4_highestRecord || record === null) record = promise.record;
  }
  if (record === null) return 'no store with a record of this volume has promised';
  const best = record;

  const present = promisers.filter(({ replicaId, promise }) =>
    isKnown(best, replicaId, promise, rules),
  );
  const named = new Set(present.map(({ replicaId }) => replicaId));
  const have = best.members.filter((member) => named.has(member.replicaId)).length;
  const haveOld = best.oldMembers.filter((member) => named.has(member.replicaId)).length;
  const majority = majorityOf(best.members.length);
  if (!options.force && rules.V1_majority) {
    if (have < majority) {
      return `${have} of ${best.members.length} members have promised, ${majority} are needed`;
    }
    if (
      best.oldMembers.length > 0 &&
      rules.R5_joint &&
      haveOld < majorityOf(best.oldMembers.length)
    ) {
      return 'a member change is under way, and the list before it has no majority';
    }
  }

  const trusted: Trusted[] = [];
  const joiners: Trusted[] = [];
  let counted = 0;
  for (const member of best.members) if (member.state !== MemberState.Stale) counted += 1;
  const lost = options.force ? undefined : options.lost;
  let countedPresent = 0;
  let withMap = 0;
  let clean = 0;
  let cleanInSync = 0;
  let lowest: Version | null = null;
  for (const promiser of present) {
    const { replicaId, promise } = promiser;
    const entry = findMember(best, replicaId);
    if (entry === undefined || entry.witness) continue;
    if (entry.state !== MemberState.Stale) {
      countedPresent += 1;
      if (lost?.has(replicaId) === true) continue;
      // R1: what was acknowledged under the record before is surely at those alone that stored this one.
      const stored = promise.record;
      const isStored = stored !== null && compareRecords(stored, best) === 0;
      if (isStored || !rules.H6_storedRecord) withMap += 1;
      if (entry.bootId === promise.bootId || entry.bootId === '') clean += 1;
    }
    // V3: no member above the role in the record that it stored itself.
    const own = promise.record === null ? undefined : findMember(promise.record, replicaId);
    let { state } = entry;
    let from = entry.join;
    if (rules.V3_ownRole) {
      if (state === MemberState.InSync && own?.state !== MemberState.InSync) {
        state = own?.state === MemberState.Joining ? MemberState.Joining : MemberState.Stale;
        if (own !== undefined) from = own.join;
      } else if (
        state === MemberState.Joining &&
        (own?.state ?? MemberState.Stale) === MemberState.Stale
      ) {
        state = MemberState.Stale;
      }
    }
    if (state === MemberState.InSync) {
      trusted.push({ ...promiser, from: { epoch: 0, op: 0 }, inSync: true });
      if (entry.bootId === promise.bootId || entry.bootId === '') cleanInSync += 1;
      lowest = lowest === null ? promise.contig : minVersion(lowest, promise.contig);
    } else if (state === MemberState.Joining) {
      joiners.push({ ...promiser, from, inSync: false });
    } else if (!rules.V3_trust) {
      joiners.push({ ...promiser, from: { epoch: 0, op: 0 }, inSync: false });
    }
  }
  const witness = best.members.some((member) => member.witness);
  const q =
    best.oldMembers.length > 0 ? Math.min(majority, majorityOf(best.oldMembers.length)) : majority;
  const needed = witness ? 1 : Math.max(1, counted - q + 1);
  // H6, as V2 and V6: each acked op is at one of those that are believed.
  const short = (withMap < needed && rules.H6_othersSuffice) || lowest === null;
  if (lost !== undefined && lost.size > 0 && short) {
    return `${[...lost].join(', ')} lost a part of its map, and the others may lack what it had there`;
  }
  // V2.
  if (lowest === null) {
    if (!options.force && rules.V2_oneInSync) return 'no member in sync has promised';
    const rescued = rescue(present, best);
    if (rescued === null) return 'no member with data has promised';
    trusted.push(rescued);
    lowest = rescued.promise.contig;
  }

  const unclean = clean < needed || cleanInSync === 0;
  const loss = options.volatileCache && rules.V6_clean && unclean;
  return {
    record: best,
    present,
    trusted: [...trusted, ...joiners],
    lowest,
    complete: have === best.members.length,
    loss: loss || options.force || (best.lossPending && rules.V7_lossStays), // V7
    lossAvoidable: loss && countedPresent < counted,
  };
}

/** E6, E7: the store that the record names, and one that remembers the opening it was attached with. */
function isKnown(
  record: VolumeRecord,
  replicaId: string,
  promise: PromiseMade,
  rules: Rules,
): boolean {
  for (const member of record.members) {
    if (member.replicaId !== replicaId) continue;
    if (rules.E6_storeId && member.storeId !== promise.storeId) continue;
    return !rules.E7_openId || member.openId === '' || promise.openIds.includes(member.openId);
  }
  return record.oldMembers.some(
    (member) => member.replicaId === replicaId && member.storeId === promise.storeId,
  );
}

/** C1: an operator's force without a member in sync takes the copy that has come furthest. */
function rescue(present: readonly Promiser[], record: VolumeRecord): Trusted | null {
  let best: Promiser | null = null;
  for (const promiser of present) {
    const entry = findMember(record, promiser.replicaId);
    if (entry === undefined || entry.witness) continue;
    const { contig } = promiser.promise;
    if (best === null || minVersion(best.promise.contig, contig) === best.promise.contig) {
      best = promiser;
    }
  }
  return best === null ? null : { ...best, from: { epoch: 0, op: 0 }, inSync: true };
}
