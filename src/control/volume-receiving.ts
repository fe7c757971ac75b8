// Volumes that a stream is received into. Until the stream is whole no host may log in.
import type { Volume } from '../volume/index.ts';
import { ApiError } from './errors.ts';
import type { Exporter, HostedVolumes } from './hosted-volumes.ts';
import { putReceiving, type Receiving, receivingOf } from './receiving-mark.ts';
import type { VolumeOpening } from './volume-opening.ts';
import { busy } from './volume-parts.ts';

export interface VolumeReceivingOptions {
  readonly table: HostedVolumes;
  readonly opening: VolumeOpening;
  readonly exporter: Exporter;
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

  /** The volume to write into. Throws where it cannot be opened. */
  volume(name: string): Volume {
    const { volume, replicated, failure } = this.#table.find(name);
    if (replicated !== null) {
      throw new ApiError('Conflict', `volumes "${name}" is on replicas: receive into another`);
    }
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
  begin(name: string, receiving: Receiving, assertFits: () => void): Promise<void> {
    return this.#table.exclusively(name, async () => {
      const hosted = this.#table.find(name);
      this.#table.refuseWhenDown(hosted.place);
      this.volume(name);
      const { exporter } = this.#options;
      const initiators = exporter.initiators(this.#table.iqn(name));
      if (initiators.length > 0) throw busy(name, initiators);
      await exporter.withdraw(this.#table.iqn(name));
      try {
        assertFits();
        await putReceiving(hosted.store, receiving);
      } catch (error) {
        this.#opening.expose(hosted);
        throw error;
      }
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
