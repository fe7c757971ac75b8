// Snapshots that hosts see: each the read-only unit of a target of its own, PREFIX:VOLUME.NAME, recognised by the
// snapshot's id. Which they are is kept with their volume, and who may log in to it may log in to them.
import type { Turn } from '../base/index.ts';
import { type DataBufferPool, IoStatus } from '../block/index.ts';
import type { StoreSnapshot, StoreVolume } from '../store/types.ts';
import { Volume } from '../volume/index.ts';
import { ApiError, type StatusCause } from './errors.ts';
import type { Exporter } from './hosted-volumes.ts';
import { GROUP } from './schemas.ts';
import type { WantedVolume } from './volume-manifest.ts';
import { storeFailure } from './volume-parts.ts';

const EXPOSED_KEY = 'control.exposed';
/** Of one volume: each is a target, and the list fits a blob many times over. */
const MAX_EXPOSED = 256;

export interface ExposedSnapshot {
  readonly iqn: string;
  readonly portals: readonly string[];
  readonly initiators: readonly string[];
}

export interface ExposedSnapshotsOptions {
  readonly exporter: Exporter;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly iqnPrefix: string;
}

export class ExposedSnapshots {
  readonly #options: ExposedSnapshotsOptions;
  /** What hosts read of, by `volume@name`. */
  readonly #units = new Map<string, Volume>();

  constructor(options: ExposedSnapshotsOptions) {
    this.#options = options;
  }

  find(fullName: string): ExposedSnapshot | null {
    if (!this.#units.has(fullName)) return null;
    const { exporter } = this.#options;
    const iqn = this.#iqn(fullName);
    const initiators = [...new Set(exporter.initiators(iqn))];
    return { iqn, portals: [...exporter.portals], initiators };
  }

  /** Of a volume, by `volume@name`. */
  of(volume: string): readonly string[] {
    return [...this.#units.keys()].filter((name) => name.startsWith(`${volume}@`));
  }

  /** Kept before a host sees it: what was reported is there after a crash. */
  async expose(store: StoreVolume, wanted: WantedVolume, snapshot: StoreSnapshot): Promise<void> {
    if (this.#units.has(snapshot.name)) return;
    const ids = keptIds(store);
    if (ids.length >= MAX_EXPOSED) {
      throw new ApiError(
        'Conflict',
        `${MAX_EXPOSED} snapshots of ${store.name} are exposed already`,
      );
    }
    await keepIds(store, [...new Set([...ids, snapshot.id])]);
    this.#show(wanted, snapshot);
  }

  /** Forgotten before hosts lose it; `force`: although some are logged in. */
  async unexpose(store: StoreVolume, snapshot: StoreSnapshot, force: boolean): Promise<void> {
    const { initiators = [] } = this.find(snapshot.name) ?? {};
    if (initiators.length > 0 && !force) {
      throw conflict(
        snapshot.name,
        `snapshot ${snapshot.name} is in use: ${initiators.join(', ')} logged in. Log out there first (iscsiadm -m node -T … --logout), or --force ends the sessions`,
      );
    }
    await keepIds(
      store,
      keptIds(store).filter((id) => id !== snapshot.id),
    );
    await this.#hide(snapshot.name);
  }

  /** What was exposed before the daemon was started, or the volume opened. */
  restore(store: StoreVolume, wanted: WantedVolume, snapshots: readonly StoreSnapshot[]): void {
    const ids = keptIds(store);
    for (const snapshot of snapshots) if (ids.includes(snapshot.id)) this.#show(wanted, snapshot);
  }

  /** Whom the volume's access list and CHAP let in now. */
  refresh(wanted: WantedVolume, snapshots: readonly StoreSnapshot[]): void {
    for (const snapshot of snapshots) {
      if (this.#units.has(snapshot.name)) this.#show(wanted, snapshot);
    }
  }

  /** Throws where one of these must stay because hosts see it. */
  assertHidden(names: readonly string[], what: string): void {
    const seen = names.filter((name) => this.#units.has(name));
    if (seen.length === 0) return;
    const [first = ''] = seen;
    throw conflict(
      first,
      `${seen.join(', ')} ${seen.length > 1 ? 'are' : 'is'} exposed to hosts, and cannot be ${what}: ashlar unexpose snapshot ${first}`,
    );
  }

  /** The pool of a volume serves no more. */
  takeDown(volume: string, why: string): void {
    for (const name of this.of(volume)) this.#options.exporter.takeDown(this.#iqn(name), why);
  }

  /** Nothing of the volume's is read any more when it resolves. It stays kept as exposed. */
  async hideAll(volume: string): Promise<void> {
    for (const name of this.of(volume)) await this.#hide(name);
  }

  /** Hosts are gone already. */
  async close(): Promise<void> {
    await Promise.all([...this.#units.values()].map((unit) => unit.close()));
  }

  #show(wanted: WantedVolume, snapshot: StoreSnapshot): void {
    const { exporter, buffers, turn } = this.#options;
    const { name } = snapshot;
    const known = this.#units.get(name);
    const logicalBlockBytes = wanted.blockSize;
    const unit =
      known ?? new Volume({ store: snapshot, logicalBlockBytes, buffers, turn, readOnly: true });
    this.#units.set(name, unit);
    const shown = { ...wanted, metadata: { ...wanted.metadata, name } };
    exporter.expose({ iqn: this.#iqn(name), wanted: shown, volume: unit, device: unit });
  }

  async #hide(name: string): Promise<void> {
    const unit = this.#units.get(name);
    if (unit === undefined) return;
    this.#units.delete(name);
    await this.#options.exporter.withdraw(this.#iqn(name));
    await unit.close();
  }

  /** A volume's name has no dot. */
  #iqn(fullName: string): string {
    return `${this.#options.iqnPrefix}:${fullName.replace('@', '.')}`;
  }
}

function keptIds(store: StoreVolume): readonly string[] {
  const bytes = store.getBlob(EXPOSED_KEY);
  return bytes === null ? [] : (JSON.parse(Buffer.from(bytes).toString()) as string[]);
}

async function keepIds(store: StoreVolume, ids: readonly string[]): Promise<void> {
  const value = ids.length === 0 ? null : Buffer.from(JSON.stringify(ids));
  const status = await new Promise<IoStatus>((resolve) => {
    store.putBlob(EXPOSED_KEY, value, resolve);
  });
  if (status === IoStatus.Ok) return;
  throw storeFailure(
    store.name,
    status === IoStatus.NoSpace ? 'STORE_NO_SPACE' : 'STORE_IO',
    `which snapshots of "${store.name}" are exposed could not be kept`,
  );
}

function conflict(name: string, message: string): ApiError {
  const causes: StatusCause[] = [{ reason: 'Busy', field: 'status.iqn', message }];
  const details = { name: name.replace('@', '.'), group: GROUP, kind: 'snapshots', causes };
  return new ApiError('Conflict', message, details);
}
