// A server over a store in memory, with two kinds to play with.
import { Type } from 'typebox';
import {
  ApiError,
  ageColumn,
  type Condition,
  ConditionsSchema,
  type KindDefinition,
  KindRegistry,
  type KubeObject,
  NAMESPACES,
  ownKinds,
  ResourceServer,
} from '../../../src/apiserver/index.ts';
import { silentLog } from '../../../src/base/index.ts';
import { MemoryObjectStore, type ObjectStore } from '../../../src/objects/index.ts';

export interface Widget extends KubeObject {
  spec: {
    size: number;
    color?: string;
    tags?: string[];
    parts?: { name: string; count?: number }[];
  };
  status?: { phase?: string; conditions?: Condition[] };
}

const closed = { additionalProperties: false } as const;

export const WIDGETS: KindDefinition<Widget> = {
  group: 'example.com',
  version: 'v1',
  alsoVersions: ['v1beta1'],
  kind: 'Widget',
  plural: 'widgets',
  shortNames: ['wd'],
  categories: ['all'],
  namespaced: true,
  description: 'Something to test with.',
  fields: {
    spec: Type.Object(
      {
        size: Type.Integer({ minimum: 1, description: 'How large.' }),
        color: Type.Optional(
          Type.Union([Type.Literal('red'), Type.Literal('blue')], { description: 'Its color.' }),
        ),
        tags: Type.Optional(
          Type.Array(Type.String(), {
            'x-kubernetes-list-type': 'set',
            'x-kubernetes-patch-strategy': 'merge',
          }),
        ),
        parts: Type.Optional(
          Type.Array(
            Type.Object({ name: Type.String(), count: Type.Optional(Type.Integer()) }, closed),
            {
              'x-kubernetes-list-type': 'map',
              'x-kubernetes-list-map-keys': ['name'],
              'x-kubernetes-patch-strategy': 'merge',
              'x-kubernetes-patch-merge-key': 'name',
            },
          ),
        ),
      },
      closed,
    ),
    status: Type.Object(
      { phase: Type.Optional(Type.String()), conditions: ConditionsSchema },
      closed,
    ),
  },
  required: ['spec'],
  hasStatus: true,
  selectable: { 'spec.color': ({ spec }) => spec.color ?? '' },
  defaults: ({ spec }) => {
    spec.color ??= 'red';
  },
  validate: ({ spec }, before) =>
    before !== null && spec.size < before.spec.size
      ? [{ reason: 'FieldValueInvalid', field: 'spec.size', message: 'only grows' }]
      : [],
  columns: [
    { name: 'Size', type: 'integer', value: ({ spec }) => spec.size },
    { name: 'Color', value: ({ spec }) => spec.color },
    { name: 'Phase', value: ({ status }) => status?.phase },
    { name: 'Tags', wide: true, value: ({ spec }) => (spec.tags ?? []).join(',') },
    ageColumn,
  ],
};

export const BOXES: KindDefinition = {
  group: 'example.com',
  version: 'v1',
  kind: 'Box',
  plural: 'boxes',
  namespaced: false,
  description: 'Something without a namespace.',
  fields: { spec: Type.Object({}, { additionalProperties: true }) },
  columns: [ageColumn],
};

/** Something that talks: `loud` says a line at once, others say one when the test lets them. */
export const TALKERS: KindDefinition = {
  group: 'example.com',
  version: 'v1',
  kind: 'Talker',
  plural: 'talkers',
  namespaced: true,
  description: 'Something with a log.',
  fields: { spec: Type.Object({}, { additionalProperties: true }) },
  columns: [ageColumn],
  log: async function* ({ metadata: { name } }, { signal }) {
    talking.add(name);
    try {
      if (name === 'broken') throw new ApiError('ServiceUnavailable', 'it has no voice');
      if (name === 'loud') for (let n = 0; n < 300; n += 1) yield `${'x'.repeat(65_535)}\n`;
      else {
        await new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
      }
    } finally {
      talking.delete(name);
    }
  },
};
/** Those that somebody listens to now. */
export const talking = new Set<string>();

export interface ServerUnderTest {
  readonly server: ResourceServer;
  readonly store: ObjectStore;
  /** Moves the wall clock. */
  readonly setNow: (now: Date) => void;
}

export async function aServer(): Promise<ServerUnderTest> {
  const registry = new KindRegistry();
  const store = new MemoryObjectStore();
  for (const kind of [...ownKinds(store), WIDGETS, BOXES, TALKERS]) {
    registry.register(kind as KindDefinition);
  }
  let now = new Date('2026-11-01T00:00:00Z');
  const server = new ResourceServer({ registry, store, log: silentLog, now: () => now });
  await server.create(NAMESPACES, { metadata: { name: 'default' } });
  return {
    server,
    store,
    setNow: (to) => {
      now = to;
    },
  };
}

export function aWidget(name: string, spec: object = {}, metadata: object = {}): object {
  return { metadata: { name, ...metadata }, spec: { size: 1, ...spec } };
}
