// A volume becomes what a snapshot of it is, or gets the line of the volume that it was cloned from.
import { ApiError, notFound } from './errors.ts';
import type { ExposedSnapshots } from './exposed-snapshots.ts';
import { type HostedVolumes, translated, type VolumeControllerOptions } from './hosted-volumes.ts';
import { refuseWhileReceiving } from './receiving-mark.ts';
import type { VolumeObject } from './schemas.ts';
import type { VolumeOpening } from './volume-opening.ts';
import { busy } from './volume-parts.ts';
import type { VolumeSnapshots } from './volume-snapshots.ts';
import type { VolumeView } from './volume-view.ts';

export interface VolumeHistoryParts {
  readonly table: HostedVolumes;
  readonly exposed: ExposedSnapshots;
  readonly opening: VolumeOpening;
  readonly snapshots: VolumeSnapshots;
  readonly view: VolumeView;
}

export class VolumeHistory {
  readonly #options: VolumeControllerOptions;
  readonly #table: HostedVolumes;
  readonly #exposed: ExposedSnapshots;
  readonly #opening: VolumeOpening;
  readonly #snapshots: VolumeSnapshots;
  readonly #view: VolumeView;

  constructor(options: VolumeControllerOptions, parts: VolumeHistoryParts) {
    this.#options = options;
    this.#table = parts.table;
    this.#exposed = parts.exposed;
    this.#opening = parts.opening;
    this.#snapshots = parts.snapshots;
    this.#view = parts.view;
  }

  /** The volume becomes what its snapshot is; hosts log in to it again afterwards. */
  rollback(
    name: string,
    { to, deleteLater, force }: { to: string; deleteLater: boolean; force: boolean },
  ): Promise<VolumeObject> {
    return this.#table.exclusively(name, async () => {
      const { exporter } = this.#options;
      const { wanted, volume, failure, replicated, place, store } = this.#table.find(name);
      this.#table.refuseWhenDown(place);
      refuseWhileReceiving(store);
      const { pool } = place;
      if (replicated !== null) return await this.#rollbackOnReplicas(name, to, deleteLater, force);
      if (volume === null)
        throw new ApiError('Conflict', `volumes "${name}" is not open: ${failure}`);
      if (pool.snapshot(`${name}@${to}`) === null) throw notFound('snapshots', `${name}.${to}`);
      const all = pool.snapshots(name).map((one) => one.name);
      const later = all.slice(all.indexOf(`${name}@${to}`) + 1);
      if (deleteLater) this.#exposed.assertHidden(later, 'deleted');
      const initiators = exporter.initiators(this.#table.iqn(name));
      if (initiators.length > 0 && !force) throw busy(name, initiators);
      await exporter.withdraw(this.#table.iqn(name));
      const version = volume.cut();
      await volume.close();
      try {
        // Durable when it resolves; a crash before that leaves the volume as it was.
        await translated(name, () => pool.rollbackVolume(name, { to, ...version, deleteLater }));
      } finally {
        // As it is now, whichever that is.
        const store = pool.volume(name);
        if (store !== null) await this.#opening.open(place, store, wanted);
      }
      this.#options.log.info({ volume: name, to }, 'the volume was rolled back');
      return this.#view.of(this.#table.find(name));
    });
  }

  /** Snapshots taken since then may stay: what the volume becomes is newer than all of them. */
  async #rollbackOnReplicas(
    name: string,
    to: string,
    deleteLater: boolean,
    force: boolean,
  ): Promise<VolumeObject> {
    const { exporter, log } = this.#options;
    const hosted = this.#table.find(name);
    const found = this.#snapshots.get(`${name}@${to}`);
    if (found === null) throw notFound('snapshots', `${name}.${to}`);
    const initiators = exporter.initiators(this.#table.iqn(name));
    if (initiators.length > 0 && !force) throw busy(name, initiators);
    await exporter.withdraw(this.#table.iqn(name));
    exporter.reserve(this.#table.iqn(name), hosted.wanted);
    try {
      await this.#snapshots.byCoordinator(name, (replicated) => replicated.rollback(found.id));
      const all = this.#snapshots.of(name);
      const later = all.slice(all.findIndex(({ id }) => id === found.id) + 1);
      for (const one of deleteLater ? later : [])
        await this.#snapshots.delete(`${name}@${one.name}`);
    } finally {
      this.#opening.expose(hosted); // Unless it is half done: then its coordinator says when it is.
    }
    log.info({ volume: name, to }, 'the volume was rolled back');
    return this.#view.of(this.#table.find(name));
  }

  /** A clone gets the snapshots that it came from. */
  promote(name: string): Promise<VolumeObject> {
    return this.#table.exclusively(name, async () => {
      const { place, store } = this.#table.find(name);
      this.#table.refuseWhenDown(place);
      // They get another volume, and with it another name: hosts would lose them.
      const origin = store.info().origin?.split('@')[0] ?? name;
      this.#exposed.assertHidden(this.#exposed.of(origin), `given to ${name}`);
      await translated(name, () => place.pool.promoteVolume(name));
      return this.#view.of(this.#table.find(name));
    });
  }
}
