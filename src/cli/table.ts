// Tables in the manner of kubectl: no borders, columns three spaces apart, so that grep, awk and cut work on them.

/** What the server says how its objects are printed. */
export interface ServerTable {
  readonly kind: 'Table';
  readonly metadata?: { readonly resourceVersion?: string };
  readonly columnDefinitions: readonly { readonly name: string; readonly priority: number }[];
  readonly rows: readonly {
    readonly cells: readonly unknown[];
    readonly object: { readonly metadata: { readonly name: string; readonly namespace?: string } };
  }[];
}

/** Header and rows, each line without its end. An empty cell is shown as `<none>`. */
export function renderCells(cells: readonly (readonly string[])[]): string[] {
  const columns = Math.max(0, ...cells.map((line) => line.length));
  const widths = Array.from({ length: columns }, (_, index) =>
    Math.max(...cells.map((line) => (line[index] || '<none>').length)),
  );
  return cells.map((line) =>
    line
      .map((cell, index) => (cell || '<none>').padEnd(widths[index]! + 3))
      .join('')
      .trimEnd(),
  );
}

export interface TableLook {
  readonly wide: boolean;
  readonly withNamespace: boolean;
  /** Put before each name: `volume/`, where several kinds are listed. */
  readonly namePrefix: string;
}

/** The cells of a server's table, its header first. */
export function tableCells(table: ServerTable, look: TableLook): string[][] {
  const shown = table.columnDefinitions
    .map((column, index) => ({ ...column, index }))
    .filter(({ priority }) => look.wide || priority === 0);
  const header = shown.map(({ name }) => name.toUpperCase());
  const rows = table.rows.map(({ cells, object }) => {
    const texts = shown.map(({ index }) => String(cells[index] ?? ''));
    texts[0] = look.namePrefix + (texts[0] ?? '');
    return look.withNamespace ? [object.metadata.namespace ?? '', ...texts] : texts;
  });
  return [look.withNamespace ? ['NAMESPACE', ...header] : header, ...rows];
}
