// Snapshots of a replica that the record in force does not name (P3), and that are to go once no branch is under way that may
// stand on them. Not all that is there and unnamed: a cut that is taken now is named by the record that is still to come.
import type { VolumeRecord } from '../wire/record.ts';
import type { ReplicaSnapshots } from './replica-snapshots.ts';

export class UnnamedSnapshots {
  readonly #snapshots: ReplicaSnapshots;
  #toDrop = new Set<string>();
  /** Branches that were worked on while the next record may have been under way already, which then knows nothing of them. */
  readonly #branched = new Set<string>();
  #dropping: { readonly ids: readonly string[]; readonly ended: Promise<void> } | null = null;

  constructor(snapshots: ReplicaSnapshots) {
    this.#snapshots = snapshots;
  }

  get some(): boolean {
    return this.#toDrop.size > 0;
  }

  branched(id: string): void {
    this.#branched.add(id);
  }

  /** `dropSnapshots`: what was there when its keeping began, and it does not name. Takes the place of the lists before. */
  recordKept(
    { snapshots }: VolumeRecord,
    dropSnapshots: readonly string[],
    branching: boolean,
  ): void {
    const named = new Set(snapshots.map(({ id }) => id));
    const unnamed = [...this.#branched].filter((id) => !named.has(id));
    this.#toDrop = new Set([...dropSnapshots, ...unnamed]);
    if (!branching) this.#branched.clear();
  }

  /** It will be there for another record. Resolves when what was there before is not being dropped any more. */
  async takenAnew(id: string): Promise<void> {
    this.#toDrop.delete(id);
    this.#branched.delete(id);
    if (this.#dropping?.ids.includes(id) === true) await this.#dropping.ended;
  }

  /** Rejects as ReplicaSnapshots.drop does: the next record names them to it again. */
  async drop(): Promise<void> {
    const ids = [...this.#toDrop];
    this.#toDrop.clear();
    const dropped = this.#snapshots.drop(ids);
    const dropping = { ids, ended: dropped.catch(() => {}) };
    this.#dropping = dropping;
    try {
      await dropped;
    } finally {
      if (this.#dropping === dropping) this.#dropping = null;
    }
  }
}
