// Two coordinators for one volume: once the new one has its epoch, the old one completes not a single write, and serves
// not a single read (E2, E3, E5). However the two came to be: a paused process that wakes up, a partition, or both.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoStatus } from '../../src/block/index.ts';
import { CoordinatorPhase } from '../../src/volume/coordinator/interfaces.ts';
import { type Outcome, Scenario } from './scenario.ts';

/** Writes and reads go on at both all the time; what each of the old one's operations came to is returned. */
function contest(
  scenario: Scenario,
  begin: (scenario: Scenario) => void,
  end: (scenario: Scenario) => void,
): void {
  const old = scenario.activate(0);
  const outcomes: Outcome[] = [];
  let newEpochMs = Number.POSITIVE_INFINITY;
  const next = scenario.coordinator(1);
  const step = (): void => {
    for (const lba of [0, 1, 2]) outcomes.push(scenario.write(old, lba));
    outcomes.push(scenario.read(old, 3));
    outcomes.push(scenario.flush(old));
    const { core } = next;
    if (
      core !== null &&
      newEpochMs === Number.POSITIVE_INFINITY &&
      core.phase >= CoordinatorPhase.Reconciling
    ) {
      newEpochMs = scenario.nowMs;
    }
    if (core?.phase === CoordinatorPhase.Active) scenario.write(next, 0);
    scenario.run(20);
  };
  for (let count = 0; count < 50; count += 1) step();
  assert.ok(outcomes.some(({ status }) => status === IoStatus.Ok));
  begin(scenario);
  next.start();
  for (let count = 0; count < 1000 && next.core?.phase !== CoordinatorPhase.Active; count += 1)
    step();
  assert.equal(next.core?.phase, CoordinatorPhase.Active, 'the new one has taken over');
  for (let count = 0; count < 100; count += 1) step();
  end(scenario);
  for (let count = 0; count < 300; count += 1) step();
  const late = outcomes.filter(
    ({ status, endMs }) => status === IoStatus.Ok && endMs >= newEpochMs,
  );
  assert.equal(late.length, 0, `${late.length} operations were completed by the old coordinator`);
  // The new one serves, with everything that was acknowledged: the checker looked at each activation and each read.
  scenario.ok(scenario.write(next, 0, 4));
  scenario.ok(scenario.flush(next));
  const read = scenario.ok(scenario.read(next, 0, 4));
  assert.equal(read.op.got!.values.length, 4);
}

for (const members of [1, 2, 3, 5]) {
  for (const seed of [1, 2, 3, 4, 5]) {
    const options = { members, seed, blocks: 4 };
    test(`a paused coordinator wakes up, ${members} members, seed ${seed}`, () => {
      contest(
        new Scenario(options),
        (scenario) => scenario.coordinator(0).pause(),
        (scenario) => scenario.coordinator(0).resume(),
      );
    });
    test(`a coordinator is cut off from all, ${members} members, seed ${seed}`, () => {
      const all = Array.from({ length: members }, (_, index) => index);
      contest(
        new Scenario(options),
        (scenario) => scenario.cut(0, ...all),
        (scenario) => scenario.join(0, ...all),
      );
    });
  }
}

for (const seed of [1, 2, 3, 4, 5]) {
  test(`a coordinator keeps one member on its side, the other has two, seed ${seed}`, () => {
    contest(
      new Scenario({ members: 3, seed }),
      (scenario) => {
        scenario.cut(0, 1, 2);
        scenario.cut(1, 0);
      },
      (scenario) => {
        scenario.join(0, 1, 2);
        scenario.join(1, 0);
      },
    );
  });
  test(`the answers reach the old coordinator no more, its writes still arrive, seed ${seed}`, () => {
    contest(
      new Scenario({ members: 3, seed }),
      ({ cluster }) => {
        for (const member of [0, 1, 2]) cluster.network.setCut(0, member, false, true);
      },
      (scenario) => scenario.join(0, 0, 1, 2),
    );
  });
}
