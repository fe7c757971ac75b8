// The simulator's own time: timers are never early, and an instant that never ends is noticed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimClock } from './clock.ts';
import { Rng } from './rng.ts';
import { Scheduler } from './scheduler.ts';

test('at the time that a clock names for an instant it says that instant or later', () => {
  const scheduler = new Scheduler();
  const rng = new Rng(1);
  for (let round = 0; round < 100_000; round += 1) {
    const clock = new SimClock(scheduler, rng.between(0.995, 1.005), rng.between(0, 1e6));
    scheduler.nowMs = rng.between(0, 2e6);
    const wakeAtMs = clock.now() + rng.between(0, 5000);
    scheduler.nowMs = clock.when(wakeAtMs);
    const lateMs = clock.now() - wakeAtMs;
    assert.ok(lateMs >= 0 && lateMs < 0.000_01, `${lateMs} ms late`);
  }
});

test('events that go on for ever at one instant end the run', () => {
  const scheduler = new Scheduler();
  const again = (): void => scheduler.after(0, again);
  again();
  assert.throws(() => scheduler.runUntil(1), /time stands still at 0 ms/);
});
