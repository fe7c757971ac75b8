// A cluster in one process: nodes with pools in memory or of the engine, real sockets on loopback between them, one
// coordinator.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Log, SystemClock, SystemRandom, silentLog, Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  type DataBuffer,
  DataBufferPool,
  IoStatus,
} from '../../../src/block/index.ts';
import type { TlsIdentity } from '../../../src/net/index.ts';
import {
  CoordinatorNode,
  ReplicaNode,
  ReplicatedVolume,
  type ReplicatedVolumeListener,
} from '../../../src/replication/index.ts';
import {
  createPoolFile,
  MemoryPool,
  nativeArena,
  openPool,
  type Pool,
} from '../../../src/store/index.ts';
import {
  type CoordinatorConfig,
  DEFAULT_COORDINATOR_CONFIG,
} from '../../../src/volume/coordinator/interfaces.ts';
import type { Volume } from '../../../src/volume/index.ts';
import { DEFAULT_TIMEOUTS } from '../../../src/wire/index.ts';

export const SECRET = Buffer.from('a secret for tests, long enough');
/** Quick: a test does not wait for what is meant for a LAN. */
export const QUICK: CoordinatorConfig = {
  ...DEFAULT_COORDINATOR_CONFIG,
  leaseMs: 800,
  heartbeatMs: 100,
  promiseWaitMs: 100,
  lagMs: 1000,
  holdMs: 2000,
};

/** What nodes ask of each other, and show. */
export interface Security {
  readonly secret: Uint8Array | null;
  readonly tls: TlsIdentity | null;
}

export class ANode {
  readonly name: string;
  pool: Pool;
  buffers = new DataBufferPool(new ArrayBuffer(32 * 2 ** 20));
  readonly turn: Turn;
  #log: Log;
  readonly #security: Security;
  replicas: ReplicaNode | null = null;
  port = 0;

  constructor(name: string, turn: Turn, log: Log, security: Security) {
    this.name = name;
    this.turn = turn;
    this.#log = log;
    this.#security = security;
    this.pool = new MemoryPool({ name });
  }

  /** `security`: of this run alone, where it is another one. */
  async start(security = this.#security): Promise<void> {
    const { pool, buffers, turn } = this;
    this.replicas = new ReplicaNode({
      pool,
      buffers,
      turn,
      clock: new SystemClock(),
      random: new SystemRandom(),
      log: this.#log.child({ node: this.name }),
      node: this.name,
      software: 'ashlar test',
      ...security,
      timeouts: DEFAULT_TIMEOUTS,
      leaseMs: QUICK.leaseMs,
      maxConnections: 16,
    });
    const { port } = await this.replicas.start({ address: '127.0.0.1', port: this.port });
    this.port = port;
  }

  stop(): void {
    this.replicas?.close();
    this.replicas = null;
  }
}

export class ACluster {
  readonly turn = new Turn();
  readonly clock = new SystemClock();
  readonly buffers = new DataBufferPool(new ArrayBuffer(64 * 2 ** 20));
  readonly nodes: ANode[];
  readonly coordinators: CoordinatorNode;
  readonly log: Log;
  readonly heard: string[] = [];
  /** Sessions of hosts, as the target would name them (C8). */
  sessions: string[] = [];
  /** Replica to node. */
  readonly places = new Map<string, ANode>();
  /** The first that was opened. */
  volume: ReplicatedVolume | null = null;
  readonly volumes: ReplicatedVolume[] = [];
  #directory: string | null = null;
  readonly #waiters: (() => void)[] = [];

  constructor(
    nodes: number,
    log: Log = silentLog,
    security: Security = { secret: SECRET, tls: null },
  ) {
    this.log = log;
    this.nodes = Array.from(
      { length: nodes },
      (_, index) => new ANode(`node-${index + 1}`, this.turn, log, security),
    );
    this.coordinators = new CoordinatorNode({
      turn: this.turn,
      clock: this.clock,
      random: new SystemRandom(),
      log,
      node: 'coordinator',
      software: 'ashlar test',
      ...security,
      timeouts: DEFAULT_TIMEOUTS,
      connectTimeoutMs: 1000,
      manageTimeoutMs: 5000,
    });
  }

  async start(): Promise<this> {
    await Promise.all(this.nodes.map((node) => node.start()));
    return this;
  }

