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

/** Starts a scrub where one is due: the value. One that an operator has paused is left to them. Rejects with StoreError. */
export async function keepScrubbed(
  pool: Pool,
  scrub: ScrubSpec | null | undefined,
  now: Date,
): Promise<boolean> {
  const everyMs = periodMs(scrub?.every ?? '');
  if (everyMs === null || pool.stats().state !== 'Online') return false;
  const { state, endedAt } = pool.devices.scrubStatus();
  if (state === 'Running' || state === 'Paused') return false;
  const sinceMs = endedAt === null ? Number.POSITIVE_INFINITY : now.getTime() - endedAt.getTime();
  // A clock that was set back must not stop the schedule until it has caught up.
  if (sinceMs < everyMs && sinceMs > -everyMs) return false;
  await pool.devices.startScrub();
  return true;
}
