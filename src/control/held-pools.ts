// The pools of a daemon as the list of them keeps them, as they are asked for and as they are shown; and what the devices of the
// machine can be asked (PoolMedia).
import type { ScrubSpec } from '../kinds/index.ts';
import type { FoundPool, Pool, PoolLayout } from '../store/index.ts';

/** src/control/pool-host.ts says what each means. */
export type PoolStep = 'Making' | 'Importing' | 'Serving' | 'Exporting' | 'Destroying' | 'Clearing';

/** A line of the list of pools. */
export interface KeptPool {
  /** Here; on its labels it may have another. */
  readonly name: string;
  /** On its labels. */
  readonly id: string;
  /** Where its devices were last seen. Labels decide, not paths. */
  readonly paths: readonly string[];
  readonly step: PoolStep;
  /** Files that were made for it. */
  readonly made?: readonly string[];
  /** It is to be imported although its devices do not say that it was exported. */
  readonly force?: boolean;
  /** When it is scrubbed, and how fast. */
  readonly scrub?: ScrubSpec;
  /** The daemon's own. */
  readonly own?: boolean;
}

/** Durable before `write` resolves; a crash leaves the list as it was or as it is to be. */
export interface PoolList {
  read(): readonly KeptPool[];
  write(pools: readonly KeptPool[]): Promise<void>;
}

export interface NewPool {
  readonly id: string;
  readonly name: string;
  readonly vdevs: readonly (readonly string[])[];
  /** Of files that are made; 0: all are there. */
  readonly sizeBytes: number;
  readonly sparse: boolean;
  readonly force: boolean;
  readonly growthLimitPercent: number | null;
}

/** What stands against making a pool of a device. */
export interface Obstacle {
  /** In words, with the way out. */
  readonly message: string;
  /** `force` overcomes it. */
  readonly forceable: boolean;
}

export interface ExaminedDevice {
  readonly kind: 'Device' | 'File' | 'Missing';
  readonly sizeBytes: number;
  /** A file without a single block on its disk: nothing is lost by taking it. */
  readonly empty: boolean;
  readonly obstacle: Obstacle | null;
}

export interface OpenOptions {
  /** Also one that another machine used last and did not export. */
  readonly takeOver?: boolean;
  /** Looks at what it holds before anything is written to it; what it throws refuses the pool, which is as it was. */
  readonly accept?: (pool: Pool) => void;
}

/** The devices of this machine. Rejects with StoreError. */
export interface PoolMedia {
  examine(path: string): Promise<ExaminedDevice>;
  /** Two paths of one device have the same; of what is not there it is the path. */
  identity(path: string): string;
  create(plan: NewPool): Promise<void>;
  /** Pools on these devices and in these folders, but for devices of these identities. */
  find(
    places: readonly string[],
    options: { readonly without: ReadonlySet<string> },
  ): Promise<readonly FoundPool[]>;
  /** Every device of this machine that could be part of a pool, by its stablest name first. */
  everywhere(): readonly string[];
  /** Rejects with STORE_OWNED where it is another machine's. */
  open(paths: readonly string[], options?: OpenOptions): Promise<Pool>;
  /** Clears the labels of a pool that is not open. */
  wipe(paths: readonly string[]): Promise<void>;
  removeFile(path: string): Promise<void>;
}

/** A pool as it is asked for. */
export interface PoolRequest {
  readonly layout?: PoolLayout | undefined;
  readonly devices?: readonly string[] | undefined;
  /** Of each mirror. */
  readonly sides?: number | undefined;
  readonly sizeBytes?: number | undefined;
  readonly sparse?: boolean | undefined;
  readonly force?: boolean | undefined;
  readonly growthLimitPercent?: number | undefined;
}

export interface ImportRequest {
  /** By name or id; null: as it is to be called here. */
  readonly pool: string | null;
  /** Devices and folders; null: every device of the machine. */
  readonly places: readonly string[] | null;
  readonly force: boolean;
}

/** A pool of this daemon. */
export interface HeldPool {
  readonly name: string;
  readonly id: string;
  readonly isOwn: boolean;
  readonly paths: readonly string[];
  /** Null: it cannot be opened, and `why` says why. */
  readonly pool: Pool | null;
  readonly why: string;
  /** Volumes in it that are not served: others have their names. */
  readonly clashes: readonly string[];
  readonly openedAt: Date;
  readonly scrub: ScrubSpec | null;
}
