// The ends of streams on a node of the control plane: snapshots of volumes that it coordinates or keeps are sent, replicated
// volumes that it coordinates are received into. How far a stream has come is kept in the volume's record, so that whoever
// coordinates it next knows, too, that no host may look.
import { formatQuantity } from '../../base/index.ts';
import {
  ApiError,
  applyAll,
  assertContinues,
  assertFits,
  assertSameBlocks,
  assertSameStream,
  type ReceivePlace,
  type Receiving,
  type ReplicatedHandle,
  ReplicatedSource,
  receivingFrom,
  replicatedTarget,
  type SendRequest,
  SnapshotSource,
  type TransferEnds,
} from '../../control/index.ts';
import {
  Finalizer,
  Label,
  REPLICAS_OF_VOLUME,
  SNAPSHOTS_OF_VOLUME,
  type Writer,
} from '../../controllers/index.ts';
import {
  blockSizeOf,
  NODE,
  quantityBytes,
  SNAPSHOT,
  type Snapshot,
  VOLUME,
  type Volume,
} from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES } from '../../store/index.ts';
import { type StreamDescription, StreamError, type StreamTarget } from '../../stream/index.ts';
import { cutIdOf } from './snapshot-groups.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';
import type { VolumeKeeper } from './volumes.ts';

const RECEIVING_KEY = 'ashlar.receiving';
/** A volume that has just been made may take some seconds. */
const SERVED_WITHIN_MS = 30_000;
const LOOK_MS = 100;
/** What is whole is whole: nothing is wrong where hosts are let in later. */
const EXPORTED_WITHIN_MS = 5000;

/** The stream that is being received into a volume, or was until it broke off; null: none. */
export function receivingIn(handle: ReplicatedHandle): Receiving | null {
  const bytes = handle.getBlob(RECEIVING_KEY);
  return bytes === null ? null : (JSON.parse(Buffer.from(bytes).toString()) as Receiving);
}

async function putReceiving(handle: ReplicatedHandle, receiving: Receiving | null): Promise<void> {
  const value = receiving === null ? null : Buffer.from(JSON.stringify(receiving));
  await handle.putBlob(RECEIVING_KEY, value);
}

/** The snapshot at the end of a stream is there: it gets its object, and hosts may log in. Done twice it comes out the same. */
export async function endReceiving(
  writer: Writer,
  volume: string,
  handle: ReplicatedHandle,
  { snapshot, snapshotId }: Receiving,
): Promise<void> {
  const names = [`${volume}.${snapshot}`, `${volume}.${snapshot}-${snapshotId.slice(0, 8)}`];
  for (const name of names) {
    const made = await writer.ensure<Snapshot>(SNAPSHOT, {
      metadata: { name, labels: { [Label.Volume]: volume }, finalizers: [Finalizer.Snapshot] },
      spec: { volumeName: volume, receivedId: snapshotId },
    });
    if (made.spec.receivedId === snapshotId) break; // Else it is another one's name.
  }
  await putReceiving(handle, null);
}

export interface NodeEndsOptions {
  readonly around: NodeSurroundings;
  readonly open: OpenPools;
  readonly writer: Writer;
  readonly volumes: VolumeKeeper;
}

export class NodeEnds implements TransferEnds {
  readonly #options: NodeEndsOptions;

  constructor(options: NodeEndsOptions) {
    this.#options = options;
  }

  source({ snapshot: fullName, from: fromName }: SendRequest) {
    const [name = '', short = ''] = fullName.split('@');
    const volume = this.#volume(name);
    this.#assertHere(volume);
    const snapshot = this.#snapshot(name, short);
    const from = fromName === null ? null : this.#snapshot(name, fromName);
    const logicalBlockBytes = blockSizeOf(volume.spec);
    if (volume.status?.mode === 'single') {
      const pool = this.#poolOf(name);
      const find = ({ metadata }: Snapshot) => {
        const found = pool?.snapshot(`${name}@${metadata.name}`) ?? null;
        if (found === null) throw notThere(`${name}@${metadata.name}`);
        return found;
      };
      const earlier = from === null ? null : find(from);
      const later = find(snapshot);
      assertOlder(pool?.snapshots(name).map((one) => one.name) ?? [], earlier?.name, later.name);
      return new SnapshotSource(later, earlier, logicalBlockBytes);
    }
    const handle = this.#options.volumes.handle(name);
    if (handle?.serving !== true) throw new ApiError('Conflict', `volumes "${name}" is not served`);
    const all = handle.snapshots();
    const find = (object: Snapshot) => {
      const found = all.find(({ id }) => id === cutIdOf(object));
      if (found === undefined) throw notThere(`${name}@${object.metadata.name}`);
      return found;
    };
    const earlier = from === null ? null : find(from);
    const later = find(snapshot);
    assertOlder(
      all.map(({ id }) => id),
      earlier?.id,
      later.id,
    );
    const source = { handle, volume: name, volumeId: volume.metadata.uid, logicalBlockBytes };
    return new ReplicatedSource({
      ...source,
      snapshot: shortened(later, name),
      from: earlier === null ? null : shortened(earlier, name),
    });
  }

  receiving(name: string): Receiving | null {
    this.#assertHere(this.#volume(name));
    const handle = this.#options.volumes.handle(name);
    return handle === null ? null : receivingIn(handle);
  }

  async has(name: string, snapshotId: string): Promise<boolean> {
    const { handle } = await this.#coordinated(name);
    return handle.snapshots().some(({ id }) => id === snapshotId);
  }

