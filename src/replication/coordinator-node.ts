// A node's coordinators: the connections to the nodes that hold replicas, shared by all volumes, and what makes new
// volumes out of blank replicas.
import type { Clock, Log, Random, Turn } from '../base/index.ts';
import { dial, type TlsIdentity } from '../net/index.ts';
import {
  FrameRegions,
  PeerNodes,
  type ReplicaSource,
  WireStatus,
  type WireTimeouts,
} from '../wire/index.ts';
import { compare, initialRecord, type VolumeRecord } from '../wire/record.ts';
import { ZERO_VERSION } from '../wire/version.ts';
import { ManageError, type NodePlace, ReplicaManager } from './manage.ts';

export interface CoordinatorNodeOptions {
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly node: string;
  readonly software: string;
  readonly secret: Uint8Array | null;
  readonly tls: TlsIdentity | null;
  readonly timeouts: WireTimeouts;
  readonly connectTimeoutMs: number;
  readonly manageTimeoutMs: number;
}

/** A replica to be, and where. */
export interface PlannedReplica {
  readonly replicaId: string;
  readonly at: NodePlace;
  readonly witness: boolean;
  /** What it begins as: a snapshot that another replica of its node holds. */
  readonly source?: ReplicaSource;
}

export class CoordinatorNode {
  readonly nodes: PeerNodes;
  readonly manager: ReplicaManager;

  constructor(options: CoordinatorNodeOptions) {
    const { turn, clock, tls, connectTimeoutMs, manageTimeoutMs } = options;
    this.nodes = new PeerNodes({
      ...options,
      regions: new FrameRegions(),
      dial: (address, port, timeoutMs, done) => dial({ address, port, timeoutMs, turn, tls }, done),
      connectTimeoutMs,
      leastPauseMs: 100,
      mostPauseMs: 2000,
    });
    this.manager = new ReplicaManager({
      nodes: this.nodes,
      clock,
      turn,
      timeoutMs: manageTimeoutMs,
    });
  }

  /**
   * Makes the replicas of a new volume: blank stores, then the first record, which names them all, to each. Done again
   * after a crash it finds what is there. With sources, all of one snapshot, the stores begin as what that holds, in sync
   * with each other. Rejects with ManageError.
   */
  async makeVolume(
    volumeId: string,
    sizeBlocks: number,
    replicas: readonly PlannedReplica[],
    blobs: VolumeRecord['blobs'] = [],
  ): Promise<VolumeRecord> {
    const made = await Promise.all(
      replicas.map(async ({ replicaId, at, witness, source = null }) => {
        const size = witness ? 1 : sizeBlocks;
        const wanted = { volumeId, replicaId, sizeBlocks: size, witness, source };
        const { identity, base } = await this.manager.create(at, wanted);
        return { replicaId, witness, ...identity, base };
      }),
    );
    const bases = made.filter(({ witness }) => !witness).map((one) => one.base ?? ZERO_VERSION);
    const [base = ZERO_VERSION] = bases;
    // The same cut, or they are not in sync with each other: nothing has begun yet, so nothing is lost by saying so.
    if (bases.some((one) => compare(one, base) !== 0)) {
      throw new ManageError(WireStatus.FailedPrecondition, 'its replicas begin differently');
    }
    const record = initialRecord({
      volumeId,
      sizeBlocks,
      members: made.map(({ replicaId, storeId, openId, bootId, witness }) => ({
        replicaId,
        storeId,
        openId,
        bootId,
        witness,
      })),
      base,
      blobs,
    });
    await Promise.all(
      replicas.map(({ replicaId, at }) => this.manager.begin(at, record, replicaId)),
    );
    return record;
  }

  /** A blank replica for a volume that exists: the newcomer of a member change (B8). */
  async makeNewcomer(volumeId: string, sizeBlocks: number, replica: PlannedReplica): Promise<void> {
    const { replicaId, at, witness } = replica;
    await this.manager.create(at, {
      volumeId,
      replicaId,
      sizeBlocks: witness ? 1 : sizeBlocks,
      witness,
      source: null,
    });
  }
}
