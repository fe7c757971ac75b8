// What an operator does with a pool's devices while it serves (src/kinds/pool-actions.ts). Devices are named by their path
// or their id.
import { ApiError, type KindAction } from '../apiserver/index.ts';
import {
  type ActionBody,
  type DeviceActionName,
  POOL_ACTIONS,
  type PoolAction,
} from '../kinds/index.ts';
import { DEVICE_ACTIONS } from './device-actions.ts';
import type { PoolHost } from './pool-host.ts';
import type { PoolObject } from './schemas.ts';

/** `present`: the pool as it is afterwards. */
export function poolActions(
  pools: PoolHost,
  present: (name: string) => PoolObject,
): Readonly<Record<string, KindAction<PoolObject>>> {
  const deviceAction = (name: DeviceActionName): KindAction<PoolObject> => ({
    method: 'POST',
    ...POOL_ACTIONS[name],
    run: async ({ metadata }, { body: given, dryRun }) => {
      const body = given as ActionBody;
      const { change, joining } = DEVICE_ACTIONS[name];
      const { sizeBytes, force } = body;
      const fresh = async (path: string) => ({
        path,
        ...(sizeBytes === undefined ? {} : { sizeBytes: Number(sizeBytes) }),
        ...(force === true ? { force: true } : {}),
      });
      // A device that is online elsewhere than it was joins there, too.
      const places = [...joining, 'path'].flatMap((field) => body[field] ?? []).map(String);
      if (!dryRun) {
        await pools.changeDevices(metadata.name, places, ({ devices }) =>
          change(body, devices, fresh),
        );
      }
      return present(metadata.name);
    },
  });
  const actions: Record<string, KindAction<PoolObject>> = {};
  for (const name of Object.keys(POOL_ACTIONS) as PoolAction[]) {
    if (name !== 'export') actions[name] = deviceAction(name);
  }
  actions['export'] = {
    method: 'POST',
    ...POOL_ACTIONS.export,
    run: async (object, { body, dryRun }) => {
      const { force = false, drain = false } = body as { force?: boolean; drain?: boolean };
      if (drain) {
        throw new ApiError('BadRequest', 'drain: is of `ashlar node`; volumes here have one place');
      }
      if (!dryRun) await pools.export(object.metadata.name, { force });
      return object;
    },
  };
  return actions;
}
