// Watches how full the pool is, and tells the hosts in time: the soft threshold of thin provisioning (06h/38h/07h), long
// before writes that grow are refused. And whether all of its space is known (H6).
import type { Clock, Log, Timer } from '../base/index.ts';
import type { ProvisioningSpace } from '../scsi/index.ts';
import { type PoolStats, STORE_BLOCK_BYTES, writableBlocks } from '../store/index.ts';

const INTERVAL_MS = 5000;
/** It must fall so many percent below the threshold before reaching it counts as news again. */
const HYSTERESIS_PERCENT = 3;

export interface SpaceWatchOptions {
  readonly stats: () => PoolStats;
  /** 0: hosts are never told. */
  readonly thresholdPercent: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly tell: (low: boolean) => void;
}

export class SpaceWatch {
  readonly #options: SpaceWatchOptions;
  #low = false;
  #unknownBlocks = 0;
  #timer: Timer | null = null;

  /** Looks at once, then now and then. */
  constructor(options: SpaceWatchOptions) {
    this.#options = options;
    const { rebuiltPages } = options.stats();
    if (rebuiltPages > 0) {
      options.log.warn(
        { rebuiltPages },
        'both copies of a part of the map of free space were damaged: it was made anew; look at the disk',
      );
    }
    this.#look();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #look(): void {
    const { stats, thresholdPercent, clock, log, tell } = this.#options;
    const { unknownBlocks } = stats();
    if (unknownBlocks > this.#unknownBlocks) {
      log.error(
        { unknownBlocks },
        'both copies of a part of the map of free space are damaged: these blocks are not usable before the pool is opened again; see docs/operations.md',
      );
    }
    this.#unknownBlocks = unknownBlocks;
    const percent = usedPercent(stats());
    const isLow = isScarce(this.#low, percent, thresholdPercent);
    if (isLow !== this.#low) {
      this.#low = isLow;
      logScarcity(log, isLow, { usedPercent: Math.floor(percent), thresholdPercent });
      tell(isLow);
    }
    this.#timer = clock.schedule(INTERVAL_MS, () => this.#look());
  }
}

/** `before`: whether it was. A threshold of 0 is none. */
export function isScarce(before: boolean, percent: number, thresholdPercent: number): boolean {
  if (thresholdPercent === 0) return false;
  return percent >= thresholdPercent - (before ? HYSTERESIS_PERCENT : 0);
}

export function logScarcity(log: Log, isLow: boolean, fields: object): void {
  if (isLow) log.warn(fields, 'the pool is filling up: hosts are told; see docs/operations.md');
  else log.info(fields, 'the pool has space again');
}

/** Of what writes may take; blocks that were freed and wait for a checkpoint do not count. */
export function usedPercent(stats: PoolStats): number {
  if (stats.usableBlocks === 0) return 100;
  return ((stats.allocatedBlocks - stats.pendingFreeBlocks) / stats.usableBlocks) * 100;
}

/** What hosts may ask of the space of a pool; `thresholdPercent` as the watch has it. */
export function provisioningSpace(stats: PoolStats, thresholdPercent: number): ProvisioningSpace {
  const { usableBlocks, allocatedBlocks, pendingFreeBlocks } = stats;
  const leftPercent = 100 - thresholdPercent;
  return {
    usedBytes: (allocatedBlocks - pendingFreeBlocks) * STORE_BLOCK_BYTES,
    availableBytes: writableBlocks(stats) * STORE_BLOCK_BYTES,
    tellAtBytes:
      thresholdPercent > 0
        ? Math.floor((usableBlocks * leftPercent) / 100) * STORE_BLOCK_BYTES
        : null,
  };
}
