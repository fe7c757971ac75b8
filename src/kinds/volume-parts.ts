// Parts of a volume's declaration: what a person may say of one.
import { type Static, Type } from 'typebox';
import { closed, Quantity } from './common.ts';

const MAX_CHAP_BYTES = 255;
/** A schedule keeps no more: an hour for six weeks. */
const MAX_KEPT_SNAPSHOTS = 1000;

export const Limits = Type.Object(
  {
    iops: Type.Optional(
      Type.Integer({ description: 'Operations per second, of all sessions together.' }),
    ),
    iopsBurst: Type.Optional(
      Type.Integer({
        description: 'Operations that idle time saves up. Default: a quarter of iops.',
      }),
    ),
    bandwidth: Type.Optional(
      Type.Unsafe<string | number>({
        ...Quantity,
        description: 'Bytes read and written per second: 100Mi.',
      }),
    ),
    bandwidthBurst: Type.Optional(
      Type.Unsafe<string | number>({
        ...Quantity,
        description: 'Bytes that idle time saves up. Default: a quarter of bandwidth.',
      }),
    ),
    queueDepth: Type.Optional(
      Type.Integer({ description: 'Operations under way at the volume at one time.' }),
    ),
  },
  {
    ...closed,
    description: 'Shared by all sessions of the volume. Changed online, effective at once.',
  },
);
export type Limits = Static<typeof Limits>;

export const ChapSpec = Type.Object(
  {
    user: Type.String({ maxLength: MAX_CHAP_BYTES, description: 'CHAP_N of the initiator' }),
    secret: Type.Optional(
      Type.String({
        maxLength: MAX_CHAP_BYTES,
        writeOnly: true,
        description: '12 to 255 bytes. Never returned. Left out of an update, it stays as it was.',
      }),
    ),
  },
  { ...closed, description: 'The account that an initiator logs in with.' },
);

export const SnapshotSchedule = Type.Object(
  {
    every: Type.String({ description: 'How often: 15m, 1h, 1d. At least 1m.', maxLength: 16 }),
    keep: Type.Integer({
      description: 'How many of them are kept; older ones go.',
      minimum: 1,
      maximum: MAX_KEPT_SNAPSHOTS,
    }),
  },
  { ...closed, description: 'Snapshots by the clock, named by their time.' },
);
export type SnapshotSchedule = Static<typeof SnapshotSchedule>;

/** Null says the same as leaving it out: tools send what they read, with a null for what they took away. */
export const orNull = <T extends Parameters<typeof Type.Optional>[0]>(schema: T) =>
  Type.Optional(
    Type.Union([schema, Type.Null()], {
      // People ask what the field is for, not what its choices are.
      ...('description' in schema ? { description: String(schema.description) } : {}),
    }),
  );

export type WithoutNull<T> = { [K in keyof T]: Exclude<T[K], null> };
