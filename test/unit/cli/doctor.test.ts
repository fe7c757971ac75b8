// Goal: what is wrong is told, once, with what to do; what is well is not talked about.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Facts,
  judge,
  type NodeFacts,
  parseMetrics,
  type Seen,
} from '../../../src/cli/doctor.ts';

const NOW_MS = Date.parse('2026-11-30T12:00:00Z');
const at = (secondsAgo: number): string => new Date(NOW_MS - secondsAgo * 1000).toISOString();
const is = (type: string, status: string, message = '') => ({ type, status, message });

const aNode = (name: string, more: Partial<Seen> = {}): Seen => ({
  metadata: { name },
  spec: {},
  status: {
    version: '0.1.0',
    portals: ['10.0.0.1:3260'],
    conditions: [is('Ready', 'True', 'it renews its lease')],
  },
  ...more,
});
const aDaemon = (node: string | null, text = '', more: Partial<NodeFacts> = {}): NodeFacts => ({
  node,
  address: '10.0.0.1:9808',
  silent: '',
  notReady: '',
  clockAheadMs: 3,
  roundTripMs: 5,
  metrics: parseMetrics(text),
  ...more,
});
const aVolume = (state: string, more: object = {}): Seen => ({
  metadata: { name: 'db' },
  status: { phase: 'Ready', state, conditions: [is('Healthy', 'False', 'why it is so')], ...more },
});
const leases = (controllers: number, node: number): Seen[] => [
  { metadata: { name: 'controllers' }, spec: { renewTime: at(controllers) } },
  { metadata: { name: 'node-n1' }, spec: { renewTime: at(node) } },
];

function told(objects: Record<string, readonly Seen[]>, nodes: NodeFacts[] = []): string[] {
  const facts: Facts = { nowMs: NOW_MS, nodes, objects: new Map(Object.entries(objects)) };
  return judge(facts).map(({ level, what, todo }) => {
    assert.ok(todo !== '', what);
    return `${level}: ${what}`;
  });
}

test('where all is well nothing is said', () => {
  const metrics = [
    'ashlar_data_dir_free_bytes 50',
    'ashlar_data_dir_size_bytes 100',
    `ashlar_certificate_expires_timestamp_seconds{key="api.tls.certFile"} ${NOW_MS / 1000 + 90 * 86400}`,
    'nodejs_eventloop_lag_p99_seconds 0.01',
  ];
  const pool = {
    phase: 'Online',
    freeBytes: 50,
    capacityBytes: 100,
    ioErrors: 0,
    checksumErrors: 0,
  };
  const objects = {
    nodes: [aNode('n1'), aNode('n2')],
    pools: [{ metadata: { name: 'p' }, status: pool }],
    volumes: [aVolume('Healthy')],
    replicas: [{ metadata: { name: 'r' }, status: { phase: 'Healthy' } }],
    persistentvolumeclaims: [
      { metadata: { name: 'c', namespace: 'd' }, status: { phase: 'Bound' } },
    ],
    leases: leases(2, 1),
  };
  assert.deepEqual(told(objects, [aDaemon('n1', metrics.join('\n')), aDaemon('n2')]), []);
  assert.deepEqual(told({}), []);
});

test('a pool file that was removed is told of while it can be saved', () => {
  assert.deepEqual(told({}, [aDaemon('n1', 'ashlar_deleted_pool_files{path="/p.img"} 1')]), [
    'broken: the pool file /p.img of node n1 was removed or replaced while it is open: all in it is gone when the daemon ends',
  ]);
});

test('files that run out are told of before no host is let in', () => {
  const files = (open: number): string[] =>
    told({}, [aDaemon('n1', `process_open_fds ${open}\nprocess_max_fds 1000`)]);
  assert.deepEqual(files(800), []);
  assert.deepEqual(files(801), ['care: node n1 has 801 of 1000 files open that it may']);
  assert.match(files(960)[0]!, /^broken: node n1 has 960/);
});

