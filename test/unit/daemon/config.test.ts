import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConfigError, loadConfig, parseConfig } from '../../../src/daemon/config/index.ts';

function findingsOf(text: string, flags = {}): readonly string[] {
  try {
    parseConfig(text, 'a.yaml', flags);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.findings;
  }
  return [];
}

test('nothing configured is the embedded default, with a first volume', () => {
  const config = parseConfig('', null, { data: '/tmp/x' });
  assert.equal(config.pool.path, '/tmp/x/pool.img');
  assert.deepEqual(config.portals, [{ host: '127.0.0.1', port: 3260 }]);
  assert.deepEqual(config.firstVolume, { name: 'demo', size: '1Gi' });
  assert.equal(parseConfig('', 'a.yaml').firstVolume, null);
});

test('the example is good, and says the defaults', () => {
  const text = readFileSync('deploy/ashlar.yaml', 'utf8');
  const example = parseConfig(text, 'deploy/ashlar.yaml');
  const standard = parseConfig('', 'deploy/ashlar.yaml');
  assert.deepEqual({ ...example, node: null }, { ...standard, node: null });
});

test('a mistake is told with line, column, key, what is wrong and what to write', () => {
  const known: [string, RegExp][] = [
    ['pool:\n  size: 5Gx\n', /^a\.yaml:2:9: pool\.size: '5Gx' is not a quantity; write it like/],
    ['pool:\n  sise: 5Gi\n', /^a\.yaml:2:3: pool\.sise: unknown key; did you mean size\?/],
    ['nonsense: 1\n', /^a\.yaml:1:1: nonsense: unknown key; known here: node, dataDir/],
    ['pool: 5\n', /^a\.yaml:1:7: pool: must be a section/],
    ['- a\n', /^a\.yaml:1:1: the file: must be a section/],
    ['iscsi:\n  nopInterval: 10\n', /a\.yaml:2:16: iscsi\.nopInterval: 10 is not a duration/],
    ['portals: ["1.2.3.4:99999"]\n', /portals: '1\.2\.3\.4:99999' is not an address/],
    ['portals: []\n', /portals: is empty/],
    ['iqnPrefix: iqn.nonsense\n', /iqnPrefix: 'iqn\.nonsense' is not an IQN/],
    ['api:\n  address: 0.0.0.0:9808\n', /a\.yaml:2:12: api\.address: 0\.0\.0\.0 is not a loopback/],
    ['log: {level: loud}\n', /log\.level: 'loud' is not a level; use one of fatal/],
    ['a: [\n', /^a\.yaml:\d+:\d+: /],
    ['pool: {size: 1Gi}\npool: {size: 2Gi}\n', /^a\.yaml:2:\d+: /],
    ['discovery: {chap: {user: a}}\n', /discovery\.chap: needs both user and secretFile/],
  ];
  for (const [text, expected] of known) assert.match(findingsOf(text)[0] ?? '', expected, text);
});

test('all mistakes are told in one go', () => {
  assert.equal(findingsOf('pool: {size: x, cache: y}\nlog: {level: z}\n').length, 3);
});

test('flags win over the file, and are checked the same', () => {
  const flags = { portal: ['[::1]:3261', '127.0.0.1:3262'], api: '127.0.0.1:1', data: '/d' };
  const config = parseConfig('dataDir: /other\n', 'a.yaml', flags);
  assert.deepEqual(config.portals, [
    { host: '::1', port: 3261 },
    { host: '127.0.0.1', port: 3262 },
  ]);
  assert.equal(config.dataDir, '/d');
  assert.match(
    findingsOf('', { portal: ['x:y:z'] })[0] ?? '',
    /--portal: 'x:y:z' is not an address/,
  );
  assert.match(
    findingsOf('', { api: '10.0.0.1:1' })[0] ?? '',
    /--api: 10\.0\.0\.1 is not a loopback/,
  );
});

test('secrets come from files beside the configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-config-'));
  try {
    writeFileSync(join(folder, 'secret'), 'correct-horse-battery\n');
    const path = join(folder, 'ashlar.yaml');
    writeFileSync(path, 'discovery:\n  chap: {user: u, secretFile: secret}\n');
    const { config, source } = loadConfig({ config: path });
    assert.equal(source, path);
    assert.deepEqual(config.discovery.chap, { user: 'u', secret: 'correct-horse-battery' });
    writeFileSync(join(folder, 'secret'), 'short\n');
    assert.throws(() => loadConfig({ config: path }), /secretFile: holds a secret that is not 12/);
  } finally {
    rmSync(folder, { recursive: true });
  }
  assert.throws(() => loadConfig({ config: '/nowhere/a.yaml' }), ConfigError);
});

