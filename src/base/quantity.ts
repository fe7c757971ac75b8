// Quantities as Kubernetes writes them: 5Gi, 1.5Ti, 4096, 10G, 1e9. Here they are always whole bytes.

const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const DECIMAL = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
const QUANTITY = /^\+?(\d+)(?:\.(\d*))?(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E|[eE]\d{1,2})?$/;
/** No quantity of bytes needs more: a longer text is a mistake, and bounds the work. */
const MAX_TEXT = 40;

/** The number of bytes, rounded up to a whole one, or null where the text is no quantity or leaves 2^53 - 1. */
export function parseQuantity(text: string): number | null {
  if (text.length > MAX_TEXT) return null;
  const match = QUANTITY.exec(text);
  if (match === null) return null;
  const [, whole = '', fraction = '', suffix = ''] = match;
  const scale = suffixScale(suffix);
  // Exact in integers: 1.1Gi must not depend on how a double rounds.
  const scaled = BigInt(whole + fraction) * scale;
  const divisor = 10n ** BigInt(fraction.length);
  const bytes = (scaled + divisor - 1n) / divisor;
  return bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : null;
}

/** Exact: the largest binary suffix that divides it, so that `parseQuantity` gives the number back. */
export function formatQuantity(bytes: number): string {
  let power = 0;
  let value = bytes;
  while (value >= 1024 && value % 1024 === 0 && power < BINARY.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${value}${BINARY[power]}`;
}

/** For people: at most three significant digits, 1.23Gi. */
export function formatBytes(bytes: number): string {
  let power = 0;
  let value = bytes;
  while (value >= 1000 && power < BINARY.length - 1) {
    value /= 1024;
    power += 1;
  }
  if (power === 0) return `${value}`;
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  // Through Number: 1.50 becomes 1.5, and 1.00 becomes 1.
  return `${Number(value.toFixed(digits))}${BINARY[power]}`;
}

function suffixScale(suffix: string): bigint {
  if (suffix.length > 1 && /^[eE]/.test(suffix) && suffix !== 'Ei') {
    return 10n ** BigInt(suffix.slice(1));
  }
  if (suffix.endsWith('i')) return 1024n ** BigInt(BINARY.indexOf(suffix));
  return 1000n ** BigInt(DECIMAL.indexOf(suffix));
}
