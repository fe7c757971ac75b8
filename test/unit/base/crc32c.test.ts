import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c, crc32cJs, setCrc32c } from '../../../src/base/index.ts';

test('the examples of RFC 3720 B.4', () => {
  const ascending = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(ascending), 0x46dd794e);
  assert.equal(crc32c(Buffer.from(ascending).reverse()), 0x113fdb5c);
  assert.equal(crc32c(Buffer.alloc(0)), 0);
});

test('computed in parts it comes to the same, whatever the alignment', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, place) => {
      const cut = Math.min(place, bytes.length);
      const first = crc32cJs(bytes, 0, cut, 0);
      assert.equal(crc32cJs(bytes, cut, bytes.length, first), crc32cJs(bytes, 0, bytes.length, 0));
    }),
  );
});

test('a replacement that computes something else is refused', () => {
  assert.throws(() => setCrc32c(() => 0), /CRC32C/);
  // Right for a whole, wrong when carried on.
  assert.throws(() => setCrc32c((bytes, start, end) => crc32cJs(bytes, start, end, 0)), /carry/);
  setCrc32c((bytes, start, end, crc) => crc32cJs(bytes, start, end, crc));
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
});
