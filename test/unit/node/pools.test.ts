// Goal: pools of a node come and go as their objects say: devices are claimed and given back, what holds something stays, what
// was exported is not opened again, and what was killed in between ends after the restart.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { KindDefinition } from '../../../src/apiserver/index.ts';
import { withActions } from '../../../src/controllers/index.ts';
import {
  POOL,
  type Pool,
  REPLICA,
  type Replica,
  STORAGE_POOL_CLAIM,
  VOLUME,
  type Volume,
} from '../../../src/kinds/index.ts';
import { StoreError } from '../../../src/store/index.ts';
import {
  aFreePlane,
  claimOf,
  folder,
  isOnline,
  onDevices,
  oneDevice,
  type Plane,
} from './plane.ts';

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

const actOn = (plane: Plane, pool: Pool, action: string, body: object): Promise<unknown> =>
  withActions(POOL as unknown as KindDefinition, () => plane.server).actions![action]!.run(pool, {
    query: new Map(),
    body,
    dryRun: false,
  });

test('what holds replicas stays; a device that could not join is given back', async () => {
  const plane = await aFreePlane();
  const act = (pool: Pool, action: string, body: object) => actOn(plane, pool, action, body);
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

/** How often pools of devices are opened from now on. */
function countOpens(plane: Plane): () => number {
  const open = plane.media.open.bind(plane.media);
  let opens = 0;
  plane.media.open = (paths) => {
    if (paths.every((path) => path.startsWith(folder))) opens += 1;
    return open(paths);
  };
  return () => opens;
}

async function isGone(plane: Plane, name: string): Promise<void> {
  await plane.until(`${name} is gone`, async () =>
    (await plane.server.list<Pool>(POOL)).items.every(({ metadata }) => metadata.name !== name),
  );
}

/** A pool whose devices say that it was exported, and whose node was killed before its object did. */
async function killedInExport(
  plane: Plane,
): Promise<{ opens: () => number; answer: Promise<unknown> }> {
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  const tank = await isOnline(plane, 'tank');
  const opens = countOpens(plane);
  const { updateStatus } = plane.server;
  plane.server.updateStatus = (async (kind: never, object: Pool) => {
    if (object.status?.phase === 'Exported') throw new Error('killed');
    return await updateStatus.call(plane.server, kind, object);
  }) as typeof updateStatus;
  const answer = actOn(plane, tank, 'export', {}).catch((error: unknown) => error);
  await plane.until('its devices say so', async () =>
    plane.media.exported.has(join(folder, 'disk-1')),
  );
  await plane.stop();
  plane.server.updateStatus = updateStatus;
  return { opens, answer };
}

test('an export that was killed before it was told of ends without the pool being opened again', async () => {
  const plane = await aFreePlane();
  const { opens, answer } = await killedInExport(plane);
  await plane.start();
  await isGone(plane, 'tank');
  await answer;
  assert.equal(opens(), 0, 'another machine may have it open');
  assert.ok(plane.media.exported.has(join(folder, 'disk-1')));
  assert.equal(await claimOf(plane, 'blockdevice-1'), undefined);
  await plane.stop();
});

test('a pool that was exported is not erased, though its object is deleted before that was told', async () => {
  const plane = await aFreePlane();
  const { opens, answer } = await killedInExport(plane);
  await plane.server.delete(POOL, null, 'tank');
  await plane.start();
  await isGone(plane, 'tank');
  await answer;
  assert.equal(opens(), 0);
  assert.ok(plane.media.pools.has(join(folder, 'disk-1')));
  assert.equal(await claimOf(plane, 'blockdevice-1'), undefined);
  await plane.stop();
});

test('a pool that another machine has exported meanwhile is not opened, and says how to go on', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  await isOnline(plane, 'tank');
  await plane.stop();
  plane.media.exported.add(join(folder, 'disk-1'));
  const opens = countOpens(plane);
  await plane.start();
  const tank = await plane.until('it says so', async () => {
    const pool = await plane.server.get<Pool>(POOL, null, 'tank');
    const why = pool.status?.conditions?.[0]?.message ?? '';
    return /was exported, .*ashlar export pool tank --force/.test(why) && pool;
  });
  assert.equal(opens(), 0);
  await actOn(plane, tank, 'export', { force: true });
  assert.equal(await claimOf(plane, 'blockdevice-1'), undefined);
  await plane.stop();
});

test('a deleted pool that cannot be opened says how to finish, and goes so; its devices are left as they are', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  await isOnline(plane, 'tank');
  await plane.stop();
  await plane.server.delete(POOL, null, 'tank');
  plane.media.open = () => Promise.reject(new StoreError('STORE_IO', 'its log cannot be read'));
  await plane.start();
  const tank = await plane.until('it says how', async () => {
    const pool = await plane.server.get<Pool>(POOL, null, 'tank');
    const why = pool.status?.conditions?.[0]?.message ?? '';
    return /its log cannot be read\..*ashlar export pool tank --force/.test(why) && pool;
  });
  await actOn(plane, tank, 'export', { force: true });
  await isGone(plane, 'tank');
  assert.ok(plane.media.pools.has(join(folder, 'disk-1')));
  assert.equal(await claimOf(plane, 'blockdevice-1'), undefined);
  await plane.stop();
});

