// The OpenAPI documents, made from the kinds' schemas: version 2 (Swagger), which kubectl before 1.27 validates and
// explains by, and version 3, for later ones, for people, and for the fuzzer.
import { schemaOf } from './decode.ts';
import {
  apiVersionOf,
  type KindDefinition,
  type KindRegistry,
  verbsOf,
  versionsOf,
} from './kind.ts';
import { ObjectMetaSchema } from './meta.ts';
import {
  DELETE_QUERY,
  LIST_QUERY,
  LOG_QUERY,
  PATCH_QUERY,
  type Parameter,
  WRITE_QUERY,
} from './openapi-queries.ts';
import type { Schema } from './structure.ts';

type Json = Record<string, unknown>;

const META = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const PATCH_TYPES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];

interface Style {
  readonly version: 2 | 3;
  readonly refs: string;
}
const V2: Style = { version: 2, refs: '#/definitions/' };
const V3: Style = { version: 3, refs: '#/components/schemas/' };

export function openapiV2(registry: KindRegistry, programVersion: string): Json {
  const kinds = everyVersion(registry);
  return {
    swagger: '2.0',
    info: infoOf(programVersion),
    paths: pathsOf(kinds, V2),
    definitions: definitionsOf(kinds, V2),
  };
}

/** Everything, or one group's version. */
export function openapiV3(
  registry: KindRegistry,
  programVersion: string,
  only: { group: string; version: string } | null,
): Json {
  const kinds = everyVersion(registry).filter(
    ({ kind, version }) => only === null || (kind.group === only.group && version === only.version),
  );
  return {
    openapi: '3.0.3',
    info: infoOf(programVersion),
    paths: pathsOf(kinds, V3),
    components: { schemas: definitionsOf(kinds, V3) },
  };
}

