// Requests as an OpenAPI document allows them, and as it does not: fast-check arbitraries made from the document.
import fc from 'fast-check';

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly required?: readonly string[];
}

interface Operation {
  readonly parameters?: readonly { name: string; in: string; schema: Schema }[];
  readonly requestBody?: { content: Readonly<Record<string, { schema: Schema }>> };
}

export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload?: string;
  /** Its answer may have no end. */
  readonly mayWatch: boolean;
}

/** Few, so that requests meet one another's objects. */
const NAMES = ['a', 'b', 'web-1', 'x.y', 'default', 'openebs'];
const MAX_DEPTH = 6;

const texts = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...NAMES) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      '1Gi',
      '64Mi',
      '5Gx',
      '-1',
      '',
      '1e3',
      'true',
      'app=db',
      'a/b',
      '512',
      '2026-11-01T00:00:00Z',
      'example.com/x',
    ),
  },
  { weight: 2, arbitrary: fc.string({ maxLength: 20 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 300 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '__proto__',
      'constructor',
      '../..',
      '%2e%2e',
      '\u0000',
      'a'.repeat(300),
    ),
  },
);
const numbers = fc.oneof(
  fc.integer({ min: -2, max: 5000 }),
  fc.constantFrom(0, 512, 4096, 2 ** 31, 2 ** 53, -(2 ** 63), 1.5, 1e300),
);
const anything = fc.jsonValue({ maxDepth: 3 });

/** Strings that some fields want, so that some requests are right in all their fields. */
const RIGHT: Readonly<Record<string, readonly string[]>> = {
  size: ['64Mi', '1Gi'],
  storage: ['64Mi', '5Gi'],
  name: NAMES,
  namespace: ['default', 'openebs', 'a'],
  storageClassName: ['a', 'b'],
  provisioner: ['openebs.io/provisioner-iscsi'],
  initiators: ['iqn.1993-08.org.debian:01:a'],
  finalizers: ['example.com/hold'],
  accessModes: ['ReadWriteOnce'],
};
/** Of metadata: what is worth sending. */
const SENT_METADATA = ['name', 'labels', 'annotations', 'finalizers', 'generateName'];

/** A value that fits the schema as far as it can say, with little that is optional in it. */
function careful(
  document: Document,
  schema: Schema,
  name: string,
  depth: number,
): fc.Arbitrary<unknown> {
  if (schema.$ref !== undefined) {
    const found = document.components.schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {};
    return careful(document, found, name, depth);
  }
  if (schema.allOf?.[0] !== undefined) return careful(document, schema.allOf[0], name, depth);
  if (schema.anyOf?.[0] !== undefined) return careful(document, schema.anyOf[0], name, depth);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const inner = (of: Schema, key: string) => careful(document, of, key, depth + 1);
  switch (schema.type) {
    case 'object': {
      const { properties, additionalProperties, required = [] } = schema;
      if (properties === undefined) {
        const map = typeof additionalProperties === 'object' ? additionalProperties : {};
        const keys = fc.constantFrom('app', 'tier', 'example.com/x');
        return fc.dictionary(keys, inner(map, 'a'), { maxKeys: 2 });
      }
      const kept = Object.entries(properties).filter(
        ([key]) => (name !== 'metadata' || SENT_METADATA.includes(key)) && key !== 'status',
      );
      const fields = kept.map(([key, of]) => {
        const isWanted =
          required.includes(key) ||
          key === 'metadata' ||
          key === 'spec' ||
          (name === 'metadata' && key === 'name');
        const value = inner(of, key);
        const maybe = fc.oneof(
          { weight: 5, arbitrary: fc.constant(undefined) },
          { weight: 1, arbitrary: value },
        );
        return [key, isWanted ? value : maybe] as const;
      });
      return fc.record(Object.fromEntries(fields));
    }
    case 'array':
      return fc.array(inner(schema.items ?? {}, name), { minLength: 1, maxLength: 2 });
    case 'string':
      return fc.constantFrom(...(RIGHT[name] ?? ['a', 'b', 'true', '1Gi', '2026-11-01T00:00:00Z']));
    case 'integer':
    case 'number':
      return fc.constantFrom(1, 2, 512, 4096);
    case 'boolean':
      return fc.boolean();
    default:
      return fc.constantFrom(1, 'a', { a: 1 });
  }
}

