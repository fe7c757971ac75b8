// Goal: at most one leads at any time, whatever the store does meanwhile; terms rise; who leaves makes room at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ApiError,
  Informer,
  LEASES,
  LeaderElector,
  type LeaseObject,
  LeaseObserver,
  type ObjectClient,
} from '../../../src/apiserver/index.ts';
import { ManualClock, silentLog } from '../../../src/base/index.ts';
import { aServer, aWidget, WIDGETS, type Widget } from './builders.ts';

const DURATION_MS = 5000;

/** Lets everything that waits for a promise go on. */
async function settle(): Promise<void> {
  for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

async function anElection(names: readonly string[]) {
  const { server } = await aServer();
  const clock = new ManualClock();
  const away = new Set<string>();
  const leaders = new Map<string, number>();
  const terms: number[] = [];
  const electors = new Map<string, LeaderElector>();
  for (const name of names) {
    // A client whose calls fail while its way to the store is cut.
    const client = new Proxy(server as ObjectClient, {
      get: (target, property) => {
        const value = Reflect.get(target, property) as (...args: never[]) => unknown;
        return (...args: never[]) => {
          if (away.has(name)) return Promise.reject(new ApiError('ServiceUnavailable', 'away'));
          return value.apply(target, args);
        };
      },
    });
    electors.set(
      name,
      new LeaderElector(
        {
          client,
          clock,
          now: () => new Date('2026-11-01T00:00:00Z'),
          log: silentLog,
          namespace: 'default',
          name: 'leader',
          identity: name,
          durationMs: DURATION_MS,
        },
        {
          onLead: (term) => {
            leaders.set(name, term);
            assert.equal(leaders.size, 1, `${[...leaders.keys()]} lead at once`);
            assert.ok(term > (terms.at(-1) ?? 0), 'terms rise');
            terms.push(term);
          },
          onLose: () => leaders.delete(name),
        },
      ),
    );
  }
  const pass = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 100) {
      clock.advance(100);
      await settle();
    }
  };
  return { electors, leaders, terms, away, pass, clock, server };
}

test('one leads, and another takes over only after the first has stopped', async () => {
  const { electors, leaders, terms, away, pass } = await anElection(['a', 'b', 'c']);
  for (const elector of electors.values()) elector.start();
  await pass(1000);
  const [first] = [...leaders.keys()];
  assert.ok(first !== undefined);
  await pass(3 * DURATION_MS);
  assert.deepEqual([...leaders.keys()], [first], 'it stays while it renews');
  away.add(first);
  await pass(DURATION_MS * 0.8);
  assert.equal(leaders.size, 0, 'who cannot renew stops before anybody may begin');
  await pass(DURATION_MS * 2);
  const [second] = [...leaders.keys()];
  assert.ok(second !== undefined && second !== first);
  away.delete(first);
  await pass(2 * DURATION_MS);
  assert.deepEqual([...leaders.keys()], [second], 'the old one comes back as a follower');
  assert.equal(terms.length, 2);
  for (const elector of electors.values()) await elector.close();
  assert.equal(leaders.size, 0);
});

test('who stops gives the lease up: the next one need not wait', async () => {
  const { electors, leaders, pass } = await anElection(['a', 'b']);
  electors.get('a')!.start();
  await pass(500);
  electors.get('b')!.start();
  await pass(500);
  assert.deepEqual([...leaders.keys()], ['a']);
  await electors.get('a')!.close();
  await pass(DURATION_MS / 2);
  assert.deepEqual([...leaders.keys()], ['b']);
  await electors.get('b')!.close();
});

test('times of a lease are written as Kubernetes’ clients read them', async () => {
  const { electors, pass, server } = await anElection(['a']);
  electors.get('a')!.start();
  await pass(2000);
  const { spec } = await server.get<LeaseObject>(LEASES, 'default', 'leader');
  // Go's time.RFC3339 with six digits, no more and no fewer: https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#MicroTime
  const micro = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
  assert.match(spec.acquireTime ?? '', micro);
  assert.match(spec.renewTime ?? '', micro);
  assert.notEqual(spec.renewTime, spec.acquireTime);
  await electors.get('a')!.close();
});

