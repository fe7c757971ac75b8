// Goal: snapshots are objects like others, and those by the clock are taken when due and let go when old.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { periodMs, SystemClock, silentLog } from '../../../src/base/index.ts';
import { SnapshotScheduler } from '../../../src/control/snapshot-schedule.ts';
import { aManifest, anApi } from './builders.ts';

const SNAPSHOTS = '/apis/ashlar.io/v1/snapshots';
const VOLUMES = '/apis/ashlar.io/v1/volumes';

async function withVolumes(...names: string[]) {
  const under = await anApi();
  for (const name of names) {
    const payload = aManifest(name);
    assert.equal(
      (await under.app.inject({ method: 'POST', url: VOLUMES, payload })).statusCode,
      201,
    );
  }
  const take = (name: string, spec: object) =>
    under.app.inject({ method: 'POST', url: SNAPSHOTS, payload: { metadata: { name }, spec } });
  const list = async () =>
    (await under.app.inject(SNAPSHOTS))
      .json()
      .items.map((item: { metadata: { name: string } }) => item.metadata.name);
  return { ...under, take, list };
}

test('a snapshot is taken, shown, selected and deleted; its volume is not deleted before it', async () => {
  const { app, pool, take, list } = await withVolumes('db', 'web');
  const made = await take('db.monday', { volumeName: 'db' });
  assert.equal(made.statusCode, 201, made.body);
  assert.equal(made.json().status.sizeBytes, 64 * 2 ** 20);
  assert.ok(pool.snapshot('db@monday'));
  await take('web.monday', { volumeName: 'web' });
  assert.deepEqual(await list(), ['db.monday', 'web.monday']);
  const selected = (await app.inject(`${SNAPSHOTS}?fieldSelector=spec.volumeName%3Dweb`)).json();
  assert.equal(selected.items.length, 1);
  assert.equal((await take('db.monday', { volumeName: 'db' })).statusCode, 409);

  const kept = await app.inject({ method: 'DELETE', url: `${VOLUMES}/db` });
  assert.equal(kept.statusCode, 409);
  assert.match(kept.json().message, /monday/);
  assert.equal((await app.inject(`${VOLUMES}/db`)).json().status.phase, 'Ready', 'still served');
  assert.equal(
    (await app.inject({ method: 'DELETE', url: `${SNAPSHOTS}/db.monday` })).statusCode,
    200,
  );
  assert.equal((await app.inject(`${SNAPSHOTS}/db.monday`)).statusCode, 404);
  assert.equal((await app.inject({ method: 'DELETE', url: `${VOLUMES}/db` })).statusCode, 200);
});

test('several volumes at one instant: all or none', async () => {
  const { take, list } = await withVolumes('a', 'b');
  const missing = await take('a.x', { volumeName: 'a', alsoVolumes: ['b', 'nothing'] });
  assert.equal(missing.statusCode, 404);
  assert.deepEqual(await list(), []);
  assert.equal((await take('a.x', { volumeName: 'a', alsoVolumes: ['b'] })).statusCode, 201);
  assert.deepEqual(await list(), ['a.x', 'b.x']);
});

test('names and volumes that cannot be are told by their field', async () => {
  const { take } = await withVolumes('db');
  for (const [name, spec, field] of [
    ['monday', { volumeName: 'db' }, 'metadata.name'],
    ['web.monday', { volumeName: 'db' }, 'metadata.name'],
    ['db.mon.day', { volumeName: 'db' }, 'metadata.name'],
    ['db.monday', {}, 'spec.volumeName'],
    ['db.monday', { volumeName: 'db', volume: 'x' }, 'spec.volume'],
  ] as const) {
    const answer = await take(name, spec);
    assert.equal(answer.statusCode, field === 'spec.volume' ? 400 : 422, answer.body);
    assert.equal(answer.json().details.causes[0].field, field);
  }
});

test('by the clock: taken when due, the oldest let go, people’s own left alone', async () => {
  const { app, pool, controller, take } = await withVolumes('db', 'other');
  await take('db.mine', { volumeName: 'db' });
  const change = (snapshots: object | null) =>
    app.inject({
      method: 'PATCH',
      url: `${VOLUMES}/db`,
      headers: { 'content-type': 'application/merge-patch+json' },
      payload: { spec: { snapshots } },
    });
  assert.equal((await change({ every: 'hourly', keep: 3 })).statusCode, 422);
  assert.equal((await change({ every: '1h', keep: 3 })).statusCode, 200);
  let minutes = 0;
  const start = Date.parse('2026-11-01T00:00:00Z');
  const scheduler = new SnapshotScheduler({
    controller,
    clock: new SystemClock(),
    now: () => new Date(start + minutes * 60_000),
    log: silentLog,
  });
  const names = () => pool.snapshots('db').map((one) => one.shortName);
  await scheduler.look();
  // The time of a snapshot is the controller's, which stands still here.
  assert.deepEqual(names(), ['mine', 'auto-20261101t000000z']);
  minutes = 59;
  await scheduler.look();
  assert.equal(names().length, 2);
  for (const hour of [1, 2, 3]) {
    minutes = hour * 60;
    await scheduler.look();
  }
  assert.deepEqual(names(), [
    'mine',
    'auto-20261101t010000z',
    'auto-20261101t020000z',
    'auto-20261101t030000z',
  ]);
  assert.equal(pool.snapshots('other').length, 0);
  assert.equal((await change(null)).statusCode, 200);
  minutes = 600;
  await scheduler.look();
  assert.equal(names().length, 4);
});

test('periods', () => {
  assert.deepEqual(['15m', '1h', '2d', '1s', '0m', 'h', '1h30m'].map(periodMs), [
    900_000,
    3_600_000,
    172_800_000,
    null,
    null,
    null,
    null,
  ]);
});
