// What people ask of a pool beside changing it (src/kinds/pool-actions.ts). Its node does the work: what is asked is written
// into the pool, and the answer waits until that node has said what became of it. And what stands against giving one up.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ApiError,
  type KindAction,
  type ObjectClient,
  type StatusCause,
} from '../apiserver/index.ts';
import {
  type ActionBody,
  BLOCK_DEVICE,
  type BlockDevice,
  isPoolIdle,
  NODE,
  type Node,
  operationOf,
  POOL,
  POOL_ACTIONS,
  type Pool,
  type PoolAction,
  REPLICA,
  type Replica,
  STORAGE_POOL_CLAIM,
  type StoragePoolClaim,
} from '../kinds/index.ts';
import { hasReason, isDeleting } from './controller.ts';
import { Label } from './names.ts';

const LOOK_MS = 200;
/** Who asked is answered then in any case; what is under way goes on. */
const ANSWER_WITHIN_MS = 60_000;
const SHOWN_NAMES = 8;

/** `client`: asked when an action runs. */
export function poolActions(
  client: () => ObjectClient,
): Readonly<Record<string, KindAction<Pool>>> {
  const actions: Record<string, KindAction<Pool>> = {};
  for (const name of Object.keys(POOL_ACTIONS) as PoolAction[]) {
    actions[name] = {
      method: 'POST',
      ...POOL_ACTIONS[name],
      run: async (pool, { body, dryRun }) => {
        const sent = body as ActionBody;
        await assertReady(client(), pool);
        if (name === 'export') await assertExportable(client(), pool, sent);
        return dryRun ? pool : await ask(client(), pool, name, sent);
      },
    };
  }
  return actions;
}

function conflict({ metadata }: Pool, message: string): ApiError {
  const { name } = metadata;
  const causes: StatusCause[] = [{ reason: 'Busy', field: 'metadata.name', message }];
  return new ApiError('Conflict', message, { name, group: POOL.group, kind: POOL.plural, causes });
}

async function assertReady(client: ObjectClient, pool: Pool): Promise<void> {
  const { nodeName } = pool.spec;
  const nodes = (await client.list<Node>(NODE)).items;
  const node = nodes.find(({ metadata }) => metadata.name === nodeName);
  const ready = node?.status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready?.status === 'True') return;
  throw conflict(
    pool,
    `pool ${pool.metadata.name} is on ${nodeName}, which is not ready: ${ready?.message ?? 'there is no such node'}`,
  );
}

/** Throws where it would be refused to be deleted. */
export async function assertPoolDestroyable(client: ObjectClient, pool: Pool): Promise<void> {
  if (pool.status?.phase === 'Exported' || isDeleting(pool)) return;
  await assertNobodys(client, pool, 'destroyed');
  const { name } = pool.metadata;
  const volumes = await volumesIn(client, name);
  if (volumes.length > 0) {
    throw conflict(
      pool,
      `pool ${name} holds replicas of ${shown(volumes)}. Delete those claims or volumes first, or move them away (ashlar drain ${pool.spec.nodeName})`,
    );
  }
  const strays = pool.status?.strayVolumes ?? [];
  if (strays.length > 0) {
    throw conflict(
      pool,
      `pool ${name} holds volumes that came with it: ${shown(strays)}. Export it (ashlar export pool ${name}), and delete them where they are served`,
    );
  }
}

async function assertExportable(client: ObjectClient, pool: Pool, body: ActionBody): Promise<void> {
  await assertNobodys(client, pool, 'exported');
  const { name } = pool.metadata;
  const volumes = await volumesIn(client, name);
  if (volumes.length === 0 || body['drain'] === true) return;
  throw conflict(
    pool,
    `pool ${name} holds replicas of ${shown(volumes)}, which are served by this control plane alone. --drain moves them to other pools first`,
  );
}

