// Goal: the walk-through's objects lead to pools, volumes and bound claims, with true states; what cannot be had is
// said; what is deleted leaves nothing behind.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BLOCK_DEVICE,
  CLAIM,
  CSTOR_POOL,
  CSTOR_VOLUME,
  CSTOR_VOLUME_REPLICA,
  EXTERNAL_SNAPSHOT,
  JIVA_VOLUME,
  NODE,
  PERSISTENT_VOLUME,
  POOL,
  REPLICA,
  type Replica,
  SNAPSHOT,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  VOLUME,
} from '../../../src/kinds/index.ts';
import { aClaim, restore, spc, storageClass, volumeSnapshot } from './manifests.ts';
import { PATIENCE_MS, World } from './world.ts';

async function aWorld(nodes = 3): Promise<World> {
  const world = new World();
  await world.start();
  for (let index = 1; index <= nodes; index += 1) await world.addNode(`node-${index}`);
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  await world.server.create(STORAGE_CLASS, storageClass);
  await world.settle();
  return world;
}

async function bound(world: World, name: string) {
  const claim = await world.get(CLAIM, name, 'default');
  assert.equal(claim?.status?.phase, 'Bound', JSON.stringify(claim?.status));
  const volume = await world.get(VOLUME, claim.spec.volumeName ?? '');
  assert.ok(volume !== null);
  return { claim, volume };
}

test('three nodes: pools on each, the claim bound, three replicas on three nodes, all healthy', async () => {
  const world = await aWorld();
  const pools = await world.all(CSTOR_POOL);
  assert.deepEqual(
    pools
      .map(({ spec, status }) => [spec.nodeName, spec.blockDevices.length, status?.phase])
      .sort(),
    [
      ['node-1', 2, 'Healthy'],
      ['node-2', 2, 'Healthy'],
      ['node-3', 2, 'Healthy'],
    ],
  );
  assert.equal((await world.get(STORAGE_POOL_CLAIM, 'cstor-disk-pool'))?.status?.phase, 'Online');
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.server.create(
    CLAIM,
    aClaim('jiva-pvc', { storageClassName: 'openebs-jiva-default' }),
  );
  await world.settle();
  const { claim, volume } = await bound(world, 'cstor-pvc');
  assert.equal(volume.status?.state, 'Healthy');
  const replicas = (await world.all(REPLICA)).filter(
    ({ spec }) => spec.volumeName === volume.metadata.name,
  );
  assert.deepEqual(replicas.map(({ spec }) => spec.nodeName).sort(), [
    'node-1',
    'node-2',
    'node-3',
  ]);
  const persistent = await world.get(PERSISTENT_VOLUME, volume.metadata.name);
  assert.equal(persistent?.status?.phase, 'Bound');
  assert.equal(persistent.spec.iscsi.iqn, volume.status.iqn);
  assert.equal(persistent.spec.iscsi.targetPortal, volume.status.serving?.portal);
  assert.equal(persistent.spec.iscsi.portals?.length, 2);
  assert.equal(persistent.spec.iscsi.fsType, 'ext4');
  assert.equal(claim.status?.capacity?.storage, '5Gi');
  await bound(world, 'jiva-pvc');
  assert.equal((await world.all(CSTOR_VOLUME)).length, 1);
  assert.equal((await world.all(JIVA_VOLUME)).length, 1);
  assert.equal((await world.all(CSTOR_VOLUME_REPLICA)).length, 6);
});

test('a snapshot is restored into a claim beside its source; all of it goes without a trace', async () => {
  const world = await aWorld();
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  await world.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await world.server.create(CLAIM, aClaim('cstor-pvc-restore', restore));
  await world.settle();
  const snapshot = await world.get(EXTERNAL_SNAPSHOT, 'snapshot-cstor', 'default');
  assert.equal(snapshot?.status?.conditions?.[0]?.status, 'True');
  const { volume } = await bound(world, 'cstor-pvc-restore');
  assert.equal(volume.spec.source?.snapshot, `snapshot-${snapshot.metadata.uid}`);
  assert.equal(volume.status?.state, 'Healthy');
  for (const name of ['cstor-pvc', 'cstor-pvc-restore']) {
    await world.server.delete(CLAIM, 'default', name);
  }
  await world.settle();
  // The source waits for its snapshot.
  assert.equal((await world.all(CLAIM)).length, 0);
  assert.equal((await world.all(VOLUME)).length, 1);
  await world.server.delete(EXTERNAL_SNAPSHOT, 'default', 'snapshot-cstor');
  await world.settle();
  await world.server.delete(STORAGE_POOL_CLAIM, null, 'cstor-disk-pool');
  await world.settle();
  await nothingIsLeft(world);
});

