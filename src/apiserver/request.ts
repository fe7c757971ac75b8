// From an HTTP request to what it asks for: the path's parts, the query's options, the body by its type.
import { parse as parseYaml } from 'yaml';
import type { DeleteRequest, ListRequest, PatchType, WriteOptions } from './client.ts';
import { duplicateKeys } from './duplicate-keys.ts';
import { ApiError, clip } from './errors.ts';
import { decodeKubeProtobuf, KUBE_PROTOBUF } from './kube-protobuf.ts';
import { DELETE_OPTIONS } from './openapi.ts';
import { checkStructure, isObject } from './structure.ts';

/** The API takes no larger request. A manifest is far below it. */
export const MAX_REQUEST_BYTES = 1024 * 1024;
/** Objects nest a dozen deep; what nests deeper is meant to hurt. */
const MAX_DEPTH = 64;

export interface Target {
  readonly group: string;
  readonly version: string;
  readonly namespace: string | null;
  readonly plural: string;
  readonly name: string | null;
  readonly subresource: string | null;
}

/** `/api/v1/…` or `/apis/GROUP/VERSION/…`; null for what is neither. */
export function parseTarget(path: string): Target | null {
  const parts = path.split('/').slice(1);
  if (parts.at(-1) === '') parts.pop();
  const decoded: string[] = [];
  for (const part of parts) {
    try {
      decoded.push(decodeURIComponent(part));
    } catch {
      return null;
    }
  }
  const isCore = decoded[0] === 'api';
  if (!isCore && decoded[0] !== 'apis') return null;
  const [group = '', version = ''] = isCore ? ['', decoded[1]] : [decoded[1], decoded[2]];
  let rest = decoded.slice(isCore ? 2 : 3);
  let namespace: string | null = null;
  const isWithin = rest[0] === 'namespaces' && rest.length >= 3 && rest[2] !== 'status';
  if (isWithin) {
    namespace = rest[1] ?? '';
    rest = rest.slice(2);
  }
  const [plural = '', name = null, subresource = null, ...more] = rest;
  if (plural === '' || name === '' || namespace === '' || more.length > 0) return null;
  return { group, version, namespace, plural, name, subresource };
}

export type Query = ReadonlyMap<string, string>;

export function parseQuery(url: string): { path: string; query: Query } {
  const at = url.indexOf('?');
  if (at < 0) return { path: url, query: new Map() };
  return { path: url.slice(0, at), query: new Map(new URLSearchParams(url.slice(at + 1))) };
}

export function flag(query: Query, name: string): boolean {
  const value = query.get(name) ?? 'false';
  // Python's client writes True.
  if (['true', '1', ''].includes(value.toLowerCase())) return true;
  if (['false', '0'].includes(value.toLowerCase())) return false;
  throw badQuery(name, value, 'true or false');
}

export function integer(query: Query, name: string, least = 0): number | null {
  const value = query.get(name);
  if (value === undefined || value === '') return null;
  if (!/^\d{1,10}$/.test(value) || Number(value) < least) {
    throw badQuery(name, value, `a whole number from ${least}`);
  }
  return Number(value);
}

function badQuery(name: string, value: string, wanted: string): ApiError {
  const message = `${name}: '${clip(value)}' is not ${wanted}`;
  return new ApiError('BadRequest', `bad query: ${message}`, {
    causes: [{ reason: 'FieldValueInvalid', field: name, message }],
  });
}

export function oneOf<T extends string>(
  query: Query,
  name: string,
  values: readonly T[],
): T | undefined {
  const value = query.get(name);
  if (value === undefined || value === '') return undefined;
  const known = values.find((one) => one === value);
  if (known === undefined) throw badQuery(name, value, values.join(' or '));
  return known;
}

export function listRequest(query: Query, namespace: string | null): ListRequest {
  const limit = integer(query, 'limit');
  const token = query.get('continue');
  const labelSelector = query.get('labelSelector');
  const fieldSelector = query.get('fieldSelector');
  return {
    ...(namespace === null ? {} : { namespace }),
    ...(limit === null ? {} : { limit }),
    ...(token === undefined || token === '' ? {} : { continue: token }),
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  };
}

export function writeOptions(query: Query, userAgent: string): WriteOptions {
  const fieldValidation = oneOf(query, 'fieldValidation', ['Strict', 'Warn', 'Ignore'] as const);
  const manager = query.get('fieldManager') ?? '';
  if (manager.length > 128) throw badQuery('fieldManager', manager, 'at most 128 characters long');
  // As Kubernetes does: whoever does not name himself is named by his program.
  const fallback = /^[\w.-]{1,64}/.exec(userAgent)?.[0] ?? 'unknown';
  return {
    dryRun: oneOf(query, 'dryRun', ['All'] as const) !== undefined,
    fieldManager: manager === '' ? fallback : manager,
    force: flag(query, 'force'),
    ...(fieldValidation === undefined ? {} : { fieldValidation }),
  };
}

