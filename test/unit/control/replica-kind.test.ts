// What a replica's object says under `ashlar serve`: above all why it is away, which its last fault does not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../src/base/index.ts';
import { replicaKind } from '../../../src/control/replica-kind.ts';
import type { ReplicaFacts } from '../../../src/control/replication.ts';
import type { VolumeController } from '../../../src/control/volume-controller.ts';
import type { Replica } from '../../../src/kinds/index.ts';

async function shown(facts: Partial<ReplicaFacts>): Promise<Replica['status']> {
  const whole = {
    id: 'v-r1',
    node: '10.0.0.2:9809',
    connected: true,
    state: 'InSync',
    lastFault: '',
    linkReason: '',
  };
  const volume = {
    metadata: { name: 'v', uid: 'u', creationTimestamp: '' },
    size: '1Gi',
    replicas: [],
  };
  const controller = { replicas: () => [{ volume, facts: { ...whole, ...facts } }] };
  const { backend } = replicaKind(controller as unknown as VolumeController, new ManualClock());
  return ((await backend!.get(null, 'v-r1')) as Replica | null)?.status;
}

test('a replica that is away says why it cannot be reached, not how it was lost', async () => {
  const away = { connected: false, lastFault: 'its connection ended' };
  const status = await shown({ ...away, linkReason: 'the secrets differ' });
  assert.equal(status?.phase, 'Offline');
  assert.deepEqual(status.conditions, [
    { type: 'Ready', status: 'False', reason: 'Offline', message: 'the secrets differ' },
  ]);
  // While it is being tried.
  assert.equal((await shown(away))?.conditions?.[0]?.message, 'its connection ended');
});

test('one that is there says how it is', async () => {
  assert.equal((await shown({}))?.conditions?.[0]?.status, 'True');
  assert.equal((await shown({ state: 'Witness' }))?.conditions?.[0]?.status, 'True');
  const stale = (await shown({ state: 'Stale', lastFault: 'it lagged' }))?.conditions?.[0];
  assert.deepEqual([stale?.status, stale?.reason, stale?.message], ['False', 'Stale', 'it lagged']);
});
