// explain: what the fields of a kind mean, from the document that the server describes itself with.
import type { Command } from 'commander';
import { clientOf } from '../connect.ts';
import { fetchKinds, findKind, type Kind } from '../kinds.ts';
import { print, UsageError } from '../usage.ts';

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly $ref?: string;
  readonly allOf?: readonly Schema[];
  readonly 'x-kubernetes-group-version-kind'?: readonly {
    group: string;
    version: string;
    kind: string;
  }[];
}
type Schemas = Readonly<Record<string, Schema>>;

interface ExplainFlags {
  readonly recursive?: boolean;
  readonly apiVersion?: string;
}

export function addExplain(program: Command): void {
  program
    .command('explain <kind.field...>')
    .description('what a kind and its fields mean: ashlar explain volume.spec.limits')
    .option('--recursive', 'all fields below it')
    .option('--api-version <version>', 'of this group and version, like ashlar.io/v1')
    .action(async (asked: string[], flags: ExplainFlags) => {
      if (asked.length > 1) throw new UsageError('one at a time: write it like volume.spec.limits');
      const [kindName = '', ...fields] = (asked[0] ?? '').split('.');
      const client = await clientOf(program);
      const kinds = (await fetchKinds(client)).filter(
        ({ apiVersion }) => flags.apiVersion === undefined || apiVersion === flags.apiVersion,
      );
      const kind = findKind(kinds, kindName);
      const path = kind.group === '' ? `/api/${kind.version}` : `/apis/${kind.apiVersion}`;
      const document = (await client.get(`/openapi/v3${path}`)) as {
        components: { schemas: Schemas };
      };
      for (const line of explain(kind, fields, document.components.schemas, flags)) print(line);
    });
}

function explain(
  kind: Kind,
  fields: readonly string[],
  schemas: Schemas,
  { recursive = false }: ExplainFlags,
): string[] {
  const top = Object.values(schemas).find((schema) =>
    schema['x-kubernetes-group-version-kind']?.some(
      (gvk) => gvk.group === kind.group && gvk.version === kind.version && gvk.kind === kind.kind,
    ),
  );
  if (top === undefined) throw new UsageError(`the server does not describe ${kind.plural}`);
  let schema = resolve(top, schemas);
  let isRequired = false;
  fields.forEach((name, index) => {
    const within = inner(schema, schemas);
    const next = within.properties?.[name];
    if (next === undefined) {
      const where = [kind.singular, ...fields.slice(0, index)].join('.');
      const known = Object.keys(within.properties ?? {});
      const hint = known.length === 0 ? 'it has no fields' : `there are ${known.join(', ')}`;
      throw new UsageError(`${where} has no field '${name}'; ${hint}`);
    }
    isRequired = within.required?.includes(name) === true;
    schema = resolve(next, schemas);
  });

  const lines = [
    ...(kind.group === '' ? [] : [`GROUP:      ${kind.group}`]),
    `KIND:       ${kind.kind}`,
    `VERSION:    ${kind.version}`,
    '',
  ];
  const last = fields.at(-1);
  if (last !== undefined) lines.push(`FIELD: ${signature(last, schema, schemas, isRequired)}`, '');
  lines.push('DESCRIPTION:', `    ${schema.description ?? '(nothing more is said of it)'}`);
  lines.push(...choices(schema).map((line) => `    ${line}`));
  const below = inner(schema, schemas);
  if (below.properties !== undefined) {
    lines.push('', 'FIELDS:', ...fieldLines(below, schemas, recursive, '  '));
  }
  return lines;
}

function fieldLines(
  schema: Schema,
  schemas: Schemas,
  recursive: boolean,
  indent: string,
): string[] {
  return Object.entries(schema.properties ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, property]) => {
      const field = resolve(property, schemas);
      const line =
        indent + signature(name, field, schemas, schema.required?.includes(name) === true);
      if (recursive) {
        return [line, ...fieldLines(inner(field, schemas), schemas, true, `${indent}  `)];
      }
      const told = field.description === undefined ? [] : [field.description];
      return [line, ...[...told, ...choices(field)].map((text) => `${indent}  ${text}`), ''];
    });
}

function signature(name: string, schema: Schema, schemas: Schemas, isRequired: boolean): string {
  return `${name}\t<${typeName(schema, schemas)}>${isRequired ? ' -required-' : ''}`;
}

function choices(schema: Schema): string[] {
  const lines: string[] = [];
  if (schema.enum !== undefined) lines.push(`one of: ${schema.enum.join(', ')}`);
  if (schema.default !== undefined) lines.push(`standard: ${JSON.stringify(schema.default)}`);
  return lines;
}

function typeName(schema: Schema, schemas: Schemas): string {
  if (schema.items !== undefined) return `[]${typeName(resolve(schema.items, schemas), schemas)}`;
  const { additionalProperties: values } = schema;
  if (typeof values === 'object' && schema.properties === undefined) {
    return `map[string]${typeName(resolve(values, schemas), schemas)}`;
  }
  if (schema.type === undefined || schema.type === 'object') return 'Object';
  return schema.type;
}

/** What a reference stands for; what is said beside it wins. */
function resolve(schema: Schema, schemas: Schemas): Schema {
  const reference = schema.$ref ?? schema.allOf?.[0]?.$ref;
  if (reference === undefined) return schema;
  const target = schemas[reference.slice(reference.lastIndexOf('/') + 1)] ?? {};
  const { $ref: _, allOf: __, ...own } = schema;
  return { ...target, ...own };
}

/** Where the fields are: of a list, those of its items. */
function inner(schema: Schema, schemas: Schemas): Schema {
  return schema.items === undefined ? schema : inner(resolve(schema.items, schemas), schemas);
}
