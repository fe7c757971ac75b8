// Kubernetes' strategic merge patch: a merge patch in which lists with a merge key are merged by it. kubectl sends it
// for the kinds it was compiled with (claims, classes, secrets, namespaces); the schema says which lists merge how.
//
//   $patch: replace | delete | merge      in an object, or in an item of a list
//   $retainKeys: [names]                  of an object: everything else goes
//   $deleteFromPrimitiveList/NAME: […]    items to take out of the set NAME
//   $setElementOrder/NAME: […]            how NAME is ordered afterwards
import { ApiError, clip } from '../errors.ts';
import { isObject, type Schema } from '../structure.ts';
import { sameJson } from './json-patch.ts';

const DELETE_FROM = '$deleteFromPrimitiveList/';
const ORDER = '$setElementOrder/';

type Json = Record<string, unknown>;

/** Neither argument is changed. */
export function strategicMergePatch(target: unknown, patch: unknown, schema: Schema): unknown {
  if (!isObject(patch)) throw bad('a patch is an object');
  return mergeObject(isObject(target) ? target : {}, patch, schema);
}

function mergeObject(target: Json, patch: Json, schema: Schema): Json {
  const directive = patch['$patch'];
  if (directive === 'replace') return withoutDirectives(patch);
  if (directive === 'delete') return {};
  if (directive !== undefined && directive !== 'merge') {
    throw bad(`$patch: '${clip(String(directive))}' is not replace, merge or delete`);
  }
  const merged = new Map<string, unknown>(Object.entries(target));
  const retain = patch['$retainKeys'];
  if (Array.isArray(retain)) {
    for (const key of [...merged.keys()]) if (!retain.includes(key)) merged.delete(key);
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$')) continue;
    if (value === null) merged.delete(key);
    else merged.set(key, mergeValue(merged.get(key), value, fieldSchema(schema, key)));
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith(DELETE_FROM)) {
      const name = key.slice(DELETE_FROM.length);
      const list = merged.get(name);
      if (Array.isArray(list) && Array.isArray(value)) {
        merged.set(
          name,
          list.filter((item) => !value.some((gone) => sameJson(gone, item))),
        );
      }
    }
  }
  for (const [key, order] of Object.entries(patch)) {
    if (!key.startsWith(ORDER)) continue;
    const name = key.slice(ORDER.length);
    const list = merged.get(name);
    if (!Array.isArray(list) || !Array.isArray(order)) continue;
    merged.set(name, inOrder(list, order, mergeKeyOf(fieldSchema(schema, name))));
  }
  return Object.fromEntries(merged);
}

function mergeValue(target: unknown, value: unknown, schema: Schema): unknown {
  if (isObject(value)) return mergeObject(isObject(target) ? target : {}, value, schema);
  if (!Array.isArray(value)) return value;
  const isMerged = schema['x-kubernetes-patch-strategy'] === 'merge';
  if (!isMerged) return value.map((item) => (isObject(item) ? withoutDirectives(item) : item));
  const before = Array.isArray(target) ? target : [];
  const mergeKey = mergeKeyOf(schema);
  if (mergeKey === null) {
    const added = value.filter((item) => !before.some((known) => sameJson(known, item)));
    return [...before, ...added];
  }
  return mergeByKey(before, value, mergeKey, schema.items ?? {});
}

function mergeByKey(
  before: readonly unknown[],
  patch: readonly unknown[],
  mergeKey: string,
  schema: Schema,
): unknown[] {
  let list = [...before];
  if (patch.some((item) => isObject(item) && item['$patch'] === 'replace')) list = [];
  for (const item of patch) {
    if (!isObject(item)) throw bad(`items of a list merged by ${mergeKey} are objects`);
    if (item['$patch'] === 'replace' && !Object.hasOwn(item, mergeKey)) continue;
    if (!Object.hasOwn(item, mergeKey)) throw bad(`an item lacks its merge key ${mergeKey}`);
    const key = item[mergeKey];
    const at = list.findIndex((known) => isObject(known) && sameJson(known[mergeKey], key));
    if (item['$patch'] === 'delete') {
      if (at >= 0) list.splice(at, 1);
    } else if (at >= 0) list[at] = mergeObject(list[at] as Json, item, schema);
    else list.push(mergeObject({}, item, schema));
  }
  return list;
}

/** Items in the order asked for; those that it does not name keep their place behind the one before them. */
function inOrder(list: readonly unknown[], order: readonly unknown[], mergeKey: string | null) {
  const keyOf = (item: unknown): unknown =>
    mergeKey !== null && isObject(item) ? item[mergeKey] : item;
  const rankOf = (item: unknown): number =>
    order.findIndex((wanted) => sameJson(keyOf(wanted), keyOf(item)));
  const named = list.filter((item) => rankOf(item) >= 0).sort((a, b) => rankOf(a) - rankOf(b));
  const queue = [...named];
  return list.map((item) => (rankOf(item) >= 0 ? queue.shift() : item));
}

function withoutDirectives(value: Json): Json {
  const kept = Object.entries(value).filter(([key]) => !key.startsWith('$'));
  return Object.fromEntries(
    kept.map(([key, inner]) => [key, isObject(inner) ? withoutDirectives(inner) : inner]),
  );
}

function fieldSchema(schema: Schema, key: string): Schema {
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, key)) {
    return objectBranch(schema.properties[key]!);
  }
  const map = Object.values(schema.patternProperties ?? {})[0];
  return map === undefined ? {} : objectBranch(map);
}

/** `X or null`: X. */
function objectBranch(schema: Schema): Schema {
  return schema.anyOf?.find((branch) => branch.type === 'object') ?? schema;
}

function mergeKeyOf(schema: Schema): string | null {
  return schema['x-kubernetes-patch-merge-key'] ?? null;
}

function bad(message: string): ApiError {
  return new ApiError('BadRequest', `the strategic merge patch is wrong: ${message}`);
}
