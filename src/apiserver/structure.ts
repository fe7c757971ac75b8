// Checks a value against a TypeBox schema the way an API server's users expect: every fault at once, each with its
// path; unknown fields found and dropped; null taken for "left out". Gives back the value so cleaned.
import { nearestName } from '../base/index.ts';
import type { StatusCause } from './errors.ts';
import { clip } from './errors.ts';

/** The parts of JSON Schema that TypeBox writes for the types used here. */
export interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly writeOnly?: boolean;
  readonly 'x-kubernetes-list-type'?: string;
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-patch-strategy'?: string;
  readonly 'x-kubernetes-patch-merge-key'?: string;
}

export interface Findings {
  readonly causes: StatusCause[];
  /** Fields that the schema does not know. */
  readonly unknown: UnknownField[];
}

export interface UnknownField {
  readonly field: string;
  /** As Kubernetes words it, and which field may have been meant. */
  readonly message: string;
}

/** More than these are not worth reading. */
const MAX_FINDINGS = 64;

export function checkStructure(schema: Schema, value: unknown): Findings & { value: unknown } {
  const findings: Findings = { causes: [], unknown: [] };
  const cleaned = walk(schema, value, '', findings);
  return { ...findings, value: cleaned };
}

function walk(schema: Schema, value: unknown, path: string, findings: Findings): unknown {
  if (findings.causes.length + findings.unknown.length >= MAX_FINDINGS) return value;
  if (schema.anyOf !== undefined) return walkAnyOf(schema, schema.anyOf, value, path, findings);
  if (schema.const !== undefined || schema.enum !== undefined) {
    const allowed = schema.enum ?? [schema.const];
    if (!allowed.includes(value)) {
      findings.causes.push({
        reason: 'FieldValueNotSupported',
        field: path,
        message: `Unsupported value: ${show(value)}: supported values: ${allowed.map(show).join(', ')}`,
      });
    }
    return value;
  }
  switch (schema.type) {
    case 'object':
      return walkObject(schema, value, path, findings);
    case 'array':
      return walkArray(schema, value, path, findings);
    case 'string':
      checkString(schema, value, path, findings);
      return value;
    case 'integer':
    case 'number':
      checkNumber(schema, value, path, findings);
      return value;
    case 'boolean':
      if (typeof value !== 'boolean') wrongType('boolean', value, path, findings);
      return value;
    case 'null':
      if (value !== null) wrongType('null', value, path, findings);
      return value;
    default:
      return value; // Type.Unknown: anything.
  }
}

function walkObject(schema: Schema, value: unknown, path: string, findings: Findings): unknown {
  if (!isObject(value)) {
    wrongType('object', value, path, findings);
    return value;
  }
  const keys = Object.keys(value);
  if (schema.maxProperties !== undefined && keys.length > schema.maxProperties) {
    invalidValue(path, `has ${keys.length} entries; at most ${schema.maxProperties}`, findings);
  }
  const cleaned = new Map<string, unknown>();
  const required = schema.required ?? [];
  for (const key of keys) {
    const inner = value[key];
    const known = Object.hasOwn(schema.properties ?? {}, key)
      ? schema.properties?.[key]
      : undefined;
    const at = known === undefined && isMap(schema) ? `${path}[${clip(key)}]` : within(path, key);
    const rule = known ?? mapValue(schema);
    if (rule === undefined) {
      if (schema.additionalProperties === false) {
        findings.unknown.push(unknownField(at, key, Object.keys(schema.properties ?? {})));
      } else cleaned.set(key, inner);
      continue;
    }
    // As Kubernetes: null where null is no value is the same as nothing.
    if (inner === null && !allowsNull(rule)) {
      if (required.includes(key)) isRequired(within(path, key), findings);
      continue;
    }
    cleaned.set(key, walk(rule, inner, at, findings));
  }
  for (const key of required) {
    if (!Object.hasOwn(value, key)) isRequired(within(path, key), findings);
  }
  return Object.fromEntries(cleaned);
}

function unknownField(path: string, key: string, known: readonly string[]): UnknownField {
  const field = clip(path);
  const near = nearestName(key, known);
  const guess = near === null ? '' : `; did you mean "${near}"?`;
  return { field, message: `unknown field "${field}"${guess}` };
}

function walkArray(schema: Schema, value: unknown, path: string, findings: Findings): unknown {
  if (!Array.isArray(value)) {
    wrongType('array', value, path, findings);
    return value;
  }
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    invalidValue(path, `has ${value.length} items; at most ${schema.maxItems}`, findings);
    return value;
  }
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    invalidValue(path, `has ${value.length} items; at least ${schema.minItems}`, findings);
  }
  const { items } = schema;
  if (items === undefined) return value;
  return value.map((item, index) => walk(items, item, `${path}[${index}]`, findings));
}

