// Replica: one declaration for `ashlar serve`, which shows what its coordinators know, and for `ashlar node`, where the
// objects say what is wanted.
import { type Static, Type } from 'typebox';
import type { KindDefinition, SpecObject } from '../apiserver/index.ts';
import { formatBytes } from '../base/index.ts';
import { age, Bytes, closed, column, Quantity, statusOnly } from './common.ts';

export const ReplicaSpec = Type.Object(
  {
    volumeName: Type.String({ description: 'The volume that it is a copy of.' }),
    nodeName: Type.String({
      description: 'The node; under serve host:port of its replica service.',
    }),
    poolName: Type.String({ description: 'Empty where its node does not say: under serve.' }),
    size: Quantity,
    witness: Type.Optional(
      Type.Boolean({ description: "It keeps the volume's records and none of its blocks." }),
    ),
  },
  { ...closed, description: 'Where it is to be.' },
);
export type ReplicaSpec = Static<typeof ReplicaSpec>;

export const ReplicaStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(
      Type.String({
        description: 'Pending, Healthy, Degraded, Rebuilding, Blank, Witness, Offline or Failed.',
      }),
    ),
    storeId: Type.Optional(
      Type.String({ description: 'The id of its store: one that is made anew has another.' }),
    ),
    sizeBytes: Type.Optional(Bytes),
    allocatedBytes: Type.Optional(Bytes),
    usedBytes: Type.Optional(Bytes),
    cacheBytes: Type.Optional(
      Type.Integer({
        description:
          "Its own part of its pool's cache for mappings (cacheSize): less than asked for where parts exceed half of it.",
      }),
    ),
    ioWorkers: Type.Optional(
      Type.Integer({ description: 'Threads that check its large reads (ioWorkers).' }),
    ),
    // What the coordinator of several copies knows of it:
    connected: Type.Optional(
      Type.Boolean({ description: 'Whether its coordinator has a session with it.' }),
    ),
    state: Type.Optional(
      Type.String({ description: 'InSync, Joining, Stale, Witness, Blank or Unknown.' }),
    ),
    lagOps: Type.Optional(Type.Integer({ description: 'Issued and not yet applied there.' })),
    lagBytes: Type.Optional(Type.Integer({ description: 'The same, in bytes.' })),
    rebuild: Type.Optional(
      Type.Object(
        {
          doneBytes: Bytes,
          totalBytes: Bytes,
          percent: Type.Optional(Type.Integer({ description: 'How far it is.' })),
          bytesPerSecond: Type.Optional(Type.Number({ description: 'Its pace.' })),
          secondsLeft: Type.Optional(
            Type.Integer({ description: 'How long it will take at this pace.' }),
          ),
        },
        { description: 'Of a rebuild under way.' },
      ),
    ),
    lastFault: Type.Optional(Type.String({ description: 'Why it was last left out.' })),
  },
  { description: 'How it is.' },
);
export type ReplicaStatus = Static<typeof ReplicaStatus>;
export type RebuildStatus = NonNullable<ReplicaStatus['rebuild']>;

const FIXED = ['volumeName', 'nodeName', 'poolName', 'witness'] as const;

export type Replica = SpecObject<ReplicaSpec, ReplicaStatus>;
export const REPLICA: KindDefinition<Replica> = {
  group: 'ashlar.io',
  version: 'v1',
  namespaced: false,
  hasStatus: true,
  categories: ['ashlar'],
  kind: 'Replica',
  plural: 'replicas',
  description: 'One copy of a volume, in one pool; or its witness, which has a vote and no blocks.',
  shortNames: ['arep'],
  fields: { spec: ReplicaSpec, status: ReplicaStatus },
  required: ['spec'],
  // Its bytes do not follow: elsewhere it would be looked for in vain, and here it would be nobody's.
  validate: ({ spec }, before) =>
    FIXED.filter((field) => before !== null && spec[field] !== before.spec[field]).map((field) => ({
      reason: 'FieldValueInvalid',
      field: `spec.${field}`,
      message: `${spec[field]}: is fixed at creation; replicas move as their node is drained (ashlar drain) or their pool exported`,
    })),
  columns: [
    column('Volume', 'Whose copy it is.', ({ spec }) => spec.volumeName),
    column('Node', 'Where it is.', ({ spec }) => spec.nodeName),
    column('Pool', 'In which pool.', ({ spec }) => spec.poolName, { wide: true }),
    column('Allocated', 'In bytes.', ({ status }) => status?.allocatedBytes, { type: 'integer' }),
    column('Status', 'Healthy, Witness, Rebuilding, Degraded, Blank or Offline.', shownReplica),
    column('Rebuilt', 'How much of a rebuild is done.', ({ status }) =>
      status?.rebuild?.percent === undefined ? '' : `${status.rebuild.percent}%`,
    ),
    age,
    column('Role', 'copy or witness.', ({ spec }) => (spec.witness === true ? 'witness' : 'copy'), {
      wide: true,
    }),
    column('Lag', 'Operations issued and not yet applied there.', shownLag, { wide: true }),
    column(
      'Speed',
      'Of the rebuild.',
      ({ status }) =>
        status?.rebuild?.bytesPerSecond === undefined
          ? ''
          : `${formatBytes(status.rebuild.bytesPerSecond)}/s`,
      { wide: true },
    ),
    column(
      'Left',
      'How long the rebuild may still take.',
      ({ status }) =>
        status?.rebuild?.secondsLeft === undefined ? '' : `${status.rebuild.secondsLeft}s`,
      { wide: true },
    ),
    column('Last-Fault', 'Why it was last left out.', ({ status }) => status?.lastFault, {
      wide: true,
    }),
  ],
};

/** Of a witness that is well nobody shall think that it holds data. */
function shownReplica({ spec, status }: Replica): string | undefined {
  return spec.witness === true && status?.phase === 'Healthy' ? 'Witness' : status?.phase;
}

function shownLag({ status }: Replica): string {
  const { lagOps, lagBytes = 0 } = status ?? {};
  return lagOps === undefined ? '' : `${lagOps} (${formatBytes(lagBytes)})`;
}

/** How far a rebuild is, as its coordinator counts it. */
export function rebuildStatus(facts: {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
}): RebuildStatus {
  const { doneBytes, totalBytes, bytesPerSecond } = facts;
  return {
    doneBytes,
    totalBytes,
    percent: totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes),
    bytesPerSecond: Math.round(bytesPerSecond),
    ...(bytesPerSecond > 0
      ? { secondsLeft: Math.ceil(Math.max(0, totalBytes - doneBytes) / bytesPerSecond) }
      : {}),
  };
}
