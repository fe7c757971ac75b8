// Goal: a node does what the objects say that name it: pools, replicas, volumes that hosts can use; what it has made is
// found again after a restart, and what goes leaves nothing behind.
// Method: the real API rules and the real controllers over memory, the real agent over pools in memory.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
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
  BlockOpKind,
  DataBufferPool,
  type BlockDevice as Disk,
  IoStatus,
  MAX_BUFFER_BYTES,
} from '../../../src/block/index.ts';
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
  EXTERNAL_SNAPSHOT,
  type ExternalSnapshot,
  POD,
  POOL,
  type Pool,
  REPLICA,
  type Replica,
  SECRET,
  SNAPSHOT,
  type Snapshot,
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
import { MemoryPool, StoreError } from '../../../src/store/index.ts';
import { Throttle } from '../../../src/volume/index.ts';
import {
  aClaim,
  restore,
  spc,
  storageClass,
  volumeSnapshot,
} from '../../sim/controllers/manifests.ts';
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

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-agent-'));
  for (const name of ['disk-1', 'disk-2']) {
    writeFileSync(join(folder, name), '');
    truncateSync(join(folder, name), 64 << 20);
  }
});
after(() => rmSync(folder, { recursive: true }));

/** Pools that outlive the agent, as media do. */
class MemoryMedia implements PoolMedia {
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
      return [{ id, name, deviceId: id, devices: 1, exported, paths: [path] }];
    });
  }

  async create({ id, name, paths }: PoolPlan) {
    const pool = new MemoryPool({ turn: this.#turn, id, name, sizeBlocks: 1 << 22 });
    this.pools.set(paths[0] ?? '', pool);
  }

  async open(paths: readonly string[]) {
    const [path = ''] = paths;
    const pool = this.pools.get(path);
    assert.ok(pool !== undefined);
    this.exported.delete(path);
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

class Plane {
  readonly clock = new SystemClock();
  readonly turn = new Turn();
  readonly store = new MemoryObjectStore();
  readonly buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 2));
  readonly media = new MemoryMedia(this.turn);
  readonly server: ResourceServer;
  exporter = new NodeFakeExporter();
  agent!: NodeAgent;
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
      serveReplicas: null,
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

const oneDevice = {
  ...spc,
  spec: { ...spc.spec, blockDevices: { blockDeviceList: ['blockdevice-1'] } },
};

async function aPlane(): Promise<Plane> {
  const plane = new Plane();
  await plane.start();
  await plane.server.create(STORAGE_POOL_CLAIM, oneDevice);
  await plane.server.create(STORAGE_CLASS, storageClass);
  return plane;
}

test('a claim becomes a disk that keeps its data through a restart, and goes without a trace', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc'));
  const first = await plane.bound('cstor-pvc');
  assert.equal(first.disk.geometry.logicalBlockBytes, 512);
  await plane.io(first.disk, BlockOpKind.Write, 0x5a);
  await plane.stop();
  await plane.start();
  const again = await plane.bound('cstor-pvc');
  assert.equal(again.volume.metadata.uid, first.volume.metadata.uid);
  assert.equal(await plane.io(again.disk, BlockOpKind.Read), 0x5a);
  await plane.server.delete(CLAIM, 'default', 'cstor-pvc');
  await plane.until('nothing is left', async () => {
    const [volumes, replicas] = [await plane.server.list(VOLUME), await plane.server.list(REPLICA)];
    return volumes.items.length + replicas.items.length === 0;
  });
  assert.equal(plane.exporter.exposed.size, 0);
  for (const pool of plane.media.pools.values()) assert.deepEqual(pool.volumes(), []);
  await plane.server.delete(STORAGE_POOL_CLAIM, null, 'cstor-disk-pool');
  await plane.until('the pool is erased', async () => plane.media.pools.size === 1);
  await plane.stop();
});

test('growth, limits and CHAP change while the volume is served', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc'));
  const { volume, disk } = await plane.bound('cstor-pvc');
  assert.ok(disk instanceof Throttle);
  const { name } = volume.metadata;
  const patch = (spec: object) =>
    plane.server.patch(VOLUME, null, name, { type: 'merge', body: { spec } });
  await patch({ limits: { iops: 1000 } });
  await plane.until('the limit holds', async () => disk.limits.iops === 1000);
  const grow = { spec: { resources: { requests: { storage: '6Gi' } } } };
  await plane.server.patch(CLAIM, 'default', 'cstor-pvc', { type: 'merge', body: grow });
  await plane.until('it has grown', async () => {
    const { blocks, logicalBlockBytes } = disk.geometry;
    return blocks * logicalBlockBytes === 6 * 2 ** 30;
  });
  await patch({ chapSecret: { name: 'chap', namespace: 'default' } });
  await plane.until('it says that the secret is missing', async () => {
    const found = await plane.server.get<Volume>(VOLUME, null, name);
    const served = found.status?.conditions?.find(({ type }) => type === 'Served');
    return /secret "default\/chap" for CHAP not found/.test(served?.message ?? '');
  });
  await plane.server.create(SECRET, {
    metadata: { name: 'chap', namespace: 'default' },
    type: 'kubernetes.io/iscsi-chap',
    stringData: {
      'node.session.auth.username': 'alice',
      'node.session.auth.password': 'correct-horse-battery',
    },
  });
  await plane.until('CHAP is asked for', async () => {
    const chap = plane.exporter.exposed.get(volume.status?.iqn ?? '')?.wanted.chap;
    return chap?.user === 'alice' && chap.secret === 'correct-horse-battery';
  });
  await plane.stop();
});

