// Server-side apply, and who owns which field: each manager's fields are kept in metadata.managedFields. A field that
// somebody else owns with another value is a conflict, unless forced; a field that its only manager no longer applies
// goes away.
import { ApiError, type StatusCause } from '../errors.ts';
import type { KubeObject, ManagedFields } from '../meta.ts';
import { isObject, type Schema } from '../structure.ts';
import {
  childSchema,
  type FieldSet,
  fieldsOf,
  fieldValue,
  fromFieldsV1,
  isListItem,
  removeField,
  showField,
  toFieldsV1,
} from './field-set.ts';
import { sameJson } from './json-patch.ts';

export interface Manager {
  readonly name: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource: '' | 'status';
  /** Of now. */
  readonly time: string;
}

/** More managers than these: the oldest updates are put together. */
const MAX_MANAGERS = 12;

/**
 * What becomes of `live` (null: there is none) when `config` is applied. The value's managedFields are complete.
 * Throws a Conflict that names the fields and their managers.
 */
export function applyConfig(
  live: KubeObject | null,
  config: Record<string, unknown>,
  schema: Schema,
  manager: Manager,
  force: boolean,
): Record<string, unknown> {
  const wanted = fieldsOf(config, schema);
  const entries = live?.metadata.managedFields ?? [];
  const own = entries.find((entry) => isManager(entry, manager));
  const others = entries.filter((entry) => entry !== own);
  const taken = new Set<string>();
  const causes: StatusCause[] = [];
  for (const entry of others) {
    for (const field of fromFieldsV1(entry.fieldsV1)) {
      if (!wanted.has(field)) continue;
      const value = fieldValue(config, field);
      // An item of a list with keys is shared; its fields are what can differ.
      if (isListItem(field) || sameJson(value, fieldValue(live, field))) continue;
      taken.add(field);
      if (isOwnHand(entry, manager, live)) continue;
      causes.push({
        reason: 'FieldManagerConflict',
        field: showField(field),
        message: `conflict with "${entry.manager}" using ${entry.apiVersion}`,
      });
    }
  }
  if (causes.length > 0 && !force) {
    const what = causes.map((cause) => `${cause.message}: ${cause.field}`).join('; ');
    const count = `${causes.length} conflict${causes.length > 1 ? 's' : ''}`;
    throw new ApiError('Conflict', `Apply failed with ${count}: ${what}`, { causes });
  }
  const merged = structuredClone(merge(live ?? {}, config, schema)) as Record<string, unknown>;
  const kept = new Set(others.flatMap((entry) => [...fromFieldsV1(entry.fieldsV1)]));
  for (const field of own === undefined ? [] : fromFieldsV1(own.fieldsV1)) {
    if (!wanted.has(field) && !kept.has(field)) removeField(merged, field);
  }
  const rest = others
    .map((entry) => without(entry, taken))
    .filter((entry) => Object.keys(entry.fieldsV1).length > 0);
  const metadata = merged['metadata'] as KubeObject['metadata'];
  const unchanged = own !== undefined && sameJson(own.fieldsV1, toFieldsV1(wanted));
  metadata.managedFields = [...rest, entryOf(manager, wanted, unchanged ? own.time : null)];
  return merged;
}

/** managedFields after an update or a patch: what changed belongs to its manager now. */
export function afterUpdate(
  before: KubeObject | null,
  after: KubeObject,
  schema: Schema,
  manager: Manager,
): ManagedFields[] {
  const now = fieldsOf(after, schema);
  const changed = new Set(
    [...now].filter(
      (field) => before === null || !sameJson(fieldValue(before, field), fieldValue(after, field)),
    ),
  );
  const entries = before?.metadata.managedFields ?? [];
  const result: ManagedFields[] = [];
  let found = false;
  for (const entry of entries) {
    const fields = fromFieldsV1(entry.fieldsV1);
    const isOwn = isManager(entry, manager);
    const left = [...fields].filter((field) => now.has(field) && (isOwn || !changed.has(field)));
    const all = isOwn ? new Set([...left, ...changed]) : new Set(left);
    found ||= isOwn;
    if (all.size === 0) continue;
    if (all.size === fields.size && [...all].every((field) => fields.has(field))) {
      // Nothing in it is new but perhaps a value.
      result.push(isOwn && changed.size > 0 ? { ...entry, time: manager.time } : entry);
    } else result.push(isOwn ? entryOf(manager, all, null) : withFields(entry, all));
  }
  if (!found && changed.size > 0) result.push(entryOf(manager, changed, null));
  return bounded(result);
}

