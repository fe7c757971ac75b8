// Replicas as objects of the API: one a copy of a volume, shown, never written. What is wanted stands in the volume.
import { ageColumn, type KindDefinition, PolledBackend, READ_VERBS } from '../apiserver/index.ts';
import { type Clock, formatBytes } from '../base/index.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';
import type { ReplicaFacts } from './replication.ts';
import { GROUP, GROUP_VERSION, type ReplicaObject, ReplicaSpec, ReplicaStatus } from './schemas.ts';
import type { VolumeController } from './volume-controller.ts';
import type { WantedVolume } from './volume-manifest.ts';

export function replicaKind(
  controller: VolumeController,
  clock: Clock,
): KindDefinition<ReplicaObject> {
  const list = (): ReplicaObject[] =>
    controller.replicas().map(({ volume, facts }) => present(volume, facts));
  return {
    group: GROUP,
    version: 'v1',
    namespaced: false,
    categories: ['ashlar'],
    kind: 'Replica',
    plural: 'replicas',
    shortNames: ['arep'],
    verbs: READ_VERBS,
    description: 'One copy of a volume, on one node.',
    fields: { spec: ReplicaSpec, status: ReplicaStatus },
    backend: new PolledBackend({ list }, clock, Date.now()),
    columns: [
      { name: 'Volume', description: 'Whose copy it is.', value: ({ spec }) => spec.volumeName },
      { name: 'Node', description: 'Where it is.', value: ({ spec }) => spec.nodeName },
      {
        name: 'Status',
        description: 'Healthy, Rebuilding, Degraded, Blank, Witness or Offline.',
        value: ({ status }) => status.phase,
      },
      {
        name: 'Rebuilt',
        description: 'How much of a rebuild is done.',
        value: ({ status }) => (status.rebuild === null ? '' : `${status.rebuild.percent}%`),
      },
      ageColumn,
      {
        name: 'Lag',
        wide: true,
        description: 'Operations issued and not yet applied there.',
        value: ({ status }) => `${status.lagOps} (${formatBytes(status.lagBytes)})`,
      },
      {
        name: 'Speed',
        wide: true,
        description: 'Of the rebuild.',
        value: ({ status }) =>
          status.rebuild === null ? '' : `${formatBytes(status.rebuild.bytesPerSecond)}/s`,
      },
      {
        name: 'Left',
        wide: true,
        description: 'How long the rebuild may still take.',
        value: ({ status }) =>
          status.rebuild === null || status.rebuild.secondsLeft === null
            ? ''
            : `${status.rebuild.secondsLeft}s`,
      },
      {
        name: 'Last-Fault',
        wide: true,
        description: 'Why it was last left out.',
        value: ({ status }) => status.lastFault,
      },
    ],
  };
}

function present(volume: WantedVolume, facts: ReplicaFacts): ReplicaObject {
  const { metadata } = volume;
  return {
    apiVersion: GROUP_VERSION,
    kind: 'Replica',
    metadata: {
      name: facts.id,
      uid: `${metadata.uid}-${facts.id}`,
      resourceVersion: '',
      generation: 1,
      creationTimestamp: metadata.creationTimestamp,
    },
    spec: { volumeName: metadata.name, nodeName: facts.node },
    status: {
      phase: phaseOf(facts),
      connected: facts.connected,
      state: facts.state,
      lagOps: facts.lagOps,
      lagBytes: facts.lagBytes,
      rebuild: rebuildOf(facts),
      lastFault: facts.lastFault,
    },
  };
}

function phaseOf({ connected, state }: ReplicaFacts): string {
  if (!connected) return 'Offline';
  switch (state) {
    case 'InSync':
      return 'Healthy';
    case 'Joining':
      return 'Rebuilding';
    case 'Stale':
      return 'Degraded';
    default:
      return state;
  }
}

function rebuildOf(facts: ReplicaFacts): ReplicaObject['status']['rebuild'] {
  if (facts.state !== 'Joining') return null;
  const { rebuildBlocks, rebuiltBlocks, bytesPerSecond } = facts;
  const doneBytes = rebuiltBlocks * STORE_BLOCK_BYTES;
  const totalBytes = rebuildBlocks * STORE_BLOCK_BYTES;
  return {
    doneBytes,
    totalBytes,
    percent: totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes),
    bytesPerSecond: Math.round(bytesPerSecond),
    secondsLeft:
      bytesPerSecond > 0 ? Math.ceil(Math.max(0, totalBytes - doneBytes) / bytesPerSecond) : null,
  };
}
