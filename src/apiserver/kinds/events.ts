// events.k8s.io/v1: the events of the core group in the words that newer clients use. They are kept once, as the core
// group's; this is another way to them.
import { type Static, Type } from 'typebox';
import type { ObjectStore } from '../../objects/index.ts';
import { StoreBackend } from '../backend.ts';
import { ConvertedBackend } from '../converted.ts';
import type { KindDefinition } from '../kind.ts';
import type { KubeObject } from '../meta.ts';
import { EVENTS, type EventObject, EventSource, ObjectReference, text, time } from './core.ts';

const fields = {
  eventTime: time('When it was seen first, exactly.'),
  series: EVENTS.fields['series']!,
  reportingController: text('Who tells of it.'),
  reportingInstance: text('Which one of those.'),
  action: text('What was done.', 128),
  reason: text('Why, in one word.', 128),
  regarding: Type.Optional(ObjectReference),
  related: Type.Optional(ObjectReference),
  note: text('What happened, for people.', 4096),
  type: text('Normal or Warning.', 16),
  deprecatedSource: Type.Optional(EventSource),
  deprecatedFirstTimestamp: time('When it happened first.'),
  deprecatedLastTimestamp: time('When it happened last.'),
  deprecatedCount: Type.Optional(Type.Integer({ minimum: 0, description: 'How often.' })),
};

export interface NewerEvent extends KubeObject {
  eventTime?: string;
  reportingController?: string;
  reason?: string;
  regarding?: Static<typeof ObjectReference>;
  note?: string;
  type?: string;
  deprecatedFirstTimestamp?: string;
}

/** What is called otherwise in the core group. */
const CORE_NAMES = {
  regarding: 'involvedObject',
  note: 'message',
  reportingController: 'reportingComponent',
  deprecatedSource: 'source',
  deprecatedFirstTimestamp: 'firstTimestamp',
  deprecatedLastTimestamp: 'lastTimestamp',
  deprecatedCount: 'count',
} as const;
const NEWER_NAMES = Object.fromEntries(
  Object.entries(CORE_NAMES).map(([newer, core]) => [core, newer]),
);

export function toCoreEvent(event: KubeObject): EventObject {
  const core = renamed(event, CORE_NAMES);
  return { ...core, apiVersion: 'v1', involvedObject: core['involvedObject'] ?? {} } as EventObject;
}

export function toNewerEvent(event: KubeObject): NewerEvent {
  const newer = renamed(event, NEWER_NAMES) as unknown as NewerEvent;
  newer.apiVersion = 'events.k8s.io/v1';
  // Clients that check their answers (Kubernetes' own for Python) want it, and the core group's events may lack it.
  const first = newer.deprecatedFirstTimestamp ?? newer.metadata.creationTimestamp;
  newer.eventTime ??= first?.replace(/(\.\d+)?Z$/, '.000000Z');
  return newer;
}

function renamed(event: KubeObject, names: Readonly<Record<string, string>>) {
  return Object.fromEntries(
    Object.entries(event).map(([name, value]) => [names[name] ?? name, value]),
  );
}

/** `store`: the one that keeps the core group's. */
export function newerEvents(store: ObjectStore): KindDefinition<NewerEvent> {
  const part =
    (field: keyof Static<typeof ObjectReference>) =>
    ({ regarding }: NewerEvent): string =>
      regarding?.[field] ?? '';
  return {
    group: 'events.k8s.io',
    version: 'v1',
    kind: 'Event',
    plural: 'events',
    shortNames: ['ev'],
    namespaced: true,
    shows: EVENTS as unknown as KindDefinition,
    schemaName: 'io.k8s.api.events.v1.Event',
    description: 'Something that happened to an object. Kept for an hour.',
    fields,
    backend: new ConvertedBackend(new StoreBackend(store, EVENTS), toCoreEvent, toNewerEvent),
    selectable: {
      'regarding.kind': part('kind'),
      'regarding.namespace': part('namespace'),
      'regarding.name': part('name'),
      'regarding.uid': part('uid'),
      'regarding.apiVersion': part('apiVersion'),
      'regarding.resourceVersion': part('resourceVersion'),
      'regarding.fieldPath': part('fieldPath'),
      reason: ({ reason }) => reason ?? '',
      type: ({ type }) => type ?? '',
      reportingController: ({ reportingController }) => reportingController ?? '',
    },
    columns: EVENTS.columns.map((column) => ({
      ...column,
      value: (event) => column.value(toCoreEvent(event)),
    })),
  };
}
