// JSON patch, RFC 6902, with JSON pointers (RFC 6901). Nothing of the target is changed: a patched copy comes back.
import { ApiError, clip } from '../errors.ts';

type Container = Record<string, unknown> | unknown[];

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** As many as Kubernetes takes; and the request is bounded. */
const MAX_OPERATIONS = 10_000;

/** Throws a BadRequest for what is no patch, Invalid where it does not fit the target. */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw bad('a JSON patch is a list of operations');
  if (patch.length > MAX_OPERATIONS) {
    const message = `the JSON patch has ${patch.length} operations; at most ${MAX_OPERATIONS}`;
    throw new ApiError('RequestEntityTooLarge', message);
  }
  // Copied once; every operation changes the copy.
  let document: unknown = structuredClone(target);
  patch.forEach((given: unknown, index) => {
    document = applyOne(document, readOperation(given, index), index);
  });
  return document;
}

function readOperation(given: unknown, index: number): Operation {
  const operation = given as Operation | null;
  if (typeof operation !== 'object' || operation === null || typeof operation.path !== 'string') {
    throw bad(`[${index}]: an operation has op and path`);
  }
  if (['add', 'replace', 'test'].includes(operation.op) && !Object.hasOwn(operation, 'value')) {
    throw bad(`[${index}]: ${operation.op} needs a value`);
  }
  if (['move', 'copy'].includes(operation.op) && typeof operation.from !== 'string') {
    throw bad(`[${index}]: ${operation.op} needs from`);
  }
  return operation;
}

function applyOne(document: unknown, operation: Operation, index: number): unknown {
  const path = pointer(operation.path, index);
  switch (operation.op) {
    case 'add':
      return add(document, path, structuredClone(operation.value), index);
    case 'remove':
      return remove(document, path, index).document;
    case 'replace':
      if (path.length === 0) return structuredClone(operation.value);
      find(document, path, index);
      return replace(document, path, structuredClone(operation.value), index);
    case 'move': {
      const from = pointer(operation.from ?? '', index);
      const isInside = path.length > from.length && from.every((part, at) => part === path[at]);
      if (isInside) throw unfit(index, `cannot move ${operation.from} into itself`);
      const { document: rest, removed } = remove(document, from, index);
      return add(rest, path, removed, index);
    }
    case 'copy': {
      const copied = structuredClone(find(document, pointer(operation.from ?? '', index), index));
      return add(document, path, copied, index);
    }
    case 'test':
      if (!sameJson(find(document, path, index), operation.value)) {
        throw unfit(index, `the test of ${clip(operation.path)} failed`);
      }
      return document;
    default:
      throw bad(`[${index}]: '${clip(String(operation.op))}' is no operation`);
  }
}

function pointer(text: string, index: number): string[] {
  if (text === '') return [];
  if (!text.startsWith('/')) throw bad(`[${index}]: '${clip(text)}' is no path; it begins with /`);
  const parts = text
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  // Assigning to it would change the object's kind, not its fields.
  if (parts.includes('__proto__')) throw bad(`[${index}]: '__proto__' is no field`);
  return parts;
}

function find(document: unknown, path: readonly string[], index: number): unknown {
  let at = document;
  for (const part of path) {
    if (Array.isArray(at)) at = at[arrayIndex(at, part, at.length - 1, index)];
    else if (typeof at === 'object' && at !== null && Object.hasOwn(at, part)) {
      at = (at as Record<string, unknown>)[part];
    } else throw unfit(index, `there is no /${clip(path.join('/'))}`);
  }
  return at;
}

function parentOf(document: unknown, path: readonly string[], index: number): Container {
  const parent = find(document, path.slice(0, -1), index);
  if (typeof parent !== 'object' || parent === null) {
    throw unfit(index, `there is no /${clip(path.join('/'))}`);
  }
  return parent as Container;
}

function add(document: unknown, path: readonly string[], value: unknown, index: number): unknown {
  const last = path.at(-1);
  if (last === undefined) return value;
  const parent = parentOf(document, path, index);
  if (Array.isArray(parent)) {
    const at = last === '-' ? parent.length : arrayIndex(parent, last, parent.length, index);
    parent.splice(at, 0, value);
  } else parent[last] = value;
  return document;
}

function replace(document: unknown, path: readonly string[], value: unknown, index: number) {
  const parent = parentOf(document, path, index);
  const last = path.at(-1)!;
  if (Array.isArray(parent)) parent[arrayIndex(parent, last, parent.length - 1, index)] = value;
  else parent[last] = value;
  return document;
}

function remove(document: unknown, path: readonly string[], index: number) {
  const removed = find(document, path, index);
  const last = path.at(-1);
  if (last === undefined) return { document: null, removed };
  const parent = parentOf(document, path, index);
  if (Array.isArray(parent)) parent.splice(arrayIndex(parent, last, parent.length - 1, index), 1);
  else delete parent[last];
  return { document, removed };
}

function arrayIndex(array: readonly unknown[], part: string, most: number, index: number): number {
  const at = /^(0|[1-9]\d{0,8})$/.test(part) ? Number(part) : -1;
  if (at < 0 || at > most)
    throw unfit(index, `'${clip(part)}' is no index of ${array.length} items`);
  return at;
}

/** Equal as JSON values: the order of an object's fields does not matter. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  const keys = Object.keys(left);
  if (keys.length !== Object.keys(right).length) return false;
  return keys.every((key) => Object.hasOwn(right, key) && sameJson(left[key], right[key]));
}

function bad(message: string): ApiError {
  return new ApiError('BadRequest', `the JSON patch is wrong: ${message}`);
}

function unfit(index: number, message: string): ApiError {
  return new ApiError('Invalid', `the JSON patch cannot be applied: [${index}]: ${message}`, {
    causes: [{ reason: 'FieldValueInvalid', field: `[${index}]`, message }],
  });
}
