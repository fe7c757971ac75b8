// SANITIZE.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockOpKind, IoStatus, type MemoryDeviceOptions } from '../../../../src/block/index.ts';
import { cdb, cdb10, Harness, MIB, ScsiStatus, TaskManagement } from '../harness.ts';

const Overwrite = 0x01;
const BlockErase = 0x02;
const ExitFailureMode = 0x1f;
const Immediate = 0x80;
const Ause = 0x20;

const allowed = (options: Partial<MemoryDeviceOptions> = {}): Harness =>
  new Harness(options, { allowSanitize: true });

function sanitize(byte1: number, listBytes = 0): Buffer {
  const all = cdb(0x48, byte1);
  all.writeUInt16BE(listBytes, 7);
  return all;
}

function overwriteList(pattern: Buffer, count = 1, invert = false): Buffer {
  const header = Buffer.from([
    (invert ? 0x80 : 0) | count,
    0,
    pattern.length >> 8,
    pattern.length & 0xff,
  ]);
  return Buffer.concat([header, pattern]);
}

describe('SANITIZE', () => {
  it('OVERWRITE writes the pattern over every block', () => {
    const harness = allowed();
    for (const patternBytes of [512, 256, 4, 3]) {
      const pattern = Buffer.alloc(patternBytes);
      for (let at = 0; at < patternBytes; at += 1) pattern[at] = at + patternBytes;
      const data = overwriteList(pattern);
      harness.good(sanitize(Overwrite, data.length), { data });
      const block = Buffer.alloc(512, pattern);
      for (const lba of [0, 1, 5000, 16383]) {
        assert.ok(harness.device.bytes.subarray(lba * 512, lba * 512 + 512).equals(block));
      }
    }
    assert.equal(harness.device.metadata.size, 0);
    assert.equal(harness.pool.freeBytes, 32 * MIB);
    assert.ok(harness.device.flushes >= 4);
  });

  it('OVERWRITE inverts every other pass if asked to', () => {
    const harness = allowed({ bytes: MIB });
    const data = overwriteList(Buffer.from([0x0f]), 2, true);
    harness.good(sanitize(Overwrite, data.length), { data });
    assert.ok(harness.device.bytes.equals(Buffer.alloc(MIB, 0xf0)));
  });

  it('BLOCK ERASE unmaps all', () => {
    const harness = allowed();
    harness.write(7, Buffer.alloc(4096, 1));
    harness.good(sanitize(BlockErase));
    assert.ok(harness.device.bytes.equals(Buffer.alloc(8 * MIB)));
    harness.device.mapStatus(0, 2, (_status, extents) => assert.equal(extents.length, 1));
  });

  it('refuses what the standard does not have', () => {
    const harness = allowed();
    const data = overwriteList(Buffer.alloc(512));
    const bytes = sanitize(Overwrite, data.length);
    harness.refused(sanitize(Overwrite | 0x40, data.length), 5, 0x2400, { data, field: [1, 6] });
    for (let byte = 2; byte < 7; byte += 1) {
      const bad = Buffer.from(bytes);
      bad[byte] = byte;
      harness.refused(bad, 5, 0x2400, { data });
    }
    for (const length of [0, 1, 2, 3, 4, 517]) {
      harness.refused(sanitize(Overwrite, length), 5, 0x2400, { data, field: [7, null] });
    }
    const none = overwriteList(Buffer.alloc(512), 0);
    harness.refused(bytes, 5, 0x2600, { data: none, field: [0, 4] });
    none[0] = 1;
    none.writeUInt16BE(516, 2);
    harness.refused(bytes, 5, 0x2600, { data: none, field: [2, null] });
    harness.refused(sanitize(BlockErase, 8), 5, 0x2400, { data: Buffer.alloc(8) });
    harness.refused(sanitize(ExitFailureMode, 8), 5, 0x2400, { data: Buffer.alloc(8) });
    harness.refused(sanitize(0x03), 5, 0x2400, { field: [1, 4] });
    harness.good(sanitize(ExitFailureMode));
    new Harness().refused(sanitize(BlockErase), 5, 0x2000);
  });

  it('shows its progress, keeps other commands out, and goes on after abort and reset', () => {
    const harness = allowed();
    harness.device.hold = true;
    const data = overwriteList(Buffer.alloc(4, 0xaa));
    const pending = harness.start(sanitize(Overwrite, data.length), { data, tag: 9 });
    assert.equal(pending.outcome, null);
    harness.refused(cdb(0), 2, 0x041b);
    harness.refused(cdb10(0x28, 0, 1), 2, 0x041b, { nexus: harness.other });
    harness.refused(sanitize(BlockErase), 2, 0x041b);
    harness.good(cdb(0x12, 0, 0, 0, 96));
    for (let step = 0; step < 4; step += 1) harness.device.release();
    const sense = harness.good(cdb(0x03, 0, 0, 0, 18));
    assert.equal(sense[2], 2);
    assert.equal(sense.readUInt16BE(12), 0x041b);
    assert.ok(sense[15] === 0x80 && sense.readUInt16BE(16) > 0x3000, sense.toString('hex'));
    const answer = harness.manage(TaskManagement.AbortTask, { tag: 9 });
    harness.device.release();
    assert.equal(pending.outcome!.aborted, true);
    assert.equal(answer.response, 0);
    harness.manage(TaskManagement.LogicalUnitReset);
    assert.equal(harness.run(cdb(0)).key, 6);
    harness.refused(cdb(0), 2, 0x041b);
    harness.device.releaseAll();
    harness.good(cdb(0));
    assert.ok(harness.device.bytes.equals(Buffer.alloc(8 * MIB, 0xaa)));
  });

  it('answers at once with IMMED, and is taken up again after a restart', () => {
    const harness = allowed();
    harness.device.hold = true;
    const data = overwriteList(Buffer.from([1, 2, 3, 4]), 3);
    harness.good(sanitize(Overwrite | Immediate, data.length), { data });
    harness.refused(cdb(0), 2, 0x041b);
    const again = allowed({ metadata: harness.device.metadata });
    again.good(cdb(0));
    assert.ok(again.device.bytes.equals(Buffer.alloc(8 * MIB, Buffer.from([1, 2, 3, 4]))));
    assert.equal(again.device.metadata.size, 0);
  });

  it('that failed says so until it is exited or repeated', () => {
    for (const ause of [Ause, 0]) {
      const harness = allowed();
      const failure = { status: IoStatus.IoError, kind: BlockOpKind.Unmap, lba: 3 };
      harness.device.failures.push(failure);
      harness.refused(sanitize(BlockErase | ause), 3, 0x3103);
      harness.refused(cdb(0), 3, 0x3103);
      assert.ok(harness.device.metadata.has('sanitize'));
      if (ause === Ause) {
        harness.good(sanitize(ExitFailureMode));
      } else {
        harness.refused(sanitize(ExitFailureMode), 5, 0x2400, { field: [1, 4] });
        harness.refused(sanitize(BlockErase | Ause), 5, 0x2400, { field: [1, 5] });
        harness.good(sanitize(BlockErase));
      }
      harness.good(cdb(0));
      assert.equal(harness.device.metadata.size, 0);
    }
  });

  it('is kept out by the reservations of others and by write protection', () => {
    const harness = allowed();
    harness.good(cdb(0x16), { nexus: harness.other });
    assert.equal(harness.run(sanitize(BlockErase)).status, ScsiStatus.ReservationConflict);
    harness.good(cdb(0x17), { nexus: harness.other });
    harness.setControl(4, 0x08);
    harness.refused(sanitize(BlockErase), 7, 0x2702);
  });

  it('begins when the writes before it have ended, and the reads behind it are refused', () => {
    const harness = allowed();
    harness.device.hold = true;
    const data = Buffer.alloc(512, 1);
    const write = harness.start(cdb10(0x2a, 5, 1), { data, nexus: harness.other });
    const erase = harness.start(sanitize(BlockErase));
    const read = harness.start(cdb10(0x28, 5, 1));
    assert.equal(harness.device.held.length, 1);
    assert.equal(read.outcome, null);
    harness.device.release();
    assert.equal(write.outcome?.status, ScsiStatus.Good);
    assert.equal(read.outcome!.code, 0x041b);
    assert.equal(erase.outcome, null);
    harness.device.releaseAll();
    assert.equal(erase.outcome!.status, ScsiStatus.Good);
    assert.ok(harness.device.bytes.equals(Buffer.alloc(8 * MIB)));
    harness.good(cdb(0));
  });

  for (const [what, byte1, kind] of [
    ['OVERWRITE between two blocks', Overwrite, BlockOpKind.Write],
    ['BLOCK ERASE between two blocks', BlockErase, BlockOpKind.Unmap],
    ['OVERWRITE in its last flush', Overwrite, BlockOpKind.Flush],
  ] as const) {
    it(`${what} is interrupted, not failed, by a device that closes`, () => {
      const before = allowed();
      before.write(0, Buffer.alloc(4096, 9));
      const list = overwriteList(Buffer.alloc(512, 0x5a));
      const data = byte1 === Overwrite ? list : Buffer.alloc(0);
      before.device.failures.push({ status: IoStatus.Offline, kind, lba: null });
      before.good(sanitize(byte1 | Immediate, data.length), { data });
      assert.equal(before.run(cdb(0)).code, 0x041b);
      assert.equal(before.pool.freeBytes, 32 * MIB);

      // The daemon was stopped; the next one goes on, and the disk is usable when it is done.
      const after = new Harness({ metadata: before.device.metadata }, { allowSanitize: true });
      after.good(cdb(0));
      assert.equal(after.device.metadata.size, 0);
      const left = byte1 === Overwrite ? 0x5a : 0;
      assert.ok(after.device.bytes.equals(Buffer.alloc(8 * MIB, left)));
    });
  }

  it('ends its task as not ready when the device closes under it', () => {
    const harness = allowed();
    harness.device.failures.push({ status: IoStatus.Offline, kind: BlockOpKind.Unmap, lba: null });
    harness.refused(sanitize(BlockErase), 2, 0x0400);
  });
});
