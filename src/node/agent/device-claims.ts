// Which devices of this node are whose: claimed by compare-and-swap before a pool touches them, so that no two pools ever
// think that one is theirs, and given back when the pool has let go of them.
import type { ObjectClient } from '../../apiserver/index.ts';
import type { Catalog, Writer } from '../../controllers/index.ts';
import {
  BLOCK_DEVICE,
  type BlockDevice,
  deviceCalled,
  deviceRefusal,
  type Pool,
} from '../../kinds/index.ts';
import { StoreError } from '../../store/index.ts';

export interface DeviceClaimsOptions {
  readonly nodeName: string;
  readonly client: ObjectClient;
  readonly catalog: Catalog;
  readonly writer: Writer;
  /** Looks at the devices now: what was seen half a minute ago may be in use since. */
  readonly rescan: () => Promise<void>;
}

export class DeviceClaims {
  readonly #options: DeviceClaimsOptions;

  constructor(options: DeviceClaimsOptions) {
    this.#options = options;
  }

  /** All of this node, as the catalog knows them. */
  here(): BlockDevice[] {
    const { catalog, nodeName } = this.#options;
    return catalog.all(BLOCK_DEVICE).filter(({ spec }) => spec.nodeName === nodeName);
  }

  find(named: string): BlockDevice | null {
    return deviceCalled(this.here(), this.#options.nodeName, named);
  }

  claimedFor(pool: string): BlockDevice[] {
    return this.here().filter(({ spec }) => spec.claimRef?.pool === pool);
  }

  /** As they are now, in that order. Rejects with StoreError where one cannot be had; those before it stay claimed. */
  async claim(
    pool: Pool,
    names: readonly string[],
    { force }: { force: boolean },
  ): Promise<BlockDevice[]> {
    const { client, nodeName, writer, rescan } = this.#options;
    await rescan();
    const all = (await client.list<BlockDevice>(BLOCK_DEVICE)).items;
    const claimed: BlockDevice[] = [];
    const { name } = pool.metadata;
    for (const named of names) {
      const device = deviceCalled(all, nodeName, named);
      if (device === null) {
        throw new StoreError(
          'STORE_NOT_FOUND',
          `there is no block device '${named}' on ${nodeName}: ashlar get blockdevices`,
        );
      }
      // Also of one that was claimed before: since then it may have gone, and its path be another disk's.
      const why = deviceRefusal(device, name, force);
      if (why !== '') throw new StoreError('STORE_IN_USE', `${device.metadata.name} ${why}`);
      if (device.spec.claimRef?.pool === name) {
        claimed.push(device);
        continue;
      }
      claimed.push(
        await writer.update(BLOCK_DEVICE, device, ({ spec }) => {
          spec.claimRef = { pool: name, uid: claimantOf(pool) };
        }),
      );
    }
    return claimed;
  }

  /** What they hold is told at once, so that a pool that left here can be found. */
  async lookAgain(): Promise<void> {
    await this.#options.rescan();
  }

  /** Nobody's from now on. */
  async release(pool: string, names: readonly string[]): Promise<void> {
    const { writer } = this.#options;
    for (const name of names) {
      const device = await writer.live<BlockDevice>(BLOCK_DEVICE, null, name);
      if (device === null || device.spec.claimRef?.pool !== pool) continue;
      await writer.update(BLOCK_DEVICE, device, ({ spec }) => {
        delete spec.claimRef;
      });
    }
  }
}

/** Who gives the device back in the end: the claim that the pool was made of, or the pool. */
function claimantOf({ metadata, spec }: Pool): string {
  if (spec.storagePoolClaim === undefined) return metadata.uid;
  return metadata.ownerReferences?.[0]?.uid ?? metadata.uid;
}

/** By either of its paths: the one that survives a reboot may be younger than the pool's use of the other. */
export function isAtOneOf(paths: readonly string[], { spec }: BlockDevice): boolean {
  return (
    paths.includes(spec.path) || (spec.byIdPath !== undefined && paths.includes(spec.byIdPath))
  );
}

/** The path that survives a reboot, where there is one. */
export function pathOf({ spec }: BlockDevice): string {
  return spec.byIdPath ?? spec.path;
}
