// Sets of fields, as managedFields keeps them (FieldsV1): `f:name` for a field, `k:{"type":"Ready"}` for an item of a
// list with keys, `v:"x"` for an item of a set; a list of no declared kind is one field.
import { isObject, type Schema } from '../structure.ts';

/** A path is its steps joined by this, which no field name contains. */
const SEPARATOR = '\u0001';

export type FieldSet = ReadonlySet<string>;

/** The fields that an object sets: leaves, and items of lists with keys. Metadata that the server owns is left out. */
export function fieldsOf(object: unknown, schema: Schema): Set<string> {
  const fields = new Set<string>();
  if (!isObject(object)) return fields;
  for (const [key, value] of Object.entries(object)) {
    if (key === 'apiVersion' || key === 'kind') continue;
    if (key === 'metadata' && isObject(value)) {
      const kept = ['labels', 'annotations', 'finalizers', 'ownerReferences'];
      const own = Object.entries(value).filter(([name]) => kept.includes(name));
      collect(Object.fromEntries(own), childSchema(schema, key), ['f:metadata'], fields);
    } else collect(value, childSchema(schema, key), [`f:${key}`], fields);
  }
  return fields;
}

function collect(value: unknown, schema: Schema, path: readonly string[], into: Set<string>): void {
  const kind = schema['x-kubernetes-list-type'];
  if (isObject(value)) {
    const entries = Object.entries(value);
    if (entries.length === 0 && path.length > 1) into.add(path.join(SEPARATOR));
    for (const [key, inner] of entries) {
      collect(inner, childSchema(schema, key), [...path, `f:${key}`], into);
    }
  } else if (Array.isArray(value) && kind === 'map') {
    const keys = schema['x-kubernetes-list-map-keys'] ?? [];
    for (const item of value) {
      if (!isObject(item)) continue;
      const step = `k:${JSON.stringify(Object.fromEntries(keys.map((key) => [key, item[key]])))}`;
      const at = [...path, step];
      into.add(at.join(SEPARATOR));
      for (const [key, inner] of Object.entries(item)) {
        collect(inner, childSchema(schema.items ?? {}, key), [...at, `f:${key}`], into);
      }
    }
  } else if (Array.isArray(value) && kind === 'set') {
    for (const item of value) into.add([...path, `v:${JSON.stringify(item)}`].join(SEPARATOR));
  } else into.add(path.join(SEPARATOR));
}

export function childSchema(schema: Schema, key: string): Schema {
  const branch = schema.anyOf?.find((one) => one.type === 'object') ?? schema;
  if (branch.properties !== undefined && Object.hasOwn(branch.properties, key)) {
    return unwrapped(branch.properties[key]!);
  }
  const map = Object.values(branch.patternProperties ?? {})[0];
  return map === undefined ? {} : unwrapped(map);
}

function unwrapped(schema: Schema): Schema {
  const inner = schema.anyOf?.find((one) => one.type === 'object' || one.type === 'array');
  return inner ?? schema;
}

/** As managedFields carries it. */
export function toFieldsV1(fields: FieldSet): Record<string, unknown> {
  const root = new Map<string, unknown>();
  for (const path of [...fields].sort()) {
    let at = root;
    for (const step of path.split(SEPARATOR)) {
      let next = at.get(step) as Map<string, unknown> | undefined;
      if (next === undefined) {
        next = new Map();
        at.set(step, next);
      }
      at = next;
    }
    // Present itself, beside what is below it.
    if (isListItem(path)) {
      at.set('.', new Map());
    }
  }
  return plain(root) as Record<string, unknown>;
}

function plain(map: Map<string, unknown>): unknown {
  return Object.fromEntries(
    [...map].map(([key, value]) => [key, plain(value as Map<string, unknown>)]),
  );
}

export function fromFieldsV1(fieldsV1: unknown): Set<string> {
  const fields = new Set<string>();
  const walk = (value: unknown, path: readonly string[]): void => {
    const entries = isObject(value) ? Object.entries(value) : [];
    const inner = entries.filter(([key]) => key !== '.');
    if (path.length > 0 && (inner.length === 0 || inner.length < entries.length)) {
      fields.add(path.join(SEPARATOR));
    }
    for (const [key, below] of inner) walk(below, [...path, key]);
  };
  walk(fieldsV1, []);
  return fields;
}