test('a volume says what it is, who uses it, and why', () => {
  assert.deepEqual(told({ volumes: [aVolume('Offline', { sessions: 2 })] }), [
    'broken: volume db is Offline (2 sessions use it): why it is so',
  ]);
  assert.deepEqual(told({ volumes: [aVolume('Degraded')] }), [
    'care: volume db is Degraded: why it is so',
  ]);
  assert.match(told({ volumes: [aVolume('', { phase: 'Failed' })] })[0]!, /^broken: .*is Failed/);
});

test('what a volume of serve advises is told once, and its replica that it names not again', () => {
  const advice = 'Replica db-r3 cannot be reached (why): is its node up?';
  const volume = aVolume('Degraded', {
    advice: [advice],
    replicas: { wanted: 3, placed: 3, inSync: 2 },
    conditions: [is('Ready', 'True', advice)],
  });
  const replica = (name: string): Seen => ({
    metadata: { name },
    spec: { volumeName: 'db' },
    status: { phase: 'Offline', conditions: [is('Ready', 'False', 'why')] },
  });
  const objects = { volumes: [volume], replicas: [replica('db-r3'), replica('db-r2')] };
  assert.deepEqual(told(objects), [
    'care: volume db is Degraded: 2 of 3 replicas in sync',
    'care: replica db-r2 is Offline: why',
  ]);
  const facts: Facts = { nowMs: NOW_MS, nodes: [], objects: new Map(Object.entries(objects)) };
  assert.equal(judge(facts)[0]?.todo, advice);
});

test('pools: state, room, errors', () => {
  const pool = (status: object): string[] =>
    told({ pools: [{ metadata: { name: 'p' }, status: { phase: 'Online', ...status } }] });
  assert.deepEqual(pool({ freeBytes: 10, capacityBytes: 100 }), ['care: pool p has 10.0 % free']);
  assert.deepEqual(pool({ freeBytes: 1, capacityBytes: 100 }), ['broken: pool p has 1.0 % free']);
  assert.match(pool({ ioErrors: 3 })[0]!, /^care: pool p has had 3 errors/);
  assert.match(pool({ phase: 'Faulted' })[0]!, /^broken: pool p is Faulted/);
  assert.match(pool({ phase: 'Degraded' })[0]!, /^care: pool p is Degraded/);
});

test('a silent node is told of once, and not for each of its replicas', () => {
  const silent = { conditions: [is('Ready', 'Unknown', 'it was not heard for 40 s')] };
  const replica = (nodeName: string): Seen => ({
    metadata: { name: `r-${nodeName}` },
    spec: { nodeName },
    status: { phase: 'Offline', conditions: [is('Ready', 'False', 'TLS alert')] },
  });
  const objects = {
    nodes: [aNode('n1', { status: silent }), aNode('n2')],
    replicas: [replica('n1'), replica('n2')],
  };
  const found = told(objects).filter((line) => !line.includes('different versions'));
  assert.deepEqual(found, [
    'broken: node n1 is silent: it was not heard for 40 s',
    'care: replica r-n2 is Offline: TLS alert',
  ]);
});

