// From what a client sent to an object of its kind: structure, names, metadata. Every fault at once.
import type { TSchema } from 'typebox';
import type { WriteOptions } from './client.ts';
import { ApiError, clip, invalid, type StatusCause } from './errors.ts';
import { apiVersionOf, type KindDefinition, versionsOf } from './kind.ts';
import { type KubeObject, MAX_ANNOTATION_BYTES, type ObjectMeta, objectSchema } from './meta.ts';
import { checkStructure, isObject, type Schema } from './structure.ts';

const schemas = new WeakMap<KindDefinition, Schema & TSchema>();

/** The schema of the kind's whole object. */
export function schemaOf(kind: KindDefinition): Schema & TSchema {
  let schema = schemas.get(kind);
  if (schema === undefined) {
    schema = objectSchema(kind.fields, kind.required ?? []) as unknown as Schema & TSchema;
    schemas.set(kind, schema);
  }
  return schema;
}

/** `ofPatch`: the object is what a patch made of another one. */
export type DecodeOptions = WriteOptions & { readonly ofPatch?: boolean };

/** What was sent, as the kind's object: cleaned of unknown fields where they are not refused. */
export function decodeObject(
  kind: KindDefinition,
  version: string,
  sent: unknown,
  options: DecodeOptions,
  withoutStatus: boolean,
): KubeObject {
  if (!isObject(sent)) {
    throw new ApiError('BadRequest', `the body must be a ${kind.kind}, as a JSON object`);
  }
  const causes: StatusCause[] = [];
  const apiVersion = apiVersionOf({ group: kind.group, version });
  const known = versionsOf(kind).map((one) => apiVersionOf({ group: kind.group, version: one }));
  if (sent['apiVersion'] !== undefined && !known.includes(String(sent['apiVersion']))) {
    causes.push(unsupported('apiVersion', apiVersion));
  }
  if (sent['kind'] !== undefined && sent['kind'] !== kind.kind) {
    causes.push(unsupported('kind', kind.kind));
  }
  // An object without a name is told so as such, not as one without metadata.
  const complete =
    isObject(sent['metadata']) || 'metadata' in sent ? sent : { ...sent, metadata: {} };
  const found = checkStructure(schemaOf(kind), withoutStatus ? omitStatus(complete) : complete);
  causes.push(...found.causes);
  const strict: StatusCause[] = [];
  const judge = (reason: StatusCause['reason'], field: string, message: string): void => {
    if ((options.fieldValidation ?? 'Strict') === 'Strict') strict.push({ reason, field, message });
    else if (options.fieldValidation === 'Warn') options.onWarning?.(message);
  };
  for (const { field, message } of found.unknown) judge('FieldValueNotSupported', field, message);
  for (const path of options.duplicates ?? []) {
    const field = clip(path);
    judge('FieldValueDuplicate', field, `duplicate field "${field}"`);
  }
  if (causes.length > 0) throw invalid(kind, nameIn(sent), [...causes, ...strict]);
  if (strict.length > 0) throw strictError(kind, version, nameIn(sent), strict, options);
  return { ...(found.value as KubeObject), apiVersion, kind: kind.kind };
}

/** Fields that there are not, or twice, in words that clients of Kubernetes know; its causes name them all the same. */
function strictError(
  kind: KindDefinition,
  version: string,
  name: string,
  causes: readonly StatusCause[],
  { ofPatch = false }: DecodeOptions,
): ApiError {
  const what = `strict decoding error: ${causes.map(({ message }) => message).join(', ')}`;
  const details = { name, group: kind.group, kind: kind.kind, causes };
  if (ofPatch) {
    const subject = name === '' ? kind.kind : `${kind.kind} "${name}"`;
    return new ApiError('Invalid', `${subject} is invalid: patch: ${what}`, details);
  }
  const message = `${kind.kind} in version "${version}" cannot be handled as a ${kind.kind}: ${what}`;
  return new ApiError('BadRequest', message, details);
}

/** A status that is not the client's to set need not be right either: tools send back what they read, or `{}`. */
function omitStatus({ status: _, ...rest }: Record<string, unknown>): Record<string, unknown> {
  return rest;
}

function unsupported(field: string, right: string): StatusCause {
  return { reason: 'FieldValueNotSupported', field, message: `must be ${JSON.stringify(right)}` };
}

function nameIn(sent: Record<string, unknown>): string {
  const metadata = sent['metadata'];
  const name = isObject(metadata) ? metadata['name'] : '';
  return typeof name === 'string' ? clip(name) : '';
}

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED =
  /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** RFC 1123: at most 63 lower-case letters, digits and '-'. */
export function isLabel(name: string): boolean {
  return LABEL.test(name);
}

export function isSubdomain(name: string): boolean {
  return name.length <= 253 && SUBDOMAIN.test(name);
}

export function isLabelKey(key: string): boolean {
  return QUALIFIED.test(key);
}

export function isLabelValue(value: string): boolean {
  return LABEL_VALUE.test(value);
}

/** What is wrong with the metadata that clients decide. */
export function checkMetadata(kind: KindDefinition, metadata: ObjectMeta): StatusCause[] {
  const causes: StatusCause[] = [];
  const bad = (field: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field, message });
  };
  const { name } = metadata;
  if (name === undefined || name === '') {
    causes.push({
      reason: 'FieldValueRequired',
      field: 'metadata.name',
      message: 'is required (or metadata.generateName)',
    });
  } else if (kind.nameRule === 'label' ? !isLabel(name) : !isSubdomain(name)) {
    const rule =
      kind.nameRule === 'label'
        ? "use lower-case letters, digits and '-', at most 63"
        : "use lower-case letters, digits, '-' and '.', at most 253";
    bad(
      'metadata.name',
      `'${clip(name)}' cannot name a ${kind.kind.toLowerCase()}; ${rule}, beginning and ending with a letter or digit`,
    );
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    if (!isLabelKey(key)) bad('metadata.labels', `'${clip(key)}' is not a label key`);
    else if (!isLabelValue(value)) {
      bad(`metadata.labels.${key}`, `'${clip(value)}' is not a label value`);
    }
  }
  let bytes = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    if (!QUALIFIED.test(key))
      bad('metadata.annotations', `'${clip(key)}' is not an annotation key`);
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (bytes > MAX_ANNOTATION_BYTES) {
    bad('metadata.annotations', `take ${bytes} bytes, at most ${MAX_ANNOTATION_BYTES}`);
  }
  for (const finalizer of metadata.finalizers ?? []) {
    const isKnown = finalizer === 'orphan' || finalizer === 'foregroundDeletion';
    if (!isKnown && (!finalizer.includes('/') || !QUALIFIED.test(finalizer))) {
      bad(
        'metadata.finalizers',
        `'${clip(finalizer)}' is not a qualified name like example.com/keep`,
      );
    }
  }
  const owners = metadata.ownerReferences ?? [];
  if (owners.filter((owner) => owner.controller === true).length > 1) {
    bad('metadata.ownerReferences', 'only one owner can be the controller');
  }
  return causes;
}
