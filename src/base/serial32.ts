// Serial number arithmetic on 32 bits (RFC 1982, as RFC 7143 §4.2.2.1 requires of CmdSN, StatSN, DataSN).

/** `a + delta`, wrapped to 32 bits. */
export function serialAdd(a: number, delta: number): number {
  return (a + delta) >>> 0;
}

/** Signed distance from `b` to `a`: positive when `a` is later. */
export function serialDiff(a: number, b: number): number {
  return (a - b) | 0;
}

/** True when `a` comes before `b`. */
export function serialBefore(a: number, b: number): boolean {
  return serialDiff(a, b) < 0;
}
