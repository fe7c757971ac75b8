// Goal: a watch over HTTP is one that Kubernetes' clients can live with: it begins and ends as they ask, tells them how
// far it is, and gets through to a slow reader or cuts him off.
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { WatchSink } from '../../../src/apiserver/client.ts';
import type { KindDefinition } from '../../../src/apiserver/kind.ts';
import type { ResourceServer } from '../../../src/apiserver/resources.ts';
import { Streams } from '../../../src/apiserver/streams.ts';
import { MAX_UNSENT_BYTES, WaitingLines } from '../../../src/apiserver/waiting-lines.ts';
import { WatchBudget } from '../../../src/apiserver/watch-budget.ts';
import { aWidget, WIDGETS, type Widget } from './builders.ts';
import { ApiUnderTest, linesOf } from './http-client.ts';

const PATH = '/apis/example.com/v1/namespaces/default/widgets';
let api: ApiUnderTest;
before(async () => {
  api = await ApiUnderTest.start();
});
after(() => api.stop());

test('a long list gets through a watch to a reader who keeps reading', async () => {
  const own = await ApiUnderTest.start();
  const annotations = { long: 'x'.repeat(16 * 1024) };
  const count = 700;
  for (let n = 0; n < count; n += 1) {
    await own.server.create(WIDGETS, aWidget(`w${n}`, {}, { annotations }));
  }
  const lines = await own.watch(`${PATH}?watch=true&timeoutSeconds=1`);
  assert.equal(lines.length, count);
  await own.stop();
});

test('timeoutSeconds=0 is no wish, and a very long one is none to end at once', async () => {
  for (const timeout of ['0', '9999999999']) {
    const aborted = new AbortController();
    const answer = await fetch(`${api.url}${PATH}?watch=true&timeoutSeconds=${timeout}`, {
      signal: aborted.signal,
    });
    const lines = linesOf(answer);
    await api.server.create(WIDGETS, aWidget(`t${timeout}`));
    const { done, value } = await lines.next();
    assert.equal(done, false, `timeoutSeconds=${timeout} ended the watch`);
    assert.equal(value?.type, 'ADDED');
    aborted.abort();
    await api.server.delete(WIDGETS, 'default', `t${timeout}`);
  }
});

test('a bookmark tells how far a watch is whose kind rests', async () => {
  const { metadata } = await api.server.list(WIDGETS);
  const path = `${PATH}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion=${metadata.resourceVersion}`;
  const watched = api.watch(path);
  const other = await api.server.create(
    { group: '', version: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false },
    { metadata: { name: 'elsewhere' } },
  );
  const [only, ...more] = await watched;
  assert.deepEqual(more, []);
  assert.equal(only?.type, 'BOOKMARK');
  assert.deepEqual([only?.object.kind, only?.object.apiVersion], ['Widget', 'example.com/v1']);
  assert.ok(
    Number(only?.object.metadata.resourceVersion) >= Number(other.metadata.resourceVersion),
  );
  assert.equal(only?.object.metadata.annotations, undefined);
});

test('without a wish for bookmarks there are none', async () => {
  const lines = await api.watch(`${PATH}?watch=true&timeoutSeconds=1`);
  assert.deepEqual(lines, []);
});

test('bookmarks come in the shape that objects were asked for', async () => {
  const path = `${PATH}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1`;
  const asked = (as: string) =>
    api.watch(path, { accept: `application/json;as=${as};g=meta.k8s.io;v=v1` });
  const [partial] = await asked('PartialObjectMetadata');
  assert.deepEqual(
    [partial?.type, partial?.object.kind, partial?.object.apiVersion],
    ['BOOKMARK', 'PartialObjectMetadata', 'meta.k8s.io/v1'],
  );
  const [table] = await asked('Table');
  assert.deepEqual([table?.type, table?.object.kind], ['BOOKMARK', 'Table']);
  assert.match(table?.object.metadata.resourceVersion, /^\d+$/);
});