test('a daemon: no answer, room for its objects, certificates, its clock, who holds it up', () => {
  const metrics = (text: string, more: Partial<NodeFacts> = {}): string[] =>
    told({}, [aDaemon('n1', text, more)]);
  assert.match(
    metrics('', { silent: 'nothing listens there' })[0]!,
    /^broken: node n1 does not answer/,
  );
  assert.match(
    metrics('', { notReady: 'starting' })[0]!,
    /^broken: node n1 is not ready: starting/,
  );
  const room = (free: number): string[] =>
    metrics(`ashlar_data_dir_free_bytes ${free}\nashlar_data_dir_size_bytes 100`);
  assert.match(room(8)[0]!, /^care: the disk below dataDir of node n1 has 8\.0 % free/);
  assert.match(room(2)[0]!, /^broken: the disk/);
  const full = 'ashlar_data_dir_free_bytes 0\nashlar_data_dir_size_bytes 100';
  assert.deepEqual(told({}, [aDaemon(null, full)]), [
    'broken: the disk below dataDir of this node has 0.0 % free',
  ]);
  const certificate = (days: number): string[] =>
    metrics(
      `ashlar_certificate_expires_timestamp_seconds{key="k"} ${NOW_MS / 1000 + days * 86_400}`,
    );
  assert.match(certificate(20)[0]!, /^care: the certificate k of node n1 expires \(2026-12-20/);
  assert.match(certificate(-1)[0]!, /^broken: the certificate k of node n1 has expired/);
  assert.deepEqual(certificate(31), []);
  assert.match(
    metrics('', { clockAheadMs: -5000 })[0]!,
    /^care: the clock of node n1 is 5\.0 s behind/,
  );
  assert.deepEqual(metrics('', { clockAheadMs: 1500, roundTripMs: 2000 }), []);
  assert.match(metrics('nodejs_eventloop_lag_p99_seconds 2')[0]!, /held up for 2\.0 s/);
});

test('leases: etcd takes no changes, or nobody leads', () => {
  assert.match(told({ leases: leases(60, 60) })[0]!, /^broken: no lease is renewed/);
  assert.match(told({ leases: leases(60, 1) })[0]!, /^broken: no node runs the controllers/);
  // A clock that is behind is no silence.
  assert.deepEqual(
    told({ leases: leases(60, 60) }, [aDaemon('n1', '', { clockAheadMs: -60_000 })]).filter(
      (line) => line.includes('lease'),
    ),
    [],
  );
});

test('what waits: claims, and what has been going for long', () => {
  const waiting = [is('Waiting', 'True', 'no pool has room')];
  const claim = { metadata: { name: 'c', namespace: 'd' }, status: { conditions: waiting } };
  assert.deepEqual(told({ persistentvolumeclaims: [claim] }), [
    'care: claim d/c is Pending: no pool has room',
  ]);
  const going = (secondsAgo: number): Seen => ({
    metadata: { name: 's', deletionTimestamp: at(secondsAgo), finalizers: ['ashlar.io/snapshot'] },
  });
  assert.deepEqual(told({ snapshots: [going(60)] }), []);
  assert.match(
    told({ snapshots: [going(1200)] })[0]!,
    /going for 20 min, held by ashlar\.io\/snapshot/,
  );
});

test('what is broken comes first', () => {
  const objects = {
    nodes: [aNode('n1', { spec: { unschedulable: true } })],
    volumes: [aVolume('Offline')],
  };
  const found = told(objects);
  assert.match(found[0]!, /^broken/);
  assert.match(found[1]!, /^care: node n1 is cordoned/);
});

test('Prometheus’ text is read: labels with quotes, comments left out', () => {
  const text = '# HELP a b\n# TYPE a gauge\na{x="1",y="a \\"b\\""} 2.5\nb 1e3\nbroken line here\n';
  assert.deepEqual(parseMetrics(text), [
    { name: 'a', labels: { x: '1', y: 'a "b"' }, value: 2.5 },
    { name: 'b', labels: {}, value: 1000 },
  ]);
});

test('the one process of serve has no name: its unit and its machine are told', () => {
  const nodes = [
    aDaemon(null, '', { silent: 'ECONNREFUSED' }),
    aDaemon(null, '', { clockAheadMs: 9000 }),
    aDaemon('n1', '', { silent: 'ECONNREFUSED' }),
  ];
  const found = judge({ nowMs: NOW_MS, nodes, objects: new Map() });
  assert.deepEqual(
    found.map(({ what, todo }) => `${what}; ${todo.split(',')[0]}`),
    [
      'this node does not answer at 10.0.0.1:9808: ECONNREFUSED; on this machine: systemctl status ashlar',
      'node n1 does not answer at 10.0.0.1:9808: ECONNREFUSED; on n1: systemctl status ashlar-node',
      'the clock of this node is 9.0 s ahead of the one here; timedatectl',
    ],
  );
});
