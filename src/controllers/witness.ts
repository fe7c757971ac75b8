// Where the witness of a volume with two copies goes: on a third node, so that whichever node is lost two of the three
// votes are left (R3). It takes next to no space, so that any pool will do that its node has; one that the volume's copies
// could be in is preferred, for those are looked after.
import type { Node, Pool, Replica, Volume } from '../kinds/index.ts';
import { mayHold } from './expected-places.ts';
import { type Placement, placeReplicas } from './placement.ts';

/** What its store may take of a pool. */
export const WITNESS_SIZE = '4Ki';

export interface WitnessRequest {
  readonly volume: Volume;
  /** Copies that there are and stay. */
  readonly copies: readonly Replica[];
  /** Witnesses that there are and stay: one that shares a node with a copy is no use there, and better than none. */
  readonly there: readonly Replica[];
  readonly pools: readonly Pool[];
  /** Only nodes that may get something. */
  readonly nodes: readonly Node[];
}

/** At most one pool; `missing`: why there is none, or none better than where it is. */
export function placeWitness(request: WitnessRequest): Placement {
  const { volume, copies, there, pools } = request;
  if (apartFrom(copies, there).length > 0) return { pools: [], missing: '' };
  // With one copy alone it would be one more that must not be lost.
  if (copies.length < 2) return { pools: [], missing: 'its witness waits for the second replica' };
  const taken = new Set(copies.map(({ spec }) => spec.nodeName));
  const nodes = request.nodes.filter(({ metadata }) => !taken.has(metadata.name));
  const own = pools.filter((pool) => mayHold(volume, pool));
  const folders = pools.filter(({ spec }) => spec.directory !== undefined);
  for (const candidates of [own, folders]) {
    const placed = placeReplicas({
      volumeName: volume.metadata.name,
      sizeBytes: 0,
      count: 1,
      placement: 'node',
      existing: [...copies, ...there],
      pools: candidates,
      nodes,
      promisedBytes: new Map(),
    });
    if (placed.pools.length > 0) return placed;
  }
  const [shared] = there;
  const wants = 'a third node, with any pool, is not there or not ready';
  return {
    pools: [],
    missing:
      shared === undefined
        ? `its witness has no place: ${wants}`
        : `its witness shares ${shared.spec.nodeName} with a replica: ${wants}`,
  };
}

/** Those on a node of their own. */
export function apartFrom(
  copies: readonly Replica[],
  witnesses: readonly Replica[],
): readonly Replica[] {
  const taken = new Set(copies.map(({ spec }) => spec.nodeName));
  return witnesses.filter(({ spec }) => !taken.has(spec.nodeName));
}