test('sendInitialEvents: everything, then a bookmark that says so; or only what comes', async () => {
  const made = await api.server.create<Widget>(WIDGETS, aWidget('here'));
  const query = 'watch=true&timeoutSeconds=1&resourceVersionMatch=NotOlderThan';
  const version = made.metadata.resourceVersion;
  const all = await api.watch(
    `${PATH}?${query}&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersion=${version}`,
  );
  assert.deepEqual(
    all.map(({ type }) => type),
    ['ADDED', 'BOOKMARK'],
  );
  assert.equal(all[1]?.object.metadata.annotations['k8s.io/initial-events-end'], 'true');
  const none = await api.watch(`${PATH}?${query}&sendInitialEvents=false`);
  assert.deepEqual(none, []);
  const [future] = await api.watch(
    `${PATH}?${query}&sendInitialEvents=true&resourceVersion=${Number(version) + 1000}`,
  );
  assert.equal(future?.type, 'ERROR');
  assert.deepEqual(
    [future?.object.reason, future?.object.details.causes[0].reason],
    ['Timeout', 'ResourceVersionTooLarge'],
  );
  await api.server.delete(WIDGETS, 'default', 'here');
});

test('options of a watch that do not go together are refused before its head', async () => {
  for (const query of [
    'sendInitialEvents=true',
    'sendInitialEvents=true&resourceVersionMatch=Exact',
    'resourceVersionMatch=NotOlderThan',
    'sendInitialEvents=true&resourceVersionMatch=Newest',
  ]) {
    const { status, body } = await api.call('GET', `${PATH}?watch=true&${query}`);
    assert.deepEqual([status, body.reason], [422, 'Invalid'], query);
    assert.equal(body.details.causes[0].field, 'resourceVersionMatch');
  }
  const wrong = await api.call('GET', `${PATH}?watch=true&resourceVersion=abc`);
  assert.equal(wrong.status, 400);
});

test('a version that is no longer known ends a watch with 410, as an event', async () => {
  const own = await ApiUnderTest.start();
  const [only] = await own.watch(`${PATH}?watch=true&resourceVersion=99999&timeoutSeconds=5`);
  assert.equal(only?.type, 'ERROR');
  assert.deepEqual([only?.object.code, only?.object.reason], [410, 'Expired']);
  await own.stop();
});

/** A socket that takes nothing until it is told to. */
class StuckResponse extends EventEmitter {
  writableLength = 0;
  writableFinished = false;
  destroyed = false;
  ended = false;
  writeHead(): void {}
  flushHeaders(): void {}
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
  readonly written: string[] = [];
  write(text: string): void {
    this.written.push(text);
    this.writableLength += text.length;
  }
  take(): void {
    this.writableLength = 0;
    this.emit('drain');
  }
}

