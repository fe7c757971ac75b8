// Goal: what nobody owns any more goes, what somebody still owns stays, and namespaces and events end as they should.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EVENTS, EventRecorder, Housekeeper, NAMESPACES } from '../../../src/apiserver/index.ts';
import { SystemClock, silentLog } from '../../../src/base/index.ts';
import { aServer, aWidget, BOXES, type ServerUnderTest, WIDGETS, type Widget } from './builders.ts';

async function withHousekeeper(
  body: (under: ServerUnderTest, keeper: Housekeeper) => Promise<void>,
) {
  const under = await aServer();
  const keeper = new Housekeeper({
    server: under.server,
    clock: new SystemClock(),
    log: silentLog,
  });
  await keeper.start();
  try {
    await body(under, keeper);
  } finally {
    await keeper.close();
    await under.store.close();
  }
}

/** Resolves when `condition` holds at some change. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await condition()); tries += 1) {
    assert.ok(tries < 200, 'it did not come to be');
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

const names = async ({ server }: ServerUnderTest) =>
  (await server.list(WIDGETS)).items.map(({ metadata }) => metadata.name);

const ownedBy = (owner: {
  apiVersion: string;
  kind: string;
  metadata: { name: string; uid: string };
}) => ({
  ownerReferences: [
    {
      apiVersion: owner.apiVersion,
      kind: owner.kind,
      name: owner.metadata.name,
      uid: owner.metadata.uid,
    },
  ],
});

test('what was owned goes with its last owner', async () => {
  await withHousekeeper(async (under) => {
    const { server } = under;
    const a = await server.create(WIDGETS, aWidget('a'));
    const b = await server.create(WIDGETS, aWidget('b'));
    await server.create(WIDGETS, aWidget('of-a', {}, ownedBy(a)));
    const both = {
      ownerReferences: [...ownedBy(a).ownerReferences, ...ownedBy(b).ownerReferences],
    };
    await server.create(WIDGETS, aWidget('of-both', {}, both));
    const foreign = { apiVersion: 'other.io/v1', kind: 'Thing', metadata: { name: 't', uid: 'u' } };
    await server.create(WIDGETS, aWidget('of-foreign', {}, ownedBy(foreign)));
    await server.delete(WIDGETS, 'default', 'a');
    await until(async () => (await names(under)).join() === 'b,of-both,of-foreign');
    await server.delete(WIDGETS, 'default', 'b');
    await until(async () => (await names(under)).join() === 'of-foreign');
  });
});

test('in the foreground the owner waits for what it owns; orphans are let go', async () => {
  await withHousekeeper(async (under) => {
    const { server } = under;
    const box = await server.create(BOXES, { metadata: { name: 'box' } });
    const held = { ...ownedBy(box), finalizers: ['example.com/hold'] };
    await server.create(WIDGETS, aWidget('held', {}, held));
    await server.delete(BOXES, null, 'box', { propagation: 'Foreground' });
    await until(async () => {
      const { metadata } = await server.get(WIDGETS, 'default', 'held');
      return metadata.deletionTimestamp !== undefined;
    });
    assert.ok((await server.get(BOXES, null, 'box')).metadata.deletionTimestamp);
    await server.patch(WIDGETS, 'default', 'held', {
      type: 'merge',
      body: { metadata: { finalizers: null } },
    });
    await until(async () => (await server.list(BOXES)).items.length === 0);

    const other = await server.create(BOXES, { metadata: { name: 'other' } });
    await server.create(WIDGETS, aWidget('kept', {}, ownedBy(other)));
    await server.delete(BOXES, null, 'other', { propagation: 'Orphan' });
    await until(async () => (await server.list(BOXES)).items.length === 0);
    const kept = await server.get<Widget>(WIDGETS, 'default', 'kept');
    assert.equal(kept.metadata.ownerReferences, undefined);
  });
});

test('in the foreground, what another owner keeps stays with that one', async () => {
  await withHousekeeper(async (under) => {
    const { server } = under;
    const box = await server.create(BOXES, { metadata: { name: 'box' } });
    const other = await server.create(BOXES, { metadata: { name: 'other' } });
    const both = {
      ownerReferences: [...ownedBy(box).ownerReferences, ...ownedBy(other).ownerReferences],
    };
    await server.create(WIDGETS, aWidget('shared', {}, both));
    await server.delete(BOXES, null, 'box', { propagation: 'Foreground' });
    await until(async () => (await server.list(BOXES)).items.length === 1);
    const { metadata } = await server.get<Widget>(WIDGETS, 'default', 'shared');
    assert.equal(metadata.deletionTimestamp, undefined);
    assert.deepEqual(
      metadata.ownerReferences?.map(({ name }) => name),
      ['other'],
    );
  });
});

test('a namespace is emptied before it goes', async () => {
  await withHousekeeper(async (under) => {
    const { server } = under;
    await server.create(NAMESPACES, { metadata: { name: 'doomed' } });
    await server.create(WIDGETS, aWidget('w', {}, { namespace: 'doomed' }));
    await server.delete(NAMESPACES, null, 'doomed');
    await assert.rejects(
      server.create(WIDGETS, aWidget('late', {}, { namespace: 'doomed' })),
      /being deleted|not found/,
    );
    await until(async () => (await server.list(NAMESPACES)).items.length === 1);
    assert.deepEqual(await names(under), []);
  });
});

test('events count what happens again, and are forgotten after an hour', async () => {
  await withHousekeeper(async (under, keeper) => {
    const { server } = under;
    const now = new Date('2026-11-01T00:00:00Z');
    const recorder = new EventRecorder({
      client: server,
      log: silentLog,
      now: () => now,
      component: 'tester',
      host: 'here',
    });
    const widget = await server.create(WIDGETS, aWidget('a'));
    recorder.record(widget, 'Normal', 'Made', 'it was made');
    recorder.record(widget, 'Normal', 'Made', 'it was made');
    recorder.record(widget, 'Warning', 'Odd', 'it is odd');
    await recorder.flush();
    const about = {
      namespace: 'default',
      fieldSelector: `involvedObject.uid=${widget.metadata.uid}`,
    };
    const events = await server.list(EVENTS, about);
    assert.deepEqual(events.items.map(({ reason, count }) => `${reason} ${count}`).sort(), [
      'Made 2',
      'Odd 1',
    ]);
    under.setNow(new Date('2026-11-01T00:30:00Z'));
    await keeper.forgetEvents();
    assert.equal((await server.list(EVENTS)).items.length, 2);
    under.setNow(new Date('2026-11-01T01:00:01Z'));
    await keeper.forgetEvents();
    assert.equal((await server.list(EVENTS)).items.length, 0);
  });
});
