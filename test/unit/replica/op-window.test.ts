import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpWindow } from '../../../src/replica/op-window.ts';

test('the head passes ops that are done, in order, however they end', () => {
  const window = new OpWindow();
  const slots = [11, 12, 13, 15].map((op) => window.push(op, 1));
  assert.equal(window.end(slots[1]!, true), -1, 'op 11 is still running');
  assert.equal(window.end(slots[0]!, true), 12);
  assert.equal(window.end(slots[3]!, true), -1);
  assert.equal(window.end(slots[2]!, true), 15);
  assert.equal(window.running, 0);
  assert.equal(window.head, window.tail);
});

test('an op that failed stops the head for good: what came after it is no contiguous history (W10)', () => {
  const window = new OpWindow();
  const slots = [1, 2, 3].map((op) => window.push(op, 1));
  assert.equal(window.end(slots[0]!, true), 1);
  assert.equal(window.end(slots[1]!, false), -1);
  assert.equal(window.end(slots[2]!, true), -1);
  assert.equal(window.failed, 1);
  assert.equal(window.head, slots[1]);
  window.reset();
  assert.equal(window.failed, 0, 'the session that begins with a record begins without it');
});

test('more ops than it has room for at first keep their numbers', () => {
  const window = new OpWindow();
  const slots = Array.from({ length: 1000 }, (_, index) => window.push(index + 1, 2));
  for (const slot of slots.slice(1).reverse()) assert.equal(window.end(slot, true), -1);
  assert.equal(window.opOf(slots[0]!), 1);
  assert.equal(window.sessionOf(slots[999]!), 2);
  assert.equal(window.end(slots[0]!, true), 1000);
});
