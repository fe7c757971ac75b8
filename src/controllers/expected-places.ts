// Places that are on their way: who applies a pool claim and a claim one after the other, or starts nodes beside each
// other, asks for replicas before all of their places exist. A volume waits for these, for a while, before it is told how
// it is kept. What the pool claim has said that it cannot have is not waited for.
import type { BlockDevice, Node, Pool, StoragePoolClaim, Volume } from '../kinds/index.ts';
import { isDeleting } from './controller.ts';

export interface Expectation {
  readonly volume: Volume;
  /** Whose pools it may be in: the one that it names, or all. */
  readonly poolClaims: readonly StoragePoolClaim[];
  readonly pools: readonly Pool[];
  readonly nodes: readonly Node[];
  readonly devices: readonly BlockDevice[];
  readonly isReady: (nodeName: string) => boolean;
  /** Wall time. */
  readonly nowMs: number;
  /** So long after the volume was asked for, nothing is waited for any more. */
  readonly patienceMs: number;
}

/** What may still give it a place, in words; empty: nothing, or it has waited long enough. */
export function expectedPlaces(expectation: Expectation): string[] {
  const { volume, poolClaims, nowMs, patienceMs } = expectation;
  if (nowMs - createdMs(volume) >= patienceMs) return [];
  const found: string[] = [];
  for (const { metadata, status } of poolClaims) {
    if (status?.phase === undefined && metadata.deletionTimestamp === undefined) {
      found.push(`StoragePoolClaim ${metadata.name} has not asked for its pools yet`);
    }
  }
  const pools = expectation.pools.filter((pool) => mayHold(volume, pool) && !isDeleting(pool));
  for (const { metadata, spec, status } of pools) {
    if (!expectation.isReady(spec.nodeName)) continue;
    // One that was made and is gone, or has failed, is not on its way.
    if (status?.id === undefined && (status?.phase ?? 'Pending') === 'Pending') {
      found.push(`pool ${metadata.name} is being made`);
    }
  }
  for (const { metadata, spec } of expectation.nodes) {
    const { name } = metadata;
    if (spec?.unschedulable === true || spec?.drain === true || isDeleting({ metadata } as Node)) {
      continue;
    }
    // It has just come, and has not told of its disks yet.
    const isNew = nowMs - Date.parse(metadata.creationTimestamp) < patienceMs;
    const hasPool = pools.some((pool) => pool.spec.nodeName === name);
    const hasDevices = expectation.devices.some((device) => device.spec.nodeName === name);
    if (isNew && !hasPool && !hasDevices && expectation.isReady(name)) {
      found.push(`node ${name} has just come`);
    }
  }
  return found;
}

function createdMs({ metadata }: Volume): number {
  return Date.parse(metadata.creationTimestamp);
}

/** Whether replicas of that volume may go into pools like this one. */
export function mayHold({ spec }: Volume, pool: Pool): boolean {
  if (spec.casType === 'jiva') return pool.spec.directory !== undefined;
  if (pool.spec.directory !== undefined) return false;
  return (
    spec.storagePoolClaim === undefined || spec.storagePoolClaim === pool.spec.storagePoolClaim
  );
}
