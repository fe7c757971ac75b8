// What every object has: apiVersion, kind, metadata. Conditions, too, which most statuses carry.
import { type Static, type TSchema, Type } from 'typebox';

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface ManagedFields {
  manager: string;
  operation: 'Apply' | 'Update';
  apiVersion: string;
  time: string;
  fieldsType: 'FieldsV1';
  fieldsV1: Record<string, unknown>;
  subresource?: string;
}

export interface ObjectMeta {
  name: string;
  namespace?: string;
  generateName?: string;
  uid: string;
  /** Opaque to clients; changes with every write. */
  resourceVersion: string;
  /** Rises when what is wanted changes. */
  generation?: number;
  creationTimestamp: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFields[];
}

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** An object of a kind with the usual two halves. */
export interface SpecObject<Spec, Status = unknown> extends KubeObject {
  spec: Spec;
  status?: Status;
}

export interface ObjectList<T extends KubeObject = KubeObject> {
  apiVersion: string;
  kind: string;
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number };
  items: T[];
}

/** As for Kubernetes, which the tools that read them come from. */
export const MAX_LABELS = 64;
export const MAX_ANNOTATION_BYTES = 256 * 1024;
export const MAX_FINALIZERS = 32;
export const MAX_OWNERS = 32;

const closed = { additionalProperties: false } as const;

export const OwnerReferenceSchema = Type.Object(
  {
    apiVersion: Type.String({ maxLength: 317 }),
    kind: Type.String({ maxLength: 63 }),
    name: Type.String({ maxLength: 253 }),
    uid: Type.String({ maxLength: 64 }),
    controller: Type.Optional(Type.Boolean()),
    blockOwnerDeletion: Type.Optional(Type.Boolean()),
  },
  closed,
);

const text = (description: string, maxLength = 253) =>
  Type.Optional(Type.String({ description, maxLength }));
const readOnlyTime = (description: string) =>
  Type.Optional(Type.String({ description, format: 'date-time', maxLength: 40 }));
const map = (description: string, maxProperties: number) =>
  Type.Optional(Type.Record(Type.String(), Type.String(), { description, maxProperties }));

export const ObjectMetaSchema = Type.Object(
  {
    name: text('Unique among the objects of its kind, and of its namespace where it has one.'),
    generateName: text('The server adds five characters to make a name of it.'),
    namespace: text('The namespace, for kinds that live in one.', 63),
    uid: text('Never used again, given by the server.', 64),
    resourceVersion: text(
      'Opaque; changes with every write. Sent with a write, it must still be so.',
      64,
    ),
    generation: Type.Optional(
      Type.Integer({ description: 'Rises when what is wanted changes.', minimum: 0 }),
    ),
    creationTimestamp: readOnlyTime('When the server made it.'),
    deletionTimestamp: readOnlyTime(
      'When its deletion was asked for; it waits for its finalizers.',
    ),
    deletionGracePeriodSeconds: Type.Optional(Type.Integer({ minimum: 0 })),
    labels: map('Short, for selection.', MAX_LABELS),
    annotations: map('For tools and people.', 256),
    finalizers: Type.Optional(
      Type.Array(Type.String({ maxLength: 317 }), {
        description: 'Who must agree before it goes.',
        maxItems: MAX_FINALIZERS,
        'x-kubernetes-list-type': 'set',
        'x-kubernetes-patch-strategy': 'merge',
      }),
    ),
    ownerReferences: Type.Optional(
      Type.Array(OwnerReferenceSchema, {
        description: 'When all of these are gone, it is deleted.',
        maxItems: MAX_OWNERS,
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['uid'],
        'x-kubernetes-patch-strategy': 'merge',
        'x-kubernetes-patch-merge-key': 'uid',
      }),
    ),
    managedFields: Type.Optional(
      Type.Array(Type.Unknown(), { description: 'Who set which fields.', maxItems: 64 }),
    ),
    selfLink: text('Of no meaning any more; accepted.', 512),
    clusterName: text('Of no meaning; accepted.'),
  },
  { ...closed, description: 'What every object has.' },
);

export const ConditionSchema = Type.Object({
  type: Type.String({ maxLength: 316, description: 'What it is about.' }),
  status: Type.Union([Type.Literal('True'), Type.Literal('False'), Type.Literal('Unknown')], {
    description: 'True, False or Unknown.',
  }),
  reason: Type.Optional(Type.String({ maxLength: 1024, description: 'Why, in a word.' })),
  message: Type.Optional(Type.String({ maxLength: 32_768, description: 'Why, for people.' })),
  lastTransitionTime: Type.Optional(
    Type.String({ maxLength: 40, description: 'Since when it is so.' }),
  ),
  lastProbeTime: Type.Optional(Type.String({ maxLength: 40, description: 'Of no meaning here.' })),
  observedGeneration: Type.Optional(
    Type.Integer({ minimum: 0, description: 'The generation of the object that it tells of.' }),
  ),
});
export type Condition = Static<typeof ConditionSchema>;

/** A status's conditions: a list with one entry a type. */
export const ConditionsSchema = Type.Optional(
  Type.Array(ConditionSchema, {
    maxItems: 64,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
    'x-kubernetes-patch-strategy': 'merge',
    'x-kubernetes-patch-merge-key': 'type',
    description: 'What can be said of it, each with why.',
  }),
);

/**
 * Puts a condition into a list of them, in its place or at the end; `lastTransitionTime` moves only with `status`.
 * The value is whether anything changed.
 */
export function setCondition(
  conditions: Condition[],
  condition: Omit<Condition, 'lastTransitionTime'>,
  now: Date,
): boolean {
  const at = conditions.findIndex(({ type }) => type === condition.type);
  const before = conditions[at];
  const next: Condition = {
    ...condition,
    lastTransitionTime:
      before !== undefined && before.status === condition.status
        ? (before.lastTransitionTime ?? kubeTime(now))
        : kubeTime(now),
  };
  if (before === undefined) conditions.push(next);
  else if (JSON.stringify(before) === JSON.stringify(next)) return false;
  else conditions[at] = next;
  return true;
}

/** Kubernetes writes whole seconds, in UTC. */
export function kubeTime(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}

/** Where it tells of leases: with six digits behind the second, without which Kubernetes' clients do not read them. */
export function kubeMicroTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}

/** The schema of the whole object: what a client may send. */
export function objectSchema(
  fields: Readonly<Record<string, TSchema>>,
  required: readonly string[],
) {
  const optional = Object.entries(fields).map(([name, schema]): [string, TSchema] => [
    name,
    required.includes(name) ? schema : Type.Optional(schema),
  ]);
  return Type.Object(
    {
      apiVersion: Type.Optional(Type.String({ description: 'Group and version of the kind.' })),
      kind: Type.Optional(Type.String({ description: 'The kind.' })),
      metadata: ObjectMetaSchema,
      ...Object.fromEntries(optional),
    },
    closed,
  );
}
