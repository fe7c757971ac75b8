// How a volume is, in words.
import type { Replica } from '../kinds/index.ts';

export interface Wanted {
  readonly replicas: number;
  readonly minimum: number;
  readonly placement: 'node' | 'pool';
  /** Beside two replicas only: with three it would be a vote too many. */
  readonly witness: boolean;
}

export interface WitnessState {
  /** It is a member, and its node is there and no copy's. */
  readonly votes: boolean;
  /** Empty: there is none. */
  readonly nodeName: string;
  readonly phase: string;
  /** Why there is none, or none on a node of its own; empty: all is well with that. */
  readonly missing: string;
}

/** How a volume is and what it lacks, as its conditions and events say it. */
export function describe(is: {
  readonly state: string;
  readonly wanted: Wanted;
  readonly replicas: readonly Replica[];
  readonly inSync: readonly Replica[];
  readonly missing: string;
  readonly isServed: boolean;
  readonly waitsFor: readonly string[];
  readonly witness: WitnessState | null;
  /** Those that are to leave their node or pool, and have no other place. */
  readonly stuck: readonly Replica[];
}): string {
  const { state, wanted, replicas, inSync, missing, isServed, waitsFor, witness, stuck } = is;
  const count = `${inSync.length} of ${wanted.replicas} replicas in sync`;
  const beside = witness === null ? '' : `, a witness on ${witness.nodeName}`;
  if (state === 'Healthy') {
    if (stuck.length === 0) return count + beside;
    const where = [...new Set(stuck.map(({ spec }) => spec.nodeName))].join(', ');
    return `${count}${beside}; what it has on ${where} cannot leave: ${missing}`;
  }
  const parts = [isServed ? count : 'no node serves it yet'];
  if (replicas.length < wanted.replicas) {
    const lack = wanted.replicas - replicas.length;
    parts.push(
      `${lack} ${lack === 1 ? 'has' : 'have'} no place${missing === '' ? '' : `: ${missing}`}`,
    );
  }
  if (waitsFor.length > 0) {
    const which = waitsFor.slice(0, 5).join(', ');
    parts.push(`it waits for them a while before it makes do with fewer (${which})`);
  }
  if (replicas.length < wanted.minimum) {
    parts.push(`it is served once ${wanted.minimum} have one (MinimumReplicas)`);
  }
  const behind = replicas.filter((replica) => !inSync.includes(replica));
  for (const { spec, status } of behind.slice(0, 5)) {
    parts.push(`the one on ${spec.nodeName} is ${status?.phase ?? 'Pending'}`);
  }
  if (witness !== null && witness.missing !== '') parts.push(witness.missing);
  else if (witness !== null && !witness.votes && witness.nodeName !== '') {
    parts.push(`its witness on ${witness.nodeName} is ${witness.phase}`);
  }
  return parts.join('; ');
}
