// Volumes that a stream is received into. Until the stream is whole no host may log in.
import { type Clock, formatQuantity, type Turn } from '../base/index.ts';
import type { Volume } from '../volume/index.ts';
import { ApiError } from './errors.ts';
import { type Exporter, type HostedVolumes, keepManifest } from './hosted-volumes.ts';
import { putReceiving, type Receiving, receivingOf } from './receiving-mark.ts';
import { applyAll } from './replicated-receiving.ts';
import type { ReplicatedHandle } from './replication.ts';
import type { VolumeOpening } from './volume-opening.ts';
import { busy } from './volume-parts.ts';

export interface VolumeReceivingOptions {
  readonly table: HostedVolumes;
  readonly opening: VolumeOpening;
  readonly exporter: Exporter;
  readonly clock: Clock;
  readonly turn: Turn;
}

/** A volume that has just been made, or a daemon that has just begun, may take some seconds. */
const SERVED_WITHIN_MS = 30_000;
const LOOK_MS = 50;

/** A volume on replicas that is served here. */
export interface Coordinated {
  readonly handle: ReplicatedHandle;
  readonly volume: Volume;
  readonly turn: Turn;
}

export class VolumeReceiving {
  readonly #options: VolumeReceivingOptions;
  readonly #table: HostedVolumes;
  readonly #opening: VolumeOpening;

  constructor(options: VolumeReceivingOptions) {
    this.#options = options;
    this.#table = options.table;
    this.#opening = options.opening;
  }

  /** What hosts count in. */
  blockSize(name: string): 512 | 4096 {
    return this.#table.find(name).wanted.blockSize;
  }

  /** The stream that is being received into the volume, or was until it broke off; null: none. */
  of(name: string): Receiving | null {
    return receivingOf(this.#table.find(name).store);
  }

  /** Of a volume on replicas, when its coordinator serves it; null: its blocks are in a pool here. */
  async coordinated(name: string): Promise<Coordinated | null> {
    const { clock, turn } = this.#options;
    const endMs = clock.nowMs() + SERVED_WITHIN_MS;
    for (;;) {
      const { volume, replicated } = this.#table.find(name);
      if (replicated === null) return null;
      if (replicated.serving && volume !== null) return { handle: replicated, volume, turn };
      if (clock.nowMs() >= endMs) {
        const why = replicated.advice().join(' ');
        throw new ApiError('Conflict', `volumes "${name}" is not served: ${why}`);
      }
      await new Promise<void>((resolve) => clock.schedule(LOOK_MS, resolve));
    }
  }

  /** The volume to write into. Throws where it cannot be opened. */
  volume(name: string): Volume {
    const { volume, failure } = this.#table.find(name);
    if (volume === null) {
      throw new ApiError('Conflict', `volumes "${name}" is not open: ${failure}`);
    }
    return volume;
  }

  /**
   * Takes the volume away from hosts. Refused while one is logged in. `assertFits` throws where the stream does not go
   * on from what the volume holds; it is asked when no host can write any more, since one may have logged in, written
   * and left after the caller looked. When it refuses, hosts get the volume back as it is.
   */
  begin(name: string, receiving: Receiving, assertFits: () => Promise<void> | void): Promise<void> {
    return this.#table.exclusively(name, async () => {
      const hosted = this.#table.find(name);
      this.#table.refuseWhenDown(hosted.place);
      this.volume(name);
      const { exporter } = this.#options;
      const initiators = exporter.initiators(this.#table.iqn(name));
      if (initiators.length > 0) throw busy(name, initiators);
      hosted.withheld = true;
      try {
        await exporter.withdraw(this.#table.iqn(name));
        // Of one on replicas the target stays, and says so to who tries.
        if (hosted.replicated !== null) exporter.reserve(this.#table.iqn(name), hosted.wanted);
        if (hosted.replicated !== null) await applyAll(hosted.replicated);
        await assertFits();
        await putReceiving(hosted.store, receiving);
      } finally {
        hosted.withheld = false;
        this.#opening.expose(hosted); // Where it was refused.
      }
    });
  }

  /** Where the stream is of a larger one; its manifest says so from then on. Killed in between, the same stream does it again. */
  grow(name: string, sizeBytes: number): Promise<void> {
    return this.#table.exclusively(name, async () => {
      const hosted = this.#table.find(name);
      const { metadata } = hosted.wanted;
      if (sizeBytes <= hosted.wanted.sizeBytes) return;
      await this.volume(name).resize(sizeBytes);
      const generation = metadata.generation + 1;
      const resourceVersion = await this.#table.nextVersion();
      const size = formatQuantity(sizeBytes);
      const changed = { ...metadata, generation, resourceVersion };
      const wanted = { ...hosted.wanted, size, sizeBytes, metadata: changed };
      await keepManifest(hosted.store, wanted);
      hosted.wanted = wanted;
    });
  }

  async keep(name: string, receiving: Receiving): Promise<void> {
    await putReceiving(this.#table.find(name).store, receiving);
  }

  /** The stream is whole: hosts may log in. */
  end(name: string): Promise<void> {
    return this.#table.exclusively(name, async () => {
      const hosted = this.#table.find(name);
      await putReceiving(hosted.store, null);
      this.#opening.expose(hosted);
    });
  }
}
