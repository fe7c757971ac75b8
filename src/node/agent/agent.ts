// A node: says that it is there, lists its disks, and does what the objects say that name it. Everything it does follows
// from what is wanted and what is there; it can be killed at any moment and goes on when it is started again.
import { type KindDefinition, setCondition } from '../../apiserver/index.ts';
import type { Timer } from '../../base/index.ts';
import {
  type Catalog,
  type Controller,
  ControllerManager,
  Finalizer,
  hasReason,
  jivaPoolName,
  Label,
  REPLICAS_ON_NODE,
  type Surroundings,
  VOLUMES_OF_TARGET,
  WorkQueue,
  Writer,
} from '../../controllers/index.ts';
import { NODE, type Node, POOL } from '../../kinds/index.ts';
import type { DiscoverOptions } from '../devices/discover.ts';
import { DeviceClaims } from './device-claims.ts';
import { DeviceKeeper } from './devices.ts';
import { Heartbeat } from './heartbeat.ts';
import { type Machine, machineOf } from './machine.ts';
import type { Part, PodKeeper } from './pods.ts';
import { PoolMarks } from './pool-marks.ts';
import { PoolKeeper } from './pools.ts';
import { ReplicaKeeper } from './replicas.ts';
import { SnapshotKeeper } from './snapshots.ts';
import { type NodeSurroundings, OpenPools } from './surroundings.ts';
import { NodeEnds } from './transfer-ends.ts';
import { VolumeKeeper } from './volumes.ts';

const SCAN_MS = 30_000;
/** How often usage is told, where it changed. */
const REPORT_MS = 5000;
const MOST_TRIES = 5;
/** So long after its start a node may still be bringing up what it had: its pods are not taken for gone. */
const BRING_UP_MS = 60_000;

export interface NodeAgentOptions {
  /** As each part of the node speaks and logs. */
  readonly around: (component: 'cstor-pool' | 'cstor-target') => NodeSurroundings;
  readonly devices: DiscoverOptions;
  /** Pools in folders are made here; null: none. */
  readonly directory: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly apiAddress: string;
  readonly version: string;
  readonly identity: string;
  readonly leaseMs: number;
  readonly pods: PodKeeper;
}