test('a new volume counts in 512 bytes, a restored one as its source does, whatever its class says', async () => {
  const world = await aWorld();
  const annotations = { ...storageClass.metadata.annotations };
  annotations['cas.openebs.io/config'] += '- name: BlockSize\n  value: "4096"\n';
  await world.server.create(STORAGE_CLASS, {
    ...storageClass,
    metadata: { ...storageClass.metadata, name: 'of-4k', annotations },
  });
  await world.server.create(CLAIM, aClaim('plain'));
  await world.server.create(CLAIM, aClaim('cstor-pvc', { storageClassName: 'of-4k' }));
  await world.settle();
  assert.equal((await bound(world, 'plain')).volume.spec.blockSize, 512);
  const source = (await bound(world, 'cstor-pvc')).volume;
  assert.equal(source.spec.blockSize, 4096);
  await world.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await world.server.create(CLAIM, aClaim('cstor-pvc-restore', restore));
  await world.settle();
  assert.equal((await bound(world, 'cstor-pvc-restore')).volume.spec.blockSize, 4096);
  // One that says nothing was made when the standard was 4096, and stays so when it is written again.
  const old = { ...source, spec: { size: '5Gi' } } as typeof source;
  const again = { ...source, spec: { size: '6Gi' } } as typeof source;
  VOLUME.defaults?.(again, old);
  assert.equal(again.spec.blockSize, undefined);
  await assert.rejects(
    world.server.create(VOLUME, {
      metadata: { name: 'copy' },
      spec: { size: '5Gi', blockSize: 512, source: { volume: source.metadata.name } },
    }),
    /spec\.blockSize: is 4096 for a copy of .*, which has blocks of 4096 bytes/,
  );
});

async function nothingIsLeft(world: World): Promise<void> {
  for (const kind of [VOLUME, REPLICA, SNAPSHOT, PERSISTENT_VOLUME, STORAGE_POOL_CLAIM]) {
    assert.deepEqual(
      (await world.all(kind as typeof VOLUME)).map(({ metadata }) => metadata.name),
      [],
      kind.kind,
    );
  }
  assert.equal((await world.all(POOL)).length, world.nodes.size, 'only the pools in directories');
  for (const node of world.nodes.values()) {
    assert.equal(node.stores.size + node.targets.size + node.snapshots.size, 0, node.name);
    assert.equal(node.pools.size, 1);
  }
}

test('one node: the claim is bound with one replica, and says why it is degraded', async () => {
  const world = await aWorld(1);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const { volume } = await bound(world, 'cstor-pvc');
  assert.equal(volume.status?.state, 'Degraded');
  const message = volume.status.conditions?.find(({ type }) => type === 'Healthy')?.message ?? '';
  assert.match(message, /1 of 3 replicas in sync; 2 have no place: its pools are on one node/);
  assert.match(message, /ReplicaPlacement: pool/);
});

/** Three nodes, of which only the first has made its pool when the claim is applied. */
async function aSlowWorld(claim = 'claimed'): Promise<World> {
  const world = new World();
  await world.start();
  for (const name of ['node-1', 'node-2', 'node-3']) {
    (await world.addNode(name)).makesPools = name === 'node-1';
  }
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  await world.server.create(STORAGE_CLASS, storageClass);
  if (claim === 'claimed') await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  return world;
}

test('pools that are being made are waited for: the claim says so, then has all its replicas', async () => {
  const world = await aSlowWorld();
  const claim = await world.get(CLAIM, 'cstor-pvc', 'default');
  assert.equal(claim?.status?.phase, 'Pending');
  const waiting = claim.status.conditions?.find(({ type }) => type === 'Waiting')?.message ?? '';
  assert.match(waiting, /2 have no place/);
  assert.match(waiting, /waits for them .*pool cstor-disk-pool-\w+ is being made/);
  const [volume] = await world.all(VOLUME);
  const ready = volume?.status?.conditions?.find(({ type }) => type === 'Healthy');
  assert.equal(ready?.reason, 'WaitForPools');
  assert.ok(
    (await world.eventsOf(volume?.metadata.name ?? '')).some((event) =>
      event.startsWith('Normal WaitForPools'),
    ),
  );
  for (const node of world.nodes.values()) node.makesPools = true;
  await world.settle();
  assert.equal((await bound(world, 'cstor-pvc')).volume.status?.state, 'Healthy');
  assert.deepEqual([...world.decidedWith.values()], [3]);
  world.stop();
});

