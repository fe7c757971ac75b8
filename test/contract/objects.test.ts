// Goal: every object store keeps the same promises: order, compare-and-swap, watches that miss nothing, durability.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import {
  type Entry,
  exportObjects,
  importObjects,
  MemoryObjectStore,
  type ObjectStore,
  type ObjectStoreError,
  openEmbeddedStore,
  openEtcdStore,
  type StoreEvent,
} from '../../src/objects/index.ts';
import { type EtcdUnderTest, startEtcd } from '../support/etcd.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-objects-'));
let made = 0;
after(() => rmSync(folder, { recursive: true }));

interface Implementation {
  readonly name: string;
  /** A new, empty store. */
  readonly make: () => Promise<ObjectStore>;
  /** Closes it and opens what it left; null where nothing outlives it. */
  readonly reopen: ((store: ObjectStore) => Promise<ObjectStore>) | null;
}

const folders = new WeakMap<ObjectStore, string>();
async function openIn(path: string): Promise<ObjectStore> {
  const store = await openEmbeddedStore(path);
  folders.set(store, path);
  return store;
}

const implementations: Implementation[] = [
  { name: 'memory', make: async () => new MemoryObjectStore(), reopen: null },
  {
    name: 'embedded',
    make: () => {
      made += 1;
      return openIn(join(folder, `store-${made}`));
    },
    reopen: async (store) => {
      await store.close();
      return await openIn(folders.get(store)!);
    },
  },
];

let etcd: EtcdUnderTest | null = null;
implementations.push({
  name: 'etcd',
  make: async () => {
    etcd ??= await startEtcd(join(folder, 'etcd'));
    made += 1;
    return await openEtcdStore({ endpoints: [etcd.endpoint], prefix: `/test-${made}` });
  },
  reopen: null,
});
after(() => etcd?.stop());

function conflicts(error: ObjectStoreError): boolean {
  return error.code === 'OBJECTS_CONFLICT';
}

/** Collects events; `until(n)` resolves when there are n. */
function aListener() {
  const events: StoreEvent[] = [];
  let ended: ObjectStoreError | null = null;
  let wake: () => void = () => {};
  const changed = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  return {
    events,
    onEvents(news: readonly StoreEvent[]) {
      events.push(...news);
      wake();
    },
    onEnd(error: ObjectStoreError) {
      ended = error;
      wake();
    },
    async until(count: number): Promise<StoreEvent[]> {
      while (events.length < count && ended === null) await changed();
      return events;
    },
    async end(): Promise<string> {
      while (ended === null) await changed();
      return ended.code;
    },
  };
}

