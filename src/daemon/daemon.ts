// The composition root: makes every room and hands each what it needs, starts them from the medium upwards and stops
// them from the hosts downwards. The one place that knows every room.
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { Housekeeper, TokenAccess } from '../apiserver/index.ts';
import { SystemClock, SystemRandom, Turn } from '../base/index.ts';
import { BlockOp, BlockOpKind, type DataBufferPool } from '../block/index.ts';
import {
  ApiError,
  type ApiOptions,
  buildApi,
  buildResources,
  PoolHost,
  type PoolList,
  ServedEnds,
  SnapshotScheduler,
  Transfers,
  VolumeController,
} from '../control/index.ts';
import { IscsiServer, type SessionInfo } from '../iscsi/index.ts';
import { buildMetrics, type MetricsSource } from '../metrics/index.ts';
import { Listener } from '../net/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { backendAdvice, type Pool, STORE_BLOCK_BYTES } from '../store/index.ts';
import { FollowedCertificates, followTls } from './certificates.ts';
import { type Config, isLoopback, type PortalAddress, showAddress } from './config/index.ts';
import { type Engine, type EngineOptions, notifySystemd } from './engine.ts';
import { addHostMetrics, hostOf } from './host-metrics.ts';
import { PoolListFile } from './pool-list.ts';
import { NativePoolMedia } from './pool-media.ts';
import { poolOwnerOf } from './pool-owner.ts';
import { samplePool } from './pool-sample.ts';
import { portError, StartError } from './ports.ts';
import { Replication, replicaNodeOf } from './replication.ts';
import { provisioningSpace, SpaceWatch } from './space-watch.ts';
import { Targets } from './targets.ts';

/** Which volumes were made when the pool was: they are not made again after somebody deleted them. */
const FIRST_VOLUME_KEY = 'control.firstVolume';

export interface DaemonOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: Logger;
  /** The pool's size was configured, not the default's. */
  readonly exactPoolSize: boolean;
  /** Gives the pool and the arena it reads and writes: of the native engine, or in memory in a test. */
  readonly openEngine: (options: EngineOptions) => Promise<Engine>;
  /** Opens the control plane's objects. */
  readonly openObjects: (config: Config) => Promise<ObjectStore>;
  /** Long steps, for whoever watches. */
  readonly progress: (message: string) => void;
}

/** What the status line shows. */
export interface Activity {
  readonly sessions: number;
  readonly operations: number;
  readonly bytes: number;
  /** Of data: what is allocated also counts metadata, and room that the next checkpoint gives back. */
  readonly dataBytes: number;
  readonly usableBytes: number;
  readonly fault: string;
}