export function deleteRequest(query: Query, body: unknown): DeleteRequest {
  const options = body ?? {};
  const found = checkStructure(DELETE_OPTIONS, options);
  const wrong = [
    ...found.causes,
    ...found.unknown.map((unknown) => ({
      reason: 'FieldValueNotSupported' as const,
      ...unknown,
    })),
  ];
  if (wrong.length > 0) {
    const what = wrong.map(({ field, message }) => `${field}: ${message}`).join('; ');
    throw new ApiError('Invalid', `DeleteOptions is invalid: ${what}`, {
      kind: 'DeleteOptions',
      causes: wrong,
    });
  }
  const sent = found.value as {
    gracePeriodSeconds?: number;
    propagationPolicy?: DeleteRequest['propagation'];
    orphanDependents?: boolean;
    dryRun?: string[];
    preconditions?: { uid?: string; resourceVersion?: string };
  };
  const policies = ['Orphan', 'Background', 'Foreground'] as const;
  const propagation =
    oneOf(query, 'propagationPolicy', policies) ??
    sent.propagationPolicy ??
    (sent.orphanDependents === true ? 'Orphan' : undefined);
  const grace = integer(query, 'gracePeriodSeconds') ?? sent.gracePeriodSeconds;
  const { uid, resourceVersion } = sent.preconditions ?? {};
  return {
    dryRun:
      oneOf(query, 'dryRun', ['All'] as const) !== undefined || (sent.dryRun ?? []).length > 0,
    force: grace === 0,
    ...(propagation === undefined ? {} : { propagation }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}

const PATCHES: Readonly<Record<string, PatchType>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
};

export function patchType(contentType: string): PatchType {
  const type = PATCHES[contentType];
  if (type === undefined) {
    throw new ApiError(
      'UnsupportedMediaType',
      `a patch is sent as ${Object.keys(PATCHES).join(', ')}; not as '${clip(contentType)}'`,
    );
  }
  return type;
}

export function mediaType(header: string | undefined): string {
  return (header ?? '').split(';')[0]!.trim().toLowerCase();
}

/** The fields that stand twice in a body of JSON; those of YAML are refused when it is parsed. */
export function duplicatesIn(body: Buffer | undefined, contentType: string): string[] {
  const isJson = contentType === '' || contentType.endsWith('json');
  return body === undefined || !isJson ? [] : duplicateKeys(body.toString('utf8'));
}

/** The body as JSON has it; undefined where there is none. */
export function parseBody(body: Buffer | undefined, contentType: string): unknown {
  if (body === undefined || body.length === 0) return undefined;
  if (contentType === KUBE_PROTOBUF) return assertPlain(decodeKubeProtobuf(body), 0);
  const text = body.toString('utf8');
  assertShallow(text);
  if (contentType.endsWith('yaml')) {
    let value: unknown;
    try {
      value = parseYaml(text, { maxAliasCount: 0, uniqueKeys: true, logLevel: 'error' });
    } catch (error) {
      throw new ApiError('BadRequest', `the body is not YAML: ${(error as Error).message}`);
    }
    return assertPlain(value, 0);
  }
  if (contentType !== '' && !contentType.endsWith('json')) {
    throw new ApiError(
      'UnsupportedMediaType',
      `the body is '${clip(contentType)}'; send application/json`,
    );
  }
  try {
    return assertPlain(JSON.parse(text), 0);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError('BadRequest', `the body is not JSON: ${(error as Error).message}`);
  }
}

/** Before it is parsed: a parser's recursion must not be the caller's to choose. */
function assertShallow(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    // [ and {, ] and }. Those within strings count too, which only errs for absurd ones.
    if (code === 0x5b || code === 0x7b) depth += 1;
    else if (code === 0x5d || code === 0x7d) depth -= 1;
    if (depth > 4 * MAX_DEPTH) throw tooDeep();
  }
}

/** No field may change what an object is, and nothing nests too deep. */
function assertPlain(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw tooDeep();
  if (Array.isArray(value)) for (const item of value) assertPlain(item, depth + 1);
  else if (isObject(value)) {
    for (const key of Object.keys(value)) {
      if (key === '__proto__') throw new ApiError('BadRequest', "'__proto__' is no field");
      assertPlain(value[key], depth + 1);
    }
  }
  return value;
}

function tooDeep(): ApiError {
  return new ApiError('BadRequest', `the body nests deeper than ${MAX_DEPTH}`);
}