/** A value that mostly fits the schema. */
function valueFor(document: Document, schema: Schema, depth: number): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 30, arbitrary: fitting(document, schema, depth) },
    { weight: 1, arbitrary: anything },
  );
}

function fitting(document: Document, schema: Schema, depth: number): fc.Arbitrary<unknown> {
  if (depth > MAX_DEPTH) return anything;
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split('/').at(-1) ?? '';
    return fitting(document, document.components.schemas[name] ?? {}, depth + 1);
  }
  if (schema.allOf?.[0] !== undefined) return fitting(document, schema.allOf[0], depth);
  if (schema.anyOf !== undefined) {
    return fc.oneof(...schema.anyOf.map((branch) => fitting(document, branch, depth + 1)));
  }
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  switch (schema.type) {
    case 'object':
      return objectOf(document, schema, depth);
    case 'array':
      return fc.array(valueFor(document, schema.items ?? {}, depth + 1), { maxLength: 3 });
    case 'string':
      return texts;
    case 'integer':
    case 'number':
      return numbers;
    case 'boolean':
      return fc.boolean();
    default:
      return anything;
  }
}

function objectOf(document: Document, schema: Schema, depth: number): fc.Arbitrary<unknown> {
  const { properties, additionalProperties, required = [] } = schema;
  const map = typeof additionalProperties === 'object' ? additionalProperties : null;
  if (properties === undefined) {
    if (map === null) return anything;
    return fc.dictionary(texts, valueFor(document, map, depth + 1), { maxKeys: 3 });
  }
  const fields = Object.fromEntries(
    Object.entries(properties).map(([name, inner]) => [name, valueFor(document, inner, depth + 1)]),
  );
  const known = fc.record(fields, { requiredKeys: required.filter((name) => name in fields) });
  return fc.oneof(
    { weight: 12, arbitrary: known },
    // A field that nobody knows, and one that is missing.
    {
      weight: 1,
      arbitrary: fc
        .tuple(known, texts, anything)
        .map(([object, key, value]) => ({ ...object, [key]: value })),
    },
    { weight: 1, arbitrary: fc.record(fields, { requiredKeys: [] }) },
  );
}

/** A JSON patch: operations on paths that there may be. */
const jsonPatches = fc.array(
  fc.record(
    {
      op: fc.constantFrom('add', 'remove', 'replace', 'move', 'copy', 'test', 'spin'),
      path: fc.oneof(
        fc.constantFrom(
          '/spec/size',
          '/metadata/labels/x',
          '/spec',
          '',
          '/status/phase',
          '/metadata/finalizers/0',
          '/metadata/finalizers/-',
          '/__proto__/x',
          '/spec/parts/0/name',
        ),
        texts.map((text) => `/${text}`),
      ),
      from: fc.constantFrom('/spec', '/metadata/labels', '/spec/size', 'x'),
      value: fc.oneof(texts, numbers, anything),
    },
    { requiredKeys: ['op', 'path'] },
  ),
  { maxLength: 4 },
);

const ACCEPTS = [
  'application/json',
  '*/*',
  'application/json;as=Table;v=v1;g=meta.k8s.io,application/json',
  'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  'application/vnd.kubernetes.protobuf',
  'text/html',
];

/** Any request that the document describes. */
export function requestsOf(document: Document): fc.Arbitrary<ApiRequest> {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  return fc.oneof(
    ...operations.map((one) => requestOf(document, one.path, one.method, one.operation)),
  );
}

