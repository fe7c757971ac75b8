// A pool's devices, as the rooms above see them. A *vdev* is a device, or the two or three of a mirror; data is spread
// over the vdevs. Counts are of 4 KiB blocks.

export type DeviceState = 'InSync' | 'Resilvering' | 'Offline' | 'Faulted' | 'Missing';

export interface PoolDevice {
  /** Lower-case UUID, on the device's label: it stays when names change. */
  readonly id: string;
  readonly path: string;
  readonly vdev: number;
  /** Among the sides of its mirror. */
  readonly place: number;
  /** It holds the intent log and nothing else. */
  readonly log: boolean;
  readonly state: DeviceState;
  /** What the pool uses of it; `deviceBlocks` is what it has, 0 when it is not here. */
  readonly sizeBlocks: number;
  readonly deviceBlocks: number;
  /** The id of the device that leaves once this one is in sync. */
  readonly replaces: string | null;
  readonly readErrors: number;
  readonly writeErrors: number;
  readonly checksumErrors: number;
  /** Why it is out, in words; else empty. */
  readonly why: string;
  /** What an operator can do about it, in words; empty when nothing need be done. */
  readonly advice: string;
}

export interface PoolVdev {
  readonly vdev: number;
  readonly log: boolean;
  readonly sizeBlocks: number;
  readonly usedBlocks: number;
}

export type WalkState = 'None' | 'Running' | 'Paused' | 'Done' | 'Cancelled';

/** A scrub, a resilver or a rebalance: how far it is, and what came of it. */
export interface WalkStatus {
  readonly state: WalkState;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
  /** Looked at. Some twice: when a snapshot is deleted before its turn the walk may go back to what came before it. */
  readonly doneBlocks: number;
  readonly totalBlocks: number;
  /** Scrub: rewritten from a good copy. Resilver: written to the devices that were behind. Rebalance: moved. */
  readonly healedBlocks: number;
  readonly damagedBlocks: number;
  readonly secondsLeft: number | null;
}

/** A block without a good copy. */
export interface DamagedBlock {
  /** A snapshot's is VOLUME@SNAPSHOT; empty: the pool's own metadata. */
  readonly volume: string;
  readonly lba: number;
  /** What hosts wrote there; else metadata of the volume. */
  readonly isData: boolean;
}

/** A device that joins: a raw block device, or a file to be made. */
export interface NewDevice {
  readonly path: string;
  /** Of a file; a multiple of 4096. */
  readonly sizeBytes?: number;
  readonly sparse?: boolean;
  /** Overwrites what is there. Never what is in use. */
  readonly force?: boolean;
}

/**
 * What can be done with a pool's devices while it serves. Each call is durable before it resolves and rejects with
 * StoreError; a resilver goes on after it. One change at a time: another is refused with STORE_IN_USE.
 */
export interface PoolDevices {
  list(): readonly PoolDevice[];
  vdevs(): readonly PoolVdev[];
  scrubStatus(): WalkStatus;
  resilverStatus(): WalkStatus;
  rebalanceStatus(): WalkStatus;
  /** What this opening's scrub could not heal, and nobody has mended or overwritten since: the first thousand. */
  damage(): readonly DamagedBlock[];

  /** One device, or the sides of a mirror: new writes use it at once. */
  add(sides: readonly NewDevice[]): Promise<void>;
  /** A side more for the vdev of device `besideId`. */
  attach(besideId: string, device: NewDevice): Promise<void>;
  /** `id` leaves once the new one has everything. */
  replace(id: string, device: NewDevice): Promise<void>;
  detach(id: string): Promise<void>;
  offline(id: string): Promise<void>;
  /** Back again, perhaps under another path: what it missed is resilvered. */
  online(id: string, path?: string): Promise<void>;
  /** Takes into use what devices have grown by. */
  grow(): Promise<void>;
  /** Writes that grow end once so many percent are in use. */
  setGrowthLimit(percent: number): Promise<void>;

  /** Begins, or goes on with one that was paused. */
  startScrub(): Promise<void>;
  pauseScrub(): Promise<void>;
  cancelScrub(): Promise<void>;
  /** Moves data from devices that are fuller than the pool to emptier ones; goes on with one that was paused. */
  startRebalance(): Promise<void>;
  pauseRebalance(): Promise<void>;
  cancelRebalance(): Promise<void>;
  /** Of all these walks, in bytes a second; 0: as fast as it goes. */
  setWalkRate(bytesPerSecond: number): void;
}

/** Words for what to do next with a device; the API and the CLI show them. */
export function adviceFor(device: {
  readonly state: DeviceState;
  readonly path: string;
  readonly mirrored: boolean;
  readonly errors: number;
  readonly grownBlocks: number;
}): string {
  const { state, path, mirrored } = device;
  switch (state) {
    case 'Faulted':
      return `replace ${path} by a healthy device; or, if its cable or enclosure was at fault, bring it online`;
    case 'Missing':
      return `connect ${path} and bring it online, or replace it`;
    case 'Offline':
      return `bring ${path} online when the work on it is done`;
    case 'Resilvering':
      return 'nothing: it is being brought up to date';
    case 'InSync':
      if (device.errors > 0) {
        return mirrored
          ? `start a scrub; if errors come again, replace ${path}`
          : `start a scrub to see what is damaged, then replace ${path} or attach a mirror side to it`;
      }
      return device.grownBlocks > 0 ? 'it has grown: grow the pool to use it' : '';
  }
}
