// Goal: what waits long wakes together, in one turn, never early and hardly late; what is near is not touched.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, SlottedClock, Turn, TurnPhase } from '../../../src/base/index.ts';

function setUp() {
  const clock = new ManualClock();
  const turn = new Turn();
  return { clock, turn, slotted: new SlottedClock(clock, turn) };
}

test('timers that are far off fire together, after their time and at most a tenth late', () => {
  const { clock, turn, slotted } = setUp();
  clock.advance(12_345.6);
  const fired: number[] = [];
  let flushes = 0;
  const flushable = { flushTurn: () => (flushes += 1) };
  let deferred = false;
  for (let n = 0; n < 40; n += 1) {
    const wantedMs = clock.nowMs() + 1000 + n;
    slotted.schedule(1000 + n, () => {
      const lateMs = clock.nowMs() - wantedMs;
      assert.ok(lateMs >= 0 && lateMs <= 100, `late by ${lateMs}`);
      fired.push(n);
      if (!deferred) turn.defer(TurnPhase.Send, flushable);
      deferred = true;
    });
  }
  assert.ok(clock.pending <= 2, `${clock.pending} timers below`);
  clock.advance(1200);
  assert.equal(fired.length, 40);
  assert.equal(flushes, 1, 'what was said in a slot leaves at its end');
  assert.equal(clock.pending, 0);
});

test('what is near fires when it should', () => {
  const { clock, slotted } = setUp();
  let atMs = -1;
  slotted.schedule(7, () => {
    atMs = clock.nowMs();
  });
  clock.advance(100);
  assert.equal(atMs, 7);
});

test('what is cancelled does not fire, also by another of its slot', () => {
  const { clock, slotted } = setUp();
  const fired: string[] = [];
  const cancelled = slotted.schedule(1000, () => fired.push('cancelled before'));
  cancelled.cancel();
  slotted.schedule(1000, () => {
    fired.push('first');
    second.cancel();
    // From inside: a slot of its own, never this one again.
    slotted.schedule(1000, () => fired.push('again'));
  });
  const second = slotted.schedule(1000, () => fired.push('second'));
  clock.advance(1000);
  assert.deepEqual(fired, ['first']);
  clock.advance(1100);
  assert.deepEqual(fired, ['first', 'again']);
});
