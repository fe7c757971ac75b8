import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../../src/base/index.ts';
import type { Catalog } from '../../../src/controllers/index.ts';
import { NodeSpace } from '../../../src/daemon/node-space.ts';
import type { Pool, Replica } from '../../../src/kinds/index.ts';

const GI = 2 ** 30;

/** Pools of 100 GiB, of which so many are taken. */
function aNode(takenGi: Record<string, number>, thresholdPercent = 85) {
  const pools = new Map<string, Pool>();
  const set = (name: string, taken: number): Pool => {
    const status = {
      usableBytes: 100 * GI,
      allocatedBytes: (taken + 1) * GI,
      pendingFreeBytes: GI,
      freeBytes: (100 - taken) * GI,
    };
    const pool = { metadata: { name }, spec: { nodeName: 'n' }, status } as unknown as Pool;
    pools.set(name, pool);
    return pool;
  };
  for (const [name, taken] of Object.entries(takenGi)) set(name, taken);
  const replicas: Replica[] = [...pools.keys()].map(
    (poolName) => ({ spec: { poolName, witness: poolName === 'w' } }) as unknown as Replica,
  );
  let onPool: (pool: Pool, before: Pool | null, isGone: boolean) => void = () => {};
  const catalog = {
    all: () => [...pools.values()],
    get: (_kind: unknown, name: string) => pools.get(name) ?? null,
    where: (_index: unknown, volume: string) => (volume === 'db' ? replicas : []),
    onChange: (_kind: unknown, listener: typeof onPool) => {
      onPool = listener;
    },
  } as unknown as Catalog;
  let told = 0;
  const tell = () => {
    told += 1;
  };
  const space = new NodeSpace({ catalog, nodeName: 'n', thresholdPercent, log: silentLog, tell });
  const take = (name: string, taken: number) => onPool(set(name, taken), null, false);
  return {
    space,
    take,
    told: () => told,
    forget: (name: string) => onPool(pools.get(name)!, null, true),
  };
}

test('what hosts may ask of a volume is of its fullest pool, whichever node that is on; a witness does not count', () => {
  const { space } = aNode({ a: 10, b: 40, w: 99 });
  assert.deepEqual(space.spaceOf('db'), {
    usedBytes: 40 * GI,
    availableBytes: 60 * GI,
    tellAtBytes: 15 * GI,
  });
  assert.equal(space.spaceOf('other'), null);
});

test('hosts are told when one of its pools reaches the threshold, and again only after it fell below that by some', () => {
  const { space, take, told, forget } = aNode({ a: 10, b: 40 });
  take('b', 84);
  assert.equal(told(), 0);
  take('b', 85);
  assert.equal(told(), 1);
  assert.ok(space.isLow('db'));
  assert.ok(!space.isLow('other'));
  take('b', 83);
  assert.ok(space.isLow('db'), 'near the threshold it does not come and go');
  take('b', 81);
  assert.ok(!space.isLow('db'));
  take('b', 90);
  forget('b');
  assert.ok(!space.isLow('db'));
});

test('a threshold of 0 is none', () => {
  const { space, take } = aNode({ a: 10 }, 0);
  take('a', 99);
  assert.ok(!space.isLow('db'));
  assert.equal(space.spaceOf('db')?.tellAtBytes, null);
});