/** /openapi/v3: where the documents of the groups are. `hash` changes with them. */
export function openapiV3Index(registry: KindRegistry, hash: string): Json {
  const paths = new Map<string, unknown>();
  for (const [group, versions] of registry.groups()) {
    for (const version of versions) {
      const path = group === '' ? `api/${version}` : `apis/${group}/${version}`;
      paths.set(path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` });
    }
  }
  return { paths: Object.fromEntries(paths) };
}

interface Served {
  readonly kind: KindDefinition;
  readonly version: string;
}

function everyVersion(registry: KindRegistry): Served[] {
  return registry.all.flatMap((kind) => versionsOf(kind).map((version) => ({ kind, version })));
}

function infoOf(version: string): Json {
  return {
    title: 'ashlar',
    description: 'Replicated block storage. Objects follow Kubernetes API conventions.',
    version: `v${version}`,
    license: { name: 'Apache-2.0' },
  };
}

/** `io.ashlar.v1.Volume`. */
export function schemaName({ kind, version }: Served): string {
  if (kind.schemaName !== undefined) {
    const parts = kind.schemaName.split('.');
    return [...parts.slice(0, -2), version, parts.at(-1)].join('.');
  }
  return [...kind.group.split('.').reverse(), version, kind.kind].join('.');
}

function definitionsOf(kinds: readonly Served[], style: Style): Json {
  const definitions = new Map<string, unknown>();
  for (const served of kinds) {
    const name = schemaName(served);
    const { kind, version } = served;
    const gvk = [{ group: kind.group, version, kind: kind.kind }];
    const schema = converted(schemaOf(kind), style) as Json;
    const properties = { ...(schema['properties'] as Json) };
    if (style.version === 3) {
      const apiVersion = apiVersionOf({ group: kind.group, version });
      for (const [name, value] of [
        ['apiVersion', apiVersion],
        ['kind', kind.kind],
      ] as const) {
        properties[name] = { ...(properties[name] as Json), enum: [value] };
      }
    }
    properties['metadata'] = {
      description: 'What every object has.',
      ...reference(`${META}.ObjectMeta`, style),
    };
    const required = ((schema['required'] ?? []) as string[]).filter(
      (field) => field !== 'metadata',
    );
    definitions.set(name, {
      ...schema,
      description: kind.description,
      properties,
      ...(required.length === 0 ? { required: undefined } : { required }),
      'x-kubernetes-group-version-kind': gvk,
    });
    definitions.set(`${name}List`, {
      type: 'object',
      description: `Objects of kind ${kind.kind}.`,
      required: ['items'],
      properties: {
        apiVersion: { type: 'string' },
        kind: { type: 'string' },
        metadata: reference(`${META}.ListMeta`, style),
        items: { type: 'array', items: reference(name, style) },
      },
      'x-kubernetes-group-version-kind': [{ ...gvk[0], kind: `${kind.kind}List` }],
    });
  }
  definitions.set(`${META}.ObjectMeta`, converted(ObjectMetaSchema as unknown as Schema, style));
  definitions.set(`${META}.ListMeta`, {
    type: 'object',
    description: 'What a list has.',
    properties: {
      resourceVersion: { type: 'string', description: 'A watch from here misses nothing.' },
      continue: { type: 'string', description: 'Give it back for the next page.' },
      remainingItemCount: { type: 'integer' },
      selfLink: { type: 'string' },
    },
  });
  definitions.set(`${META}.DeleteOptions`, converted(DELETE_OPTIONS as unknown as Schema, style));
  definitions.set(`${META}.Status`, {
    type: 'object',
    description: 'How it ended.',
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: reference(`${META}.ListMeta`, style),
      status: { type: 'string', description: 'Success or Failure.' },
      message: { type: 'string', description: 'For people.' },
      reason: { type: 'string', description: 'For programs.' },
      code: { type: 'integer', description: 'As HTTP has it.' },
      details: { type: 'object', description: 'What it was about; causes name the fields.' },
    },
    'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Status' }],
  });
  return clean(Object.fromEntries(definitions)) as Json;
}

/** What may come with a deletion. */
export const DELETE_OPTIONS: Schema = {
  type: 'object',
  description: 'How to delete.',
  additionalProperties: false,
  properties: {
    apiVersion: { type: 'string' },
    kind: { type: 'string', enum: ['DeleteOptions'] },
    gracePeriodSeconds: {
      type: 'integer',
      minimum: 0,
      description: '0: also while it is in use.',
    },
    propagationPolicy: {
      type: 'string',
      enum: ['Orphan', 'Background', 'Foreground'],
      description: 'What becomes of what it owns.',
    },
    orphanDependents: { type: 'boolean' },
    dryRun: { type: 'array', items: { type: 'string', enum: ['All'] }, maxItems: 1 },
    preconditions: {
      type: 'object',
      additionalProperties: false,
      properties: { uid: { type: 'string' }, resourceVersion: { type: 'string' } },
    },
    ignoreStoreReadErrorWithClusterBreakingPotential: { type: 'boolean' },
  },
};

function reference(name: string, { version, refs }: Style): Json {
  const ref = { $ref: `${refs}${name}` };
  // OpenAPI 3.0 ignores what stands beside a reference.
  return version === 3 ? { allOf: [ref] } : ref;
}

/** A schema as TypeBox writes it, in the words of OpenAPI. */
function converted(schema: Schema, style: Style): unknown {
  const {
    properties,
    patternProperties,
    items,
    anyOf,
    const: literal,
    additionalProperties,
    enum: values,
    ...rest
  } = schema;
  const result: Json = { ...rest };
  if (literal !== undefined) {
    result['type'] = typeof literal;
    result['enum'] = [literal];
  }
  if (values !== undefined) result['enum'] = values;
  if (anyOf !== undefined) Object.assign(result, union(anyOf, style));
  if (properties !== undefined) {
    result['properties'] = Object.fromEntries(
      Object.entries(properties).map(([name, inner]) => [name, converted(inner, style)]),
    );
  }
  const map =
    typeof additionalProperties === 'object'
      ? additionalProperties
      : Object.values(patternProperties ?? {})[0];
  if (map !== undefined) result['additionalProperties'] = converted(map, style);
  if (items !== undefined) result['items'] = converted(items, style);
  if (schema.type === undefined && anyOf === undefined && literal === undefined) {
    result['x-kubernetes-preserve-unknown-fields'] = true;
  }
  if (style.version === 2) delete result['writeOnly'];
  return result;
}

function union(branches: readonly Schema[], style: Style): Json {
  const real = branches.filter((branch) => branch.type !== 'null');
  const nullable = real.length < branches.length && style.version === 3 ? { nullable: true } : {};
  const [only] = real;
  if (real.length === 1 && only !== undefined) {
    return { ...(converted(only, style) as Json), ...nullable };
  }
  if (real.every((branch) => branch.const !== undefined)) {
    return { type: typeof only?.const, enum: real.map((branch) => branch.const), ...nullable };
  }
  const types = new Set(real.map((branch) => branch.type));
  const isIntOrString =
    types.has('string') &&
    [...types].every((type) => ['string', 'integer', 'number'].includes(type ?? ''));
  if (style.version === 2) {
    // Swagger has no unions. kubectl takes a number for a string.
    return isIntOrString ? { type: 'string', format: 'int-or-string' } : {};
  }
  return { anyOf: real.map((branch) => converted(branch, style)), ...nullable };
}

function pathsOf(kinds: readonly Served[], style: Style): Json {
  const paths = new Map<string, unknown>();
  for (const served of kinds) {
    const { kind, version } = served;
    const base = kind.group === '' ? `/api/${version}` : `/apis/${kind.group}/${version}`;
    const scope = kind.namespaced ? '/namespaces/{namespace}' : '';
    const collection = `${base}${scope}/${kind.plural}`;
    const verbs = verbsOf(kind);
    const has = (verb: string): boolean => (verbs as readonly string[]).includes(verb);
    const op = (action: string, summary: string, options: OperationOptions = {}): Json =>
      operation(served, action, summary, options, style);
    if (kind.namespaced && has('list')) {
      paths.set(`${base}/${kind.plural}`, {
        get: op('list', `List ${kind.plural} of all namespaces`, {
          query: LIST_QUERY,
          isAllNamespaces: true,
        }),
      });
    }
    paths.set(
      collection,
      clean({
        get: has('list')
          ? op('list', `List or watch ${kind.plural}`, { query: LIST_QUERY })
          : undefined,
        post: has('create')
          ? op('post', `Create a ${kind.kind}`, { query: WRITE_QUERY, body: 'object' })
          : undefined,
        delete: has('deletecollection')
          ? op('deletecollection', `Delete ${kind.plural}`, {
              query: [...DELETE_QUERY, ...LIST_QUERY],
              body: 'delete',
            })
          : undefined,
      }),
    );
    const ofOne = clean({
      get: has('get') ? op('get', `Read a ${kind.kind}`, { named: true }) : undefined,
      put: has('update')
        ? op('put', `Replace a ${kind.kind}`, { named: true, query: WRITE_QUERY, body: 'object' })
        : undefined,
      patch: has('patch')
        ? op('patch', `Change a ${kind.kind}`, { named: true, query: PATCH_QUERY, body: 'patch' })
        : undefined,
      delete: has('delete')
        ? op('delete', `Delete a ${kind.kind}`, {
            named: true,
            query: DELETE_QUERY,
            body: 'delete',
          })
        : undefined,
    });
    if (Object.keys(ofOne as Json).length > 0) paths.set(`${collection}/{name}`, ofOne);
    if (kind.hasStatus === true) {
      const part = 'status';
      paths.set(`${collection}/{name}/status`, {
        get: op('get', `Read the status of a ${kind.kind}`, { named: true, part }),
        ...(has('update')
          ? {
              put: op('put', `Replace the status of a ${kind.kind}`, {
                named: true,
                part,
                query: WRITE_QUERY,
                body: 'object',
              }),
              patch: op('patch', `Change the status of a ${kind.kind}`, {
                named: true,
                part,
                query: PATCH_QUERY,
                body: 'patch',
              }),
            }
          : {}),
      });
    }
    if (kind.log !== undefined) {
      paths.set(`${collection}/{name}/log`, {
        get: op('connect', 'Read the log', { named: true, part: 'log', query: LOG_QUERY }),
      });
    }
    for (const [name, action] of Object.entries(kind.actions ?? {})) {
      const query = Object.entries(action.query ?? {}).map(
        ([field, description]): Parameter => [field, 'string', description],
      );
      paths.set(`${collection}/{name}/${name}`, {
        [action.method.toLowerCase()]: op('connect', action.description, {
          named: true,
          part: name,
          query,
          ...(action.body === undefined ? {} : { bodySchema: action.body as unknown as Schema }),
        }),
      });
    }
  }
  return Object.fromEntries(paths);
}

interface OperationOptions {
  readonly named?: boolean;
  readonly query?: readonly Parameter[];
  readonly body?: 'object' | 'patch' | 'delete';
  readonly bodySchema?: Schema;
  readonly isAllNamespaces?: boolean;
  /** A subresource. */
  readonly part?: string;
}

const ID_VERBS: Readonly<Record<string, string>> = {
  get: 'read',
  post: 'create',
  put: 'replace',
  deletecollection: 'delete',
};

/** As Kubernetes names operations: `createCoreV1NamespacedSecret`, `readAshlarV1VolumeStatus`. */
function operationId(served: Served, action: string, options: OperationOptions): string {
  const { kind, version } = served;
  const title = (word: string): string => word.slice(0, 1).toUpperCase() + word.slice(1);
  const group = kind.group === '' ? 'core' : kind.group.replace(/\.(k8s\.)?io$/, '');
  const scope = kind.namespaced && options.isAllNamespaces !== true ? 'Namespaced' : '';
  return [
    ID_VERBS[action] ?? action,
    ...group.split(/[.-]/).map(title),
    title(version),
    action === 'deletecollection' ? 'Collection' : '',
    scope,
    kind.kind,
    title(options.part ?? ''),
    options.isAllNamespaces === true ? 'ForAllNamespaces' : '',
  ].join('');
}

function operation(
  served: Served,
  action: string,
  summary: string,
  options: OperationOptions,
  style: Style,
): Json {
  const { kind, version } = served;
  const name = schemaName(served);
  const answer = action === 'list' ? `${name}List` : name;
  const parameters: Json[] = (options.query ?? []).map(([field, type, description]) =>
    parameter(field, 'query', type, description, style),
  );
  if (options.named === true) {
    parameters.push(parameter('name', 'path', 'string', `Name of the ${kind.kind}.`, style));
  }
  if (kind.namespaced && options.isAllNamespaces !== true) {
    parameters.push(parameter('namespace', 'path', 'string', 'The namespace.', style));
  }
  const body = bodyOf(name, options, style);
  const types = options.body === 'patch' ? PATCH_TYPES : ['application/json'];
  const failure = reference(`${META}.Status`, style);
  const success = action === 'connect' ? {} : reference(answer, style);
  const answers = {
    200: success,
    ...(action === 'post' ? { 201: success } : {}),
    default: failure,
  };
  const responses = Object.fromEntries(
    Object.entries(answers).map(([code, schema]) => [
      code,
      {
        description: code === 'default' ? 'Why not.' : 'OK',
        ...(style.version === 2 ? { schema } : { content: { 'application/json': { schema } } }),
      },
    ]),
  );
  const common = {
    operationId: operationId(served, action, options),
    summary,
    tags: [apiVersionOf({ group: kind.group, version })],
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': { group: kind.group, version, kind: kind.kind },
    responses,
  };
  if (style.version === 2) {
    const inBody = body === null ? [] : [{ name: 'body', in: 'body', schema: body }];
    return {
      ...common,
      consumes: types,
      produces: ['application/json'],
      parameters: [...parameters, ...inBody],
    };
  }
  return {
    ...common,
    parameters,
    ...(body === null
      ? {}
      : {
          requestBody: {
            content: Object.fromEntries(types.map((type) => [type, { schema: body }])),
          },
        }),
  };
}

function bodyOf(name: string, options: OperationOptions, style: Style): Json | null {
  if (options.bodySchema !== undefined) return converted(options.bodySchema, style) as Json;
  switch (options.body) {
    case 'object':
      return reference(name, style);
    case 'delete':
      return reference(`${META}.DeleteOptions`, style);
    case 'patch':
      return { type: 'object', description: 'A patch, of the type that Content-Type says.' };
    default:
      return null;
  }
}

function parameter(
  name: string,
  where: string,
  type: string,
  description: string,
  style: Style,
): Json {
  return {
    name,
    in: where,
    description,
    ...(where === 'path' ? { required: true } : {}),
    ...(style.version === 2 ? { type } : { schema: { type } }),
  };
}

/** Without what is undefined. */
function clean(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