test('what a slow reader has not taken is not made, comes in order, and ends when it is taken', () => {
  const raw = new StuckResponse();
  let cuts = 0;
  const lines = new WaitingLines(
    raw as unknown as ServerResponse,
    () => {
      cuts += 1;
    },
    10,
  );
  const line = (n: number) => () => `${n}`.padEnd(100_000, ' ');
  lines.add(Array.from({ length: 8 }, (_, n) => line(n)));
  assert.ok(raw.writableLength <= MAX_UNSENT_BYTES + 100_000);
  assert.equal(raw.written.length, 3);
  let ended = false;
  lines.whenEmpty(() => {
    ended = true;
  });
  raw.take();
  assert.equal(ended, false);
  raw.take();
  assert.deepEqual(
    raw.written.map((text) => Number(text)),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
  assert.deepEqual([ended, cuts], [true, 0]);
});

test('a reader who takes nothing is cut off, and nothing is kept for him', () => {
  const raw = new StuckResponse();
  let cuts = 0;
  const lines = new WaitingLines(
    raw as unknown as ServerResponse,
    () => {
      cuts += 1;
    },
    10,
  );
  const line = () => 'x'.repeat(MAX_UNSENT_BYTES);
  for (let n = 0; n < 100 && cuts === 0; n += 1) lines.add([line]);
  assert.equal(cuts, 1);
  assert.equal(lines.count, 0);
  assert.equal(raw.written.length, 1);
});

test('a list that is longer than what may wait gets through while things change', () => {
  const raw = new StuckResponse();
  let cuts = 0;
  const cut = (): void => {
    cuts += 1;
  };
  const lines = new WaitingLines(raw as unknown as ServerResponse, cut, 10);
  const line = () => 'x'.repeat(MAX_UNSENT_BYTES);
  lines.add(
    Array.from({ length: 30 }, () => line),
    true,
  );
  for (let n = 0; n < 11; n += 1) lines.add([line]);
  assert.deepEqual([cuts, lines.count], [0, 40]);
  // Once the list is taken, what waits is what has changed.
  for (let n = 0; n < 29; n += 1) raw.take();
  assert.equal(lines.count, 11);
  lines.add([line]);
  assert.equal(cuts, 1);
});

test('all watches together have a bound: who has more than his share is cut off when it is reached', () => {
  const budget = new WatchBudget(4 * MAX_UNSENT_BYTES, 100);
  const cuts: string[] = [];
  const reader = (name: string) => {
    const raw = new StuckResponse();
    const cut = (): number => cuts.push(name);
    const lines = new WaitingLines(raw as unknown as ServerResponse, cut, 1000, budget);
    return { raw, lines };
  };
  const line = () => 'x'.repeat(MAX_UNSENT_BYTES / 4);
  const many = (count: number) => Array.from({ length: count }, () => line);
  const [slow, fast] = [reader('slow'), reader('fast')];
  slow.lines.add(many(84));
  assert.equal(slow.lines.count, 80, 'what one may have unsent where there are few');
  fast.lines.add(many(34));
  assert.deepEqual([budget.lines, cuts], [110, []]);
  fast.lines.add(many(1));
  assert.deepEqual(cuts, [], 'it has less than its share');
  slow.lines.add(many(1));
  assert.deepEqual([cuts, budget.lines], [['slow'], 31]);
  for (let n = 0; n < 6; n += 1) reader(`more-${n}`);
  const last = reader('last');
  last.lines.add(many(4));
  assert.equal(last.lines.count, 2, 'half as much where there are eight');
  last.lines.drop();
  fast.lines.drop();
  assert.equal(budget.lines, 0);
});

/** A watch whose reader takes nothing, and what its server may tell it. */
function stuckWatch(takeMs: number, timeoutSeconds: string) {
  const raw = new StuckResponse();
  const streams = new Streams(takeMs);
  const told = { closed: 0, sink: null as WatchSink | null };
  const server = {
    now: () => new Date(),
    watch: (_kind: unknown, _request: unknown, sink: WatchSink) => {
      told.sink = sink;
      const close = (): void => {
        told.closed += 1;
      };
      return { close, progress: () => null };
    },
  };
  const query = new Map([['timeoutSeconds', timeoutSeconds]]);
  const http = { raw: { socket: {} } } as unknown as FastifyRequest;
  const reply = { raw, hijack() {} } as unknown as FastifyReply;
  const shape = { as: 'object', format: 'json' } as const;
  const resources = server as unknown as ResourceServer;
  const kind = WIDGETS as unknown as KindDefinition;
  streams.watch(resources, kind, 'v1', query, {}, shape, http, reply);
  const object = { metadata: { name: 'x'.repeat(MAX_UNSENT_BYTES) } };
  const event = { type: 'ADDED' as const, object: object as never };
  return { raw, streams, told, event };
}

test('a watch whose time is over hears nothing more, and is cut off from a reader who takes nothing', async () => {
  const { raw, streams, told, event } = stuckWatch(300, '1');
  told.sink?.onEvents([event, event]);
  await new Promise((resolve) => setTimeout(resolve, 1150));
  assert.deepEqual([told.closed > 0, raw.destroyed, streams.count], [true, false, 1]);
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.deepEqual([raw.destroyed, streams.count], [true, 0]);
});

test('so is one whose last lines are handed on, and not taken', async () => {
  const { raw, streams, told, event } = stuckWatch(50, '0');
  told.sink?.onEvents([event]);
  told.sink?.onEnd(new Error('over'));
  raw.take();
  assert.deepEqual([raw.ended, raw.destroyed, streams.count], [true, false, 0]);
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(raw.destroyed, true);
});
