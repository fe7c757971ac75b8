// UUIDs as the engine keeps them, 16 bytes, and as people read them.
import { StoreError } from './types.ts';

const PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Throws StoreError STORE_INVALID unless `text` is a UUID in lower case. */
export function uuidToBytes(text: string): Uint8Array {
  if (!PATTERN.test(text))
    throw new StoreError('STORE_INVALID', `${text} is not a lower-case UUID`);
  return Uint8Array.from(Buffer.from(text.replaceAll('-', ''), 'hex'));
}

export function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
