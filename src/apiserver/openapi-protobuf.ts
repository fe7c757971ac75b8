// The Swagger document as kubectl before 1.27 asks for it: gnostic's openapi.v2.Document in protobuf. Only what kubectl
// reads goes in: the definitions, and of the paths what tells it that dry runs are possible. Field numbers are those of
// gnostic's OpenAPIv2.proto.

export const OPENAPI_PROTOBUF = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';

type Json = Record<string, unknown>;
type Field = readonly [number: number, value: string | boolean | Buffer | null | undefined];

/** A message of length-delimited and boolean fields; empty ones are left out. */
function message(...fields: readonly Field[]): Buffer {
  const parts: Buffer[] = [];
  for (const [number, value] of fields) {
    if (value === null || value === undefined || value === '' || value === false) continue;
    if (value === true) parts.push(varint(number * 8), Buffer.of(1));
    else {
      const bytes = typeof value === 'string' ? Buffer.from(value) : value;
      parts.push(varint(number * 8 + 2), varint(bytes.length), bytes);
    }
  }
  return Buffer.concat(parts);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

const repeated = (number: number, values: readonly (string | Buffer)[]): Field[] =>
  values.map((value): Field => [number, value]);

export function encodeOpenapiV2(document: Json): Buffer {
  const info = document['info'] as Json;
  const paths = Object.entries(document['paths'] as Json).map(([path, item]) =>
    named(path, pathItem(item as Json)),
  );
  const definitions = Object.entries(document['definitions'] as Json).map(([name, schema]) =>
    named(name, schemaMessage(schema as Json)),
  );
  return message(
    [1, String(document['swagger'])],
    [2, message([1, String(info['title'])], [2, String(info['version'])])],
    [8, message(...repeated(2, paths))],
    [9, message(...repeated(1, definitions))],
  );
}

/** NamedPathItem, NamedSchema, NamedResponseValue: a name and a value. */
function named(name: string, value: Buffer): Buffer {
  return message([1, name], [2, value]);
}

/** NamedAny, whose value is YAML: JSON is that, too. */
function extension(name: string, value: unknown): Buffer {
  return named(name, message([2, JSON.stringify(value)]));
}

function pathItem(item: Json): Buffer {
  const numbers: Readonly<Record<string, number>> = {
    get: 2,
    put: 3,
    post: 4,
    delete: 5,
    patch: 8,
  };
  return message(
    ...Object.entries(item).map(
      ([method, operation]): Field => [numbers[method] ?? 2, operationMessage(operation as Json)],
    ),
  );
}

function operationMessage(operation: Json): Buffer {
  const query = ((operation['parameters'] ?? []) as Json[]).filter(
    (parameter) => parameter['in'] === 'query',
  );
  const parameters = query.map((parameter) => {
    const schema = message(
      [2, 'query'],
      [3, String(parameter['description'])],
      [4, String(parameter['name'])],
      [6, String(parameter['type'])],
    );
    // ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema.
    return message([1, message([2, message([3, schema])])]);
  });
  const responses = Object.keys(operation['responses'] as Json).map((code) =>
    named(code, message([1, message([1, 'OK'])])),
  );
  const extensions = ['x-kubernetes-action', 'x-kubernetes-group-version-kind'].map((name) =>
    extension(name, operation[name]),
  );
  return message(
    ...repeated(7, operation['consumes'] as string[]),
    ...repeated(8, parameters),
    [9, message(...repeated(1, responses))],
    ...repeated(13, extensions),
  );
}

function schemaMessage(schema: Json): Buffer {
  const { type, properties, items, additionalProperties, required } = schema;
  const values = schema['enum'] as unknown[] | undefined;
  const extensions = Object.entries(schema).filter(([name]) => name.startsWith('x-kubernetes-'));
  return message(
    [1, schema['$ref'] as string | undefined],
    [2, schema['format'] as string | undefined],
    [4, schema['description'] as string | undefined],
    ...repeated(19, (required ?? []) as string[]),
    ...repeated(
      20,
      (values ?? []).map((value) => message([2, JSON.stringify(value)])),
    ),
    [
      21,
      typeof additionalProperties === 'object'
        ? message([1, schemaMessage(additionalProperties as Json)])
        : null,
    ],
    [22, typeof type === 'string' ? message([1, type]) : null],
    [23, items === undefined ? null : message([1, schemaMessage(items as Json)])],
    [
      25,
      properties === undefined
        ? null
        : message(
            ...repeated(
              1,
              Object.entries(properties as Json).map(([name, inner]) =>
                named(name, schemaMessage(inner as Json)),
              ),
            ),
          ),
    ],
    ...repeated(
      31,
      extensions.map(([name, value]) => extension(name, value)),
    ),
  );
}
