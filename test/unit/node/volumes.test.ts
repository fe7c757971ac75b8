// Goal: what a volume's conditions say of who serves it is true while its members cannot be changed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  EVENTS,
  EventRecorder,
  type KindDefinition,
  KindRegistry,
  NAMESPACES,
  ResourceServer,
} from '../../../src/apiserver/index.ts';
import { type Clock, SystemClock, silentLog, Turn } from '../../../src/base/index.ts';
import type { OpenReplicated } from '../../../src/control/index.ts';
import { NO_PLACE } from '../../../src/control/transfers.ts';
import {
  Catalog,
  Label,
  LOOKED_AT,
  type Surroundings,
  Writer,
  withActions,
} from '../../../src/controllers/index.ts';
import {
  allKinds,
  POOL,
  type Pool,
  REPLICA,
  type Replica,
  SNAPSHOT,
  type Snapshot,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import { memberIdOf } from '../../../src/node/agent/members.ts';
import { type NodeSurroundings, OpenPools } from '../../../src/node/agent/surroundings.ts';
import { NodeEnds } from '../../../src/node/agent/transfer-ends.ts';
import { VolumeKeeper } from '../../../src/node/agent/volumes.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';
import type { StreamDescription } from '../../../src/stream/index.ts';

const NODE_NAME = 'node-1';

/** A coordinator whose replicas are all in sync, and which changes them as `mayChange` says. */
class FakeHandle {
  serving = true;
  mayChange = false;
  members: string[];
  advised: string[] = [];

  /** `gathers`: it has no quorum yet. */
  constructor(wanted: OpenReplicated, gathers: boolean) {
    this.members = wanted.replicas.map(({ id }) => id);
    this.serving = !gathers;
    this.#wanted = wanted;
    // As a coordinator does: when the caller has the handle.
    if (!gathers) queueMicrotask(() => this.serve());
  }

  readonly #wanted: OpenReplicated;
  serve(): void {
    this.serving = true;
    this.#wanted.onServing({
      geometry: { blocks: 16384, logicalBlockBytes: 4096 },
      writeCache: true,
    } as never);
  }

  state = (): string => 'Healthy';
  epoch = (): number => 1;
  quietSpell = (): null => null;
  advice = (): string[] => this.advised;
  usedBlocks = (): number => 0;
  configure(): void {}
  async stop(): Promise<void> {}
  /** Where it was told last that they are. */
  places: readonly string[] = [];
  relocate(wanted: readonly { readonly node: string }[]): void {
    this.places = wanted.map(({ node }) => node);
  }
  /** What a change of members waits for. */
  gate: Promise<void> = Promise.resolve();
  kept: { id: string }[] = [];
  blobs = new Map<string, Uint8Array>();
  volume = {
    geometry: { blocks: 16384, logicalBlockBytes: 4096 },
    resize: async (bytes: number) => {
      this.volume.geometry.blocks = bytes / 4096;
    },
  };
  mappedFrom = async () => ({ isMapped: false, nextLba: 16384 });
  sizeBlocks = (): number => 16384;
  rolledBack: string[] = [];
  rollback = async (id: string): Promise<void> => void this.rolledBack.push(id);
  snapshots = (): unknown[] => this.kept;
  getBlob = (key: string): Uint8Array | null => this.blobs.get(key) ?? null;
  /** What hosts wrote that not all members have applied; with a record they have. */
  lagging = false;
  async putBlob(key: string, value: Uint8Array | null): Promise<void> {
    if (this.lagging) this.mappedFrom = async () => ({ isMapped: true, nextLba: 1 });
    if (value === null) this.blobs.delete(key);
    else this.blobs.set(key, value);
  }
  replicas() {
    return this.members.map((id) => ({ id, connected: true, state: 'InSync', lastFault: '' }));
  }
  async changeReplicas(wanted: readonly { readonly id: string }[]): Promise<void> {
    await this.gate;
    if (!this.mayChange) throw new Error('it alone holds snapshot s-1');
    this.members = wanted.map(({ id }) => id);
  }
}

