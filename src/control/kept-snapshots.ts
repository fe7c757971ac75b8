// Snapshots, wherever their blocks are: in the pool here, or on the replicas of their volume.
import type { StoreSnapshot } from '../store/types.ts';
import type { ReplicatedSnapshot } from './replication.ts';

export interface KeptSnapshot {
  readonly id: string;
  readonly volume: string;
  /** Without its volume's. */
  readonly name: string;
  /** Unix time. */
  readonly createdMs: number;
  /** Of the volume then. */
  readonly sizeBlocks: number;
  /** Null: each replica knows for itself. */
  readonly usage: {
    readonly mappedBlocks: number;
    readonly uniqueBlocks: number;
    readonly writtenBlocks: number;
    readonly settled: boolean;
    readonly clones: readonly string[];
  } | null;
  /** Replicas that hold it, by id; null: the pool here has it. */
  readonly holders: readonly string[] | null;
}

export function keptInPool(snapshot: StoreSnapshot): KeptSnapshot {
  const { id, volume, name, createdMs, sizeBlocks, ...usage } = snapshot.snapshotInfo();
  return { id, volume, name, createdMs, sizeBlocks, usage, holders: null };
}

export function keptOnReplicas(volume: string, snapshot: ReplicatedSnapshot): KeptSnapshot {
  const { id, name, createdMs, sizeBlocks, holders } = snapshot;
  return { id, volume, name, createdMs, sizeBlocks, usage: null, holders };
}
