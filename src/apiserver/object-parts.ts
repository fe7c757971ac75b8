// What the API's rules are made of: patches, the metadata that clients decide, names, continue tokens, selectors.
import { randomBytes } from 'node:crypto';
import type { DeleteRequest, ListRequest, Patch } from './client.ts';
import { schemaOf } from './decode.ts';
import { ApiError, clip, conflict, invalid, type Status, type StatusCause } from './errors.ts';
import { apiVersionOf, type KindDefinition } from './kind.ts';
import type { KubeObject, ObjectMeta } from './meta.ts';
import { isManagedFields } from './patch/field-set.ts';
import { jsonPatch, sameJson } from './patch/json-patch.ts';
import { mergePatch } from './patch/merge-patch.ts';
import { strategicMergePatch } from './patch/strategic-merge.ts';
import { fieldMatcher, labelMatcher, type Matcher } from './selectors.ts';
import { isObject } from './structure.ts';

export function applyPatch(current: KubeObject, patch: Patch, kind: KindDefinition): unknown {
  switch (patch.type) {
    case 'json':
      return jsonPatch(current, patch.body);
    case 'strategic':
      return strategicMergePatch(current, patch.body, schemaOf(kind));
    default: {
      if (!isObject(patch.body)) throw new ApiError('BadRequest', 'a merge patch is an object');
      return mergePatch(current, patch.body);
    }
  }
}

/** The metadata that clients decide. */
export function clientMetadata(sent: ObjectMeta): ObjectMeta {
  const { labels, annotations, finalizers, ownerReferences } = sent;
  return {
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(finalizers === undefined || finalizers.length === 0
      ? {}
      : { finalizers: [...new Set(finalizers)] }),
    ...(ownerReferences === undefined || ownerReferences.length === 0 ? {} : { ownerReferences }),
  } as ObjectMeta;
}

/** What the generation counts: everything that is wanted. */
export function wantedParts(object: KubeObject): object {
  const { metadata: _, status: __, apiVersion: ___, ...wanted } = object;
  return wanted;
}

export function assertSame(kind: KindDefinition, sent: ObjectMeta, before: ObjectMeta): void {
  const { name } = before;
  const causes: StatusCause[] = [];
  for (const field of ['name', 'namespace'] as const) {
    const value = sent[field] ?? '';
    if (value !== '' && value !== (before[field] ?? value)) {
      causes.push({
        reason: 'FieldValueInvalid',
        field: `metadata.${field}`,
        message: 'cannot be changed',
      });
    }
  }
  if (causes.length > 0) throw invalid(kind, name, causes);
  if ((sent.uid ?? '') !== '' && sent.uid !== before.uid) {
    throw conflict(
      kind,
      name,
      `the UID in the object (${clip(sent.uid)}) is not ${before.uid}: it was deleted and made again`,
    );
  }
}

/** A write of the status is one of nothing else, whatever else was sent: that need not even be right. */
export function withStatusOf(sent: unknown, shown: KubeObject): unknown {
  if (!isObject(sent)) return sent;
  const { status: _, ...rest } = shown;
  const kept = ['apiVersion', 'kind', 'metadata', 'status'].filter((name) => name in sent);
  return { ...rest, ...Object.fromEntries(kept.map((name) => [name, sent[name]])) };
}

/**
 * The object before, with the owners of its fields that were sent with it, as a client sends them that moves a field from
 * one manager to another; null where none were sent, or the same, or what is none. `[{}]` takes all of them away.
 */
export function ownersSent(sent: KubeObject, before: KubeObject): KubeObject | null {
  const { managedFields } = sent.metadata;
  if (managedFields === undefined || managedFields.length === 0) return null;
  if (sameJson(managedFields, before.metadata.managedFields ?? [])) return null;
  const isReset = managedFields.length === 1 && Object.keys(managedFields[0] ?? {}).length === 0;
  if (!isReset && !managedFields.every(isManagedFields)) return null;
  return {
    ...before,
    metadata: { ...before.metadata, managedFields: isReset ? [] : managedFields },
  };
}

/** An option of a patch that does not go with it, as Kubernetes words it. */
export function wrongPatchOption(
  field: string,
  message: string,
  reason: StatusCause['reason'],
): ApiError {
  return new ApiError('Invalid', `PatchOptions.meta.k8s.io "" is invalid: ${field}: ${message}`, {
    group: 'meta.k8s.io',
    kind: 'PatchOptions',
    causes: [{ reason, field, message }],
  });
}

export function finalizersFor(metadata: ObjectMeta, request: DeleteRequest): string[] {
  const kept = (metadata.finalizers ?? []).filter(
    (name) =>
      request.propagation === undefined || (name !== 'orphan' && name !== 'foregroundDeletion'),
  );
  if (request.propagation === 'Orphan') kept.push('orphan');
  if (request.propagation === 'Foreground') kept.push('foregroundDeletion');
  return kept;
}

export function removedStatus(kind: KindDefinition, { name, uid }: ObjectMeta): Status {
  return {
    apiVersion: 'v1',
    kind: 'Status',
    metadata: {},
    status: 'Success',
    details: { name, group: kind.group, kind: kind.plural, uid },
    code: 200,
  };
}

export function matcherOf(kind: KindDefinition, request: ListRequest): Matcher {
  const byLabel = labelMatcher(request.labelSelector ?? '');
  const byField = fieldMatcher(request.fieldSelector ?? '', kind.selectable ?? {});
  if ((request.labelSelector ?? '') === '' && (request.fieldSelector ?? '') === '')
    return () => true;
  return (object) => byLabel(object) && byField(object);
}

export function listHeader(kind: KindDefinition, version: string) {
  return { apiVersion: apiVersionOf({ group: kind.group, version }), kind: `${kind.kind}List` };
}

const GENERATED = 'bcdfghjklmnpqrstvwxz2456789';

export function generatedName(base: string): string {
  const suffix = [...randomBytes(5)].map((byte) => GENERATED[byte % GENERATED.length]).join('');
  return `${base.slice(0, 58)}${suffix}`;
}

/** Could it be a name at all: what is not is simply not found. */
export function isAddressable(name: string | null): boolean {
  return name === null || (name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name));
}

export function withName(
  body: unknown,
  kind: KindDefinition,
  namespace: string | null,
  name: string,
): Record<string, unknown> {
  if (!isObject(body))
    throw new ApiError('BadRequest', 'the applied configuration must be an object');
  const metadata = isObject(body['metadata']) ? body['metadata'] : {};
  return {
    ...body,
    metadata: {
      ...metadata,
      name: metadata['name'] ?? name,
      ...(kind.namespaced ? { namespace: metadata['namespace'] ?? namespace ?? 'default' } : {}),
    },
  };
}
