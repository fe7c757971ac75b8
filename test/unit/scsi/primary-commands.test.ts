// INQUIRY, mode pages, sense data and what else every SCSI device answers.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { encodeSense } from '../../../src/scsi/sense.ts';
import { cdb, cdb10, Harness, ScsiStatus, TaskManagement, UUID } from './harness.ts';

function vpd(harness: Harness, page: number): Buffer {
  const data = harness.good(cdb(0x12, 1, page, 0xff, 0xff));
  assert.equal(data[1], page);
  assert.equal(data.readUInt16BE(2), data.length - 4);
  return data;
}

describe('INQUIRY', () => {
  it('describes a disk that claims SPC-4, SBC-3 and iSCSI', () => {
    const data = new Harness().good(cdb(0x12, 0, 0, 0, 255));
    assert.equal(data.length, 96);
    assert.equal(data[0], 0);
    assert.equal(data[2], 6);
    assert.equal(data[3]! & 0x0f, 2);
    assert.equal(data[4], 91);
    assert.equal(data.toString('latin1', 8, 16), 'ASHLAR  ');
    const versions = [0, 1, 2, 3, 4].map((index) => data.readUInt16BE(58 + 2 * index));
    for (const version of [0x0460, 0x04c0, 0x0960]) assert(versions.includes(version));
  });

  it('cuts to the allocation length and refuses stray fields', () => {
    const harness = new Harness();
    assert.equal(harness.good(cdb(0x12, 0, 0, 0, 5)).length, 5);
    assert.equal(harness.good(cdb(0x12, 0, 0, 0, 0)).length, 0);
    harness.refused(cdb(0x12, 0, 0x80, 0, 255), 5, 0x2400, { field: [2, null] });
    harness.refused(cdb(0x12, 1, 0x7f, 0, 255), 5, 0x2400, { field: [2, null] });
    harness.refused(cdb(0x12, 2, 0, 0, 255), 5, 0x2400, { field: [1, 1] });
  });

  it('lists pages that can all be read', () => {
    const harness = new Harness();
    const pages = [...vpd(harness, 0).subarray(4)];
    assert.deepEqual(pages, [0x00, 0x80, 0x83, 0x86, 0x8f, 0xb0, 0xb1, 0xb2]);
    for (const page of pages) vpd(harness, page);
  });

  it('identifies the volume by its UUID, whoever asks', () => {
    const harness = new Harness();
    assert.equal(vpd(harness, 0x80).toString('latin1', 4), UUID.replaceAll('-', ''));
    const page = vpd(harness, 0x83);
    const seen: string[] = [];
    for (let at = 4; at < page.length; at += 4 + page[at + 3]!) {
      seen.push(`${(page[at + 1]! >> 4) & 3}:${page[at + 1]! & 0x0f}`);
    }
    assert.deepEqual(seen, ['0:3', '0:1', '1:4', '1:5', '1:8', '2:8']);
    assert.equal(page[8]! >> 4, 3);
    assert.deepEqual(vpd(new Harness(), 0x83), page);
  });

  it('gives limits in blocks', () => {
    const limits = vpd(new Harness(), 0xb0);
    assert.equal(limits.length, 64);
    assert.equal(limits[4], 1);
    assert.equal(limits[5], 8);
    assert.equal(limits.readUInt32BE(8), 8192);
    assert.equal(limits.readUInt32BE(20), 1024 * 1024);
    assert.equal(limits.readUInt32BE(28), 8);
    assert.equal(vpd(new Harness(), 0xb2)[5], 0xe4);
  });
});

describe('an absent unit', () => {
  it('is said to be absent', () => {
    const harness = new Harness();
    assert.equal(harness.good(cdb(0x12, 0, 0, 0, 96), { lun: 3 })[0], 0x7f);
    harness.refused(cdb(0), 5, 0x2500, { lun: 3 });
    harness.refused(cdb10(0x28, 0, 1), 5, 0x2500, { lun: -1 });
    assert.equal(harness.good(cdb(3, 0, 0, 0, 252), { lun: 3 }).readUInt16BE(12), 0x2500);
    harness.refused(cdb(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0), 5, 0x2500, { lun: 3 });
  });

  it('or the REPORT LUNS well-known one', () => {
    const harness = new Harness();
    const lun = 0xc101;
    const luns = harness.good(cdb(0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0), { lun });
    assert.equal(luns.readUInt32BE(0), 16);
    assert.equal(luns.readUInt16BE(16), 0xc101);
    assert.equal(harness.good(cdb(0x12, 0, 0, 0, 96), { lun })[0], 0x1e);
    harness.good(cdb(0), { lun });
    harness.refused(cdb10(0x28, 0, 1), 5, 0x2000, { lun });
  });
});

