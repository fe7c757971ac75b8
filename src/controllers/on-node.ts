// What objects say is on a node, and whether that is still there.
import { BLOCK_DEVICE, type BlockDevice, POOL, type Pool, type Replica } from '../kinds/index.ts';
import type { Catalog } from './catalog.ts';
import type { Surroundings } from './controller.ts';
import { REPLICAS_ON_NODE } from './indexes.ts';

export interface OnNode {
  readonly pools: readonly Pool[];
  readonly devices: readonly BlockDevice[];
  readonly replicas: readonly Replica[];
}

export function onNode(catalog: Catalog, nodeName: string): OnNode {
  const isThere = ({ spec }: Pool | BlockDevice): boolean => spec.nodeName === nodeName;
  return {
    pools: catalog.all(POOL).filter(isThere),
    devices: catalog.all(BLOCK_DEVICE).filter(isThere),
    replicas: catalog.where(REPLICAS_ON_NODE, nodeName),
  };
}

type Listener = Pick<Surroundings, 'silenceMs' | 'settings'>;

/** It was heard of a moment ago. */
export function isHeard({ silenceMs, settings }: Listener, nodeName: string): boolean {
  const silentMs = silenceMs(nodeName);
  return silentMs !== null && silentMs <= settings.nodeSilentMs;
}

/** It was silent for so long that it is not waited for. */
export function isLongSilent({ silenceMs, settings }: Listener, nodeName: string): boolean {
  const silentMs = silenceMs(nodeName);
  return silentMs !== null && silentMs > settings.nodeGoneMs;
}
