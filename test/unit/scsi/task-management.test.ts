// Task sets, task management and unit attentions: what one nexus does to another, and when it is over (C6).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  aNexus,
  cdb,
  cdb10,
  Harness,
  type Pending,
  ScsiStatus,
  TaskAttribute,
  TaskManagement,
} from './harness.ts';

const READ = cdb10(0x28, 0, 1);
const WRITE = cdb10(0x2a, 0, 1);
const TEST_UNIT_READY = cdb(0);

describe('aborts', () => {
  it('answer only when the task can change nothing any more', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const write = harness.start(WRITE, { data: Buffer.alloc(512, 1), tag: 5 });
    const answer = harness.manage(TaskManagement.AbortTask, { tag: 5 });
    assert.equal(answer.response, null);
    assert.equal(write.outcome, null);
    harness.device.releaseAll();
    assert.equal(write.outcome!.aborted, true);
    assert.equal(answer.response, 0);
  });

  it('wait for nothing that has not begun below: it is taken back, and has no effect', () => {
    const fill = cdb(0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0);
    const compare = cdb(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
    const verify = cdb10(0x2f, 0, 8);
    const flush = cdb10(0x35, 0, 0);
    const ones = Buffer.alloc(512, 1);
    const harness = new Harness();
    harness.device.givesBack = true;
    for (const [command, data] of [
      [WRITE, ones],
      [cdb10(0x2e, 0, 1), ones],
      [fill, ones],
      [compare, Buffer.concat([Buffer.alloc(512), ones])],
      [READ, undefined],
      [verify, undefined],
      [flush, undefined],
    ] as const) {
      harness.device.hold = true;
      const task = harness.start(command, { ...(data && { data }), tag: 5 });
      assert.equal(harness.device.held.length, 1, `${command[0]}`);
      assert.equal(harness.manage(TaskManagement.AbortTask, { tag: 5 }).response, 0);
      assert.equal(task.outcome!.aborted, true);
      const all = [harness.nexus, harness.other].map((nexus) =>
        harness.start(command, { ...(data && { data }), nexus }),
      );
      assert.equal(harness.manage(TaskManagement.LogicalUnitReset).response, 0);
      for (const { outcome } of all) assert.equal(outcome!.aborted, true);
      assert.equal(harness.device.held.length, 0);
      harness.device.releaseAll();
      for (const nexus of [harness.nexus, harness.other]) harness.run(TEST_UNIT_READY, { nexus });
    }
    assert.ok(harness.device.bytes.every((byte) => byte === 0));
    harness.write(0, ones);
    assert.deepEqual(harness.read(0, 1), ones);
  });

  it('end a task whose data is still on the way at once', () => {
    const harness = new Harness();
    const write = harness.start(WRITE, { data: Buffer.alloc(512), tag: 5, fetch: false });
    assert.equal(harness.manage(TaskManagement.AbortTask, { tag: 5 }).response, 0);
    assert.equal(write.outcome!.aborted, true);
    assert.equal(harness.manage(TaskManagement.AbortTask, { tag: 5 }).response, 1);
  });

  it('stop a long command between two operations', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const fill = cdb(0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0);
    const same = harness.start(fill, { data: Buffer.alloc(512, 7), tag: 9 });
    const answer = harness.manage(TaskManagement.AbortTask, { tag: 9 });
    assert.equal(harness.device.release(), true);
    assert.equal(same.outcome!.aborted, true);
    assert.equal(answer.response, 0);
    assert.equal(harness.device.held.length, 0);
  });

  it('end a task set, of the one nexus only', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const mine = [harness.start(READ), harness.start(READ)];
    const theirs = harness.start(READ, { nexus: harness.other });
    const answer = harness.manage(TaskManagement.AbortTaskSet);
    harness.device.release();
    assert.equal(answer.response, null);
    harness.device.releaseAll();
    assert.equal(answer.response, 0);
    for (const { outcome } of mine) assert.equal(outcome!.aborted, true);
    assert.equal(theirs.outcome!.status, ScsiStatus.Good);
    harness.good(TEST_UNIT_READY, { nexus: harness.other });
  });

  it('that clear the task set tell the other nexus, by unit attention', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const theirs = harness.start(READ, { nexus: harness.other });
    const answer = harness.manage(TaskManagement.ClearTaskSet);
    harness.device.releaseAll();
    assert.equal(answer.response, 0);
    assert.equal(theirs.outcome!.aborted, true);
    harness.good(TEST_UNIT_READY);
    harness.refused(TEST_UNIT_READY, 6, 0x2f00, { nexus: harness.other });
    harness.good(TEST_UNIT_READY, { nexus: harness.other });
  });

  it('or by TASK ABORTED under TAS', () => {
    const harness = new Harness();
    harness.setControl(5, 0x40);
    harness.device.hold = true;
    const mine = harness.start(READ);
    const theirs = harness.start(READ, { nexus: harness.other });
    harness.manage(TaskManagement.ClearTaskSet);
    harness.device.releaseAll();
    assert.equal(mine.outcome!.aborted, true);
    assert.equal(theirs.outcome!.aborted, false);
    assert.equal(theirs.outcome!.status, ScsiStatus.TaskAborted);
    harness.good(TEST_UNIT_READY, { nexus: harness.other });
  });

  it('are asked about', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const { response: none } = harness.manage(TaskManagement.QueryTaskSet);
    harness.start(READ, { tag: 3 });
    assert.equal(none, 0);
    assert.equal(harness.manage(TaskManagement.QueryTaskSet).response, 7);
    assert.equal(harness.manage(TaskManagement.QueryTask, { tag: 3 }).response, 7);
    assert.equal(harness.manage(TaskManagement.QueryTask, { tag: 4 }).response, 0);
    const { other } = harness;
    assert.equal(harness.manage(TaskManagement.QueryTask, { tag: 3, nexus: other }).response, 0);
    assert.equal(harness.manage(TaskManagement.QueryAsynchronousEvent).response, 0);
    assert.equal(harness.manage(TaskManagement.ClearAca).response, 5);
    assert.equal(harness.manage(TaskManagement.TaskReassign).response, 4);
    assert.equal(harness.manage(TaskManagement.AbortTaskSet, { lun: 4 }).response, 2);
    assert.equal(harness.manage(99 as TaskManagement).response, 255);
    harness.device.releaseAll();
  });
});