/** The node was started long ago, unless it `justStarted`; its pools are none that it has open. */
async function setUp({ justStarted = false, gathers = false } = {}) {
  const registry = new KindRegistry();
  const store = new MemoryObjectStore();
  for (const kind of [NAMESPACES, EVENTS] as unknown as KindDefinition[]) registry.register(kind);
  for (const kind of allKinds(store)) registry.register(withActions(kind, () => client));
  const now = (): Date => new Date();
  const client = new ResourceServer({ registry, store, log: silentLog, now });
  const system = new SystemClock();
  let aheadMs = 0;
  const wait = (ms: number): void => {
    aheadMs += ms;
  };
  const clock: Clock = {
    nowMs: () => system.nowMs() + aheadMs,
    schedule: (ms, callback) => system.schedule(ms, callback),
  };
  const replicas: Replica[] = [];
  for (const name of ['a', 'b']) {
    const pool = await client.create<Pool>(POOL, {
      metadata: { name },
      spec: { nodeName: NODE_NAME, directory: '/p', layout: 'stripe' },
    });
    await client.updateStatus(POOL, { ...pool, status: { replicaAddress: '127.0.0.1:9' } } as Pool);
    replicas.push(
      await client.create<Replica>(REPLICA, {
        metadata: { name: `v-${name}`, labels: { [Label.Volume]: 'v', [Label.Pool]: name } },
        spec: { volumeName: 'v', nodeName: NODE_NAME, poolName: name, size: '64Mi' },
      }),
    );
  }
  const volume = await client.create<Volume>(VOLUME, {
    metadata: { name: 'v' },
    spec: { size: '64Mi', replicaCount: 1 },
  });
  await client.updateStatus(VOLUME, {
    ...volume,
    status: {
      mode: 'replicated',
      made: true,
      target: { nodeName: NODE_NAME, epoch: 1 },
      members: replicas.map((replica) => ({
        id: memberIdOf(replica),
        replica: replica.metadata.name,
      })),
    },
  } as Volume);
  // One of the two is not wanted any more.
  await client.delete(REPLICA, null, 'v-b');
  const catalog = new Catalog({ client, clock, log: silentLog }, LOOKED_AT);
  await catalog.start();
  const exposed = new Set<string>();
  let handle: FakeHandle | null = null;
  const around = {
    nodeName: NODE_NAME,
    client,
    catalog,
    events: new EventRecorder({ client, log: silentLog, now, component: 'test', host: 'test' }),
    clock,
    log: silentLog,
    now,
    turn: new Turn(),
    exporter: {
      portals: ['127.0.0.1:3260'],
      initiators: () => [],
      sessions: () => [],
      forget() {},
      reserve: (iqn: string) => exposed.delete(iqn),
      expose: ({ iqn }: { iqn: string }) => exposed.add(iqn),
      takeDown() {},
      pointTo() {},
      withdraw: async () => {},
    },
    iqnPrefix: 'iqn.2026-11.io.ashlar',
    replication: {
      open: (wanted: OpenReplicated) => {
        handle = new FakeHandle(wanted, gathers);
        return handle;
      },
    },
    isAlone: true,
  } as unknown as NodeSurroundings;
  const writer = new Writer(around as unknown as Surroundings);
  const open = new OpenPools();
  const keeper = new VolumeKeeper(around, open, writer);
  if (!justStarted) wait(60_000);
  const ends = new NodeEnds({ around, open, writer, volumes: keeper });
  /** As the queue does: again where the catalog was a moment behind. */
  const look = async (): Promise<Volume> => {
    for (let tries = 0; tries < 10; tries += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      await keeper.reconcile('v').catch((error: { reason?: string }) => {
        if (error.reason !== 'Conflict') throw error;
      });
    }
    return await client.get<Volume>(VOLUME, null, 'v');
  };
  const close = (): void => {
    void keeper.close();
    catalog.close();
  };
  return {
    client,
    look,
    exposed,
    exporter: around.exporter,
    keeper,
    ends,
    handle: () => handle!,
    wait,
    close,
  };
}

