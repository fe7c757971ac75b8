// Goal: W1. Two operations that overlap and conflict never run together, nobody passes an earlier one that it conflicts
// with, and nobody waits for one that it does not.
// Method: random operations, with a slow model beside it that goes by the words above.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BlockOp } from '../../../src/block/index.ts';
import { AccessMode, Admission } from '../../../src/volume/admission.ts';

interface Entry {
  readonly op: BlockOp;
  readonly start: number;
  readonly end: number;
  readonly mode: AccessMode;
}

function conflict(a: Entry, b: Entry): boolean {
  if (a.start >= b.end || b.start >= a.end) return false;
  return a.mode !== b.mode || a.mode === AccessMode.Exclusive;
}

/** All that have not ended, in order of arrival: one runs when it conflicts with none before it. */
class Model {
  readonly all: Entry[] = [];

  running(): Set<BlockOp> {
    const running = this.all.filter(
      (entry, index) => !this.all.slice(0, index).some((earlier) => conflict(earlier, entry)),
    );
    return new Set(running.map(({ op }) => op));
  }
}

const anEntry = fc.record({
  start: fc.nat(12),
  length: fc.integer({ min: 1, max: 6 }),
  mode: fc.constantFrom(AccessMode.Read, AccessMode.Change, AccessMode.Exclusive),
});
const aStep = fc.oneof(
  { weight: 3, arbitrary: anEntry.map((entry) => ({ ...entry, release: null })) },
  { weight: 2, arbitrary: fc.nat(100).map((release) => ({ release })) },
);

test('who may run, runs; who may not, waits', () => {
  fc.assert(
    fc.property(fc.array(aStep, { maxLength: 80 }), fc.boolean(), (steps, isLate) => {
      const model = new Model();
      const running = new Set<BlockOp>();
      const order: BlockOp[] = [];
      const admission = new Admission((op) => {
        assert.ok(!running.has(op), 'started twice');
        running.add(op);
        order.push(op);
      });
      for (const step of steps) {
        if (step.release === null) {
          const op = new BlockOp();
          const { start, length, mode } = step;
          model.all.push({ op, start, end: start + length, mode });
          if (admission.admit(op, start, start + length, mode)) running.add(op);
          assert.equal(running.has(op), model.running().has(op));
        } else if (running.size > 0) {
          const op = [...running][step.release % running.size]!;
          const at = model.all.findIndex((entry) => entry.op === op);
          running.delete(op);
          admission.release(op);
          model.all.splice(at, 1);
          // What arrives between the end of one and the start of those that waited for it passes none of them.
          if (isLate && model.all.length > 0) {
            const late = { op: new BlockOp(), start: 0, end: 20, mode: AccessMode.Exclusive };
            model.all.push(late);
            assert.equal(admission.admit(late.op, late.start, late.end, late.mode), false);
          }
          order.length = 0;
          admission.startWaiters();
          const places = order.map((started) =>
            model.all.findIndex(({ op: one }) => one === started),
          );
          assert.deepEqual(
            places,
            [...places].sort((a, b) => a - b),
            'in order of arrival',
          );
        }
        assert.deepEqual(running, model.running());
        assert.equal(admission.runningCount, running.size);
        assert.equal(admission.waitingCount, model.all.length - running.size);
      }
    }),
    { numRuns: 500 },
  );
});

test('ends that start the next, which ends at once, do not go down the stack', () => {
  const admission: Admission = new Admission((op) => {
    started += 1;
    admission.release(op);
    admission.startWaiters();
  });
  let started = 0;
  const first = new BlockOp();
  assert.ok(admission.admit(first, 0, 1, AccessMode.Exclusive));
  const COUNT = 20_000;
  for (let index = 0; index < COUNT; index += 1) {
    assert.ok(!admission.admit(new BlockOp(), 0, 1, AccessMode.Exclusive));
  }
  admission.release(first);
  admission.startWaiters();
  assert.equal(started, COUNT);
  assert.equal(admission.runningCount + admission.waitingCount, 0);
});

test('an end costs by who waits, not by its square', () => {
  const COUNT = 3000;
  const admission = new Admission(() => {});
  const readers = Array.from({ length: COUNT }, () => new BlockOp());
  for (const [index, op] of readers.entries())
    admission.admit(op, index, index + 1, AccessMode.Read);
  for (let index = 0; index < COUNT; index += 1) {
    admission.admit(new BlockOp(), index, index + 1, AccessMode.Change);
  }
  assert.equal(admission.waitingCount, COUNT);
  const began = process.cpuUsage().user;
  for (const op of readers.reverse()) {
    admission.release(op);
    admission.startWaiters();
  }
  assert.equal(admission.waitingCount, 0);
  // Some tens of milliseconds; by its square, a minute.
  assert.ok(process.cpuUsage().user - began < 5_000_000);
});