test('a pool that is to be exported gives its replicas to others, and gets no new ones', async () => {
  const world = await aWorld(4);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const [first] = await world.all(REPLICA);
  const { poolName } = first!.spec;
  await world.server.patch(POOL, null, poolName, {
    type: 'merge',
    body: { spec: { operation: { request: 'x', action: 'export', drain: true } } },
  });
  await world.settle();
  const pools = (await world.all(REPLICA)).map(({ spec }) => spec.poolName);
  assert.equal(pools.length, 3);
  assert.equal(pools.includes(poolName), false);
  assert.equal((await bound(world, 'cstor-pvc')).volume.status?.state, 'Healthy');
  // Refused, it is one like others again.
  const operation = { request: 'x', action: 'export', phase: 'Refused', message: 'no' };
  await world.patchStatus(POOL, poolName, { operation });
  await world.server.create(CLAIM, aClaim('second'));
  await world.settle();
  assert.equal((await bound(world, 'second')).volume.status?.state, 'Healthy');
  world.stop();
});

test('two replicas on one node wait for the pool of a claim that nobody has looked at yet', async () => {
  const world = new World();
  await world.start();
  await world.addNode('node-1');
  const claimOf = (name: string, device: string) => ({
    ...spc,
    metadata: { name },
    spec: { ...spc.spec, name, blockDevices: { blockDeviceList: [device] } },
  });
  await world.server.create(STORAGE_POOL_CLAIM, claimOf('first', 'blockdevice-1'));
  await world.settle();
  await world.server.create(STORAGE_POOL_CLAIM, claimOf('second', 'blockdevice-2'));
  await world.server.create(VOLUME, {
    metadata: { name: 'db' },
    spec: { size: '1Gi', replicaCount: 2, replicaPlacement: 'pool' },
  });
  await world.settle();
  const volume = await world.get(VOLUME, 'db');
  assert.equal(volume?.status?.state, 'Healthy');
  assert.deepEqual([...world.decidedWith.values()], [2]);
  assert.ok(
    (await world.eventsOf('db')).some((event) => /^Normal WaitForPools: .*second/.test(event)),
  );
  world.stop();
});

