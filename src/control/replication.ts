// Volumes whose blocks live on replicas, as the volume controller sees them. The daemon implements it: this room has heard
// of no wire. The pool that keeps such a volume's manifest keeps nothing else of it.
import type { Volume } from '../volume/index.ts';

/** One copy, and where: `host:port` of its node's replica service. */
export interface WantedReplica {
  readonly id: string;
  readonly node: string;
  /** It keeps records and no blocks: with two copies, the third vote. */
  readonly witness?: boolean;
}

export interface ReplicaFacts {
  readonly id: string;
  readonly node: string;
  readonly connected: boolean;
  /** InSync, Joining, Stale, Witness, Blank or Unknown. */
  readonly state: string;
  readonly lagOps: number;
  readonly lagBytes: number;
  readonly rebuildBlocks: number;
  readonly rebuiltBlocks: number;
  readonly copiedBytes: number;
  /** Of the rebuild under way; 0 where there is none. */
  readonly bytesPerSecond: number;
  readonly lastFault: string;
  /** Why it is not connected; empty where it is, or is being tried. */
  readonly linkReason: string;
}

/** How a coordinator treats its replicas; what is left out is as its node is configured. */
export interface ReplicaPolicy {
  readonly syncPolicy?: 'quorum' | 'all';
  readonly readPolicy?: 'leastOutstanding' | 'localFirst' | 'roundRobin';
  /** Without a quorum commands are held so long before sessions are closed (C10). */
  readonly holdMs?: number;
  /** A replica that answers nothing for so long is left out (W4). */
  readonly lagMs?: number;
  /** A read without an answer for so long is asked of another replica, too; 0: never. */
  readonly hedgeMs?: number;
  /** The replica on the coordinator's own node, for localFirst. */
  readonly localReplica: string | null;
}

/** A snapshot as the volume's record has it. */
export interface ReplicatedSnapshot {
  readonly id: string;
  readonly name: string;
  /** Unix time. */
  readonly createdMs: number;
  /** Of the volume at the cut. */
  readonly sizeBlocks: number;
  /** The cut. */
  readonly version: { readonly epoch: number; readonly op: number };
  /** Replicas, by id. */
  readonly holders: readonly string[];
}

/** What a snapshot holds of some blocks that follow each other. */
export interface SnapshotPiece {
  /** One BlockKind a block, and the version. */
  readonly kinds: Uint8Array;
  readonly epochs: Uint32Array;
  readonly ops: Float64Array;
  /** Of those of kind Data, one after the other. */
  readonly bytes: Uint8Array;
}

/** What is kept beside a volume's blocks: reservations, mode pages, whether its cache is on. */
export interface KeptBlob {
  readonly key: string;
  readonly value: Uint8Array;
}

/** A replica to be made; with a source it begins as what another replica of its node holds in a snapshot. */
export interface NewReplica extends WantedReplica {
  readonly source?: {
    readonly volumeId: string;
    readonly replicaId: string;
    readonly snapshotId: string;
  };
}

