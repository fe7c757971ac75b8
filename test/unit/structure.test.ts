// Imports point one way, as ARCHITECTURE.md draws them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

const everything = [
  'base',
  'block',
  'scsi',
  'iscsi',
  'net',
  'wire',
  'store',
  'replica',
  'volume',
  'replication',
  'stream',
  'backup',
  'metrics',
  'objects',
  'apiserver',
  'kinds',
  'controllers',
  'control',
  'node',
];
const mayImport: Record<string, readonly string[]> = {
  base: [],
  block: ['base'],
  scsi: ['base', 'block'],
  iscsi: ['base', 'block', 'scsi'],
  net: ['base'],
  wire: ['base', 'block'],
  store: ['base', 'block'],
  replica: ['base', 'block', 'store', 'wire'],
  volume: ['base', 'block', 'store', 'wire'],
  replication: ['base', 'block', 'net', 'wire', 'store', 'replica', 'volume'],
  stream: ['base', 'block', 'store'],
  backup: ['base', 'stream'],
  metrics: ['base'],
  objects: ['base'],
  apiserver: ['base', 'objects'],
  control: [
    'base',
    'block',
    'store',
    'volume',
    'stream',
    'backup',
    'iscsi',
    'scsi',
    'metrics',
    'objects',
    'apiserver',
    'kinds',
  ],
  kinds: ['base', 'objects', 'apiserver'],
  controllers: ['base', 'apiserver', 'kinds'],
  node: [
    'base',
    'block',
    'store',
    'volume',
    'objects',
    'apiserver',
    'kinds',
    'controllers',
    'replication',
    'stream',
    'control',
  ],
  // The CLI speaks to the REST API; `serve`, which is the daemon, and `check pool`, which is offline, reach further.
  cli: ['base', 'control', 'daemon', 'store'],
  daemon: everything,
};

/** Rooms that own no socket, timer, file or logger, and the modules that would give them one. */
const protocolRooms = ['base', 'block', 'scsi', 'iscsi', 'wire', 'volume'];
const forbiddenModules =
  /^node:(net|tls|http|fs|timers|dgram|child_process|worker_threads)|^(pino|fastify)$/;

const root = resolve(process.cwd(), 'src');
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.ts'),
);

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!);
}

test('rooms import only the rooms below them', () => {
  assert.ok(files.length > 20);
  for (const file of files) {
    const room = file.split('/')[0]!;
    const allowed = mayImport[room];
    assert.ok(allowed !== undefined, `src/${room} is no room that the picture knows`);
    for (const specifier of importsOf(file)) {
      if (!specifier.startsWith('.')) continue;
      const target = relative(root, resolve(root, dirname(file), specifier)).split('/')[0]!;
      if (target === room || target.startsWith('..')) continue;
      assert.ok(
        allowed.includes(target),
        `src/${file} imports ${specifier}: ${room} may not import ${target}`,
      );
    }
  }
});

test('protocol rooms are handed bytes and a clock: no sockets, files, timers, loggers', () => {
  for (const file of files) {
    const room = file.split('/')[0]!;
    if (!protocolRooms.includes(room)) continue;
    for (const specifier of importsOf(file)) {
      assert.ok(!forbiddenModules.test(specifier), `src/${file} imports ${specifier}`);
    }
    const text = readFileSync(join(root, file), 'utf8');
    if (file !== 'base/clock.ts') {
      assert.ok(
        !/\b(setTimeout|setInterval|Date\.now|Math\.random)\(/.test(text),
        `src/${file} takes time or chance from thin air`,
      );
    }
  }
});

test('the replication cores are state machines: no promises, timers, clocks or chance of their own (T1)', () => {
  const cores = files.filter((file) =>
    /^(volume\/coordinator|replica\/(member|op-window))/.test(file),
  );
  assert.ok(cores.length >= 10);
  for (const file of cores) {
    const text = readFileSync(join(root, file), 'utf8').replace(/\/\/.*|\/\*[\s\S]*?\*\//g, '');
    const found =
      /\b(Promise|async|await|setTimeout|setInterval|queueMicrotask|Date|Math\.random|performance)\b/.exec(
        text,
      );
    assert.equal(found, null, `src/${file} uses ${found?.[0]}`);
    for (const specifier of importsOf(file)) {
      assert.ok(specifier.startsWith('.'), `src/${file} imports ${specifier}`);
    }
  }
});
