import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeBinary,
  decodeBoolean,
  decodeList,
  decodeNumber,
  encodeBinary,
  formatText,
  normaliseName,
  parseText,
} from '../../../../src/iscsi/text/index.ts';

test('numbers are decimal or hexadecimal constants within their range', () => {
  assert.equal(decodeNumber('0', 0, 10), 0);
  assert.equal(decodeNumber('16777215', 512, 16777215), 16777215);
  assert.equal(decodeNumber('0xfF', 0, 255), 255);
  for (const value of ['', '-1', '+1', '01', '1.0', '1e3', ' 1', '0x', '11', '0x1ffffffff']) {
    assert.equal(decodeNumber(value, 0, 10), null, value);
  }
  assert.equal(decodeNumber('9'.repeat(5000), 0, 10), null);
});

test('booleans and lists', () => {
  assert.deepEqual(['Yes', 'No', 'yes', ''].map(decodeBoolean), [true, false, null, null]);
  assert.deepEqual(decodeList('a,b', 2), ['a', 'b']);
  for (const value of ['', 'a,', ',', 'a,b,c']) assert.equal(decodeList(value, 2), null, value);
});

test('binaries in hexadecimal and base64, bounded', () => {
  assert.deepEqual(decodeBinary('0x0aB', 4), Buffer.from([0x00, 0xab]));
  assert.deepEqual(decodeBinary('0XFF', 4), Buffer.from([0xff]));
  assert.deepEqual(decodeBinary('0bAAEC', 4), Buffer.from([0, 1, 2]));
  assert.deepEqual(decodeBinary('0BAA==', 4), Buffer.from([0]));
  for (const value of [
    '',
    '0x',
    '0b',
    'ff',
    '0xzz',
    '0b###=',
    '0bAAE',
    '0x0102030405',
    '0bAAAAAAA=',
  ]) {
    assert.equal(decodeBinary(value, 4), null, value);
  }
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), (bytes) => {
      const buffer = Buffer.from(bytes);
      assert.deepEqual(decodeBinary(encodeBinary(buffer), 64), buffer);
      assert.deepEqual(decodeBinary(`0b${buffer.toString('base64')}`, 64), buffer);
    }),
  );
});

test('pairs come back as they were written; more than one zero byte ends a pair too', () => {
  const pairs = [
    { key: 'InitiatorName', value: 'iqn.a=b' },
    { key: 'iSCSIProtocolLevel', value: '' },
  ];
  assert.deepEqual(parseText(formatText(pairs), { maxPairs: 2 }), pairs);
  assert.deepEqual(parseText(Buffer.from('\0\0A=1\0\0\0'), { maxPairs: 2 }), [
    { key: 'A', value: '1' },
  ]);
  assert.deepEqual(parseText(Buffer.alloc(0), { maxPairs: 2 }), []);
  const refused = [
    'A',
    'A\0',
    '=1\0',
    'A=1\0A=2\0',
    'A=1\0B=1\0C=1\0',
    '1A=1\0',
    'A=\x01\0',
    'Ä=1\0',
  ];
  for (const text of refused) {
    assert.ok('error' in parseText(Buffer.from(text), { maxPairs: 2 }), text);
  }
  assert.ok('error' in parseText(Buffer.from([0x41, 0x3d, 0xc3, 0]), { maxPairs: 2 }), 'bad UTF-8');
});

test('no error of the parser repeats a value', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 8 }), (secret) => {
      const result = parseText(Buffer.from(`CHAP_R=${secret}\x01\0`), { maxPairs: 1 });
      if ('error' in result) assert.equal(result.error.includes(secret), false);
    }),
  );
});

test('iSCSI names, in their normal form', () => {
  assert.equal(normaliseName('IQN.2001-04.com.Example:Storage'), 'iqn.2001-04.com.example:storage');
  assert.equal(
    normaliseName('iqn.1993-08.org.debian:01:my_host'),
    'iqn.1993-08.org.debian:01:my_host',
  );
  assert.equal(normaliseName('eui.02004567A425678D'), 'eui.02004567a425678d');
  assert.equal(normaliseName('naa.52004567BA64678D'), 'naa.52004567ba64678d');
  assert.equal(normaliseName(`naa.${'0'.repeat(32)}`), `naa.${'0'.repeat(32)}`);
  assert.equal(normaliseName(`iqn.${'a'.repeat(219)}`)?.length, 223);
  const refused = [
    '',
    'iqn.',
    'foo',
    'eui.123',
    'naa.0',
    'iqn.a b',
    'iqn.a,i,0x1',
    `iqn.${'a'.repeat(220)}`,
  ];
  for (const name of refused) assert.equal(normaliseName(name), null, name);
  // Longer in its normal form than as sent.
  assert.equal(normaliseName(`iqn.${'ﷺ'.repeat(73)}`), null);
});
