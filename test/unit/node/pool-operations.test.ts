// Goal: a device that could not join a pool is given back, and none that the pool has.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockDevice, Pool } from '../../../src/kinds/index.ts';
import { PoolOperations } from '../../../src/node/agent/pool-operations.ts';
import { StoreError } from '../../../src/store/index.ts';

/** What is given back when `add` of that device is refused. `paths`: of the open pool. */
async function refusedToAdd(
  device: Partial<BlockDevice['spec']>,
  { paths = [], members = [] }: { paths?: readonly string[]; members?: readonly object[] },
): Promise<string[]> {
  const released: string[] = [];
  const seen = { metadata: { name: 'd' }, spec: { path: '/dev/sdb', ...device } } as BlockDevice;
  const pool = {
    metadata: { name: 'tank' },
    spec: { operation: { request: 'r', action: 'add', devices: ['d'] } },
    status: { devices: members },
  } as unknown as Pool;
  const writer = {
    live: async () => pool,
    status: async (_kind: unknown, object: Pool, change: (status: object) => void) => {
      change(object.status!);
      return object;
    },
  };
  const claims = {
    find: (name: string) => (name === 'd' ? seen : null),
    claim: async () => [seen],
    release: async (_pool: string, names: readonly string[]) => void released.push(...names),
  };
  const open = {
    devices: {
      list: () => paths.map((path) => ({ path })),
      add: () => Promise.reject(new StoreError('STORE_INVALID', 'it is too small')),
    },
  };
  const around = { events: { record() {} }, media: { joining: async () => ({ path: '' }) } };
  const pools = { get: () => open };
  const operations = new PoolOperations(
    around as never,
    pools as never,
    writer as never,
    claims as never,
  );
  await operations.agree(pool);
  assert.equal(pool.status?.operation?.phase, 'Refused');
  return released;
}

test('a device that was refused is given back', async () => {
  assert.deepEqual(await refusedToAdd({}, { paths: ['/dev/sda'] }), ['d']);
});

test('a device of the pool is not, by whichever of its paths the pool has it', async () => {
  const byIdPath = '/dev/disk/by-id/d';
  for (const path of ['/dev/sdb', byIdPath]) {
    assert.deepEqual(await refusedToAdd({ byIdPath }, { paths: ['/dev/sda', path] }), []);
  }
});

test('a device of the pool that is away is not', async () => {
  const members = [{ id: 'x', device: 'd', path: '', state: 'Missing' }];
  assert.deepEqual(await refusedToAdd({}, { paths: ['/dev/sda'], members }), []);
});