function walkAnyOf(
  schema: Schema,
  branches: readonly Schema[],
  value: unknown,
  path: string,
  findings: Findings,
): unknown {
  let nearest: (Findings & { value: unknown }) | null = null;
  for (const branch of branches) {
    const found: Findings = { causes: [], unknown: [] };
    const cleaned = walk(branch, value, path, found);
    if (found.causes.length === 0) {
      findings.unknown.push(...found.unknown);
      return cleaned;
    }
    const depth = (of: Findings): number => (of.causes[0]?.field === path ? 0 : 1);
    if (nearest === null || depth(found) > depth(nearest)) nearest = { ...found, value: cleaned };
  }
  const literals = branches.filter((branch) => branch.const !== undefined);
  const names = branches
    .map((branch) => branch.type ?? 'a value')
    .filter((name) => name !== 'null');
  if (literals.length === branches.length) {
    walk({ enum: literals.map((branch) => branch.const) }, value, path, findings);
  } else if (nearest !== null && nearest.causes[0]?.field !== path) {
    findings.causes.push(...nearest.causes);
    findings.unknown.push(...nearest.unknown);
  } else if (names.length === 1 && nearest !== null) {
    findings.causes.push(...nearest.causes.slice(0, 1));
  } else {
    wrongType(names.join(' or '), value, path, findings, schema);
  }
  return value;
}

function checkString(schema: Schema, value: unknown, path: string, findings: Findings): void {
  if (typeof value !== 'string') {
    wrongType('string', value, path, findings);
    return;
  }
  if (schema.maxLength !== undefined && value.length > schema.maxLength) {
    invalidValue(path, `is ${value.length} characters long; at most ${schema.maxLength}`, findings);
  } else if (schema.minLength !== undefined && value.length < schema.minLength) {
    invalidValue(
      path,
      value === ''
        ? 'is empty'
        : `is ${value.length} characters long; at least ${schema.minLength}`,
      findings,
    );
  } else if (schema.pattern !== undefined && !new RegExp(schema.pattern, 'u').test(value)) {
    invalidValue(path, `${show(value)} does not match '${schema.pattern}'`, findings);
  }
}

function checkNumber(schema: Schema, value: unknown, path: string, findings: Findings): void {
  const isRight =
    typeof value === 'number' && (schema.type === 'number' || Number.isSafeInteger(value));
  if (!isRight) wrongType(schema.type ?? 'number', value, path, findings);
  else if (schema.minimum !== undefined && value < schema.minimum) {
    invalidValue(path, `${value} is too small; at least ${schema.minimum}`, findings);
  } else if (schema.maximum !== undefined && value > schema.maximum) {
    invalidValue(path, `${value} is too large; at most ${schema.maximum}`, findings);
  }
}

function wrongType(
  wanted: string,
  value: unknown,
  path: string,
  findings: Findings,
  schema: Schema = {},
): void {
  const given = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  // What was sent is not repeated where it may be a secret.
  const shown = schema.writeOnly === true || typeof value === 'object' ? given : show(value);
  findings.causes.push({
    reason: 'FieldValueTypeInvalid',
    field: path,
    message: `Invalid value: ${shown}: must be ${wanted}`,
  });
}

function invalidValue(path: string, message: string, findings: Findings): void {
  findings.causes.push({ reason: 'FieldValueInvalid', field: path, message });
}

function isRequired(path: string, findings: Findings): void {
  findings.causes.push({ reason: 'FieldValueRequired', field: path, message: 'is required' });
}

/** The rule for values of a map's keys: Type.Record writes patternProperties. */
function mapValue(schema: Schema): Schema | undefined {
  if (typeof schema.additionalProperties === 'object') return schema.additionalProperties;
  return Object.values(schema.patternProperties ?? {})[0];
}

function isMap(schema: Schema): boolean {
  return schema.properties === undefined && mapValue(schema) !== undefined;
}

function allowsNull(schema: Schema): boolean {
  if (schema.type === 'null') return true;
  if (schema.anyOf !== undefined) return schema.anyOf.some(allowsNull);
  return schema.type === undefined && schema.const === undefined && schema.enum === undefined;
}

function within(path: string, key: string): string {
  return path === '' ? clip(key) : `${path}.${clip(key)}`;
}

function show(value: unknown): string {
  return clip(JSON.stringify(value) ?? String(value));
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