test('a claim that hosts are logged in to waits for them', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc'));
  const { volume } = await plane.bound('cstor-pvc');
  const iqn = volume.status?.iqn ?? '';
  plane.exporter.loggedIn.set(iqn, ['iqn.1993-08.org.debian:01:abc']);
  await plane.agent.volumes.report(volume.metadata.name);
  await plane.server.delete(CLAIM, 'default', 'cstor-pvc');
  await plane.until('it says who', async () => {
    const claim = await plane.server.get<Claim>(CLAIM, 'default', 'cstor-pvc');
    const waits = claim.status?.conditions?.find(({ type }) => type === 'Waiting');
    return waits?.message?.includes('iqn.1993-08.org.debian:01:abc is logged in') === true;
  });
  plane.exporter.loggedIn.delete(iqn);
  await plane.agent.volumes.report(volume.metadata.name);
  await plane.until('it is gone', async () => (await plane.server.list(CLAIM)).items.length === 0);
  await plane.stop();
});

test('a pool whose data is gone is not made anew, and a lost replica is not passed off as an empty one', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc'));
  const { volume } = await plane.bound('cstor-pvc');
  await plane.stop();
  const path = join(folder, 'disk-1');
  const pool = plane.media.pools.get(path)!;
  plane.media.pools.delete(path);
  await plane.start();
  await plane.until('the pool says so', async () => {
    const { items } = await plane.server.list(POOL);
    return items.some(({ status }) =>
      /nothing is made anew over it/.test(
        (status as { conditions?: { message?: string }[] })?.conditions?.[0]?.message ?? '',
      ),
    );
  });
  assert.equal(plane.media.pools.has(path), false);
  await plane.stop();
  // The pool is back, and the volume in it is not.
  plane.media.pools.set(path, pool);
  await pool.deleteVolume(volume.metadata.name);
  await plane.start();
  await plane.until('the replica says so', async () => {
    const { items } = await plane.server.list(REPLICA);
    return items.some((replica) => JSON.stringify(replica).includes('its data is gone from pool'));
  });
  assert.equal(pool.volume(volume.metadata.name), null);
  await plane.stop();
});

test('a snapshot keeps what was written before it; restored claims and copied ones begin with that', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc', {}, '64Mi'));
  const source = await plane.bound('cstor-pvc');
  await plane.io(source.disk, BlockOpKind.Write, 0x5a);
  await plane.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await plane.until('the snapshot is ready', async () => {
    const found = await plane.server.get<ExternalSnapshot>(
      EXTERNAL_SNAPSHOT,
      'default',
      'snapshot-cstor',
    );
    return found.status?.conditions?.some(
      ({ type, status }) => type === 'Ready' && status === 'True',
    );
  });
  await plane.io(source.disk, BlockOpKind.Write, 0xa5);
  await plane.server.create(CLAIM, aClaim('restored', restore, '64Mi'));
  const claimSource = { dataSource: { kind: 'PersistentVolumeClaim', name: 'cstor-pvc' } };
  await plane.server.create(CLAIM, aClaim('copied', claimSource, '64Mi'));
  const restored = await plane.bound('restored');
  const copied = await plane.bound('copied');
  assert.equal(await plane.io(restored.disk, BlockOpKind.Read), 0x5a);
  assert.equal(await plane.io(copied.disk, BlockOpKind.Read), 0xa5);
  await plane.io(restored.disk, BlockOpKind.Write, 0x77);
  assert.equal(await plane.io(source.disk, BlockOpKind.Read), 0xa5);
  // The source waits for its snapshot, and goes when that has gone.
  await plane.server.delete(CLAIM, 'default', 'cstor-pvc');
  await plane.server.delete(EXTERNAL_SNAPSHOT, 'default', 'snapshot-cstor');
  await plane.until(
    'the source is gone',
    async () => (await plane.server.list(VOLUME)).items.length === 2,
  );
  assert.equal(await plane.io(restored.disk, BlockOpKind.Read), 0x77);
  await plane.stop();
});

