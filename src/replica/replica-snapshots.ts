// The snapshots of one replica in its pool (P3, B6). Those that it took lie in the line of its volume, `VOLUME@ID`; those that
// it missed, and made up for, are sealed *branches* beside it, `branch/…/ID@ID`. Branches that are not sealed are no snapshots.
//
// What must hold:
// - A branch begins from the next newer snapshot here, or from a *ground*: a snapshot `~ID` of the volume as it was then.
// - Nothing is kept that nobody needs: a ground goes with the last branch that stands on it, a deleted snapshot's blocks go
//   though an older branch began from it.
import { randomUUID } from 'node:crypto';
import { IoStatus } from '../block/index.ts';
import { type Pool, StoreError, type StoreVolume } from '../store/index.ts';
import { compareVersions, isBelow, type Version } from '../wire/version.ts';

/** Of a branch (B6), the last step of making it: its snapshot's cut, 4 bytes epoch and 8 bytes op. */
const BRANCH_KEY = 'replica.branch';
const BRANCH_BYTES = 12;
/** What a branch begins from, where no newer snapshot is here: `~ID` of the volume. No snapshot's id begins so. */
const GROUND = '~';
/** What was never written, as a branch takes it: below every version that there is, and above none. */
export const NOTHING: Version = { epoch: 0, op: 1 };

/** `replica/VOLUME/REPLICA` has its branches in `branch/VOLUME/REPLICA/SNAPSHOT`. */
export const BRANCH_PREFIX = 'branch/';

/** The branches of that replica's volume, by the name that its snapshots' ids follow. */
export function branchesOf(volumeName: string): string {
  return `${BRANCH_PREFIX}${volumeName.slice(volumeName.indexOf('/') + 1)}/`;
}

/**
 * S14: what began from snapshots of that volume outlives it: the clone of the newest such snapshot gets it and those before
 * it, and the volume becomes a clone of that. Rejects with StoreError.
 */
export async function handOn(pool: Pool, volumeName: string): Promise<void> {
  const cloned = pool
    .snapshots(volumeName)
    .filter((snapshot) => snapshot.snapshotInfo().clones.length > 0);
  const [heir] = cloned.at(-1)?.snapshotInfo().clones ?? [];
  if (heir !== undefined) await pool.promoteVolume(heir);
}

export class ReplicaSnapshots {
  readonly #pool: Pool;
  readonly #volume: StoreVolume;
  /** Of this replica's branches. */
  readonly #prefix: string;

  constructor(pool: Pool, volume: StoreVolume) {
    this.#pool = pool;
    this.#volume = volume;
    this.#prefix = branchesOf(volume.name);
  }

  /** In the pool: `VOLUME@ID`, or `BRANCH@ID` of one that was made up for. People's names for it are the record's. */
  nameOf(id: string): string {
    const own = `${this.#volume.name}@${id}`;
    const isBranched = this.#pool.snapshot(own) === null && this.#isSealed(id);
    return isBranched ? `${this.#branchName(id)}@${id}` : own;
  }

