// Where new replicas go. Never two in one pool; never two on one node, unless the volume allows it; then zones apart as
// far as there are zones; then where most is free. A pool promises no more than its overcommit allows.
import { isPoolIdle, type Node, type Pool, type Replica } from '../kinds/index.ts';
import { Label } from './names.ts';
import { mayPromiseBytes, STANDARD_OVERCOMMIT } from './promises.ts';

export interface PlacementRequest {
  readonly volumeName: string;
  readonly sizeBytes: number;
  /** How many more. */
  readonly count: number;
  readonly placement: 'node' | 'pool';
  /** Those that there are and stay. */
  readonly existing: readonly Replica[];
  readonly pools: readonly Pool[];
  /** Only nodes that may get something: ready, not cordoned. */
  readonly nodes: readonly Node[];
  /** Bytes promised in each pool already, by its name. */
  readonly promisedBytes: ReadonlyMap<string, number>;
}

export interface Placement {
  readonly pools: readonly Pool[];
  /** Why there are fewer than asked for, in words; empty: there are not. */
  readonly missing: string;
}

export function placeReplicas(request: PlacementRequest): Placement {
  const { existing, count } = request;
  const nodes = new Map(request.nodes.map((node) => [node.metadata.name, node]));
  const usedPools = new Set(existing.map(({ spec }) => spec.poolName));
  const usedNodes = new Set(existing.map(({ spec }) => spec.nodeName));
  const refusals = new Map<string, string>();
  const open = request.pools.filter((pool) => {
    const why = refusal(pool, nodes, request);
    if (why !== '' && !usedPools.has(pool.metadata.name)) refusals.set(pool.metadata.name, why);
    return why === '' && !usedPools.has(pool.metadata.name);
  });
  const chosen: Pool[] = [];
  const zoneUse = new Map<string, number>();
  const zoneOf = (nodeName: string): string =>
    nodes.get(nodeName)?.metadata.labels?.[Label.Zone] ?? '';
  for (const nodeName of usedNodes) count1(zoneUse, zoneOf(nodeName));
  while (chosen.length < count) {
    const best = open
      .filter((pool) => !chosen.includes(pool))
      .filter((pool) => request.placement === 'pool' || !usedNodes.has(pool.spec.nodeName))
      .sort(
        (a, b) =>
          Number(usedNodes.has(a.spec.nodeName)) - Number(usedNodes.has(b.spec.nodeName)) ||
          (zoneUse.get(zoneOf(a.spec.nodeName)) ?? 0) -
            (zoneUse.get(zoneOf(b.spec.nodeName)) ?? 0) ||
          freeOf(b, request) - freeOf(a, request) ||
          (a.metadata.name < b.metadata.name ? -1 : 1),
      )[0];
    if (best === undefined) break;
    chosen.push(best);
    usedNodes.add(best.spec.nodeName);
    count1(zoneUse, zoneOf(best.spec.nodeName));
  }
  return {
    pools: chosen,
    missing: chosen.length === count ? '' : explain(request, open, refusals),
  };
}

function count1(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function refusal(pool: Pool, nodes: ReadonlyMap<string, Node>, request: PlacementRequest): string {
  const { sizeBytes, promisedBytes } = request;
  const { nodeName } = pool.spec;
  if (pool.metadata.deletionTimestamp !== undefined) return 'is being deleted';
  if (!nodes.has(nodeName)) return `is on ${nodeName}, which is not ready or is cordoned`;
  const { phase, readOnly } = pool.status ?? {};
  if (phase !== 'Online' && phase !== 'Degraded') return `is ${phase ?? 'Pending'}`;
  if (isLeaving(pool)) return 'is being exported';
  if (pool.status?.strayVolumes?.includes(request.volumeName) === true) {
    return 'came with a volume of that name, which is another one';
  }
  if (readOnly === true) return 'takes no new data: its growth limit is reached';
  const mayPromise = mayPromiseBytes(pool);
  const promised = promisedBytes.get(pool.metadata.name) ?? 0;
  if (promised + sizeBytes > mayPromise) {
    return `has promised ${promised} of ${mayPromise} bytes that it may (overcommit)`;
  }
  return '';
}

/** Its operator wants it away from here. */
export function isLeaving(pool: Pool): boolean {
  if (pool.status?.phase === 'Exported') return true;
  return pool.spec.operation?.action === 'export' && !isPoolIdle(pool);
}

function freeOf(pool: Pool, { promisedBytes }: PlacementRequest): number {
  const promised = promisedBytes.get(pool.metadata.name) ?? 0;
  // What is promised counts a little, so that a burst of new volumes does not all go to one pool.
  return (pool.status?.freeBytes ?? 0) - promised / STANDARD_OVERCOMMIT;
}

function explain(
  { pools, placement, existing }: PlacementRequest,
  open: readonly Pool[],
  refusals: ReadonlyMap<string, string>,
): string {
  if (pools.length === 0) return 'there is no pool that it may use';
  const parts: string[] = [];
  const nodeNames = new Set(pools.map(({ spec }) => spec.nodeName));
  if (placement === 'node' && open.length + existing.length > 0 && refusals.size === 0) {
    parts.push(
      `its pools are on ${nodeNames.size === 1 ? 'one node' : `${nodeNames.size} nodes`} (${[...nodeNames].join(', ')}), ` +
        'and no two replicas share a node; add a node with a pool, or allow it with ReplicaPlacement: pool',
    );
  } else if (refusals.size === 0) {
    parts.push(`there are only ${pools.length} pools; add one`);
  }
  for (const [name, why] of [...refusals].slice(0, 5)) parts.push(`pool ${name} ${why}`);
  return parts.join('; ');
}
