// Snapshots of ashlar's own: one declaration for `ashlar serve`, which shows what its pools and coordinators hold, and for
// `ashlar node`, where the objects say what is wanted. What of it a program does not do, it refuses in words
// (foreignSnapshotFields).
import { type Static, Type } from 'typebox';
import {
  ApiError,
  type KindDefinition,
  type ObjectClient,
  type SpecObject,
  type StatusCause,
} from '../apiserver/index.ts';
import { formatBytes } from '../base/index.ts';
import { VOLUME } from './ashlar.ts';
import { age, closed, column, statusOnly } from './common.ts';
import { type ForeignFields, type Program, refuseForeign } from './foreign.ts';

const MAX_VOLUMES_AT_ONCE = 64;

export const SnapshotSpec = Type.Object(
  {
    volumeName: Type.String({ maxLength: 253, description: 'The volume that it is of.' }),
    alsoVolumes: Type.Optional(
      Type.Array(Type.String({ maxLength: 253 }), {
        maxItems: MAX_VOLUMES_AT_ONCE,
        description:
          'Volumes of which a Snapshot each is taken at the same instant; of `ashlar serve`, of one pool.',
      }),
    ),
    // Of a node of the control plane:
    receivedId: Type.Optional(
      Type.String({ description: 'It came with a stream, which calls it so.' }),
    ),
    group: Type.Optional(
      Type.Object(
        {
          name: Type.String({ description: 'The name of that Snapshot.' }),
          uid: Type.String({ description: 'Its uid.' }),
        },
        { ...closed, description: 'The Snapshot that it is taken with, at one instant.' },
      ),
    ),
    snapshotRef: Type.Optional(
      Type.Object(
        {
          namespace: Type.String({ description: 'The namespace of the VolumeSnapshot.' }),
          name: Type.String({ description: 'Its name.' }),
          uid: Type.String({ description: 'Its uid.' }),
        },
        { ...closed, description: 'The VolumeSnapshot that it was made for.' },
      ),
    ),
  },
  { ...closed, description: 'What to take.' },
);
export type SnapshotSpec = Static<typeof SnapshotSpec>;

export const SnapshotStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'Pending, Ready, Deleting or Failed.' })),
    takenAt: Type.Optional(Type.String({ description: 'When it was taken.' })),
    sizeBytes: Type.Optional(Type.Integer({ minimum: 0, description: 'Of the volume then.' })),
    holders: Type.Optional(
      Type.Array(Type.String(), {
        description:
          'Replicas that hold it, where its volume has several: those that were in sync.',
      }),
    ),
    // Of a node of the control plane:
    cutId: Type.Optional(
      Type.String({ description: 'What it is called in its volume, where that is not its uid.' }),
    ),
    cuts: Type.Optional(
      Type.Array(
        Type.Object({
          volume: Type.String({ description: 'The volume.' }),
          id: Type.String({ description: 'What the cut is called there.' }),
        }),
        { description: 'Of the first of a group: what is being cut, or was.' },
      ),
    ),
    // Of one in the pool of `ashlar serve`:
    referencedBytes: Type.Optional(Type.Integer({ description: 'Data that it holds.' })),
    uniqueBytes: Type.Optional(Type.Integer({ description: 'What its deletion gives back.' })),
    writtenBytes: Type.Optional(
      Type.Integer({ description: 'Data written since the snapshot before.' }),
    ),
    settled: Type.Optional(
      Type.Boolean({ description: 'False while uniqueBytes is being counted anew.' }),
    ),
    clones: Type.Optional(Type.Array(Type.String(), { description: 'Volumes made from it.' })),
    // Of one that hosts see:
    iqn: Type.Optional(Type.String({ description: 'The target whose read-only unit it is.' })),
    portals: Type.Optional(Type.Array(Type.String(), { description: 'Where hosts log in.' })),
    initiators: Type.Optional(Type.Array(Type.String(), { description: 'Who is logged in now.' })),
  },
  { description: 'Whether it was taken, and what it holds.' },
);
export type SnapshotStatus = Static<typeof SnapshotStatus>;

export type Snapshot = SpecObject<SnapshotSpec, SnapshotStatus>;

const bytes = (value: number | undefined): string | undefined =>
  value === undefined ? undefined : formatBytes(value);

