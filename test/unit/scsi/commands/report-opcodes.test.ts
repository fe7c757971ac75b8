// REPORT SUPPORTED OPERATION CODES.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cdb, Harness } from '../harness.ts';

function report(options: number, opcode = 0, action = 0, rctd = false): Buffer {
  const bytes = cdb(0xa3, 0x0c, (rctd ? 0x80 : 0) | options, opcode, action >> 8, action & 0xff);
  bytes.writeUInt32BE(65535, 6);
  return bytes;
}

interface Descriptor {
  readonly opcode: number;
  readonly action: number;
  readonly hasAction: boolean;
  readonly cdbBytes: number;
}

function descriptors(data: Buffer, step: 8 | 20): Descriptor[] {
  assert.equal(data.readUInt32BE(0), data.length - 4);
  const found: Descriptor[] = [];
  for (let at = 4; at < data.length; at += step) {
    assert.equal((data[at + 5]! & 0x02) !== 0, step === 20);
    if (step === 20) assert.equal(data.readUInt16BE(at + 8), 10);
    found.push({
      opcode: data[at]!,
      action: data.readUInt16BE(at + 2),
      hasAction: (data[at + 5]! & 0x01) !== 0,
      cdbBytes: data.readUInt16BE(at + 6),
    });
  }
  return found;
}

describe('REPORT SUPPORTED OPERATION CODES', () => {
  it('lists every command, and tells of each by itself', () => {
    const harness = new Harness({}, { allowSanitize: true });
    const all = descriptors(harness.good(report(0)), 8);
    assert.deepEqual(descriptors(harness.good(report(0, 0, 0, true)), 20), all);
    assert.ok(all.length > 60);
    for (const { opcode, action, hasAction, cdbBytes } of all) {
      const [right, wrong] = hasAction ? [2, 1] : [1, 2];
      harness.refused(report(wrong, opcode, action), 5, 0x2400, { field: [2, 2] });
      for (const options of [right, 3]) {
        const one = harness.good(report(options, opcode, action));
        assert.equal(one[1], 0x03);
        assert.equal(one.readUInt16BE(2), cdbBytes);
        assert.equal(one.length, 4 + cdbBytes);
        assert.equal(one[4], opcode);
        if (hasAction) assert.equal(one[5]! & 0x1f, action);
      }
      const timed = harness.good(report(right, opcode, action, true));
      assert.equal(timed[1], 0x83);
      assert.equal(timed.length, 4 + cdbBytes + 12);
    }
  });

  it('says of what there is not that there is not', () => {
    const harness = new Harness();
    for (const bytes of [
      report(1, 0xff),
      report(2, 0x5e, 9),
      report(2, 0x5e, 0x101),
      report(3, 0x00, 1),
    ]) {
      assert.deepEqual([...harness.good(bytes)], [0, 1, 0, 0]);
    }
    harness.refused(report(4), 5, 0x2400, { field: [2, 2] });
    const all = descriptors(harness.good(report(0)), 8);
    assert.ok(!all.some(({ opcode }) => opcode === 0x48), 'SANITIZE is not allowed here');
  });
});
