// EXTENDED COPY and RECEIVE COPY RESULTS.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextLoop } from 'node:timers/promises';
import {
  BlockOpKind,
  type DataBuffer,
  IoStatus,
  MemoryDevice,
} from '../../../../src/block/index.ts';
import { identityOf } from '../../../../src/scsi/identity.ts';
import {
  aNexus,
  cdb,
  Harness,
  MIB,
  type Outcome,
  ScsiStatus,
  TaskManagement,
  UUID,
} from '../harness.ts';

const OTHER_UUID = '11111111-2222-3333-4444-555555555555';

function target(uuid = UUID, change: (descriptor: Buffer) => void = () => {}): Buffer {
  const { naa } = identityOf(uuid);
  const bytes = Buffer.alloc(32);
  bytes[0] = 0xe4;
  bytes[4] = 1;
  bytes[5] = 3;
  bytes[7] = naa.length;
  naa.copy(bytes, 8);
  change(bytes);
  return bytes;
}

interface SegmentOptions {
  readonly type?: number;
  readonly from?: number;
  readonly to?: number;
  readonly blocks?: number;
  readonly source?: number;
  readonly destination?: number | bigint;
}

function segment(options: SegmentOptions = {}): Buffer {
  const bytes = Buffer.alloc(28);
  bytes[0] = options.type ?? 2;
  bytes.writeUInt16BE(24, 2);
  bytes.writeUInt16BE(options.from ?? 0, 4);
  bytes.writeUInt16BE(options.to ?? 0, 6);
  bytes.writeUInt16BE(options.blocks ?? 16, 10);
  bytes.writeBigUInt64BE(BigInt(options.source ?? 0), 12);
  bytes.writeBigUInt64BE(BigInt(options.destination ?? 4096), 20);
  return bytes;
}

function list(targets: Buffer[], segments: Buffer[], listId = 1, usage = 0, inline = 0): Buffer {
  const header = Buffer.alloc(16);
  header[0] = listId;
  header[1] = usage << 3;
  header.writeUInt16BE(Buffer.concat(targets).length, 2);
  header.writeUInt32BE(Buffer.concat(segments).length, 8);
  header.writeUInt32BE(inline, 12);
  return Buffer.concat([header, ...targets, ...segments]);
}

function copyCdb(bytes: number): Buffer {
  const all = cdb(0x83);
  all.writeUInt32BE(bytes, 10);
  return all;
}

const copy = (harness: Harness, data: Buffer): Outcome =>
  harness.run(copyCdb(data.length), { data });

function results(action: number, listId = 0): Buffer {
  return cdb(0x84, action, listId, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0);
}

function pattern(bytes: number): Buffer {
  const data = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) data.writeUInt32BE((at * 2654435761) >>> 0, at);
  return data;
}

