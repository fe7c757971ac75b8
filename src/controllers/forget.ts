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
  type Volume,
} from '../kinds/index.ts';
import { type Controller, isDeleting, type Surroundings, Writer } from './controller.ts';
import { REPLICAS_IN_POOL, REPLICAS_OF_VOLUME, SNAPSHOTS_OF_VOLUME } from './indexes.ts';
import { Finalizer } from './names.ts';
import { isLongSilent, onNode } from './on-node.ts';

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
    if (!isLongSilent(this.#around, name)) return false;
    // Not on the word of a view that may be behind: it may have come back.
    return (await this.#writer.live(NODE, null, name)) === null;
  }

  async #forget(name: string): Promise<void> {
    if (!(await this.#isForgotten(name))) return;
    const { catalog } = this.#around;
    const isHeld = ({ metadata }: Pool): boolean =>
      catalog.where(REPLICAS_IN_POOL, metadata.name).length > 0;
    const { replicas, devices, pools } = onNode(catalog, name);
    for (const replica of replicas) await this.#letGo(replica);
    const held = pools.filter(isHeld).flatMap(({ spec }) => spec.devices ?? []);
    // Before its pools: a claim that lists them would ask for those again.
    for (const device of devices) {
      if (!held.includes(device.metadata.name)) await this.#writer.remove(BLOCK_DEVICE, device);
    }
    for (const pool of pools) {
      if (isHeld(pool)) continue;
      // It may have come back while the others were let go of.
      if (!(await this.#isForgotten(name))) return;
      await this.#forgetPool(pool);
    }
  }

  /**
   * As one that was exported: its node may return at any of these steps, and of such a pool it erases nothing and goes on with
   * what is left of them; a pool that is only deleted it would erase.
   */
  async #forgetPool({ metadata, spec }: Pool): Promise<void> {
    const { name } = metadata;
    const there = await this.#writer.live<Pool>(POOL, null, name);
    if (there === null) return;
    const marked = await this.#writer.status(POOL, there, (status) => {
      status.phase = 'Exported';
    });
    await this.#writer.remove(POOL, marked);
    const left = await this.#writer.live<Pool>(POOL, null, name);
    if (left !== null) await this.#writer.removeFinalizer(POOL, left, Finalizer.Pool);
    const { nodeName } = spec;
    this.#around.log.warn({ pool: name, node: nodeName }, 'a pool is forgotten with its node');
  }

  /** Its data stays where it is, and is nobody's. */
  async #letGo(replica: Replica): Promise<void> {
    const { catalog, log, events } = this.#around;
    const { volumeName, nodeName } = replica.spec;
    const volume = await this.#writer.live(VOLUME, null, volumeName);
    if (volume === null) await this.#writer.remove(REPLICA, replica);
    if (volume !== null && isDeleting(volume)) await this.#letGoOfSnapshots(volume);
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

  /** Of a volume that goes: those that somebody has deleted, and that nobody can delete by themselves any more. */
  async #letGoOfSnapshots(volume: Volume): Promise<void> {
    const { catalog, events } = this.#around;
    const why = await this.#whyNeverServed(volume);
    if (why === '') return;
    for (const snapshot of catalog.where(SNAPSHOTS_OF_VOLUME, volume.metadata.name)) {
      if (!isDeleting(snapshot)) continue;
      await this.#writer.removeFinalizer(SNAPSHOT, snapshot, Finalizer.Snapshot);
      const message = `snapshot ${snapshot.metadata.name} goes with the copies that hold it: ${why}`;
      events.record(volume, 'Warning', 'SnapshotForgotten', message);
    }
  }

  /** Of one that is deleted, in words: with what is left of it no coordinator can begin. Empty: one may. */
  async #whyNeverServed({ metadata, status }: Volume): Promise<string> {
    const replicas = this.#around.catalog.where(REPLICAS_OF_VOLUME, metadata.name);
    const named = status?.members?.map(({ replica }) => replica);
    const members = named ?? replicas.map((replica) => replica.metadata.name);
    const left: Replica[] = [];
    for (const replica of replicas) {
      if (!members.includes(replica.metadata.name)) continue;
      if (!(await this.#isForgotten(replica.spec.nodeName))) left.push(replica);
    }
    const gone = `${members.length - left.length} of its ${members.length} members are on nodes that are gone for good`;
    if (left.length < Math.floor(members.length / 2) + 1) return gone;
    // It has no coordinator: the one that has it serves it.
    if (status?.mode === 'single') return '';
    // V2: as its coordinator told of them last.
    const hasSource = left.some((replica) => replica.status?.state === 'InSync');
    return hasSource ? '' : `${gone}, and none that is left was in sync`;
  }
}
