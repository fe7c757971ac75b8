// `ashlar node`, put together: the object store, the API over it, the controllers where this process leads, and what the
// node itself runs. Started from the objects upwards, stopped from the hosts downwards.
import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import {
  ApiError,
  addHealth,
  buildHttp,
  EventRecorder,
  Housekeeper,
  type KindDefinition,
  KindRegistry,
  LEASES,
  LeaderElector,
  LeaseObserver,
  type ObjectClient,
  ownKinds,
  ResourceServer,
  StoreBackend,
  TokenAccess,
} from '../apiserver/index.ts';
import { SystemClock, SystemRandom, setCrc32c, Turn } from '../base/index.ts';
import { BlockOp, BlockOpKind, DataBufferPool } from '../block/index.ts';
import { addTransfers, type TransferEnds, Transfers } from '../control/index.ts';
import {
  allControllers,
  Catalog,
  ControllerManager,
  importablePools,
  LOOKED_AT,
  makeBuiltIns,
  type Surroundings,
  withActions,
} from '../controllers/index.ts';
import { IscsiServer, type SessionInfo } from '../iscsi/index.ts';
import { allKinds, nodeLeaseName, OPENEBS_NAMESPACE, POD, POOL, type Pod } from '../kinds/index.ts';
import { Listener } from '../net/index.ts';
import {
  type LogBook,
  NativeMedia,
  NodeAgent,
  type NodeEnds,
  type NodeSurroundings,
  PodKeeper,
} from '../node/index.ts';
import { clusterId, type ObjectStore } from '../objects/index.ts';
import {
  findSignature,
  nativeArena,
  nativeCrc32c,
  nativeCrc32cEach,
  setSpin,
  thisNode,
} from '../store/index.ts';
import { followTls } from './certificates.ts';
import {
  type Config,
  isLoopback,
  isWildcard,
  type PortalAddress,
  showAddress,
} from './config/index.ts';
import { readTls } from './daemon.ts';
import { notifySystemd } from './engine.ts';
import { hostOf } from './host-metrics.ts';
import { buildNodeMetrics } from './node-metrics.ts';
import { NodeSpace } from './node-space.ts';
import { openObjects } from './objects.ts';
import { podLog } from './pod-log.ts';
import { portError, StartError } from './ports.ts';
import { Replication, replicaNodeOf } from './replication.ts';
import { Targets } from './targets.ts';

const LEADER_LEASE = 'controllers';

export interface NodeDaemonOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: Logger;
  /** What the logger writes comes in here, too. */
  readonly book: LogBook;
}

type StopStep = () => Promise<void> | void;

export class NodeDaemon {
  readonly #options: NodeDaemonOptions;
  readonly #clock = new SystemClock();
  readonly #turn = new Turn();
  readonly #stops: StopStep[] = [];
  /** Unique to this process: a lease of a life before is not ours. */
  readonly #identity: string;
  #agent: NodeAgent | null = null;
  #space: NodeSpace | null = null;
  #buffers: DataBufferPool | null = null;
  #iscsi: IscsiServer | null = null;
  #manager: ControllerManager | null = null;
  #portals: PortalAddress[] = [];
  #api: PortalAddress;
  #ready = false;
  #replicaPortTaken = false;
  #stopping: Promise<void> | null = null;

  constructor(options: NodeDaemonOptions) {
    this.#options = options;
    this.#api = options.config.api.address;
    this.#identity = `${options.config.node.name}_${randomUUID()}`;
  }

  get portals(): readonly PortalAddress[] {
    return this.#portals;
  }

  get api(): PortalAddress {
    return this.#api;
  }