type StopStep = () => Promise<void> | void;

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #clock = new SystemClock();
  readonly #openedAt = new Date();
  readonly #openedAtMs: number;
  /** What was started, in order: stopped in the opposite one. */
  readonly #stops: StopStep[] = [];
  #pool: Pool | null = null;
  #controller: VolumeController | null = null;
  #pools: PoolHost | null = null;
  #server: IscsiServer | null = null;
  #fault = '';
  #ready = false;
  #stopping: Promise<void> | null = null;
  #portals: PortalAddress[] = [];
  #api: PortalAddress;
  #replicas: PortalAddress | null = null;
  #note = '';

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#openedAtMs = this.#clock.nowMs();
    this.#api = options.config.api.address;
  }

  /** Addresses as they are, after port 0 became a real one. */
  get portals(): readonly PortalAddress[] {
    return this.#portals;
  }

  get api(): PortalAddress {
    return this.#api;
  }

  /** Where replicas are served, or null. */
  get replicas(): PortalAddress | null {
    return this.#replicas;
  }

  /** Something the operator should know about the start, or nothing. */
  get note(): string {
    return this.#note;
  }

  get pool(): Pool | null {
    return this.#pool;
  }

  volumes(): { name: string; iqn: string }[] {
    const controller = this.#controller;
    if (controller === null) return [];
    return controller
      .list()
      .map(({ metadata, status }) => ({ name: metadata.name, iqn: status.iqn }));
  }

  /** Starts everything, or leaves nothing behind and throws. */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.#unwind();
      throw error;
    }
  }

  /** Hosts first, then volumes, then the medium. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#unwind();
    return this.#stopping;
  }

  activity(): Activity {
    let operations = 0;
    let bytes = 0;
    for (const { volume } of this.#controller?.open() ?? []) {
      const { counters } = volume;
      operations += counters.readOps + counters.writeOps + counters.unmapOps + counters.flushOps;
      bytes += counters.readBytes + counters.writeBytes;
    }
    const stats = this.#pool?.stats();
    return {
      sessions: this.#sessions().filter((session) => session.type === 'Normal').length,
      operations,
      bytes,
      dataBytes: (stats?.dataBlocks ?? 0) * STORE_BLOCK_BYTES,
      usableBytes: (stats?.usableBlocks ?? 0) * STORE_BLOCK_BYTES,
      fault: this.#fault,
    };
  }

  /** Does one small I/O as a host would: proof of life for the watchdog. True at once when there is no volume. */
  proveLife(): Promise<boolean> {
    const [first] = this.#controller?.open() ?? [];
    if (first === undefined) return Promise.resolve(true);
    return new Promise((resolve) => {
      const op = new BlockOp();
      const owner = { onBlockDone: () => resolve(true) };
      op.begin(BlockOpKind.Verify, 0, 1, null, 0, false, owner);
      op.lower = owner;
      first.volume.store.submit(op, 0, 0);
    });
  }

  async #start(): Promise<void> {
    const { config, log } = this.#options;
    const turn = new Turn();
    const list = new PoolListFile(config.dataDir);
    const engine = await this.#options.openEngine({
      config,
      turn,
      kept: list.read().find(({ own }) => own === true) ?? null,
      exactPoolSize: this.#options.exactPoolSize,
      progress: this.#options.progress,
    });
    const { pool, buffers } = engine;
    this.#pool = pool;
    this.#note = engine.note;
    this.#stops.push(() => pool.close());
    this.#stops.push(() => this.#pools?.close());
    log.info({ path: config.pool.path, pool: pool.id, backend: pool.backend }, 'pool is open');
    const slow = backendAdvice(pool);
    if (slow !== '') log.warn({ path: config.pool.path }, slow);
    const stats = pool.stats();
    if (stats.logDamaged) {
      log.error({ dropped: stats.droppedEntries }, 'the log ended before what it said was flushed');
    }

    const targets = new Targets({
      buffers,
      turn,
      portals: config.portals.map(showAddress),
      discoveryAuth: {
        chap: config.discovery.chap === null ? [] : [config.discovery.chap],
        mutual: config.discovery.mutualChap,
      },
      allowSanitize: config.volumes.allowSanitize,
      spaceOf: (iqn) => {
        const behind = this.#controller?.poolBehind(iqn);
        return behind === undefined
          ? null
          : provisioningSpace(behind.stats(), config.pool.spaceThresholdPercent);
      },
    });
    pool.onFault((why) => {
      this.#fault = why;
      log.fatal({ why }, 'the pool is faulted: nothing more is written; see docs/operations.md');
      targets.takeOffline();
    });
    const { tls } = this.#options.config.replication;
    tls?.follow(this.#clock, log);
    this.#stops.push(() => tls?.close());
    await this.#serveReplicas(pool, buffers, turn);
    const controller = new VolumeController({
      pool,
      nodeName: this.#options.config.node.name,
      replication: new Replication({
        ...this.#replicationOptions(buffers, turn),
        sessionsOf: (iqn) =>
          this.#sessions()
            .filter((session) => session.target === iqn)
            .map(({ tsih, sinceMs }) => `${tsih} ${sinceMs}`),
      }),
      buffers,
      turn,
      exporter: targets,
      iqnPrefix: config.iqnPrefix,
      defaults: config.volumes,
      log,
      clock: this.#clock,
      now: () => new Date(),
    });
    this.#controller = controller;
    this.#stops.push(() => controller.close());
    await controller.start();
    await this.#openPools(engine, controller, targets, turn, list);
    const scheduler = new SnapshotScheduler({
      controller,
      clock: this.#clock,
      now: () => new Date(),
      log,
    });
    scheduler.start();
    this.#stops.push(() => scheduler.close());
    await this.#makeFirstVolume(pool, controller);

    await this.#serveHosts(turn, buffers, targets);
    await this.#serveApi(controller, pool, buffers);
    this.#ready = true;
  }

  /** This daemon's own pool is open; now the others, and what watches them all. */
  async #openPools(
    { pool: own, buffers }: Engine,
    controller: VolumeController,
    targets: Targets,
    turn: Turn,
    list: PoolList,
  ): Promise<void> {
    const { config, log } = this.#options;
    const low = new Set<string>();
    const watch = (name: string, pool: Pool): SpaceWatch =>
      new SpaceWatch({
        stats: () => pool.stats(),
        thresholdPercent: config.pool.spaceThresholdPercent,
        clock: this.#clock,
        log: log.child({ pool: name }),
        tell: (isLow) => {
          if (isLow) low.add(name);
          else low.delete(name);
          targets.setSpaceLow((iqn) => low.has(controller.poolNameOf(iqn)));
        },
      });
    const space = watch(own.name, own);
    this.#stops.push(() => space.stop());
    const pools = new PoolHost({
      own,
      ownPath: config.pool.path,
      controller,
      media: new NativePoolMedia({
        turn,
        buffers,
        cacheBytes: config.pool.cacheBytes,
        owner: poolOwnerOf(config),
        clock: this.#clock,
        log,
        notify: notifySystemd,
      }),
      list,
      clock: this.#clock,
      now: () => new Date(),
      log,
      onOpen: (pool, name) => {
        pool.onFault((why) => {
          log.fatal({ pool: name, why }, 'a pool is faulted: nothing more is written to it');
        });
        const itsSpace = watch(name, pool);
        return () => {
          itsSpace.stop();
          low.delete(name);
        };
      },
    });
    this.#pools = pools;
    this.#stops.push(() => pools.rest());
    await pools.start();
  }

  #replicationOptions(buffers: DataBufferPool, turn: Turn) {
    const { config, version, log } = this.#options;
    const { replication, node } = config;
    return {
      config: replication,
      node: node.name,
      version,
      buffers,
      turn,
      clock: this.#clock,
      log,
    };
  }

  /** Replicas of volumes that this node or another one coordinates. */
  async #serveReplicas(pool: Pool, buffers: DataBufferPool, turn: Turn): Promise<void> {
    const { listen } = this.#options.config.replication;
    if (listen === null) return;
    const replicas = replicaNodeOf(this.#replicationOptions(buffers, turn), pool);
    this.#stops.push(() => replicas.close());
    try {
      const { port } = await replicas.start({ address: listen.host, port: listen.port });
      this.#replicas = { ...listen, port };
    } catch (error) {
      throw portError(error, 'the replica port', listen, 'replication.listen', 'Another ashlar');
    }
  }

  async #makeFirstVolume(pool: Pool, controller: VolumeController): Promise<void> {
    const wanted = this.#options.config.firstVolume;
    if (wanted === null || pool.getBlob(FIRST_VOLUME_KEY) !== null) return;
    const { name, size } = wanted;
    try {
      await controller.create({ metadata: { name }, spec: { size } }, { dryRun: false });
    } catch (error) {
      // Made, and the crash came before it was noted.
      if (!(error instanceof ApiError) || error.reason !== 'AlreadyExists') throw error;
    }
    await pool.putBlob(FIRST_VOLUME_KEY, Buffer.from(name));
  }

  async #serveHosts(turn: Turn, buffers: DataBufferPool, targets: Targets): Promise<void> {
    const { config, log } = this.#options;
    const { iscsi } = config;
    const server = new IscsiServer({
      clock: this.#clock,
      random: new SystemRandom(),
      turn,
      log,
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
    this.#server = server;
    targets.serveBy(server);
    const listener = new Listener({
      turn,
      log,
      maxConnections: iscsi.maxSessions + iscsi.maxLogins,
      onConnection: (transport) => server.accept(transport),
    });
    this.#stops.push(async () => {
      // No new logins while the old ones leave.
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

  async #serveApi(
    controller: VolumeController,
    pool: Pool,
    buffers: DataBufferPool,
  ): Promise<void> {
    const { config, version } = this.#options;
    const tls = readTls(config);
    const metrics = buildMetrics(this.#metricsSource(controller, pool, buffers));
    addHostMetrics(metrics, hostOf(config, tls));
    const { address } = config.api;
    const { log } = this.#options;
    const objects = await this.#options.openObjects(config);
    this.#stops.push(() => objects.close());
    const options: ApiOptions = {
      controller,
      pools: this.#pools!,
      poolFacts: {
        nodeName: config.node.name,
        path: config.pool.path,
        cacheBytes: config.pool.cacheBytes,
        sparse: config.pool.sparse,
      },
      sessions: () => this.#sessions(),
      wallTime: (clockMs) => new Date(this.#openedAt.getTime() + clockMs - this.#openedAtMs),
      notReady: () => this.#notReady(),
      metrics: async () => ({ contentType: metrics.contentType, body: await metrics.metrics() }),
      version,
      iqnPrefix: config.iqnPrefix,
      loopbackOnly: isLoopback(address),
      log,
      access: config.api.accounts === null ? null : new TokenAccess(config.api.accounts),
      tls,
      transfers: new Transfers({
        ends: new ServedEnds(controller),
        buffers,
        log,
        now: () => new Date(),
      }),
    };
    const resources = await buildResources({ ...options, objects, clock: this.#clock });
    const housekeeper = new Housekeeper({ server: resources, clock: this.#clock, log });
    this.#stops.push(() => housekeeper.close());
    await housekeeper.start();
    const app: FastifyInstance = await buildApi(options, resources);
    this.#stops.push(() => app.close());
    this.#stops.push(followTls(tls, app, this.#clock, log));
    try {
      await app.listen({ host: address.host, port: address.port });
    } catch (error) {
      throw portError(error, 'the API address', address, '--api', 'Another ashlar');
    }
    const bound = app.server.address();
    if (typeof bound === 'object' && bound !== null) this.#api = { ...address, port: bound.port };
  }

  #metricsSource(controller: VolumeController, pool: Pool, buffers: DataBufferPool): MetricsSource {
    return {
      version: this.#options.version,
      volumes: () =>
        controller.open().map(({ name, volume, usedBytes }) => ({
          volume: name,
          capacityBytes: volume.geometry.blocks * volume.geometry.logicalBlockBytes,
          usedBytes,
          inFlight: volume.inFlight,
          ...volume.counters,
          latencies: volume.latencies,
        })),
      pools: () => [
        samplePool(pool),
        ...(this.#pools?.all() ?? []).flatMap((held) =>
          held.pool === null || held.isOwn ? [] : [samplePool(held.pool, held.name)],
        ),
      ],
      uses: () => controller.uses(),
      sessions: () => this.#sessions(),
      buffers: () => ({ totalBytes: buffers.arena.byteLength, freeBytes: buffers.freeBytes }),
    };
  }

  #sessions(): readonly SessionInfo[] {
    return this.#server?.sessions() ?? [];
  }

  #notReady(): string {
    if (this.#stopping !== null) return 'stopping';
    if (this.#fault !== '') return `the pool is faulted: ${this.#fault}`;
    return this.#ready ? '' : 'starting';
  }

  /** Every step is tried, whatever became of the one before: the medium must be closed in any case. */
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

export function readTls({ api }: Config): FollowedCertificates | null {
  if (api.tls === null) return null;
  try {
    return new FollowedCertificates({ ...api.tls, caFile: null });
  } catch (error) {
    const options = { cause: error };
    throw new StartError(`api.tls: cannot be read: ${(error as Error).message}`, options);
  }
}
