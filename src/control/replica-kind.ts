// Replicas as objects of the API: one a copy of a volume, shown, never written. What is wanted stands in the volume.
import {
  type Condition,
  type KindDefinition,
  PolledBackend,
  READ_VERBS,
} from '../apiserver/index.ts';
import type { Clock } from '../base/index.ts';
import { REPLICA, type Replica, rebuildStatus } from '../kinds/index.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';
import type { ReplicaFacts } from './replication.ts';
import { GROUP_VERSION } from './schemas.ts';
import type { VolumeController } from './volume-controller.ts';
import type { WantedVolume } from './volume-manifest.ts';

export function replicaKind(controller: VolumeController, clock: Clock): KindDefinition<Replica> {
  const list = (): Replica[] =>
    controller.replicas().map(({ volume, facts }) => present(volume, facts));
  return {
    ...REPLICA,
    verbs: READ_VERBS,
    backend: new PolledBackend({ list }, clock, Date.now()),
  };
}

function present(volume: WantedVolume, facts: ReplicaFacts): Replica {
  const { metadata, size } = volume;
  const isWitness = volume.replicas.some(({ id, witness }) => id === facts.id && witness === true);
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
    spec: {
      volumeName: metadata.name,
      nodeName: facts.node,
      poolName: '',
      size,
      ...(isWitness ? { witness: true } : {}),
    },
    status: {
      phase: phaseOf(facts),
      connected: facts.connected,
      state: facts.state,
      lagOps: facts.lagOps,
      lagBytes: facts.lagBytes,
      ...rebuildOf(facts),
      lastFault: facts.lastFault,
      conditions: [readyOf(facts)],
    },
  };
}

/** Why it is as it is. Since when is not known: what is polled has no memory. */
function readyOf(facts: ReplicaFacts): Condition {
  const phase = phaseOf(facts);
  if (phase === 'Healthy' || phase === 'Witness') {
    return { type: 'Ready', status: 'True', reason: facts.state, message: 'in sync' };
  }
  const { connected, state, lastFault, linkReason } = facts;
  return {
    type: 'Ready',
    status: 'False',
    reason: connected ? state : 'Offline',
    message: (connected ? lastFault : linkReason || lastFault) || phase.toLowerCase(),
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

function rebuildOf(facts: ReplicaFacts): Pick<NonNullable<Replica['status']>, 'rebuild'> {
  if (facts.state !== 'Joining') return {};
  const { rebuildBlocks, rebuiltBlocks, bytesPerSecond } = facts;
  const doneBytes = rebuiltBlocks * STORE_BLOCK_BYTES;
  const totalBytes = rebuildBlocks * STORE_BLOCK_BYTES;
  return { rebuild: rebuildStatus({ doneBytes, totalBytes, bytesPerSecond }) };
}
