// Goal: the API's rules hold for any kind: versions, generations, status apart, finalizers, selectors, watches.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ApiError,
  type KubeObject,
  type ObjectList,
  type Patch,
  type StatusReason,
  type WatchEvent,
} from '../../../src/apiserver/index.ts';
import { aServer, aWidget, BOXES, WIDGETS, type Widget } from './builders.ts';

const refused =
  (reason: StatusReason, ...fields: string[]) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ApiError, String(error));
    assert.equal(error.reason, reason, error.message);
    const found = (error.details.causes ?? []).map((cause) => cause.field);
    for (const field of fields) assert.ok(found.includes(field), `${field} in ${found}`);
    return true;
  };

test('create completes an object: uid, times, generation, namespace, defaults; status is not the client’s', async () => {
  const { server } = await aServer();
  const made = await server.create<Widget>(WIDGETS, { ...aWidget('a'), status: { phase: 'Big' } });
  assert.equal(made.apiVersion, 'example.com/v1');
  assert.equal(made.kind, 'Widget');
  assert.match(made.metadata.uid, /^[0-9a-f-]{36}$/);
  assert.equal(made.metadata.namespace, 'default');
  assert.equal(made.metadata.generation, 1);
  assert.equal(made.metadata.creationTimestamp, '2026-11-01T00:00:00Z');
  assert.equal(made.spec.color, 'red');
  assert.equal(made.status, undefined);
  await assert.rejects(server.create(WIDGETS, aWidget('a')), refused('AlreadyExists'));
});

test('every fault is told at once, with its field', async () => {
  const { server } = await aServer();
  const wrong = {
    kind: 'Box',
    metadata: { name: 'a', nam: 1 },
    spec: { size: 'x', color: 'green', tags: [1], colour: 1 },
  };
  await assert.rejects(
    server.create(WIDGETS, wrong),
    refused(
      'Invalid',
      'kind',
      'metadata.nam',
      'spec.size',
      'spec.color',
      'spec.tags[0]',
      'spec.colour',
    ),
  );
  await assert.rejects(server.create(WIDGETS, {}), refused('Invalid', 'spec'));
  await assert.rejects(server.create(WIDGETS, aWidget('A_b')), refused('Invalid', 'metadata.name'));
  await assert.rejects(
    server.create(WIDGETS, aWidget('a', {}, { namespace: 'nowhere' })),
    refused('NotFound'),
  );
  await assert.rejects(server.create(WIDGETS, []), refused('BadRequest'));
});

test('unknown fields are told of, or dropped, where the client asks for that', async () => {
  const { server } = await aServer();
  const warnings: string[] = [];
  const sent = aWidget('a', { colour: 1 });
  const made = await server.create<Widget>(WIDGETS, sent, {
    fieldValidation: 'Warn',
    onWarning: (message) => warnings.push(message),
  });
  assert.deepEqual(warnings, ['unknown field "spec.colour"; did you mean "color"?']);
  assert.deepEqual(Object.keys(made.spec).sort(), ['color', 'size']);
});

test('generateName makes names', async () => {
  const { server } = await aServer();
  const sent = { metadata: { generateName: 'w-' }, spec: { size: 1 } };
  const [a, b] = [await server.create(WIDGETS, sent), await server.create(WIDGETS, sent)];
  assert.match(a.metadata.name, /^w-[a-z0-9]{5}$/);
  assert.notEqual(a.metadata.name, b.metadata.name);
});

test('generation counts what is wanted; status has a way of its own; no change is no write', async () => {
  const { server } = await aServer();
  const made = await server.create<Widget>(WIDGETS, aWidget('a'));
  const status = { phase: 'Ready' };
  const told = await server.updateStatus<Widget>(WIDGETS, {
    ...made,
    spec: { size: 99 },
    status,
  });
  assert.deepEqual([told.status, told.spec.size, told.metadata.generation], [status, 1, 1]);
  const labelled = await server.update<Widget>(WIDGETS, {
    ...told,
    metadata: { ...told.metadata, labels: { a: 'b' } },
    status: { phase: 'Mine' },
  });
  assert.deepEqual([labelled.status, labelled.metadata.generation], [status, 1]);
  const grown = await server.update<Widget>(WIDGETS, { ...labelled, spec: { size: 2 } });
  assert.equal(grown.metadata.generation, 2);
  const same = await server.update<Widget>(WIDGETS, grown);
  assert.equal(same.metadata.resourceVersion, grown.metadata.resourceVersion);
  await assert.rejects(
    server.update<Widget>(WIDGETS, { ...grown, spec: { size: 1 } }),
    refused('Invalid', 'spec.size'),
  );
});

