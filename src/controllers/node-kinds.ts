// The control plane's kinds with what can be done to their objects beyond changing them, and what other objects say against
// a change.
import type { KindDefinition, ObjectClient } from '../apiserver/index.ts';
import { POOL, VOLUME } from '../kinds/index.ts';
import { assertPoolDestroyable, poolActions } from './pool-actions.ts';
import { growthFaults } from './promises.ts';
import { volumeActions } from './volume-actions.ts';

/** `client`: asked when something is done. */
export function withActions(kind: KindDefinition, client: () => ObjectClient): KindDefinition {
  if (kind === (VOLUME as unknown as KindDefinition)) {
    const volume: typeof VOLUME = {
      ...VOLUME,
      actions: volumeActions(client),
      validate: async (object, before, context) => [
        ...((await VOLUME.validate?.(object, before, context)) ?? []),
        ...(await growthFaults(client(), object, before)),
      ],
    };
    return volume as unknown as KindDefinition;
  }
  if (kind === (POOL as unknown as KindDefinition)) {
    const pool: typeof POOL = {
      ...POOL,
      actions: poolActions(client),
      beforeDelete: (object) => assertPoolDestroyable(client(), object),
    };
    return pool as unknown as KindDefinition;
  }
  return kind;
}
