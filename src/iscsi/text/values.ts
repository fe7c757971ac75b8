// The forms of values, RFC 7143 §6.1: numbers, booleans, lists, binaries. A decoder answers null to what is none.

/** A decimal or hexadecimal constant in [low, high]. */
export function decodeNumber(value: string, low: number, high: number): number | null {
  // Ten digits hold every number a key may have: longer ones are refused before they are converted.
  if (!/^(0|[1-9][0-9]{0,9}|0[xX][0-9a-fA-F]{1,8})$/.test(value)) return null;
  const number = Number(value);
  return number >= low && number <= high ? number : null;
}

/** `Yes` or `No`. */
export function decodeBoolean(value: string): boolean | null {
  if (value === 'Yes') return true;
  return value === 'No' ? false : null;
}

/** A list, in the sender's order of preference. Empty items make it none. */
export function decodeList(value: string, maxItems: number): string[] | null {
  const items = value.split(',', maxItems + 1);
  if (items.length > maxItems || items.some((item) => item === '')) return null;
  return items;
}

/** A binary in hexadecimal (0x…) or base64 (0b…), of 1 to `maxBytes` bytes. */
export function decodeBinary(value: string, maxBytes: number): Buffer | null {
  const digits = value.slice(2);
  if (digits.length === 0) return null;
  if (/^0[xX]/.test(value)) {
    if (digits.length > 2 * maxBytes || !/^[0-9a-fA-F]+$/.test(digits)) return null;
    return Buffer.from(digits.length % 2 === 1 ? `0${digits}` : digits, 'hex');
  }
  if (/^0[bB]/.test(value)) {
    if (digits.length > Math.ceil(maxBytes / 3) * 4) return null;
    if (digits.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(digits)) return null;
    const bytes = Buffer.from(digits, 'base64');
    return bytes.length >= 1 && bytes.length <= maxBytes ? bytes : null;
  }
  return null;
}

/** Hexadecimal, the form every initiator reads. */
export function encodeBinary(bytes: Buffer): string {
  return `0x${bytes.toString('hex')}`;
}
