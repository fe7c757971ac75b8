// The kinds of Kubernetes' core that the others need: secrets for CHAP, and the daemons of ashlar shown as pods, so that
// `kubectl logs` finds them.
import { type Static, Type } from 'typebox';
import {
  type KindDefinition,
  type KubeObject,
  READ_VERBS,
  type SpecObject,
  type StatusCause,
} from '../apiserver/index.ts';
import { age, column, described, statusOnly } from './common.ts';

// --- Secret

export interface Secret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
  stringData?: Record<string, string>;
  immutable?: boolean;
}

/** Keys of a Secret of type kubernetes.io/iscsi-chap, as Kubernetes' iSCSI volumes read them. */
export const CHAP_SECRET_TYPE = 'kubernetes.io/iscsi-chap';
export const CHAP_KEYS = {
  user: 'node.session.auth.username',
  secret: 'node.session.auth.password',
  mutualUser: 'node.session.auth.username_in',
  mutualSecret: 'node.session.auth.password_in',
} as const;

const secretText = Type.Record(
  Type.String(),
  Type.String({ maxLength: 64 * 1024, writeOnly: true }),
  { maxProperties: 64 },
);

export const SECRET: KindDefinition<Secret> = {
  group: '',
  version: 'v1',
  kind: 'Secret',
  plural: 'secrets',
  namespaced: true,
  description: 'Accounts for CHAP, and other things that must not be shown.',
  fields: {
    type: Type.String({
      maxLength: 253,
      description: 'What it is for: kubernetes.io/iscsi-chap for CHAP.',
    }),
    data: described(secretText, 'Its values in base64. Never shown again.'),
    stringData: described(secretText, 'Values as text; they are kept in data.'),
    immutable: Type.Boolean({ description: 'Whether its values are fixed from now on.' }),
  },
  columns: [
    column('Type', 'What it is for.', ({ type }) => type),
    column('Data', 'How many keys it has.', ({ data }) => Object.keys(data ?? {}).length, {
      type: 'integer',
    }),
    age,
  ],
  defaults: (secret) => {
    secret.type ??= 'Opaque';
    const { stringData } = secret;
    if (stringData === undefined) return;
    secret.data ??= {};
    for (const [key, text] of Object.entries(stringData)) {
      secret.data[key] = Buffer.from(text).toString('base64');
    }
    delete secret.stringData;
  },
  validate: (secret, before) => {
    const causes: StatusCause[] = Object.entries(secret.data ?? {})
      .filter(([, text]) => !isBase64(text))
      .map(([key]) => ({
        reason: 'FieldValueInvalid',
        field: `data[${key}]`,
        message: 'is not base64; use stringData for plain text',
      }));
    for (const key of Object.keys(secret.data ?? {})) {
      // One that was kept before there was this rule must not stand against every change of the others.
      if (SECRET_KEY.test(key) || Object.hasOwn(before?.data ?? {}, key)) continue;
      const message = "is no key: use letters, digits, '-', '_' and '.', at most 253";
      causes.push({ reason: 'FieldValueInvalid', field: `data[${key.slice(0, 120)}]`, message });
    }
    causes.push(...checkImmutable(secret, before));
    if (before !== null && secret.type !== before.type) {
      causes.push({ reason: 'FieldValueInvalid', field: 'type', message: 'is fixed at creation' });
    }
    if (secret.type === CHAP_SECRET_TYPE) causes.push(...checkChap(secret));
    return causes;
  },
};

const SECRET_KEY = /^[-._a-zA-Z0-9]{1,253}$/;

function checkImmutable(secret: Secret, before: Secret | null): StatusCause[] {
  if (before?.immutable !== true) return [];
  const message = 'field is immutable when `immutable` is set';
  const causes: StatusCause[] = [];
  const forbid = (field: string): void => {
    causes.push({ reason: 'FieldValueForbidden', field, message });
  };
  if (secret.immutable !== true) forbid('immutable');
  const [now, then] = [secret.data ?? {}, before.data ?? {}];
  const isSame =
    Object.keys(now).length === Object.keys(then).length &&
    Object.entries(now).every(([key, text]) => Object.hasOwn(then, key) && then[key] === text);
  if (!isSame) forbid('data');
  return causes;
}

function isBase64(text: string): boolean {
  return Buffer.from(text, 'base64').toString('base64') === text.replace(/\s/g, '');
}

function checkChap({ data = {} }: Secret) {
  const causes: { reason: 'FieldValueInvalid'; field: string; message: string }[] = [];
  const bad = (key: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field: `data[${key}]`, message });
  };
  const bytes = (key: string): number | null => {
    const text = Object.hasOwn(data, key) ? data[key] : undefined;
    return text === undefined ? null : Buffer.from(text, 'base64').length;
  };
  for (const [user, secret] of [
    [CHAP_KEYS.user, CHAP_KEYS.secret],
    [CHAP_KEYS.mutualUser, CHAP_KEYS.mutualSecret],
  ] as const) {
    const length = bytes(secret);
    if ((bytes(user) === null) !== (length === null)) bad(secret, `goes together with ${user}`);
    // RFC 7143 §9.2.1: 96 bits at least.
    else if (length !== null && (length < 12 || length > 255)) {
      bad(secret, `has ${length} bytes; use 12 to 255`);
    }
  }
  return causes;
}

// --- Pod