export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #around: NodeSurroundings;
  readonly #writer: Writer;
  readonly #open = new OpenPools(() => this.#partsChanged());
  readonly #podQueue: WorkQueue;
  readonly #devices: DeviceKeeper;
  readonly #pools: PoolKeeper;
  readonly #ends: NodeEnds;
  readonly #replicas: ReplicaKeeper;
  readonly #volumes: VolumeKeeper;
  readonly #heartbeat: Heartbeat;
  readonly #manager: ControllerManager;
  #timers: Timer[] = [];
  readonly #marks = new PoolMarks();
  readonly #machine: Machine = machineOf();
  /** Still bringing up what it had before it was started. */
  #bringingUp = true;
  #closed = false;

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    const pool = options.around('cstor-pool');
    const target = options.around('cstor-target');
    this.#around = pool;
    const writer = new Writer(pool as unknown as Surroundings);
    this.#writer = writer;
    this.#devices = new DeviceKeeper(pool, options.devices, writer);
    const claims = new DeviceClaims({
      nodeName: pool.nodeName,
      client: pool.client,
      catalog: pool.catalog,
      writer,
      rescan: () => this.#devices.scan(),
    });
    this.#pools = new PoolKeeper(pool, this.#open, writer, claims);
    this.#volumes = new VolumeKeeper(target, this.#open, writer, () => this.#partsChanged());
    const ends = { around: target, open: this.#open, writer, volumes: this.#volumes };
    this.#ends = new NodeEnds(ends);
    this.#replicas = new ReplicaKeeper(pool, this.#open, writer, this.#volumes);
    const { client, clock, log, now, nodeName } = pool;
    this.#podQueue = new WorkQueue({
      clock,
      work: () => options.pods.agree(this.#parts(), this.#coming()),
      onError: (_key, error) =>
        log.debug({ err: error }, 'pods could not be told of; trying again'),
    });
    const { identity, leaseMs } = options;
    this.#heartbeat = new Heartbeat({
      client,
      clock,
      log,
      now,
      nodeName,
      identity,
      durationMs: leaseMs,
    });
    const keepers: Controller[] = [
      new NodeKeeper(this),
      this.#pools,
      this.#replicas,
      this.#volumes,
      new SnapshotKeeper(target, this.#open, writer, this.#volumes),
    ];
    this.#manager = new ControllerManager(pool as unknown as Surroundings, keepers);
    this.#volumes.nudge = (name) => this.#manager.nudge(this.#volumes, name);
  }

  get volumes(): VolumeKeeper {
    return this.#volumes;
  }

  /** Where streams begin and end here. */
  get ends(): NodeEnds {
    return this.#ends;
  }

  get pools(): OpenPools {
    return this.#open;
  }

  get catalog(): Catalog {
    return this.#around.catalog;
  }

  get nodeName(): string {
    return this.#around.nodeName;
  }

  /** The catalog has been read. */
  async start(): Promise<void> {
    await this.#register();
    await this.#heartbeat.start();
    await this.#devices.scan();
    this.#manager.start();
    this.#every(SCAN_MS, () => this.#devices.scan());
    this.#every(REPORT_MS, () => this.#report());
    this.#timers.push(
      this.#around.clock.schedule(BRING_UP_MS, () => {
        this.#bringingUp = false;
        this.#partsChanged();
      }),
    );
    this.#partsChanged();
  }

  /** Hosts are gone already. Nothing is taken back: the next start finds it all. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#heartbeat.close();
    for (const timer of this.#timers) timer.cancel();
    this.#manager.stop();
    await this.#manager.stopped();
    await this.#podQueue.stop();
    await this.#volumes.close();
    for (const [name, pool] of this.#open.all()) {
      this.#open.find(name)?.replicas?.close();
      await pool.close();
      this.#open.delete(name);
    }
  }

  async #ensureNode(): Promise<void> {
    const { client, nodeName } = this.#around;
    try {
      await client.create<Node>(NODE, {
        metadata: {
          name: nodeName,
          labels: { 'kubernetes.io/hostname': nodeName, ...this.#options.labels },
        },
        spec: {},
      });
    } catch (error) {
      if (!hasReason(error, 'AlreadyExists')) throw error;
    }
  }

  async #register(): Promise<void> {
    await this.#ensureNode();
    await this.reportNode();
    await this.#ensureOwnPool();
  }

  /** Also later: that of a node that was forgotten goes a moment after it is back. */
  async #ensureOwnPool(): Promise<void> {
    const { client, nodeName, catalog } = this.#around;
    const { directory } = this.#options;
    if (directory === null || catalog.get(POOL, jivaPoolName(nodeName)) !== null) return;
    try {
      await client.create(POOL, {
        metadata: {
          name: jivaPoolName(nodeName),
          labels: { [Label.Node]: nodeName },
          finalizers: [Finalizer.Pool],
        },
        spec: { nodeName, directory, layout: 'stripe' },
      });
    } catch (error) {
      if (!hasReason(error, 'AlreadyExists')) throw error;
    }
  }

  /** Others write its status, too: who was slower looks again. */
  async reportNode(): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      try {
        await this.#tryReportNode();
        return;
      } catch (error) {
        const isGone = hasReason(error, 'NotFound'); // Deleted by force, while it runs.
        if ((!isGone && !hasReason(error, 'Conflict')) || tries >= MOST_TRIES) throw error;
        if (isGone) await this.#ensureNode();
      }
    }
  }

  /** What the replicas here have of their pools, for metrics. */
  uses(): ReturnType<ReplicaKeeper['all']> {
    return this.#replicas.all();
  }

  async #tryReportNode(): Promise<void> {
    const { client, nodeName, exporter, now, catalog } = this.#around;
    const { addresses, apiAddress, version } = this.#options;
    const node = await client.get<Node>(NODE, null, nodeName);
    const replicas = catalog.where(REPLICAS_ON_NODE, nodeName);
    await this.#writer.status(NODE, node, (status) => {
      status.addresses = [...addresses];
      status.portals = [...exporter.portals];
      status.apiAddress = apiAddress;
      status.version = version;
      status.machine = this.#machine;
      status.pools = this.#open.all().length;
      status.replicas = replicas.length;
      status.coordinators = this.#volumes.all().length;
      status.conditions ??= [];
      setCondition(
        status.conditions,
        { type: 'Ready', status: 'True', reason: 'Running', message: 'it renews its lease' },
        now(),
      );
    });
  }

  async #report(): Promise<void> {
    await this.reportNode();
    await this.#ensureOwnPool();
    await this.#replicas.sweep();
    for (const [name] of this.#open.all()) await this.#pools.tend(name);
    this.#marks.renew(this.#open);
    for (const [name] of this.#open.all()) await this.#pools.report(name, this.#marks);
    await this.#volumes.lookAgain();
    await this.#replicas.reportAll(this.#marks);
  }

  #partsChanged(): void {
    if (!this.#closed) this.#podQueue.add('parts');
  }

  #parts(): Part[] {
    return [
      ...['maya-apiserver', 'provisioner', 'cstor-operator'].map((component) => ({ component })),
      ...this.#open.all().map(([pool]) => ({ component: 'cstor-pool', pool })),
      ...this.#volumes.all().map(({ name }) => ({ component: 'cstor-target', volume: name })),
    ];
  }

  /** What it had before it was started again, and has not brought up yet. */
  #coming(): Part[] {
    if (!this.#bringingUp) return [];
    const { catalog, nodeName } = this.#around;
    const pools = catalog.all(POOL).filter(({ spec }) => spec.nodeName === nodeName);
    const volumes = catalog.where(VOLUMES_OF_TARGET, nodeName);
    return [
      ...pools.map(({ metadata }) => ({ component: 'cstor-pool', pool: metadata.name })),
      ...volumes.map(({ metadata }) => ({ component: 'cstor-target', volume: metadata.name })),
    ];
  }

  /** Again and again, one at a time; what fails is tried at the next turn. */
  #every(periodMs: number, work: () => Promise<void>): void {
    const { clock, log } = this.#around;
    const index = this.#timers.length;
    const again = (): void => {
      if (this.#closed) return;
      this.#timers[index] = clock.schedule(periodMs, () => {
        work()
          .catch((error: unknown) => {
            if (hasReason(error, 'Conflict')) return; // Changed meanwhile: the next turn sees it.
            log.warn({ err: error }, 'a report failed; trying again');
          })
          .finally(again);
      });
    };
    again();
  }
}

/** Says that the node is there when somebody said that it is not. */
class NodeKeeper implements Controller {
  readonly name = 'node';
  readonly kind = NODE as unknown as KindDefinition;
  readonly triggers = [];
  readonly #agent: NodeAgent;

  constructor(agent: NodeAgent) {
    this.#agent = agent;
  }

  async reconcile(key: string): Promise<undefined> {
    if (key === this.#agent.nodeName) await this.#agent.reportNode();
  }
}