/** What every program that has snapshots declares of them. */
export const SNAPSHOT_DECLARATION = {
  group: 'ashlar.io',
  version: 'v1',
  namespaced: false,
  hasStatus: true,
  categories: ['ashlar'],
  kind: 'Snapshot',
  plural: 'snapshots',
  description: 'A volume as it was at one moment. Of `ashlar serve` it is named VOLUME.NAME.',
  shortNames: ['asnap'],
  fields: { spec: SnapshotSpec, status: SnapshotStatus },
  required: ['spec'],
  columns: [
    column('Volume', 'Of which volume.', ({ spec }: Snapshot) => spec.volumeName),
    column('Status', 'Pending, Ready or Failed.', ({ status }: Snapshot) => status?.phase),
    column('Size', 'Of the volume then.', ({ status }: Snapshot) => bytes(status?.sizeBytes)),
    column('Used', 'What its deletion gives back.', ({ status }: Snapshot) =>
      bytes(status?.uniqueBytes),
    ),
    column('Referenced', 'Data that it holds.', ({ status }: Snapshot) =>
      bytes(status?.referencedBytes),
    ),
    column('Written', 'Since the snapshot before.', ({ status }: Snapshot) =>
      bytes(status?.writtenBytes),
    ),
    age,
    column('Taken', 'When.', ({ status }: Snapshot) => status?.takenAt, { wide: true }),
    column('IQN', 'The target that shows it.', ({ status }: Snapshot) => status?.iqn, {
      wide: true,
    }),
    column('Clones', 'Made from it.', ({ status }: Snapshot) => status?.clones?.join(','), {
      wide: true,
    }),
    column(
      'Holders',
      'Replicas that hold it, where its volume has several.',
      ({ status }: Snapshot) => status?.holders?.join(','),
      { wide: true },
    ),
  ],
} as const satisfies Omit<KindDefinition<Snapshot>, 'backend'>;

const FOREIGN: ForeignFields = {
  serve: {
    receivedId: 'a stream is received by its own command',
    group: 'name the others in spec.alsoVolumes',
    snapshotRef: 'there are no VolumeSnapshots here',
  },
  node: {},
};

export function foreignSnapshotFields(spec: object, program: Program): StatusCause[] {
  return refuseForeign(spec, FOREIGN, program);
}

/** What is wrong with its spec whoever takes it. */
export function checkSnapshot({ volumeName, alsoVolumes = [] }: SnapshotSpec): StatusCause[] {
  const all = [volumeName, ...alsoVolumes];
  if (new Set(all).size === all.length) return [];
  const message = 'names a volume twice';
  return [{ reason: 'FieldValueInvalid', field: 'spec.alsoVolumes', message }];
}

export const SNAPSHOT: KindDefinition<Snapshot> = {
  ...SNAPSHOT_DECLARATION,
  validate: async ({ spec }, before, { client }) => [
    ...checkSnapshot(spec),
    ...(before === null ? await checkVolumes(spec, client) : checkFixed(spec, before.spec)),
  ],
};

/** One of a volume that nobody has made would wait without a word. */
async function checkVolumes(
  { volumeName, alsoVolumes = [] }: SnapshotSpec,
  client: ObjectClient,
): Promise<StatusCause[]> {
  const causes: StatusCause[] = [];
  for (const [index, name] of [volumeName, ...alsoVolumes].entries()) {
    const found = await client.get(VOLUME, null, name).catch((error: unknown) => {
      if (error instanceof ApiError && error.reason === 'NotFound') return null;
      throw error;
    });
    if (found !== null) continue;
    const field = index === 0 ? 'spec.volumeName' : `spec.alsoVolumes[${index - 1}]`;
    const message = `there is no volume '${name}': ashlar get volumes`;
    causes.push({ reason: 'FieldValueNotFound', field, message });
  }
  return causes;
}

/** What was taken is of what was named then. */
function checkFixed(spec: SnapshotSpec, before: SnapshotSpec): StatusCause[] {
  return (['volumeName', 'alsoVolumes'] as const)
    .filter((name) => JSON.stringify(spec[name] ?? []) !== JSON.stringify(before[name] ?? []))
    .map((name) => ({
      reason: 'FieldValueForbidden',
      field: `spec.${name}`,
      message: 'is fixed at creation; take another one',
    }));
}
