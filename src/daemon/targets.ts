// One iSCSI target per volume: makes the SCSI target devices, and is the directory that logins look in.
import type { Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import type { ExposedVolume, WantedVolume } from '../control/index.ts';
import type { AuthPolicy, SessionInfo, TargetDirectory, TargetEntry } from '../iscsi/types.ts';
import type { Elsewhere, NodeExporter } from '../node/index.ts';
import { type LogicalUnit, type ProvisioningSpace, ScsiTargetDevice } from '../scsi/index.ts';

/** What the targets need of the iSCSI server. It comes later: it needs the directory first. */
export interface SessionEnder {
  sessions(): readonly SessionInfo[];
  /** Resolves when no command of theirs can take effect any more. */
  closeSessionsOf(iqn: string, reason: string): Promise<void>;
}

export interface TargetsOptions {
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly portals: readonly string[];
  readonly discoveryAuth: AuthPolicy;
  readonly allowSanitize: boolean;
  /** Of the pool behind a target; without it hosts hear nothing of space. */
  readonly spaceOf?: (iqn: string) => ProvisioningSpace | null;
}

interface Exported {
  readonly device: ScsiTargetDevice;
  entry: TargetEntry;
}

const LUN = 0;

export class Targets implements TargetDirectory, NodeExporter {
  portals: readonly string[];
  readonly discoveryAuth: AuthPolicy;
  readonly #options: TargetsOptions;
  readonly #exported = new Map<string, Exported>();
  #entries: readonly TargetEntry[] = [];
  #sessions: SessionEnder | null = null;
  #offline = false;
  /** Whether the space of the pool behind a target is scarce. */
  #isSpaceLow: (iqn: string) => boolean = () => false;

  constructor(options: TargetsOptions) {
    this.#options = options;
    this.portals = options.portals;
    this.discoveryAuth = options.discoveryAuth;
  }

  /** The server that the sessions live in. */
  serveBy(sessions: SessionEnder): void {
    this.#sessions = sessions;
  }

  /** Where hosts find the targets, once the ports are known. */
  announce(portals: readonly string[]): void {
    this.portals = portals;
  }

  find(name: string): TargetEntry | null {
    return this.#exported.get(name)?.entry ?? null;
  }

  list(): readonly TargetEntry[] {
    return this.#entries;
  }

  /** From now on logins are refused with 0301h: the pool is faulted, or the daemon is stopping (C10). */
  takeOffline(): void {
    this.#offline = true;
    for (const exported of this.#exported.values()) {
      exported.entry = { ...exported.entry, state: 'offline' };
    }
    this.#changed();
  }

  expose({ iqn, wanted, volume, device: disk, otherPortals }: ExposedVolume): void {
    const device = this.#exported.get(iqn)?.device ?? this.#makeDevice(iqn);
    if (device.unit(LUN) === null) device.addUnit(LUN, disk, volume.store.id);
    this.#enter(iqn, wanted, device, this.#offline ? 'offline' : 'online', otherPortals);
  }

  reserve(iqn: string, wanted: WantedVolume): void {
    this.#enter(iqn, wanted, this.#makeDevice(iqn), 'offline');
  }

  takeDown(iqn: string, reason: string): void {
    const exported = this.#exported.get(iqn);
    if (exported === undefined) return;
    exported.entry = { ...exported.entry, state: 'offline' };
    this.#changed();
    void this.#sessions?.closeSessionsOf(iqn, reason);
  }

  declareLoss(iqn: string): void {
    this.#exported.get(iqn)?.device.declareLoss();
  }

  #enter(
    iqn: string,
    wanted: WantedVolume,
    device: ScsiTargetDevice,
    state: TargetEntry['state'],
    otherPortals?: readonly string[],
  ): void {
    const { chap, mutualChap, initiators, metadata } = wanted;
    const entry: TargetEntry = {
      name: iqn,
      alias: metadata.name,
      scsi: device,
      auth: { chap: chap === null ? [] : [chap], mutual: mutualChap },
      initiators: initiators.length === 0 ? null : initiators,
      state,
      ...(otherPortals === undefined ? {} : { otherPortals }),
    };
    this.#exported.set(iqn, { device, entry });
    this.#changed();
  }

  /** The space of a pool has become scarce, or is no longer: hosts of its volumes hear of it. */
  setSpaceLow(isLow: (iqn: string) => boolean): void {
    this.#isSpaceLow = isLow;
    for (const [iqn, { device }] of this.#exported) device.setSpaceLow(isLow(iqn));
  }

  async withdraw(iqn: string): Promise<void> {
    const exported = this.#exported.get(iqn);
    if (exported === undefined) return;
    // Out of the directory first: who is thrown out must not come back in.
    this.#exported.delete(iqn);
    this.#changed();
    await this.#sessions?.closeSessionsOf(iqn, 'the volume is deleted');
    if (exported.device.unit(LUN) === null) return;
    await new Promise<void>((resolve) => exported.device.removeUnit(LUN, resolve));
  }

  /**
   * The target is served by another node, or by nobody just now: logins are sent to its portal, or refused with 0301h.
   * What hosts may see of it is the same as where it is served.
   */
  pointTo(iqn: string, elsewhere: Elsewhere): void {
    const known = this.#exported.get(iqn);
    // Ours until it is withdrawn.
    if (
      known !== undefined &&
      known.entry.movedTo === undefined &&
      known.device.unit(LUN) !== null
    ) {
      return;
    }
    const device = known?.device ?? this.#makeDevice(iqn);
    const { alias, initiators, portal, otherPortals } = elsewhere;
    const entry: TargetEntry = {
      name: iqn,
      alias,
      scsi: device,
      // It answers no login itself: there is nothing to prove.
      auth: { chap: [], mutual: null },
      initiators: initiators.length === 0 ? null : initiators,
      state: this.#offline || portal === null ? 'offline' : 'online',
      otherPortals,
      ...(portal === null ? {} : { movedTo: portal }),
    };
    if (
      JSON.stringify(known?.entry.movedTo) === JSON.stringify(entry.movedTo) &&
      known !== undefined
    ) {
      if (
        known.entry.state === entry.state &&
        known.entry.otherPortals?.join() === otherPortals.join()
      ) {
        return;
      }
    }
    this.#exported.set(iqn, { device, entry });
    this.#changed();
  }

  /** No such target any more; one that is served here is withdrawn instead. */
  forget(iqn: string): void {
    const known = this.#exported.get(iqn);
    if (known === undefined || known.device.unit(LUN) !== null) return;
    this.#exported.delete(iqn);
    this.#changed();
  }

  initiators(iqn: string): readonly string[] {
    const sessions = this.#sessions?.sessions() ?? [];
    return sessions
      .filter((session) => session.target === iqn && session.type === 'Normal')
      .map((session) => session.initiator);
  }

  #makeDevice(iqn: string): ScsiTargetDevice {
    const { buffers, turn, allowSanitize, spaceOf } = this.#options;
    const device = new ScsiTargetDevice({
      name: iqn,
      buffers,
      turn,
      allowSanitize,
      ...(spaceOf === undefined ? {} : { space: () => spaceOf(iqn) }),
      copyCandidates: () => this.#units(),
    });
    device.setSpaceLow(this.#isSpaceLow(iqn));
    return device;
  }

  *#units(): Iterable<LogicalUnit> {
    for (const { device } of this.#exported.values()) {
      const unit = device.unit(LUN);
      if (unit !== null) yield unit;
    }
  }

  #changed(): void {
    this.#entries = [...this.#exported.values()].map(({ entry }) => entry);
  }
}
