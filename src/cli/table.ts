// Tables in the manner of kubectl: no borders, columns three spaces apart, so that grep, awk and cut work on them.

export interface Column<T> {
  readonly title: string;
  /** Shown only with `-o wide`. */
  readonly wide?: boolean;
  readonly value: (row: T) => string;
}

/** Header and rows, each line without its end. */
export function renderTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  wide: boolean,
): string[] {
  const shown = columns.filter((column) => wide || column.wide !== true);
  const cells = [
    shown.map((column) => column.title),
    ...rows.map((row) => shown.map((column) => column.value(row) || '<none>')),
  ];
  const widths = shown.map((_, index) => Math.max(...cells.map((line) => line[index]!.length)));
  return cells.map((line) =>
    line
      .map((cell, index) => cell.padEnd(widths[index]! + 3))
      .join('')
      .trimEnd(),
  );
}

/** As kubectl shows ages: 45s, 3m12s, 5h, 7d. */
export function renderAge(from: string, now: Date): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - Date.parse(from)) / 1000));
  if (Number.isNaN(seconds)) return '<unknown>';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  return days < 730 ? `${days}d` : `${Math.floor(days / 365)}y`;
}