test('a node that has just been started waits for its own pools before it coordinates without them', async () => {
  const { look, handle, wait, close } = await setUp({ justStarted: true });
  await look();
  assert.equal(handle(), null);
  wait(5000);
  await look();
  assert.notEqual(handle(), null);
  close();
});

test('hosts hear that a volume is not there yet, not that there is none, while its coordinator waits to begin', async () => {
  const { client, look, exporter, handle, wait, close } = await setUp({ justStarted: true });
  const pointed = new Map<string, string | null>();
  exporter.pointTo = (iqn, { portal }) => void pointed.set(iqn, portal);
  exporter.forget = (iqn) => void pointed.delete(iqn);
  const volume = await client.get<Volume>(VOLUME, null, 'v');
  // Served by another one until now.
  const serving = { nodeName: 'node-2', epoch: 0, portal: '192.0.2.2:3260' };
  await client.updateStatus(VOLUME, { ...volume, status: { ...volume.status, serving } } as Volume);
  await look();
  assert.equal(handle(), null);
  assert.deepEqual([...pointed], [['iqn.2026-11.io.ashlar:v', null]]);
  wait(5000);
  await look();
  assert.notEqual(handle(), null);
  assert.equal(pointed.size, 0, 'it is its own from then on');
  close();
});

test('a coordinator that has just been started gathers its quorum unnoticed; what lasts is told', async () => {
  const { client, look, wait, close } = await setUp({ gathers: true });
  const before = await client.get<Volume>(VOLUME, null, 'v');
  assert.equal((await look()).metadata.resourceVersion, before.metadata.resourceVersion);
  wait(4900);
  assert.equal((await look()).metadata.resourceVersion, before.metadata.resourceVersion);
  wait(200);
  const served = (await look()).status?.conditions?.find(({ type }) => type === 'Served');
  assert.deepEqual([served?.status, served?.reason], ['False', 'NoQuorum']);
  close();
});

test('a volume whose last holder of a snapshot cannot leave is served, and says what waits', async () => {
  const { look, handle, close } = await setUp();
  const conditionOf = ({ status }: Volume, type: string) =>
    status?.conditions?.find((condition) => condition.type === type);
  const before = await look();
  assert.equal(conditionOf(before, 'Served')?.status, 'True', JSON.stringify(before.status));
  assert.match(conditionOf(before, 'MembersAsWanted')?.message ?? '', /alone holds snapshot s-1/);
  assert.equal(before.status?.members?.length, 2);
  handle().mayChange = true;
  const after = await look();
  assert.equal(conditionOf(after, 'Served')?.status, 'True');
  assert.equal(conditionOf(after, 'MembersAsWanted'), undefined);
  assert.deepEqual(
    after.status?.members?.map(({ replica }) => replica),
    ['v-a'],
  );
  close();
});

test('where a node is that has come back is told its coordinator while a change of members waits for just that node', async () => {
  const { client, keeper, look, handle, close } = await setUp({ gathers: true });
  await look();
  let open = (): void => {};
  handle().gate = new Promise((resolve) => {
    open = resolve;
  });
  handle().mayChange = true;
  const nudged: string[] = [];
  keeper.nudge = (name) => void nudged.push(name);
  handle().serve();
  await new Promise((resolve) => setImmediate(resolve));
  await keeper.reconcile('v');
  const pool = await client.get<Pool>(POOL, null, 'a');
  const status = { ...pool.status, replicaAddress: '127.0.0.1:10' };
  await client.updateStatus(POOL, { ...pool, status } as Pool);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(handle().places[0], '127.0.0.1:10', 'without another look');
  await keeper.reconcile('v');
  assert.equal((await client.get<Volume>(VOLUME, null, 'v')).status?.members?.length, 2);
  nudged.length = 0;
  open();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(nudged, ['v']);
  assert.equal((await look()).status?.members?.length, 1);
  close();
});

