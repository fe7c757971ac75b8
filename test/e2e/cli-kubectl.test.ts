// Goal: a stock kubectl finds an API server it knows: Debian's 1.20, and a current one where this machine has it.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import {
  buildHttp,
  EventRecorder,
  Housekeeper,
  type KindDefinition,
  KindRegistry,
  NAMESPACES,
  ownKinds,
  ResourceServer,
} from '../../src/apiserver/index.ts';
import { SystemClock, silentLog } from '../../src/base/index.ts';
import { MemoryObjectStore } from '../../src/objects/index.ts';
import {
  debianKubectl,
  installedKubectl,
  type Kubectl,
  type Outcome,
  runKubectl,
} from '../support/kubectl.ts';
import { WIDGETS, type Widget } from '../unit/apiserver/builders.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** What does not come within this does not come. */
const LIMIT_MS = 30_000;

/** Just enough of a pod for `kubectl logs`. */
const PODS: KindDefinition = {
  group: '',
  version: 'v1',
  kind: 'Pod',
  plural: 'pods',
  shortNames: ['po'],
  namespaced: true,
  schemaName: 'io.k8s.api.core.v1.Pod',
  description: 'A daemon.',
  fields: {
    spec: Type.Object({}, { additionalProperties: true }),
    status: Type.Object({}, { additionalProperties: true }),
  },
  columns: [],
  log: async function* ({ metadata }, { follow, tailLines, signal }) {
    const lines = Array.from({ length: 20 }, (_, n) => `${metadata.name} line ${n}\n`);
    yield* tailLines === null ? lines : lines.slice(-tailLines);
    if (!follow) return;
    yield 'and it goes on\n';
    if (!signal.aborted) await once(signal, 'abort');
  },
};

let folder: string;
let server: ResourceServer;
let app: FastifyInstance;
let keeper: Housekeeper;
let address: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-kubectl-'));
  const registry = new KindRegistry();
  const store = new MemoryObjectStore();
  for (const kind of [...ownKinds(store), WIDGETS, PODS]) registry.register(kind as KindDefinition);
  server = new ResourceServer({
    registry,
    store,
    log: silentLog,
    now: () => new Date(),
  });
  keeper = new Housekeeper({ server, clock: new SystemClock(), log: silentLog });
  await keeper.start();
  for (const name of ['default', 'other']) await server.create(NAMESPACES, { metadata: { name } });
  const spec = { containers: [{ name: 'main', image: 'ashlar' }] };
  for (const name of ['one', 'two']) {
    await server.create(PODS, {
      metadata: { name, namespace: 'other', labels: { app: 'x' } },
      spec,
    });
  }
  app = await buildHttp({ server, version: '0.1.0', loopbackOnly: true, access: null });
  await app.listen({ host: '127.0.0.1', port: 0 });
  address = `127.0.0.1:${(app.server.address() as AddressInfo).port}`;
});
after(async () => {
  await keeper.close();
  await app.close();
  rmSync(folder, { recursive: true });
});

const manifest = (name: string, spec: string) =>
  `apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: ${name}, labels: {made: by-hand}}\nspec: ${spec}\n`;

