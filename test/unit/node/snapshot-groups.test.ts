// Goal: a group of snapshots on a node is of one instant or is none: what a crash left half of is taken back and taken anew,
// what cannot be cut now leaves nothing, and what nobody wants any more is gone with its head.
// Method: the real API rules over memory, the real keeper, coordinators that remember what was cut.
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
import { SystemClock, silentLog } from '../../../src/base/index.ts';
import {
  Catalog,
  Finalizer,
  LOOKED_AT,
  type Surroundings,
  Writer,
} from '../../../src/controllers/index.ts';
import {
  allKinds,
  SNAPSHOT,
  type Snapshot,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import { SnapshotKeeper } from '../../../src/node/agent/snapshots.ts';
import { type NodeSurroundings, OpenPools } from '../../../src/node/agent/surroundings.ts';
import type { VolumeKeeper } from '../../../src/node/agent/volumes.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

const HERE = 'node-1';

class FakeHandle {
  serving = true;
  receiving = false;
  kept: { id: string; name: string; createdMs: number; sizeBlocks: number; holders: string[] }[] =
    [];
  /** What becomes of the next cuts, one after the other; then all succeed. */
  fates: ('busy' | 'given up' | 'killed')[] = [];

  snapshots = () => this.kept;
  takeSnapshotNow(cut: { id: string; name: string; createdMs: number }): Promise<void> | null {
    const fate = this.fates.shift();
    if (fate === 'busy') return null;
    if (fate === 'given up') return Promise.reject(new Error('its replicas changed just then'));
    if (fate === 'killed') return new Promise(() => {});
    this.kept.push({ ...cut, sizeBlocks: 256, holders: [] });
    return Promise.resolve();
  }
  async takeSnapshot(cut: { id: string; name: string; createdMs: number }): Promise<void> {
    this.kept.push({ ...cut, sizeBlocks: 256, holders: [] });
  }
  async deleteSnapshot(id: string): Promise<void> {
    this.kept = this.kept.filter((one) => one.id !== id);
  }
}

async function setUp() {
  const registry = new KindRegistry();
  const store = new MemoryObjectStore();
  for (const kind of [NAMESPACES, EVENTS] as unknown as KindDefinition[]) registry.register(kind);
  for (const kind of allKinds(store)) registry.register(kind);
  const now = (): Date => new Date();
  const client = new ResourceServer({ registry, store, log: silentLog, now });
  const handles = new Map<string, FakeHandle>();
  for (const name of ['db', 'log']) {
    handles.set(name, new FakeHandle());
    const spec = { size: '1Mi', replicaCount: 3 };
    const volume = await client.create<Volume>(VOLUME, { metadata: { name }, spec });
    const status = { mode: 'replicated', made: true, target: { nodeName: HERE, epoch: 1 } };
    await client.updateStatus(VOLUME, { ...volume, status } as Volume);
  }
  const catalog = new Catalog({ client, clock: new SystemClock(), log: silentLog }, LOOKED_AT);
  await catalog.start();
  const around = {
    nodeName: HERE,
    client,
    catalog,
    events: new EventRecorder({ client, log: silentLog, now, component: 'test', host: 'test' }),
    log: silentLog,
    now,
  } as unknown as NodeSurroundings;
  const volumes = {
    handle: (name: string) => handles.get(name) ?? null,
    volume: () => null,
    isReceiving: (name: string) => handles.get(name)?.receiving === true,
  } as unknown as VolumeKeeper;
  const aKeeper = (): SnapshotKeeper =>
    new SnapshotKeeper(
      around,
      new OpenPools(),
      new Writer(around as never as Surroundings),
      volumes,
    );
  let keeper = aKeeper();
  /** As the queue does, again and again, until nothing is left to do. */
  const look = async (rounds = 12): Promise<void> => {
    for (let round = 0; round < rounds; round += 1) {
      for (let turn = 0; turn < 3; turn += 1) await new Promise((next) => setImmediate(next));
      for (const { metadata } of (await client.list<Snapshot>(SNAPSHOT)).items) {
        const work = keeper.reconcile(metadata.name).catch((error: { reason?: string }) => {
          if (error.reason !== 'Conflict' && error.reason !== 'NotFound') throw error;
        });
        // One that was killed in the middle never comes back, and nothing follows it.
        const killed = new Promise<'killed'>((next) => setTimeout(() => next('killed'), 100));
        if ((await Promise.race([work, killed])) === 'killed') return;
      }
    }
  };
  const all = async (): Promise<Snapshot[]> => (await client.list<Snapshot>(SNAPSHOT)).items;
  const take = async (): Promise<void> => {
    await client.create<Snapshot>(SNAPSHOT, {
      metadata: { name: 'db.monday' },
      spec: { volumeName: 'db', alsoVolumes: ['log'] },
    });
  };
  const restart = (): void => {
    keeper = aKeeper();
  };
  const [db, log] = [handles.get('db')!, handles.get('log')!];
  return { client, look, all, take, restart, db, log, close: () => catalog.close() };
}

/** Both are there, are of one instant, and are what their objects say. */
async function isWhole({ all, db, log }: Awaited<ReturnType<typeof setUp>>): Promise<void> {
  const objects = await all();
  assert.deepEqual(
    objects.map(({ metadata, status }) => [metadata.name, status?.phase]),
    [
      ['db.monday', 'Ready'],
      ['log.monday', 'Ready'],
    ],
  );
  assert.deepEqual([db.kept.length, log.kept.length], [1, 1]);
  assert.equal(db.kept[0]!.createdMs, log.kept[0]!.createdMs);
  assert.equal(objects[0]!.status?.cutId, db.kept[0]!.id);
  assert.equal(objects[1]!.status?.cutId, log.kept[0]!.id);
}

test('two volumes are cut in one go; each has a Snapshot of its own, which is deleted by itself', async () => {
  const plane = await setUp();
  await plane.take();
  await plane.look();
  await isWhole(plane);
  await plane.client.delete(SNAPSHOT, null, 'db.monday');
  await plane.look(4);
  assert.deepEqual([plane.db.kept.length, plane.log.kept.length], [0, 1]);
  await plane.client.delete(SNAPSHOT, null, 'log.monday');
  await plane.look(4);
  assert.deepEqual([(await plane.all()).length, plane.log.kept.length], [0, 0]);
  plane.close();
});

test('a cut that cannot be made, or not be kept, takes the other along; then both are made', async () => {
  for (const fate of ['busy', 'given up'] as const) {
    const plane = await setUp();
    plane.log.fates = [fate];
    await plane.take();
    await plane.look(2);
    assert.equal(plane.db.kept.length, 0, fate);
    await plane.look();
    await isWhole(plane);
    plane.close();
  }
});

test('killed with one of two cuts kept, who comes next takes it back and takes both at another instant', async () => {
  const plane = await setUp();
  plane.log.fates = ['killed'];
  await plane.take();
  await plane.look(4);
  const [half] = plane.db.kept;
  assert.ok(half !== undefined);
  assert.equal(plane.log.kept.length, 0);
  assert.notEqual((await plane.all())[0]?.status?.phase, 'Ready');
  plane.restart();
  await plane.look();
  await isWhole(plane);
  assert.notEqual(plane.db.kept[0]!.id, half.id);
  plane.close();
});

test('killed with both cuts kept and nothing said of it, who comes next says so, and cuts nothing', async () => {
  const plane = await setUp();
  plane.log.fates = ['killed'];
  await plane.take();
  await plane.look(4);
  const head = (await plane.all())[0]!;
  const id = head.status?.cuts?.find(({ volume }) => volume === 'log')?.id ?? '';
  const { createdMs } = plane.db.kept[0]!;
  plane.log.kept.push({ id, name: 'log.monday', createdMs, sizeBlocks: 256, holders: [] });
  plane.restart();
  await plane.look();
  await isWhole(plane);
  assert.equal(plane.log.kept[0]!.id, id);
  plane.close();
});

test('a group that is given up before it is whole leaves nothing; one that cannot be says why', async () => {
  const plane = await setUp();
  plane.log.serving = false;
  await plane.take();
  await plane.look();
  const [head] = await plane.all();
  const why = head?.status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? '';
  assert.match(why, /log has no quorum/);
  assert.ok(head?.metadata.finalizers?.includes(Finalizer.Snapshot));
  plane.log.serving = true;
  plane.log.fates = ['killed'];
  await plane.look(4);
  assert.equal(plane.db.kept.length, 1);
  plane.restart();
  await plane.client.delete(SNAPSHOT, null, 'db.monday');
  await plane.look();
  assert.deepEqual([(await plane.all()).length, plane.db.kept.length], [0, 0]);
  await assert.rejects(
    plane.client.create<Snapshot>(SNAPSHOT, {
      metadata: { name: 'twice' },
      spec: { volumeName: 'db', alsoVolumes: ['db'] },
    }),
    /spec\.alsoVolumes: .*names a volume twice/,
  );
  plane.close();
});

test('a volume that is being received is not cut, alone or with others; when the stream is whole it is', async () => {
  const plane = await setUp();
  const { client, db, log, look, all } = plane;
  log.receiving = true;
  await plane.take();
  await client.create<Snapshot>(SNAPSHOT, {
    metadata: { name: 'log.alone' },
    spec: { volumeName: 'log' },
  });
  // What the stream itself ended with has its object all the same.
  log.kept = [{ id: 'cut-1', name: 'whole', createdMs: 1, sizeBlocks: 256, holders: [] }];
  await client.create<Snapshot>(SNAPSHOT, {
    metadata: { name: 'log.whole' },
    spec: { volumeName: 'log', receivedId: 'cut-1' },
  });
  await look();
  assert.deepEqual([db.kept.length, log.kept.length], [0, 1]);
  const seen = new Map((await all()).map(({ metadata, status }) => [metadata.name, status]));
  for (const name of ['db.monday', 'log.alone']) {
    const [condition] = seen.get(name)?.conditions ?? [];
    assert.deepEqual([condition?.reason, condition?.message], ['NotNow', 'log is being received']);
  }
  assert.equal(seen.get('log.whole')?.phase, 'Ready');
  assert.equal(seen.get('db.monday')?.cuts, undefined);
  log.receiving = false;
  await look();
  assert.deepEqual([db.kept.length, log.kept.length], [1, 3]);
  plane.close();
});