  get leads(): boolean {
    return this.#manager?.running === true;
  }

  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.#unwind();
      throw error;
    }
  }

  /** Hosts first, then volumes, then pools, then the objects. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#unwind();
    return this.#stopping;
  }

  /** One small I/O as a host would do it: proof of life for the watchdog. True at once without a volume. */
  proveLife(): Promise<boolean> {
    const [first] = this.#agent?.volumes.all() ?? [];
    if (first === undefined) return Promise.resolve(true);
    return new Promise((resolve) => {
      const op = new BlockOp();
      const owner = { onBlockDone: () => resolve(true) };
      op.begin(BlockOpKind.Verify, 0, 1, null, 0, false, owner);
      first.volume.submit(op);
    });
  }

  activity(): { sessions: number; volumes: number; pools: number; leads: boolean } {
    return {
      sessions: this.#sessions().filter(({ type }) => type === 'Normal').length,
      volumes: this.#agent?.volumes.all().length ?? 0,
      pools: this.#agent?.pools.all().length ?? 0,
      leads: this.leads,
    };
  }

  async #start(): Promise<void> {
    const { config, log } = this.#options;
    checkAddresses(config);
    const store = await this.#openObjects();
    const resources = this.#buildResources(store);
    await makeBuiltIns(resources);
    const step = 4 * 2 ** 20;
    const arena = nativeArena(Math.ceil(config.memory.buffersBytes / step) * step);
    setCrc32c(nativeCrc32c(), nativeCrc32cEach());
    setSpin(config.cpu.spinMicroseconds);
    const buffers = new DataBufferPool(arena);
    this.#buffers = buffers;
    const targets = new Targets({
      buffers,
      turn: this.#turn,
      portals: config.portals.map(showAddress),
      discoveryAuth: {
        chap: config.discovery.chap === null ? [] : [config.discovery.chap],
        mutual: config.discovery.mutualChap,
      },
      allowSanitize: config.volumes.allowSanitize,
      spaceOf: (iqn) => this.#space?.spaceOf(volumeOf(iqn)) ?? null,
    });
    const volumeOf = (iqn: string): string => iqn.slice(config.iqnPrefix.length + 1);

    const observer = new LeaseObserver(this.#clock);
    const catalog = new Catalog({ client: resources, clock: this.#clock, log }, [
      ...LOOKED_AT,
      LEASES as unknown as KindDefinition,
    ]);
    catalog.onChange(LEASES, (lease) => observer.see(lease));
    await catalog.start();
    this.#stops.push(() => catalog.close());

    const space = new NodeSpace({
      catalog,
      nodeName: config.node.name,
      thresholdPercent: config.pool.spaceThresholdPercent,
      log: log.child({ component: 'cstor-pool' }),
      tell: () => targets.setSpaceLow((iqn) => space.isLow(volumeOf(iqn))),
    });
    this.#space = space;

    this.#lead(resources, catalog, observer);
    await this.#serveApi(resources);
    const cluster = await clusterId(store);
    this.#agent = this.#buildAgent(resources, catalog, store, buffers, targets, cluster);
    const agent = this.#agent;
    this.#stops.push(() => agent.close());
    await this.#serveHosts(buffers, targets);
    await agent.start();
    this.#ready = true;
    log.info({ portals: targets.portals, api: showAddress(this.#api) }, 'the node runs');
  }

  async #openObjects(): Promise<ObjectStore> {
    const store = await openObjects(this.#options.config);
    this.#stops.push(() => store.close());
    return store;
  }

  #buildResources(store: ObjectStore): ResourceServer {
    const { log, book } = this.#options;
    const registry = new KindRegistry();
    for (const kind of [...ownKinds(store), ...allKinds(store)]) {
      if (kind.kind === POD.kind) continue;
      registry.register(withActions(kind, () => resources));
    }
    const resources = new ResourceServer({
      registry,
      store,
      log: log.child({ component: 'maya-apiserver' }),
      now: () => new Date(),
    });
    registry.register<Pod>({
      ...POD,
      log: podLog({
        book,
        client: resources,
        nodeName: this.#options.config.node.name,
        isSecured: this.#options.config.api.tls !== null,
        peers: this.#options.config.replication.tls,
      }),
    });
    return resources;
  }

  /** Controllers run here while this process holds their lease. */
  #lead(client: ResourceServer, catalog: Catalog, observer: LeaseObserver): void {
    const { config, log } = this.#options;
    const { nodeSilentMs, nodeGoneMs, placePatienceMs } = config.control;
    const around = (component: string): Surroundings => ({
      client,
      catalog,
      events: this.#events(client, component),
      clock: this.#clock,
      log: log.child({ component }),
      now: () => new Date(),
      settings: { iqnPrefix: config.iqnPrefix, nodeSilentMs, nodeGoneMs, placePatienceMs },
      // While the store was away nobody could be heard, and a node must have had time to speak before it is called silent.
      // Not counted from when this process began to lead: where the leader itself is gone, the others have listened to its
      // node as long as it has, and its volumes need not wait twice.
      silenceMs: (name) => {
        const heardMs = observer.silenceMs(OPENEBS_NAMESPACE, nodeLeaseName(name));
        return Math.min(heardMs ?? Number.POSITIVE_INFINITY, observer.hearingMs());
      },
    });
    const manager = new ControllerManager(around('cstor-operator'), allControllers(around));
    this.#manager = manager;
    let housekeeper: Housekeeper | null = null;
    const elector = new LeaderElector(
      {
        client,
        clock: this.#clock,
        now: () => new Date(),
        log,
        namespace: OPENEBS_NAMESPACE,
        name: LEADER_LEASE,
        identity: this.#identity,
        durationMs: config.control.leaseMs,
      },
      {
        onLead: (term) => {
          for (const component of ['provisioner', 'cstor-operator']) {
            log.child({ component }).info({ term }, 'this node leads: its controllers run');
          }
          manager.start();
          housekeeper = new Housekeeper({ server: client, clock: this.#clock, log });
          housekeeper.start().catch((error: unknown) => {
            log.warn({ err: error }, 'housekeeping could not begin');
          });
        },
        onLose: (why) => {
          log.child({ component: 'provisioner' }).info({ why }, 'this node no longer leads');
          manager.stop();
          void housekeeper?.close();
          housekeeper = null;
        },
      },
    );
    elector.start();
    this.#stops.push(async () => {
      await elector.close();
      manager.stop();
      await housekeeper?.close();
      await manager.stopped();
    });
  }

  #events(client: ObjectClient, component: string): EventRecorder {
    return new EventRecorder({
      client,
      log: this.#options.log,
      now: () => new Date(),
      component,
      host: this.#options.config.node.name,
    });
  }

  #buildAgent(
    client: ObjectClient,
    catalog: Catalog,
    store: ObjectStore,
    buffers: DataBufferPool,
    targets: Targets,
    cluster: string,
  ): NodeAgent {
    const { config, log, version } = this.#options;
    const media = new NativeMedia({
      turn: this.#turn,
      buffers,
      owner: thisNode(config.node.name, cluster),
      takeOver: config.pool.takeOver,
      clock: this.#clock,
      log: log.child({ component: 'cstor-pool' }),
      notify: notifySystemd,
    });
    const { tls } = config.replication;
    tls?.follow(this.#clock, log);
    this.#stops.push(() => tls?.close());
    const replicationOptions = {
      config: config.replication,
      node: config.node.name,
      version,
      buffers,
      turn: this.#turn,
      clock: this.#clock,
      log: log.child({ component: 'cstor-pool' }),
    };
    const replication = new Replication({
      ...replicationOptions,
      log: log.child({ component: 'cstor-target' }),
      sessionsOf: (iqn) =>
        this.#sessions()
          .filter(({ target }) => target === iqn)
          .map(({ tsih, sinceMs }) => `${tsih}@${sinceMs}`),
    });
    const around = (component: string): NodeSurroundings => ({
      nodeName: config.node.name,
      client,
      catalog,
      events: this.#events(client, component),
      clock: this.#clock,
      log: log.child({ component }),
      now: () => new Date(),
      turn: this.#turn,
      buffers,
      media,
      exporter: targets,
      replication,
      serveReplicas: async (pool) => {
        const node = replicaNodeOf(replicationOptions, pool);
        const { host, port } = config.replication.listen ?? { host: '127.0.0.1', port: 0 };
        // A port for each pool: the configured one for the first, any for the others.
        const bound = await node.start({ address: host, port: this.#takeReplicaPort(port) });
        return { node, address: showAddress({ host, port: bound.port }) };
      },
      iqnPrefix: config.iqnPrefix,
      isAlone: config.objects.store === 'embedded',
      directoryPoolBytes: config.directoryPool.sizeBytes,
    });
    const address = config.portals[0]?.host ?? '127.0.0.1';
    return new NodeAgent({
      around,
      devices: {
        findSignature,
        include: config.devices.include,
        exclude: config.devices.exclude,
        sparseFolder: config.devices.sparseFolder,
      },
      directory: config.directoryPool.path,
      labels: config.node.zone === null ? {} : { 'topology.kubernetes.io/zone': config.node.zone },
      addresses: [address],
      // Every address is none that another node could be told.
      apiAddress: showAddress(isWildcard(this.#api) ? { ...this.#api, host: address } : this.#api),
      version,
      identity: this.#identity,
      leaseMs: config.control.leaseMs,
      pods: new PodKeeper({
        backend: new StoreBackend(store, POD),
        nodeName: config.node.name,
        address,
        version,
        now: () => new Date(),
      }),
    });
  }

  async #serveHosts(buffers: DataBufferPool, targets: Targets): Promise<void> {
    const { config, log } = this.#options;
    const { iscsi } = config;
    const target = log.child({ component: 'cstor-target' });
    const server = new IscsiServer({
      clock: this.#clock,
      random: new SystemRandom(),
      turn: this.#turn,
      log: target,
      buffers,
      directory: targets,
      portals: () => this.#portals.map(({ host, port }) => ({ address: host, port })),
      limits: {
        loginDeadlineMs: iscsi.loginTimeoutMs,
        maxLogins: iscsi.maxLogins,
        maxLoginsPerAddress: iscsi.maxLoginsPerAddress,
        maxSessions: iscsi.maxSessions,
        pingIntervalMs: iscsi.nopIntervalMs,
        pingTimeoutMs: iscsi.nopTimeoutMs,
        logoutDeadlineMs: iscsi.drainTimeoutMs,
      },
    });
    this.#iscsi = server;
    targets.serveBy(server);
    const listener = new Listener({
      turn: this.#turn,
      log: target,
      maxConnections: iscsi.maxSessions + iscsi.maxLogins,
      onConnection: (transport) => server.accept(transport),
    });
    this.#stops.push(async () => {
      listener.close();
      await server.drain();
    });
    for (const portal of config.portals) {
      try {
        const { port } = await listener.listen({ address: portal.host, port: portal.port });
        this.#portals.push({ host: portal.host, port });
      } catch (error) {
        throw portError(
          error,
          'the portal',
          portal,
          '--portal',
          'Another ashlar, tgtd or LIO (targetcli)',
        );
      }
    }
    targets.announce(this.#portals.map(showAddress));
  }

  async #serveApi(resources: ResourceServer): Promise<void> {
    const { config, version, log } = this.#options;
    const { address } = config.api;
    const tls = readTls(config);
    const access = config.api.accounts === null ? null : new TokenAccess(config.api.accounts);
    const app: FastifyInstance = await buildHttp({
      server: resources,
      version,
      loopbackOnly: isLoopback(address),
      access,
      tls,
      peers: config.replication.tls,
    });
    await this.#addTransfers(app);
    const api = log.child({ component: 'maya-apiserver' });
    app.addHook('onResponse', async (request, reply) => {
      // Reads are many and change nothing.
      if (request.method === 'GET' || request.method === 'HEAD') return;
      const fields = { method: request.method, url: request.url, status: reply.statusCode };
      api.info(fields, 'a request was answered');
    });
    app.get(`/apis/${POOL.group}/${POOL.version}/importablepools`, async (request) => {
      access?.identify(request.headers.authorization);
      const { place = [], node = null } = request.query as {
        place?: string | string[];
        node?: string;
      };
      return { items: await importablePools(resources, { node, places: [place].flat() }) };
    });
    addHealth(app, {
      ready: {
        startup: () => (this.#ready || this.#stopping !== null ? '' : 'starting'),
        shutdown: () => (this.#stopping !== null ? 'stopping' : ''),
      },
    });
    const metrics = buildNodeMetrics({
      version,
      agent: () => this.#agent,
      buffers: () => this.#buffers,
      sessions: () => this.#sessions(),
      leads: () => this.leads,
      host: hostOf(config, tls),
    });
    app.get('/metrics', async (_request, reply) =>
      reply.header('content-type', metrics.contentType).send(await metrics.metrics()),
    );
    this.#stops.push(() => app.close());
    this.#stops.push(followTls(tls, app, this.#clock, log));
    try {
      await app.listen({ host: address.host, port: address.port });
    } catch (error) {
      throw portError(error, 'the API address', address, '--api', 'Another ashlar');
    }
    const bound = app.server.address();
    if (typeof bound === 'object' && bound !== null) this.#api = { ...address, port: bound.port };
    api.info({ address: showAddress(this.#api) }, 'the API is served');
  }

  /** Streams and backups; who serves the volume does it, and others say who that is. */
  async #addTransfers(app: FastifyInstance): Promise<void> {
    const { config, log } = this.#options;
    const now = (): NodeEnds => {
      const ends = this.#agent?.ends;
      if (ends === undefined || this.#buffers === null) {
        throw new ApiError('ServiceUnavailable', 'the node is starting');
      }
      return ends;
    };
    const ends: TransferEnds = {
      source: (request) => now().source(request),
      receiving: (name) => now().receiving(name),
      has: (name, snapshotId) => now().has(name, snapshotId),
      target: (...args) => now().target(...args),
    };
    const transfers = new Transfers({
      ends,
      buffers: this.#buffers!,
      log: log.child({ component: 'cstor-target' }),
      now: () => new Date(),
    });
    const { accounts } = config.api;
    await app.register(async (scope) => {
      addTransfers(scope, transfers, accounts === null ? null : new TokenAccess(accounts));
    });
  }

  #takeReplicaPort(port: number): number {
    if (this.#replicaPortTaken) return 0;
    this.#replicaPortTaken = port !== 0;
    return port;
  }

  #sessions(): readonly SessionInfo[] {
    return this.#iscsi?.sessions() ?? [];
  }

  /** Every step is tried, whatever became of the one before. */
  async #unwind(): Promise<void> {
    this.#ready = false;
    const { log } = this.#options;
    for (let stop = this.#stops.pop(); stop !== undefined; stop = this.#stops.pop()) {
      try {
        await stop();
      } catch (error) {
        log.error({ err: error }, 'a step of the shutdown failed');
      }
    }
  }
}

/** Hosts and other nodes are told where this one is. Throws where it has not been told itself. */
function checkAddresses({ portals, replication }: Config): void {
  const told: [string, PortalAddress][] = portals.map((portal) => ['portals', portal]);
  if (replication.listen !== null) told.push(['replication.listen', replication.listen]);
  for (const [key, address] of told) {
    if (!isWildcard(address)) continue;
    throw new StartError(
      `${key}: ${showAddress(address)} is no address that hosts and other nodes can be told; write this node's own, like 10.0.0.1:${address.port}`,
    );
  }
}
