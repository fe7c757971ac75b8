// The devices of a pool in memory: one, always in sync, of which nothing can be changed.
import type { PoolDevice, PoolDevices, PoolVdev, WalkStatus } from './devices.ts';
import { StoreError } from './types.ts';

const NO_WALK: WalkStatus = {
  state: 'None',
  startedAt: null,
  endedAt: null,
  doneBlocks: 0,
  totalBlocks: 0,
  healedBlocks: 0,
  damagedBlocks: 0,
  secondsLeft: null,
};

export class MemoryDevices implements PoolDevices {
  readonly #id: string;
  readonly #space: () => { sizeBlocks: number; usedBlocks: number };

  readonly #paths: readonly string[];

  /** `paths`: what stands in for devices; each is a side of one mirror. */
  constructor(
    id: string,
    space: () => { sizeBlocks: number; usedBlocks: number },
    paths: readonly string[] = ['memory'],
  ) {
    this.#id = id;
    this.#space = space;
    this.#paths = paths;
  }

  list(): readonly PoolDevice[] {
    const { sizeBlocks } = this.#space();
    return this.#paths.map((path, place) => {
      const id = place === 0 ? this.#id : `${this.#id}-${place}`;
      const where = { id, path, vdev: 0, place, log: false } as const;
      const errors = { readErrors: 0, writeErrors: 0, checksumErrors: 0 };
      const size = { sizeBlocks, deviceBlocks: sizeBlocks };
      return { ...where, ...size, ...errors, state: 'InSync', replaces: null, why: '', advice: '' };
    });
  }

  vdevs(): readonly PoolVdev[] {
    return [{ vdev: 0, log: false, ...this.#space() }];
  }

  scrubStatus(): WalkStatus {
    return NO_WALK;
  }

  resilverStatus(): WalkStatus {
    return NO_WALK;
  }

  rebalanceStatus(): WalkStatus {
    return NO_WALK;
  }

  damage(): readonly [] {
    return [];
  }

  add = refuse;
  attach = refuse;
  replace = refuse;
  detach = refuse;
  offline = refuse;
  online = refuse;
  grow = refuse;
  setGrowthLimit = refuse;
  startScrub = refuse;
  pauseScrub = refuse;
  cancelScrub = refuse;
  startRebalance = refuse;
  pauseRebalance = refuse;
  cancelRebalance = refuse;
  setWalkRate(): void {}
}

async function refuse(): Promise<never> {
  throw new StoreError('STORE_UNSUPPORTED', 'a pool in memory has no devices to do that with');
}
