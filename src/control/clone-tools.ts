// What becomes of snapshots: clones, rollback, promotion, and what changed between two of them.
import { type Static, Type } from 'typebox';
import { ApiError, type KindAction } from '../apiserver/index.ts';
import { type Pool, STORE_BLOCK_BYTES, StoreError } from '../store/types.ts';
import { GROUP, type VolumeObject } from './schemas.ts';
import { fullSnapshotName } from './snapshot-name.ts';
import type { SnapshotObject } from './snapshots.ts';
import type { VolumeController } from './volume-controller.ts';
import { storeFailure } from './volume-parts.ts';

/** An answer names no more extents; who wants all of a scattered difference sends a stream. */
const MAX_EXTENTS = 65_536;
const EXTENTS_A_CALL = 4096;

const RollbackBody = Type.Object(
  {
    to: Type.String({ maxLength: 63, description: "The snapshot's name, without the volume." }),
    deleteLater: Type.Optional(Type.Boolean({ description: 'Snapshots taken since then go.' })),
    force: Type.Optional(Type.Boolean({ description: 'Also while in use: sessions are ended.' })),
  },
  { additionalProperties: false },
);

export function volumeActions(
  controller: VolumeController,
): Readonly<Record<string, KindAction<VolumeObject>>> {
  return {
    rollback: {
      method: 'POST',
      description: 'Make the volume what a snapshot of it is',
      body: RollbackBody,
      run: async ({ metadata }, { body, dryRun }) => {
        const { to, deleteLater = false, force = false } = body as Static<typeof RollbackBody>;
        if (dryRun) return controller.get(metadata.name);
        return await controller.history.rollback(metadata.name, { to, deleteLater, force });
      },
    },
    promote: {
      method: 'POST',
      description: 'Give a clone the snapshots that it came from',
      body: Type.Object({}, { additionalProperties: false }),
      run: async ({ metadata }, { dryRun }) => {
        if (dryRun) return controller.get(metadata.name);
        return await controller.history.promote(metadata.name);
      },
    },
  };
}

export function snapshotActions(
  controller: VolumeController,
): Readonly<Record<string, KindAction<SnapshotObject>>> {
  return {
    diff: {
      method: 'GET',
      description: 'What changed since, up to a later snapshot or the volume',
      query: { to: 'A later snapshot (V@NAME), or a volume.' },
      run: async ({ metadata }, { query }) => {
        const to = fullSnapshotName(query.get('to') ?? '');
        if (to === '') throw wrongTo('is required: a later snapshot (V@NAME), or a volume');
        const from = fullSnapshotName(metadata.name);
        const extents = await changesOnReplicas(controller, from, to);
        if (extents !== null) return answerOf(from, to, extents);
        return await diff(controller.poolOf(from.split('@')[0]!), from, to);
      },
    },
  };
}

type Extent = { offsetBytes: number; bytes: number; kind: 'Data' | 'Hole' };

/** Null: the volume is none on replicas. */
async function changesOnReplicas(
  controller: VolumeController,
  from: string,
  to: string,
): Promise<Extent[] | null> {
  const [volume = '', short = ''] = from.split('@');
  if (to.split('@')[0] !== volume && controller.snapshots.source(from, null) !== null) {
    throw wrongTo(`'${to.slice(0, 160)}' is not ${volume}, nor one of its snapshots`);
  }
  const source = to.includes('@')
    ? controller.snapshots.source(to, short)
    : controller.snapshots.source(from, null);
  if (source === null) return null;
  const extents: Extent[] = [];
  try {
    for (let lba = 0; extents.length < MAX_EXTENTS; ) {
      const ranges = to.includes('@')
        ? await source.changes(lba, EXTENTS_A_CALL)
        : await source.changesSince(lba);
      if (ranges.length === 0) break;
      for (const range of ranges) {
        const bytes = range.blocks * STORE_BLOCK_BYTES;
        const offsetBytes = range.lba * STORE_BLOCK_BYTES;
        extents.push({ offsetBytes, bytes, kind: range.hole ? 'Hole' : 'Data' });
        lba = range.lba + range.blocks;
      }
    }
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw storeFailure(from, error.code, error.message, error);
  }
  return extents;
}

function answerOf(from: string, to: string, extents: readonly Extent[]): object {
  const changedBytes = extents.reduce((sum, { bytes }) => sum + bytes, 0);
  return { apiVersion: `${GROUP}/v1`, kind: 'SnapshotDiff', from, to, changedBytes, extents };
}

async function diff(pool: Pool, from: string, to: string): Promise<object> {
  const target = to.includes('@') ? pool.snapshot(to) : pool.volume(to);
  if (target === null) throw wrongTo(`there is no '${to.slice(0, 160)}'`);
  const { sizeBlocks } = target.info();
  const extents: Extent[] = [];
  try {
    for (let lba = 0; lba < sizeBlocks && extents.length < MAX_EXTENTS; ) {
      const found = await pool.changedBetween(from, to, lba, EXTENTS_A_CALL);
      for (const extent of found.extents) {
        const bytes = extent.blocks * STORE_BLOCK_BYTES;
        extents.push({
          offsetBytes: extent.lba * STORE_BLOCK_BYTES,
          bytes,
          kind: extent.mapped ? 'Data' : 'Hole',
        });
      }
      if (found.nextLba <= lba) break;
      lba = found.nextLba;
    }
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw storeFailure(from, error.code, error.message, error);
  }
  return answerOf(from, to, extents);
}

function wrongTo(message: string): ApiError {
  return new ApiError('BadRequest', `to: ${message}`, {
    causes: [{ reason: 'FieldValueInvalid', field: 'to', message }],
  });
}