/** What would be made anew at once is not given up by its own. */
async function assertNobodys(client: ObjectClient, pool: Pool, what: string): Promise<void> {
  const { name } = pool.metadata;
  const { directory, nodeName, storagePoolClaim } = pool.spec;
  if (directory !== undefined) {
    const nodes = (await client.list<Node>(NODE)).items;
    if (!nodes.some(({ metadata }) => metadata.name === nodeName)) return;
    throw conflict(
      pool,
      `pool ${name} is ${nodeName}'s own (directoryPool of its configuration), and cannot be ${what}`,
    );
  }
  if (storagePoolClaim === undefined) return;
  const claims = (await client.list<StoragePoolClaim>(STORAGE_POOL_CLAIM)).items;
  const claim = claims.find(({ metadata }) => metadata.name === storagePoolClaim);
  if (claim === undefined || isDeleting(claim)) return;
  throw conflict(
    pool,
    `pool ${name} was made for StoragePoolClaim ${storagePoolClaim}, and cannot be ${what} by itself: delete that (ashlar delete spc ${storagePoolClaim})`,
  );
}

async function volumesIn(client: ObjectClient, pool: string): Promise<string[]> {
  const labelSelector = `${Label.Pool}=${pool}`;
  const replicas = (await client.list<Replica>(REPLICA, { labelSelector })).items;
  return [...new Set(replicas.map(({ spec }) => spec.volumeName))].sort();
}

function shown(names: readonly string[]): string {
  return names.length > SHOWN_NAMES
    ? `${names.slice(0, SHOWN_NAMES).join(', ')} and ${names.length - SHOWN_NAMES} more`
    : names.join(', ');
}

async function ask(
  client: ObjectClient,
  { metadata }: Pool,
  action: PoolAction,
  body: ActionBody,
): Promise<Pool> {
  const { name } = metadata;
  const request = randomUUID();
  let seen: Pool;
  for (;;) {
    seen = await client.get<Pool>(POOL, null, name);
    if (!isPoolIdle(seen)) {
      const { operation } = seen.status ?? {};
      const why = operation?.message ? `: ${operation.message}` : '';
      throw conflict(seen, `pool ${name} is busy with ${seen.spec.operation?.action}${why}`);
    }
    const operation = operationOf(action, request, body);
    try {
      seen = await client.update<Pool>(POOL, { ...seen, spec: { ...seen.spec, operation } });
      break;
    } catch (error) {
      // Somebody changed it meanwhile: once more.
      if (!hasReason(error, 'Conflict')) throw error;
    }
  }
  for (let waited = 0; waited < ANSWER_WITHIN_MS; waited += LOOK_MS) {
    try {
      seen = await client.get<Pool>(POOL, null, name);
    } catch (error) {
      // Exported, it is nobody's here.
      if (action === 'export' && hasReason(error, 'NotFound')) return seen;
      throw error;
    }
    const became = seen.status?.operation;
    if (became?.request === request && became.phase === 'Refused') {
      throw conflict(seen, `pool ${name}: ${became.message}`);
    }
    if (became?.request === request && became.phase === 'Done' && action !== 'export') return seen;
    if (seen.spec.operation?.request !== request) break;
    await sleep(LOOK_MS);
  }
  const why = seen.status?.operation?.message;
  throw conflict(
    seen,
    `pool ${name}: ${action} is under way and goes on by itself; its status.operation says how far it is${why ? `: ${why}` : ''}`,
  );
}

export interface ImportablePool {
  readonly name: string;
  readonly id: string;
  readonly devices: number;
  readonly paths: readonly string[];
  readonly exported: boolean;
  readonly node: string;
}

/** Pools of which labels tell on devices that are nobody's. `places`: only on these devices, or in these folders. */
export async function importablePools(
  client: ObjectClient,
  { node, places }: { node: string | null; places: readonly string[] },
): Promise<ImportablePool[]> {
  const found = new Map<string, ImportablePool>();
  for (const { metadata, spec, status } of (await client.list<BlockDevice>(BLOCK_DEVICE)).items) {
    const { pool } = status ?? {};
    if (pool === undefined || spec.claimRef !== undefined || status?.state !== 'Active') continue;
    if (node !== null && spec.nodeName !== node) continue;
    const names = [metadata.name, spec.deviceName, spec.path, spec.byIdPath];
    const isAt = (place: string): boolean =>
      names.includes(place) || spec.path.startsWith(`${place.replace(/\/+$/, '')}/`);
    if (places.length > 0 && !places.some(isAt)) continue;
    const key = `${pool.id} ${spec.nodeName}`;
    const before = found.get(key)?.paths ?? [];
    const paths = [...before, spec.byIdPath ?? spec.path];
    found.set(key, { ...pool, paths, node: spec.nodeName });
  }
  return [...found.values()];
}
