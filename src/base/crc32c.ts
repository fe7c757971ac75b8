// CRC32C (Castagnoli, reflected polynomial 82f63b78h), as iSCSI digests use it (RFC 7143 §13.1, RFC 3720 §12.1). The
// table-driven code here is the reference and the fallback; the daemon plugs in the native one at start.
import { assert } from './assert.ts';

/**
 * The CRC32C of `bytes[start, end)`, carried on from `crc`: 0 to begin with, else what an earlier call returned for the
 * bytes before. An unsigned 32-bit number.
 */
export type Crc32c = (bytes: Uint8Array, start: number, end: number, crc: number) => number;

/** The CRC32C of each of `pieces` pieces of `pieceBytes` that lie side by side from `start` on: `into[i]` is that of piece i. */
export type Crc32cEach = (
  bytes: Uint8Array,
  start: number,
  pieceBytes: number,
  pieces: number,
  into: Uint32Array,
) => void;

const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;

/** `TABLES[256 * k + b]`: the effect of byte b, k zero bytes later. */
const TABLES = makeTables();

function makeTables(): Uint32Array {
  const tables = new Uint32Array(256 * SLICES);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    tables[byte] = crc;
  }
  for (let index = 256; index < tables.length; index += 1) {
    const before = tables[index - 256]!;
    tables[index] = (before >>> 8) ^ tables[before & 255]!;
  }
  return tables;
}

/** Slicing by eight, in JavaScript: about 1 GB/s. */
export function crc32cJs(bytes: Uint8Array, start: number, end: number, crc: number): number {
  assert(start >= 0 && start <= end && end <= bytes.length);
  const t = TABLES;
  let c = ~crc;
  let at = start;
  for (const last = end - 8; at <= last; at += 8) {
    c ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    c =
      t[1792 + (c & 255)]! ^
      t[1536 + ((c >>> 8) & 255)]! ^
      t[1280 + ((c >>> 16) & 255)]! ^
      t[1024 + (c >>> 24)]! ^
      t[768 + bytes[at + 4]!]! ^
      t[512 + bytes[at + 5]!]! ^
      t[256 + bytes[at + 6]!]! ^
      t[bytes[at + 7]!]!;
  }
  for (; at < end; at += 1) c = (c >>> 8) ^ t[(c ^ bytes[at]!) & 255]!;
  return ~c >>> 0;
}

/** By the implementation for one piece. */
const oneByOne: Crc32cEach = (bytes, start, pieceBytes, pieces, into) => {
  assert(pieces <= into.length);
  for (let piece = 0; piece < pieces; piece += 1) {
    const at = start + piece * pieceBytes;
    into[piece] = implementation(bytes, at, at + pieceBytes, 0);
  }
};

let implementation: Crc32c = crc32cJs;
let eachImplementation: Crc32cEach = oneByOne;

/** Replaces the implementation, for good: it must agree with this one on a known answer. `each`: of many pieces in one call. */
export function setCrc32c(replacement: Crc32c, each: Crc32cEach = oneByOne): void {
  const probe = Buffer.from('x123456789123456789');
  assert(replacement(probe, 1, 10, 0) === 0xe3069283, 'a CRC32C that is wrong');
  const half = replacement(probe, 1, 5, 0);
  assert(replacement(probe, 5, 10, half) === 0xe3069283, 'a CRC32C that cannot carry on');
  implementation = replacement;
  const pair = new Uint32Array(2);
  each(probe, 1, 9, 2, pair);
  assert(pair[0] === 0xe3069283 && pair[1] === pair[0], 'CRC32Cs of pieces that are wrong');
  eachImplementation = each;
}

/** The CRC32C of `bytes[start, end)`; see the type. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, crc = 0): number {
  return implementation(bytes, start, end, crc);
}

/** See the type. */
export function crc32cEach(
  bytes: Uint8Array,
  start: number,
  pieceBytes: number,
  pieces: number,
  into: Uint32Array,
): void {
  eachImplementation(bytes, start, pieceBytes, pieces, into);
}
