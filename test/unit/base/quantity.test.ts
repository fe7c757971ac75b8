import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBytes, formatQuantity, parseQuantity } from '../../../src/base/index.ts';

test('quantities are read as Kubernetes reads them', () => {
  const known: [string, number | null][] = [
    ['5Gi', 5 * 2 ** 30],
    ['1.5Ki', 1536],
    ['10G', 10e9],
    ['1k', 1000],
    ['1e3', 1000],
    ['1E3', 1000],
    ['1E', 1e18 > Number.MAX_SAFE_INTEGER ? null : 1e18],
    ['1.1', 2],
    ['.5', null],
    ['0', 0],
    ['5Gx', null],
    ['5gi', null],
    ['-1Gi', null],
    ['', null],
    [' 5Gi', null],
    ['8Pi', null],
    [`1${'0'.repeat(50)}`, null],
  ];
  for (const [text, bytes] of known) assert.equal(parseQuantity(text), bytes, text);
});

test('what is formatted exactly is read back', () => {
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (bytes) => {
      assert.equal(parseQuantity(formatQuantity(bytes)), bytes);
    }),
  );
});

test('any text gives a number of bytes or null', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const bytes = parseQuantity(text);
      assert.ok(bytes === null || (Number.isSafeInteger(bytes) && bytes >= 0));
    }),
  );
});

test('bytes for people have three digits', () => {
  assert.deepEqual([0, 999, 1536, 10 * 2 ** 20, 100 * 2 ** 20, 1.5 * 2 ** 30].map(formatBytes), [
    '0',
    '999',
    '1.5Ki',
    '10Mi',
    '100Mi',
    '1.5Gi',
  ]);
});
