// A node's replicas on the wire: the pool's replicas, and the port where coordinators reach them.
import type { Clock, Log, Random, Timer, Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import { Listener, type Portal, type TlsIdentity } from '../net/index.ts';
import { ReplicaHost, ReplicaServer } from '../replica/index.ts';
import type { Pool } from '../store/index.ts';
import { FrameRegions, type WireTimeouts } from '../wire/index.ts';

/** How often damage that a scrub found is looked for where no heartbeat asks for it. */
const TELL_MS = 5000;

export interface ReplicaNodeOptions {
  readonly pool: Pool;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly node: string;
  readonly software: string;
  readonly secret: Uint8Array | null;
  readonly tls: TlsIdentity | null;
  readonly timeouts: WireTimeouts;
  readonly leaseMs: number;
  readonly maxConnections: number;
}

export class ReplicaNode {
  readonly host: ReplicaHost;
  readonly #server: ReplicaServer;
  readonly #listener: Listener;
  readonly #options: ReplicaNodeOptions;
  #telling: Timer | null = null;

  constructor(options: ReplicaNodeOptions) {
    this.#options = options;
    const { turn, log, tls, maxConnections } = options;
    this.host = new ReplicaHost(options);
    this.#server = new ReplicaServer({ ...options, host: this.host, regions: new FrameRegions() });
    this.#listener = new Listener({
      turn,
      log,
      tls,
      maxConnections,
      onConnection: (transport) => this.#server.accept(transport),
    });
  }

  /** Opens the replicas of the pool, then the port. Rejects with the system's error (EADDRINUSE, …). */
  async start(listen: Portal): Promise<Portal> {
    this.host.start();
    this.#tellLater();
    return await this.#listener.listen(listen);
  }

  /** Coordinators are told; the pool stays open, its owner closes it. */
  close(): void {
    this.#telling?.cancel();
    this.#telling = null;
    this.#listener.close();
    this.#server.close();
    this.host.close();
  }

  #tellLater(): void {
    const { clock, turn } = this.#options;
    this.#telling = clock.schedule(TELL_MS, () => {
      turn.enter();
      this.host.tellDamage();
      turn.leave();
      this.#tellLater();
    });
  }
}