  /** By id; not those whose branch is not sealed. */
  ids(): string[] {
    const own = this.#own().filter((id) => !id.startsWith(GROUND));
    return [...own, ...this.#branchIds().filter((id) => this.#isSealed(id))];
  }

  /** What is here of others, by their ids: begun and not sealed, or left over. `drop` takes it away. */
  unsealed(): string[] {
    const grounds = this.#own().filter((id) => id.startsWith(GROUND));
    const ids = grounds.map((id) => id.slice(GROUND.length));
    return [...new Set([...ids, ...this.#branchIds()])].filter((id) => !this.#isSealed(id));
  }

  /** What may be filled; null: it is not there, or is what it is to be. */
  unsealedVolume(id: string): StoreVolume | null {
    return this.#isSealed(id) ? null : this.#pool.volume(this.#branchName(id));
  }

  /** Durable, not just applied: what the record names later is then there whatever happens. */
  async take(id: string, { epoch, op }: Version): Promise<void> {
    const full = `${this.#volume.name}@${id}`;
    // Of an attempt that no record named.
    if (this.#pool.snapshot(full) !== null) await this.#pool.deleteSnapshot(full);
    const request = { volume: this.#volume.name, name: id, id: randomUUID(), epoch, opNumber: op };
    await this.#pool.createSnapshots([request], 0); // When it was taken, the record says.
  }

  /**
   * Whether the snapshot is here. Each step leaves what the next call goes on with, or begins again. `holeFloor`: of the
   * volume.
   */
  async branch(id: string, version: Version, holeFloor: Version): Promise<boolean> {
    const pool = this.#pool;
    const name = this.#branchName(id);
    for (const full of [`${this.#volume.name}@${id}`, `${name}@${id}`]) {
      const known = pool.snapshot(full)?.snapshotInfo();
      if (known === undefined) continue;
      if (known.epoch === version.epoch && known.op === version.op) return true;
      // Of an attempt with another cut, which no record named.
      if (full.startsWith(BRANCH_PREFIX)) await this.#deleteBranch(id);
      else await pool.deleteSnapshot(full);
    }
    const cut = Buffer.alloc(BRANCH_BYTES);
    cut.writeUInt32LE(version.epoch, 0);
    cut.writeBigUInt64LE(BigInt(version.op), 4);
    const begun = pool.volume(name);
    const madeFor = begun?.getBlob(BRANCH_KEY) ?? null;
    if (madeFor !== null && cut.equals(madeFor)) return false;
    if (begun !== null) await this.#deleteBranch(id);
    await this.#sweep(); // Of a branch that was half made: a newer snapshot may have come since, and be the ground now.
    const ground = await this.#groundOf(id, version);
    const branch = await pool.cloneSnapshot(ground, { id: randomUUID(), name });
    // B7: as the volume's, which is below every cut. An older snapshot may begin from this one, and needs to see what holes
    // have come since. NOTHING is below it: what was never written is left without a version.
    await branch.setMarks({ holeFloor: isBelow(holeFloor, NOTHING) ? NOTHING : holeFloor });
    const status = await new Promise<IoStatus>((done) => branch.putBlob(BRANCH_KEY, cut, done));
    if (status !== IoStatus.Ok) throw new StoreError('STORE_IO', `branch ${id} could not be kept`);
    return false;
  }

  /** The snapshot here that is next above the cut, or the volume as it is now. */
  async #groundOf(id: string, version: Version): Promise<string> {
    const pool = this.#pool;
    const { name } = this.#volume;
    const newer = this.ids()
      .map((other) => pool.snapshot(this.nameOf(other))!)
      .map((snapshot) => ({ full: snapshot.name, ...snapshot.snapshotInfo() }))
      .filter((info) => compareVersions(info.epoch, info.op, version.epoch, version.op) >= 0)
      .sort((a, b) => compareVersions(a.epoch, a.op, b.epoch, b.op));
    const [next] = newer;
    if (next !== undefined) return next.full;
    // One of this name may be left: another branch has got it from one that is gone, and nobody knows for which cut it was made.
    let short = `${GROUND}${id}`;
    for (let more = 1; pool.snapshot(`${name}@${short}`) !== null; more += 1) {
      short = `${GROUND}${id}.${more}`;
    }
    const { epoch, op } = this.#volume.info();
    const request = { volume: name, name: short, id: randomUUID(), epoch, opNumber: op + 1 };
    await pool.createSnapshots([request], 0);
    return `${name}@${short}`;
  }

  /** Durable with everything that was put into the branch. False: there is none. */
  async seal(id: string, { epoch, op }: Version): Promise<boolean> {
    const name = this.#branchName(id);
    if (this.#isSealed(id)) return true;
    if (this.#pool.volume(name) === null) return false;
    const request = { volume: name, name: id, id: randomUUID(), epoch, opNumber: op };
    await this.#pool.createSnapshots([request], 0);
    return true;
  }

  /** What is here of these snapshots goes: at once, or with the next call after the last clone's end (S14). */
  async drop(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    for (const id of ids) {
      await quietly(() => this.#deleteBranch(id));
      await quietly(() => this.#pool.deleteSnapshot(`${this.#volume.name}@${id}`));
    }
    await this.#sweep();
  }

  /** Older branches that began from it get what they stand on. A replica that began from it keeps it where it is. */
  async #deleteBranch(id: string): Promise<void> {
    const name = this.#branchName(id);
    if (this.#pool.volume(name) === null) return;
    const clones = this.#pool.snapshots(name).flatMap((one) => one.snapshotInfo().clones);
    if (clones.every((clone) => clone.startsWith(this.#prefix))) await handOn(this.#pool, name);
    await this.#pool.deleteVolume(name, { withSnapshots: true });
  }

  /** Grounds that no branch stands on any more, and what branches got of those that are gone. */
  async #sweep(): Promise<void> {
    const unneeded = (fullName: string): boolean =>
      this.#pool.snapshot(fullName)?.snapshotInfo().clones.length === 0;
    const grounds = this.#own().filter((short) => short.startsWith(GROUND));
    const left = grounds.map((short) => `${this.#volume.name}@${short}`);
    for (const id of this.#branchIds()) {
      for (const { name, shortName } of this.#pool.snapshots(this.#branchName(id))) {
        if (shortName !== id) left.push(name);
      }
    }
    for (const fullName of left) {
      if (unneeded(fullName)) await quietly(() => this.#pool.deleteSnapshot(fullName));
    }
  }

  #own(): string[] {
    return this.#pool.snapshots(this.#volume.name).map(({ shortName }) => shortName);
  }

  #branchName(id: string): string {
    return `${this.#prefix}${id}`;
  }

  #branchIds(): string[] {
    return this.#pool
      .volumes()
      .filter(({ name }) => name.startsWith(this.#prefix))
      .map(({ name }) => name.slice(this.#prefix.length));
  }

  #isSealed(id: string): boolean {
    return this.#pool.snapshot(`${this.#branchName(id)}@${id}`) !== null;
  }
}

/** S14: a clone still needs it. It stays, unnamed, until a record comes after that clone's end; so does what is not there. */
async function quietly(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
  }
}
