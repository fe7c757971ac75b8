// One node and the controllers over objects and pools in memory, with files that stand in for two disks.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach } from 'node:test';
import {
  EVENTS,
  EventRecorder,
  type KindDefinition,
  KindRegistry,
  LEASES,
  NAMESPACES,
  ResourceServer,
  StoreBackend,
} from '../../../src/apiserver/index.ts';
import { SystemClock, silentLog, Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  type BlockOpKind,
  DataBufferPool,
  type BlockDevice as Disk,
  IoStatus,
  MAX_BUFFER_BYTES,
} from '../../../src/block/index.ts';
import type { OpenOptions } from '../../../src/control/index.ts';
import {
  allControllers,
  Catalog,
  ControllerManager,
  LOOKED_AT,
  makeBuiltIns,
  withActions,
} from '../../../src/controllers/index.ts';
import {
  allKinds,
  BLOCK_DEVICE,
  type BlockDevice,
  CLAIM,
  type Claim,
  POD,
  POOL,
  type Pool,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import {
  type Elsewhere,
  NodeAgent,
  type NodeSurroundings,
  PodKeeper,
  type PoolMedia,
  type PoolPlan,
} from '../../../src/node/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';
import { MemoryPool } from '../../../src/store/index.ts';
import { spc, storageClass } from '../../sim/controllers/manifests.ts';
import { FakeExporter } from '../control/builders.ts';

class NodeFakeExporter extends FakeExporter {
  readonly elsewhere = new Map<string, Elsewhere>();
  pointTo(iqn: string, elsewhere: Elsewhere): void {
    this.elsewhere.set(iqn, elsewhere);
  }
  forget(iqn: string): void {
    this.elsewhere.delete(iqn);
  }
}

/** Where the node finds two files that stand in for disks. */
export const folder = mkdtempSync(join(tmpdir(), 'ashlar-agent-'));
for (const name of ['disk-1', 'disk-2']) {
  writeFileSync(join(folder, name), '');
  truncateSync(join(folder, name), 64 << 20);
}
after(() => rmSync(folder, { recursive: true }));

/** Pools that outlive the agent, as media do. */
export class MemoryMedia implements PoolMedia {
  readonly pools = new Map<string, MemoryPool>();
  readonly exported = new Set<string>();
  readonly #turn: Turn;

  constructor(turn: Turn) {
    this.#turn = turn;
  }

  async find(paths: readonly string[]) {
    return paths.flatMap((path) => {
      const pool = this.pools.get(path);
      if (pool === undefined) return [];
      const { id, name } = pool;
      const exported = this.exported.has(path);
      return [{ id, name, deviceId: id, devices: 1, sequence: 1, exported, paths: [path] }];
    });
  }

  async create({ id, name, paths }: PoolPlan) {
    const pool = new MemoryPool({ turn: this.#turn, id, name, sizeBlocks: 1 << 22 });
    this.pools.set(paths[0] ?? '', pool);
  }

  async open(paths: readonly string[], { accept }: OpenOptions = {}) {
    const [path = ''] = paths;
    const pool = this.pools.get(path);
    assert.ok(pool !== undefined);
    accept?.(pool);
    const wasExported = this.exported.delete(path);
    pool.giveBack = async () => {
      if (wasExported) this.exported.add(path);
    };
    // Closing it must not be the end of it.
    pool.close = async () => {};
    pool.exportPool = async () => {
      this.exported.add(path);
    };
    return pool;
  }

  async erase(paths: readonly string[]) {
    for (const path of paths) this.pools.delete(path);
  }

  async removeFile(path: string) {
    this.pools.delete(path);
  }

  async joining(path: string) {
    return { path };
  }
}

/** Those of a test that failed, too: they would keep its process. */
const started = new Set<Plane>();
afterEach(async () => {
  for (const plane of started) await plane.stop();
});

export class Plane {
  readonly clock = new SystemClock();
  readonly turn = new Turn();
  readonly store = new MemoryObjectStore();
  readonly buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 2));
  readonly media = new MemoryMedia(this.turn);
  readonly server: ResourceServer;
  exporter = new NodeFakeExporter();
  agent!: NodeAgent;
  serveReplicas: NodeSurroundings['serveReplicas'] = null;
  #stops: (() => Promise<void> | void)[] = [];

  constructor() {
    const registry = new KindRegistry();
    for (const kind of [NAMESPACES, EVENTS, LEASES] as unknown as KindDefinition[]) {
      registry.register(kind);
    }
    for (const kind of allKinds(this.store)) {
      registry.register(withActions(kind, () => this.server));
    }
    const now = () => new Date();
    this.server = new ResourceServer({ registry, store: this.store, log: silentLog, now });
  }

  async start(): Promise<void> {
    started.add(this);
    const { server, clock, turn, buffers, media } = this;
    const now = () => new Date();
    await makeBuiltIns(server);
    this.exporter = new NodeFakeExporter();
    const catalog = new Catalog({ client: server, clock, log: silentLog }, LOOKED_AT);
    await catalog.start();
    const events = new EventRecorder({
      client: server,
      log: silentLog,
      now,
      component: 'test',
      host: 'test',
    });
    const around = { client: server, catalog, events, clock, log: silentLog, now };
    const manager = new ControllerManager(
      around as never,
      allControllers(() => ({
        ...around,
        settings: {
          iqnPrefix: 'iqn.2026-11.io.ashlar',
          nodeSilentMs: 1e9,
          nodeGoneMs: 1e9,
          placePatienceMs: 60_000,
        },
        silenceMs: () => 0,
      })),
    );
    const node: NodeSurroundings = {
      ...around,
      nodeName: 'node-1',
      turn,
      buffers,
      media,
      exporter: this.exporter,
      iqnPrefix: 'iqn.2026-11.io.ashlar',
      isAlone: true,
      directoryPoolBytes: 1 << 30,
      replication: null,
      serveReplicas: this.serveReplicas,
    };
    this.agent = new NodeAgent({
      around: () => node,
      devices: {
        roots: { sys: '/nowhere', proc: '/nowhere', dev: '/nowhere' },
        findSignature: () => null,
        sparseFolder: folder,
      },
      directory: '/openebs',
      labels: {},
      addresses: ['192.0.2.1'],
      apiAddress: '192.0.2.1:9808',
      version: '0',
      identity: 'me',
      leaseMs: 4000,
      pods: new PodKeeper({
        backend: new StoreBackend(this.store, POD),
        nodeName: 'node-1',
        address: '192.0.2.1',
        version: '0',
        now,
      }),
    });
    manager.start();
    await this.agent.start();
    this.#stops = [
      () => this.agent.close(),
      async () => {
        manager.stop();
        await manager.stopped();
      },
      () => catalog.close(),
    ];
  }

  async stop(): Promise<void> {
    started.delete(this);
    for (const stop of this.#stops.splice(0)) await stop();
  }

  /** Waits until it is so; what is waited for is named in the failure. */
  async until<T>(what: string, look: () => Promise<T | null | undefined | false>): Promise<T> {
    for (let tries = 0; tries < 400; tries += 1) {
      const found = await look();
      if (found !== null && found !== undefined && found !== false) return found;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const volumes = JSON.stringify(
      (await this.server.list(VOLUME)).items.map(({ status }) => status),
    );
    throw new Error(`never: ${what}; volumes: ${volumes}`);
  }

  async bound(name: string): Promise<{ claim: Claim; volume: Volume; disk: Disk }> {
    const claim = await this.until(`claim ${name} is bound`, async () => {
      const found = await this.server.get<Claim>(CLAIM, 'default', name);
      return found.status?.phase === 'Bound' && found;
    });
    const volumeName = claim.spec.volumeName ?? '';
    const volume = await this.until('its volume is served', async () => {
      const found = await this.server.get<Volume>(VOLUME, null, volumeName);
      return found.status?.serving !== undefined && found.status.state === 'Degraded' && found;
    });
    const disk = await this.until(
      'it is exported',
      async () => this.exporter.exposed.get(volume.status?.iqn ?? '')?.device,
    );
    return { claim, volume, disk };
  }

  async io(disk: Disk, kind: BlockOpKind, fill = 0): Promise<number> {
    const data = this.buffers.allocate(4096);
    assert.ok(data !== null);
    data.bytes.fill(fill, 0, 4096);
    const status = await new Promise<IoStatus>((resolve) => {
      const op = new BlockOp();
      this.turn.enter();
      disk.submit(
        op.begin(kind, 7, 1, data, 0, false, { onBlockDone: (_op, ended) => resolve(ended) }),
      );
      this.turn.leave();
    });
    assert.equal(status, IoStatus.Ok);
    const [first = -1] = data.bytes;
    data.release();
    return first;
  }
}

export const oneDevice = {
  ...spc,
  spec: { ...spc.spec, blockDevices: { blockDeviceList: ['blockdevice-1'] } },
};

export async function aPlane(): Promise<Plane> {
  const plane = new Plane();
  await plane.start();
  await plane.server.create(STORAGE_POOL_CLAIM, oneDevice);
  await plane.server.create(STORAGE_CLASS, storageClass);
  return plane;
}

/** No pool of devices is asked for yet. */
export async function aFreePlane(): Promise<Plane> {
  const plane = new Plane();
  await plane.start();
  await plane.until('its disks are known', async () => {
    const { items } = await plane.server.list<BlockDevice>(BLOCK_DEVICE);
    return items.filter(({ status }) => status?.state === 'Active').length === 2;
  });
  return plane;
}

export const onDevices = (name: string, ...devices: string[]) => ({
  metadata: { name },
  spec: { nodeName: 'node-1', devices },
});

export async function isOnline(plane: Plane, name: string): Promise<Pool> {
  return await plane.until(`pool ${name} is online`, async () => {
    const pool = await plane.server.get<Pool>(POOL, null, name);
    return pool.status?.phase === 'Online' && pool;
  });
}

export async function claimOf(plane: Plane, device: string): Promise<string | undefined> {
  const { spec } = await plane.server.get<BlockDevice>(BLOCK_DEVICE, null, device);
  return spec.claimRef?.pool;
}