test('pools that come between two steps of the controller are not passed over', async () => {
  const world = await aSlowWorld('no claim yet');
  // Online as soon as the first replica is asked for.
  let came = 0;
  world.afterWrite = async ([kind]) => {
    if (kind !== REPLICA || came > 0) return;
    for (const pool of await world.all(POOL)) {
      if (pool.status?.phase !== undefined || pool.spec.directory !== undefined) continue;
      came += 1;
      const status = { phase: 'Online', usableBytes: 2 ** 37, freeBytes: 2 ** 36 };
      await world.patchStatus(POOL, pool.metadata.name, status);
    }
    for (const node of world.nodes.values()) node.makesPools = true;
    // Until the controllers have seen it.
    for (let turn = 0; turn < 4; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  assert.equal(came, 2);
  assert.equal((await bound(world, 'cstor-pvc')).volume.status?.state, 'Healthy');
  assert.deepEqual([...world.decidedWith.values()], [3]);
  world.stop();
});

test('replicas that the catalog does not show yet are counted all the same', async () => {
  const world = await aWorld();
  world.unseen = REPLICA;
  world.afterWrite = async ([kind, object]) => {
    const { status } = object as { status?: { target?: object } };
    if (kind === VOLUME && status?.target !== undefined) world.unseen = null;
  };
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  assert.equal((await bound(world, 'cstor-pvc')).volume.status?.state, 'Healthy');
  assert.deepEqual([...world.decidedWith.values()], [3]);
  world.stop();
});

test('patience ends: a pool that never comes up is made do without', async () => {
  const world = await aSlowWorld();
  await world.pass(PATIENCE_MS - 10_000);
  assert.equal((await world.get(CLAIM, 'cstor-pvc', 'default'))?.status?.phase, 'Pending');
  await world.pass(15_000);
  await world.settle();
  const { volume } = await bound(world, 'cstor-pvc');
  assert.equal(volume.status?.state, 'Degraded');
  world.stop();
});

test('a node that has just come is waited for until it has told of its disks', async () => {
  const world = new World();
  await world.start();
  await world.addNode('node-1');
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  await world.server.create(STORAGE_CLASS, storageClass);
  await world.addNode('node-2', 0);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const claim = await world.get(CLAIM, 'cstor-pvc', 'default');
  assert.equal(claim?.status?.phase, 'Pending');
  const waiting = claim.status.conditions?.find(({ type }) => type === 'Waiting')?.message ?? '';
  assert.match(waiting, /node node-2 has just come/);
  world.stop();
});

test('a claim without its class, its pool claim, or its snapshot waits and says for what', async () => {
  const world = await aWorld();
  await world.server.create(CLAIM, aClaim('a', { storageClassName: 'nowhere' }));
  await world.server.create(CLAIM, aClaim('b', restore));
  await world.settle();
  assert.match(
    (await world.eventsOf('a')).join(),
    /storageclass.storage.k8s.io "nowhere" not found/,
  );
  assert.match((await world.eventsOf('b')).join(), /volumesnapshot "snapshot-cstor" not found/);
  assert.equal((await world.get(CLAIM, 'a', 'default'))?.status?.phase, 'Pending');
  assert.equal((await world.all(VOLUME)).length, 0);
});

test('a claim grows online, and never beyond what its class allows', async () => {
  const world = await aWorld();
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const grow = { spec: { resources: { requests: { storage: '8Gi' } } } };
  await world.server.patch(CLAIM, 'default', 'cstor-pvc', { type: 'merge', body: grow });
  await world.settle();
  const { claim, volume } = await bound(world, 'cstor-pvc');
  assert.equal(volume.spec.size, '8Gi');
  assert.equal(claim.status?.capacity?.storage, '8Gi');
  const shrink = { spec: { resources: { requests: { storage: '1Gi' } } } };
  await assert.rejects(
    world.server.patch(CLAIM, 'default', 'cstor-pvc', { type: 'merge', body: shrink }),
    /spec.resources.requests.storage: 1Gi is less than it has/,
  );
});

test('a silent node loses its coordinators at once, its replicas after a time', async () => {
  const world = await aWorld(4);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const { volume: before } = await bound(world, 'cstor-pvc');
  const first = before.status?.serving?.nodeName ?? '';
  world.nodes.get(first)!.alive = false;
  await world.pass(8_000);
  const { volume: after } = await bound(world, 'cstor-pvc');
  assert.notEqual(after.status?.serving?.nodeName, first);
  assert.equal(after.status?.serving?.epoch, 2);
  assert.equal(after.status.state, 'Degraded');
  assert.equal(after.status.portals?.[0], after.status.serving?.portal);
  assert.equal((await world.all(REPLICA)).length, 3, 'not yet');
  await world.pass(70_000);
  const { volume: rebuilt } = await bound(world, 'cstor-pvc');
  assert.equal(rebuilt.status?.state, 'Healthy');
  const nodes = (await world.all(REPLICA))
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ spec }) => spec.nodeName);
  assert.equal(nodes.length, 3);
  assert.ok(!nodes.includes(first));
});

test('a node that is gone for good is deleted, and nothing waits for it any more', async () => {
  const world = await aWorld(3);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const { volume: before } = await bound(world, 'cstor-pvc');
  const [other = ''] = [...world.nodes.keys()].filter(
    (name) => name !== before.status?.serving?.nodeName,
  );
  const remnants = async (): Promise<string[]> => {
    const all = [
      ...(await world.all(REPLICA)),
      ...(await world.all(POOL)),
      ...(await world.all(BLOCK_DEVICE)),
    ];
    return all.filter(({ spec }) => spec.nodeName === other).map(({ metadata }) => metadata.name);
  };
  world.nodes.get(other)!.alive = false;
  await world.pass(70_000);
  await world.server.delete(NODE, null, other);
  await world.pass(10_000);
  // No other node can take its place: while three are wanted the lost one is not given up.
  const { volume: lacking } = await bound(world, 'cstor-pvc');
  assert.equal(lacking.status?.state, 'Degraded');
  const body = { spec: { replicaCount: 2 } };
  await world.server.patch(VOLUME, null, before.metadata.name, { type: 'merge', body });
  await world.pass(20_000);
  const { volume: after } = await bound(world, 'cstor-pvc');
  assert.equal(after.status?.state, 'Healthy');
  assert.deepEqual(await remnants(), []);
  await world.server.delete(CLAIM, 'default', 'cstor-pvc');
  await world.pass(10_000);
  assert.deepEqual(await world.all(VOLUME), []);
});