test('elsewhere than on loopback the API wants TLS and tokens', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-tokens-'));
  try {
    const source = join(folder, 'ashlar.yaml');
    const api = 'api:\n  address: 10.0.0.1:9808\n  tokensFile: tokens\n';
    const tls = '  tls: {certFile: a.crt, keyFile: a.key}\n';
    const read = (tokens: string, text = api + tls) => {
      writeFileSync(join(folder, 'tokens'), tokens);
      try {
        return parseConfig(text, source).api;
      } catch (error) {
        return (error as ConfigError).findings.join('\n');
      }
    };
    const token = 'abcdefgh-ijklmnop';
    const good = read(`# people\nadmin root ${token}\n\nread  grafana  ${token}-2\n`);
    assert.ok(typeof good === 'object');
    assert.deepEqual(good.accounts?.[0], { role: 'admin', name: 'root', token });
    assert.equal(good.accounts?.length, 2);
    assert.equal(good.tls?.certFile, join(folder, 'a.crt'));
    assert.match(String(read('')), /tokensFile: names nobody/);
    assert.match(String(read('boss root x\n')), /line 1: the role is none of read, operate, admin/);
    const short = String(read('admin root hunter2\n'));
    assert.match(short, /line 1: the token of root has less than 16 characters/);
    assert.ok(!short.includes('hunter2'));
    assert.match(String(read(`admin root ${token}\n`, api)), /tokensFile: needs api\.tls/);
    assert.match(String(read('', 'api: {address: "10.0.0.1:1"}\n')), /wants api\.tls/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('objects are kept in an embedded store, or in etcd', () => {
  const embedded = parseConfig('dataDir: /d\n', 'a.yaml').objects;
  assert.deepEqual(embedded, { store: 'embedded', path: '/d/objects' });
  const etcd = parseConfig(
    'objects: {store: etcd, etcd: {endpoints: ["http://10.0.0.1:2379"], caFile: ca.crt}}\n',
    '/c/a.yaml',
  ).objects;
  assert.deepEqual(etcd, {
    store: 'etcd',
    etcd: {
      endpoints: ['http://10.0.0.1:2379'],
      prefix: '/ashlar',
      tls: { caFile: '/c/ca.crt' },
    },
  });
  assert.match(findingsOf('objects: {store: etcd}\n')[0] ?? '', /endpoints: is empty/);
  assert.match(findingsOf('objects: {store: sqlite}\n')[0] ?? '', /use embedded .* or etcd/);
});

test('any text is a configuration or findings', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        parseConfig(text, 'a.yaml');
      } catch (error) {
        assert.ok(error instanceof ConfigError, String(error));
      }
    }),
  );
});
test('replicas off loopback: plain text without a secret is refused by the configuration, unless it is said aloud', () => {
  const listen = 'replication:\n  listen: 10.0.0.2:9809\n';
  assert.match(
    findingsOf(listen)[0] ?? '',
    /^a\.yaml:2:11: replication\.listen: 10\.0\.0\.2 is not a loopback address; set replication\.tls or/,
  );
  assert.match(findingsOf('replication: {listen: "[::]:9809"}\n')[0] ?? '', /not a loopback/);
  assert.deepEqual(findingsOf(`${listen}  insecure: true\n`), []);
  assert.deepEqual(findingsOf('replication: {listen: 127.0.0.1:9809}\n'), []);
  assert.deepEqual(findingsOf('replication: {listen: "[::1]:9809"}\n'), []);
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-config-'));
  try {
    const secret = join(folder, 'secret');
    writeFileSync(secret, 'short\n');
    assert.match(findingsOf(`${listen}  secretFile: ${secret}\n`)[0] ?? '', /a secret of 5 bytes/);
    writeFileSync(secret, 'a secret of enough bytes\n');
    assert.deepEqual(findingsOf(`${listen}  secretFile: ${secret}\n`), []);
    // A certificate alone is no mutual TLS.
    assert.match(
      findingsOf(`${listen}  tls: {certFile: ${secret}}\n`).join('\n'),
      /needs certFile, keyFile and caFile/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