test('a rollback is refused while hosts are logged in, else done once, and not again after a restart', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc', {}, '64Mi'));
  const first = await plane.bound('cstor-pvc');
  await plane.io(first.disk, BlockOpKind.Write, 0x5a);
  await plane.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await plane.until('the snapshot is ready', async () => {
    const { items } = await plane.server.list<Snapshot>(SNAPSHOT);
    return items[0]?.status?.phase === 'Ready';
  });
  await plane.io(first.disk, BlockOpKind.Write, 0xa5);
  const { rollback } = withActions(VOLUME as unknown as KindDefinition, () => plane.server)
    .actions!;
  const name = first.volume.metadata.name;
  const ask = async (body: object) => {
    const volume = await plane.server.get<Volume>(VOLUME, null, name);
    await rollback!.run(volume, { query: new Map(), body, dryRun: false });
  };
  await assert.rejects(ask({ to: 'nothing' }), /has no snapshot "nothing"/);
  plane.exporter.loggedIn.set(first.volume.status?.iqn ?? '', ['iqn.2026-11.io.host:a']);
  await assert.rejects(ask({ to: 'snapshot-cstor' }), /in use by iqn.2026-11.io.host:a/);
  plane.exporter.loggedIn.clear();
  await ask({ to: 'snapshot-cstor' });
  const again = await plane.bound('cstor-pvc');
  assert.notEqual(again.disk, first.disk);
  assert.equal(await plane.io(again.disk, BlockOpKind.Read), 0x5a);
  await plane.io(again.disk, BlockOpKind.Write, 0x77);
  await plane.stop();
  await plane.start();
  const restarted = await plane.bound('cstor-pvc');
  assert.equal(await plane.io(restarted.disk, BlockOpKind.Read), 0x77);
  await plane.stop();
});

test('a claim does not grow beyond what its pool may promise, and says so', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc'));
  const { volume } = await plane.bound('cstor-pvc');
  const { name } = volume.metadata;
  const ask = (storage: string) =>
    plane.server.patch(CLAIM, 'default', 'cstor-pvc', {
      type: 'merge',
      body: { spec: { resources: { requests: { storage } } } },
    });
  // 16 GiB, ten times over.
  await ask('200Gi');
  const said = await plane.until('the claim says why', async () => {
    const { status } = await plane.server.get<Claim>(CLAIM, 'default', 'cstor-pvc');
    return status?.conditions?.find(({ reason }) => reason === 'NoRoom');
  });
  assert.match(said.message ?? '', /pool cstor-disk-pool-\w+ would have promised 214748364800 of/);
  assert.equal((await plane.server.get<Volume>(VOLUME, null, name)).spec.size, '5Gi');
  // Its pool may promise more, and somebody looks at the claim again.
  const [{ spec }] = (await plane.server.list<Replica>(REPLICA)).items as [Replica];
  const more = { type: 'merge', body: { spec: { overcommit: 20 } } } as const;
  await plane.server.patch(POOL, null, spec.poolName, more);
  await ask('201Gi');
  await plane.until('it has grown', async () => {
    return (await plane.server.get<Volume>(VOLUME, null, name)).spec.size === '201Gi';
  });
  await plane.stop();
});

async function aFreePlane(): Promise<Plane> {
  const plane = new Plane();
  await plane.start();
  await plane.until('its disks are known', async () => {
    const { items } = await plane.server.list<BlockDevice>(BLOCK_DEVICE);
    return items.filter(({ status }) => status?.state === 'Active').length === 2;
  });
  return plane;
}

const onDevices = (name: string, ...devices: string[]) => ({
  metadata: { name },
  spec: { nodeName: 'node-1', devices },
});

async function isOnline(plane: Plane, name: string): Promise<Pool> {
  return await plane.until(`pool ${name} is online`, async () => {
    const pool = await plane.server.get<Pool>(POOL, null, name);
    return pool.status?.phase === 'Online' && pool;
  });
}

