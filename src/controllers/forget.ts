// Nodes that are gone for good: whose object was deleted, and whose lease is long over. What only such a node could take
// down by itself is let go of here, so that nothing waits for it for ever: replicas that their volume has let go of or
// that go with it, snapshots that no other node holds, devices, and at last its pools.
//
// What is the only sign that there once was data stays until somebody deletes its volume: that a node will not come back
// is an operator's word about a machine, not about what was on it.
import type { KindDefinition } from '../apiserver/index.ts';
import {
  BLOCK_DEVICE,
  NODE,
  POOL,
  type Pool,
  REPLICA,
  type Replica,
  SNAPSHOT,
  VOLUME,
} from '../kinds/index.ts';
import { type Controller, isDeleting, type Surroundings, Writer } from './controller.ts';
import {
  REPLICAS_IN_POOL,
  REPLICAS_OF_VOLUME,
  REPLICAS_ON_NODE,
  SNAPSHOTS_OF_VOLUME,
} from './indexes.ts';
import { Finalizer } from './names.ts';

/** What waits for a volume's coordinator, or for an operator, is looked at again after this long. */
const LOOK_AGAIN_MS = 5000;

export class ForgetController implements Controller {
  readonly name = 'forgotten-nodes';
  readonly kind = NODE as unknown as KindDefinition;
  readonly triggers = [];
  readonly #around: Surroundings;
  readonly #writer: Writer;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#writer = new Writer(around);
  }

  async reconcile(key: string): Promise<number | undefined> {
    const { catalog } = this.#around;
    const [first] = catalog
      .all(NODE)
      .map(({ metadata }) => metadata.name)
      .sort();
    // A deleted node asks for itself; when another process begins to lead, the first one asks for all of them.
    const absent = this.#absent();
    const names = key === first ? [...absent] : absent.has(key) ? [key] : [];
    for (const name of names) await this.#forget(name);
    return names.length > 0 ? LOOK_AGAIN_MS : undefined;
  }

  /** Nodes that something is still said to be on. */
  #absent(): Set<string> {
    const { catalog } = this.#around;
    const named = [...catalog.all(POOL), ...catalog.all(BLOCK_DEVICE)];
    return new Set(
      named.map(({ spec }) => spec.nodeName).filter((name) => catalog.get(NODE, name) === null),
    );
  }

  async #isForgotten(name: string): Promise<boolean> {
    const { silenceMs, settings } = this.#around;
    const silentMs = silenceMs(name);
    if (silentMs === null || silentMs <= settings.nodeGoneMs) return false;
    // Not on the word of a view that may be behind: it may have come back.
    return (await this.#writer.live(NODE, null, name)) === null;
  }

  async #forget(name: string): Promise<void> {
    if (!(await this.#isForgotten(name))) return;
    const { catalog, log } = this.#around;
    const isHeld = ({ metadata }: Pool): boolean =>
      catalog.where(REPLICAS_IN_POOL, metadata.name).length > 0;
    for (const replica of catalog.where(REPLICAS_ON_NODE, name)) await this.#letGo(replica);
    // Before its pools: a claim that lists them would ask for those again.
    for (const device of catalog.all(BLOCK_DEVICE)) {
      if (device.spec.nodeName !== name) continue;
      const used = catalog
        .all(POOL)
        .some((pool) => pool.spec.devices?.includes(device.metadata.name) === true && isHeld(pool));
      if (!used) await this.#writer.remove(BLOCK_DEVICE, device);
    }
    for (const pool of catalog.all(POOL)) {
      if (pool.spec.nodeName !== name || isHeld(pool)) continue;
      // It may have come back while the others were let go of.
      if (!(await this.#isForgotten(name))) return;
      const live = await this.#writer.live<Pool>(POOL, null, pool.metadata.name);
      if (live === null) continue;
      // The finalizer first: who finds it in a pool that is deleted erases what is there, and its node may return any time.
      await this.#writer.removeFinalizer(POOL, live, Finalizer.Pool);
      await this.#writer.remove(POOL, live);
      log.warn({ pool: pool.metadata.name, node: name }, 'a pool is forgotten with its node');
    }
  }

  /** Its data stays where it is, and is nobody's. */
  async #letGo(replica: Replica): Promise<void> {
    const { catalog, log, events } = this.#around;
    const { volumeName, nodeName } = replica.spec;
    const volume = await this.#writer.live(VOLUME, null, volumeName);
    if (volume === null) await this.#writer.remove(REPLICA, replica);
    if (volume !== null && isDeleting(volume)) await this.#letGoOfSnapshots(volumeName);
    const live = await this.#writer.live(REPLICA, null, replica.metadata.name);
    if (live === null || !isDeleting(live)) return;
    const { name } = live.metadata;
    const isMember = volume?.status?.members?.some((member) => member.replica === name) === true;
    // Its coordinator lets go of it first, and has that on record (E6).
    if (volume !== null && !isDeleting(volume) && isMember) return;
    await this.#writer.removeFinalizer(REPLICA, live, Finalizer.Replica);
    log.warn({ volume: volumeName, replica: name, node: nodeName }, 'a replica is forgotten');
    const left = catalog.get(VOLUME, volumeName);
    const why = `the replica on ${nodeName} is forgotten with its node`;
    if (left !== null) events.record(left, 'Warning', 'ReplicaForgotten', why);
  }

  /** Of a volume that goes: those that somebody has deleted, and that nobody is left to delete. */
  async #letGoOfSnapshots(volumeName: string): Promise<void> {
    const { catalog } = this.#around;
    for (const { spec } of catalog.where(REPLICAS_OF_VOLUME, volumeName)) {
      if (catalog.get(NODE, spec.nodeName) !== null) return;
      if (!(await this.#isForgotten(spec.nodeName))) return;
    }
    for (const snapshot of catalog.where(SNAPSHOTS_OF_VOLUME, volumeName)) {
      if (!isDeleting(snapshot)) continue;
      await this.#writer.removeFinalizer(SNAPSHOT, snapshot, Finalizer.Snapshot);
    }
  }
}