for (const { name, make, reopen } of implementations) {
  const withStore = (
    what: string,
    body: (store: ObjectStore) => Promise<ObjectStore | undefined>,
  ) =>
    test(`${name}: ${what}`, async () => {
      let store = await make();
      try {
        store = (await body(store)) ?? store;
      } finally {
        await store.close();
      }
    });

  withStore('what is put is got, listed in order by prefix, a page at a time', async (store) => {
    for (const key of ['/b/2', '/a/1', '/b/10', '/c', '/b/1']) await store.put(key, { key }, 0);
    assert.deepEqual((await store.get('/a/1'))?.value, { key: '/a/1' });
    assert.equal(await store.get('/a'), null);
    const keys = (list: { entries: readonly Entry[] }) => list.entries.map(({ key }) => key);
    const all = await store.list('/b/');
    assert.deepEqual(keys(all), ['/b/1', '/b/10', '/b/2']);
    assert.equal(all.more, false);
    const first = await store.list('/b/', { limit: 2 });
    assert.deepEqual([keys(first), first.more], [['/b/1', '/b/10'], true]);
    const rest = await store.list('/b/', { limit: 2, after: '/b/10' });
    assert.deepEqual([keys(rest), rest.more], [['/b/2'], false]);
    assert.equal((await store.list('/nothing/')).entries.length, 0);
    return undefined;
  });

  withStore('a list is had as it was at a revision, and from no other store', async (store) => {
    const keys = (list: { entries: readonly Entry[] }) => list.entries.map(({ key }) => key);
    for (const key of ['/p/a', '/p/c', '/p/d', '/q']) await store.put(key, { n: 1 }, 0);
    const first = await store.list('/p/', { limit: 1 });
    assert.deepEqual([keys(first), first.remaining], [['/p/a'], 2]);
    await store.put('/p/b', {}, 0);
    await store.put('/p/c', { n: 2 }, null);
    await store.put('/p/c', { n: 3 }, null);
    await store.delete('/p/d', null);
    const then = { after: '/p/a', revision: first.revision };
    const second = await store.list('/p/', { ...then, limit: 1 });
    assert.deepEqual([keys(second), second.more, second.remaining], [['/p/c'], true, 1]);
    assert.deepEqual(second.entries[0]?.value, { n: 1 });
    assert.equal(second.revision, first.revision);
    const rest = await store.list('/p/', then);
    assert.deepEqual([keys(rest), rest.more, rest.remaining], [['/p/c', '/p/d'], false, 0]);
    assert.deepEqual(keys(await store.list('/p/')), ['/p/a', '/p/b', '/p/c']);
    await assert.rejects(
      store.list('/p/', { revision: first.revision + 1_000_000 }),
      (error: ObjectStoreError) => error.code === 'OBJECTS_COMPACTED',
    );
    return undefined;
  });

  withStore('compare-and-swap lets one of many win, and revisions rise', async (store) => {
    const made = await store.put('/k', { n: 0 }, 0);
    await assert.rejects(store.put('/k', { n: 1 }, 0), conflicts);
    const tries = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => store.put('/k', { n }, made.revision)),
    );
    const won = tries.filter((result) => result.status === 'fulfilled');
    assert.equal(won.length, 1);
    const now = (await store.get('/k'))!;
    assert.ok(now.revision > made.revision);
    await assert.rejects(store.delete('/k', made.revision), conflicts);
    const forced = await store.put('/k', { n: 'any' }, null);
    assert.ok(forced.revision > now.revision);
    const gone = await store.delete('/k', forced.revision);
    assert.ok(gone !== null && gone > forced.revision);
    assert.equal(await store.delete('/k', null), null);
    await assert.rejects(store.put('/k', {}, forced.revision), conflicts);
    assert.ok((await store.put('/k', {}, 0)).revision > gone);
    return undefined;
  });

  withStore('a watch tells every change after its revision, in order, once', async (store) => {
    await store.put('/w/old', { n: 1 }, 0);
    const from = await store.revision();
    const a = await store.put('/w/a', { n: 1 }, 0);
    const late = aListener();
    const watch = store.watch('/w/', from, late);
    await store.put('/x/other', {}, 0);
    const b = await store.put('/w/a', { n: 2 }, a.revision);
    await store.delete('/w/a', b.revision);
    const events = await late.until(3);
    assert.deepEqual(
      events.map((event) => event.type),
      ['put', 'put', 'delete'],
    );
    const [first, second, third] = events;
    assert.ok(first?.type === 'put' && first.before === null);
    assert.ok(second?.type === 'put' && second.before?.revision === a.revision);
    assert.ok(third?.type === 'delete' && third.before?.revision === b.revision);
    assert.ok(third.revision > b.revision);
    assert.ok(watch.progress() >= third.revision);
    watch.close();
    await store.put('/w/b', {}, 0);
    assert.equal(late.events.length, 3);
    return undefined;
  });

  withStore('a list and a watch from its revision see each change exactly once', async (store) => {
    const writes = Promise.all(
      Array.from({ length: 50 }, (_, n) => store.put(`/r/${n}`, { n }, 0)),
    );
    const list = await store.list('/r/');
    const listener = aListener();
    store.watch('/r/', list.revision, listener);
    await writes;
    await listener.until(50 - list.entries.length);
    const seen = [
      ...list.entries.map(({ key }) => key),
      ...listener.events.map((event) => (event.type === 'put' ? event.entry.key : event.key)),
    ];
    assert.equal(new Set(seen).size, 50);
    assert.equal(seen.length, 50);
    return undefined;
  });

  withStore('what is too large is refused and leaves nothing', async (store) => {
    const large = { text: 'x'.repeat(1024 * 1024) };
    await assert.rejects(
      store.put('/large', large, 0),
      (error: ObjectStoreError) => error.code === 'OBJECTS_TOO_LARGE',
    );
    assert.equal(await store.get('/large'), null);
    return undefined;
  });

  withStore(
    'values are the store’s own: what callers do to theirs changes nothing',
    async (store) => {
      const mine: { list: number[] } = { list: [1] };
      await store.put('/mine', mine, 0);
      mine.list.push(2);
      assert.deepEqual((await store.get('/mine'))?.value, { list: [1] });
      return undefined;
    },
  );

  withStore('an export fills another store', async (store) => {
    for (let n = 0; n < 700; n += 1) void store.put(`/e/${n}`, { n }, 0).catch(() => {});
    await store.put('/e/last', { text: 'ü"\n' }, 0);
    const lines: string[] = [];
    for await (const line of exportObjects(store)) lines.push(line);
    const other = new MemoryObjectStore();
    await assert.rejects(importObjects(other, lines.slice(0, -1)), /cut short|end is missing/);
    assert.equal(await importObjects(other, lines), 701);
    const values = async (from: ObjectStore) =>
      (await from.list('')).entries.map(({ key, value }) => [key, value]);
    assert.deepEqual(await values(other), await values(store));
    await assert.rejects(importObjects(other, lines), conflicts);
    await other.close();
    return undefined;
  });

  if (reopen === null) continue;

  withStore('all of it is there after a restart, and revisions go on rising', async (store) => {
    await store.put('/kept', { n: 1 }, 0);
    const gone = await store.put('/gone', {}, 0);
    const last = (await store.delete('/gone', gone.revision))!;
    const again = await reopen(store);
    assert.deepEqual((await again.get('/kept'))?.value, { n: 1 });
    assert.equal(await again.get('/gone'), null);
    assert.ok((await again.put('/new', {}, 0)).revision > last);
    return again;
  });

  withStore('a watch from before the history ends as compacted', async (store) => {
    await store.put('/h/1', {}, 0);
    const again = await reopen(store);
    const listener = aListener();
    again.watch('/h/', 0, listener);
    assert.equal(await listener.end(), 'OBJECTS_COMPACTED');
    return again;
  });
}