test('what its coordinator advises stands in the volume, with replicas by their names, as long as it is so', async () => {
  const { look, handle, close } = await setUp();
  const before = await look();
  assert.equal(before.status?.advice, undefined);
  const [{ id } = { id: '' }] = before.status?.members ?? [];
  handle().advised = [`Replica ${id} lacks snapshot s-1 and makes up for it by itself.`];
  assert.deepEqual((await look()).status?.advice, [
    'Replica v-a lacks snapshot s-1 and makes up for it by itself.',
  ]);
  handle().advised = [];
  assert.equal((await look()).status?.advice, undefined);
  close();
});

test('a volume is kept from hosts until a stream into it is whole, whoever coordinates it; then its snapshot has an object', async () => {
  const { client, look, exposed, handle, close } = await setUp();
  await look();
  assert.equal(exposed.size, 1);
  const receiving = { snapshotId: 'cut-1', snapshot: 'monday', fromId: null, lba: 512 };
  await handle().putBlob('ashlar.receiving', Buffer.from(JSON.stringify(receiving)));
  const waiting = await look();
  assert.equal(exposed.size, 0);
  const served = waiting.status?.conditions?.find(({ type }) => type === 'Served');
  assert.deepEqual([served?.status, served?.reason], ['False', 'Receiving']);
  assert.match(served?.message ?? '', /the stream of snapshot monday is not whole.*--resume 512/);
  const since = { ...receiving, fromId: 'cut-0', from: 'sunday' };
  await handle().putBlob('ashlar.receiving', Buffer.from(JSON.stringify(since)));
  const said = (await look()).status?.conditions?.find(({ type }) => type === 'Served');
  assert.match(said?.message ?? '', /--from sunday --resume 512/);
  // As after a crash between the last two steps.
  handle().kept = [{ id: 'cut-1' }];
  await look();
  assert.equal(exposed.size, 1);
  assert.equal(handle().blobs.size, 0);
  const { spec } = await client.get<Snapshot>(SNAPSHOT, null, 'v.monday');
  assert.deepEqual(spec, { volumeName: 'v', receivedId: 'cut-1' });
  close();
});

test('a volume that a stream is received into is not rolled back, unless that has begun', async () => {
  const { client, look, handle, keeper, close } = await setUp();
  await look();
  const made = await client.create<Snapshot>(SNAPSHOT, {
    metadata: { name: 'v.sunday' },
    spec: { volumeName: 'v' },
  });
  await client.updateStatus(SNAPSHOT, { ...made, status: { phase: 'Ready' } } as Snapshot);
  const ask = async (request: string, phase?: 'Running'): Promise<Volume['status']> => {
    const volume = await client.get<Volume>(VOLUME, null, 'v');
    const rollback = { request, to: 'v.sunday' };
    const asked = await client.update<Volume>(VOLUME, {
      ...volume,
      spec: { ...volume.spec, rollback },
    });
    if (phase !== undefined) {
      const status = { ...asked.status, rollback: { request, phase, message: '' } };
      await client.updateStatus(VOLUME, { ...asked, status } as Volume);
    }
    return (await look()).status;
  };
  const receiving = { snapshotId: 'cut-1', snapshot: 'monday', fromId: null, lba: 512 };
  const mark = Buffer.from(JSON.stringify(receiving));
  await handle().putBlob('ashlar.receiving', mark);
  const refused = (await ask('1'))?.rollback;
  assert.deepEqual([refused?.phase, handle().rolledBack], ['Refused', []]);
  assert.match(refused?.message ?? '', /a stream is being received into it/);
  // One that has begun may have changed the volume already.
  await ask('2', 'Running');
  assert.deepEqual(
    [(await look()).status?.rollback?.phase, handle().rolledBack.length],
    ['Done', 1],
  );
  // No mark, but it is being found out whether a stream fits.
  await handle().putBlob('ashlar.receiving', null);
  await keeper.withhold('v');
  assert.equal((await ask('3'))?.rollback?.phase, 'Refused');
  assert.equal(keeper.isReceiving('v'), true);
  keeper.release('v');
  assert.equal(keeper.isReceiving('v'), false);
  await ask('4');
  assert.deepEqual(
    [(await look()).status?.rollback?.phase, handle().rolledBack.length],
    ['Done', 2],
  );
  // Nor does a stream begin while one is to be done.
  handle().rollback = () => new Promise<void>(() => {});
  await ask('5');
  await assert.rejects(keeper.withhold('v'), /is being rolled back/);
  close();
});

