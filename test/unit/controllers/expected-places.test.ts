// Goal: a volume waits for what is on its way, and for nothing else, and not for ever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Expectation, expectedPlaces } from '../../../src/controllers/expected-places.ts';

const startMs = Date.UTC(2026, 10, 1);
const madeAt = (ms: number): string => new Date(startMs + ms).toISOString();
const aPool = (nodeName: string, status: object = {}, spec: object = {}) => ({
  metadata: { name: `pool-${nodeName}`, creationTimestamp: madeAt(0) },
  spec: { nodeName, layout: 'stripe', storagePoolClaim: 'disks', ...spec },
  status,
});
const aNode = (name: string, ms = -3_600_000, spec: object = {}) => ({
  metadata: { name, creationTimestamp: madeAt(ms) },
  spec,
});

function expected(change: object): string[] {
  return expectedPlaces({
    volume: {
      metadata: { name: 'v', creationTimestamp: madeAt(0) },
      spec: { size: '1Gi', casType: 'cstor', storagePoolClaim: 'disks' },
    },
    poolClaims: [{ metadata: { name: 'disks' }, status: { phase: 'Pending' } }],
    pools: [],
    nodes: [],
    devices: [],
    isReady: () => true,
    nowMs: startMs + 1000,
    patienceMs: 60_000,
    ...change,
  } as unknown as Expectation);
}

test('a pool that is being made is waited for; one that is made, is gone, or is for others is not', () => {
  assert.deepEqual(expected({ pools: [aPool('a')] }), ['pool pool-a is being made']);
  assert.deepEqual(expected({ pools: [aPool('a', { phase: 'Online', id: 'x' })] }), []);
  assert.deepEqual(expected({ pools: [aPool('a', { phase: 'Offline', id: 'x' })] }), []);
  assert.deepEqual(expected({ pools: [aPool('a', {}, { storagePoolClaim: 'others' })] }), []);
  assert.deepEqual(expected({ pools: [aPool('a', {}, { directory: '/var/openebs' })] }), []);
  assert.deepEqual(expected({ pools: [aPool('a')], isReady: () => false }), []);
});

test('nothing is waited for beyond the patience', () => {
  assert.equal(expected({ pools: [aPool('a')], nowMs: startMs + 59_999 }).length, 1);
  assert.equal(expected({ pools: [aPool('a')], nowMs: startMs + 60_000 }).length, 0);
});

test('a pool claim that nobody has looked at is waited for; one that says what it has is not', () => {
  const claim = (name: string, status?: object, metadata: object = {}) => ({
    metadata: { name, ...metadata },
    ...(status === undefined ? {} : { status }),
  });
  assert.match(
    expected({ poolClaims: [claim('disks')] }).join(),
    /disks has not asked for its pools yet/,
  );
  assert.deepEqual(expected({ poolClaims: [] }), []);
  assert.deepEqual(expected({ poolClaims: [claim('disks', { phase: 'Failed' })] }), []);
  const going = claim('disks', undefined, { deletionTimestamp: madeAt(0) });
  assert.deepEqual(expected({ poolClaims: [going] }), []);
  assert.deepEqual(
    expected({ poolClaims: [claim('first', { phase: 'Online' }), claim('second')] }),
    ['StoragePoolClaim second has not asked for its pools yet'],
  );
});

test('a node that has just come is waited for until it has told of its disks, unless it is cordoned', () => {
  assert.deepEqual(expected({ nodes: [aNode('a', 0)] }), ['node a has just come']);
  assert.deepEqual(expected({ nodes: [aNode('a')] }), []);
  assert.deepEqual(expected({ nodes: [aNode('a', 0, { unschedulable: true })] }), []);
  const devices = [{ metadata: { name: 'blockdevice-1' }, spec: { nodeName: 'a' } }];
  assert.deepEqual(expected({ nodes: [aNode('a', 0)], devices }), []);
});
