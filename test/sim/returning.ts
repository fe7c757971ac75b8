// Directed scenarios of members that come back with less than the record says (B5, B7).
import { MemberState } from '../../src/wire/record.ts';
import { type Directed, patient, Scenario, tryActivate } from './scenario.ts';

/** Blocks that are copied one by one: neighbours go together. */
const APART = [0, 2, 4, 6];

/** B5: a joiner goes when it has a part of what it missed, and comes back. */
export const interruptedJoin: Directed = (rules, trace = false) => {
  const config = { ...patient, rebuildBytesPerSecond: 4096 };
  const scenario = new Scenario({ rules, members: 3, blocks: 8, config, trace });
  const first = scenario.activate(0);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  scenario.run(1500);
  scenario.cut(0, 2);
  const stateOf = () => first.core!.record!.members[2]!.state;
  scenario.until('member 2 is away', () => stateOf() === MemberState.Stale);
  for (const lba of APART) scenario.ok(scenario.write(first, lba));
  scenario.join(0, 2);
  scenario.until('it joins', () => stateOf() === MemberState.Joining);
  scenario.run(2000);
  scenario.cut(0, 2);
  scenario.until('it is away again', () => stateOf() === MemberState.Stale);
  scenario.join(0, 2);
  scenario.whole(0);
  for (let count = 0; count < 30; count += 1) scenario.ok(scenario.read(first, 0, 8));
};

/**
 * B7: member 0 alone stores the record without member 1. Member 2 is counted by it, and loses a hole with its cache before it
 * has stored it: nobody would know any more that there was one, if member 0 had dropped its version by then.
 */
export const holesBeforeCommit: Directed = (rules, trace = false) => {
  const scenario = new Scenario({ rules, members: 3, config: patient, trace });
  const first = scenario.activate(0);
  scenario.ok(scenario.write(first, 0));
  scenario.ok(scenario.flush(first));
  scenario.run(1500);
  scenario.ok(scenario.unmap(first, 0));
  scenario.run(100); // At all of them.
  scenario.clogDown(0, 2);
  scenario.ok(scenario.flush(first)); // By 0 and 1.
  scenario.cut(0, 1);
  scenario.until(
    'member 0 stores that member 1 is stale',
    () => scenario.member(0).store.record?.members[1]?.state === MemberState.Stale,
  );
  first.kill();
  const lossy = scenario.member(2);
  lossy.store.keepsNothing = true;
  lossy.stop(true);
  lossy.start();
  scenario.cut(1, 1);
  scenario.coordinator(1).start();
  tryActivate(scenario, 1, 30_000);
};