async function claimOf(plane: Plane, device: string): Promise<string | undefined> {
  const { spec } = await plane.server.get<BlockDevice>(BLOCK_DEVICE, null, device);
  return spec.claimRef?.pool;
}

test('a pool that is asked for by itself claims its devices, and no one else gets them', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  const pool = await isOnline(plane, 'tank');
  assert.equal(pool.status?.id, pool.metadata.uid);
  assert.deepEqual(pool.metadata.finalizers, ['ashlar.io/pool']);
  assert.equal(await claimOf(plane, 'blockdevice-1'), 'tank');
  await assert.rejects(
    plane.server.create(POOL, onDevices('other', 'blockdevice-2', join(folder, 'disk-1'))),
    /spec\.devices\[1\]: .*belongs to pool tank/,
  );
  await assert.rejects(
    plane.server.patch(POOL, null, 'tank', {
      type: 'merge',
      body: { spec: { devices: ['blockdevice-2'] } },
    }),
    /spec\.devices: .*is fixed at creation; devices come and go by ashlar device/,
  );
  await assert.rejects(
    plane.server.create(POOL, {
      metadata: { name: 'x' },
      spec: { nodeName: 'node-1', size: '1Gi' },
    }),
    /spec\.size: .*is of `ashlar serve`/,
  );
  await plane.server.delete(POOL, null, 'tank');
  await plane.until('its device is free', async () => {
    return (await claimOf(plane, 'blockdevice-1')) === undefined;
  });
  assert.equal(plane.media.pools.has(join(folder, 'disk-1')), false);
  await plane.stop();
});

test('what holds replicas stays; a device that could not join is given back', async () => {
  const plane = await aFreePlane();
  const act = (pool: Pool, action: string, body: object): Promise<unknown> =>
    withActions(POOL as unknown as KindDefinition, () => plane.server).actions![action]!.run(pool, {
      query: new Map(),
      body,
      dryRun: false,
    });
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-2'));
  const tank = await isOnline(plane, 'tank');
  await plane.server.create(VOLUME, { metadata: { name: 'db' }, spec: { size: '1Gi' } });
  await plane.until('its replica', async () =>
    (await plane.server.list<Replica>(REPLICA)).items.find(({ spec }) => spec.poolName === 'tank'),
  );
  await assert.rejects(plane.server.delete(POOL, null, 'tank'), /holds replicas of db/);
  await assert.rejects(act(tank, 'export', {}), /holds replicas of db/);
  await plane.server.create(STORAGE_POOL_CLAIM, oneDevice);
  const claimed = await plane.until('the pool of the claim', async () =>
    (await plane.server.list<Pool>(POOL)).items.find(
      ({ spec, status }) => spec.storagePoolClaim !== undefined && status?.phase === 'Online',
    ),
  );
  await assert.rejects(
    plane.server.delete(POOL, null, claimed.metadata.name),
    /was made for StoragePoolClaim cstor-disk-pool, and cannot be destroyed by itself/,
  );
  // A pool in memory has no devices to do anything with: the refusal is told, and the claim is taken back.
  writeFileSync(join(folder, 'disk-3'), 'x'.repeat(4096));
  await assert.rejects(
    act(tank, 'add', { devices: ['blockdevice-1'] }),
    /blockdevice-1 belongs to pool/,
  );
  await assert.rejects(act(tank, 'add', { devices: [join(folder, 'disk-3')] }), /in memory/);
  assert.equal(await claimOf(plane, 'blockdevice-3'), undefined);
  const after = await plane.server.get<Pool>(POOL, null, 'tank');
  assert.equal(after.status?.operation?.phase, 'Refused');
  rmSync(join(folder, 'disk-3'));
  await plane.stop();
});

test('a pool that is to go when its node comes back is erased only when it was opened, and holds nothing', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  await isOnline(plane, 'tank');
  const path = join(folder, 'disk-1');
  const { media } = plane;
  await media.pools.get(path)!.createVolume({ id: randomUUID(), name: 'old', sizeBlocks: 64 });
  await plane.stop();
  await plane.server.delete(POOL, null, 'tank');
  const refusal = async (text: RegExp): Promise<boolean> => {
    const { items } = await plane.server.list<Pool>(POOL);
    const tank = items.find(({ metadata }) => metadata.name === 'tank');
    return text.test(tank?.status?.conditions?.[0]?.message ?? '');
  };
  const { open } = media;
  media.open = () => Promise.reject(new StoreError('STORE_IO', 'its log cannot be read'));
  await plane.start();
  await plane.until('it cannot be opened', () => refusal(/its log cannot be read/));
  await plane.stop();
  assert.ok(media.pools.has(path));

  media.open = open;
  await plane.start();
  await plane.until('it holds something', () => refusal(/still holds 1 replica/));
  assert.ok(media.pools.has(path));
  assert.equal(await claimOf(plane, 'blockdevice-1'), 'tank');
  await media.pools.get(path)!.deleteVolume('old');
  await plane.until('it is erased', async () => !media.pools.has(path));
  await plane.stop();
});

