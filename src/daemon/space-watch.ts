// Watches how full the pool is, and tells the hosts in time: the soft threshold of thin provisioning (06h/38h/07h), long
// before writes that grow are refused.
import type { Clock, Log, Timer } from '../base/index.ts';
import type { PoolStats } from '../store/index.ts';

const INTERVAL_MS = 5000;
/** It must fall so many percent below the threshold before reaching it counts as news again. */
const HYSTERESIS_PERCENT = 3;

export interface SpaceWatchOptions {
  readonly stats: () => PoolStats;
  /** 0: never. */
  readonly thresholdPercent: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly tell: (low: boolean) => void;
}

export class SpaceWatch {
  readonly #options: SpaceWatchOptions;
  #low = false;
  #timer: Timer | null = null;

  /** Looks at once, then now and then. */
  constructor(options: SpaceWatchOptions) {
    this.#options = options;
    if (options.thresholdPercent > 0) this.#look();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #look(): void {
    const { stats, thresholdPercent, clock, log, tell } = this.#options;
    const percent = usedPercent(stats());
    if (!this.#low && percent >= thresholdPercent) {
      this.#low = true;
      log.warn(
        { usedPercent: Math.floor(percent), thresholdPercent },
        'the pool is filling up: hosts are told; see docs/operations.md',
      );
      tell(true);
    } else if (this.#low && percent < thresholdPercent - HYSTERESIS_PERCENT) {
      this.#low = false;
      log.info({ usedPercent: Math.floor(percent), thresholdPercent }, 'the pool has space again');
      tell(false);
    }
    this.#timer = clock.schedule(INTERVAL_MS, () => this.#look());
  }
}

/** Of what writes may take; blocks that were freed and wait for a checkpoint do not count. */
export function usedPercent(stats: PoolStats): number {
  if (stats.usableBlocks === 0) return 100;
  return ((stats.allocatedBlocks - stats.pendingFreeBlocks) / stats.usableBlocks) * 100;
}
