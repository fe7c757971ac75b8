// LUN fields, SAM-5 §4.7: what is written is read back, and eight bytes of anything are a LUN of ours or none.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import {
  decodeLun,
  encodeLun,
  MAX_LUN,
  NO_LUN,
  REPORT_LUNS_WELL_KNOWN_LUN,
} from '../../../src/scsi/index.ts';

it('decodes what it encodes', () => {
  const bytes = Buffer.alloc(8, 0xff);
  for (let lun = 0; lun <= MAX_LUN; lun += 1) {
    encodeLun(lun, bytes, 0);
    assert.equal(decodeLun(bytes, 0), lun);
  }
  assert.equal(decodeLun(Buffer.from('4001000000000000', 'hex'), 0), 1);
  encodeLun(REPORT_LUNS_WELL_KNOWN_LUN, bytes, 0);
  assert.equal(decodeLun(bytes, 0), REPORT_LUNS_WELL_KNOWN_LUN);
});

it('knows no other format', () => {
  for (const field of [
    '0100000000000000',
    '0001000100000000',
    'c201000000000000',
    '8000000000000000',
    '0101000000000000',
    '0001000000000001',
    'c100000000000000',
  ]) {
    assert.equal(decodeLun(Buffer.from(field, 'hex'), 0), NO_LUN);
  }
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (field) => {
      const lun = decodeLun(Buffer.from(field), 0);
      const known = lun === NO_LUN || lun === REPORT_LUNS_WELL_KNOWN_LUN;
      assert(known || (lun >= 0 && lun <= MAX_LUN));
    }),
  );
});