test('etcd: calls fail while it is away, a watch goes on afterwards and has missed nothing', async () => {
  const own = await startEtcd(join(folder, 'etcd-away'));
  const store = await openEtcdStore({
    endpoints: [own.endpoint, own.endpoint],
    prefix: '/away',
    timeoutMs: 1000,
  });
  const listener = aListener();
  const first = await store.put('/a', { n: 1 }, 0);
  store.watch('/', first.revision, listener);
  await store.put('/a', { n: 2 }, first.revision);
  await listener.until(1);
  await own.kill();
  const unavailable = (error: ObjectStoreError) => error.code === 'OBJECTS_UNAVAILABLE';
  await assert.rejects(store.get('/a'), unavailable);
  await assert.rejects(store.put('/a', { n: 3 }, null), unavailable);
  await own.start();
  for (let tries = 0; ; tries += 1) {
    try {
      await store.put('/b', { n: 4 }, null);
      break;
    } catch (error) {
      assert.ok(unavailable(error as ObjectStoreError) && tries < 50, String(error));
    }
  }
  const events = await listener.until(2);
  const keys = events.map((event) => (event.type === 'put' ? event.entry.key : event.key));
  assert.deepEqual(keys, ['/a', '/b']);
  await store.close();
  await own.stop();
});

test('etcd: what is compacted cannot be watched from', async () => {
  const own = await startEtcd(join(folder, 'etcd-compacted'));
  const store = await openEtcdStore({ endpoints: [own.endpoint], prefix: '/c' });
  let entry = await store.put('/a', { n: 0 }, 0);
  for (let n = 1; n < 5; n += 1) entry = await store.put('/a', { n }, entry.revision);
  await own.compact(entry.revision - 1);
  const listener = aListener();
  store.watch('/', 1, listener);
  assert.equal(await listener.end(), 'OBJECTS_COMPACTED');
  await store.close();
  await own.stop();
});

test('random changes leave what a model says, over restarts', async () => {
  const path = join(folder, 'model');
  let store = await openEmbeddedStore(path);
  const model = new Map<string, number>();
  const keys = fc.constantFrom('/a', '/a/b', '/a/c', '/b');
  const steps = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ put: keys, n: fc.nat() }) },
      { weight: 3, arbitrary: fc.record({ drop: keys }) },
      { weight: 1, arbitrary: fc.constant({ restart: true }) },
    ),
    { maxLength: 30 },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      for (const step of list) {
        if ('put' in step) {
          await store.put(step.put, { n: step.n }, null);
          model.set(step.put, step.n);
        } else if ('drop' in step) {
          await store.delete(step.drop, null);
          model.delete(step.drop);
        } else {
          await store.close();
          store = await openEmbeddedStore(path);
        }
        const { entries } = await store.list('');
        const found = entries.map(({ key, value }) => [key, value['n']]);
        assert.deepEqual(
          found,
          [...model].sort(([a], [b]) => (a < b ? -1 : 1)),
        );
      }
    }),
    { numRuns: 20 },
  );
  await store.close();
});

test('a second opener is refused, and told why', async () => {
  const path = join(folder, 'locked');
  const store = await openEmbeddedStore(path);
  await assert.rejects(openEmbeddedStore(path), /in use by another ashlar/);
  await store.close();
  await (await openEmbeddedStore(path)).close();
});

test('after a journal failed, nothing more is written and nobody saw the change', async () => {
  let fail = false;
  let commits = 0;
  const store = new MemoryObjectStore({
    commit: async () => {
      commits += 1;
      if (fail) throw new Error('EIO');
    },
    close: async () => {},
  });
  const listener = aListener();
  await store.put('/a', { n: 1 }, 0);
  store.watch('/', 1, listener);
  fail = true;
  const faulted = (error: ObjectStoreError) => error.code === 'OBJECTS_FAULTED';
  await assert.rejects(store.put('/a', { n: 2 }, null), faulted);
  fail = false;
  await assert.rejects(store.put('/a', { n: 3 }, null), faulted);
  assert.equal(commits, 2);
  assert.deepEqual((await store.get('/a'))?.value, { n: 1 });
  assert.equal(listener.events.length, 0);
  await store.close();
});