describe('MODE SENSE and MODE SELECT', () => {
  const control = (harness: Harness, pc = 0): Buffer =>
    harness.good(cdb(0x1a, 0x08, (pc << 6) | 0x0a, 0, 255)).subarray(4);
  const select = (page: Buffer, flags = 0x10): [Buffer, { data: Buffer }] => {
    const data = Buffer.concat([Buffer.alloc(4), page]);
    data[4]! &= 0x7f;
    return [cdb(0x15, flags, 0, 0, data.length), { data }];
  };

  it('gives all pages, in order, with a block descriptor', () => {
    const harness = new Harness();
    const six = harness.good(cdb(0x1a, 0, 0x3f, 0, 255));
    assert.equal(six[0], six.length - 1);
    assert.equal(six[2], 0x10);
    assert.equal(six[3], 8);
    assert.equal(six.readUIntBE(9, 3), 512);
    const codes: number[] = [];
    for (let at = 12; at < six.length; at += 2 + six[at + 1]!) codes.push(six[at]! & 0x3f);
    assert.deepEqual(codes, [0x01, 0x08, 0x0a, 0x1c]);
    const ten = harness.good(cdb(0x5a, 0x10, 0x3f, 0xff, 0, 0, 0, 2, 0));
    assert.equal(ten.readUInt16BE(0), ten.length - 2);
    assert.equal(ten[4], 1);
    assert.equal(ten.readUInt16BE(6), 16);
    assert.equal(ten.readBigUInt64BE(8), 16384n);
    harness.refused(cdb(0x1a, 0, 0x02, 0, 255), 5, 0x2400, { field: [2, 5] });
    harness.refused(cdb(0x1a, 0, 0x08, 1, 255), 5, 0x2400, { field: [3, null] });
  });

  it('says what can be changed', () => {
    const harness = new Harness();
    assert.equal(harness.good(cdb(0x1a, 8, 0x48, 0, 255))[4 + 2], 0x04);
    assert.deepEqual([...control(harness, 1).subarray(2, 6)], [0x04, 0x06, 0x08, 0x40]);
  });

  it('switches the write cache for real', () => {
    const harness = new Harness();
    const page = harness.good(cdb(0x1a, 8, 0x08, 0, 255)).subarray(4);
    assert.equal(page[2], 0x04);
    page[2] = 0;
    harness.good(...select(page));
    assert.equal(harness.device.writeCache, false);
    assert.equal(harness.good(cdb(0x1a, 8, 0x08, 0, 255))[6], 0);
    harness.refused(cdb(0), 6, 0x2a01, { nexus: harness.other });
    harness.good(cdb(0));
  });

  it('tells the hosts when an operator switches the write cache, and all but itself when a host does', () => {
    const harness = new Harness();
    const { nexus, other } = harness;
    const codes = (): number[] =>
      [nexus, other].map((one) => harness.run(cdb(0), { nexus: one }).code);
    harness.device.setWriteCache(false, () => {});
    assert.deepEqual(codes(), [0x2a01, 0x2a01]);
    assert.deepEqual(codes(), [0, 0]);
    const page = harness.good(cdb(0x1a, 0x08, 0x08, 0, 255)).subarray(4);
    page[2]! |= 0x04;
    harness.good(...select(page));
    assert.ok(harness.device.writeCache);
    assert.deepEqual(codes(), [0, 0x2a01]);
  });

  it('protects from writes by SWP', () => {
    const harness = new Harness();
    harness.setControl(4, 0x08);
    harness.refused(cdb10(0x2a, 0, 1), 7, 0x2702, { data: Buffer.alloc(512) });
    assert.equal(harness.good(cdb(0x1a, 0, 0x3f, 0, 255))[2], 0x90);
    harness.good(cdb10(0x28, 0, 1));
  });

  it('turns all sense data to descriptors by D_SENSE, with the same pointers', () => {
    const harness = new Harness();
    harness.setControl(2, 0x04);
    const { sense, key, code } = harness.run(cdb10(0x28, 0, 1, 0x20));
    assert.equal(sense[0], 0x72);
    assert.equal(key, 5);
    assert.equal(code, 0x2400);
    assert.deepEqual([...sense.subarray(7)], [8, 2, 6, 0, 0, 0xcf, 0, 1, 0]);
  });

  it('saves what SP asks to save, and only that', () => {
    const harness = new Harness();
    harness.setControl(2, 0x04);
    const page = control(harness);
    page[5]! |= 0x40;
    harness.good(...select(page, 0x11));
    harness.setControl(4, 0x08);
    const again = new Harness({ metadata: harness.device.metadata });
    assert.deepEqual([...control(again).subarray(2, 6)], [0x06, 0x10, 0x00, 0x40]);
    assert.equal(control(harness, 3)[5], 0x40);
    harness.manage(TaskManagement.LogicalUnitReset);
    harness.run(cdb(0));
    assert.deepEqual([...control(harness).subarray(2, 6)], [0x06, 0x10, 0x00, 0x40]);
    harness.good(cdb(0x15, 0x12, 0, 0, 0));
    assert.deepEqual(control(harness).subarray(2), control(harness, 2).subarray(2));
  });

  it('refuses what cannot be, points at it, and changes nothing', () => {
    const harness = new Harness();
    const page = control(harness);
    const wrong = Buffer.from(page);
    wrong[2]! = 0x26;
    harness.refused(select(wrong)[0], 5, 0x2600, { ...select(wrong)[1], field: [6, 5] });
    wrong[2] = page[2]!;
    wrong[3]! |= 0x04;
    harness.refused(select(wrong)[0], 5, 0x2600, { ...select(wrong)[1], field: [7, 2] });
    const long = Buffer.concat([Buffer.from([0x0a, 0x0b]), Buffer.alloc(11)]);
    harness.refused(select(long)[0], 5, 0x2600, { ...select(long)[1], field: [5, null] });
    const cut = page.subarray(0, 8);
    harness.refused(select(cut)[0], 5, 0x1a00, { data: select(cut)[1].data });
    harness.refused(cdb(0x15, 0x10, 0, 0, 3), 5, 0x1a00, { data: Buffer.alloc(3) });
    harness.refused(select(page, 0)[0], 5, 0x2400, { ...select(page)[1], field: [1, 4] });
    const resized = Buffer.from([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 16, 0]);
    harness.refused(cdb(0x15, 0x10, 0, 0, 12), 5, 0x2600, { data: resized, field: [9, null] });
    harness.good(cdb(0x15, 0x10, 0, 0, 0));
    harness.good(cdb(0), { nexus: harness.other });
  });
});

