// The control plane in one thread: the real API rules over a store in memory, the real controllers, and nodes that do at
// once what they are told and remember what really exists, so that a test can look for what was left behind. The clock
// moves by hand. Controllers can be killed before or after any one of their writes.
import {
  EVENTS,
  type EventObject,
  EventRecorder,
  type KindDefinition,
  KindRegistry,
  type KubeObject,
  LEASES,
  NAMESPACES,
  type ObjectClient,
  ResourceServer,
} from '../../../src/apiserver/index.ts';
import { ManualClock, silentLog } from '../../../src/base/index.ts';
import {
  allControllers,
  Catalog,
  type Controller,
  ControllerManager,
  Finalizer,
  hasReason,
  isDeleting,
  jivaPoolName,
  LOOKED_AT,
  makeBuiltIns,
  type Surroundings,
  withActions,
} from '../../../src/controllers/index.ts';
import {
  allKinds,
  BLOCK_DEVICE,
  NODE,
  POOL,
  quantityBytes,
  REPLICA,
  SNAPSHOT,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

const GI = 2 ** 30;
/** So long a new volume waits for places that are on their way. */
export const PATIENCE_MS = 60_000;

/** One life of the controllers: killed at its n-th write. */
export interface Kill {
  readonly atWrite: number;
  /** Whether that write still happened. */
  readonly applied: boolean;
}

class Killed extends Error {
  override readonly name = 'Killed';
}

/** Passes calls on until the kill; from then on nothing it is asked for happens, or is answered. */
class MortalClient {
  readonly client: ObjectClient;
  writes = 0;
  dead = false;

  constructor(
    inner: ObjectClient,
    kill: Kill | null,
    onKill: () => void,
    after: (args: readonly unknown[]) => Promise<void>,
  ) {
    const never = new Promise<never>(() => {});
    const write =
      (name: 'create' | 'update' | 'updateStatus' | 'patch' | 'delete') =>
      async (...args: unknown[]): Promise<unknown> => {
        if (this.dead) return await never;
        this.writes += 1;
        const call = inner[name] as unknown as (...args: unknown[]) => Promise<unknown>;
        if (kill === null || this.writes !== kill.atWrite) {
          const result = await call.apply(inner, args);
          await after(args);
          return result;
        }
        this.dead = true;
        if (kill.applied) await call.apply(inner, args).catch(() => undefined);
        onKill();
        throw new Killed();
      };
    this.client = {
      get: (...args: Parameters<ObjectClient['get']>) => (this.dead ? never : inner.get(...args)),
      list: (...args: Parameters<ObjectClient['list']>) =>
        this.dead ? never : inner.list(...args),
      watch: (...args: Parameters<ObjectClient['watch']>) => inner.watch(...args),
      create: write('create'),
      update: write('update'),
      updateStatus: write('updateStatus'),
      patch: write('patch'),
      delete: write('delete'),
    } as unknown as ObjectClient;
  }
}

/** What really exists on a node. */
export class SimNode {
  readonly name: string;
  readonly portal: string;
  readonly pools = new Set<string>();
  /** `POOL/VOLUME`. */
  readonly stores = new Set<string>();
  readonly targets = new Map<string, number>();
  /** `VOLUME/SNAPSHOT`. */
  readonly snapshots = new Set<string>();
  /** Pools that were erased, not given back. */
  readonly erased: string[] = [];
  alive = true;
  /** False: its pools of devices stay as they are asked for, until it is true. */
  makesPools = true;
  /** False: its pools do not say where their replicas can be reached. */
  isReachable = true;

  constructor(name: string, portal: string) {
    this.name = name;
    this.portal = portal;
  }
}

export class World {
  readonly clock = new ManualClock();
  readonly store = new MemoryObjectStore();
  readonly server: ResourceServer;
  readonly nodes = new Map<string, SimNode>();
  readonly silences = new Map<string, number>();
  lives = 0;
  /** Rollbacks that were done, in order: `VOLUME to SNAPSHOT, REQUEST`. */
  readonly rolledBack: string[] = [];
  /** False: groups of snapshots wait. */
  takesGroups = true;
  /** Called after each write of the controllers: what happens between two of their steps. */
  afterWrite: ((args: readonly unknown[]) => Promise<void>) | null = null;
  /** The catalog is so far behind that it shows none of these yet. */
  unseen: unknown = null;
  /** How many replicas each volume had in the write that assigned its first target: that decides how it is kept. */
  readonly decidedWith = new Map<string, number>();
  /** How often a controller has looked at an object: `CONTROLLER KEY`. */
  readonly looks = new Map<string, number>();
  #mortal: MortalClient | null = null;
  #manager: ControllerManager | null = null;
  #catalog: Catalog | null = null;
  #killed = false;
  #startMs = Date.UTC(2026, 10, 1);

  constructor() {
    const registry = new KindRegistry();
    for (const kind of [NAMESPACES, LEASES, EVENTS] as unknown as KindDefinition[]) {
      registry.register(kind);
    }
    for (const kind of allKinds(this.store)) {
      registry.register(withActions(kind, () => this.server));
    }
    this.server = new ResourceServer({
      registry,
      store: this.store,
      log: silentLog,
      now: () => this.now(),
    });
  }

  now(): Date {
    return new Date(this.#startMs + this.clock.nowMs());
  }

  /** Writes of this life of the controllers. */
  get writes(): number {
    return this.#mortal?.writes ?? 0;
  }

  get killed(): boolean {
    return this.#killed;
  }

  async addNode(name: string, devices = 2, labels: Record<string, string> = {}): Promise<SimNode> {
    const portal = `192.0.2.${this.nodes.size + 1}:3260`;
    const node = new SimNode(name, portal);
    this.nodes.set(name, node);
    await this.server.create(NODE, { metadata: { name, labels }, spec: {} });
    await this.patchStatus(NODE, name, { portals: [portal] });
    for (let index = 1; index <= devices; index += 1) {
      const deviceName = `blockdevice-${index}`;
      const full = this.nodes.size === 1 ? deviceName : `${deviceName}-${name}`;
      await this.server.create(BLOCK_DEVICE, {
        metadata: { name: full },
        spec: {
          nodeName: name,
          deviceName,
          identity: `${name}-${index}`,
          path: `/dev/sd${index}`,
          sizeBytes: 100 * GI,
          logicalBlockBytes: 512,
          rotational: false,
          sparse: false,
        },
      });
      await this.patchStatus(BLOCK_DEVICE, full, { state: 'Active' });
    }
    const jiva = jivaPoolName(name);
    await this.server.create(POOL, {
      metadata: { name: jiva, finalizers: [Finalizer.Pool] },
      spec: { nodeName: name, directory: '/var/openebs', layout: 'stripe' },
    });
    return node;
  }

  async patchStatus(kind: unknown, name: string, status: object): Promise<void> {
    await this.server.patch(
      kind as KindDefinition,
      null,
      name,
      { type: 'merge', body: { status } },
      { subresource: 'status' },
    );
  }

  async start(kill: Kill | null = null): Promise<void> {
    this.lives += 1;
    this.#killed = false;
    const mortal = new MortalClient(
      this.server,
      kill,
      () => this.#die(),
      async (args) => {
        this.#noteDecision(args);
        await this.afterWrite?.(args);
      },
    );
    this.#mortal = mortal;
    const catalog = new Catalog(
      { client: mortal.client, clock: this.clock, log: silentLog },
      LOOKED_AT,
    );
    this.#catalog = catalog;
    const all = catalog.all.bind(catalog);
    catalog.all = (kind) => (kind === this.unseen ? [] : all(kind));
    const around: Surroundings = {
      client: mortal.client,
      catalog,
      events: new EventRecorder({
        client: this.server,
        log: silentLog,
        now: () => this.now(),
        component: 'controllers',
        host: 'test',
      }),
      clock: this.clock,
      log: silentLog,
      now: () => this.now(),
      settings: {
        iqnPrefix: 'iqn.2026-11.io.ashlar',
        nodeSilentMs: 4000,
        nodeGoneMs: 60_000,
        placePatienceMs: PATIENCE_MS,
      },
      silenceMs: (name) => (this.nodes.has(name) ? (this.silences.get(name) ?? 0) : null),
    };
    await makeBuiltIns(this.server);
    await catalog.start();
    const controllers = allControllers(() => around);
    for (const controller of controllers) this.#countLooks(controller);
    this.#manager = new ControllerManager(around, controllers);
    this.#manager.start();
  }

  #countLooks(controller: Controller): void {
    const reconcile = controller.reconcile.bind(controller);
    controller.reconcile = (key) => {
      const look = `${controller.name} ${key}`;
      this.looks.set(look, (this.looks.get(look) ?? 0) + 1);
      return reconcile(key);
    };
  }

  #noteDecision([kind, object]: readonly unknown[]): void {
    if (kind !== VOLUME) return;
    const { metadata, status } = object as Volume;
    if (status?.target === undefined || this.decidedWith.has(metadata.name)) return;
    this.decidedWith.set(metadata.name, status.replicas?.placed ?? 0);
  }

  stop(): void {
    this.#manager?.stop();
    this.#catalog?.close();
  }

  #die(): void {
    this.#killed = true;
    this.stop();
  }

  /** Lets everybody work until nothing changes any more, or the controllers are killed. */
  async settle(): Promise<void> {
    let still = 0;
    for (let round = 0; round < 2000; round += 1) {
      const before = await this.store.revision();
      await drain();
      for (const node of this.nodes.values()) if (node.alive) await this.#work(node);
      await drain();
      if (this.#killed) return;
      this.clock.advance(100);
      for (const [name, node] of this.nodes) {
        this.silences.set(name, node.alive ? 0 : (this.silences.get(name) ?? 0) + 100);
      }
      still = (await this.store.revision()) === before ? still + 1 : 0;
      if (still >= 6) return;
    }
    throw new Error('it never comes to rest');
  }

  /** Time goes by. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 500) {
      this.clock.advance(500);
      for (const [name, node] of this.nodes) {
        this.silences.set(name, node.alive ? 0 : (this.silences.get(name) ?? 0) + 500);
      }
      await drain();
      for (const node of this.nodes.values()) if (node.alive) await this.#work(node);
      await drain();
    }
  }

  async get<T extends KubeObject>(
    kind: KindDefinition<T>,
    name: string,
    namespace: string | null = null,
  ): Promise<T | null> {
    try {
      return await this.server.get<T>(kind, namespace, name);
    } catch (error) {
      if (hasReason(error, 'NotFound')) return null;
      throw error;
    }
  }

  async all<T extends KubeObject>(kind: KindDefinition<T>): Promise<T[]> {
    return (await this.server.list<T>(kind)).items;
  }

  async eventsOf(name: string): Promise<string[]> {
    const events = await this.all<EventObject>(EVENTS);
    return events
      .filter((event) => event.involvedObject.name === name)
      .map((event) => `${event.type} ${event.reason}: ${event.message}`);
  }

  /** What a node does when it looks at its objects: everything, at once. */
  async #work(node: SimNode): Promise<void> {
    for (const pool of await this.all(POOL)) {
      if (pool.spec.nodeName !== node.name) continue;
      const { name } = pool.metadata;
      const isExported = pool.status?.phase === 'Exported';
      if (isDeleting(pool) || isExported) {
        if (!isExported) node.erased.push(name);
        node.pools.delete(name);
        if (isDeleting(pool)) await this.#drop(POOL, pool, Finalizer.Pool);
        else await this.server.delete(POOL, null, name);
        continue;
      }
      if (!node.makesPools && pool.spec.directory === undefined) continue;
      node.pools.add(name);
      const held = [...node.stores].filter((store) => store.startsWith(`${name}/`)).length;
      await this.#tell(POOL, pool, {
        phase: 'Online',
        usableBytes: 100 * GI,
        freeBytes: 90 * GI,
        allocatedBytes: GI,
        volumes: held,
        replicaAddress: node.isReachable ? `${node.name}:7000` : null,
      });
    }
    for (const replica of await this.all(REPLICA)) {
      if (replica.spec.nodeName !== node.name) continue;
      const store = `${replica.spec.poolName}/${replica.spec.volumeName}`;
      if (isDeleting(replica)) {
        const volume = await this.get(VOLUME, replica.spec.volumeName);
        if (volume?.status?.serving !== undefined && isDeleting(volume)) continue;
        node.stores.delete(store);
        await this.#drop(REPLICA, replica, Finalizer.Replica);
        continue;
      }
      node.stores.add(store);
      await this.#tell(REPLICA, replica, {
        phase: 'Healthy',
        sizeBytes: quantityBytes(replica.spec.size),
      });
    }
    for (const volume of await this.all(VOLUME)) {
      const { name } = volume.metadata;
      const { target, serving } = volume.status ?? {};
      if (target?.nodeName === node.name) {
        if (!(await this.#hasQuorum(name))) continue;
        node.targets.set(name, target.epoch);
        await this.#tell(VOLUME, volume, {
          serving: { ...target, portal: node.portal },
          capacityBytes: quantityBytes(volume.spec.size),
          ...this.#rollBack(node, volume),
        });
      } else {
        node.targets.delete(name);
        if (serving?.nodeName === node.name) await this.#tell(VOLUME, volume, { serving: null });
      }
    }
    for (const snapshot of await this.all(SNAPSHOT)) {
      const volume = await this.get(VOLUME, snapshot.spec.volumeName);
      if (volume?.status?.serving?.nodeName !== node.name) continue;
      if (!(await this.#hasQuorum(volume.metadata.name))) continue;
      const key = `${snapshot.spec.volumeName}/${snapshot.metadata.name}`;
      if (isDeleting(snapshot)) {
        node.snapshots.delete(key);
        await this.#drop(SNAPSHOT, snapshot, Finalizer.Snapshot);
        continue;
      }
      if (!this.takesGroups && snapshot.spec.alsoVolumes !== undefined) continue;
      node.snapshots.add(key);
      await this.#tell(SNAPSHOT, snapshot, {
        phase: 'Ready',
        takenAt: snapshot.metadata.creationTimestamp,
        sizeBytes: volume.status?.capacityBytes ?? 0,
      });
    }
  }

  async #hasQuorum(volumeName: string): Promise<boolean> {
    const all = (await this.all(REPLICA)).filter(({ spec }) => spec.volumeName === volumeName);
    const there = all.filter(({ spec }) => this.nodes.get(spec.nodeName)?.alive === true);
    return there.length >= Math.floor(all.length / 2) + 1;
  }

  /** One step of what was asked for: begun, then done. Whoever serves the volume next goes on with it. */
  #rollBack(node: SimNode, { metadata, spec, status }: Volume): object {
    const { rollback } = spec;
    if (rollback === undefined) return {};
    const { request, to } = rollback;
    const said = status?.rollback;
    if (said?.request === request && said.phase !== 'Running') return {};
    if (said?.request !== request) {
      return { rollback: { request, phase: 'Running', message: `to ${to}` } };
    }
    if (!node.snapshots.has(`${metadata.name}/${to}`)) {
      // As a replica that was elsewhere when it was taken: this node has it as soon as it serves the volume.
      return {};
    }
    this.rolledBack.push(`${metadata.name} to ${to}, ${request}`);
    return { rollback: { request, phase: 'Done', message: `it is what ${to} holds` } };
  }

  async #tell(kind: unknown, object: KubeObject, status: Record<string, unknown>): Promise<void> {
    const has = (object['status'] ?? {}) as Record<string, unknown>;
    const differs = Object.entries(status).some(
      ([key, value]) => JSON.stringify(has[key] ?? null) !== JSON.stringify(value ?? null),
    );
    if (differs) await this.patchStatus(kind, object.metadata.name, status);
  }

  async #drop(kind: unknown, object: KubeObject, finalizer: string): Promise<void> {
    const left = (object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
    if (left.length === (object.metadata.finalizers ?? []).length) return;
    await this.server.update(kind as KindDefinition, {
      ...object,
      metadata: { ...object.metadata, finalizers: left },
    });
  }
}

/** Until every promise that can go on has. */
async function drain(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