  /** As `start`, with pools of the engine in a folder that `stop` removes. */
  async startOnDisk(): Promise<this> {
    this.#directory = mkdtempSync(join(tmpdir(), 'ashlar-cluster-'));
    const buffers = new DataBufferPool(nativeArena(32 * 2 ** 20)); // The engine has one arena.
    for (const node of this.nodes) {
      const path = join(this.#directory, node.name);
      await createPoolFile({ path, sizeBytes: 256 * 2 ** 20, name: node.name, sparse: true });
      node.buffers = buffers;
      node.pool = await openPool({ path, turn: this.turn, buffers, cacheBytes: 16 * 2 ** 20 });
    }
    return await this.start();
  }

  /** A volume with one replica on each of the first nodes, the last of them may be a witness; `from`: a snapshot of `v`, by its id. */
  async makeVolume(
    sizeBlocks: number,
    replicas: number,
    {
      volumeId = 'v',
      from,
      witness = false,
    }: { volumeId?: string; from?: string; witness?: boolean } = {},
  ): Promise<void> {
    const plan = this.nodes.slice(0, replicas).map((node, index) => {
      const replicaId = `${volumeId}-r${index + 1}`;
      this.places.set(replicaId, node);
      const isWitness = witness && index === replicas - 1;
      const replica = { replicaId, at: { host: '127.0.0.1', port: node.port }, witness: isWitness };
      if (from === undefined) return replica;
      const source = { volumeId: 'v', replicaId: `v-r${index + 1}`, snapshotId: from };
      return { ...replica, source };
    });
    await this.coordinators.makeVolume(volumeId, sizeBlocks, plan);
  }

  /** One more replica of the served volume, blank, on this node; resolves when it is a member, and before its rebuild. */
  async addReplica(
    replicaId: string,
    node: ANode,
    { witness = false, leaver = null }: { witness?: boolean; leaver?: string | null } = {},
  ): Promise<void> {
    this.places.set(replicaId, node);
    const { coordinator } = this.volume!;
    const at = { host: '127.0.0.1', port: node.port };
    const { sizeBlocks } = coordinator.record!;
    await this.coordinators.makeNewcomer('v', sizeBlocks, { replicaId, at, witness });
    coordinator.addReplica(replicaId);
    // That it has said hello is seen by nothing else.
    let ended: string | null = 'is not connected';
    while (ended?.endsWith('is not connected')) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      ended = await coordinator.changeMember(leaver, { replicaId, witness }).then(
        () => null,
        (error: Error) => error.message,
      );
    }
    if (ended !== null) throw new Error(ended);
  }

  open(config: CoordinatorConfig = QUICK, volumeId = 'v'): ReplicatedVolume {
    const tell = (line: string): void => {
      this.heard.push(line);
      for (const waiter of this.#waiters.splice(0)) waiter();
    };
    const listener: ReplicatedVolumeListener = {
      onServing: () => tell('serving'),
      onHoldExpired: () => tell('hold expired'),
      onDeposed: (epoch) => tell(`deposed ${epoch}`),
      onLossDeclared: () => tell('loss'),
      onRecord: (record) => tell(`record ${record.epoch}.${record.n}`),
    };
    const volume = new ReplicatedVolume({
      volumeId,
      name: volumeId,
      logicalBlockBytes: 4096,
      buffers: this.buffers,
      coordinators: this.coordinators,
      config,
      turn: this.turn,
      clock: this.clock,
      random: new SystemRandom(),
      log: this.log,
      addressOf: (replicaId) => {
        const node = this.places.get(replicaId);
        return node === undefined ? null : { host: '127.0.0.1', port: node.port };
      },
      listener,
      sessions: () => this.sessions,
    });
    this.volume ??= volume;
    this.volumes.push(volume);
    const ofIt = [...this.places.keys()].filter((id) => id.startsWith(`${volumeId}-r`));
    volume.start(ofIt);
    return volume;
  }

  /** Until `holds`, looked at whenever something is heard and every 20 ms; rejects after 20 s. */
  async until(what: string, holds: () => boolean): Promise<void> {
    const end = this.clock.nowMs() + 20_000;
    while (!holds()) {
      if (this.clock.nowMs() > end) {
        const status = JSON.stringify(this.volume?.status());
        throw new Error(`it never came to this: ${what}; ${status}; ${this.heard.join(', ')}`);
      }
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
        setTimeout(resolve, 20);
      });
    }
  }

  async serving(): Promise<Volume> {
    await this.until('serving', () => this.volume?.serving === true);
    return this.volume!.volume!;
  }

  async stop(): Promise<void> {
    for (const volume of this.volumes) await volume.coordinator.stop();
    for (const node of this.nodes) node.stop();
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#directory === null) return;
    for (const node of this.nodes) await node.pool.close();
    rmSync(this.#directory, { recursive: true });
  }
}

/** One operation, awaited. */
export async function run(
  volume: Volume,
  turn: Turn,
  kind: BlockOpKind,
  lba: number,
  blocks: number,
  data: DataBuffer | null,
  fua = false,
): Promise<IoStatus> {
  return await new Promise((resolve) => {
    turn.enter();
    const op = new BlockOp().begin(kind, lba, blocks, data, 0, fua, {
      onBlockDone: (_op, status) => resolve(status),
    });
    volume.submit(op);
    turn.leave();
  });
}

export { BlockOpKind, IoStatus, once };
