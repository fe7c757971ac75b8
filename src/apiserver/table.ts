// meta.k8s.io/v1 Table: lists as kubectl and the command line print them, made by the server that knows the columns.
import type { Column, KindDefinition } from './kind.ts';
import type { KubeObject } from './meta.ts';

export interface Table {
  readonly kind: 'Table';
  readonly apiVersion: string;
  readonly metadata: object;
  readonly columnDefinitions: readonly object[];
  readonly rows: readonly object[];
}

export interface TableOptions {
  readonly version: 'v1' | 'v1beta1';
  /** What of each object goes along: its metadata (standard), all of it, nothing. */
  readonly include: 'Metadata' | 'Object' | 'None';
}

export function tableOf(
  kind: KindDefinition,
  objects: readonly KubeObject[],
  metadata: object,
  options: TableOptions,
  now: Date,
): Table {
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata,
    columnDefinitions: [
      definition({
        name: 'Name',
        description: 'The name of the object.',
        value: () => '',
      }),
      ...kind.columns.map(definition),
    ],
    rows: objects.map((object) => ({
      cells: [object.metadata.name, ...kind.columns.map((column) => cellOf(column, object, now))],
      object: included(object, options),
    })),
  };
}

/** A bookmark of a watch that prints: it has an object's metadata and nothing to print. */
export function emptyTable(metadata: object, { version }: TableOptions): Table {
  const object = { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata };
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${version}`,
    metadata,
    columnDefinitions: [],
    rows: [{ cells: [], object }],
  };
}

function definition({ name, type, description, wide }: Column): object {
  return {
    name,
    type: type ?? 'string',
    format: name === 'Name' ? 'name' : '',
    description: description ?? `${name} of the object.`,
    priority: wide === true ? 1 : 0,
  };
}

function cellOf(column: Column, object: KubeObject, now: Date): unknown {
  if (column === ageColumn) return ageOf(object.metadata.creationTimestamp, now);
  const value = column.value(object);
  // Integers are printed as they are; a text that is missing is named so.
  if (value === '' || value === null || value === undefined) return '<none>';
  return value;
}

function included(object: KubeObject, { include, version }: TableOptions): object | null {
  if (include === 'None') return null;
  if (include === 'Object') return object;
  return partialOf(object, version);
}

/** An object's identity without its content. */
export function partialOf(object: KubeObject, version: string): object {
  return {
    kind: 'PartialObjectMetadata',
    apiVersion: `meta.k8s.io/${version}`,
    metadata: object.metadata,
  };
}

/** The last column of most kinds. */
export const ageColumn: Column = {
  name: 'Age',
  description: 'How long ago it was made.',
  // The table's own clock says it: see cellOf.
  value: () => '',
};

/** As kubectl shows ages: 45s, 3m12s, 5h, 7d2h, 20d. */
export function ageOf(from: string, now: Date): string {
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
  if (days < 8) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`;
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 && days % 365 > 0 ? `${years}y${days % 365}d` : `${years}y`;
}
