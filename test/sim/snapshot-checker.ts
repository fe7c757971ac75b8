// What becomes of snapshots (T4.6), held against committed records: each was taken by enough (P3), is held by those that the
// record names, alike and for good, and none that was reported is lost while a store is there that has it.
import { BlockKind } from '../../src/wire/messages.ts';
import { compare, MemberState, majorityOf, type VolumeRecord } from '../../src/wire/record.ts';
import { Violation } from './checker.ts';
import type { Cell } from './sim-store.ts';

/** A member's store, as far as it matters here. */
interface Holder {
  readonly replicaId: string;
  readonly store: {
    readonly storeId: string;
    snapshotCells(id: string): readonly Cell[] | null;
    /** Blocks of it that were damaged in the volume that it was made up of. */
    inheritedDamage(id: string): ReadonlySet<number>;
  };
}

interface Known {
  readonly values: readonly (number | null)[];
  /** Who held it in the last record that named it, by store. */
  stores: readonly { readonly replicaId: string; readonly storeId: string }[];
}

export class SnapshotChecker {
  readonly #known = new Map<string, Known>();
  readonly #reported = new Set<string>();

  /** It was told that the snapshot is taken: by enough, in the record that is committed since. */
  onTaken(id: string, record: VolumeRecord): void {
    this.#reported.add(id);
    const hasWitness = record.members.some(({ witness }) => witness);
    const least = hasWitness ? 1 : majorityOf(record.members.length);
    const holders = record.snapshots.find((snapshot) => snapshot.id === id)?.holders.length ?? 0;
    if (holders < least) throw new Violation(`snapshot ${id} was taken by ${holders} of ${least}`);
  }

  /** Its deletion was asked for: from here on it may be gone. */
  onDelete(id: string): void {
    this.#reported.delete(id);
  }

  /** A record is committed, newer than any before. */
  onRecord(record: VolumeRecord, members: readonly Holder[]): void {
    for (const { id, version, holders } of record.snapshots) {
      if (compare(record.holeFloor, version) > 0) {
        throw new Violation(`snapshot ${id} has its cut below the floor of holes (B7)`);
      }
      let known = this.#known.get(id);
      for (const holder of holders) {
        const entry = record.members.find(({ replicaId }) => replicaId === holder);
        const member = members.find(({ replicaId }) => replicaId === holder)!;
        // Away, or emptied since: it will say what it has.
        if (entry?.state !== MemberState.InSync || entry.storeId !== member.store.storeId) continue;
        const values = member.store.snapshotCells(id)?.map(contentOf);
        if (values === undefined) throw new Violation(`snapshot ${id} is missing at ${holder}`);
        known ??= { values, stores: [] };
        if (differ(values, known.values))
          throw new Violation(`snapshot ${id} is another at ${holder}`);
        const isNew = !known.stores.some(({ replicaId }) => replicaId === holder);
        if (isNew && known.stores.length > 0)
          this.#checkDamage(record, holders, members, id, member, values);
      }
      if (known === undefined) continue;
      this.#known.set(id, known);
      // By the stores that the record names: one that is there now may have been emptied a moment ago.
      known.stores = record.members.filter(({ replicaId }) => holders.includes(replicaId));
    }
    for (const id of this.#reported) {
      if (record.snapshots.some((snapshot) => snapshot.id === id)) continue;
      const left = this.#known.get(id)?.stores.find(({ replicaId, storeId }) => {
        const { store } = members.find((member) => member.replicaId === replicaId)!;
        return store.storeId === storeId;
      });
      if (left !== undefined)
        throw new Violation(`snapshot ${id} is in no record, and ${left.replicaId} held it`);
      this.#reported.delete(id); // Every store that had it is gone.
    }
  }

  /** After healing: every data member holds every snapshot, alike (B6). */
  onHealed(record: VolumeRecord, members: readonly Holder[]): void {
    for (const { id, holders } of record.snapshots) {
      let first: readonly (number | null)[] | null = null;
      for (const { replicaId, witness } of record.members) {
        if (witness) continue;
        const { store } = members.find((member) => member.replicaId === replicaId)!;
        const values = store.snapshotCells(id)?.map(contentOf);
        if (values === undefined || !holders.includes(replicaId))
          throw new Violation(`after healing ${replicaId} does not hold snapshot ${id}`);
        first ??= values;
        if (differ(first, values))
          throw new Violation(`after healing snapshot ${id} is another at ${replicaId}`);
      }
    }
  }

  /** B6: one that made up for it has taken nothing as damaged that another could have delivered. */
  #checkDamage(
    record: VolumeRecord,
    holders: readonly string[],
    members: readonly Holder[],
    id: string,
    member: Holder,
    values: readonly (number | null)[],
  ): void {
    const isIntact = (holder: string, lba: number): boolean => {
      const { store } = members.find(({ replicaId }) => replicaId === holder)!;
      const entry = record.members.find(({ replicaId }) => replicaId === holder);
      const cell = store.snapshotCells(id)?.[lba];
      if (entry?.storeId !== store.storeId || cell === undefined) return false;
      return cell.kind !== BlockKind.Damaged && cell.rotten === null;
    };
    const inherited = member.store.inheritedDamage(id);
    values.forEach((value, lba) => {
      if (value !== null || inherited.has(lba)) return;
      const other = holders.find((holder) => isIntact(holder, lba));
      if (other === undefined) return;
      const { replicaId } = member;
      throw new Violation(
        `snapshot ${id}: block ${lba} is damaged at ${replicaId}, and not at ${other}`,
      );
    });
  }
}

/** Null: a copy of a block that was damaged wherever it could be had (H6). It says so, and is no other content. */
function contentOf({ kind, value }: Cell): number | null {
  if (kind === BlockKind.Damaged) return null;
  return kind === BlockKind.Data ? value : 0;
}

function differ(a: readonly (number | null)[], b: readonly (number | null)[]): boolean {
  return a.some((value, at) => value !== null && b[at] !== null && value !== b[at]);
}
