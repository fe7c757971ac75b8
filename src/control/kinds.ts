// ashlar's own kinds on one node, as the API server is told of them: their schemas, their columns, where they live.
// Volumes live in the pool (see volume-controller.ts): move the pool and they come along. Sessions and pools are shown.

import { Type } from 'typebox';
import {
  ageColumn,
  type KindDefinition,
  type KubeObject,
  kubeTime,
  PolledBackend,
  READ_VERBS,
} from '../apiserver/index.ts';
import { type Clock, formatBytes } from '../base/index.ts';
import { VOLUME_DECLARATION } from '../kinds/index.ts';
import { volumeActions } from './clone-tools.ts';
import type { PoolHost } from './pool-host.ts';
import { type PoolFacts, poolKind } from './pool-kind.ts';
import { replicaKind } from './replica-kind.ts';
import {
  GROUP,
  GROUP_VERSION,
  type SessionObject,
  SessionStatus,
  type VolumeManifest,
  type VolumeObject,
} from './schemas.ts';
import { snapshotKind } from './snapshots.ts';
import type { VolumeController } from './volume-controller.ts';

/** A session as the iSCSI room reports it (SessionInfo). */
export interface SessionFacts {
  readonly tsih: number;
  readonly type: string;
  readonly target: string;
  readonly initiator: string;
  readonly isid: string;
  readonly peer: string;
  readonly portal: string;
  readonly headerDigest: string;
  readonly dataDigest: string;
  readonly authenticatedAs: string | null;
  readonly sinceMs: number;
  readonly commands: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly outstanding: number;
}

export type { PoolFacts };

export interface NodeKindsOptions {
  readonly controller: VolumeController;
  readonly pools: PoolHost;
  readonly poolFacts: PoolFacts;
  readonly sessions: () => readonly SessionFacts[];
  /** Turns a session's `sinceMs` into wall time. */
  readonly wallTime: (clockMs: number) => Date;
  readonly iqnPrefix: string;
  readonly clock: Clock;
}

const ours = { group: GROUP, version: 'v1', namespaced: false, categories: ['ashlar'] } as const;

export function nodeKinds(options: NodeKindsOptions): KindDefinition[] {
  const { controller, pools, poolFacts, clock } = options;
  const kinds = [
    volumes(options),
    snapshotKind({ controller, clock }),
    replicaKind(controller, clock),
    sessions(options),
    poolKind({ pools, facts: poolFacts, clock }),
  ];
  return kinds as unknown as KindDefinition[];
}

function volumes({ controller, clock }: NodeKindsOptions): KindDefinition<VolumeObject> {
  const backend = new PolledBackend(
    {
      list: () => controller.list(),
      get: (_namespace, name) => controller.find(name),
      create: (object, dryRun) =>
        controller.create(manifestOf(object), { dryRun, uid: object.metadata.uid }),
      update: (object, before, dryRun) => {
        const { metadata, ...rest } = manifestOf(object);
        const { resourceVersion } = before.metadata;
        const sent = { ...rest, metadata: { ...metadata, resourceVersion } };
        return controller.update(object.metadata.name, () => sent, { dryRun, mayMark: true });
      },
      remove: async (before, dryRun, force) => {
        if (dryRun) return;
        const { name, uid } = before.metadata;
        await controller.delete(name, { force, uid, finalized: true });
      },
    },
    clock,
    Date.now(),
  );
  return {
    ...(VOLUME_DECLARATION as unknown as KindDefinition<VolumeObject>),
    nameRule: 'label',
    // A change is checked by the controller, which knows the secrets.
    validate: (object, before) => (before === null ? controller.faults(manifestOf(object)) : []),
    beforeDelete: ({ metadata }, { force }) => controller.assertDeletable(metadata.name, force),
    actions: volumeActions(controller),
    backend,
  };
}

function manifestOf(object: KubeObject): VolumeManifest {
  const { metadata, spec } = object as VolumeObject;
  return { metadata, spec };
}

function sessions(options: NodeKindsOptions): KindDefinition<SessionObject> {
  const { clock } = options;
  return {
    ...ours,
    kind: 'Session',
    plural: 'sessions',
    verbs: READ_VERBS,
    description: 'A host that is logged in over iSCSI.',
    fields: { spec: Type.Object({}), status: SessionStatus },
    backend: new PolledBackend({ list: () => presentSessions(options) }, clock, Date.now()),
    columns: [
      { name: 'Volume', description: 'Which one.', value: ({ status }) => status.volume },
      { name: 'Initiator', description: 'Who.', value: ({ status }) => status.initiator },
      { name: 'Peer', description: 'From where.', value: ({ status }) => status.peer },
      { name: 'Read', value: ({ status }) => formatBytes(status.readBytes) },
      { name: 'Written', value: ({ status }) => formatBytes(status.writtenBytes) },
      ageColumn,
      { name: 'Type', wide: true, value: ({ status }) => status.type },
      { name: 'Portal', wide: true, value: ({ status }) => status.portal },
      { name: 'ISID', wide: true, value: ({ status }) => status.isid },
      { name: 'Digests', wide: true, value: shownDigests },
      { name: 'User', wide: true, value: ({ status }) => status.authenticatedAs },
      { name: 'Commands', wide: true, type: 'integer', value: ({ status }) => status.commands },
      {
        name: 'Outstanding',
        wide: true,
        type: 'integer',
        value: ({ status }) => status.outstanding,
      },
    ],
  };
}

function presentSessions(options: NodeKindsOptions): SessionObject[] {
  return options.sessions().map((session) => {
    const { sinceMs, ...status } = session;
    const prefix = `${options.iqnPrefix}:`;
    const volume = session.target.startsWith(prefix) ? session.target.slice(prefix.length) : null;
    const name = `tsih-${session.tsih}`;
    return {
      apiVersion: GROUP_VERSION,
      kind: 'Session',
      metadata: {
        name,
        uid: `${name}-${session.isid}`,
        resourceVersion: '',
        generation: 1,
        creationTimestamp: kubeTime(options.wallTime(sinceMs)),
      },
      spec: {},
      status: { ...status, volume },
    };
  });
}

function shownDigests({ status }: SessionObject): string {
  const digests = [];
  if (status.headerDigest !== 'None') digests.push('header');
  if (status.dataDigest !== 'None') digests.push('data');
  return digests.join('+');
}
