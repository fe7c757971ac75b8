// What an operator does with a pool's devices while it serves: each an action of the Pool object, as
// `POST /apis/ashlar.io/v1/pools/NAME/replace`. Devices are named by their path or their id.
import { Type } from 'typebox';
import { ApiError, type KindAction } from '../apiserver/index.ts';
import type { PoolDevice, PoolDevices } from '../store/devices.ts';
import type { PoolHost } from './pool-host.ts';
import { GROUP, type PoolObject } from './schemas.ts';

const closed = { additionalProperties: false } as const;
const path = (description: string) => Type.String({ minLength: 1, maxLength: 4096, description });

const NewDevice = {
  sizeBytes: Type.Optional(
    Type.Integer({ minimum: 0, description: 'Of a file that is to be made: a multiple of 4096.' }),
  ),
  force: Type.Optional(
    Type.Boolean({ description: 'Overwrites what is there. Never what is in use.' }),
  ),
};
const Device = Type.Object({ device: path('Its path or its id.') }, closed);

type Body = Readonly<Record<string, unknown>>;

/** `present`: the pool as it is afterwards. */
export function poolActions(
  pools: PoolHost,
  present: (name: string) => PoolObject,
): Readonly<Record<string, KindAction<PoolObject>>> {
  const action = (
    description: string,
    body: NonNullable<KindAction['body']>,
    change: (sent: Body, devices: PoolDevices) => Promise<void>,
    joining: (sent: Body) => readonly string[] = () => [],
  ): KindAction<PoolObject> => ({
    method: 'POST',
    description,
    body,
    run: async ({ metadata: { name } }, { body: given, dryRun }) => {
      const sent = given as Body;
      if (!dryRun) {
        await pools.changeDevices(name, joining(sent), ({ devices }) => change(sent, devices));
      }
      return present(name);
    },
  });
  const idOf = (sent: Body, devices: PoolDevices, field = 'device'): string =>
    find(devices, String(sent[field]), field).id;
  const fresh = (sent: Body, at: unknown) => ({
    path: String(at),
    ...(sent['sizeBytes'] === undefined ? {} : { sizeBytes: Number(sent['sizeBytes']) }),
    ...(sent['force'] === true ? { force: true } : {}),
  });
  const Walk = Type.Object(
    {
      action: Type.Optional(
        Type.Union([Type.Literal('start'), Type.Literal('pause'), Type.Literal('cancel')]),
      ),
    },
    closed,
  );
  return {
    rebalance: action(
      'Move data from fuller devices to emptier ones; or pause or cancel that',
      Walk,
      async ({ action: what }, devices) => {
        if (what === 'pause') await devices.pauseRebalance();
        else if (what === 'cancel') await devices.cancelRebalance();
        else await devices.startRebalance();
      },
    ),
    scrub: action(
      'Read everything, mend what a mirror can; or pause or cancel that',
      Walk,
      async ({ action: what }, devices) => {
        if (what === 'pause') await devices.pauseScrub();
        else if (what === 'cancel') await devices.cancelScrub();
        else await devices.startScrub();
      },
    ),
    add: action(
      'Add a device, or the sides of a mirror: new writes use it at once',
      Type.Object(
        { devices: Type.Array(path('A path.'), { minItems: 1, maxItems: 3 }), ...NewDevice },
        closed,
      ),
      (sent, devices) => devices.add((sent['devices'] as string[]).map((one) => fresh(sent, one))),
      (sent) => sent['devices'] as string[],
    ),
    attach: action(
      'Make a mirror of a device: another side beside it',
      Type.Object(
        { beside: path('Its path or id.'), device: path('The new one.'), ...NewDevice },
        closed,
      ),
      (sent, devices) => devices.attach(idOf(sent, devices, 'beside'), fresh(sent, sent['device'])),
      (sent) => [String(sent['device'])],
    ),
    detach: action('Take a side out of a mirror', Device, (sent, devices) =>
      devices.detach(idOf(sent, devices)),
    ),
    replace: action(
      'Replace a device: the old one leaves once the new one has everything',
      Type.Object({ device: path('The old one.'), by: path('The new one.'), ...NewDevice }, closed),
      (sent, devices) => devices.replace(idOf(sent, devices), fresh(sent, sent['by'])),
      (sent) => [String(sent['by'])],
    ),
    offline: action('Take a side of a mirror away for a while', Device, (sent, devices) =>
      devices.offline(idOf(sent, devices)),
    ),
    online: action(
      'Bring a device back: what it missed is resilvered',
      Type.Object(
        { device: path('Its path or id.'), path: Type.Optional(path('Where it is now.')) },
        closed,
      ),
      (sent, devices) =>
        sent['path'] === undefined
          ? devices.online(idOf(sent, devices))
          : devices.online(idOf(sent, devices), String(sent['path'])),
      (sent) => (sent['path'] === undefined ? [] : [String(sent['path'])]),
    ),
    grow: action('Use what devices have grown by', Type.Object({}, closed), (_sent, devices) =>
      devices.grow(),
    ),
    export: {
      method: 'POST',
      description: 'Close it, so that another machine may import it',
      body: Type.Object(
        {
          force: Type.Optional(
            Type.Boolean({ description: 'Also while in use: sessions are ended.' }),
          ),
        },
        closed,
      ),
      run: async (object, { body: sent, dryRun }) => {
        const { force = false } = sent as { force?: boolean };
        if (!dryRun) await pools.export(object.metadata.name, { force });
        return object;
      },
    },
  };
}

/** By id, by path, or by the last part of its path where only one has it. */
function find(devices: PoolDevices, named: string, field: string): PoolDevice {
  const all = devices.list();
  const exact = all.filter(({ id, path: at }) => id === named || at === named);
  const found = exact.length > 0 ? exact : all.filter(({ path: at }) => at.endsWith(`/${named}`));
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0) return only;
  const message =
    only === undefined
      ? `the pool has no device '${named}'; it has ${all.map((one) => one.path).join(', ')}`
      : `several devices are named '${named}'; name one by its id`;
  throw new ApiError('Invalid', `${field}: ${message}`, {
    group: GROUP,
    kind: 'pools',
    causes: [{ reason: 'FieldValueInvalid', field, message }],
  });
}