test('a volume whose only copy went with its node stays until somebody deletes it, and goes then', async () => {
  const world = await aWorld(3);
  const one = structuredClone(storageClass);
  one.metadata.name = 'one';
  one.metadata.annotations['cas.openebs.io/config'] =
    '- name: StoragePoolClaim\n  value: cstor-disk-pool\n- name: ReplicaCount\n  value: "1"\n';
  await world.server.create(STORAGE_CLASS, one);
  await world.server.create(CLAIM, aClaim('cstor-pvc', { storageClassName: 'one' }));
  await world.settle();
  const { volume } = await bound(world, 'cstor-pvc');
  const only = volume.status?.serving?.nodeName ?? '';
  await world.patchStatus(VOLUME, volume.metadata.name, {
    mode: 'single',
    members: [{ id: 'r', replica: (await world.all(REPLICA))[0]!.metadata.name }],
  });
  world.nodes.get(only)!.alive = false;
  await world.pass(70_000);
  await world.server.delete(NODE, null, only);
  await world.pass(20_000);
  assert.equal((await world.all(REPLICA)).length, 1, 'it is the only sign that there was data');
  await world.server.delete(CLAIM, 'default', 'cstor-pvc');
  await world.pass(20_000);
  assert.deepEqual([await world.all(VOLUME), await world.all(REPLICA)], [[], []]);
  const pools = await world.all(POOL);
  assert.ok(pools.every(({ spec }) => spec.nodeName !== only));
});

test('a node that comes back while it is forgotten finds no pool that it is to erase', async () => {
  const world = await aWorld(3);
  const [first = ''] = world.nodes.keys();
  const pools = async () =>
    (await world.all(POOL)).filter(({ spec }) => spec.nodeName === first).length;
  const count = await pools();
  assert.ok(count >= 2);
  world.nodes.get(first)!.alive = false;
  await world.pass(70_000);
  let isBack = false;
  const toErase: string[] = [];
  world.afterWrite = async () => {
    for (const { metadata, spec, status } of await world.all(POOL)) {
      const { name, deletionTimestamp, finalizers = [] } = metadata;
      if (spec.nodeName !== first || deletionTimestamp === undefined) continue;
      if (status?.phase === 'Exported') continue; // It is given back.
      if (finalizers.length > 0) toErase.push(name);
    }
    if (isBack || (await pools()) !== count - 1) return;
    isBack = true;
    await world.server.create(NODE, { metadata: { name: first }, spec: {} });
  };
  await world.server.delete(NODE, null, first);
  await world.pass(20_000);
  assert.deepEqual(toErase, []);
  assert.ok(isBack);
  assert.equal(await pools(), count - 1, 'the others are looked at before each');
});

test('a volume that goes, most of whose copies went with their nodes, goes with its snapshots, and says so', async () => {
  const world = await aWorld(3);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const { volume } = await bound(world, 'cstor-pvc');
  await world.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await world.settle();
  const { name } = volume.metadata;
  const members = (await world.all(REPLICA)).map(({ metadata }) => ({
    id: `r-${metadata.uid}`,
    replica: metadata.name,
  }));
  await world.patchStatus(VOLUME, name, { mode: 'replicated', made: true, members });
  const serving = volume.status?.serving?.nodeName ?? '';
  const other = [...world.nodes.keys()].find((node) => node !== serving) ?? '';
  for (const gone of [serving, other]) world.nodes.get(gone)!.alive = false;
  await world.pass(70_000);
  for (const gone of [serving, other]) await world.server.delete(NODE, null, gone);
  await world.pass(20_000);
  assert.equal((await world.all(REPLICA)).length, 3, 'until somebody deletes it');
  await world.server.delete(EXTERNAL_SNAPSHOT, 'default', 'snapshot-cstor');
  await world.pass(20_000);
  assert.equal((await world.all(SNAPSHOT)).length, 1, 'one copy is left of what may be wanted');
  await world.server.delete(CLAIM, 'default', 'cstor-pvc');
  await world.pass(20_000);
  assert.deepEqual([await world.all(SNAPSHOT), await world.all(VOLUME)], [[], []]);
  assert.deepEqual(await world.all(REPLICA), []);
  assert.ok(
    [...world.nodes.values()].filter(({ alive }) => alive).every(({ stores }) => stores.size === 0),
  );
  const said = (await world.eventsOf(name)).filter((text) => /SnapshotForgotten/.test(text));
  assert.match(said[0] ?? '', /2 of its 3 members are on nodes that are gone for good/);
});