export const PodSpec = Type.Object(
  {
    nodeName: Type.Optional(Type.String({ description: 'The node that it runs on.' })),
    containers: Type.Array(
      Type.Object({
        name: Type.String({ description: 'The component.' }),
        image: Type.Optional(Type.String({ description: 'The version of ashlar.' })),
      }),
      { description: 'Its one part.' },
    ),
  },
  { description: 'Where the daemon runs.' },
);
export const PodStatus = Type.Object(
  {
    ...statusOnly,
    phase: Type.Optional(Type.String({ description: 'Running.' })),
    hostIP: Type.Optional(Type.String({ description: 'The address of its node.' })),
    podIP: Type.Optional(Type.String({ description: 'The same.' })),
    startTime: Type.Optional(Type.String({ description: 'When it was started.' })),
    containerStatuses: Type.Optional(
      Type.Array(
        Type.Object({
          name: Type.String({ description: 'The component.' }),
          ready: Type.Boolean({ description: 'Whether it works.' }),
          restartCount: Type.Integer({ description: 'How often it was started again.' }),
          image: Type.String({ description: 'The version of ashlar.' }),
          imageID: Type.String({ description: 'The same.' }),
          state: Type.Optional(Type.Unknown({ description: 'Since when it is so.' })),
        }),
        { description: 'How its one part is.' },
      ),
    ),
  },
  { description: 'How the daemon is.' },
);
export type Pod = SpecObject<Static<typeof PodSpec>, Static<typeof PodStatus>>;

const NO_CONTAINER =
  'it is a part of the process of `ashlar node`, and no container: log in to its node (kubectl get pods -o wide), and look with systemctl status ashlar-node';

export const POD: KindDefinition<Pod> = {
  verbs: READ_VERBS,
  instead: {
    create: 'they show the parts of `ashlar node`; programs are not run here',
    update: 'nodes write them',
    patch: 'nodes write them',
    delete: 'they show the parts of `ashlar node`: systemctl restart ashlar-node, on the node',
    deletecollection: 'they show the parts of `ashlar node`',
    eviction: 'ashlar drain NODE moves what the node serves',
    exec: NO_CONTAINER,
    attach: NO_CONTAINER,
    portforward: NO_CONTAINER,
    proxy: NO_CONTAINER,
    ephemeralcontainers: NO_CONTAINER,
  },
  group: '',
  version: 'v1',
  kind: 'Pod',
  plural: 'pods',
  shortNames: ['po'],
  categories: ['all'],
  namespaced: true,
  hasStatus: true,
  description: 'A part of ashlar that runs on some node. Only shown: nodes write them.',
  fields: { spec: PodSpec, status: PodStatus },
  required: ['spec'],
  columns: [
    column('Ready', 'Ready / all of its parts.', ({ status }) => {
      const parts = status?.containerStatuses ?? [];
      return `${parts.filter(({ ready }) => ready).length}/${parts.length}`;
    }),
    column('Status', 'Running, or Unknown when its node is silent.', ({ status }) => status?.phase),
    column(
      'Restarts',
      'How often it began anew.',
      ({ status }) =>
        (status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0),
      { type: 'integer' },
    ),
    age,
    column('IP', 'Of its node.', ({ status }) => status?.podIP, { wide: true }),
    column('Node', 'Where it runs.', ({ spec }) => spec.nodeName, { wide: true }),
  ],
  selectable: {
    'spec.nodeName': ({ spec }) => spec.nodeName ?? '',
    'status.phase': ({ status }) => status?.phase ?? '',
  },
};

// --- Service

export const ServiceSpec = Type.Object(
  {
    type: Type.String({ description: 'ClusterIP: an address at which something is served.' }),
    clusterIP: Type.String({ description: 'Of the node that serves it.' }),
    ports: Type.Array(
      Type.Object({
        name: Type.String({ description: 'What is spoken there.' }),
        port: Type.Integer({ description: 'Where it listens.' }),
        targetPort: Type.Integer({ description: 'The same.' }),
        protocol: Type.String({ description: 'TCP.' }),
      }),
      { description: 'One: the portal.' },
    ),
  },
  { description: 'Where it is served.' },
);
export type Service = SpecObject<Static<typeof ServiceSpec>, Record<string, never>>;

/** `kubectl cluster-info`, `get svc` and `get all` ask for them. */
export const SERVICE: KindDefinition<Service> = {
  verbs: READ_VERBS,
  instead: {
    create: 'they show where volumes are served, which is where their portals are',
    delete: 'they show where volumes are served: delete the claim, or volumes.ashlar.io NAME',
  },
  group: '',
  version: 'v1',
  kind: 'Service',
  plural: 'services',
  shortNames: ['svc'],
  categories: ['all'],
  namespaced: true,
  description: 'Where hosts log in to a volume now. Only shown: it moves with the volume.',
  fields: { spec: ServiceSpec },
  required: ['spec'],
  columns: [
    column('Type', 'ClusterIP.', ({ spec }) => spec.type),
    column('Cluster-IP', 'Of the node that serves it.', ({ spec }) => spec.clusterIP),
    column('External-IP', 'None: there is no other.', () => null),
    column('Port(s)', 'The portal.', ({ spec }) =>
      spec.ports.map(({ port, protocol }) => `${port}/${protocol}`).join(','),
    ),
    age,
  ],
};
