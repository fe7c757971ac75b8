// Goal: whatever two nexuses and their task management do to each other, each task ends exactly once, each function is
// answered, no buffer is lost, and nothing of an aborted task lands after its abort was answered (C6).
// Method: random histories over a device that holds operations back and lets them go when the history says so.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BlockOpKind } from '../../../src/block/index.ts';
import { cdb, cdb10, cdb16, Harness, MIB, type Pending, TaskManagement } from './harness.ts';

const READ = cdb10(0x28, 0, 16);
const WRITE = cdb10(0x2a, 8, 8);
const FILL = cdb16(0x93, 0, 6000);
const SYNC = cdb10(0x35, 0, 0);
const COMPARE = Buffer.from(cdb16(0x89, 0, 0));
COMPARE[13] = 1;
const VERIFY = cdb10(0x2f, 0, 64);
const SENSE = cdb(0x1a, 0, 0x3f, 0, 255);
const UNKNOWN = cdb(0xff);

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('start' as const),
      bytes: fc.constantFrom(READ, WRITE, FILL, SYNC, COMPARE, VERIFY, SENSE, UNKNOWN),
      attribute: fc.constantFrom(0, 1, 1, 1, 2, 3) as fc.Arbitrary<0 | 1 | 2 | 3>,
      mine: fc.boolean(),
      fetch: fc.boolean(),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('release' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('fetch' as const), at: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('abandon' as const), at: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('manage' as const),
      kind: fc.constantFrom(...Object.values(TaskManagement)),
      mine: fc.boolean(),
      at: fc.nat(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('relogin' as const) }) },
);

const DATA: ReadonlyMap<Buffer, Buffer> = new Map([
  [WRITE, Buffer.alloc(4096, 1)],
  [FILL, Buffer.alloc(512, 2)],
  [COMPARE, Buffer.alloc(1024)],
]);

describe('tasks', () => {
  it('end once, in any history', () => {
    const history = fc.array(step, { maxLength: 120 });
    const settings = fc.record({ tas: fc.boolean(), qerr: fc.constantFrom(0, 2, 6) });
    fc.assert(
      fc.property(history, settings, (steps, { tas, qerr }) => {
        const harness = new Harness({}, { arenaBytes: 16 * MIB });
        if (tas) harness.setControl(5, 0x40);
        if (qerr !== 0) harness.setControl(3, qerr);
        harness.device.hold = true;
        const tasks: { pending: Pending; data: Buffer; gone: boolean }[] = [];
        const unfetched: typeof tasks = [];
        const answers: { response: number | null; kind: number }[] = [];
        let attached = true;
        for (const one of steps) {
          if (one.do === 'start') {
            if (one.mine && !attached) continue;
            const data = DATA.get(one.bytes) ?? Buffer.alloc(0);
            const nexus = one.mine ? harness.nexus : harness.other;
            const pending = harness.start(one.bytes, {
              data,
              nexus,
              attribute: one.attribute,
              fetch: one.fetch,
              tag: tasks.length,
            });
            const entry = { pending, data, gone: false };
            tasks.push(entry);
            if (!one.fetch && pending.outcome === null) unfetched.push(entry);
          } else if (one.do === 'release') {
            harness.device.release();
          } else if (one.do === 'fetch' || one.do === 'abandon') {
            const [entry] = unfetched.splice(one.at % (unfetched.length || 1), 1);
            if (entry === undefined || entry.pending.outcome !== null) continue;
            if (one.do === 'fetch') harness.fetch(entry.pending, entry.data);
            else harness.target.abandon(entry.pending.task);
          } else if (one.do === 'manage') {
            if (one.mine && !attached) continue;
            const nexus = one.mine ? harness.nexus : harness.other;
            const tag = one.at % (tasks.length || 1);
            answers.push(
              Object.assign(harness.manage(one.kind, { nexus, tag }), { kind: one.kind }),
            );
          } else if (attached) {
            attached = false;
            const mine = tasks.filter(({ pending }) => pending.task.nexus === harness.nexus);
            harness.target.detachNexus(harness.nexus, () => {
              for (const { pending } of mine) assert(pending.outcome !== null);
              attached = true;
              harness.target.attachNexus(harness.nexus);
            });
          }
        }
        for (const { pending, data } of unfetched) {
          if (pending.outcome === null) harness.fetch(pending, data);
        }
        harness.device.releaseAll();
        for (const { pending } of tasks) assert(pending.outcome !== null);
        for (const { response } of answers) assert(response !== null);
        assert(attached);
        const unit = harness.target.unit(0);
        assert(unit !== null);
        assert.equal(unit.tasks.size, 0);
        assert.equal(harness.pool.freeBytes, 16 * MIB);
      }),
      { numRuns: 2000 },
    );
  });

  it('leave no write behind an answered LOGICAL UNIT RESET', () => {
    const harness = new Harness();
    harness.device.hold = true;
    for (let lba = 0; lba < 64; lba += 8) {
      harness.start(cdb10(0x2a, lba, 8), { data: Buffer.alloc(4096, 9) });
    }
    const answer = harness.manage(TaskManagement.LogicalUnitReset);
    while (answer.response === null) assert.equal(harness.device.release(), true);
    assert(harness.device.held.every(({ kind }) => kind !== BlockOpKind.Write));
    harness.device.releaseAll();
  });
});
