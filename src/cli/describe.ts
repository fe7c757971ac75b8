// Everything about one object, in words: its fields in order, bytes as people read them, conditions and events last.
import { formatBytes } from '../base/index.ts';
import { renderCells } from './table.ts';

export interface ApiObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly creationTimestamp?: string;
    readonly deletionTimestamp?: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly finalizers?: readonly string[];
    readonly ownerReferences?: readonly { readonly kind: string; readonly name: string }[];
  };
  readonly [field: string]: unknown;
}

export interface EventFacts {
  readonly type?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly count?: number;
  readonly lastTimestamp?: string;
  readonly source?: { readonly component?: string };
}

const WORDS: Readonly<Record<string, string>> = {
  iqn: 'IQN',
  lun: 'LUN',
  uid: 'UID',
  id: 'ID',
  io: 'I/O',
  isid: 'ISID',
  tsih: 'TSIH',
  chap: 'CHAP',
  api: 'API',
  url: 'URL',
};

export function describeObject(object: ApiObject, events: readonly EventFacts[]): string[] {
  const { metadata, apiVersion, kind, ...fields } = object;
  const lines: string[] = [];
  const row = (label: string, value: string): void => {
    lines.push(`${`${label}:`.padEnd(14)} ${value}`);
  };
  row('Name', metadata.name);
  if (metadata.namespace !== undefined) row('Namespace', metadata.namespace);
  row('Kind', `${kind} (${apiVersion})`);
  row('Labels', pairs(metadata.labels));
  row('Annotations', pairs(metadata.annotations));
  row('UID', metadata.uid ?? '');
  row('Created', metadata.creationTimestamp ?? '');
  if (metadata.deletionTimestamp !== undefined) row('Deleted', metadata.deletionTimestamp);
  if (metadata.finalizers !== undefined) row('Finalizers', metadata.finalizers.join(', '));
  for (const owner of metadata.ownerReferences ?? []) {
    row('Owned by', `${owner.kind}/${owner.name}`);
  }
  let conditions: unknown[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (isObject(value)) {
      const { conditions: found, ...rest } = value;
      if (Array.isArray(found)) conditions = found;
      lines.push(`${titled(name)}:`, ...described(rest, 2));
    } else lines.push(...described({ [name]: value }, 0));
  }
  if (conditions.length > 0) lines.push('Conditions:', ...conditionLines(conditions));
  if (events.length === 0) row('Events', '<none>');
  else lines.push('Events:', ...eventLines(events));
  return lines;
}

function described(value: Record<string, unknown>, indent: number): string[] {
  const pad = ' '.repeat(indent);
  const entries = Object.entries(value);
  const width = Math.max(14, ...entries.map(([name]) => titled(name).length + 1));
  return entries.flatMap(([name, inner]): string[] => {
    const label = `${pad}${titled(name)}:`;
    if (isObject(inner)) {
      if (Object.keys(inner).length === 0) return [`${label.padEnd(width + indent)} <none>`];
      return [label, ...described(inner, indent + 2)];
    }
    if (Array.isArray(inner)) {
      if (inner.length === 0) return [`${label.padEnd(width + indent)} <none>`];
      if (inner.every((item) => !isObject(item))) {
        return [`${label.padEnd(width + indent)} ${inner.map(String).join(', ')}`];
      }
      return [label, ...listed(inner as Record<string, unknown>[], indent + 2)];
    }
    return [`${label.padEnd(width + indent)} ${shown(name, inner)}`];
  });
}

/** Objects with the same flat fields make a table, others follow one another. */
function listed(items: readonly Record<string, unknown>[], indent: number): string[] {
  const pad = ' '.repeat(indent);
  const columns = [...new Set(items.flatMap((item) => Object.keys(item)))];
  const isFlat = items.every((item) => Object.values(item).every((value) => !isNested(value)));
  if (isFlat && columns.length <= 10) {
    const cells = items.map((item) => columns.map((name) => shown(name, item[name] ?? '')));
    const header = columns.map((name) => titled(name).toUpperCase());
    return renderCells([header, ...cells]).map((line) => pad + line);
  }
  return items.flatMap((item) => {
    const [first = '', ...rest] = described(item, indent + 2);
    return [`${pad}- ${first.trimStart()}`, ...rest];
  });
}

function conditionLines(conditions: readonly unknown[]): string[] {
  const cells = conditions
    .filter(isObject)
    .map((condition) => [
      String(condition['type'] ?? ''),
      String(condition['status'] ?? ''),
      String(condition['reason'] ?? ''),
      String(condition['lastTransitionTime'] ?? ''),
      String(condition['message'] ?? ''),
    ]);
  return renderCells([['TYPE', 'STATUS', 'REASON', 'SINCE', 'MESSAGE'], ...cells]).map(
    (line) => `  ${line}`,
  );
}

function eventLines(events: readonly EventFacts[]): string[] {
  const cells = events.map((event) => [
    event.type ?? '',
    event.reason ?? '',
    event.lastTimestamp ?? '',
    String(event.count ?? 1),
    event.source?.component ?? '',
    event.message ?? '',
  ]);
  return renderCells([['TYPE', 'REASON', 'LAST SEEN', 'COUNT', 'FROM', 'MESSAGE'], ...cells]).map(
    (line) => `  ${line}`,
  );
}

function shown(name: string, value: unknown): string {
  if (value === '' || value === null || value === undefined) return '<none>';
  if (typeof value === 'number' && /bytes$/i.test(name) && value >= 1024) {
    return `${value} (${formatBytes(value)})`;
  }
  return Array.isArray(value) ? value.map(String).join(', ') : String(value);
}

/** `usedBytes`: Used Bytes. */
export function titled(name: string): string {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .split(' ')
    .map((word) => WORDS[word.toLowerCase()] ?? word.slice(0, 1).toUpperCase() + word.slice(1))
    .join(' ');
}

function pairs(map: Readonly<Record<string, string>> | undefined): string {
  const shownPairs = Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`);
  return shownPairs.join(', ') || '<none>';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNested(value: unknown): boolean {
  return isObject(value) || (Array.isArray(value) && value.some(isObject));
}
