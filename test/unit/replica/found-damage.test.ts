// Goal: what a scrub found damaged is told to the coordinator of the replica that has it, in pieces, again until it is mended,
// and seldom where nothing of it is (H4).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FoundDamage } from '../../../src/replica/found-damage.ts';
import type { DamagedBlock, Pool } from '../../../src/store/index.ts';
import { MAX_DAMAGE_TOLD } from '../../../src/wire/messages.ts';

function world(list: DamagedBlock[]) {
  const clock = { now: 0, nowMs: () => clock.now };
  let looks = 0;
  const damage = (): DamagedBlock[] => {
    looks += 1;
    return list;
  };
  const pool = { devices: { damage } } as unknown as Pool;
  return { clock, found: new FoundDamage({ pool, clock: clock as never }), looks: () => looks };
}

const data = (volume: string, lba: number): DamagedBlock => ({ volume, lba, isData: true });

test('a replica hears of its volume and of its snapshots, and of nothing else', () => {
  const { found } = world([
    data('replica/v/v-r1', 1),
    data('replica/v/v-r1@s-1', 2),
    data('branch/v/v-r1/s-2@s-2', 3),
    data('replica/v/v-r1@~s-2', 4), // What the branch stands on.
    data('branch/v/v-r1/s-3', 5), // Not sealed.
    data('branch/v/v-r1/s-2@s-3', 6), // Left of another.
    data('replica/v/v-r10', 7),
    data('db', 8),
    data('db@s', 9),
    { volume: 'replica/v/v-r1', lba: 0, isData: false },
    { volume: '', lba: 0, isData: false },
  ]);
  assert.deepEqual(found.take('replica/v/v-r1'), [
    { lba: 1, snapshotId: null },
    { lba: 2, snapshotId: 's-1' },
    { lba: 3, snapshotId: 's-2' },
    { lba: 4, snapshotId: 's-2' },
  ]);
  assert.deepEqual(found.take('replica/v/v-r10'), [{ lba: 7, snapshotId: null }]);
  assert.deepEqual(found.take('replica/w/w-r1'), []);
});

test('it is told in pieces, and again later, ever more seldom until some of it is mended', () => {
  const list = Array.from({ length: MAX_DAMAGE_TOLD + 1 }, (_, lba) => data('replica/v/r', lba));
  const { clock, found, looks } = world(list);
  const told = (): number => found.take('replica/v/r').length;
  assert.deepEqual([told(), told(), told()], [MAX_DAMAGE_TOLD, 1, 0]);
  const roundsIn = (seconds: number): number => {
    let places = 0;
    for (const endMs = clock.now + seconds * 1000; clock.now < endMs; ) {
      clock.now += 500;
      places += told();
    }
    return Math.round(places / list.length);
  };
  assert.equal(roundsIn(2), 1);
  roundsIn(600);
  assert.ok(roundsIn(600) <= 10, 'as nothing was mended');
  list.splice(0, 5);
  roundsIn(60);
  assert.ok(looks() <= clock.now / 1000 + 1);
  list.splice(0, 5);
  assert.ok(roundsIn(120) >= 2, 'it is tried again soon');
  list.length = 0;
  clock.now += 1000;
  assert.equal(told(), 0);
});
