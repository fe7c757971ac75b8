// What pools have promised to thin volumes, and may: a replica may grow to the size of its volume, also one that was placed
// when that was smaller.
import type { ObjectClient, StatusCause } from '../apiserver/index.ts';
import {
  POOL,
  type Pool,
  quantityBytes,
  REPLICA,
  type Replica,
  VOLUME,
  type Volume,
} from '../kinds/index.ts';
import { Label } from './names.ts';

export const STANDARD_OVERCOMMIT = 10;

export function mayPromiseBytes({ spec, status }: Pool): number {
  return (status?.usableBytes ?? 0) * (spec.overcommit ?? STANDARD_OVERCOMMIT);
}

/** By the name of the pool. `sizeOf`: of a volume, as it is wanted now. */
export function promisedBytes(
  replicas: readonly Replica[],
  sizeOf: (volumeName: string) => string | number | undefined,
): Map<string, number> {
  const promised = new Map<string, number>();
  for (const { spec } of replicas) {
    const placed = quantityBytes(spec.size) ?? 0;
    const wanted = spec.witness === true ? 0 : (quantityBytes(sizeOf(spec.volumeName)) ?? 0);
    const before = promised.get(spec.poolName) ?? 0;
    promised.set(spec.poolName, before + Math.max(placed, wanted));
  }
  return promised;
}

/** What stands against the growth of a volume: a pool of it that would have to promise more than it may. */
export async function growthFaults(
  client: ObjectClient,
  { metadata, spec }: Volume,
  before: Volume | null,
): Promise<StatusCause[]> {
  const wantedBytes = quantityBytes(spec.size) ?? 0;
  if (before === null || wantedBytes <= (quantityBytes(before.spec.size) ?? 0)) return [];
  const labelSelector = `${Label.Volume}=${metadata.name}`;
  const own = (await client.list<Replica>(REPLICA, { labelSelector })).items;
  const places = own.filter((replica) => replica.spec.witness !== true);
  if (places.length === 0) return [];
  const [replicas, volumes, pools] = await Promise.all([
    client.list<Replica>(REPLICA),
    client.list<Volume>(VOLUME),
    client.list<Pool>(POOL),
  ]);
  const sizes = new Map(volumes.items.map((volume) => [volume.metadata.name, volume.spec.size]));
  sizes.set(metadata.name, spec.size);
  const promised = promisedBytes(replicas.items, (name) => sizes.get(name));
  const causes: StatusCause[] = [];
  for (const replica of places) {
    const { poolName } = replica.spec;
    const pool = pools.items.find((one) => one.metadata.name === poolName);
    // One that has not said how large it is does not promise more than it has.
    if (pool?.status?.usableBytes === undefined) continue;
    const [would, may] = [promised.get(poolName) ?? 0, mayPromiseBytes(pool)];
    if (would <= may) continue;
    const message = `${spec.size} is too large: pool ${poolName} would have promised ${would} of ${may} bytes that it may (overcommit); add devices to it, or raise its spec.overcommit`;
    causes.push({ reason: 'FieldValueInvalid', field: 'spec.size', message });
  }
  return causes;
}
