// Goal: a node does what the objects say that name it: pools, replicas, volumes that hosts can use; what it has made is
// found again after a restart, and what goes leaves nothing behind.
// Method: the real API rules and the real controllers over memory, the real agent over pools in memory.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { EVENTS, type KindDefinition } from '../../../src/apiserver/index.ts';
import { BlockOpKind } from '../../../src/block/index.ts';
import { withActions } from '../../../src/controllers/index.ts';
import {
  CLAIM,
  type Claim,
  EXTERNAL_SNAPSHOT,
  type ExternalSnapshot,
  POOL,
  REPLICA,
  type Replica,
  SECRET,
  SNAPSHOT,
  type Snapshot,
  STORAGE_POOL_CLAIM,
  VOLUME,
  VOLUME_POLICY,
  type Volume,
} from '../../../src/kinds/index.ts';
import { Throttle } from '../../../src/volume/index.ts';
import { aClaim, restore, volumeSnapshot } from '../../sim/controllers/manifests.ts';
import { aPlane, folder } from './plane.ts';

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

test('a part of the cache and workers follow the volume, then its policy, then neither, in the pool of its replica', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc'));
  const { volume } = await plane.bound('cstor-pvc');
  const { name } = volume.metadata;
  const patch = (spec: object) =>
    plane.server.patch(VOLUME, null, name, { type: 'merge', body: { spec } });
  const policy = (cacheSize: string | null) =>
    plane.server.patch(VOLUME_POLICY, null, 'gold', {
      type: 'merge',
      body: { spec: { cacheSize } },
    });
  const holds = (mebibytes: number) =>
    plane.until(`${mebibytes} MiB are its own`, async () => {
      const uses = [...plane.media.pools.values()].flatMap((pool) =>
        pool.volumes().map((store) => store.use().cacheBytes),
      );
      const [replica] = (await plane.server.list<Replica>(REPLICA)).items;
      const told = replica?.status?.cacheBytes ?? 0;
      return uses.some((bytes) => bytes === mebibytes * 2 ** 20) && told === mebibytes * 2 ** 20;
    });
  await patch({ cacheSize: '4Mi' });
  await holds(4);
  await plane.server.create(VOLUME_POLICY, {
    metadata: { name: 'gold' },
    spec: { cacheSize: '8Mi' },
  });
  await patch({ policy: 'gold' });
  await holds(4); // What the volume says itself wins.
  await patch({ cacheSize: null });
  await holds(8);
  await policy('16Mi');
  await holds(16);
  // Whoever opens the pool anew says it again.
  await plane.stop();
  for (const pool of plane.media.pools.values()) {
    for (const store of pool.volumes()) store.tune({ cacheBytes: null, ioWorkers: 0 });
  }
  await plane.start();
  await holds(16);
  await policy(null);
  await holds(0);
  const workers = (count: number) =>
    plane.until(`${count} workers`, async () => {
      const [replica] = (await plane.server.list<Replica>(REPLICA)).items;
      return (replica?.status?.ioWorkers ?? 0) === count;
    });
  await plane.server.patch(VOLUME_POLICY, null, 'gold', {
    type: 'merge',
    body: { spec: { ioWorkers: 4 } },
  });
  await workers(4);
  await patch({ ioWorkers: 0 }); // What the volume says itself wins.
  await workers(0);
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

test('a snapshot that is deleted while a claim is restored from it goes when that has what it holds', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc', {}, '64Mi'));
  const source = await plane.bound('cstor-pvc');
  await plane.io(source.disk, BlockOpKind.Write, 0x5a);
  await plane.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await plane.until('the snapshot is ready', async () => {
    const { items } = await plane.server.list<Snapshot>(SNAPSHOT);
    return items[0]?.status?.phase === 'Ready';
  });
  const pool = plane.media.pools.get(join(folder, 'disk-1'))!;
  const create = pool.createVolume.bind(pool);
  let said = '';
  pool.createVolume = async (wanted) => {
    pool.createVolume = create;
    await plane.server.delete(EXTERNAL_SNAPSHOT, 'default', 'snapshot-cstor');
    // What is looked at here has a place by now, and holds nothing yet.
    await plane.until('the deletion was looked at', async () => {
      const [snapshot] = (await plane.server.list<Snapshot>(SNAPSHOT)).items;
      said = snapshot?.status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? 'gone';
      return said !== 'it can be restored from';
    });
    return await create(wanted);
  };
  await plane.server.create(CLAIM, aClaim('restored', restore, '64Mi'));
  const restored = await plane.bound('restored');
  assert.match(said, /^it goes once pvc-.*, which begins from it, has what it holds$/);
  assert.equal(await plane.io(restored.disk, BlockOpKind.Read), 0x5a);
  const noneLeft = async () => (await plane.server.list(SNAPSHOT)).items.length === 0;
  await plane.until('the snapshot is gone', noneLeft);
  assert.equal(pool.snapshots(source.volume.metadata.name).length, 0);
  await plane.server.create(CLAIM, aClaim('late', restore, '64Mi'));
  await plane.until('who comes later is told', async () => {
    const events = JSON.stringify((await plane.server.list(EVENTS)).items);
    return events.includes('snapshot-cstor\\" not found');
  });
  await plane.stop();
});

test('a claim that grows while it is copied is copied whole', async () => {
  const plane = await aPlane();
  await plane.server.create(CLAIM, aClaim('cstor-pvc', {}, '64Mi'));
  const source = await plane.bound('cstor-pvc');
  await plane.io(source.disk, BlockOpKind.Write, 0x5a);
  const pool = plane.media.pools.get(join(folder, 'disk-1'))!;
  const create = pool.createVolume.bind(pool);
  pool.createVolume = async (wanted) => {
    pool.createVolume = create;
    const made = await create(wanted);
    await plane.server.patch(VOLUME, null, source.volume.metadata.name, {
      type: 'merge',
      body: { spec: { size: '128Mi' } },
    });
    await plane.until('the source has grown', async () => {
      const { status } = await plane.server.get<Volume>(VOLUME, null, source.volume.metadata.name);
      return status?.capacityBytes === 128 * 2 ** 20;
    });
    return made;
  };
  const claimSource = { dataSource: { kind: 'PersistentVolumeClaim', name: 'cstor-pvc' } };
  await plane.server.create(CLAIM, aClaim('copied', claimSource, '64Mi'));
  const copied = await plane.bound('copied');
  assert.equal(await plane.io(copied.disk, BlockOpKind.Read), 0x5a);
  await plane.until('it says how large it is', async () => {
    const { status } = await plane.server.get<Volume>(VOLUME, null, copied.volume.metadata.name);
    return status?.capacityBytes === 128 * 2 ** 20;
  });
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