test('a stale version is a conflict; without one the last wins; a uid must be right', async () => {
  const { server } = await aServer();
  const made = await server.create<Widget>(WIDGETS, aWidget('a'));
  await server.update<Widget>(WIDGETS, { ...made, spec: { size: 2 } });
  await assert.rejects(
    server.update<Widget>(WIDGETS, { ...made, spec: { size: 3 } }),
    refused('Conflict'),
  );
  const { resourceVersion: _, ...metadata } = made.metadata;
  const forced = { ...made, metadata, spec: { size: 4 } } as Widget;
  assert.equal((await server.update<Widget>(WIDGETS, forced)).spec.size, 4);
  const other = { ...forced, metadata: { ...metadata, uid: 'other' } } as Widget;
  await assert.rejects(server.update<Widget>(WIDGETS, other), refused('Conflict'));
});

test('patches: JSON, merge, strategic; many at once all arrive', async () => {
  const { server } = await aServer();
  await server.create(WIDGETS, aWidget('a', { tags: ['x'], parts: [{ name: 'p', count: 1 }] }));
  const patch = async (one: Patch) =>
    (await server.patch<Widget>(WIDGETS, 'default', 'a', one)).spec;
  const json = [
    { op: 'test', path: '/spec/size', value: 1 },
    { op: 'add', path: '/spec/tags/-', value: 'y' },
  ];
  assert.deepEqual((await patch({ type: 'json', body: json })).tags, ['x', 'y']);
  assert.equal((await patch({ type: 'merge', body: { spec: { color: 'blue' } } })).color, 'blue');
  const strategic = {
    spec: {
      tags: ['z'],
      '$deleteFromPrimitiveList/tags': ['x'],
      parts: [
        { name: 'q', count: 2 },
        { name: 'p', count: 3 },
      ],
    },
  };
  const merged = await patch({ type: 'strategic', body: strategic });
  assert.deepEqual(merged.tags, ['y', 'z']);
  assert.deepEqual(merged.parts, [
    { name: 'p', count: 3 },
    { name: 'q', count: 2 },
  ]);
  const gone = { spec: { parts: [{ name: 'p', $patch: 'delete' }] } };
  assert.deepEqual((await patch({ type: 'strategic', body: gone })).parts, [
    { name: 'q', count: 2 },
  ]);
  await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      patch({ type: 'merge', body: { metadata: { labels: { [`l${n}`]: 'x' } } } }),
    ),
  );
  const { metadata } = await server.get<Widget>(WIDGETS, 'default', 'a');
  assert.equal(Object.keys(metadata.labels ?? {}).length, 10);
  for (const body of [
    [{ op: 'test', path: '/spec/size', value: 7 }],
    [{ op: 'remove', path: '/spec/nothing' }],
    [{ op: 'replace', path: '/spec/size', value: 'x' }],
  ]) {
    await assert.rejects(patch({ type: 'json', body }), refused('Invalid'));
  }
  const evil = [{ op: 'add', path: '/__proto__/polluted', value: 1 }];
  await assert.rejects(patch({ type: 'json', body: evil }), refused('BadRequest'));
});

test('server-side apply: managers own fields, conflict over them, and give them up', async () => {
  const { server } = await aServer();
  const apply = (manager: string, spec: object, force = false, labels?: object) =>
    server.patch<Widget>(
      WIDGETS,
      'default',
      'a',
      {
        type: 'apply',
        body: { metadata: { name: 'a', ...(labels === undefined ? {} : { labels }) }, spec },
      },
      { fieldManager: manager, force },
    );
  const made = await apply('one', { size: 1, color: 'blue' }, false, { a: '1' });
  assert.equal(made.metadata.managedFields?.[0]?.manager, 'one');
  const again = await apply('one', { size: 1, color: 'blue' }, false, { a: '1' });
  assert.equal(again.metadata.resourceVersion, made.metadata.resourceVersion);
  // The same value is shared, another one is a conflict.
  await apply('two', { size: 1, tags: ['t'] });
  await assert.rejects(apply('two', { size: 2 }), (error: ApiError) => {
    assert.equal(error.reason, 'Conflict');
    assert.match(error.message, /conflict with "one" using example\.com\/v1: \.spec\.size/);
    return true;
  });
  const forced = await apply('two', { size: 2 }, true);
  assert.deepEqual([forced.spec.size, forced.spec.tags], [2, undefined]);
  // The label was one's alone and is no longer applied: it goes.
  const without = await apply('one', { size: 2, color: 'blue' });
  assert.equal(without.metadata.labels?.['a'], undefined);
  // A controller's status is not the appliers' business.
  await server.updateStatus<Widget>(WIDGETS, { ...without, status: { phase: 'Ready' } });
  assert.equal((await apply('one', { size: 2, color: 'red' })).status?.phase, 'Ready');
  // An update takes over what it changes.
  const now = await server.get<Widget>(WIDGETS, 'default', 'a');
  await server.update<Widget>(
    WIDGETS,
    { ...now, spec: { ...now.spec, color: 'blue' } },
    { fieldManager: 'editor' },
  );
  await assert.rejects(apply('one', { size: 2, color: 'red' }), refused('Conflict', '.spec.color'));
});

