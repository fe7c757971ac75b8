// Goal: replicas are spread over nodes, then zones, then free space; a pool promises no more than it may.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PlacementRequest, placeReplicas } from '../../../src/controllers/index.ts';
import type { Node, Pool, Replica } from '../../../src/kinds/index.ts';

const GI = 2 ** 30;
const meta = (name: string, labels: Record<string, string> = {}) => ({
  name,
  labels,
  uid: name,
  resourceVersion: '1',
  creationTimestamp: '2026-11-01T00:00:00Z',
});
const aNode = (name: string, zone = ''): Node => ({
  apiVersion: 'ashlar.io/v1',
  kind: 'Node',
  metadata: meta(name, zone === '' ? {} : { 'topology.kubernetes.io/zone': zone }),
  spec: {},
});
const aPool = (
  name: string,
  nodeName: string,
  freeGi = 50,
  spec: Partial<Pool['spec']> = {},
): Pool => ({
  apiVersion: 'ashlar.io/v1',
  kind: 'Pool',
  metadata: meta(name),
  spec: { nodeName, layout: 'stripe', ...spec },
  status: { phase: 'Online', usableBytes: 100 * GI, freeBytes: freeGi * GI },
});
const aReplica = (pool: string, nodeName: string): Replica => ({
  apiVersion: 'ashlar.io/v1',
  kind: 'Replica',
  metadata: meta(`r-${pool}`),
  spec: { volumeName: 'v', nodeName, poolName: pool, size: '1Gi' },
});
const place = (request: Partial<PlacementRequest>) => {
  const { pools, missing } = placeReplicas({
    volumeName: 'v',
    sizeBytes: GI,
    count: 3,
    placement: 'node',
    existing: [],
    pools: [],
    nodes: [],
    promisedBytes: new Map(),
    ...request,
  });
  return { names: pools.map(({ metadata }) => metadata.name), missing };
};

test('one replica a node, the emptiest pool of each first', () => {
  const { names, missing } = place({
    nodes: [aNode('a'), aNode('b'), aNode('c')],
    pools: [aPool('a1', 'a', 10), aPool('a2', 'a', 60), aPool('b1', 'b', 90), aPool('c1', 'c', 1)],
  });
  assert.deepEqual(names, ['b1', 'a2', 'c1']);
  assert.equal(missing, '');
});

test('zones come before free space', () => {
  const { names } = place({
    count: 2,
    nodes: [aNode('a', 'x'), aNode('b', 'x'), aNode('c', 'y')],
    pools: [aPool('a1', 'a', 90), aPool('b1', 'b', 80), aPool('c1', 'c', 1)],
  });
  assert.deepEqual(names, ['a1', 'c1']);
});

test('on one node there is a place for one, and the reason says what to do', () => {
  const one = { nodes: [aNode('a')], pools: [aPool('a1', 'a'), aPool('a2', 'a')] };
  const { names, missing } = place(one);
  assert.equal(names.length, 1);
  assert.match(
    missing,
    /on one node \(a\), and no two replicas share a node; .*ReplicaPlacement: pool/,
  );
  assert.deepEqual(place({ ...one, count: 2, placement: 'pool' }).names, ['a1', 'a2']);
});

test('what is there counts: its node and its pool get no second one', () => {
  const { names } = place({
    count: 1,
    existing: [aReplica('a1', 'a')],
    nodes: [aNode('a'), aNode('b')],
    pools: [aPool('a1', 'a'), aPool('a2', 'a', 99), aPool('b1', 'b', 1)],
  });
  assert.deepEqual(names, ['b1']);
});

test('pools that are full of promises, offline, read-only or on unready nodes are named with the reason', () => {
  const offline = { ...aPool('off', 'a'), status: { phase: 'Offline' } };
  const { names, missing } = place({
    count: 1,
    nodes: [aNode('a')],
    pools: [aPool('full', 'a', 90, { overcommit: 1 }), offline, aPool('away', 'z')],
    promisedBytes: new Map([['full', 100 * GI]]),
  });
  assert.deepEqual(names, []);
  assert.match(missing, /pool full has promised/);
  assert.match(missing, /pool off is Offline/);
  assert.match(missing, /pool away is on z, which is not ready/);
});

test('without any pool it says so', () => {
  assert.equal(place({ nodes: [aNode('a')] }).missing, 'there is no pool that it may use');
});
