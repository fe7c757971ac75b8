// The ends of streams in `ashlar serve`: snapshots and volumes of the pools here, and of replicas that are coordinated here.
import { randomUUID } from 'node:crypto';
import { formatQuantity } from '../base/index.ts';
import { STORE_BLOCK_BYTES, type StoreSnapshot } from '../store/index.ts';
import {
  type StreamDescription,
  StreamError,
  type StreamSource,
  type StreamTarget,
} from '../stream/index.ts';
import { ApiError, notFound } from './errors.ts';
import { type Receiving, receivingFrom } from './receiving-mark.ts';
import { assertFits, replicatedTarget } from './replicated-receiving.ts';
import { SnapshotSource, VolumeTarget } from './stream-ends.ts';
import type { ReceivePlace, SendRequest, TransferEnds } from './transfers.ts';
import type { VolumeController } from './volume-controller.ts';

export class ServedEnds implements TransferEnds {
  readonly #controller: VolumeController;

  constructor(controller: VolumeController) {
    this.#controller = controller;
  }

  source(request: SendRequest): StreamSource {
    const controller = this.#controller;
    const onReplicas = controller.snapshots.source(request.snapshot, request.from);
    if (onReplicas !== null) return onReplicas;
    const snapshot = this.#snapshot(request.snapshot);
    const { volume } = snapshot.snapshotInfo();
    const from = request.from === null ? null : this.#snapshot(`${volume}@${request.from}`);
    if (from !== null) {
      const all = controller
        .poolOf(volume)
        .snapshots(volume)
        .map(({ name }) => name);
      if (all.indexOf(from.name) >= all.indexOf(snapshot.name)) {
        throw new ApiError('BadRequest', `${from.name} is not older than ${snapshot.name}`);
      }
    }
    return new SnapshotSource(snapshot, from, controller.receiving.blockSize(volume));
  }

  receiving(name: string): Receiving | null {
    return this.#controller.receiving.of(name);
  }

  async has(name: string, snapshotId: string): Promise<boolean> {
    const controller = this.#controller;
    if (controller.find(name) === null) return false;
    await controller.receiving.coordinated(name); // Only then it is known.
    return controller.snapshots.of(name).some(({ id }) => id === snapshotId);
  }

  async target(
    name: string,
    description: StreamDescription,
    fromLba: number,
    place: ReceivePlace,
  ): Promise<StreamTarget> {
    const controller = this.#controller;
    const { snapshotId, snapshot } = description;
    const fromId = description.from?.id ?? null;
    const isThere = controller.find(name) !== null;
    const before = isThere ? controller.receiving.of(name) : null;
    if (fromLba > 0) assertContinues(name, before, description, fromLba);
    const receiving = receivingFrom(description, fromLba);
    assertSameStream(name, before, receiving);
    if (before === null && fromId === null && !isThere) {
      await this.#makeVolume(name, description, receiving, place);
    }
    const coordinated = isThere || fromId === null ? await this.#coordinated(name) : null;
    if (before === null && (isThere || fromId !== null)) {
      const fits = async (): Promise<void> => {
        if (coordinated !== null) await assertFits(name, coordinated.handle, description);
        else this.#assertFitsInPool(name, description);
      };
      // Before hosts lose the volume for nothing; and again when they have.
      await fits();
      await controller.receiving.begin(name, receiving, fits);
    }
    await controller.receiving.grow(name, description.sizeBlocks * STORE_BLOCK_BYTES);
    const keepMark = (lba: number): Promise<void> =>
      controller.receiving.keep(name, { ...receiving, lba });
    const end = (): Promise<void> => controller.receiving.end(name);
    if (coordinated !== null) {
      const options = { name, ...coordinated, description };
      return await replicatedTarget({ ...options, keepMark, end });
    }
    const volume = controller.receiving.volume(name);
    return new VolumeTarget({
      device: volume,
      name,
      keepMark,
      finish: async () => {
        const { epoch, opNumber } = volume.cut();
        const request = { volume: name, name: snapshot, id: snapshotId, epoch, opNumber };
        const pool = controller.poolOf(name);
        await pool.createSnapshots([request], new Date(description.createdAt).getTime());
        await end();
      },
    });
  }

