// Nodes as Kubernetes' own clients know them, so that `kubectl get nodes`, `describe node`, `cordon` and `cluster-info dump`
// find them. Each is a Node of ashlar.io in other words; what may be changed of it here is changed there.
import { isDeepStrictEqual } from 'node:util';
import { type Static, Type } from 'typebox';
import type { KindDefinition, SpecObject, StatusCause } from '../apiserver/index.ts';
import { age, closed, column, statusOnly } from './common.ts';

export const CoreNodeSpec = Type.Object(
  {
    unschedulable: Type.Optional(
      Type.Boolean({ description: 'Cordoned, or being drained: nothing new is put here.' }),
    ),
  },
  { ...closed, description: 'What its owner wants of it.' },
);

const text = (description: string) => Type.String({ description });

export const CoreNodeStatus = Type.Object(
  {
    ...statusOnly,
    addresses: Type.Optional(
      Type.Array(
        Type.Object({ type: text('InternalIP or Hostname.'), address: text('The address.') }),
        { description: 'Where it is.' },
      ),
    ),
    capacity: Type.Optional(
      Type.Record(Type.String(), Type.String(), { description: 'Processors and memory.' }),
    ),
    nodeInfo: Type.Optional(
      Type.Object(
        {
          architecture: text('As Go names it: amd64, arm64.'),
          bootID: text('Another one after each boot.'),
          containerRuntimeVersion: text('Empty: there are no containers.'),
          kernelVersion: text('Of Linux.'),
          kubeProxyVersion: text('Empty: there is none.'),
          kubeletVersion: text('Of ashlar.'),
          machineID: text('Empty: it is not to be told to others.'),
          operatingSystem: text('linux.'),
          osImage: text('The distribution.'),
          systemUUID: text('Empty, as machineID.'),
        },
        { description: 'What it runs on.' },
      ),
    ),
    pools: Type.Optional(Type.Integer({ description: 'Pools that it has open.' })),
    replicas: Type.Optional(Type.Integer({ description: 'Replicas that it holds.' })),
    coordinators: Type.Optional(Type.Integer({ description: 'Volumes that it serves.' })),
  },
  { description: 'How it is.' },
);
export type CoreNode = SpecObject<Static<typeof CoreNodeSpec>, Static<typeof CoreNodeStatus>>;

/** In OPENEBS_NAMESPACE: the lease by which a node says that it is there. */
export function nodeLeaseName(nodeName: string): string {
  return `node-${nodeName.toLowerCase()}`;
}

const ROLE = 'node-role.kubernetes.io/';
const addressOf = ({ status }: CoreNode, type: string): string | undefined =>
  status?.addresses?.find((one) => one.type === type)?.address;

export const CORE_NODE: KindDefinition<CoreNode> = {
  verbs: ['get', 'list', 'watch', 'update', 'patch'],
  instead: {
    // Whose a field is, is kept with our Node, by other names.
    apply: 'apply it to nodes.ashlar.io (apiVersion: ashlar.io/v1), or without --server-side',
    create: 'a node comes by itself when `ashlar node` is started on it',
    delete: 'kubectl delete nodes.ashlar.io NODE (ashlar delete node NODE), when it is stopped',
    deletecollection: 'kubectl delete nodes.ashlar.io NODE',
    proxy: 'its API is at status.apiAddress of nodes.ashlar.io NODE',
  },
  group: '',
  version: 'v1',
  kind: 'Node',
  plural: 'nodes',
  shortNames: ['no'],
  namespaced: false,
  hasStatus: true,
  description:
    'A machine that runs ashlar, as Kubernetes tells of nodes. Labels, annotations and spec.unschedulable may be changed.',
  fields: { spec: CoreNodeSpec, status: CoreNodeStatus },
  columns: [
    column('Status', 'Ready, NotReady or Unknown; cordoned nodes say so.', shownState),
    column('Roles', 'By its labels.', ({ metadata }) =>
      Object.keys(metadata.labels ?? {})
        .filter((label) => label.startsWith(ROLE))
        .map((label) => label.slice(ROLE.length))
        .join(','),
    ),
    age,
    column('Version', 'Of ashlar.', ({ status }) => status?.nodeInfo?.kubeletVersion),
    column('Pools', 'Pools it runs.', ({ status }) => status?.pools ?? 0, { type: 'integer' }),
    column('Replicas', 'Replicas it holds.', ({ status }) => status?.replicas ?? 0, {
      type: 'integer',
    }),
    column('Coordinators', 'Volumes it serves.', ({ status }) => status?.coordinators ?? 0, {
      type: 'integer',
    }),
    column('Internal-IP', 'Its address.', (node) => addressOf(node, 'InternalIP'), { wide: true }),
    column('OS-Image', 'Its distribution.', ({ status }) => status?.nodeInfo?.osImage, {
      wide: true,
    }),
    column('Kernel-Version', 'Of Linux.', ({ status }) => status?.nodeInfo?.kernelVersion, {
      wide: true,
    }),
  ],
  // Nothing said of it is no word for the end of a drain. A patch says what it wants; so does who writes what he has read.
  restore: (node, before, { ofPatch, anyVersion }) => {
    if (ofPatch || node.spec?.unschedulable !== undefined) return;
    if (node.spec === undefined || anyVersion) node.spec = before.spec;
  },
  defaults: (node) => {
    node.spec = node.spec?.unschedulable === true ? { unschedulable: true } : {};
  },
  validate: (node, before) =>
    (['finalizers', 'ownerReferences'] as const).flatMap((field): StatusCause[] =>
      isDeepStrictEqual(node.metadata[field] ?? [], before?.metadata[field] ?? [])
        ? []
        : [
            {
              reason: 'FieldValueForbidden',
              field: `metadata.${field}`,
              message: 'are changed at nodes.ashlar.io',
            },
          ],
    ),
  selectable: { 'spec.unschedulable': ({ spec }) => String(spec?.unschedulable === true) },
};

function shownState({ spec, status }: CoreNode): string {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status ?? 'Unknown';
  const state = ready === 'True' ? 'Ready' : ready === 'False' ? 'NotReady' : 'Unknown';
  return spec?.unschedulable === true ? `${state},SchedulingDisabled` : state;
}
