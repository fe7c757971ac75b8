import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../src/base/index.ts';
import { MOST_OPENINGS, OPENING_MS, Openings } from '../../../src/node/agent/openings.ts';

function setUp(count: number) {
  const clock = new ManualClock();
  const nudged: string[] = [];
  const openings = new Openings({ clock, nudge: (name) => nudged.push(name) });
  const names = Array.from({ length: count }, (_, index) => `volume-${index}`);
  return { clock, nudged, openings, names };
}

test('so many begin at one time; each that serves makes room for the one that has waited longest', () => {
  const { clock, nudged, openings, names } = setUp(MOST_OPENINGS + 3);
  const begun = names.filter((name) => openings.begin(name));
  assert.equal(begun.length, MOST_OPENINGS);
  assert.ok(openings.begin('volume-0'), 'one that has begun goes on');
  openings.end('volume-5');
  assert.deepEqual(nudged, [`volume-${MOST_OPENINGS}`]);
  assert.ok(openings.begin(nudged[0]!));
  openings.end(`volume-${MOST_OPENINGS + 1}`); // Gone while it waited.
  openings.end('volume-6');
  assert.deepEqual(nudged.slice(1), [`volume-${MOST_OPENINGS + 2}`]);
  openings.close();
  assert.equal(clock.pending, 0);
});

test('who waits for replicas that are away does not keep the others waiting', () => {
  const { clock, nudged, openings, names } = setUp(3 * MOST_OPENINGS);
  for (const name of names) openings.begin(name);
  clock.advance(OPENING_MS);
  assert.equal(nudged.length, MOST_OPENINGS);
  for (const name of nudged) assert.ok(openings.begin(name));
  clock.advance(OPENING_MS);
  assert.equal(new Set(nudged).size, 2 * MOST_OPENINGS);
});