describe('resets', () => {
  it('of the unit abort everything, forget what was not saved, and are heard by all', () => {
    const harness = new Harness();
    harness.setControl(4, 0x08);
    harness.good(cdb(0x1e, 0, 0, 0, 1));
    harness.device.hold = true;
    const theirs = harness.start(READ, { nexus: harness.other });
    const answer = harness.manage(TaskManagement.LogicalUnitReset);
    assert.equal(answer.response, null);
    harness.device.releaseAll();
    assert.equal(answer.response, 0);
    assert.equal(theirs.outcome!.aborted, true);
    for (const nexus of [harness.nexus, harness.other]) {
      harness.refused(TEST_UNIT_READY, 6, 0x2903, { nexus });
    }
    harness.good(WRITE, { data: Buffer.alloc(512) });
  });

  it('of the target reach every unit', () => {
    const harness = new Harness();
    assert.equal(harness.manage(TaskManagement.TargetWarmReset).response, 0);
    harness.refused(TEST_UNIT_READY, 6, 0x2900);
    harness.refused(TEST_UNIT_READY, 6, 0x2900, { nexus: harness.other });
  });

  it('of a nexus are its own affair', () => {
    const harness = new Harness();
    assert.equal(harness.manage(TaskManagement.ITNexusReset).response, 0);
    harness.refused(TEST_UNIT_READY, 6, 0x2907);
    harness.good(TEST_UNIT_READY, { nexus: harness.other });
  });

  it('by loss of the nexus wait for what is in flight', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const write = harness.start(WRITE, { data: Buffer.alloc(512) });
    let gone = false;
    harness.target.detachNexus(harness.nexus, () => {
      gone = true;
    });
    assert.equal(gone, false);
    harness.device.releaseAll();
    assert.equal(gone, true);
    assert.equal(write.outcome!.aborted, true);
    harness.target.attachNexus(harness.nexus);
    harness.refused(TEST_UNIT_READY, 6, 0x2900);
  });
});

