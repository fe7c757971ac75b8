// What people ask of a volume beside changing it. The node that serves it does the work: what is asked is written into the
// volume, and the answer waits until that node has said what became of it.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Static, Type } from 'typebox';
import { ApiError, type KindAction, type ObjectClient } from '../apiserver/index.ts';
import {
  EXTERNAL_SNAPSHOT,
  SNAPSHOT,
  type Snapshot,
  VOLUME,
  VOLUME_SNAPSHOT,
  type Volume,
} from '../kinds/index.ts';
import { hasReason } from './controller.ts';

const LOOK_MS = 200;
/** Who asked is answered then in any case; what is under way goes on. */
const ANSWER_WITHIN_MS = 60_000;

const RollbackBody = Type.Object(
  {
    to: Type.String({
      maxLength: 253,
      description: 'A Snapshot of the volume, or the VolumeSnapshot that it was taken for.',
    }),
    deleteLater: Type.Optional(Type.Boolean({ description: 'Of `ashlar serve`.' })),
    force: Type.Optional(Type.Boolean({ description: 'Also while in use: sessions are ended.' })),
  },
  { additionalProperties: false },
);

/** `client`: asked when an action runs. */
export function volumeActions(
  client: () => ObjectClient,
): Readonly<Record<string, KindAction<Volume>>> {
  return {
    rollback: {
      method: 'POST',
      description: 'Make the volume what a snapshot of it is',
      body: RollbackBody,
      run: async (volume, { body, dryRun }) => {
        const { to, deleteLater, force } = body as Static<typeof RollbackBody>;
        if (deleteLater === true) {
          throw new ApiError(
            'BadRequest',
            'deleteLater: later snapshots stay here; delete their VolumeSnapshots',
          );
        }
        const snapshot = await snapshotCalled(client(), volume, to);
        if (dryRun) return volume;
        return await rollBack(client(), volume, snapshot, force === true);
      },
    },
  };
}

async function snapshotCalled(
  client: ObjectClient,
  volume: Volume,
  name: string,
): Promise<Snapshot> {
  const all = (await client.list<Snapshot>(SNAPSHOT)).items.filter(
    ({ spec }) => spec.volumeName === volume.metadata.name,
  );
  const found =
    all.find(({ metadata }) => metadata.name === name) ??
    all.find(({ spec }) => spec.snapshotRef?.name === name);
  if (found === undefined) {
    throw new ApiError(
      'NotFound',
      `volumes "${volume.metadata.name}" has no snapshot "${name}" (${SNAPSHOT.plural}, ` +
        `${VOLUME_SNAPSHOT.plural}.${VOLUME_SNAPSHOT.group} or ${EXTERNAL_SNAPSHOT.plural}.${EXTERNAL_SNAPSHOT.group})`,
    );
  }
  return found;
}

async function rollBack(
  client: ObjectClient,
  volume: Volume,
  snapshot: Snapshot,
  force: boolean,
): Promise<Volume> {
  const { name } = volume.metadata;
  const request = randomUUID();
  for (;;) {
    const seen = await client.get<Volume>(VOLUME, null, name);
    const before = seen.spec.rollback;
    const isUnderWay = before !== undefined && !isOver(seen);
    if (isUnderWay) {
      throw new ApiError('Conflict', `volumes "${name}" is being rolled back to ${before.to}`);
    }
    const rollback = { to: snapshot.metadata.name, request, ...(force ? { force } : {}) };
    try {
      await client.update<Volume>(VOLUME, { ...seen, spec: { ...seen.spec, rollback } });
      break;
    } catch (error) {
      if (!hasReason(error, 'Conflict')) throw error; // Somebody changed it meanwhile: once more.
    }
  }
  for (let waited = 0; waited < ANSWER_WITHIN_MS; waited += LOOK_MS) {
    const seen = await client.get<Volume>(VOLUME, null, name);
    const became = seen.status?.rollback;
    if (became?.request === request && became.phase === 'Done') return seen;
    if (became?.request === request && became.phase === 'Refused') {
      throw new ApiError('Conflict', `volumes "${name}": ${became.message}`);
    }
    if (seen.spec.rollback?.request !== request) break;
    await sleep(LOOK_MS);
  }
  throw new ApiError(
    'Conflict',
    `volumes "${name}" is not rolled back yet: what it waits for is in its status.rollback, and it goes on by itself`,
  );
}

/** What was asked for last has come to an end, or there was nothing. */
export function isOver({ spec, status }: Volume): boolean {
  if (spec.rollback === undefined) return true;
  const { request, phase } = status?.rollback ?? {};
  return request === spec.rollback.request && phase !== 'Running';
}
