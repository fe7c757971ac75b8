// What an operator does with a pool while it serves: each an action of the Pool object, as
// `POST /apis/ashlar.io/v1/pools/NAME/replace`. `ashlar serve` does it at once; in the control plane it is written into the
// pool (spec.operation), and the pool's node does it.
import { type Static, type TSchema, Type } from 'typebox';
import { closed, described } from './common.ts';

const name = (description: string) => Type.String({ minLength: 1, maxLength: 4096, description });
const NewDevice = {
  sizeBytes: Type.Optional(
    Type.Integer({ minimum: 0, description: 'Of a file that is to be made: a multiple of 4096.' }),
  ),
  force: Type.Optional(
    Type.Boolean({ description: 'Overwrites what is there. Never what is in use.' }),
  ),
};
const Device = Type.Object({ device: name('Its name, its path or its id.') }, closed);
const Devices = Type.Array(name('A name or a path.'), { minItems: 1, maxItems: 3 });
const WalkAction = Type.Union([
  Type.Literal('start'),
  Type.Literal('pause'),
  Type.Literal('cancel'),
]);
const Walk = Type.Object({ action: Type.Optional(WalkAction) }, closed);

interface Declared {
  readonly description: string;
  readonly body: TSchema;
}

export const POOL_ACTIONS = {
  rebalance: {
    description: 'Move data from fuller devices to emptier ones; or pause or cancel that',
    body: Walk,
  },
  scrub: {
    description: 'Read everything, mend what a mirror can; or pause or cancel that',
    body: Walk,
  },
  add: {
    description: 'Add a device, or the sides of a mirror: new writes use it at once',
    body: Type.Object({ devices: Devices, ...NewDevice }, closed),
  },
  attach: {
    description: 'Make a mirror of a device: another side beside it',
    body: Type.Object(
      {
        beside: name('Its name, path or id.'),
        device: name('The new one.'),
        ...NewDevice,
      },
      closed,
    ),
  },
  detach: { description: 'Take a side out of a mirror', body: Device },
  replace: {
    description: 'Replace a device: the old one leaves once the new one has everything',
    body: Type.Object(
      { device: name('The old one.'), by: name('The new one.'), ...NewDevice },
      closed,
    ),
  },
  offline: { description: 'Take a side of a mirror away for a while', body: Device },
  online: {
    description: 'Bring a device back: what it missed is resilvered',
    body: Type.Object(
      {
        device: name('Its name, path or id.'),
        path: Type.Optional(name('Where it is now.')),
      },
      closed,
    ),
  },
  grow: { description: 'Use what devices have grown by', body: Type.Object({}, closed) },
  export: {
    description: 'Close it, so that another machine may import it',
    body: Type.Object(
      {
        force: Type.Optional(
          Type.Boolean({
            description: 'Also while in use (sessions are ended), or when it is not there.',
          }),
        ),
        drain: Type.Optional(
          Type.Boolean({ description: 'Of `ashlar node`: its replicas go elsewhere first.' }),
        ),
      },
      closed,
    ),
  },
} as const satisfies Readonly<Record<string, Declared>>;

export type PoolAction = keyof typeof POOL_ACTIONS;
/** Of devices and walks. */
export type DeviceActionName = Exclude<PoolAction, 'export'>;

const actionNames = Object.keys(POOL_ACTIONS) as PoolAction[];

/** An action as it is written into a pool, for its node to do. */
export const PoolOperation = Type.Object(
  {
    request: Type.String({ maxLength: 64, description: 'Another one for each wish.' }),
    action: Type.Unsafe<PoolAction>({
      type: 'string',
      enum: actionNames,
      description: 'What is to be done.',
    }),
    device: Type.Optional(name('As of the action.')),
    devices: Type.Optional(described(Devices, 'As of the action.')),
    beside: Type.Optional(name('As of the action.')),
    by: Type.Optional(name('As of the action.')),
    path: Type.Optional(name('As of the action.')),
    sizeBytes: Type.Optional(Type.Integer({ minimum: 0, description: 'As of the action.' })),
    force: Type.Optional(Type.Boolean({ description: 'As of the action.' })),
    drain: Type.Optional(Type.Boolean({ description: 'As of the action.' })),
    walk: Type.Optional(described(WalkAction, 'start, pause or cancel.')),
  },
  { ...closed, description: 'What is asked of its node. Written by the actions of a pool.' },
);
export type PoolOperation = Static<typeof PoolOperation>;

export const PoolOperationStatus = Type.Object({
  request: Type.String({ description: 'The word for the request.' }),
  action: Type.String({ description: 'What was to be done.' }),
  phase: Type.String({ description: 'Running, Done or Refused.' }),
  message: Type.String({ description: 'What it waits for, or why not.' }),
});

export type ActionBody = Readonly<Record<string, unknown>>;

export function operationOf(action: PoolAction, request: string, body: ActionBody): PoolOperation {
  const { action: walk, ...rest } = body;
  return { request, action, ...rest, ...(walk === undefined ? {} : { walk }) } as PoolOperation;
}

/** The body that it was asked with. */
export function bodyOf({ request: _, action: __, walk, ...rest }: PoolOperation): ActionBody {
  return walk === undefined ? rest : { ...rest, action: walk };
}

/** What was asked for last has come to an end, or there was nothing. */
export function isPoolIdle({
  spec,
  status,
}: {
  readonly spec: { readonly operation?: PoolOperation };
  readonly status?: { readonly operation?: { readonly request: string; readonly phase: string } };
}): boolean {
  if (spec.operation === undefined) return true;
  const { request, phase } = status?.operation ?? {};
  return request === spec.operation.request && phase !== 'Running';
}
