// What the keepers of a node share.
import type { EventRecorder, ObjectClient } from '../../apiserver/index.ts';
import type { Clock, Log, Turn } from '../../base/index.ts';
import type { DataBufferPool } from '../../block/index.ts';
import type { Exporter, ReplicationBackend } from '../../control/index.ts';
import type { Catalog } from '../../controllers/index.ts';
import type { ReplicaNode } from '../../replication/index.ts';
import type { Pool as StorePool } from '../../store/index.ts';
import type { PoolMedia } from './media.ts';

/** A target that this node does not serve. */
export interface Elsewhere {
  readonly alias: string;
  readonly initiators: readonly string[];
  /** Where logins are sent; null: nobody serves it now. */
  readonly portal: string | null;
  readonly otherPortals: readonly string[];
}

export interface NodeExporter extends Exporter {
  /** The target is served elsewhere: logins are sent there. */
  pointTo(iqn: string, elsewhere: Elsewhere): void;
  /** There is no such target any more. One that is served here is withdrawn instead. */
  forget(iqn: string): void;
}

export interface NodeSurroundings {
  readonly nodeName: string;
  readonly client: ObjectClient;
  readonly catalog: Catalog;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly log: Log;
  /** Wall time. */
  readonly now: () => Date;
  readonly turn: Turn;
  readonly buffers: DataBufferPool;
  readonly media: PoolMedia;
  readonly exporter: NodeExporter;
  readonly iqnPrefix: string;
  /** Coordinates volumes with several replicas; null: there are none here. */
  readonly replication: ReplicationBackend | null;
  /** Serves the replicas of a pool to coordinators, and says where; null: as above. */
  readonly serveReplicas:
    | ((pool: StorePool) => Promise<{ node: ReplicaNode; address: string }>)
    | null;
  /** Its objects are its own: there never are other nodes. */
  readonly isAlone: boolean;
  /** Pools in folders: how large they may grow. They take space as they are written. */
  readonly directoryPoolBytes: number;
}

export interface OpenPool {
  readonly pool: StorePool;
  readonly replicas: ReplicaNode | null;
  /** `host:port`; empty: it serves none. */
  readonly replicaAddress: string;
}

/** The pools that this node has open, by the name of their object. */
export class OpenPools {
  readonly #pools = new Map<string, OpenPool>();
  readonly #onChange: () => void;

  constructor(onChange: () => void = () => {}) {
    this.#onChange = onChange;
  }

  get(name: string): StorePool | null {
    return this.#pools.get(name)?.pool ?? null;
  }

  find(name: string): OpenPool | null {
    return this.#pools.get(name) ?? null;
  }

  set(name: string, pool: OpenPool): void {
    this.#pools.set(name, pool);
    this.#onChange();
  }

  delete(name: string): void {
    this.#pools.delete(name);
    this.#onChange();
  }

  all(): [string, StorePool][] {
    return [...this.#pools].map(([name, { pool }]) => [name, pool]);
  }
}