  async target(
    name: string,
    description: StreamDescription,
    fromLba: number,
    place: ReceivePlace,
  ): Promise<StreamTarget> {
    const { volumes, around, writer } = this.#options;
    if (place.replicaNodes.length > 0 || place.witnessNode !== null) {
      throw new ApiError('BadRequest', 'the control plane finds the nodes: say none');
    }
    const { handle, volume } = await this.#coordinated(name);
    const before = receivingIn(handle);
    if (fromLba > 0) assertContinues(name, before, description, fromLba);
    const receiving = receivingFrom(description, fromLba);
    assertSameStream(name, before, receiving);
    if (before === null) {
      // Before hosts lose the volume for nothing; and again when they have.
      await assertFits(name, handle, description);
      try {
        await volumes.withhold(name); // Where it fails half done hosts have it back, too.
        await applyAll(handle);
        await assertFits(name, handle, description);
        assertSameBlocks(name, volume, description);
        await this.#makeRoom(name, description);
        await putReceiving(handle, receiving);
      } finally {
        volumes.release(name);
      }
    }
    return await replicatedTarget({
      name,
      handle,
      volume,
      turn: around.turn,
      description,
      keepMark: (lba) => putReceiving(handle, { ...receiving, lba }),
      end: async () => {
        await endReceiving(writer, name, handle, receiving);
        volumes.nudge(name);
        await this.#exported(name);
      },
    });
  }

  /** Where the stream is of a larger volume, by the rules of growing; else in words. The volume itself grows later. */
  async #makeRoom(name: string, { sizeBlocks }: StreamDescription): Promise<void> {
    const { writer } = this.#options;
    const wantedBytes = sizeBlocks * STORE_BLOCK_BYTES;
    const live = await writer.live<Volume>(VOLUME, null, name);
    if (live === null || wantedBytes <= (quantityBytes(live.spec.size) ?? 0)) return;
    const size = formatQuantity(wantedBytes);
    const { claimRef } = live.spec;
    if (claimRef !== undefined) {
      throw new ApiError(
        'Conflict',
        `volumes "${name}" has ${live.spec.size}, and the stream is of one with ${size}: let its claim ${claimRef.namespace}/${claimRef.name} grow first`,
      );
    }
    await writer.update(VOLUME, live, ({ spec }) => {
      spec.size = size;
    });
  }

  /** Who sent the stream logs in next; an initiator that is refused may try again only after a while. */
  async #exported(name: string): Promise<void> {
    const { around, volumes } = this.#options;
    const endMs = around.clock.nowMs() + EXPORTED_WITHIN_MS;
    while (!volumes.isExported(name) && around.clock.nowMs() < endMs) {
      await new Promise<void>((resolve) => around.clock.schedule(LOOK_MS, resolve));
    }
  }

  #volume(name: string): Volume {
    const volume = this.#options.around.catalog.get(VOLUME, name);
    if (volume !== null) return volume;
    throw new StreamError(
      'STREAM_MISMATCH',
      `there is no volume "${name}": make one first, replicated as it is to be, and receive into that`,
    );
  }

  /** Throws with where to ask instead. */
  #assertHere({ metadata, status }: Volume): void {
    const { nodeName, catalog } = this.#options.around;
    const at = status?.target?.nodeName;
    if (at === nodeName) return;
    const where = catalog.get(NODE, at ?? '')?.status?.apiAddress;
    const instead = where === undefined ? '' : `; ask its API: --api ${where}`;
    const who = at === undefined ? 'nobody yet' : at;
    throw new ApiError('Conflict', `volumes "${metadata.name}" is served by ${who}${instead}`);
  }

  async #coordinated(name: string) {
    const { around, volumes } = this.#options;
    const endMs = around.clock.nowMs() + SERVED_WITHIN_MS;
    for (;;) {
      const object = this.#volume(name);
      const { status } = object;
      if (status?.target !== undefined) this.#assertHere(object);
      if (status?.mode === 'single') {
        throw new ApiError(
          'Conflict',
          `volumes "${name}" was made with one replica: receive into one that was asked for with several`,
        );
      }
      const handle = volumes.handle(name);
      const volume = handle?.volume ?? null;
      if (handle !== null && volume !== null && handle.serving) return { handle, volume };
      if (around.clock.nowMs() >= endMs) {
        const why = handle?.advice().join(' ') ?? 'it has no coordinator here yet';
        throw new ApiError('Conflict', `volumes "${name}" is not served: ${why}`);
      }
      await new Promise<void>((resolve) => around.clock.schedule(LOOK_MS, resolve));
    }
  }

  #snapshot(volume: string, short: string): Snapshot {
    const all = this.#options.around.catalog.where(SNAPSHOTS_OF_VOLUME, volume);
    const found =
      all.find(({ metadata }) => metadata.name === short) ??
      all.find(({ metadata }) => metadata.name === `${volume}.${short}`) ??
      all.find(({ spec }) => spec.snapshotRef?.name === short);
    if (found === undefined) throw notThere(`${volume}@${short}`);
    return found;
  }

  #poolOf(volume: string) {
    const { around, open } = this.#options;
    const replica = around.catalog
      .where(REPLICAS_OF_VOLUME, volume)
      .find(({ spec }) => spec.nodeName === around.nodeName);
    return open.get(replica?.spec.poolName ?? '');
  }
}

/** Of `db`, `db.monday` is called `monday`: under another volume it will be called after that. */
function shortened<T extends { readonly name: string }>(one: T, volume: string): T {
  return one.name.startsWith(`${volume}.`)
    ? { ...one, name: one.name.slice(volume.length + 1) }
    : one;
}

function assertOlder(all: readonly string[], from: string | undefined, to: string): void {
  if (from === undefined || all.indexOf(from) < all.indexOf(to)) return;
  throw new ApiError('BadRequest', `${from} is not older than ${to}`);
}

function notThere(fullName: string): ApiError {
  return new ApiError('NotFound', `snapshots "${fullName}" not found`);
}
