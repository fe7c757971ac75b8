// The kinds that the machinery itself needs: namespaces, events, leases, in Kubernetes' own shape.
import { type Static, Type } from 'typebox';
import type { KindDefinition } from '../kind.ts';
import type { KubeObject } from '../meta.ts';
import { ageColumn, ageOf } from '../table.ts';

const closed = { additionalProperties: false } as const;
export const text = (description: string, maxLength = 1024) =>
  Type.Optional(Type.String({ description, maxLength }));
export const time = (description: string) =>
  Type.Optional(Type.String({ description, maxLength: 40 }));

/** Holds a namespace until housekeeping has emptied it. */
export const NAMESPACE_FINALIZER = 'ashlar.io/namespace';

const NamespaceSpec = Type.Object(
  { finalizers: Type.Optional(Type.Array(Type.String({ maxLength: 317 }), { maxItems: 16 })) },
  closed,
);
const NamespaceStatus = Type.Object({ phase: text('Active or Terminating.') }, closed);

export interface NamespaceObject extends KubeObject {
  spec?: Static<typeof NamespaceSpec>;
  status?: Static<typeof NamespaceStatus>;
}

export const NAMESPACES: KindDefinition<NamespaceObject> = {
  group: '',
  version: 'v1',
  kind: 'Namespace',
  plural: 'namespaces',
  shortNames: ['ns'],
  namespaced: false,
  nameRule: 'label',
  schemaName: 'io.k8s.api.core.v1.Namespace',
  description: 'A scope for names. Deleting it deletes what is in it.',
  fields: { spec: NamespaceSpec, status: NamespaceStatus },
  hasStatus: true,
  defaults: (object, before) => {
    // As everywhere else: selectors of namespaces are written with it.
    object.metadata.labels = {
      ...object.metadata.labels,
      'kubernetes.io/metadata.name': object.metadata.name,
    };
    if (before !== null) return;
    const { finalizers = [] } = object.metadata;
    object.metadata.finalizers = [...new Set([...finalizers, NAMESPACE_FINALIZER])];
  },
  present: (object) => ({
    ...object,
    status: { phase: object.metadata.deletionTimestamp === undefined ? 'Active' : 'Terminating' },
  }),
  columns: [
    {
      name: 'Status',
      description: 'Active, or Terminating while it is emptied.',
      value: ({ metadata }) =>
        metadata.deletionTimestamp === undefined ? 'Active' : 'Terminating',
    },
    ageColumn,
  ],
};

export const ObjectReference = Type.Object(
  {
    apiVersion: text('Group and version.'),
    kind: text('Kind.'),
    name: text('Name.'),
    namespace: text('Namespace.'),
    uid: text('UID.'),
    resourceVersion: text('Version.'),
    fieldPath: text('A part of it.'),
  },
  closed,
);

export const EventSource = Type.Object({ component: text('Who.'), host: text('Where.') }, closed);

const eventFields = {
  involvedObject: ObjectReference,
  reason: text('Why, in one word.', 128),
  message: text('What happened, for people.', 4096),
  source: Type.Optional(EventSource),
  firstTimestamp: time('When it happened first.'),
  lastTimestamp: time('When it happened last.'),
  count: Type.Optional(Type.Integer({ minimum: 0, description: 'How often.' })),
  type: text('Normal or Warning.', 16),
  eventTime: time('When it was seen first, exactly.'),
  action: text('What was done.', 128),
  related: Type.Optional(ObjectReference),
  reportingComponent: text('Who tells of it.'),
  reportingInstance: text('Which one of those.'),
  series: Type.Optional(
    Type.Object({ count: Type.Optional(Type.Integer()), lastObservedTime: time('When.') }, closed),
  ),
};

export interface EventObject extends KubeObject {
  involvedObject: Static<typeof ObjectReference>;
  reason?: string;
  message?: string;
  source?: Static<typeof EventSource>;
  firstTimestamp?: string;
  lastTimestamp?: string;
  count?: number;
  type?: string;
  reportingComponent?: string;
  reportingInstance?: string;
}

const involved =
  (field: keyof Static<typeof ObjectReference>) =>
  ({ involvedObject }: EventObject): string =>
    involvedObject[field] ?? '';

export const EVENTS: KindDefinition<EventObject> = {
  group: '',
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  shortNames: ['ev'],
  namespaced: true,
  schemaName: 'io.k8s.api.core.v1.Event',
  description: 'Something that happened to an object. Kept for an hour.',
  fields: eventFields,
  required: ['involvedObject'],
  selectable: {
    'involvedObject.kind': involved('kind'),
    'involvedObject.namespace': involved('namespace'),
    'involvedObject.name': involved('name'),
    'involvedObject.uid': involved('uid'),
    'involvedObject.apiVersion': involved('apiVersion'),
    'involvedObject.resourceVersion': involved('resourceVersion'),
    'involvedObject.fieldPath': involved('fieldPath'),
    reason: ({ reason }) => reason ?? '',
    type: ({ type }) => type ?? '',
    source: ({ source }) => source?.component ?? '',
    reportingComponent: ({ reportingComponent }) => reportingComponent ?? '',
  },
  columns: [
    {
      name: 'Last Seen',
      description: 'How long ago it happened last.',
      value: ({ lastTimestamp, metadata }) =>
        ageOf(lastTimestamp ?? metadata.creationTimestamp, new Date()),
    },
    { name: 'Type', description: 'Normal or Warning.', value: ({ type }) => type },
    { name: 'Reason', description: 'Why, in one word.', value: ({ reason }) => reason },
    {
      name: 'Object',
      description: 'To what it happened.',
      value: ({ involvedObject: { kind, name } }) => `${(kind ?? '').toLowerCase()}/${name ?? ''}`,
    },
    { name: 'Message', description: 'What happened.', value: ({ message }) => message },
    {
      name: 'Source',
      wide: true,
      description: 'Who tells of it.',
      value: ({ source, reportingComponent }) => source?.component ?? reportingComponent,
    },
    { name: 'Count', wide: true, type: 'integer', value: ({ count }) => count ?? 1 },
  ],
};

const LeaseSpec = Type.Object(
  {
    holderIdentity: text('Who has it.', 512),
    leaseDurationSeconds: Type.Optional(
      Type.Integer({ minimum: 1, description: 'Without renewal for so long, it is free.' }),
    ),
    acquireTime: time('Since when its holder has it.'),
    renewTime: time('When it was renewed.'),
    leaseTransitions: Type.Optional(
      Type.Integer({ minimum: 0, description: 'How often it changed hands: rises, never falls.' }),
    ),
    strategy: text('How the next holder is chosen: kept for clients that say so.', 253),
    preferredHolder: text('Who should have it next: kept for clients that say so.', 512),
  },
  closed,
);

export interface LeaseObject extends KubeObject {
  spec: Static<typeof LeaseSpec>;
}

export const LEASES: KindDefinition<LeaseObject> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  kind: 'Lease',
  plural: 'leases',
  namespaced: true,
  schemaName: 'io.k8s.api.coordination.v1.Lease',
  description: 'Who leads, and which nodes are alive.',
  fields: { spec: LeaseSpec },
  columns: [
    { name: 'Holder', description: 'Who has it.', value: ({ spec }) => spec?.holderIdentity },
    ageColumn,
  ],
};
