// PersistentVolumes: bound while their claim is there; without it, deleted with their volume or kept, as their policy
// says. Portals follow the volume as its coordinator moves.
import type { KindDefinition } from '../apiserver/index.ts';
import { CLAIM, PERSISTENT_VOLUME, type PersistentVolume, VOLUME } from '../kinds/index.ts';
import {
  type Controller,
  hasFinalizer,
  isDeleting,
  type Surroundings,
  trigger,
  Writer,
} from './controller.ts';
import { Finalizer } from './names.ts';

export class ReclaimController implements Controller {
  readonly name = 'reclaim';
  readonly kind = PERSISTENT_VOLUME as unknown as KindDefinition;
  readonly triggers = [
    trigger(CLAIM, ({ metadata, spec }) => [spec.volumeName ?? '', `pvc-${metadata.uid}`]),
    trigger(VOLUME, ({ metadata }) => [metadata.name]),
  ];
  readonly #around: Surroundings;
  readonly #writer: Writer;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#writer = new Writer(around);
  }

  async reconcile(key: string): Promise<undefined> {
    const { catalog, events } = this.#around;
    const persistent = catalog.get(PERSISTENT_VOLUME, key);
    if (persistent === null || !hasFinalizer(persistent, Finalizer.PersistentVolume)) return;
    const volume = catalog.get(VOLUME, key);
    if (isDeleting(persistent)) {
      // Bound: as Kubernetes does, its end waits for the claim's.
      if (this.#claimOf(persistent) !== null) return;
      if (volume === null) {
        await this.#writer.removeFinalizer(
          PERSISTENT_VOLUME,
          persistent,
          Finalizer.PersistentVolume,
        );
      } else if (persistent.spec.persistentVolumeReclaimPolicy === 'Retain') {
        // Kept on purpose: the object goes, the volume stays.
        await this.#writer.removeFinalizer(
          PERSISTENT_VOLUME,
          persistent,
          Finalizer.PersistentVolume,
        );
      } else {
        await this.#writer.remove(VOLUME, volume);
      }
      return;
    }
    if (this.#claimOf(persistent) !== null) {
      await this.#writer.status(PERSISTENT_VOLUME, persistent, (status) => {
        status.phase = 'Bound';
        delete status.reason;
        delete status.message;
      });
      return;
    }
    if (persistent.spec.claimRef === undefined) {
      await this.#setPhase(persistent, 'Available');
      return;
    }
    if (persistent.status?.phase !== 'Released') {
      await this.#setPhase(persistent, 'Released');
      events.record(persistent, 'Normal', 'Released', 'its claim was deleted');
      return;
    }
    if (persistent.spec.persistentVolumeReclaimPolicy !== 'Delete') return;
    if ((volume?.status?.sessions ?? 0) > 0) return; // Its end brings us back.
    await this.#writer.remove(PERSISTENT_VOLUME, persistent);
  }

  #claimOf({ spec }: PersistentVolume) {
    const { claimRef } = spec;
    if (claimRef === undefined) return null;
    const claim = this.#around.catalog.get(
      CLAIM,
      `${claimRef.namespace ?? 'default'}/${claimRef.name ?? ''}`,
    );
    return claim?.metadata.uid === claimRef.uid ? claim : null;
  }

  async #setPhase(persistent: PersistentVolume, phase: string): Promise<void> {
    await this.#writer.status(PERSISTENT_VOLUME, persistent, (status) => {
      status.phase = phase;
    });
  }
}
