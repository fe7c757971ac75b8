// Big-endian fields of a header. Plain indexed loads and stores: what the compiler inlines best on the hot path. The
// caller has checked that the field lies inside the buffer.

/** A 16-bit field. */
export function get16(b: Buffer, at: number): number {
  return (b[at]! << 8) | b[at + 1]!;
}

/** A 24-bit field. */
export function get24(b: Buffer, at: number): number {
  return (b[at]! << 16) | (b[at + 1]! << 8) | b[at + 2]!;
}

/** A 32-bit field, unsigned. */
export function get32(b: Buffer, at: number): number {
  return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;
}

/** Stores the low 16 bits of `value`. */
export function put16(b: Buffer, at: number, value: number): void {
  b[at] = value >>> 8;
  b[at + 1] = value;
}

/** Stores the low 32 bits of `value`. */
export function put32(b: Buffer, at: number, value: number): void {
  b[at] = value >>> 24;
  b[at + 1] = value >>> 16;
  b[at + 2] = value >>> 8;
  b[at + 3] = value;
}
