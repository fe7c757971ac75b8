// Goal: an epoch that has no numbers left (E1) ends without a failed write: the coordinator takes the next one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Scenario } from '../../sim/scenario.ts';

test('writes go on over the last number of an epoch, one by one and many at a time', () => {
  const scenario = new Scenario({ members: 3, blocks: 8, lastOpNumber: 40 });
  const coordinator = scenario.activate(0);
  const { epoch } = coordinator.core!;
  for (let count = 0; count < 100; count += 1) scenario.ok(scenario.write(coordinator, count % 8));
  assert.equal(coordinator.core!.epoch, epoch + 2);
  // Those that have no answer when the epoch ends get numbers of the next one.
  for (let round = 0; round < 10; round += 1) {
    const write = (_: unknown, index: number) => scenario.write(coordinator, index % 8);
    for (const outcome of Array.from({ length: 30 }, write)) scenario.ok(outcome);
  }
  assert.ok(coordinator.core!.epoch >= epoch + 9);
  scenario.ok(scenario.read(coordinator, 0, 8));
});