describe('EXTENDED COPY', () => {
  it('copies blocks within a unit, and tells of it', () => {
    const harness = new Harness();
    const data = pattern(3 * MIB);
    data.copy(harness.device.bytes);
    harness.refused(results(0, 1), 5, 0x2400, { field: [2, null] });
    const outcome = copy(harness, list([target()], [segment({ blocks: 6144, destination: 8192 })]));
    assert.equal(outcome.status, ScsiStatus.Good);
    assert.ok(harness.device.bytes.subarray(4 * MIB, 7 * MIB).equals(data));
    const ignored = target(UUID, (bytes) => (bytes[1] = 0xc0));
    assert.equal(copy(harness, list([ignored], [segment({ blocks: 0 })], 2)).status, 0);
    const status = harness.good(results(0, 1));
    assert.deepEqual([...status.subarray(0, 8)], [0, 0, 0, 8, 1, 0, 1, 0]);
    assert.equal(status.readUInt32BE(8), 3 * MIB);
    assert.equal(harness.pool.freeBytes, 32 * MIB);
  });

  it('moves overlapping ranges as if all were read first, either way', () => {
    for (const [source, destination] of [
      [0, 1000],
      [1000, 0],
    ] as const) {
      const harness = new Harness();
      const data = pattern(4 * MIB);
      data.copy(harness.device.bytes, source * 512);
      copy(harness, list([target()], [segment({ blocks: 8192, source, destination })]));
      const at = destination * 512;
      assert.ok(harness.device.bytes.subarray(at, at + data.length).equals(data));
    }
  });

  it('copies to another unit, with blocks of another size, and leaves holes holes', () => {
    const harness = new Harness();
    const device = new MemoryDevice({ bytes: 4 * MIB, logicalBlockBytes: 4096 });
    harness.target.addUnit(3, device, OTHER_UUID);
    harness.run(cdb(0));
    const data = pattern(MIB);
    harness.write(0, data);
    const segments = [segment({ to: 1, blocks: 4096, destination: 0 })];
    assert.equal(copy(harness, list([target(), target(OTHER_UUID)], segments)).status, 0);
    assert.ok(device.bytes.subarray(0, MIB).equals(data));
    device.mapStatus(0, 10, (_status, extents) => {
      assert.deepEqual(extents[1], { lba: 256, blocks: 768, mapped: false });
    });
    const odd = copy(
      harness,
      list([target(), target(OTHER_UUID)], [segment({ to: 1, blocks: 3, destination: 0 })]),
    );
    assert.deepEqual([odd.key, odd.code], [0x0a, 0x260a]);
  });

  it('refuses lists that do not fit together', () => {
    const harness = new Harness();
    const sound = list([target()], [segment()]);
    assert.equal(copy(harness, Buffer.alloc(0)).status, ScsiStatus.Good);
    for (const cut of [8, 16 + 31, sound.length - 1]) {
      assert.equal(copy(harness, sound.subarray(0, cut)).code, 0x1a00);
    }
    const cases: [Buffer, number][] = [
      [list(new Array(17).fill(target()), [segment()]), 0x2606],
      [list([target()], new Array(257).fill(segment())), 0x2608],
      [list(new Array(17).fill(target()), new Array(257).fill(segment())), 0x1a00],
      [list([target()], [segment()], 1, 0, 4), 0x260b],
      [list([target(UUID, (bytes) => (bytes[0] = 0xe0))], [segment()]), 0x2607],
      [list([target()], [segment({ type: 3 })]), 0x2609],
      [list([target()], [segment()], 1, 3), 0x2600],
    ];
    for (const [data, code] of cases) {
      const outcome = copy(harness, data);
      assert.equal(outcome.key, 5);
      assert.equal(outcome.code.toString(16), code.toString(16));
    }
  });

  it('aborts for units and ranges that are not there, before a block is copied', () => {
    const harness = new Harness();
    pattern(8192).copy(harness.device.bytes);
    const good = segment();
    const cases: [Buffer, number][] = [
      [list([target(UUID, (bytes) => (bytes[1] = 0x20))], [good]), 0x0804],
      [list([target(OTHER_UUID)], [good]), 0x0d02],
      [list([target(UUID, (bytes) => (bytes[1] = 0x05))], [good]), 0x0d03],
      [list([target()], [good, segment({ to: 1 })]), 0x0804],
      [list([target()], [good, segment({ destination: 16384 - 1 })]), 0],
      [list([target()], [good, segment({ destination: 0xffffffffffffffffn })]), 0],
    ];
    for (const [data, code] of cases) {
      const outcome = copy(harness, data);
      assert.equal(outcome.key, 0x0a);
      assert.equal(outcome.code.toString(16), code.toString(16));
    }
    assert.ok(harness.device.bytes.subarray(4096 * 512, 4097 * 512).equals(Buffer.alloc(512)));
  });

  it('stops where the medium fails, and says which segment', () => {
    const harness = new Harness();
    pattern(MIB).copy(harness.device.bytes);
    harness.device.failures.push({ status: IoStatus.Damaged, kind: BlockOpKind.Read, lba: 20 });
    const segments = [segment({ blocks: 4 }), segment({ source: 16 })];
    const outcome = copy(harness, list([target()], segments));
    assert.deepEqual([outcome.key, outcome.code], [0x0a, 0x1100]);
    assert.equal(outcome.sense.readUInt32BE(8), 1);
    assert.equal(harness.good(results(0, 1))[4], 2);
    assert.equal(harness.pool.freeBytes, 32 * MIB);
  });

  it('ends with its abort, with nothing on the way any more', () => {
    const harness = new Harness();
    pattern(8 * MIB).copy(harness.device.bytes);
    harness.device.hold = true;
    const data = list([target()], [segment({ blocks: 6144, destination: 8192 })]);
    const pending = harness.start(copyCdb(data.length), { data, tag: 77 });
    const answer = harness.manage(TaskManagement.AbortTask, { tag: 77 });
    assert.equal(answer.response, null);
    harness.device.releaseAll();
    assert.equal(pending.outcome?.aborted, true);
    assert.equal(answer.response, 0);
    assert.equal(harness.pool.freeBytes, 32 * MIB);
    assert.equal(harness.device.bytes.readUInt32BE(4 * MIB), (4 * MIB * 2654435761) >>> 0);
  });

  it('writes only where its nexus might write itself', () => {
    const harness = new Harness();
    const device = new MemoryDevice({ bytes: MIB, logicalBlockBytes: 512 });
    harness.target.addUnit(3, device, OTHER_UUID);
    harness.run(cdb(0));
    harness.run(cdb(0), { lun: 3, nexus: harness.other });
    harness.good(cdb(0x16), { lun: 3, nexus: harness.other });
    const outcome = copy(
      harness,
      list([target(), target(OTHER_UUID)], [segment({ to: 1, destination: 0 })]),
    );
    assert.deepEqual([outcome.key, outcome.code], [0x0a, 0x0d01]);
  });

  it('reaches units of another target only for an initiator that is logged in there, as the same', () => {
    const elsewhere = new Harness();
    const [unit] = elsewhere.target.copyCandidates();
    const secret = Buffer.alloc(4096, 's');
    elsewhere.write(0, secret);
    const harness = new Harness({}, { uuid: OTHER_UUID, copyCandidates: () => [unit!] });
    const stranger = { ...aNexus('stranger'), authenticatedAs: 'mallory' };
    harness.target.attachNexus(stranger);
    harness.run(cdb(0), { nexus: stranger });
    const data = list([target(), target(OTHER_UUID)], [segment({ to: 1, blocks: 8 })]);
    const asStranger = () => harness.run(copyCdb(data.length), { data, nexus: stranger });
    assert.equal(asStranger().code, 0x0d02);
    elsewhere.target.attachNexus({ ...aNexus('stranger'), authenticatedAs: null });
    assert.equal(asStranger().code, 0x0d02, 'a name alone proves nothing');
    assert.ok(harness.device.bytes.every((byte) => byte === 0));
    elsewhere.target.attachNexus({ ...aNexus('stranger'), authenticatedAs: 'mallory' });
    assert.equal(asStranger().status, ScsiStatus.Good);
    assert.ok(
      harness.device.bytes
        .subarray(4096 * 512)
        .subarray(0, 4096)
        .equals(secret),
    );
    // The harness's own hosts are logged in to both.
    assert.equal(copy(harness, data).status, ScsiStatus.Good);
  });

  /** A harness with a second unit that holds its operations back, and a copy to it on the way. */
  function aCopyOnItsWay(prepare: (harness: Harness) => void = () => {}) {
    const harness = new Harness();
    const device = new MemoryDevice({ bytes: 8 * MIB, logicalBlockBytes: 512 });
    harness.target.addUnit(3, device, OTHER_UUID);
    harness.run(cdb(0));
    for (const nexus of [harness.nexus, harness.other]) harness.run(cdb(0), { lun: 3, nexus });
    prepare(harness);
    pattern(8 * MIB).copy(harness.device.bytes);
    device.hold = true;
    const segments = [segment({ to: 1, blocks: 12288, destination: 0 })];
    const data = list([target(), target(OTHER_UUID)], segments);
    const pending = harness.start(copyCdb(data.length), { data });
    assert.ok(device.held.length > 0 && pending.outcome === null);
    return { harness, device, pending };
  }

  it('ends for a reset of the unit that it writes to, which waits for what is on the way', () => {
    const { harness, device, pending } = aCopyOnItsWay();
    const others = { lun: 3, nexus: harness.other };
    const reset = harness.manage(TaskManagement.LogicalUnitReset, others);
    assert.equal(reset.response, null);
    device.releaseAll();
    assert.equal(reset.response, 0);
    assert.deepEqual([pending.outcome?.key, pending.outcome?.code], [0x0a, 0x0d01]);
    assert.ok(device.bytes.subarray(4 * MIB).every((byte) => byte === 0));
    assert.equal(harness.pool.freeBytes, 32 * MIB);
  });

  /** As `aCopyOnItsWay`, but it waits for its first buffer; `free` gives it one. */
  function aCopyThatWaits() {
    const harness = new Harness({}, { arenaBytes: 4 * MIB });
    const device = new MemoryDevice({ bytes: 8 * MIB, logicalBlockBytes: 512 });
    harness.target.addUnit(3, device, OTHER_UUID);
    harness.run(cdb(0));
    harness.run(cdb(0), { lun: 3, nexus: harness.other });
    pattern(8 * MIB).copy(harness.device.bytes);
    const taken: DataBuffer[] = [];
    for (let buffer = harness.pool.allocate(4096); buffer !== null; ) {
      taken.push(buffer);
      buffer = harness.pool.allocate(4096);
    }
    taken.pop()!.release(); // For the parameter list.
    const segments = [segment({ to: 1, blocks: 12288, destination: 0 })];
    const data = list([target(), target(OTHER_UUID)], segments);
    const pending = harness.start(copyCdb(data.length), { data, tag: 77 });
    assert.equal(pending.outcome, null);
    const free = async (): Promise<void> => {
      for (const buffer of taken) buffer.release();
      await nextLoop();
      await nextLoop();
    };
    return { harness, device, pending, free };
  }

  it('that waits for its first buffer writes nothing to a unit that was taken away, or reset, meanwhile', async () => {
    const ends = [
      ({ target: device }: Harness, done: () => void): void => device.removeUnit(3, done),
      (harness: Harness, done: () => void): void => {
        const others = { lun: 3, nexus: harness.other };
        if (harness.manage(TaskManagement.LogicalUnitReset, others).response === 0) done();
      },
    ];
    for (const end of ends) {
      const { harness, device, pending, free } = aCopyThatWaits();
      const told = { done: false };
      end(harness, () => {
        told.done = true;
      });
      assert.ok(told.done, 'nothing of it is on the way');
      await free();
      assert.deepEqual([pending.outcome?.key, pending.outcome?.code], [0x0a, 0x0d01]);
      assert.ok(device.bytes.every((byte) => byte === 0));
      assert.equal(harness.pool.freeBytes, 4 * MIB);
    }
  });

  it('goes no further than the segment in which a unit of a later one was taken away', () => {
    for (const [from, to] of [
      [0, 2],
      [2, 0],
    ] as const) {
      const harness = new Harness();
      const [held, gone] = [1, 2].map((lun) => {
        const device = new MemoryDevice({ bytes: 8 * MIB, logicalBlockBytes: 512 });
        harness.target.addUnit(lun, device, `${lun}1111111-2222-3333-4444-555555555555`);
        return device;
      });
      harness.run(cdb(0));
      pattern(MIB).copy(harness.device.bytes);
      gone!.bytes.fill(0xee, 0, MIB);
      held!.hold = true;
      const targets = [UUID, ...[1, 2].map((lun) => `${lun}1111111-2222-3333-4444-555555555555`)];
      const data = list(
        targets.map((uuid) => target(uuid)),
        [
          segment({ to: 1, blocks: 2048, destination: 0 }),
          segment({ from, to, blocks: 1024, destination: 4096 }),
        ],
      );
      const pending = harness.start(copyCdb(data.length), { data });
      assert.ok(held!.held.length > 0);
      const early = pending.outcome;
      assert.equal(early, null);
      let removed = false;
      harness.target.removeUnit(2, () => {
        removed = true;
      });
      assert.ok(removed, 'it does not wait for what does not touch it yet');
      const before = [harness.device, gone!].map(({ bytes }) => Buffer.from(bytes));
      held!.releaseAll();
      assert.deepEqual([pending.outcome?.key, pending.outcome?.code], [0x0a, 0x0d02]);
      for (const [index, { bytes }] of [harness.device, gone!].entries()) {
        assert.ok(before[index]!.equals(bytes), 'nothing is written any more');
      }
      assert.equal(harness.pool.freeBytes, 32 * MIB);
    }
  });

  it('that is aborted while it waits for its first buffer leaves nothing that others wait for', async () => {
    const { harness, pending, free } = aCopyThatWaits();
    assert.equal(harness.manage(TaskManagement.AbortTask, { tag: 77 }).response, 0);
    assert.equal(pending.outcome?.aborted, true);
    assert.equal(harness.target.unit(3)!.visitors.size, 0);
    await free();
    assert.equal(harness.pool.freeBytes, 4 * MIB);
  });

  it('is waited for by a PREEMPT there only with what it is writing, where it may go on', () => {
    const out = (action: number, key: number, actionKey: number): [Buffer, { data: Buffer }] => {
      const data = Buffer.alloc(24);
      data.writeBigUInt64BE(BigInt(key), 0);
      data.writeBigUInt64BE(BigInt(actionKey), 8);
      return [cdb(0x5f, action, 0x05, 0, 0, 0, 0, 0, data.length), { data }];
    };
    const { harness, device, pending } = aCopyOnItsWay((world) => {
      for (const [nexus, key] of [
        [world.nexus, 1],
        [world.other, 2],
      ] as const) {
        const [bytes, options] = out(0, 0, key);
        world.good(bytes, { ...options, lun: 3, nexus });
      }
    });
    const [bytes, options] = out(4, 2, 1);
    const preempt = harness.start(bytes, { ...options, lun: 3, nexus: harness.other });
    const answered = (): number | undefined => preempt.outcome?.status;
    for (let left = device.held.length; left > 0; left -= 1) {
      assert.equal(answered(), undefined);
      device.release();
    }
    assert.equal(answered(), ScsiStatus.Good);
    const copied = (): number | undefined => pending.outcome?.status;
    assert.ok(device.held.length > 0);
    assert.equal(copied(), undefined);
    device.releaseAll();
    assert.equal(copied(), ScsiStatus.Good);
  });

  it('ends for PREEMPT AND ABORT there, and nothing of it lands after the answer', () => {
    const out = (action: number, key: number, actionKey: number): [Buffer, { data: Buffer }] => {
      const data = Buffer.alloc(24);
      data.writeBigUInt64BE(BigInt(key), 0);
      data.writeBigUInt64BE(BigInt(actionKey), 8);
      return [cdb(0x5f, action, 0x05, 0, 0, 0, 0, 0, data.length), { data }];
    };
    const { harness, device, pending } = aCopyOnItsWay((world) => {
      for (const [nexus, key] of [
        [world.nexus, 1],
        [world.other, 2],
      ] as const) {
        const [bytes, options] = out(0, 0, key);
        world.good(bytes, { ...options, lun: 3, nexus });
      }
      const [bytes, options] = out(1, 2, 0);
      world.good(bytes, { ...options, lun: 3, nexus: world.other });
    });
    const [bytes, options] = out(5, 2, 1);
    const fence = harness.start(bytes, { ...options, lun: 3, nexus: harness.other });
    const answered = (): number | undefined => fence.outcome?.status;
    assert.equal(answered(), undefined);
    device.releaseAll();
    assert.equal(answered(), ScsiStatus.Good);
    assert.deepEqual([pending.outcome?.key, pending.outcome?.code], [0x0a, 0x0d01]);
    assert.ok(device.bytes.subarray(4 * MIB).every((byte) => byte === 0));
  });

  it('writes nothing more once the unit is write-protected, in the middle of a segment', () => {
    const harness = new Harness();
    pattern(8 * MIB).copy(harness.device.bytes);
    const before = Buffer.from(harness.device.bytes);
    harness.device.hold = true;
    const data = list([target()], [segment({ blocks: 6144, destination: 8192 })]);
    const pending = harness.start(copyCdb(data.length), { data });
    harness.setControl(4, 0x08); // SWP.
    harness.device.releaseAll();
    assert.deepEqual([pending.outcome?.key, pending.outcome?.code], [0x0a, 0x2700]);
    assert.ok(harness.device.bytes.equals(before));
  });

  it('tells its limits', () => {
    const harness = new Harness();
    const data = harness.good(results(3));
    assert.equal(data.readUInt32BE(0), data.length - 4);
    assert.equal(data.readUInt16BE(8), 16);
    assert.equal(data.readUInt16BE(10), 256);
    assert.deepEqual([...data.subarray(43)], [2, 0x02, 0xe4]);
  });

  it('has a VPD page that lists what there is', () => {
    const harness = new Harness();
    assert.ok(
      harness
        .good(cdb(0x12, 1, 0, 0, 255))
        .subarray(4)
        .includes(0x8f),
    );
    const page = harness.good(cdb(0x12, 1, 0x8f, 4, 0));
    assert.equal(page.readUInt16BE(2), page.length - 4);
    const types: number[] = [];
    for (let at = 4; at < page.length; at += 4 + page.readUInt16BE(at + 2)) {
      types.push(page.readUInt16BE(at));
    }
    assert.deepEqual(types, [0x0001, 0x0004, 0x0008, 0x000c, 0x8001]);
  });
});
