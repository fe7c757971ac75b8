// What is done with the devices of an open pool, action by action: the same for `ashlar serve` and for a node.
import { ApiError } from '../apiserver/index.ts';
import type { ActionBody, DeviceActionName } from '../kinds/index.ts';
import type { NewDevice, PoolDevice, PoolDevices } from '../store/devices.ts';
import { GROUP } from './schemas.ts';

export interface DeviceAction {
  /** `fresh`: how a device is called that joins. Rejects with StoreError; throws ApiError for one that is not there. */
  change(
    body: ActionBody,
    devices: PoolDevices,
    fresh: (path: string) => Promise<NewDevice>,
  ): Promise<void>;
  /** Fields of the body that name devices which join, and those that name devices of the pool. */
  readonly joining: readonly string[];
  readonly existing: readonly string[];
  /** Whether a crash came only after it was done. What may be done twice says no. */
  isDone(body: ActionBody, devices: PoolDevices): boolean;
}

const nothing = { joining: [], existing: [], isDone: () => false } as const;

function has(devices: PoolDevices, paths: unknown): boolean {
  const wanted = [paths].flat().map(String);
  const there = devices.list().map(({ path }) => path);
  return wanted.every((path) => there.includes(path));
}

function stateOf(devices: PoolDevices, named: unknown): string | null {
  return matching(devices, String(named))[0]?.state ?? null;
}

export const DEVICE_ACTIONS: Readonly<Record<DeviceActionName, DeviceAction>> = {
  rebalance: {
    ...nothing,
    change: async ({ action }, devices) => {
      if (action === 'pause') await devices.pauseRebalance();
      else if (action === 'cancel') await devices.cancelRebalance();
      else await devices.startRebalance();
    },
  },
  scrub: {
    ...nothing,
    change: async ({ action }, devices) => {
      if (action === 'pause') await devices.pauseScrub();
      else if (action === 'cancel') await devices.cancelScrub();
      else await devices.startScrub();
    },
  },
  add: {
    change: async ({ devices: paths }, devices, fresh) => {
      await devices.add(await Promise.all((paths as string[]).map(fresh)));
    },
    joining: ['devices'],
    existing: [],
    isDone: (body, devices) => has(devices, body['devices']),
  },
  attach: {
    change: async (body, devices, fresh) => {
      const beside = find(devices, body, 'beside').id;
      await devices.attach(beside, await fresh(String(body['device'])));
    },
    joining: ['device'],
    existing: ['beside'],
    isDone: (body, devices) => has(devices, body['device']),
  },
  detach: {
    change: (body, devices) => devices.detach(find(devices, body, 'device').id),
    joining: [],
    existing: ['device'],
    isDone: (body, devices) => stateOf(devices, body['device']) === null,
  },
  replace: {
    change: async (body, devices, fresh) => {
      const old = find(devices, body, 'device').id;
      await devices.replace(old, await fresh(String(body['by'])));
    },
    joining: ['by'],
    existing: ['device'],
    isDone: (body, devices) => has(devices, body['by']),
  },
  offline: {
    change: (body, devices) => devices.offline(find(devices, body, 'device').id),
    joining: [],
    existing: ['device'],
    isDone: (body, devices) => stateOf(devices, body['device']) === 'Offline',
  },
  online: {
    change: (body, devices) => {
      const { id } = find(devices, body, 'device');
      const { path } = body;
      return path === undefined ? devices.online(id) : devices.online(id, String(path));
    },
    joining: [],
    existing: ['device'],
    isDone: (body, devices) =>
      ['InSync', 'Resilvering'].includes(stateOf(devices, body['device']) ?? ''),
  },
  grow: { ...nothing, change: (_body, devices) => devices.grow() },
};

/** By id, by path, or by the last part of its path where only one has it. */
function matching(devices: PoolDevices, named: string): readonly PoolDevice[] {
  const all = devices.list();
  const exact = all.filter(({ id, path }) => id === named || path === named);
  return exact.length > 0 ? exact : all.filter(({ path }) => path.endsWith(`/${named}`));
}

function find(devices: PoolDevices, body: ActionBody, field: string): PoolDevice {
  const named = String(body[field]);
  const [only, ...more] = matching(devices, named);
  if (only !== undefined && more.length === 0) return only;
  const all = devices.list().map(({ path }) => path);
  const message =
    only === undefined
      ? `the pool has no device '${named}'; it has ${all.join(', ')}`
      : `several devices are named '${named}'; name one by its id`;
  throw new ApiError('Invalid', `${field}: ${message}`, {
    group: GROUP,
    kind: 'pools',
    causes: [{ reason: 'FieldValueInvalid', field, message }],
  });
}
