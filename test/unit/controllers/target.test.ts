// Goal: a volume is coordinated where its data can be reached, whatever is asked of its node at the same moment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Catalog, Surroundings } from '../../../src/controllers/index.ts';
import { targetOf } from '../../../src/controllers/target.ts';
import type { Node, Replica, Volume } from '../../../src/kinds/index.ts';

/** Nodes that are all heard of; those named are being drained. */
function aCluster({ drained = [] }: { drained?: readonly string[] }): Surroundings {
  const catalog = {
    get: (_kind: unknown, name: string) =>
      ({ metadata: { name }, spec: { drain: drained.includes(name) } }) as unknown as Node,
    all: () => [],
    where: () => [],
  } as unknown as Catalog;
  const settings = { nodeSilentMs: 4000 };
  return { catalog, settings, silenceMs: () => 0 } as unknown as Surroundings;
}

const onNode = (nodeName: string): Replica =>
  ({
    metadata: { name: `db-on-${nodeName}`, creationTimestamp: '2026-11-01T00:00:00Z' },
    spec: { volumeName: 'db', nodeName, poolName: `pool-of-${nodeName}` },
    status: { phase: 'Healthy' },
  }) as unknown as Replica;

const aVolume = (status: Volume['status']): Volume =>
  ({ metadata: { name: 'db' }, spec: { size: '1Gi' }, status }) as unknown as Volume;

const KEPT_IN_PLACE = {
  mode: 'single',
  members: [{ id: 'r-1', replica: 'db-on-node-1' }],
} as const;

function targetAfter(target: { nodeName: string; epoch: number }, drained: readonly string[]) {
  return targetOf(aCluster({ drained }), aVolume({ ...KEPT_IN_PLACE, target } as never), {
    replicas: [onNode('node-1'), onNode('node-2')],
    minimum: 1,
    waitsFor: [],
  });
}

test('a volume that is kept in place stays there while its node is drained, though a replica was placed beside it', () => {
  const now = { nodeName: 'node-1', epoch: 4 };
  assert.deepEqual(targetAfter(now, ['node-1']), now);
});

test('one that was sent where its data is not comes back, drained or not', () => {
  for (const drained of [[], ['node-1']]) {
    const sent = { nodeName: 'node-2', epoch: 5 };
    assert.deepEqual(targetAfter(sent, drained), { nodeName: 'node-1', epoch: 6 });
  }
});

test('one that a coordinator keeps leaves a drained node for a healthy replica', () => {
  const volume = aVolume({ mode: 'replicated', target: { nodeName: 'node-1', epoch: 4 } } as never);
  const replicas = [onNode('node-1'), onNode('node-2')];
  assert.deepEqual(
    targetOf(aCluster({ drained: ['node-1'] }), volume, { replicas, minimum: 1, waitsFor: [] }),
    { nodeName: 'node-2', epoch: 5 },
  );
});
