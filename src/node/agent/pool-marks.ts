// Whether anything has happened in a pool since the last look: whatever changes a volume of it moves its log, or a
// checkpoint does. A look into each of a thousand replicas, every few seconds, is most of what a node does while nobody
// does anything.
import { provisionedIn } from '../../control/index.ts';
import type { Pool, StoreVolume } from '../../store/index.ts';
import type { OpenPools } from './surroundings.ts';

interface Sizes {
  readonly sizeBlocks: number;
  readonly mappedBlocks: number;
}

export class PoolMarks {
  /** By pool: what it said of itself at the beginning of this round. */
  #marks = new Map<string, string>();
  readonly #sizes = new WeakMap<StoreVolume, { readonly mark: string; readonly sizes: Sizes }>();
  readonly #provisioned = new WeakMap<Pool, { readonly mark: string; readonly blocks: number }>();

  /** Before each round of looks. */
  renew(open: OpenPools): void {
    this.#marks = new Map(open.all().map(([name, pool]) => [name, markOf(pool)]));
  }

  /** Null: nobody has looked at that pool. */
  of(poolName: string): string | null {
    return this.#marks.get(poolName) ?? null;
  }

  /** What its volumes could hold in all, in blocks. */
  provisionedBlocks(poolName: string, pool: Pool): number {
    const mark = this.of(poolName) ?? '';
    const known = this.#provisioned.get(pool);
    if (mark !== '' && known?.mark === mark) return known.blocks;
    const blocks = provisionedIn(pool.volumes());
    this.#provisioned.set(pool, { mark, blocks });
    return blocks;
  }

  sizes(poolName: string, store: StoreVolume): Sizes {
    const mark = this.of(poolName) ?? '';
    const known = this.#sizes.get(store);
    if (mark !== '' && known?.mark === mark) return known.sizes;
    const { sizeBlocks, mappedBlocks } = store.info();
    const sizes = { sizeBlocks, mappedBlocks };
    this.#sizes.set(store, { mark, sizes });
    return sizes;
  }
}

function markOf(pool: Pool): string {
  return `${pool.id} ${pool.volumes().length} ${JSON.stringify(pool.stats())}`;
}
