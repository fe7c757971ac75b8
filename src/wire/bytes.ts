// Little-endian fields of a frame header. Plain indexed loads and stores: what the compiler inlines best on the hot path.
// The caller has checked that the field lies inside the buffer.

const TWO_32 = 2 ** 32;

/** A 16-bit field. */
export function get16(b: Uint8Array, at: number): number {
  return b[at]! | (b[at + 1]! << 8);
}

/** A 32-bit field, unsigned. */
export function get32(b: Uint8Array, at: number): number {
  return (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0;
}

/** A 64-bit field as a number: exact up to 2^53 - 1, larger values come out as no safe integer. */
export function get64(b: Uint8Array, at: number): number {
  return get32(b, at) + get32(b, at + 4) * TWO_32;
}

/** Stores the low 16 bits of `value`. */
export function put16(b: Uint8Array, at: number, value: number): void {
  b[at] = value;
  b[at + 1] = value >>> 8;
}

/** Stores the low 32 bits of `value`. */
export function put32(b: Uint8Array, at: number, value: number): void {
  b[at] = value;
  b[at + 1] = value >>> 8;
  b[at + 2] = value >>> 16;
  b[at + 3] = value >>> 24;
}

/** Stores a safe integer, 0 to 2^53 - 1. */
export function put64(b: Uint8Array, at: number, value: number): void {
  put32(b, at, value % TWO_32);
  put32(b, at + 4, Math.floor(value / TWO_32));
}
