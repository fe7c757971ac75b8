// Goal: a pool is scrubbed when it is due by its own record of the last one, never twice at once and never against its
// operator; and walks take what they are allowed, at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepScrubbed, keepWalkRate } from '../../../src/control/index.ts';
import { checkScrub } from '../../../src/kinds/index.ts';
import type { Pool } from '../../../src/store/index.ts';

const now = new Date('2026-11-08T00:00:00Z');
const daysAgo = (days: number): Date => new Date(now.getTime() - days * 86_400_000);

function aPool(state: string, endedAt: Date | null, poolState = 'Online') {
  const calls = { scrubs: 0, rates: [] as number[] };
  const pool = {
    stats: () => ({ state: poolState }),
    devices: {
      scrubStatus: () => ({ state, endedAt }),
      startScrub: async () => {
        calls.scrubs += 1;
      },
      setWalkRate: (rate: number) => calls.rates.push(rate),
    },
  } as unknown as Pool;
  return { pool, calls };
}

async function begins(state: string, endedAt: Date | null, every?: string): Promise<boolean> {
  const { pool, calls } = aPool(state, endedAt);
  const begun = await keepScrubbed(pool, every === undefined ? {} : { every }, now);
  assert.equal(calls.scrubs, begun ? 1 : 0);
  return begun;
}

test('a scrub begins when the last one ended so long ago, or there was none', async () => {
  assert.equal(await begins('None', null, '7d'), true);
  assert.equal(await begins('Done', daysAgo(7), '7d'), true);
  assert.equal(await begins('Done', daysAgo(6.9), '7d'), false);
  assert.equal(await begins('Cancelled', daysAgo(8), '7d'), true);
  assert.equal(await begins('Done', daysAgo(100)), false, 'without a schedule none is due');
});

test('one that runs or was paused is left alone, and a faulted pool too', async () => {
  assert.equal(await begins('Running', null, '7d'), false);
  assert.equal(await begins('Paused', daysAgo(30), '7d'), false);
  const { pool, calls } = aPool('None', null, 'Faulted');
  assert.equal(await keepScrubbed(pool, { every: '7d' }, now), false);
  assert.equal(calls.scrubs, 0);
});

test('what a scrub found before the pool was opened is found once more, with or without a schedule', async () => {
  const status = { state: 'Done', endedAt: daysAgo(1), damagedBlocks: 3 };
  const calls = { scrubs: 0 };
  const opened = (): Pool =>
    ({
      stats: () => ({ state: 'Online' }),
      devices: {
        scrubStatus: () => status,
        startScrub: async () => {
          calls.scrubs += 1;
        },
      },
    }) as unknown as Pool;
  const first = opened();
  for (const every of [{}, { every: '7d' }]) {
    calls.scrubs = 0;
    const pool = opened();
    assert.equal(await keepScrubbed(pool, every, now), true);
    assert.equal(await keepScrubbed(pool, every, now), false, 'once an opening');
    assert.equal(calls.scrubs, 1);
  }
  // One that goes on knows its later part alone: once more after its end, unless somebody cancels it.
  status.state = 'Running';
  const second = opened();
  assert.equal(await keepScrubbed(second, {}, now), false);
  assert.equal(await keepScrubbed(first, {}, now), false);
  status.state = 'Cancelled';
  assert.equal(await keepScrubbed(first, {}, now), false);
  status.state = 'Done';
  assert.equal(await keepScrubbed(second, {}, now), true);
  // What is found in this opening is listed.
  status.damagedBlocks = 0;
  const third = opened();
  assert.equal(await keepScrubbed(third, {}, now), false);
  status.damagedBlocks = 5;
  assert.equal(await keepScrubbed(third, {}, now), false);
});

test('a clock that was set back does not stop the schedule for long', async () => {
  assert.equal(await begins('Done', daysAgo(-3), '7d'), false);
  assert.equal(await begins('Done', daysAgo(-8), '7d'), true);
});

test('the pace is told when it changes, and the standard one when none is asked for any more', () => {
  const { pool, calls } = aPool('None', null);
  keepWalkRate(pool, null);
  keepWalkRate(pool, { bandwidth: '100Mi' });
  keepWalkRate(pool, { bandwidth: '100Mi' });
  keepWalkRate(pool, { bandwidth: 0 });
  keepWalkRate(pool, {});
  assert.deepEqual(calls.rates, [100 * 2 ** 20, 0, 256 * 2 ** 20]);
});

test('what is no schedule is told by its field', () => {
  const faults = (scrub: object): string =>
    checkScrub({ scrub })
      .map(({ field, message }) => `${field} ${message}`)
      .join();
  assert.equal(faults({ every: '30d', bandwidth: '1Mi' }), '');
  assert.match(faults({ every: '30m' }), /spec\.scrub\.every 30m is too often/);
  assert.match(faults({ every: 'weekly' }), /spec\.scrub\.every 'weekly' is not a period/);
  assert.match(faults({ bandwidth: '1k' }), /spec\.scrub\.bandwidth 1k is too little/);
  assert.match(faults({ bandwidth: 'fast' }), /spec\.scrub\.bandwidth 'fast' is not a quantity/);
});