const A_STREAM: StreamDescription = {
  volumeId: '00000000-0000-4000-8000-000000000001',
  volume: 'db',
  snapshotId: '00000000-0000-4000-8000-000000000002',
  snapshot: 'monday',
  from: null,
  createdAt: '2026-11-01T00:00:00Z',
  sizeBlocks: 16384,
  logicalBlockBytes: 4096,
};

test('hosts have a volume back that could not be taken from them for a stream', async () => {
  const { look, exposed, exporter, keeper, ends, handle, close } = await setUp();
  await look();
  const { withdraw } = exporter;
  exporter.withdraw = () => Promise.reject(new Error('its target does not end'));
  await assert.rejects(ends.target('v', A_STREAM, 0, NO_PLACE), /its target does not end/);
  exporter.withdraw = withdraw;
  assert.equal(keeper.isReceiving('v'), false);
  await look();
  assert.equal(exposed.size, 1);
  assert.equal(handle().blobs.size, 0);
  close();
});

test('a stream is refused for what hosts wrote last, though who is asked lags behind', async () => {
  const { look, exposed, ends, handle, close } = await setUp();
  await look();
  handle().lagging = true;
  await assert.rejects(ends.target('v', A_STREAM, 0, NO_PLACE), /"v" holds data/);
  await look();
  assert.deepEqual([exposed.size, handle().blobs.size], [1, 0]);
  close();
});

test('a stream of a larger volume has the volume grow as its owner would, or is refused in words', async () => {
  const { client, look, exposed, ends, handle, close } = await setUp();
  await look();
  const larger = { ...A_STREAM, sizeBlocks: 32768 };
  const change = async <T extends Volume | Pool>(
    kind: KindDefinition<T>,
    name: string,
    body: object,
  ) =>
    await client.patch(
      kind as never,
      null,
      name,
      { type: 'merge', body },
      ...(kind === (POOL as never) ? [{ subresource: 'status' as const }] : []),
    );
  const asBefore = async (): Promise<void> => {
    assert.equal((await look()).spec.size, '64Mi');
    assert.deepEqual(
      [exposed.size, handle().blobs.size, handle().volume.geometry.blocks],
      [1, 0, 16384],
    );
  };
  await change(POOL, 'a', { status: { usableBytes: 10 << 20 } });
  const full = /spec\.size: 128Mi is too large: pool a would have promised .* \(overcommit\)/;
  await assert.rejects(ends.target('v', larger, 0, NO_PLACE), full);
  await asBefore();
  await change(POOL, 'a', { status: { usableBytes: 1 << 30 } });
  const claimRef = { namespace: 'default', name: 'c', uid: 'u' };
  await change(VOLUME, 'v', { spec: { claimRef } });
  await assert.rejects(
    ends.target('v', larger, 0, NO_PLACE),
    /let its claim default\/c grow first/,
  );
  await asBefore();
  await change(VOLUME, 'v', { spec: { claimRef: null } });
  await assert.rejects(
    ends.target('v', { ...larger, logicalBlockBytes: 512 }, 0, NO_PLACE),
    /blocks of/,
  );
  await asBefore();
  await ends.target('v', larger, 0, NO_PLACE);
  assert.equal((await look()).spec.size, '128Mi');
  assert.equal(handle().volume.geometry.blocks, 32768);
  close();
});
