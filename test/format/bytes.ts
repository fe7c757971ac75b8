// Numbers and checksums of the on-disk format. Nothing of the engine or of src/ is used in this folder: what it knows, it
// knows from docs/on-disk-format.md.

export const BLOCK = 4096;

/** RFC 7143 §13.1, bit by bit made into a table: CRC32C, reflected, 0x1EDC6F41. */
const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  return crc;
});

export function crcOf(...parts: readonly Uint8Array[]): number {
  let crc = 0xffffffff;
  for (const part of parts) for (const byte of part) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 255]!;
  return (crc ^ 0xffffffff) >>> 0;
}

export function u64(bytes: Buffer, at: number): bigint {
  return bytes.readBigUInt64LE(at);
}

/** A count or an index, which in the pools of a test is never large. */
export function count(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error(`${value} is no count`);
  return Number(value);
}

export function uuid(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + 16);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Text of a field that ends at its first zero byte, or with the field. */
export function text(bytes: Buffer, at: number, length: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString('utf8', at, end < 0 || end > at + length ? at + length : end);
}