/** Could it be an entry of managedFields: what a client sends is looked at before it is kept. */
export function isManagedFields(entry: unknown): boolean {
  if (!isObject(entry)) return false;
  const { manager, operation, apiVersion, time, fieldsType, fieldsV1, subresource } = entry;
  return (
    [manager, apiVersion].every((text) => typeof text === 'string' && text.length <= 256) &&
    (operation === 'Apply' || operation === 'Update') &&
    [time, subresource].every((text) => text === undefined || typeof text === 'string') &&
    fieldsType === 'FieldsV1' &&
    isFieldsV1(fieldsV1)
  );
}

function isFieldsV1(value: unknown): boolean {
  return (
    isObject(value) &&
    Object.entries(value).every(([step, below]) => isStep(step) && isFieldsV1(below))
  );
}

function isStep(step: string): boolean {
  if (step.includes(SEPARATOR)) return false;
  if (step === '.' || step.startsWith('f:')) return true;
  if (!step.startsWith('k:') && !step.startsWith('v:')) return false;
  try {
    const value: unknown = JSON.parse(step.slice(2));
    return step.startsWith('v:') || isObject(value);
  } catch {
    return false;
  }
}

/** The path of an item of a list with keys, not of a field of it. */
export function isListItem(path: string): boolean {
  return path.slice(path.lastIndexOf(SEPARATOR) + 1).startsWith('k:');
}

/** For people: `.spec.size`, `.status.conditions[type="Ready"].status`. */
export function showField(path: string): string {
  return path
    .split(SEPARATOR)
    .map((step) => {
      if (step.startsWith('f:')) return `.${step.slice(2)}`;
      if (step.startsWith('v:')) return `[${step.slice(2)}]`;
      const keys = Object.entries(JSON.parse(step.slice(2)) as Record<string, unknown>);
      return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(',')}]`;
    })
    .join('');
}

interface Step {
  readonly kind: 'f' | 'k' | 'v';
  readonly key: string;
}

function stepsOf(path: string): Step[] {
  return path.split(SEPARATOR).map((step) => ({
    kind: step[0] as Step['kind'],
    key: step.slice(2),
  }));
}

function itemAt(list: readonly unknown[], step: Step): number {
  if (step.kind === 'v') return list.findIndex((item) => JSON.stringify(item) === step.key);
  const keys = Object.entries(JSON.parse(step.key) as Record<string, unknown>);
  return list.findIndex(
    (item) => isObject(item) && keys.every(([key, value]) => item[key] === value),
  );
}

/** The value at a field's path, undefined where there is none. */
export function fieldValue(object: unknown, path: string): unknown {
  let at: unknown = object;
  for (const step of stepsOf(path)) {
    if (step.kind === 'f') {
      at = isObject(at) && Object.hasOwn(at, step.key) ? at[step.key] : undefined;
    } else at = Array.isArray(at) ? at[itemAt(at, step)] : undefined;
    if (at === undefined) return undefined;
  }
  return at;
}

/** Takes the field out of `object`, which is changed; objects that it leaves empty go too. */
export function removeField(object: unknown, path: string): void {
  const remove = (at: unknown, steps: readonly Step[]): void => {
    const [step, ...rest] = steps;
    if (step === undefined) return;
    if (Array.isArray(at)) {
      const index = step.kind === 'f' ? -1 : itemAt(at, step);
      if (index < 0) return;
      if (rest.length === 0) at.splice(index, 1);
      else remove(at[index], rest);
    } else if (isObject(at) && step.kind === 'f' && Object.hasOwn(at, step.key)) {
      if (rest.length === 0) {
        delete at[step.key];
        return;
      }
      const inner = at[step.key];
      remove(inner, rest);
      const isEmpty = Array.isArray(inner)
        ? inner.length === 0
        : isObject(inner) && Object.keys(inner).length === 0;
      if (isEmpty) delete at[step.key];
    }
  };
  remove(object, stepsOf(path));
}
