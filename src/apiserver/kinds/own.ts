// The kinds that every server has, whatever else it has.
import type { ObjectStore } from '../../objects/index.ts';
import type { KindDefinition } from '../kind.ts';
import { EVENTS, LEASES, NAMESPACES } from './core.ts';
import { newerEvents } from './events.ts';
import { REVIEWS } from './reviews.ts';

/** `store`: that of the server. */
export function ownKinds(store: ObjectStore): KindDefinition[] {
  const kept = [NAMESPACES, EVENTS, newerEvents(store), LEASES] as unknown as KindDefinition[];
  return [...kept, ...REVIEWS];
}
