import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../src/base/index.ts';
import { WorkQueue } from '../../../src/controllers/index.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

function setUp(work: (key: string) => Promise<void>, workers = 4) {
  const clock = new ManualClock();
  const errors: number[] = [];
  const queue = new WorkQueue({
    clock,
    work,
    workers,
    onError: (_key, _error, retryMs) => errors.push(retryMs),
  });
  return { clock, errors, queue };
}

test('a key that is asked for twice is looked at once; one asked for meanwhile, once more', async () => {
  const looks: string[] = [];
  let release: () => void = () => {};
  const { queue } = setUp(async (key) => {
    looks.push(key);
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  queue.add('a');
  queue.add('a');
  await turn();
  queue.add('a');
  queue.add('a');
  await turn();
  assert.deepEqual(looks, ['a']);
  release();
  await turn();
  assert.deepEqual(looks, ['a', 'a']);
  release();
  await turn();
  assert.ok(queue.idle);
});

test('what fails comes again after a wait that doubles up to a bound, and starts small after a success', async () => {
  let fail = true;
  const { clock, errors, queue } = setUp(async () => {
    if (fail) throw new Error('no');
  });
  queue.add('a');
  for (let index = 0; index < 14; index += 1) {
    await turn();
    clock.advance(30_000);
  }
  await turn();
  assert.deepEqual(errors.slice(0, 4), [20, 40, 80, 160]);
  assert.equal(Math.max(...errors), 30_000);
  fail = false;
  clock.advance(30_000);
  await turn();
  fail = true;
  queue.add('a');
  await turn();
  assert.equal(errors.at(-1), 20);
});

test('no more workers than allowed; stop waits for them and takes nothing more', async () => {
  let running = 0;
  let most = 0;
  const releases: (() => void)[] = [];
  const { clock, queue } = setUp(async () => {
    running += 1;
    most = Math.max(most, running);
    await new Promise<void>((resolve) => releases.push(resolve));
    running -= 1;
  }, 2);
  for (const key of ['a', 'b', 'c', 'd']) queue.add(key);
  queue.addAfter('later', 1000);
  await turn();
  assert.equal(most, 2);
  let stopped = false;
  void queue.stop().then(() => {
    stopped = true;
  });
  await turn();
  assert.equal(stopped, false);
  for (const release of releases) release();
  await turn();
  assert.equal(stopped, true);
  queue.add('e');
  await turn();
  assert.equal(running, 0);
  assert.equal(clock.pending, 0);
});

test('looks that wait for nothing leave the event loop its turns', async () => {
  let looks = 0;
  const { queue } = setUp(async () => {
    looks += 1;
  });
  for (let key = 0; key < 1000; key += 1) queue.add(`key-${key}`);
  await turn();
  assert.ok(looks > 0 && looks < 50, `${looks} looks before anything else had its turn`);
  while (!queue.idle) await turn();
  assert.equal(looks, 1000);
});
