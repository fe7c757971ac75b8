// Goal: of the stores that no object names, a node deletes those that were never used, and those that their healthy volume
// has let go of; and no other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, silentLog } from '../../../src/base/index.ts';
import type { Writer } from '../../../src/controllers/index.ts';
import { REPLICA, VOLUME } from '../../../src/kinds/index.ts';
import { ReplicaKeeper } from '../../../src/node/agent/replicas.ts';
import type { NodeSurroundings, OpenPools } from '../../../src/node/agent/surroundings.ts';

const VOLUME_ID = 'v-uid';

/** One store on the node, of volume `v` if there is one; the replica's object `v-a` is member r-a. */
async function swept(options: {
  readonly replicaId: string;
  readonly promised: number;
  readonly state?: string;
  readonly members?: readonly string[];
  readonly rounds?: number;
  /** So long the node has been there. */
  readonly afterMs?: number;
}): Promise<boolean> {
  const { replicaId, promised, state, members = ['r-a', 'r-b'], rounds = 2 } = options;
  const clock = new ManualClock();
  const volume = {
    metadata: { name: 'v', uid: VOLUME_ID },
    status: { state, members: members.map((id) => ({ id, replica: id })) },
  };
  const volumes = state === undefined ? [] : [volume];
  const replicas = [{ metadata: { name: 'v-a', uid: 'a' }, spec: { volumeName: 'v' } }];
  const catalog = {
    all: (kind: unknown) => (kind === VOLUME ? volumes : []),
    get: () => null,
    where: ({ kind }: { kind: unknown }) => (kind === REPLICA ? replicas : []),
  };
  const deleted: string[] = [];
  const host = {
    promises: () => [{ volumeId: VOLUME_ID, replicaId, promised }],
    delete: async (_volumeId: string, id: string) => void deleted.push(id),
  };
  const pool = { pool: {}, replicas: { host } };
  const open = { all: () => [['p', pool.pool]], find: () => pool };
  const around = {
    nodeName: 'n',
    catalog,
    clock,
    log: silentLog,
    client: { list: async () => ({ items: volumes }) },
  };
  const keeper = new ReplicaKeeper(
    around as unknown as NodeSurroundings,
    open as unknown as OpenPools,
    {} as Writer,
    { isServed: () => false, volume: () => null },
  );
  clock.advance(options.afterMs ?? 61_000);
  for (let round = 0; round < rounds; round += 1) await keeper.sweep();
  return deleted.includes(replicaId);
}

test('a store that was never used goes when there is no volume of it, at the second look', async () => {
  assert.equal(await swept({ replicaId: 'r-x', promised: 0 }), true);
  assert.equal(await swept({ replicaId: 'r-x', promised: 0, rounds: 1 }), false);
  assert.equal(await swept({ replicaId: 'r-x', promised: 0, state: 'Init' }), false);
});

test('a store with data goes when its volume is healthy without it', async () => {
  const stale = { replicaId: 'r-x', promised: 3 };
  assert.equal(await swept({ ...stale, state: 'Healthy' }), true);
  assert.equal(await swept({ ...stale, state: 'Healthy', rounds: 1 }), false);
});

test('a store with data stays while the node was only just started: that its volume is healthy may be old news', async () => {
  const stale = { replicaId: 'r-x', promised: 3, state: 'Healthy' };
  assert.equal(await swept({ ...stale, afterMs: 60_000 }), false);
  assert.equal(await swept({ replicaId: 'r-x', promised: 0, afterMs: 0 }), true, 'holds nothing');
});

test('a store with data stays where its volume may need it, or is not there', async () => {
  const stale = { replicaId: 'r-x', promised: 3 };
  assert.equal(await swept(stale), false, 'whatever became of its volume');
  assert.equal(await swept({ ...stale, state: 'Degraded' }), false);
  assert.equal(await swept({ ...stale, state: 'Healthy', members: [] }), false);
  assert.equal(await swept({ ...stale, state: 'Healthy', members: ['r-x'] }), false);
  assert.equal(
    await swept({ replicaId: 'r-a', promised: 3, state: 'Healthy', members: ['r-b'] }),
    false,
    'its object is there',
  );
});