function requestOf(
  document: Document,
  path: string,
  method: string,
  { parameters = [], requestBody }: Operation,
): fc.Arbitrary<ApiRequest> {
  const query = parameters.filter((parameter) => parameter.in === 'query');
  const wildQuery = fc.record(
    Object.fromEntries(
      query.map(({ name, schema }) => [
        name,
        fc.oneof(
          { weight: 6, arbitrary: likely(name) },
          { weight: 1, arbitrary: valueFor(document, schema, 0).map(String) },
        ),
      ]),
    ),
    { requiredKeys: [] },
  );
  const known = Object.keys(RIGHT_QUERY).filter((name) => query.some((one) => one.name === name));
  const rightQuery = fc.record(
    Object.fromEntries(known.map((name) => [name, fc.constantFrom(...RIGHT_QUERY[name]!)])),
    { requiredKeys: [] },
  );
  const queryValues = fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    { weight: 2, arbitrary: rightQuery },
    { weight: 1, arbitrary: wildQuery },
  );
  const names = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...NAMES) },
    { weight: 1, arbitrary: texts },
  );
  const types = Object.keys(requestBody?.content ?? {});
  const schema =
    requestBody === undefined ? {} : (requestBody.content[types[0] ?? '']?.schema ?? {});
  const isPatch = method === 'patch';
  const kindSchema = isPatch ? schemaOfPath(document, path) : schema;
  const bodies = fc.oneof(
    { weight: 10, arbitrary: careful(document, kindSchema, '', 0) },
    { weight: 6, arbitrary: valueFor(document, kindSchema, 0) },
    ...(isPatch ? [{ weight: 6, arbitrary: jsonPatches as fc.Arbitrary<unknown> }] : []),
  );
  const payloads = fc.oneof(
    { weight: 30, arbitrary: bodies.map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: fc.string({ maxLength: 50 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '',
        '{',
        'null',
        '[]',
        `${'['.repeat(5000)}`,
        '{"__proto__":{"x":1}}',
      ),
    },
  );
  const contentTypes = fc.oneof(
    {
      weight: 12,
      arbitrary: fc.constantFrom(...(types.length === 0 ? ['application/json'] : types)),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        'text/plain',
        'application/yaml',
        '',
        'application/vnd.kubernetes.protobuf',
      ),
    },
  );
  return fc
    .tuple(queryValues, names, names, payloads, contentTypes, fc.constantFrom(...ACCEPTS))
    .map(([values, name, namespace, payload, contentType, accept]): ApiRequest => {
      const search = new URLSearchParams(values as Record<string, string>);
      search.delete('follow');
      const mayWatch = search.has('watch');
      const filled = path
        .replace('{name}', encodeURIComponent(name))
        .replace('{namespace}', encodeURIComponent(namespace));
      const url = search.size === 0 ? filled : `${filled}?${search}`;
      const verb = method.toUpperCase() as ApiRequest['method'];
      if (requestBody === undefined) return { method: verb, url, headers: { accept }, mayWatch };
      const headers = { accept, 'content-type': contentType };
      return { method: verb, url, headers, payload, mayWatch };
    });
}

/** What the object at this path looks like: the body of its PUT. */
function schemaOfPath(document: Document, path: string): Schema {
  return document.paths[path]?.['put']?.requestBody?.content['application/json']?.schema ?? {};
}

const RIGHT_QUERY: Readonly<Record<string, readonly string[]>> = {
  labelSelector: ['a=b', 'app in (a,b)', '!tier'],
  fieldSelector: ['metadata.name=a', 'metadata.namespace!=default'],
  limit: ['1', '2'],
  watch: ['true', 'false'],
  resourceVersion: ['', '0'],
  allowWatchBookmarks: ['true'],
  fieldManager: ['tool', 'other'],
  fieldValidation: ['Warn', 'Ignore'],
  force: ['true', 'false'],
  propagationPolicy: ['Foreground', 'Background'],
  gracePeriodSeconds: ['0'],
};

function likely(name: string): fc.Arbitrary<string> {
  switch (name) {
    case 'labelSelector':
      return fc.constantFrom('a=b', 'a in (b,c)', '!a', 'a!=b', '((', 'a=,');
    case 'fieldSelector':
      return fc.constantFrom('metadata.name=a', 'metadata.namespace=default', 'spec.size=1', '=');
    case 'dryRun':
      return fc.constantFrom('All', 'Some');
    case 'fieldValidation':
      return fc.constantFrom('Strict', 'Warn', 'Ignore', 'x');
    case 'propagationPolicy':
      return fc.constantFrom('Orphan', 'Background', 'Foreground', 'x');
    case 'limit':
    case 'timeoutSeconds':
    case 'gracePeriodSeconds':
    case 'tailLines':
      return fc.constantFrom('0', '1', '2', '-1', 'x');
    case 'watch':
    case 'force':
    case 'allowWatchBookmarks':
      return fc.constantFrom('true', 'false', '1', 'x');
    case 'continue':
      return fc.constantFrom('', 'x', Buffer.from('[1,"default","a"]').toString('base64url'));
    default:
      return texts;
  }
}