export interface ReplicatedHandle {
  /** Null until it was served for the first time. */
  readonly volume: Volume | null;
  readonly serving: boolean;
  /** Healthy, Degraded, Rebuilding or Offline. */
  state(): 'Healthy' | 'Degraded' | 'Rebuilding' | 'Offline';
  epoch(): number;
  /** How often acknowledged writes that were not flushed were declared lost since it was opened (C8). */
  losses(): number;
  /**
   * A number while all replicas are well and nobody uses the volume: as long as it stays the same, nothing about them has
   * changed. Null: look.
   */
  quietSpell(): number | null;
  /** What is wrong and what to do, one line each. */
  advice(): string[];
  replicas(): ReplicaFacts[];
  sizeBlocks(): number;
  usedBlocks(): number;
  /** Oldest first; of a volume that was never served, none. */
  snapshots(): readonly ReplicatedSnapshot[];
  /** Resolves when every replica in sync holds it, and the record says so (P3). Rejects with what stood in the way. */
  takeSnapshot(snapshot: Pick<ReplicatedSnapshot, 'id' | 'name' | 'createdMs'>): Promise<void>;
  /** P5: the cut is made when it returns. Null: not now. Rejects when it had to be given up. */
  takeSnapshotNow(
    snapshot: Pick<ReplicatedSnapshot, 'id' | 'name' | 'createdMs'>,
  ): Promise<void> | null;
  deleteSnapshot(id: string): Promise<void>;
  /** Of one of its holders in sync; null: none can deliver these blocks now. */
  readSnapshot(id: string, lba: number, blocks: number): Promise<SnapshotPiece | null>;
  /**
   * Blocks of the volume as it is now that have changed since the snapshot's cut, or have ever been written (null); `at`: whose
   * holders are asked. By rising lba; go on at `nextLba`, which is `fromLba` where nobody can say now.
   */
  changedSince(
    id: string | null,
    at: string,
    fromLba: number,
    toLba: number,
  ): Promise<{
    readonly runs: readonly {
      readonly lba: number;
      readonly blocks: number;
      readonly hole: boolean;
    }[];
    readonly nextLba: number;
  }>;
  /** Small things that are kept with the volume's record. */
  getBlob(key: string): Uint8Array | null;
  putBlob(key: string, value: Uint8Array | null): Promise<void>;
  /** Whether any of the blocks from there up to `nextLba` holds something; null: nobody can say now. */
  mappedFrom(lba: number): Promise<{ readonly isMapped: boolean; readonly nextLba: number } | null>;
  /** Where replicas are now; also while there is no quorum, which may wait for just that. */
  relocate(replicas: readonly WantedReplica[]): void;
  /**
   * P4: the volume, used by nobody, becomes what the snapshot is; but for its size, which stays. Until that is done, whatever
   * comes in between, it is not serving. Rejects with what stood in the way: it goes on by itself when that is gone.
   */
  rollback(id: string): Promise<void>;
  /** Adds, moves and removes replicas, one after the other. Rejects with what stood in the way. */
  changeReplicas(wanted: readonly WantedReplica[]): Promise<void>;
  /** Takes effect at once, for what is under way too. */
  configure(policy: ReplicaPolicy): void;
  /** C1: an operator's word that the replicas that are away are gone for good. */
  force(): Promise<void>;
  stop(): Promise<void>;
}

export interface OpenReplicated {
  readonly id: string;
  readonly name: string;
  readonly iqn: string;
  readonly blockSize: 512 | 4096;
  readonly replicas: readonly WantedReplica[];
  /** There is a volume to export, or logins are taken again. */
  readonly onServing: (volume: Volume) => void;
  /** Sessions end, logins are refused until `onServing` (C10, E5). */
  readonly onOffline: (reason: string) => void;
  /** C8: acknowledged writes may be lost: every session hears of it by unit attention 29h. */
  readonly onLoss: () => void;
}

export interface ReplicationBackend {
  /** Makes the replicas of a new volume. Idempotent. Rejects with what stood in the way. `blobs`: its first record has them. */
  make(
    id: string,
    sizeBlocks: number,
    replicas: readonly NewReplica[],
    blobs?: readonly KeptBlob[],
  ): Promise<void>;
  open(options: OpenReplicated): ReplicatedHandle;
  /** The volume is stopped: its replicas are deleted where they can be reached. */
  destroy(id: string, epoch: number, replicas: readonly WantedReplica[]): Promise<void>;
}

/** `host:port`, IPv6 in brackets; the standard port may be left out. Null: no address. */
export function parseNode(text: string): { host: string; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/]+))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return null;
  const port = match[3] === undefined ? STANDARD_REPLICA_PORT : Number(match[3]);
  return port > 65_535 || port === 0 ? null : { host: match[1] ?? match[2]!, port };
}

export const STANDARD_REPLICA_PORT = 9809;
export const MAX_REPLICAS = 5;

/** The replicas of `nodes`: those that are there keep their names, new ones get the next. */
export function planReplicas(
  volume: string,
  nodes: readonly string[],
  before: readonly WantedReplica[],
): WantedReplica[] {
  const left = [...before];
  let next = 1 + Math.max(0, ...before.map(({ id }) => Number(/-r(\d+)$/.exec(id)?.[1] ?? 0)));
  return nodes.map((node) => {
    const index = left.findIndex((replica) => replica.node === node);
    if (index >= 0) return left.splice(index, 1)[0]!;
    const id = `${volume}-r${next}`;
    next += 1;
    return { id, node };
  });
}