describe('unit attentions', () => {
  it('wait while INQUIRY and REPORT LUNS run, and are told by REQUEST SENSE', () => {
    const harness = new Harness();
    const nexus = aNexus('host-c');
    harness.target.attachNexus(nexus);
    harness.good(cdb(0x12, 0, 0, 0, 96), { nexus });
    harness.good(cdb(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0), { nexus });
    const sense = harness.good(cdb(0x03, 0, 0, 0, 252), { nexus });
    assert.equal(sense[2], 6);
    assert.equal(sense.readUInt16BE(12), 0x2900);
    harness.good(TEST_UNIT_READY, { nexus });
  });

  it('come before an unknown opcode is judged, resets first', () => {
    const harness = new Harness();
    harness.device.grow(16 * 1024 * 1024);
    harness.manage(TaskManagement.LogicalUnitReset);
    harness.refused(cdb(0xff), 6, 0x2903);
    harness.refused(cdb(0xff), 6, 0x2a09);
    harness.refused(cdb(0xff), 5, 0x2000);
    harness.refused(cdb(0x9e, 0x1f), 5, 0x2400, { field: [1, 4] });
  });

  it('say that the inventory changed, until REPORT LUNS was asked', () => {
    const harness = new Harness();
    const uuid = '11111111-2222-3333-4444-555555555555';
    harness.target.addUnit(7, harness.device, uuid);
    harness.refused(TEST_UNIT_READY, 6, 0x2900, { lun: 7 });
    const luns = harness.good(cdb(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    assert.equal(luns.readUInt32BE(0), 16);
    assert.equal(luns[17], 7);
    harness.good(TEST_UNIT_READY);
    harness.refused(TEST_UNIT_READY, 6, 0x3f0e, { nexus: harness.other });
    let removed = false;
    harness.target.removeUnit(7, () => {
      removed = true;
    });
    assert.equal(removed, true);
    harness.refused(TEST_UNIT_READY, 5, 0x2500, { lun: 7 });
  });
});

describe('the task set', () => {
  it('holds SIMPLE tasks behind an ORDERED one, and that behind all before it', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const first = harness.start(READ);
    const ordered = harness.start(READ, { attribute: TaskAttribute.Ordered });
    const after = harness.start(READ);
    assert.equal(harness.device.held.length, 1);
    harness.device.release();
    assert.equal(first.outcome!.status, ScsiStatus.Good);
    assert.equal(harness.device.held.length, 1);
    harness.device.release();
    assert.equal(ordered.outcome!.status, ScsiStatus.Good);
    assert.equal(after.outcome, null);
    harness.device.releaseAll();
    assert.equal(after.outcome!.status, ScsiStatus.Good);
  });

  it('lets HEAD OF QUEUE pass', () => {
    const harness = new Harness();
    harness.device.hold = true;
    harness.start(READ);
    const ordered = harness.start(READ, { attribute: TaskAttribute.Ordered });
    const head = harness.start(cdb10(0x28, 8, 1), { attribute: TaskAttribute.HeadOfQueue });
    assert.equal(harness.device.held.length, 2);
    harness.device.release();
    assert.equal(ordered.outcome, null);
    harness.device.release();
    assert.equal(head.outcome!.status, ScsiStatus.Good);
    harness.device.releaseAll();
    assert.equal(ordered.outcome!.status, ScsiStatus.Good);
  });

  it('lets go of what a barrier held when the barrier is aborted', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const first = harness.start(READ);
    const ordered = harness.start(READ, { attribute: TaskAttribute.Ordered, tag: 50 });
    const after = harness.start(READ);
    assert.equal(harness.manage(TaskManagement.AbortTask, { tag: 50 }).response, 0);
    assert.equal(ordered.outcome!.aborted, true);
    harness.device.releaseAll();
    assert.equal(first.outcome!.status, ScsiStatus.Good);
    assert.equal(after.outcome!.status, ScsiStatus.Good);
  });

  it('keeps order within a nexus: an ORDERED task without its data holds up no other host', () => {
    const harness = new Harness();
    const ordered = { attribute: TaskAttribute.Ordered, data: Buffer.alloc(512), fetch: false };
    const waiting = harness.start(WRITE, ordered);
    const mine = harness.start(READ);
    harness.good(READ, { nexus: harness.other });
    assert.equal(mine.outcome, null);
    harness.fetch(waiting, Buffer.alloc(512));
    assert.equal(waiting.outcome!.status, ScsiStatus.Good);
    assert.equal(mine.outcome!.status, ScsiStatus.Good);
  });

  it('costs each nexus its own ORDERED tasks only', () => {
    const harness = new Harness();
    const nexuses = Array.from({ length: 20 }, (_, index) => aNexus(`flood-${index}`));
    const attribute = TaskAttribute.Ordered;
    const writes: Pending[] = [];
    const blocked: Pending[] = [];
    for (const nexus of nexuses) {
      harness.target.attachNexus(nexus);
      harness.run(cdb(0), { nexus });
      // What holds up the tasks of a nexus lies behind all tasks of those before it.
      writes.push(harness.start(WRITE, { nexus, attribute, expectedBytes: 512, fetch: false }));
      for (let count = 0; count < 96; count += 1) {
        blocked.push(harness.start(TEST_UNIT_READY, { nexus, attribute }));
      }
    }
    assert.ok(blocked.every(({ outcome }) => outcome === null));
    const before = process.cpuUsage();
    for (const write of writes) harness.fetch(write, Buffer.alloc(512));
    const { user } = process.cpuUsage(before);
    assert.ok(blocked.every(({ outcome }) => outcome?.status === ScsiStatus.Good));
    assert.ok(user < 1_500_000, `${user} microseconds of CPU`);
  });

  it('begins none of what a CLEAR TASK SET is ending', () => {
    const harness = new Harness();
    const head = { attribute: TaskAttribute.HeadOfQueue, data: Buffer.alloc(512), fetch: false };
    const waiting = harness.start(WRITE, head);
    const blocked = harness.start(cdb10(0x2a, 8, 1), { data: Buffer.alloc(512, 1) });
    assert.equal(harness.manage(TaskManagement.ClearTaskSet).response, 0);
    assert.equal(waiting.outcome!.aborted, true);
    assert.equal(blocked.outcome!.aborted, true);
    assert.deepEqual(harness.read(8, 1), Buffer.alloc(512));
  });

  it('is bounded: TASK SET FULL', () => {
    const harness = new Harness();
    harness.device.hold = true;
    const flush = cdb10(0x35, 0, 0);
    for (let count = 0; count < 4096; count += 1) harness.start(flush);
    assert.equal(harness.run(TEST_UNIT_READY).status, ScsiStatus.TaskSetFull);
    harness.device.releaseAll();
    harness.good(TEST_UNIT_READY);
  });

  it('ends with the first error when QERR says so', () => {
    const harness = new Harness();
    harness.setControl(3, 0x02);
    harness.device.hold = true;
    const read = harness.start(READ);
    const theirs = harness.start(READ, { nexus: harness.other });
    harness.refused(cdb(0xff), 5, 0x2000);
    harness.device.releaseAll();
    assert.equal(read.outcome!.aborted, true);
    assert.equal(theirs.outcome!.aborted, true);
    harness.refused(TEST_UNIT_READY, 6, 0x2f00, { nexus: harness.other });
  });

  it('abandons a task whose data never comes', () => {
    const harness = new Harness();
    const write = harness.start(WRITE, { data: Buffer.alloc(512), fetch: false });
    harness.target.abandon(write.task);
    assert.equal(write.outcome!.aborted, true);
    const lost = harness.start(cdb(0), { lun: 9, fetch: false });
    harness.target.abandon(lost.task);
    assert.equal(lost.outcome!.aborted, true);
  });
});
