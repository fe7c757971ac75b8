// Scrubs by the clock, and how much of the devices walks may take: the same for `ashlar serve` and for a node. The pool itself
// keeps when its last scrub ended, so whoever was down meanwhile starts one when it is due and not all that it missed.
import { parseQuantity, periodMs } from '../base/index.ts';
import type { ScrubSpec } from '../kinds/index.ts';
import { DEFAULT_WALK_BYTES_PER_SECOND, type Pool } from '../store/index.ts';

/** What each pool was last told. */
const rates = new WeakMap<Pool, number>();

/** Effective at once, for walks that are under way, too. */
export function keepWalkRate(pool: Pool, scrub: ScrubSpec | null | undefined): void {
  const { bandwidth } = scrub ?? {};
  const asked = bandwidth === undefined ? null : parseQuantity(String(bandwidth));
  const rate = asked ?? DEFAULT_WALK_BYTES_PER_SECOND;
  if ((rates.get(pool) ?? DEFAULT_WALK_BYTES_PER_SECOND) === rate) return;
  pool.devices.setWalkRate(rate);
  rates.set(pool, rate);
}

/** Looked at since they were opened; and those whose last scrub had found something before. */
const known = new WeakSet<Pool>();
const unlisted = new WeakSet<Pool>();

/**
 * Where the damaged blocks are that a scrub found is known until the pool is closed (`PoolDevices.damage`). Nobody could mend them from
 * another replica afterwards: they are found once more.
 */
function listIsGone(pool: Pool): boolean {
  const { state, damagedBlocks } = pool.devices.scrubStatus();
  if (!known.has(pool)) {
    known.add(pool);
    if (damagedBlocks > 0) unlisted.add(pool);
  }
  return state === 'Done' && unlisted.has(pool);
}

/**
 * Starts a scrub where one is due, by the clock or as what the last one found is forgotten: the value. One that an operator has paused
 * or cancelled is left to them. Rejects with StoreError.
 */
export async function keepScrubbed(
  pool: Pool,
  scrub: ScrubSpec | null | undefined,
  now: Date,
): Promise<boolean> {
  const everyMs = periodMs(scrub?.every ?? '');
  if (pool.stats().state !== 'Online') return false;
  if (listIsGone(pool)) {
    await pool.devices.startScrub();
    unlisted.delete(pool);
    return true;
  }
  if (everyMs === null) return false;
  const { state, endedAt } = pool.devices.scrubStatus();
  if (state === 'Running' || state === 'Paused') return false;
  const sinceMs = endedAt === null ? Number.POSITIVE_INFINITY : now.getTime() - endedAt.getTime();
  // A clock that was set back must not stop the schedule until it has caught up.
  if (sinceMs < everyMs && sinceMs > -everyMs) return false;
  await pool.devices.startScrub();
  return true;
}