test('a pool is not erased into which something came while it was looked for replicas', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  await isOnline(plane, 'tank');
  const path = join(folder, 'disk-1');
  const { list } = plane.server;
  let looks = 0;
  plane.server.list = (async (kind: unknown, options?: { labelSelector?: string }) => {
    const found = await list.call(plane.server, kind as never, options as never);
    if (kind === REPLICA && /=tank$/.test(options?.labelSelector ?? '')) looks += 1;
    // The first look is the API's, before it is deleted at all.
    if (looks === 2) {
      const pool = plane.media.pools.get(path);
      // As a coordinator makes it over the wire.
      if (pool?.volume('new') === null) {
        await pool.createVolume({ id: randomUUID(), name: 'new', sizeBlocks: 64 });
      }
    }
    return found;
  }) as typeof list;
  await plane.server.delete(POOL, null, 'tank');
  await plane.until('it says what it holds', async () => {
    const { status } = await plane.server.get<Pool>(POOL, null, 'tank');
    return /still holds 1 replica/.test(status?.conditions?.[0]?.message ?? '');
  });
  plane.server.list = list;
  assert.ok(plane.media.pools.get(path)?.volume('new') !== null);
  await plane.stop();
});

test('an erasure that was killed in the middle ends, though what is left cannot be opened', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  await isOnline(plane, 'tank');
  const { open, erase } = plane.media;
  plane.media.erase = () => Promise.reject(new StoreError('STORE_IO', 'killed'));
  await plane.server.delete(POOL, null, 'tank');
  await plane.until('it is being erased', async () => {
    const pool = await plane.server.get<Pool>(POOL, null, 'tank');
    return pool.status?.conditions?.some(({ message = '' }) => /killed/.test(message));
  });
  await plane.stop();
  plane.media.erase = erase;
  plane.media.open = () => Promise.reject(new StoreError('STORE_IO', 'half of it is cleared'));
  await plane.start();
  await isGone(plane, 'tank');
  plane.media.open = open;
  assert.equal(plane.media.pools.size, 1, 'that of its folder');
  assert.equal(await claimOf(plane, 'blockdevice-1'), undefined);
  await plane.stop();
});

test('a pool whose taking in is cut short is not left open', async () => {
  const plane = await aFreePlane();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  const tank = await isOnline(plane, 'tank');
  await actOn(plane, tank, 'export', {});
  await isGone(plane, 'tank');
  const counts = countUse(plane);
  const { updateStatus, get } = plane.server;
  let isDown = false;
  plane.server.updateStatus = (async (kind: never, object: Pool) => {
    if (object.metadata.name !== 'cold' || object.status?.id === undefined || isDown) {
      return await updateStatus.call(plane.server, kind, object);
    }
    isDown = true;
    throw new Error('the API is away');
  }) as typeof updateStatus;
  plane.server.get = (async (kind: never, namespace: never, name: string) => {
    if (!isDown || name !== 'cold') return await get.call(plane.server, kind, namespace, name);
    plane.server.get = get;
    throw new Error('the API is away');
  }) as typeof get;
  await plane.server.create(POOL, {
    metadata: { name: 'cold' },
    spec: { nodeName: 'node-1', import: { pool: 'tank', force: false } },
  });
  await plane.until('it was tried', async () => isDown && counts.opened > 0);
  await plane.until('it is closed again', async () => counts.closed === counts.opened);
  await plane.stop();
});

test('a pool that cannot be served to coordinators is not left open', async () => {
  const plane = await aFreePlane();
  const counts = countUse(plane);
  let tries = 0;
  plane.serveReplicas = async () => {
    tries += 1;
    throw new StoreError('STORE_IO', 'its address is taken');
  };
  await plane.stop();
  await plane.start();
  await plane.server.create(POOL, onDevices('tank', 'blockdevice-1'));
  await plane.until('it is tried', async () => tries > 0);
  await plane.until('it is closed again', async () => counts.closed === counts.opened);
  await plane.stop();
});

/** How often pools were opened, and closed. */
function countUse(plane: Plane): { opened: number; closed: number } {
  const counts = { opened: 0, closed: 0 };
  const { open } = plane.media;
  plane.media.open = async (paths) => {
    const pool = await open.call(plane.media, paths);
    counts.opened += 1;
    const { exportPool } = pool;
    pool.close = async () => {
      counts.closed += 1;
    };
    pool.exportPool = async () => {
      counts.closed += 1;
      await exportPool.call(pool);
    };
    return pool;
  };
  return counts;
}
