// What surrounds a header on the wire, RFC 7143 §11.1: header digest, data, padding, data digest. The caller encodes
// a BHS (and AHS) at `at`, puts the data at `dataStart`, then seals.
import { assert, crc32c } from '../../base/index.ts';
import { ahsBytesOf, BHS_BYTES, DIGEST_BYTES, dataBytesOf, padded } from './bhs.ts';

export interface Digests {
  readonly header: boolean;
  readonly data: boolean;
}

export const NO_DIGESTS: Digests = { header: false, data: false };

/** All the bytes a PDU takes on the wire. */
export function wireBytes(ahsBytes: number, dataBytes: number, digests: Digests): number {
  return (
    BHS_BYTES +
    ahsBytes +
    (digests.header ? DIGEST_BYTES : 0) +
    padded(dataBytes) +
    (digests.data && dataBytes > 0 ? DIGEST_BYTES : 0)
  );
}

/** Where the data of the PDU at `at` begin. */
export function dataStart(b: Buffer, at: number, digests: Digests): number {
  return at + BHS_BYTES + ahsBytesOf(b, at) + (digests.header ? DIGEST_BYTES : 0);
}

/** Header and data are in place: writes padding and digests. Returns where the next PDU begins. */
export function seal(b: Buffer, at: number, digests: Digests): number {
  const headEnd = at + BHS_BYTES + ahsBytesOf(b, at);
  let next = headEnd;
  if (digests.header) {
    putDigest(b, next, crc32c(b, at, headEnd, 0));
    next += DIGEST_BYTES;
  }
  const dataBytes = dataBytesOf(b, at);
  if (dataBytes > 0) {
    const dataAt = next;
    next += padded(dataBytes);
    for (let pad = dataAt + dataBytes; pad < next; pad += 1) b[pad] = 0;
    if (digests.data) {
      putDigest(b, next, crc32c(b, dataAt, next, 0));
      next += DIGEST_BYTES;
    }
  }
  assert(next <= b.length);
  return next;
}

/** A whole PDU in a buffer of its own: for what is rare (login, text) and for tests. */
export function assemblePdu(
  encodeBhs: (b: Buffer, at: number) => void,
  parts: { readonly ahs?: Buffer; readonly data?: Buffer } = {},
  digests: Digests = NO_DIGESTS,
): Buffer {
  const ahsBytes = parts.ahs?.length ?? 0;
  const dataBytes = parts.data?.length ?? 0;
  const pdu = Buffer.alloc(wireBytes(ahsBytes, dataBytes, digests));
  encodeBhs(pdu, 0);
  assert(ahsBytesOf(pdu, 0) === ahsBytes && dataBytesOf(pdu, 0) === dataBytes);
  parts.ahs?.copy(pdu, BHS_BYTES);
  parts.data?.copy(pdu, dataStart(pdu, 0, digests));
  seal(pdu, 0, digests);
  return pdu;
}

function putDigest(b: Buffer, at: number, crc: number): void {
  b[at] = crc;
  b[at + 1] = crc >>> 8;
  b[at + 2] = crc >>> 16;
  b[at + 3] = crc >>> 24;
}
