import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, Turn, TurnPhase } from '../../../src/base/index.ts';

test('a turn flushes submissions before sends, again as long as anything defers, at its outermost end', () => {
  const turn = new Turn();
  const log: string[] = [];
  const send = { flushTurn: () => void log.push('send') };
  const submit = {
    flushTurn() {
      log.push('submit');
      turn.defer(TurnPhase.Send, send);
    },
  };
  turn.enter();
  turn.enter();
  turn.defer(TurnPhase.Send, send);
  turn.defer(TurnPhase.Submit, submit);
  turn.leave();
  assert.deepEqual(log, []);
  turn.leave();
  assert.deepEqual(log, ['submit', 'send', 'send']);
});

test('outside a turn what is deferred runs in a microtask', async () => {
  const turn = new Turn();
  let runs = 0;
  turn.defer(TurnPhase.Submit, { flushTurn: () => (runs += 1) });
  assert.equal(runs, 0);
  await null;
  assert.equal(runs, 1);
});

test('a manual clock fires timers in order of time, and none that was cancelled', () => {
  const clock = new ManualClock();
  const fired: string[] = [];
  clock.schedule(20, () => fired.push(`late@${clock.nowMs()}`));
  clock.schedule(10, () => {
    fired.push(`early@${clock.nowMs()}`);
    clock.schedule(5, () => fired.push(`nested@${clock.nowMs()}`));
  });
  clock.schedule(11, () => fired.push('never')).cancel();
  clock.advance(30);
  assert.deepEqual(fired, ['early@10', 'nested@15', 'late@20']);
  assert.equal(clock.pending, 0);
});
