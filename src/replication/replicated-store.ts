// A replicated volume as the store that a Volume stands on: what is a call into the engine there is a call of the
// coordinator here.
import { type BlockOp, IoStatus, type MapExtent } from '../block/index.ts';
import { StoreError } from '../store/index.ts';
import type { VolumeStore } from '../volume/index.ts';
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

  /** One extent, mapped: what is provisioned where is each member's own affair (SBC-4: a mapped block may read as zeros). */
  mapStatus(
    lba: number,
    _maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    done(IoStatus.Ok, [{ lba, blocks: this.sizeBlocks - lba, mapped: true }]);
  }
}
