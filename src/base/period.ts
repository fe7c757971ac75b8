// Periods as people write them.
const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `15m`, `1h`, `30d` in milliseconds, or null for what is no period. */
export function periodMs(every: string): number | null {
  const [, count, unit = ''] = /^([1-9]\d{0,4})([mhd])$/.exec(every) ?? [];
  return count === undefined ? null : Number(count) * UNIT_MS[unit]!;
}
