// The soft threshold of thin provisioning, as hosts hear of it: 06h/38h/07h, once for each nexus.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aNexus, cdb, Harness } from './harness.ts';

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

test('the error recovery page says that thresholds are reported', () => {
  const harness = new Harness();
  const page = harness.good(cdb(0x1a, 0x08, 0x01, 0, 255), { expectedBytes: 255 });
  assert.equal(page[4 + 7]! & 0x80, 0x80, 'LBPERE');
});