/** kubectl applied before by itself what it now has the server apply: no conflict with itself. */
function isOwnHand(entry: ManagedFields, manager: Manager, live: KubeObject | null): boolean {
  const applied = live?.metadata.annotations?.['kubectl.kubernetes.io/last-applied-configuration'];
  return (
    manager.name === 'kubectl' &&
    entry.manager === 'kubectl-client-side-apply' &&
    applied !== undefined
  );
}

function merge(live: unknown, config: unknown, schema: Schema): unknown {
  if (isObject(config)) {
    const merged = new Map<string, unknown>(isObject(live) ? Object.entries(live) : []);
    for (const [key, value] of Object.entries(config)) {
      merged.set(key, merge(merged.get(key), value, childSchema(schema, key)));
    }
    return Object.fromEntries(merged);
  }
  const kind = schema['x-kubernetes-list-type'];
  if (!Array.isArray(config) || !Array.isArray(live) || kind === undefined) return config;
  if (kind === 'set') {
    return [...live, ...config.filter((item) => !live.some((known) => sameJson(known, item)))];
  }
  if (kind !== 'map') return config;
  const keys = schema['x-kubernetes-list-map-keys'] ?? [];
  const list: unknown[] = [...live];
  for (const item of config) {
    const at = list.findIndex(
      (known) => isObject(known) && isObject(item) && keys.every((key) => known[key] === item[key]),
    );
    if (at < 0) list.push(item);
    else list[at] = merge(list[at], item, schema.items ?? {});
  }
  return list;
}

function isManager(entry: ManagedFields, manager: Manager): boolean {
  return (
    entry.manager === manager.name &&
    entry.operation === manager.operation &&
    (entry.subresource ?? '') === manager.subresource
  );
}

function entryOf(manager: Manager, fields: FieldSet, time: string | null): ManagedFields {
  return {
    manager: manager.name,
    operation: manager.operation,
    apiVersion: manager.apiVersion,
    time: time ?? manager.time,
    fieldsType: 'FieldsV1',
    fieldsV1: toFieldsV1(fields),
    ...(manager.subresource === '' ? {} : { subresource: manager.subresource }),
  };
}

function withFields(entry: ManagedFields, fields: FieldSet): ManagedFields {
  return { ...entry, fieldsV1: toFieldsV1(fields) };
}

function without(entry: ManagedFields, taken: FieldSet): ManagedFields {
  const fields = fromFieldsV1(entry.fieldsV1);
  const left = new Set([...fields].filter((field) => !taken.has(field)));
  return left.size === fields.size ? entry : withFields(entry, left);
}

/** Applies stay; the oldest updates become one. */
function bounded(entries: ManagedFields[]): ManagedFields[] {
  const updates = entries.filter(({ operation }) => operation === 'Update');
  if (entries.length <= MAX_MANAGERS || updates.length < 2) return entries;
  const [first, second] = updates.sort((a, b) => (a.time < b.time ? -1 : 1));
  const fields = new Set([...fromFieldsV1(first!.fieldsV1), ...fromFieldsV1(second!.fieldsV1)]);
  const joined = { ...withFields(second!, fields), manager: 'ancient-changes' };
  return bounded(
    entries.map((entry) => (entry === second ? joined : entry)).filter((entry) => entry !== first),
  );
}