test('a node whose object was deleted while it was silent for a moment is not forgotten', async () => {
  const world = await aWorld(3);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const [first = ''] = world.nodes.keys();
  const count = (await world.all(POOL)).length;
  world.nodes.get(first)!.alive = false;
  await world.pass(5000);
  await world.server.delete(NODE, null, first);
  await world.pass(20_000);
  assert.equal((await world.all(POOL)).length, count);
  await world.server.create(NODE, { metadata: { name: first }, spec: {} });
  world.nodes.get(first)!.alive = true;
  await world.pass(10_000);
  assert.equal((await world.all(POOL)).length, count);
});

test('drain moves replicas and coordinator before it takes anything away', async () => {
  const world = await aWorld(4);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const { volume: before } = await bound(world, 'cstor-pvc');
  const first = before.status?.serving?.nodeName ?? '';
  await world.server.patch(NODE, null, first, {
    type: 'merge',
    body: { spec: { unschedulable: true, drain: true } },
  });
  await world.settle();
  const { volume } = await bound(world, 'cstor-pvc');
  assert.equal(volume.status?.state, 'Healthy');
  assert.notEqual(volume.status?.serving?.nodeName, first);
  assert.equal(world.nodes.get(first)!.stores.size, 0);
});

test('scaled from one to three to two, with a place for each', async () => {
  const world = await aWorld();
  const one = structuredClone(storageClass);
  one.metadata.name = 'one';
  one.metadata.annotations['cas.openebs.io/config'] =
    '- name: StoragePoolClaim\n  value: cstor-disk-pool\n- name: ReplicaCount\n  value: "1"\n';
  await world.server.create(STORAGE_CLASS, one);
  await world.server.create(CLAIM, aClaim('cstor-pvc', { storageClassName: 'one' }));
  await world.settle();
  const { volume } = await bound(world, 'cstor-pvc');
  for (const count of [3, 2, 1]) {
    const body = { spec: { replicaCount: count } };
    await world.server.patch(VOLUME, null, volume.metadata.name, { type: 'merge', body });
    await world.settle();
    assert.equal((await world.all(REPLICA)).length, count);
    assert.equal((await world.get(VOLUME, volume.metadata.name))?.status?.state, 'Healthy');
  }
});

test('a device that holds something, or is in use, is not taken; the claim says which and why', async () => {
  const world = new World();
  await world.start();
  await world.addNode('node-1');
  await world.patchStatus(
    (await import('../../../src/kinds/index.ts')).BLOCK_DEVICE,
    'blockdevice-2',
    { contents: 'an XFS file system' },
  );
  await world.server.create(STORAGE_POOL_CLAIM, spc);
  await world.settle();
  const claim = await world.get(STORAGE_POOL_CLAIM, 'cstor-disk-pool');
  assert.equal(claim?.status?.phase, 'Failed');
  assert.match(
    (await world.eventsOf('cstor-disk-pool')).join(),
    /blockdevice-2 on node-1 holds an XFS file system/,
  );
  assert.equal((await world.all(POOL)).length, 1);
  // Who waits for a volume of it need not look there to know.
  await world.server.create(STORAGE_CLASS, storageClass);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  assert.match(
    (await world.eventsOf('cstor-pvc')).join(),
    /StoragePoolClaim cstor-disk-pool has no pool: .*blockdevice-2 on node-1 holds an XFS file system/,
  );
});

test('a replica that somebody edits stays where it is: the field is named', async () => {
  const world = await aWorld(3);
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
  const [{ metadata }] = (await world.all(REPLICA)) as [Replica];
  for (const [field, value] of [
    ['nodeName', 'node-9'],
    ['poolName', 'elsewhere'],
    ['volumeName', 'other'],
    ['witness', true],
  ] as const) {
    const change = { type: 'merge', body: { spec: { [field]: value } } } as const;
    await assert.rejects(
      world.server.patch(REPLICA, null, metadata.name, change),
      new RegExp(`spec\\.${field}: .*is fixed at creation`),
    );
  }
  await world.server.patch(REPLICA, null, metadata.name, {
    type: 'merge',
    body: { metadata: { labels: { tier: 'gold' } } },
  });
});
