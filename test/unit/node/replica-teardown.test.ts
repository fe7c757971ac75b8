// Goal: a replica that its volume has let go of goes, also where that volume is served by its node; none goes from under one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, silentLog } from '../../../src/base/index.ts';
import { Finalizer, type Writer } from '../../../src/controllers/index.ts';
import { REPLICA } from '../../../src/kinds/index.ts';
import { ReplicaKeeper } from '../../../src/node/agent/replicas.ts';
import type { NodeSurroundings, OpenPools } from '../../../src/node/agent/surroundings.ts';

/** Of a deleted replica `r-a` whose volume its node serves: whether it is torn down. */
async function tornDown(volume: {
  readonly mode: 'replicated' | 'single';
  readonly members: readonly string[];
  readonly isDeleting?: boolean;
}): Promise<boolean> {
  const { mode, members, isDeleting = false } = volume;
  const deletionTimestamp = '2026-11-01T00:00:00Z';
  const replica = {
    metadata: { name: 'v-a', uid: 'a', deletionTimestamp, finalizers: [Finalizer.Replica] },
    spec: { volumeName: 'v', nodeName: 'n', poolName: 'p' },
  };
  const object = {
    metadata: { name: 'v', uid: 'v-uid', ...(isDeleting ? { deletionTimestamp } : {}) },
    status: { mode, members: members.map((id) => ({ id, replica: id })) },
  };
  const around = {
    nodeName: 'n',
    catalog: { get: (kind: unknown) => (kind === REPLICA ? replica : object) },
    clock: new ManualClock(),
    log: silentLog,
  };
  const host = { promises: () => [], delete: async () => {} };
  const found = { pool: { volume: () => null }, replicas: { host } };
  let isDown = false;
  const writer = {
    removeFinalizer: async () => {
      isDown = true;
    },
  };
  const keeper = new ReplicaKeeper(
    around as unknown as NodeSurroundings,
    { find: () => found } as unknown as OpenPools,
    writer as unknown as Writer,
    { isServed: () => true, volume: () => null },
  );
  await keeper.reconcile('v-a');
  return isDown;
}

test('a replica that is no member goes, though its node coordinates the volume on another pool', async () => {
  assert.equal(await tornDown({ mode: 'replicated', members: ['r-b', 'r-c'] }), true);
});

test('a member, the one copy of a volume, and a volume that is still being withdrawn are waited for', async () => {
  assert.equal(await tornDown({ mode: 'replicated', members: ['r-a', 'r-b'] }), false);
  assert.equal(await tornDown({ mode: 'single', members: [] }), false);
  assert.equal(await tornDown({ mode: 'replicated', members: ['r-b'], isDeleting: true }), false);
});
