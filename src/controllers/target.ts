// Which node is to coordinate a volume. It keeps the one that it has while that can.
import { NODE, type Replica, VOLUME, type Volume } from '../kinds/index.ts';
import type { Surroundings } from './controller.ts';
import { PENDING_GROUPS } from './indexes.ts';
import { isHeard } from './on-node.ts';

export type VolumeTarget = NonNullable<NonNullable<Volume['status']>['target']>;

export interface Candidates {
  /** Its copies that are not being deleted, also those asked for just now. */
  readonly replicas: readonly Replica[];
  /** Fewer are not begun with. */
  readonly minimum: number;
  /** Places that are on their way. */
  readonly waitsFor: readonly string[];
}

/** Undefined: nobody yet. An epoch above the one before is a new assignment. */
export function targetOf(
  around: Surroundings,
  volume: Volume,
  { replicas, minimum, waitsFor }: Candidates,
): VolumeTarget | undefined {
  const { catalog } = around;
  const now = volume.status?.target;
  if (now === undefined && replicas.length < minimum) return undefined;
  // How it is kept is decided with the first assignment: places that are on their way come first.
  if (waitsFor.length > 0) return undefined;
  // Kept in place it can be served nowhere else: not by a replica that was placed beside it and has nothing, and not by
  // nobody, because its node is to be drained. That node gives it a record first, then others may have it.
  if (volume.status?.mode === 'single') return whereItIs(volume, replicas);
  const usable = (nodeName: string): boolean => {
    const node = catalog.get(NODE, nodeName);
    return node !== null && node.spec.drain !== true && isHeard(around, nodeName);
  };
  const together = groupNode(around, volume);
  if (now !== undefined && together !== undefined && usable(together)) {
    return together === now.nodeName ? now : { nodeName: together, epoch: now.epoch + 1 };
  }
  if (now !== undefined && usable(now.nodeName)) return now;
  const load = new Map<string, number>();
  for (const other of catalog.all(VOLUME)) {
    const name = other.status?.target?.nodeName;
    if (name !== undefined) load.set(name, (load.get(name) ?? 0) + 1);
  }
  const [best] = replicas
    .filter(({ spec }) => usable(spec.nodeName))
    .sort(
      (a, b) =>
        Number(b.status?.phase === 'Healthy') - Number(a.status?.phase === 'Healthy') ||
        (load.get(a.spec.nodeName) ?? 0) - (load.get(b.spec.nodeName) ?? 0) ||
        (a.metadata.name < b.metadata.name ? -1 : 1),
    );
  // Nobody can: what was said stands, for when the node comes back.
  if (best === undefined) return now;
  return { nodeName: best.spec.nodeName, epoch: (now?.epoch ?? 0) + 1 };
}

/** Of a volume with one replica that is read and written where that is. */
function whereItIs({ status }: Volume, replicas: readonly Replica[]): VolumeTarget | undefined {
  const only = replicas.find(({ metadata }) =>
    status?.members?.some(({ replica }) => replica === metadata.name),
  );
  const now = status?.target;
  // Not to be found: what was said stands.
  if (only === undefined || only.spec.nodeName === now?.nodeName) return now;
  return { nodeName: only.spec.nodeName, epoch: (now?.epoch ?? 0) + 1 };
}

/**
 * P5: one instant is of one node. Volumes of a group that is to be taken are coordinated where its first is, and stay there;
 * of several groups the oldest decides, so that no two pull at one volume.
 */
function groupNode({ catalog }: Surroundings, { metadata, status }: Volume): string | undefined {
  if (status?.mode !== 'replicated') return undefined;
  const [oldest] = catalog
    .where(PENDING_GROUPS, 'yes')
    .filter(({ spec }) => [spec.volumeName, ...(spec.alsoVolumes ?? [])].includes(metadata.name))
    .sort(
      (a, b) =>
        a.metadata.creationTimestamp.localeCompare(b.metadata.creationTimestamp) ||
        (a.metadata.name < b.metadata.name ? -1 : 1),
    );
  if (oldest === undefined) return undefined;
  return catalog.get(VOLUME, oldest.spec.volumeName)?.status?.target?.nodeName;
}