test('nobody leads while the store is away for all', async () => {
  const { electors, leaders, away, pass } = await anElection(['a', 'b']);
  for (const elector of electors.values()) elector.start();
  await pass(1000);
  assert.equal(leaders.size, 1);
  away.add('a');
  away.add('b');
  await pass(4 * DURATION_MS);
  assert.equal(leaders.size, 0);
  away.clear();
  await pass(2 * DURATION_MS);
  assert.equal(leaders.size, 1);
  for (const elector of electors.values()) await elector.close();
});

test('an observer judges leases by its own clock', async () => {
  const { server } = await aServer();
  const clock = new ManualClock();
  const observer = new LeaseObserver(clock);
  assert.equal(observer.ranOut('default', 'node-a'), true, 'never seen');
  const spec = { holderIdentity: 'a', leaseDurationSeconds: 10, renewTime: '1999-01-01T00:00:00Z' };
  const metadata = { name: 'node-a', namespace: 'default' };
  const lease = await server.create<LeaseObject>(LEASES, { metadata, spec });
  observer.see(lease);
  clock.advance(9000);
  observer.see(lease);
  assert.equal(observer.ranOut('default', 'node-a'), false);
  clock.advance(1500);
  assert.equal(observer.ranOut('default', 'node-a'), true, 'seen again, but not renewed');
  const renewed = { ...lease, spec: { ...spec, renewTime: '1999-01-01T00:00:01Z' } };
  observer.see(await server.update<LeaseObject>(LEASES, renewed as LeaseObject));
  assert.equal(observer.ranOut('default', 'node-a'), false);
  assert.equal(observer.silenceMs('default', 'node-a'), 0);
});

test('an informer follows its kind, and what went while it was cut off is told too', async () => {
  const { server } = await aServer();
  const clock = new ManualClock();
  await server.create(WIDGETS, aWidget('a'));
  await server.create(WIDGETS, aWidget('b'));
  let end: ((error: Error) => void) | null = null;
  const client = new Proxy(server as ObjectClient, {
    get: (target, property) => {
      const value = Reflect.get(target, property) as (...args: unknown[]) => unknown;
      if (property !== 'watch') return value.bind(target);
      return (kind: unknown, request: unknown, sink: { onEnd: (error: Error) => void }) => {
        const handle = value.call(target, kind, request, sink) as { close(): void };
        end = (error) => {
          handle.close();
          sink.onEnd(error);
        };
        return handle;
      };
    },
  });
  const told: string[] = [];
  const informer = new Informer<Widget>({
    client,
    kind: WIDGETS,
    clock,
    log: silentLog,
    onChange: (after, before) =>
      told.push(
        `${before?.spec.size ?? '-'}>${after?.spec.size ?? '-'} ${(after ?? before)!.metadata.name}`,
      ),
  });
  await informer.start();
  assert.deepEqual(told.splice(0), ['->1 a', '->1 b']);
  const grow = (size: number) =>
    server.patch(WIDGETS, 'default', 'a', { type: 'merge', body: { spec: { size } } });
  await grow(2);
  await settle();
  assert.deepEqual(told.splice(0), ['1>2 a']);
  end!(new ApiError('Expired', 'too old'));
  await grow(3);
  await server.delete(WIDGETS, 'default', 'b');
  await server.create(WIDGETS, aWidget('c'));
  await settle();
  assert.deepEqual(told, []);
  clock.advance(1);
  await settle();
  assert.deepEqual(told.sort(), ['->1 c', '1>- b', '2>3 a']);
  assert.equal(informer.get('default', 'a')?.spec.size, 3);
  assert.equal(informer.get('default', 'b'), null);
  informer.close();
});

test('an observer that heard nobody for a while calls nobody silent until they have had time to speak', () => {
  const clock = new ManualClock();
  const observer = new LeaseObserver(clock);
  let version = 0;
  const hear = (name: string): void => {
    version += 1;
    observer.see({
      metadata: { namespace: 'default', name, resourceVersion: String(version) },
      spec: { leaseDurationSeconds: 4 },
    } as LeaseObject);
  };
  for (let second = 0; second < 10; second += 1) {
    hear('a');
    if (second < 5) hear('b');
    clock.advance(1000);
  }
  assert.equal(observer.hearingMs(), 10_000);
  assert.equal(observer.silenceMs('default', 'b'), 6000, 'b is silent, and a shows that we hear');
  // The store is away for a minute.
  clock.advance(60_000);
  assert.equal(observer.hearingMs(), 0);
  hear('a');
  clock.advance(1000);
  assert.equal(observer.hearingMs(), 1000);
  assert.equal(observer.silenceMs('default', 'b'), 67_000);
});
