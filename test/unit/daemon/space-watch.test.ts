// The soft threshold: told once when it is reached, and again only after there was space in between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Log, ManualClock, silentLog } from '../../../src/base/index.ts';
import { provisioningSpace, SpaceWatch } from '../../../src/daemon/space-watch.ts';
import { type PoolStats, STORE_BLOCK_BYTES } from '../../../src/store/index.ts';

function aWatch(thresholdPercent: number, rebuiltPages = 0) {
  const clock = new ManualClock();
  const told: boolean[] = [];
  const stats = {
    usableBlocks: 1000,
    allocatedBlocks: 0,
    pendingFreeBlocks: 0,
    unknownBlocks: 0,
    rebuiltPages,
  };
  const said: string[] = [];
  const log: Log = {
    ...silentLog,
    warn: (_, message) => said.push(message),
    error: (_, message) => said.push(message),
  };
  const watch = new SpaceWatch({
    stats: () => stats as PoolStats,
    thresholdPercent,
    clock,
    log,
    tell: (low) => told.push(low),
  });
  return { clock, told, said, stats, watch };
}

test('it is told when the threshold is reached, once, and again after there was space', () => {
  const { clock, told, stats, watch } = aWatch(85);
  stats.allocatedBlocks = 849;
  clock.advance(10_000);
  assert.deepEqual(told, []);
  stats.allocatedBlocks = 850;
  clock.advance(20_000);
  assert.deepEqual(told, [true]);
  // A little less is not enough: it would be told over and over at the edge.
  stats.allocatedBlocks = 830;
  clock.advance(10_000);
  stats.allocatedBlocks = 860;
  clock.advance(10_000);
  assert.deepEqual(told, [true]);
  // Freed and waiting for a checkpoint is as good as free.
  stats.pendingFreeBlocks = 100;
  clock.advance(10_000);
  stats.pendingFreeBlocks = 0;
  clock.advance(10_000);
  assert.deepEqual(told, [true, false, true]);
  watch.stop();
  stats.allocatedBlocks = 0;
  clock.advance(60_000);
  assert.equal(told.length, 3);
});

test('a threshold of 0 is none', () => {
  const { clock, told, stats } = aWatch(0);
  stats.allocatedBlocks = 1000;
  clock.advance(60_000);
  assert.deepEqual(told, []);
});

test('a map of free space that is damaged, or was, is in the log', () => {
  const { clock, said, stats } = aWatch(0, 3);
  assert.match(said.join(), /was made anew/);
  stats.unknownBlocks = 31744;
  clock.advance(60_000);
  assert.equal(said.length, 2);
  assert.match(said[1] ?? '', /not usable before the pool is opened again/);
});

test('what hosts may ask agrees with what they are told', () => {
  const { stats, told, clock } = aWatch(85);
  const space = (percent = 85) => provisioningSpace(stats as PoolStats, percent);
  stats.allocatedBlocks = 870;
  stats.pendingFreeBlocks = 21;
  assert.deepEqual(space(), {
    usedBytes: 849 * STORE_BLOCK_BYTES,
    availableBytes: 151 * STORE_BLOCK_BYTES,
    tellAtBytes: 150 * STORE_BLOCK_BYTES,
  });
  clock.advance(10_000);
  assert.deepEqual(told, []);
  stats.pendingFreeBlocks = 20;
  clock.advance(10_000);
  assert.deepEqual([told, space().availableBytes], [[true], space().tellAtBytes]);
  assert.equal(space(0).tellAtBytes, null);
});