test('an exported pool leaves nothing here, and is taken in again; one that was not is refused', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  const tank = await isOnline(plane, 'tank');
  const { actions } = withActions(POOL as unknown as KindDefinition, () => plane.server);
  await actions!['export']!.run(tank, { query: new Map(), body: {}, dryRun: false });
  await assert.rejects(plane.server.get(POOL, null, 'tank'), /not found/);
  assert.equal(await claimOf(plane, 'blockdevice-1'), undefined);
  const path = join(folder, 'disk-1');
  assert.ok(plane.media.exported.has(path));

  const asked = (name: string, force: boolean) => ({
    metadata: { name },
    spec: { nodeName: 'node-1', import: { pool: 'tank', force } },
  });
  plane.media.exported.clear();
  await plane.server.create(POOL, asked('cold', false));
  await plane.until('it is refused', async () => {
    const { status } = await plane.server.get<Pool>(POOL, null, 'cold');
    return /was not exported/.test(status?.conditions?.[0]?.message ?? '');
  });
  assert.equal(await claimOf(plane, 'blockdevice-1'), undefined);
  await plane.server.delete(POOL, null, 'cold');
  await plane.until('it is given up', async () =>
    (await plane.server.list<Pool>(POOL)).items.every(({ metadata }) => metadata.name !== 'cold'),
  );
  assert.ok(plane.media.pools.has(path), 'what was never taken in is not erased');

  // With a volume of its own, which nobody here knows.
  await plane.media.pools
    .get(path)!
    .createVolume({ id: randomUUID(), name: 'old', sizeBlocks: 64 });
  plane.media.exported.add(path);
  await plane.server.create(POOL, asked('warm', false));
  const warm = await isOnline(plane, 'warm');
  assert.equal(warm.status?.id, tank.metadata.uid);
  assert.deepEqual(warm.status?.strayVolumes, ['old']);
  assert.equal(await claimOf(plane, 'blockdevice-1'), 'warm');
  await assert.rejects(
    plane.server.delete(POOL, null, 'warm'),
    /holds volumes that came with it: old/,
  );
  await plane.server.create(VOLUME, { metadata: { name: 'old' }, spec: { size: '1Gi' } });
  await plane.until('a new volume of that name does not get its data', async () => {
    const { status } = await plane.server.get<Volume>(VOLUME, null, 'old');
    return /came with a volume of that name, which is another one/.test(
      status?.conditions?.map(({ message }) => message).join() ?? '',
    );
  });
  await plane.stop();
});

test('a volume is not made of what lies in the pool from one of its name that was forgotten with the node', async () => {
  const plane = await aPlane();
  const wanted = {
    metadata: { name: 'db' },
    spec: { size: '64Mi', storagePoolClaim: 'cstor-disk-pool' },
  };
  await plane.server.create(VOLUME, wanted);
  const status = async () => (await plane.server.get<Volume>(VOLUME, null, 'db')).status;
  await plane.until('it is served', async () => (await status())?.serving !== undefined);
  const store = () => [...plane.media.pools.values()].find((pool) => pool.volume('db') !== null);
  const { id } = store()!.volume('db')!;
  await plane.stop();
  // As `forget.ts` leaves it: no object names what is there.
  for (const kind of [REPLICA, VOLUME] as unknown as KindDefinition[]) {
    for (const { metadata } of (await plane.server.list(kind)).items) {
      const body = { metadata: { finalizers: null } };
      await plane.server.patch(kind, null, metadata.name, {
        type: 'merge',
        body,
      });
      await plane.server.delete(kind, null, metadata.name);
    }
  }
  await plane.start();
  await plane.server.create(VOLUME, wanted);
  await plane.until('the replica says why', async () => {
    const { items } = await plane.server.list<Replica>(REPLICA);
    const ready = items[0]?.status?.conditions?.find(({ type }) => type === 'Ready');
    return /from before its node was deleted/.test(ready?.message ?? '');
  });
  assert.equal((await status())?.serving, undefined);
  assert.equal(store()!.volume('db')!.id, id, 'and it is still there');
  await plane.stop();
});