test('owners of fields can be written: moved to another manager, or all taken away; nonsense is not kept', async () => {
  const { server } = await aServer();
  const apply = (manager: string, size: number) =>
    server.patch<Widget>(
      WIDGETS,
      'default',
      'a',
      { type: 'apply', body: { metadata: { name: 'a' }, spec: { size } } },
      { fieldManager: manager },
    );
  const made = await server.create<Widget>(WIDGETS, aWidget('a'), { fieldManager: 'old-hand' });
  await assert.rejects(apply('new-hand', 2), refused('Conflict', '.spec.size'));
  const [entry] = made.metadata.managedFields!;
  const own = async (value: unknown): Promise<string[]> => {
    const body = [{ op: 'replace', path: '/metadata/managedFields', value }];
    const { metadata } = await server.patch(WIDGETS, 'default', 'a', { type: 'json', body });
    return (metadata.managedFields ?? []).map(({ manager }) => manager);
  };
  assert.deepEqual(await own([{ ...entry, fieldsV1: { 'k:no json': {} } }]), ['old-hand']);
  assert.deepEqual(await own([]), ['old-hand']);
  assert.deepEqual(await own([{ ...entry, manager: 'new-hand', operation: 'Apply' }]), [
    'new-hand',
  ]);
  assert.equal((await apply('new-hand', 2)).spec.size, 2);
  assert.deepEqual(await own([{}]), []);
  assert.equal((await apply('third-hand', 3)).spec.size, 3);
});

test('owners that are sent along with a status change nothing, and are no change', async () => {
  const { server } = await aServer();
  const made = await server.create<Widget>(WIDGETS, aWidget('a'), { fieldManager: 'one' });
  const managedFields = made.metadata.managedFields!.map((entry) => ({ ...entry, manager: 'two' }));
  const sent = { ...made, metadata: { ...made.metadata, managedFields } };
  const { metadata } = await server.updateStatus<Widget>(WIDGETS, sent);
  assert.equal(metadata.resourceVersion, made.metadata.resourceVersion);
  assert.deepEqual(metadata.managedFields, made.metadata.managedFields);
});

test('kubectl that applied by itself has the server go on without a conflict', async () => {
  const { server } = await aServer();
  const key = 'kubectl.kubernetes.io/last-applied-configuration';
  const annotations = { [key]: '{}' };
  const by = { fieldManager: 'kubectl-client-side-apply' };
  await server.create(WIDGETS, aWidget('a', {}, { annotations }), by);
  const patch = { type: 'apply', body: { metadata: { name: 'a' }, spec: { size: 2 } } } as const;
  const apply = (fieldManager: string) =>
    server.patch<Widget>(WIDGETS, 'default', 'a', patch, { fieldManager });
  await assert.rejects(apply('helm'), refused('Conflict', '.spec.size'));
  assert.equal((await apply('kubectl')).spec.size, 2);
});

test('finalizers hold an object until the last one goes', async () => {
  const { server } = await aServer();
  await server.create(WIDGETS, aWidget('a', {}, { finalizers: ['example.com/x'] }));
  const marked = (await server.delete(WIDGETS, 'default', 'a')) as Widget;
  assert.ok(marked.metadata.deletionTimestamp);
  await assert.rejects(
    server.patch(WIDGETS, 'default', 'a', {
      type: 'merge',
      body: { metadata: { finalizers: ['example.com/x', 'example.com/y'] } },
    }),
    refused('Invalid', 'metadata.finalizers'),
  );
  await server.patch(WIDGETS, 'default', 'a', {
    type: 'merge',
    body: { metadata: { finalizers: null } },
  });
  await assert.rejects(server.get(WIDGETS, 'default', 'a'), refused('NotFound'));
});

