// What hosts may ask of the space behind the volumes of a node (SBC-4 r22 §4.7), and when they are told that it is scarce. A volume
// has replicas in several pools, each of which takes every write: the one with the least room is what counts. How full pools on
// other nodes are, their objects say, some seconds late.
import type { Log } from '../base/index.ts';
import { type Catalog, REPLICAS_OF_VOLUME } from '../controllers/index.ts';
import { POOL, type Pool } from '../kinds/index.ts';
import type { ProvisioningSpace } from '../scsi/index.ts';
import { isScarce, logScarcity } from './space-watch.ts';

export interface NodeSpaceOptions {
  readonly catalog: Catalog;
  readonly nodeName: string;
  /** 0: hosts are never told. */
  readonly thresholdPercent: number;
  readonly log: Log;
  /** Which volumes are short of space may have changed: ask `isLow`. */
  readonly tell: () => void;
}

export class NodeSpace {
  readonly #options: NodeSpaceOptions;
  /** Pools that are filling up, by name. */
  readonly #low = new Set<string>();

  /** Looks whenever a pool tells of itself. */
  constructor(options: NodeSpaceOptions) {
    this.#options = options;
    const { catalog } = options;
    for (const pool of catalog.all(POOL)) this.#look(pool, false);
    catalog.onChange(POOL, (pool, _before, isGone) => this.#look(pool, isGone));
  }

  /** Of the pool with the least room of those that the volume is in; null: not known. */
  spaceOf(volumeName: string): ProvisioningSpace | null {
    const spaces = this.#poolsOf(volumeName).flatMap((pool) => this.#space(pool) ?? []);
    if (spaces.length === 0) return null;
    return spaces.reduce((least, one) => (one.availableBytes < least.availableBytes ? one : least));
  }

  isLow(volumeName: string): boolean {
    return this.#poolsOf(volumeName).some(({ metadata }) => this.#low.has(metadata.name));
  }

  #poolsOf(volumeName: string): Pool[] {
    const { catalog } = this.#options;
    return catalog
      .where(REPLICAS_OF_VOLUME, volumeName)
      .filter(({ spec }) => spec.witness !== true)
      .flatMap(({ spec }) => catalog.get(POOL, spec.poolName) ?? []);
  }

  #space({ status = {} }: Pool): ProvisioningSpace | null {
    const { usableBytes, allocatedBytes, freeBytes, pendingFreeBytes = 0 } = status;
    if (usableBytes === undefined || allocatedBytes === undefined || freeBytes === undefined) {
      return null;
    }
    const { thresholdPercent } = this.#options;
    return {
      usedBytes: allocatedBytes - pendingFreeBytes,
      availableBytes: freeBytes,
      tellAtBytes:
        thresholdPercent > 0 ? Math.floor((usableBytes * (100 - thresholdPercent)) / 100) : null,
    };
  }

  #look(pool: Pool, isGone: boolean): void {
    const { thresholdPercent, log, nodeName, tell } = this.#options;
    const { name } = pool.metadata;
    const space = isGone ? null : this.#space(pool);
    const usableBytes = pool.status?.usableBytes ?? 0;
    const percent = space === null || usableBytes === 0 ? 0 : (space.usedBytes / usableBytes) * 100;
    const before = this.#low.has(name);
    const now = isScarce(before, percent, thresholdPercent);
    if (now) this.#low.add(name);
    else this.#low.delete(name);
    if (now !== before && pool.spec.nodeName === nodeName) {
      const fields = { pool: name, usedPercent: Math.floor(percent), thresholdPercent };
      logScarcity(log, now, fields);
    }
    // Also while it stays so: volumes come and go.
    if (now || before) tell();
  }
}
