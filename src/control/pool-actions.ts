// What an operator does with a pool's devices while it serves: each an action of the Pool object, as
// `POST /apis/ashlar.io/v1/pools/NAME/replace`. Devices are named by their path or their id.
import { Type } from 'typebox';
import { ApiError, type KindAction } from '../apiserver/index.ts';
import type { PoolDevice, PoolDevices } from '../store/devices.ts';
import { type Pool, StoreError } from '../store/types.ts';
import { GROUP, type PoolObject } from './schemas.ts';
import { storeFailure } from './volume-parts.ts';

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
  pool: Pool,
  present: () => PoolObject,
): Readonly<Record<string, KindAction<PoolObject>>> {
  const { devices } = pool;
  const action = (
    description: string,
    body: NonNullable<KindAction['body']>,
    change: (sent: Body) => Promise<void>,
  ): KindAction<PoolObject> => ({
    method: 'POST',
    description,
    body,
    run: async (_object, { body: sent, dryRun }) => {
      if (!dryRun) await translated(pool.name, () => change(sent as Body));
      return present();
    },
  });
  const idOf = (sent: Body, field = 'device'): string =>
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
      async ({ action: what }) => {
        if (what === 'pause') await devices.pauseRebalance();
        else if (what === 'cancel') await devices.cancelRebalance();
        else await devices.startRebalance();
      },
    ),
    scrub: action(
      'Read everything, mend what a mirror can; or pause or cancel that',
      Walk,
      async ({ action: what }) => {
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
      (sent) => devices.add((sent['devices'] as string[]).map((one) => fresh(sent, one))),
    ),
    attach: action(
      'Make a mirror of a device: another side beside it',
      Type.Object(
        { beside: path('Its path or id.'), device: path('The new one.'), ...NewDevice },
        closed,
      ),
      (sent) => devices.attach(idOf(sent, 'beside'), fresh(sent, sent['device'])),
    ),
    detach: action('Take a side out of a mirror', Device, (sent) => devices.detach(idOf(sent))),
    replace: action(
      'Replace a device: the old one leaves once the new one has everything',
      Type.Object({ device: path('The old one.'), by: path('The new one.'), ...NewDevice }, closed),
      (sent) => devices.replace(idOf(sent), fresh(sent, sent['by'])),
    ),
    offline: action('Take a side of a mirror away for a while', Device, (sent) =>
      devices.offline(idOf(sent)),
    ),
    online: action(
      'Bring a device back: what it missed is resilvered',
      Type.Object(
        { device: path('Its path or id.'), path: Type.Optional(path('Where it is now.')) },
        closed,
      ),
      (sent) =>
        sent['path'] === undefined
          ? devices.online(idOf(sent))
          : devices.online(idOf(sent), String(sent['path'])),
    ),
    grow: action('Use what devices have grown by', Type.Object({}, closed), () => devices.grow()),
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

async function translated(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw storeFailure(name, error.code, error.message, error, 'pools');
  }
}