  #snapshot(fullName: string): StoreSnapshot {
    const pool = this.#controller.poolOf(fullName.split('@')[0]!);
    const snapshot = pool.snapshot(fullName);
    if (snapshot === null) throw notFound('snapshots', fullName);
    return snapshot;
  }

  async #coordinated(name: string) {
    return await this.#controller.receiving.coordinated(name);
  }

  async #makeVolume(
    name: string,
    description: StreamDescription,
    receiving: Receiving,
    { replicaNodes, witnessNode }: ReceivePlace,
  ): Promise<void> {
    const size = formatQuantity(description.sizeBlocks * STORE_BLOCK_BYTES);
    const blockSize = description.logicalBlockBytes === 512 ? 512 : 4096;
    const spec = {
      size,
      blockSize,
      ...(replicaNodes.length === 0 ? {} : { replicaNodes: [...replicaNodes] }),
      ...(witnessNode === null ? {} : { witnessNode }),
    };
    const options = { dryRun: false, uid: randomUUID(), receiving };
    await this.#controller.create({ metadata: { name }, spec }, options);
  }

  /** An incremental stream fits only on exactly what it was made from. */
  #assertFitsInPool(name: string, description: StreamDescription): void {
    const { from } = description;
    const pool = this.#controller.poolOf(name);
    const store = pool.volume(name);
    if (from === null) {
      throw mismatch(
        `volume "${name}" exists, and this is a full stream: receive it under another name, or delete the volume`,
      );
    }
    if (store === null) {
      throw mismatch(
        `there is no volume "${name}": this stream holds what changed since ${from.name}; receive that first`,
      );
    }
    const newest = pool.snapshots(name).at(-1);
    if (newest?.snapshotInfo().id !== from.id) {
      throw mismatch(
        `this stream holds what changed since ${from.name}, which is not the newest snapshot of volume "${name}"`,
      );
    }
    const cut = newest.snapshotInfo();
    const head = store.info();
    if (head.epoch > cut.epoch || (head.epoch === cut.epoch && head.op > cut.op)) {
      throw mismatch(
        `volume "${name}" was changed since ${from.name}: a stream on top of that would mix the two`,
      );
    }
  }
}

/** A stream that begins in its middle goes on from where another broke off, and nowhere else. */
export function assertContinues(
  name: string,
  before: Receiving | null,
  description: StreamDescription,
  fromLba: number,
): void {
  const stream = receivingFrom(description, fromLba);
  if (before !== null && isSameStream(before, stream) && fromLba <= before.lba) return;
  const has =
    before === null
      ? 'nothing is being received there'
      : `it goes on at ${streamOf(before)}, block ${before.lba}`;
  throw mismatch(
    `this stream goes on at block ${fromLba} of ${streamOf(stream)}, and volume "${name}" does not: ${has}`,
  );
}

export function assertSameStream(name: string, before: Receiving | null, stream: Receiving): void {
  if (before === null || isSameStream(before, stream)) return;
  throw mismatch(
    `volume "${name}" is in the middle of receiving ${streamOf(before)}; finish that, or delete the volume`,
  );
}

/** Below its mark a volume has only what the stream holds: of one since another base that is something else. */
function isSameStream(one: Receiving, other: Receiving): boolean {
  return one.snapshotId === other.snapshotId && one.fromId === other.fromId;
}

/** As `ashlar send` is asked for it. */
function streamOf({ snapshot, fromId, from }: Receiving): string {
  return fromId === null ? snapshot : `${snapshot} (--from ${from ?? fromId})`;
}

function mismatch(message: string): StreamError {
  return new StreamError('STREAM_MISMATCH', message);
}
