// A replicated volume as the store that a Volume stands on: what is a call into the engine there is a call of the
// coordinator here.
import { type BlockOp, IoStatus, type MapExtent } from '../block/index.ts';
import { StoreError } from '../store/index.ts';
import { MAX_LISTED_RUNS } from '../volume/coordinator/limits.ts';
import type { VolumeStore } from '../volume/index.ts';
import { BlockKind, type ChangedRuns } from '../wire/messages.ts';
import type { CoordinatorShell } from './coordinator-shell.ts';

export class ReplicatedStore implements VolumeStore {
  readonly id: string;
  readonly name: string;
  readonly #coordinator: CoordinatorShell;
  readonly #refused: (op: BlockOp) => boolean;

  /** The coordinator has a record: it has been active. `refused`: it has ended the operation, with an error (C8). */
  constructor(
    id: string,
    name: string,
    coordinator: CoordinatorShell,
    refused: (op: BlockOp) => boolean,
  ) {
    this.id = id;
    this.name = name;
    this.#coordinator = coordinator;
    this.#refused = refused;
  }

  get sizeBlocks(): number {
    return this.#coordinator.record?.sizeBlocks ?? 0;
  }

  /** What is mapped, each member knows for itself. */
  info(): { readonly sizeBlocks: number; readonly epoch: number; readonly mappedBlocks: number } {
    return { sizeBlocks: this.sizeBlocks, epoch: this.#coordinator.epoch, mappedBlocks: 0 };
  }

  /** The version is the coordinator's to give (W2). */
  submit(op: BlockOp): void {
    if (!this.#refused(op)) this.#coordinator.submit(op);
  }

  withdraw(op: BlockOp): boolean {
    return this.#coordinator.withdraw(op);
  }

  async resize(sizeBlocks: number): Promise<void> {
    try {
      await this.#coordinator.resize(sizeBlocks);
    } catch (error) {
      throw new StoreError('STORE_INVALID', (error as Error).message, { cause: error });
    }
  }

  putBlob(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    this.#coordinator.putBlob(key, value).then(
      () => done(IoStatus.Ok),
      () => done(IoStatus.IoError),
    );
  }

  getBlob(key: string): Uint8Array | null {
    return this.#coordinator.getBlob(key);
  }

  confirmServed(done: (status: IoStatus) => void): void {
    this.#coordinator.confirm((serves) => {
      // From inside the core: who asked may begin the next thing.
      queueMicrotask(() => done(serves ? IoStatus.Ok : IoStatus.Offline));
    });
  }

  /** As a member in sync has it; where none can tell, all is mapped (SBC-4: a mapped block may read as zeros). */
  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    const all = [{ lba, blocks: this.sizeBlocks - lba, mapped: true }];
    this.#coordinator.listMapped(lba, MAX_LISTED_RUNS, (runs, nextLba) => {
      const extents = runs === null ? all : extentsOf(runs, lba, nextLba, maxExtents);
      // From inside the core: who asked may begin the next thing.
      queueMicrotask(() => done(IoStatus.Ok, extents.length === 0 ? all : extents));
    });
  }
}

/** Runs of one kind, next to each other; what no run names, and holes, hold nothing. */
function extentsOf(
  runs: ChangedRuns,
  fromLba: number,
  endLba: number,
  maxExtents: number,
): readonly MapExtent[] {
  const extents: { lba: number; blocks: number; mapped: boolean }[] = [];
  let at = fromLba;
  const add = (end: number, mapped: boolean): void => {
    if (end <= at) return;
    const last = extents.at(-1);
    if (last?.mapped === mapped) last.blocks += end - at;
    else extents.push({ lba: at, blocks: end - at, mapped });
    at = end;
  };
  for (let index = 0; index < runs.lbas.length; index += 1) {
    add(Math.min(runs.lbas[index]!, endLba), false);
    const end = Math.min(runs.lbas[index]! + runs.counts[index]!, endLba);
    add(end, runs.kinds[index] !== BlockKind.Hole && runs.kinds[index] !== BlockKind.Empty);
  }
  add(endLba, false);
  return extents.slice(0, maxExtents);
}