test('preconditions of a deletion hold, and a dry run changes nothing', async () => {
  const { server } = await aServer();
  const made = await server.create(WIDGETS, aWidget('a'));
  const remove = (request: object) => server.delete(WIDGETS, 'default', 'a', request);
  await assert.rejects(remove({ uid: 'other' }), refused('Conflict'));
  await assert.rejects(remove({ resourceVersion: '1' }), refused('Conflict'));
  await remove({ dryRun: true });
  await server.create(WIDGETS, aWidget('b'), { dryRun: true });
  const names = (await server.list(WIDGETS)).items.map(({ metadata }) => metadata.name);
  assert.deepEqual(names, ['a']);
  await remove({ uid: made.metadata.uid, resourceVersion: made.metadata.resourceVersion });
  await assert.rejects(remove({}), refused('NotFound'));
});

test('lists: namespaces, selectors, pages', async () => {
  const { server } = await aServer();
  await server.create(
    { group: '', version: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false },
    { metadata: { name: 'other' } },
  );
  for (let n = 0; n < 7; n += 1) {
    const color = n % 2 === 0 ? 'red' : 'blue';
    await server.create(WIDGETS, aWidget(`w${n}`, { color }, { labels: { n: String(n) } }));
  }
  await server.create(WIDGETS, aWidget('w0', {}, { namespace: 'other' }));
  const names = async (request: object) =>
    (await server.list(WIDGETS, request)).items.map(({ metadata }) => metadata.name);
  assert.equal((await names({})).length, 8);
  assert.deepEqual(await names({ namespace: 'other' }), ['w0']);
  assert.deepEqual(await names({ labelSelector: 'n in (1,2)' }), ['w1', 'w2']);
  assert.deepEqual(await names({ fieldSelector: 'spec.color=blue' }), ['w1', 'w3', 'w5']);
  assert.deepEqual(await names({ fieldSelector: 'metadata.name=w0,metadata.namespace!=other' }), [
    'w0',
  ]);
  await assert.rejects(names({ fieldSelector: 'spec.size=1' }), refused('BadRequest'));
  const seen: string[] = [];
  for (let token: string | undefined = ''; token !== undefined; ) {
    const page: ObjectList<Widget> = await server.list<Widget>(WIDGETS, {
      limit: 2,
      fieldSelector: 'spec.color=red',
      ...(token === '' ? {} : { continue: token }),
    });
    assert.ok(page.items.length <= 2);
    seen.push(...page.items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`));
    token = page.metadata.continue;
  }
  assert.deepEqual(seen, ['default/w0', 'default/w2', 'default/w4', 'default/w6', 'other/w0']);
  await assert.rejects(names({ continue: 'x' }), refused('BadRequest'));
});

/** Waits for so many events. */
function aSink() {
  const events: WatchEvent<Widget>[] = [];
  let wake = (): void => {};
  let ended: Error | null = null;
  return {
    events,
    onEvents(news: readonly WatchEvent<Widget>[]) {
      events.push(...news);
      wake();
    },
    onEnd(error: Error) {
      ended = error;
      wake();
    },
    async until(count: number): Promise<string[]> {
      while (events.length < count && ended === null) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return events.map(({ type, object }) => `${type} ${object.metadata.name}`);
    },
    ended: () => ended,
  };
}

test('a watch tells what is there, then every change, as its selector sees it', async () => {
  const { server } = await aServer();
  await server.create(WIDGETS, aWidget('a', { color: 'blue' }));
  const sink = aSink();
  const watch = server.watch<Widget>(WIDGETS, { fieldSelector: 'spec.color=blue' }, sink);
  await sink.until(1);
  const set = (color: string) =>
    server.patch(WIDGETS, 'default', 'a', { type: 'merge', body: { spec: { color } } });
  await set('red');
  await set('blue');
  await server.create(WIDGETS, aWidget('b'));
  await server.delete(WIDGETS, 'default', 'a');
  assert.deepEqual(await sink.until(4), ['ADDED a', 'DELETED a', 'ADDED a', 'DELETED a']);
  const versions = sink.events.map(({ object }) => Number(object.metadata.resourceVersion));
  assert.deepEqual(
    versions,
    [...versions].sort((a, b) => a - b),
  );
  watch.close();
});

test('a kind may be served in several versions', async () => {
  const { server } = await aServer();
  const beta = { ...WIDGETS, version: 'v1beta1' };
  const made = await server.create(beta, { apiVersion: 'example.com/v1beta1', ...aWidget('a') });
  assert.equal(made.apiVersion, 'example.com/v1beta1');
  assert.equal((await server.get(WIDGETS, 'default', 'a')).apiVersion, 'example.com/v1');
});

test('objects without a namespace, and free fields', async () => {
  const { server } = await aServer();
  const spec = { anything: { deep: [1, { x: null }] } };
  const made = await server.create(BOXES, { metadata: { name: 'box' }, spec });
  assert.equal(made.metadata.namespace, undefined);
  assert.deepEqual((made as KubeObject & { spec: unknown }).spec, spec);
});
