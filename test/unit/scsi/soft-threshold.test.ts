// The soft threshold of thin provisioning, as hosts hear of it: 06h/38h/07h, once for each nexus; and what they may ask
// of the space behind a unit, which all fits together.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProvisioningSpace } from '../../../src/scsi/index.ts';
import { aNexus, cdb, Harness, MIB } from './harness.ts';

const SOFT_THRESHOLD = 0x3807;
const TEST_UNIT_READY = cdb(0);

test('each nexus hears once; who logs in later hears too; all hear again when it is reached again', () => {
  const harness = new Harness();
  harness.target.setSpaceLow(true);
  harness.target.setSpaceLow(true);
  for (const nexus of [harness.nexus, harness.other]) {
    const heard = harness.run(TEST_UNIT_READY, { nexus });
    assert.deepEqual([heard.key, heard.code], [6, SOFT_THRESHOLD]);
    harness.good(TEST_UNIT_READY, { nexus });
  }
  const late = aNexus('host-c');
  harness.target.attachNexus(late);
  assert.equal(harness.run(TEST_UNIT_READY, { nexus: late }).code, 0x2900);
  assert.equal(harness.run(TEST_UNIT_READY, { nexus: late }).code, SOFT_THRESHOLD);
  harness.good(TEST_UNIT_READY, { nexus: late });

  harness.target.setSpaceLow(false);
  harness.good(TEST_UNIT_READY);
  harness.target.setSpaceLow(true);
  assert.equal(harness.run(TEST_UNIT_READY).code, SOFT_THRESHOLD);
});

/** Of a pool that other units share, whose figures change under the unit. */
function aSpace(): { space: () => ProvisioningSpace; now: ProvisioningSpace } {
  const told = {
    now: { usedBytes: 70.5 * MIB, availableBytes: 29 * MIB, tellAtBytes: 20 * MIB },
    space: (): ProvisioningSpace => told.now,
  };
  return told;
}

const modeSense = (code: number, subpage = 0, control = 0) =>
  cdb(0x1a, 0x08, (control << 6) | code, subpage, 255);
const logSense = (code: number, subpage = 0, pointer = 0, sp = 0) =>
  cdb(0x4d, sp, 0x40 | code, subpage, 0, 0, pointer, 0, 255);

function exponentOf(harness: Harness): number {
  return harness.good(cdb(0x12, 1, 0xb2, 0, 255), { expectedBytes: 255 })[4]!;
}

test('the threshold is the same in all that tells of it, in sets of the size that VPD page B2h says', () => {
  for (const [logicalBlockBytes, exponent] of [
    [512, 11],
    [4096, 8],
  ] as const) {
    const { space } = aSpace();
    const harness = new Harness({ logicalBlockBytes }, { space });
    assert.equal(exponentOf(harness), exponent);
    assert.equal(logicalBlockBytes * 2 ** exponent, MIB);
    const recovery = harness.good(modeSense(0x01), { expectedBytes: 255 });
    assert.equal(recovery[4 + 7]! & 0x80, 0x80, 'LBPERE');
    for (const control of [0, 2, 3]) {
      const page = harness.good(modeSense(0x1c, 0x02, control), { expectedBytes: 255 }).subarray(4);
      assert.equal(page.length, 24);
      assert.deepEqual([...page.subarray(0, 4)], [0xdc, 0x02, 0, 20]);
      assert.ok(
        page.subarray(4, 16).every((byte) => byte === 0),
        'SITUA 0: all are told',
      );
      assert.deepEqual(
        [...page.subarray(16, 20)],
        [0x80, 0x01, 0, 0],
        'soft, decreasing, available',
      );
      assert.equal(page.readUInt32BE(20), 20);
    }
    const changeable = harness.good(modeSense(0x1c, 0x02, 1), { expectedBytes: 255 }).subarray(4);
    assert.ok(changeable.subarray(4).every((byte) => byte === 0));
    const plain = harness.good(modeSense(0x1c, 0), { expectedBytes: 255 }).subarray(4);
    assert.equal(plain[0], 0x9c, 'informational exceptions is another page');
    const both = harness.good(modeSense(0x1c, 0xff), { expectedBytes: 255 });
    assert.equal(both.length, 4 + 12 + 24);
  }
});

test('log page 0Ch counts what is left and what is used, as it is now', () => {
  const told = aSpace();
  const harness = new Harness({}, { space: told.space });
  const pages = harness.good(logSense(0), { expectedBytes: 255 });
  assert.deepEqual([...pages], [0, 0, 0, 2, 0x00, 0x0c]);
  const pairs = harness.good(logSense(0, 0xff), { expectedBytes: 255 });
  assert.deepEqual([...pairs], [0x40, 0xff, 0, 6, 0, 0, 0, 0xff, 0x0c, 0]);
  const read = () => harness.good(logSense(0x0c), { expectedBytes: 255 });
  const page = read();
  assert.deepEqual([...page.subarray(0, 4)], [0x8c, 0, 0, 24]);
  assert.deepEqual([...page.subarray(4, 16)], [0, 1, 3, 8, 0, 0, 0, 29, 2, 0, 0, 0]);
  assert.deepEqual([...page.subarray(16)], [0, 2, 3, 8, 0, 0, 0, 70, 2, 0, 0, 0]);
  told.now = { usedBytes: 2 ** 60, availableBytes: 0, tellAtBytes: 0 };
  assert.equal(read().readUInt32BE(8), 0);
  assert.equal(
    read().readUInt32BE(20),
    0xffff_ffff,
    'what 32 bits cannot say is said as far as they go',
  );
  const fromUsed = harness.good(logSense(0x0c, 0, 2), { expectedBytes: 255 });
  assert.deepEqual([...fromUsed.subarray(0, 6)], [0x8c, 0, 0, 12, 0, 2]);
  harness.refused(logSense(0x0c, 0, 3), 5, 0x2400, { field: [5, null] });
  harness.refused(logSense(0x0c, 1), 5, 0x2400, { field: [3, null] });
  harness.refused(logSense(0x00, 1), 5, 0x2400, { field: [3, null] });
  harness.refused(logSense(0x0c, 0, 0, 1), 5, 0x2400, { field: [1, 0] });
});

test('hosts that are never told find the threshold off', () => {
  const space = (): ProvisioningSpace => ({ usedBytes: 0, availableBytes: MIB, tellAtBytes: null });
  const harness = new Harness({}, { space });
  const page = harness.good(modeSense(0x1c, 0x02), { expectedBytes: 255 }).subarray(4);
  assert.equal(page[16]! & 0x80, 0, 'ENABLED');
});

test('a unit of whose space nothing is known offers no threshold anywhere', () => {
  const harness = new Harness();
  assert.equal(exponentOf(harness), 0);
  const recovery = harness.good(modeSense(0x01), { expectedBytes: 255 });
  assert.equal(recovery[4 + 7]! & 0x80, 0, 'LBPERE');
  harness.refused(modeSense(0x1c, 0x02), 5, 0x2400, { field: [3, null] });
  harness.refused(logSense(0x0c), 5, 0x2400, { field: [2, 5] });
  assert.deepEqual([...harness.good(logSense(0), { expectedBytes: 255 })], [0, 0, 0, 1, 0]);
});
