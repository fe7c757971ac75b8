import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpRing } from '../../../src/volume/coordinator/op-ring.ts';

test('more ops than it has room for at first are found by their numbers, also while the first ones leave', () => {
  const ring = new OpRing();
  const entries = new Map<number, object>();
  for (let round = 0; round < 1000; round += 1) {
    for (let count = 0; count < 3; count += 1) {
      const entry = ring.push();
      entry.lba = entry.opNumber * 8;
      entries.set(entry.opNumber, entry);
    }
    ring.shift();
  }
  assert.equal(ring.first, 1001);
  assert.equal(ring.length, 2000);
  for (let number = ring.first; number < ring.next; number += 1) {
    assert.equal(ring.get(number), entries.get(number));
    assert.equal(ring.get(number)?.lba, number * 8);
  }
  assert.equal(ring.get(1000), null);
  assert.equal(ring.get(ring.next), null);
});

test('a new epoch begins at 1, in the room that there is', () => {
  const ring = new OpRing();
  for (let count = 0; count < 100; count += 1) ring.push();
  ring.reset();
  assert.equal(ring.length, 0);
  assert.equal(ring.push().opNumber, 1);
  assert.equal(ring.get(2), null);
});