describe('small commands', () => {
  it('stop without taking the medium from the others', () => {
    const harness = new Harness();
    harness.good(cdb(0x1b, 0, 0, 0, 0));
    assert.equal(harness.device.flushes, 1);
    harness.good(cdb10(0x28, 0, 1), { nexus: harness.other });
    harness.refused(cdb(0x1b, 0, 0, 0, 2), 5, 0x2400, { field: [4, 1] });
    harness.refused(cdb(0x1b, 0, 0, 0, 0x10), 5, 0x2400, { field: [4, 7] });
  });

  it('report one optimized port group', () => {
    const harness = new Harness();
    const data = harness.good(cdb(0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0));
    assert.deepEqual([...data], [0, 0, 0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert.equal(harness.good(cdb(0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 1, 0)).length, 20);
  });

  it('report task management functions', () => {
    const harness = new Harness();
    const data = harness.good(cdb(0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 1, 0));
    assert.deepEqual([...data], [0xde, 0x07, 0, 0]);
    assert.equal(harness.good(cdb(0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 1, 0))[3], 12);
  });
});

describe('sense data', () => {
  it('gives 64-bit information where the format has room for it', () => {
    const sense = { key: 3, code: 0x1100, information: 2 ** 40 } as const;
    assert.equal(encodeSense(sense, false)[0], 0x70);
    assert.equal(encodeSense(sense, true).readBigUInt64BE(12), 2n ** 40n);
  });

  it('gives progress', () => {
    const fixed = encodeSense({ key: 2, code: 0x041b, progress: 0x1234 }, false);
    assert.deepEqual([...fixed.subarray(15)], [0x80, 0x12, 0x34]);
  });
});

describe('any CDB', () => {
  it('ends with a status and never throws, whatever data comes with it', () => {
    const harness = new Harness({}, { allowSanitize: true });
    const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
    const known = fc.constantFrom(
      0x03,
      0x08,
      0x12,
      0x15,
      0x1a,
      0x28,
      0x2a,
      0x2e,
      0x2f,
      0x41,
      0x42,
      0x55,
      0x5a,
      0x5e,
      0x5f,
      0x83,
      0x84,
      0x88,
      0x89,
      0x8a,
      0x8b,
      0x8f,
      0x93,
      0x9c,
      0x9e,
      0xa0,
      0xa3,
      0x4d,
      0x1b,
      0x37,
    );
    const small = fc.boolean();
    const data = fc.uint8Array({ maxLength: 8192 });
    const announced = fc.option(fc.nat(8192));
    fc.assert(
      fc.property(
        bytes,
        fc.option(known),
        small,
        data,
        announced,
        (raw, opcode, tame, out, edtl) => {
          const command = Buffer.from(raw);
          if (opcode !== null) command[0] = opcode;
          // Half the time the numbers are small enough to be let through.
          if (tame) for (let at = 1; at < 15; at += 1) command[at]! &= at % 4 === 1 ? 0x1f : 0x01;
          const options = {
            data: Buffer.from(out),
            ...(edtl === null ? {} : { expectedBytes: edtl }),
          };
          const pending = harness.start(command, options);
          if (pending.outcome === null) return;
          assert(Object.values(ScsiStatus).includes(pending.outcome.status));
          const failed = pending.outcome.status === ScsiStatus.CheckCondition;
          assert.equal(pending.outcome.sense.length > 0, failed);
        },
      ),
      { numRuns: 20_000 },
    );
    assert.equal(harness.pool.freeBytes, 32 * 1024 * 1024);
  });
});