function suite(find: () => Kubectl | null, title: string): void {
  describe(title, () => {
    let kubectl: Kubectl;
    let home: string;
    const run = (...args: string[]): Promise<Outcome> => runKubectl(kubectl, home, args);
    const good = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await run(...args);
      assert.equal(code, 0, `kubectl ${args.join(' ')}:\n${err}`);
      return out;
    };
    const file = (text: string): string => {
      const path = join(home, 'manifest.yaml');
      writeFileSync(path, text);
      return path;
    };

    before(async () => {
      kubectl = find()!;
      home = join(folder, `home-${kubectl.version}`);
      mkdirSync(home);
      const env = { ...process.env, ASHLAR_API: address };
      await new Promise<void>((resolve, reject) => {
        execFile(process.execPath, [MAIN, 'kubeconfig'], { env }, (error, out) => {
          writeFileSync(join(home, 'config'), out);
          if (error === null) resolve();
          else reject(error);
        });
      });
    });
    after(async () => {
      await good('delete', 'widgets', '--all');
    });

    test('discovery: api-resources, api-versions, version', async () => {
      const resources = await good('api-resources');
      assert.match(resources, /^widgets +wd +example\.com\/v1 +true +Widget$/m);
      assert.match(await good('api-versions'), /^example\.com\/v1$/m);
      assert.match(await good('version'), /v1\.32\.0\+ashlar\.0\.1\.0/);
    });

    test('apply creates, leaves alone, changes; diff and dry runs say what would be', async () => {
      const path = file(manifest('a', '{size: 1, color: blue}'));
      assert.match(
        await good('apply', '-f', path, '--dry-run=server'),
        /created \(server dry run\)/,
      );
      assert.match(await good('apply', '-f', path), /^widget\.example\.com\/a created$/m);
      assert.match(await good('apply', '-f', path), /unchanged/);
      file(manifest('a', '{size: 2}'));
      const diff = await run('diff', '-f', path);
      assert.equal(diff.code, 1, diff.err);
      assert.match(diff.out, /^- {2}size: 1$/m);
      assert.match(diff.out, /^\+ {2}size: 2$/m);
      assert.match(await good('apply', '-f', path), /configured/);
      // What is no longer in the file is gone, and defaulted anew.
      assert.equal(
        await good('get', 'wd', 'a', '-o', 'jsonpath={.spec.size} {.spec.color}'),
        '2 red',
      );
      assert.match(
        await good('apply', '--server-side', '--force-conflicts', '-f', path),
        /serverside-applied/,
      );
    });

    test('get in every form', async () => {
      await good('apply', '-f', file(manifest('b', '{size: 3, tags: [x, z]}')));
      assert.match(await good('get', 'widgets'), /^NAME +SIZE +COLOR +PHASE +AGE\n/);
      assert.match(await good('get', 'wd', 'b', '-o', 'wide'), /^b +3 +red +<none> +x,z +\d+s$/m);
      assert.match(await good('get', 'all'), /^widget\.example\.com\/b +3|^b +3/m);
      assert.match(await good('get', 'widgets', '-A'), /^NAMESPACE +NAME/);
      assert.equal(await good('get', 'widget/b', '-o', 'name'), 'widget.example.com/b\n');
      assert.equal(JSON.parse(await good('get', 'wd', 'b', '-o', 'json')).spec.size, 3);
      assert.match(await good('get', 'wd', 'b', '-o', 'yaml'), /^kind: Widget$/m);
      const selected = await good(
        'get',
        'wd',
        '-l',
        'made=by-hand',
        '--field-selector',
        'metadata.name=b',
        '-o',
        'name',
      );
      assert.equal(selected, 'widget.example.com/b\n');
      const chunked = await good('get', 'wd', '--chunk-size=1', '-o', 'name');
      assert.equal(chunked, 'widget.example.com/a\nwidget.example.com/b\n');
      const missing = await run('get', 'widget', 'nothing');
      assert.match(
        missing.err,
        /Error from server \(NotFound\): widgets\.example\.com "nothing" not found/,
      );
      assert.match(await good('get', 'ns'), /^default +Active/m);
    });

    test('describe shows fields and events', async () => {
      const widget = await server.get<Widget>(WIDGETS, 'default', 'b');
      const recorder = new EventRecorder({
        client: server,
        log: silentLog,
        now: () => new Date(),
        component: 'test',
        host: 'h',
      });
      recorder.record(widget, 'Warning', 'Odd', 'it is odd');
      await recorder.flush();
      const text = await good('describe', 'widget', 'b');
      assert.match(text, /^Name: +b$/m);
      assert.match(text, /^ +Size: +3$/m);
      assert.match(text, /Warning +Odd +.*test +it is odd/);
      assert.match(await good('get', 'events'), /Warning +Odd +widget\/b +it is odd/);
    });

    test('edit, label, annotate, patch', async () => {
      const editor = { EDITOR: 'sed -i s/size:\\ 3/size:\\ 4/' };
      const edited = await runKubectl(kubectl, home, ['edit', 'widget', 'b'], { env: editor });
      assert.match(edited.out, /edited/, edited.err);
      assert.match(await good('label', 'widget', 'b', 'tier=gold'), /labeled/);
      assert.match(await good('annotate', 'widget', 'b', 'note=hello'), /annotated/);
      assert.match(await good('label', 'ns', 'other', 'x=y', '--overwrite'), /labeled|not labeled/);
      assert.match(
        await good('patch', 'widget', 'b', '--type=merge', '-p', '{"spec":{"color":"blue"}}'),
        /patched/,
      );
      const json = '[{"op":"replace","path":"/spec/size","value":5}]';
      assert.match(await good('patch', 'widget', 'b', '--type=json', '-p', json), /patched/);
      const { spec, metadata } = await server.get<Widget>(WIDGETS, 'default', 'b');
      assert.deepEqual([spec.size, spec.color], [5, 'blue']);
      assert.equal(metadata.labels?.['tier'], 'gold');
      assert.equal(metadata.annotations?.['note'], 'hello');
    });

    test('a namespace is applied by strategic merge', async () => {
      const path = file(
        'apiVersion: v1\nkind: Namespace\nmetadata: {name: applied, labels: {a: "1"}}\n',
      );
      assert.match(await good('apply', '-f', path), /namespace\/applied created/);
      file('apiVersion: v1\nkind: Namespace\nmetadata: {name: applied, labels: {b: "2"}}\n');
      assert.match(await good('apply', '-f', path), /namespace\/applied configured/);
      const labels = JSON.parse(await good('get', 'ns', 'applied', '-o', 'json')).metadata.labels;
      assert.deepEqual([labels.a, labels.b], [undefined, '2']);
      assert.match(await good('delete', 'ns', 'applied', '--timeout=30s'), /deleted/);
    });

    test('what is sent in protobuf by some: create namespace, auth can-i', async () => {
      assert.match(await good('create', 'namespace', 'made'), /namespace\/made created/);
      assert.match(await good('delete', 'namespace', 'made'), /"made" deleted/);
      assert.match(await good('auth', 'can-i', 'create', 'widgets'), /^yes$/m);
      const pods = await run('auth', 'can-i', 'delete', 'pods', '--quiet');
      assert.equal(pods.code, 0, 'without tokens everybody may');
      assert.match(await good('auth', 'can-i', '--list'), /widgets\.example\.com/);
    });

    test('who one is, events in newer words, all paths; scaling is answered in words', async () => {
      const [, minor = '0'] = kubectl.version.split('.');
      if (Number(minor) >= 27) {
        assert.match(await good('auth', 'whoami'), /Username +anybody on loopback/);
      }
      await good('get', 'events.events.k8s.io', '-A');
      assert.match(await good('get', '--raw', '/'), /"\/apis\/events\.k8s\.io\/v1"/);
      const { code, err } = await run('scale', 'widget/b', '--replicas=2');
      assert.notEqual(code, 0);
      assert.match(err, /widgets have no scale: /);
    });

    test('what kubectl keeps of the documents serves it again', async () => {
      for (let times = 0; times < 3; times += 1) {
        assert.match(await good('explain', 'widgets.spec'), /How large/);
      }
    });

    test('wait: for a condition, for the end', async () => {
      const waiting = run('wait', '--for=condition=Ready', 'widget/b', '--timeout=30s');
      const widget = await server.get<Widget>(WIDGETS, 'default', 'b');
      const conditions = [{ type: 'Ready', status: 'True' as const, reason: 'Is', message: '' }];
      await server.updateStatus<Widget>(WIDGETS, {
        ...widget,
        status: { phase: 'Ready', conditions },
      });
      assert.match((await waiting).out, /widget\.example\.com\/b condition met/);
      await good('apply', '-f', file(manifest('short', '{size: 1}')));
      const gone = run('wait', '--for=delete', 'widget/short', '--timeout=30s');
      await good('delete', 'widget', 'short');
      const { code, err } = await gone;
      assert.ok(code === 0 || /NotFound|no matching/.test(err), err);
    });

    test('get --watch follows changes', async () => {
      const env = { PATH: process.env['PATH'] ?? '', HOME: home, KUBECONFIG: join(home, 'config') };
      const child = spawn(kubectl.path, ['get', 'widgets', '--watch'], { env });
      let seen = '';
      const until = async (wanted: RegExp): Promise<void> => {
        while (!wanted.test(seen)) {
          const [chunk] = (await once(child.stdout, 'data', {
            signal: AbortSignal.timeout(LIMIT_MS),
          })) as [Buffer];
          seen += chunk.toString();
        }
      };
      try {
        await until(/^b +5/m);
        await server.create(WIDGETS, { metadata: { name: 'watched' }, spec: { size: 7 } });
        await until(/^watched +7/m);
        await server.patch(WIDGETS, 'default', 'watched', {
          type: 'merge',
          body: { spec: { size: 8 } },
        });
        await until(/^watched +8/m);
        await server.delete(WIDGETS, 'default', 'watched');
        await until(/^watched +8.*^watched +8/ms);
      } finally {
        child.kill();
        await once(child, 'exit');
      }
    });

    test('explain knows every field', async () => {
      assert.match(await good('explain', 'widget'), /Something to test with\./);
      assert.match(await good('explain', 'widget.spec'), /color\s*<string>/);
      assert.match(await good('explain', 'widget.spec.size'), /How large\./);
      assert.match(await good('explain', 'widget.metadata.labels'), /Short, for selection\./);
    });

    test('logs, of one and of many, the last lines, and on', async () => {
      assert.equal((await good('logs', '-n', 'other', 'one')).split('\n').length, 21);
      assert.equal(
        await good('logs', '-n', 'other', 'one', '--tail=2'),
        'one line 18\none line 19\n',
      );
      const both = await good('logs', '-n', 'other', '-l', 'app=x', '--tail=1');
      assert.deepEqual(both.trim().split('\n').sort(), ['one line 19', 'two line 19']);
      const env = { PATH: process.env['PATH'] ?? '', HOME: home, KUBECONFIG: join(home, 'config') };
      const child = spawn(kubectl.path, ['logs', '-n', 'other', 'one', '-f', '--tail=1'], { env });
      let seen = '';
      while (!seen.includes('and it goes on')) {
        const [chunk] = (await once(child.stdout, 'data', {
          signal: AbortSignal.timeout(LIMIT_MS),
        })) as [Buffer];
        seen += chunk.toString();
      }
      child.kill();
      await once(child, 'exit');
    });

    test('wrong manifests are answered with the field', async () => {
      const refused = async (text: string, wanted: RegExp, ...flags: string[]): Promise<void> => {
        const { code, err } = await run('apply', '-f', file(text), ...flags);
        assert.notEqual(code, 0);
        assert.match(err, wanted);
      };
      await refused(manifest('w', '{size: 1, colour: red}'), /unknown field "(spec\.)?colour"/);
      await refused(manifest('w', '{size: big}'), /spec\.size|integer/);
      await refused(manifest('w', '{color: red}'), /size/);
      // By the server itself, where the client does not look.
      const off = '--validate=false';
      await refused(
        manifest('w', '{size: big}'),
        /spec\.size: Invalid value: "big": must be integer/,
        off,
      );
      await refused(
        manifest('w', '{color: green, size: 1}'),
        /spec\.color: Unsupported value: "green"/,
        off,
      );
      await refused(manifest('W_', '{size: 1}'), /metadata\.name/, off);
      await refused(manifest('b', '{size: 1}'), /spec\.size: only grows/, off);
      await refused(
        manifest('w', '{size: 1}').replace('Widget', 'Gadget'),
        /no matches for kind "Gadget"/,
      );
    });

    test('delete: by name, by label, with finalizers', async () => {
      for (const name of ['d1', 'd2', 'd3']) {
        await good('apply', '-f', file(manifest(name, '{size: 1}')));
      }
      await good('label', 'widget', 'd1', 'd2', 'doomed=yes');
      assert.match(await good('delete', 'widget', 'd3'), /widget\.example\.com "d3" deleted/);
      await good('delete', 'widget', '-l', 'doomed=yes');
      assert.ok(!(await good('get', 'widgets', '-o', 'name')).includes('/d'));
    });
  });
}

let debian: Kubectl | null = null;
let missing = '';
try {
  debian = debianKubectl();
} catch (error) {
  missing = (error as Error).message;
}
if (debian === null) {
  test('Debian’s kubectl', { skip: process.env['CI'] === 'true' ? false : missing }, () => {
    assert.fail(missing);
  });
} else {
  suite(() => debian, `kubectl ${debian.version} of Debian`);
  const other = installedKubectl();
  if (other !== null) suite(() => other, `kubectl ${other.version}, as installed here`);
}
