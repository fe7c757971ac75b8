import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../src/base/index.ts';
import { givenTime } from '../../../src/store/long-opening.ts';

test('a long opening asks for more time until it ends; a short one asks for none', async () => {
  for (const fails of [false, true]) {
    const clock = new ManualClock();
    const asked: string[] = [];
    const told: string[] = [];
    let resolve: (pool: string) => void = () => {};
    let reject: (error: Error) => void = () => {};
    const opening = new Promise<string>((...ends) => {
      [resolve, reject] = ends;
    });
    const opened = givenTime(opening, {
      clock,
      notify: (text) => asked.push(text),
      tell: (message) => told.push(message),
    });
    clock.advance(5000);
    assert.deepEqual(asked, []);
    // Longer than any limit; never longer silent than what it asked for.
    clock.advance(600_000);
    assert.ok(asked.length >= 600 / 120, `${asked.length}`);
    assert.ok(asked.every((text) => text === 'EXTEND_TIMEOUT_USEC=120000000'));
    assert.equal(told.length, 1);
    const before = asked.length;
    if (fails) reject(new Error('no'));
    else resolve('pool');
    if (fails) await assert.rejects(opened, /no/);
    else assert.equal(await opened, 'pool');
    clock.advance(600_000);
    assert.equal(asked.length, before);
    assert.equal(clock.pending, 0);
  }
});
