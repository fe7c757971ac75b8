// Text as login and text PDUs carry it, RFC 7143 §6.1: `key=value`, each pair ended by at least one zero byte.

/** §6.1: a key name has at most 63 bytes. */
export const MAX_KEY_BYTES = 63;

/** §6.2: what answers a key instead of a value. */
export const REJECT = 'Reject';
export const NOT_UNDERSTOOD = 'NotUnderstood';
export const IRRELEVANT = 'Irrelevant';

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

export interface TextLimits {
  readonly maxPairs: number;
}

/** Why text was refused: for a log line, never with a value in it, which may be a CHAP response. */
export interface TextError {
  readonly error: string;
}

// §6.1: a letter (a capital, says the grammar, and then names iSCSIProtocolLevel), then letters, digits, . - + @ _ / #
const KEY_NAME = /^[A-Za-z][A-Za-z0-9.\-+@_/#]{0,62}$/;
// Control characters mean nothing in any value.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNPRINTABLE = /[\u0000-\u001f\u007f\ufffd]/;

/** Splits a whole logical text (all PDUs of a C-bit sequence put together) into its pairs, in order. */
export function parseText(text: Buffer, limits: TextLimits): KeyValue[] | TextError {
  const pairs: KeyValue[] = [];
  const seen = new Set<string>();
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf(0, at);
    if (end < 0) return { error: 'a pair is not ended by a zero byte' };
    if (end > at) {
      const pair = parsePair(text, at, end);
      if ('error' in pair) return pair;
      // §6.2: a key is negotiated once; one that comes twice in one text is ambiguous.
      if (seen.has(pair.key)) return { error: `${pair.key} comes twice` };
      if (pairs.length >= limits.maxPairs) return { error: 'too many keys' };
      seen.add(pair.key);
      pairs.push(pair);
    }
    at = end + 1;
  }
  return pairs;
}

function parsePair(text: Buffer, at: number, end: number): KeyValue | TextError {
  const equals = text.indexOf(0x3d, at);
  if (equals < 0 || equals >= end) return { error: 'a pair has no =' };
  if (equals - at > MAX_KEY_BYTES) return { error: 'a key is too long' };
  const key = text.toString('latin1', at, equals);
  if (!KEY_NAME.test(key)) return { error: 'a key has illegal characters' };
  const value = text.toString('utf8', equals + 1, end);
  if (UNPRINTABLE.test(value)) return { error: `the value of ${key} has illegal characters` };
  return { key, value };
}

/** The bytes of some pairs. */
export function formatText(pairs: readonly KeyValue[]): Buffer {
  return Buffer.from(pairs.map(({ key, value }) => `${key}=${value}\0`).join(''), 'utf8');
}
