// What the scrub of a pool found damaged in its replicas and no mirror could mend, for their coordinators: others have it (W9, H3,
// H4). Each finding is told again until it is off the pool's list, ever more rarely while none of a replica's is.
import type { Clock } from '../base/index.ts';
import type { Pool } from '../store/index.ts';
import { type DamagedPlace, MAX_DAMAGE_TOLD } from '../wire/messages.ts';

/** How often the pool is asked, at most. */
const LOOK_MS = 1000;
/** What nobody could mend is told again after so long, twice as long each time up to the most. */
const LEAST_PAUSE_MS = 2000;
const MOST_PAUSE_MS = 60_000;

const NONE: readonly DamagedPlace[] = [];
/** The volume of a replica, or a snapshot of its line; `~ID`: what the branch of that snapshot stands on, and has in common with it. */
const OWN = /^(replica\/[^/@]+\/[^/@]+)(?:@~?(.+))?$/;
/** A snapshot that was made up for (B6): sealed, it has its branch's name. */
const BRANCHED = /^branch\/([^/@]+\/[^/@]+)\/([^@]+)@(.+)$/;

interface Telling {
  /** Of this round. */
  untold: DamagedPlace[];
  /** How many there were when it began. */
  count: number;
  pauseMs: number;
  /** When the next one may begin. */
  dueMs: number;
}

export class FoundDamage {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #tellings = new Map<string, Telling>();
  /** By the replica's volume in the pool. */
  #found = new Map<string, DamagedPlace[]>();
  #lookMs = Number.NEGATIVE_INFINITY;

  constructor({ pool, clock }: { readonly pool: Pool; readonly clock: Clock }) {
    this.#pool = pool;
    this.#clock = clock;
  }

  /** Is there anything to tell of any replica? */
  some(): boolean {
    this.#lookAt(this.#clock.nowMs());
    return this.#found.size > 0;
  }

  /** Of the replica in that volume: what is to be told now. */
  take(volumeName: string): readonly DamagedPlace[] {
    const nowMs = this.#clock.nowMs();
    this.#lookAt(nowMs);
    const all = this.#found.get(volumeName);
    if (all === undefined) {
      this.#tellings.delete(volumeName);
      return NONE;
    }
    let telling = this.#tellings.get(volumeName);
    if (telling === undefined) {
      telling = { untold: [], count: 0, pauseMs: 0, dueMs: nowMs };
      this.#tellings.set(volumeName, telling);
    }
    if (telling.untold.length === 0 && nowMs >= telling.dueMs) {
      const isSame = all.length === telling.count;
      telling.pauseMs = isSame ? Math.min(telling.pauseMs * 2, MOST_PAUSE_MS) : LEAST_PAUSE_MS;
      telling.count = all.length;
      telling.dueMs = nowMs + telling.pauseMs;
      telling.untold = [...all];
    }
    return telling.untold.splice(0, MAX_DAMAGE_TOLD);
  }

  #lookAt(nowMs: number): void {
    if (nowMs < this.#lookMs) return;
    this.#lookMs = nowMs + LOOK_MS;
    this.#found = new Map();
    for (const { volume, lba, isData } of this.#pool.devices.damage()) {
      const place = isData ? placeOf(volume) : null;
      if (place === null) continue;
      const { name, snapshotId } = place;
      const found = this.#found.get(name) ?? [];
      found.push({ lba, snapshotId });
      this.#found.set(name, found);
    }
  }
}

function placeOf(volume: string): { name: string; snapshotId: string | null } | null {
  const own = OWN.exec(volume);
  if (own !== null) return { name: own[1]!, snapshotId: own[2] ?? null };
  const branched = BRANCHED.exec(volume);
  if (branched === null || branched[2] !== branched[3]) return null;
  return { name: `replica/${branched[1]}`, snapshotId: branched[2]! };
}
