// A replica's copy on a pool of the engine: the member core's MemberStore over a StoreVolume. Its parts: what it keeps beside
// the blocks (KeptRecord), snapshots and branches (ReplicaSnapshots), listings and copies (EngineCopies), and the operations
// that all of them start, with the memory that these need (EngineOps).
//
// Order: the engine applies changes in the order of their submission. Where one must wait for a buffer of the arena,
// everything after it waits behind it.
import { assert, crc32c, type Turn } from '../base/index.ts';
import {
  type BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type DataBufferPool,
  IoStatus,
} from '../block/index.ts';
import { type Pool, STORE_BLOCK_BYTES, StoreError, type StoreVolume } from '../store/index.ts';
import type { BytesPayload, CoreGate } from '../wire/index.ts';
import {
  type Apply,
  BlockKind,
  ChangeKind,
  type DamagedPlace,
  type Install,
} from '../wire/messages.ts';
import type { VolumeRecord } from '../wire/record.ts';
import { isBelow, type Version, ZERO_VERSION } from '../wire/version.ts';
import { EngineCopies } from './engine-copies.ts';
import { EngineOps, type ReplicaOp } from './engine-ops.ts';
import type { FoundDamage } from './found-damage.ts';
import { KeptRecord } from './kept-record.ts';
import type { MemberEvents, MemberStore, OpenedState } from './member-interfaces.ts';
import { ReplicaSnapshots } from './replica-snapshots.ts';
import { UnnamedSnapshots } from './unnamed-snapshots.ts';

export interface EngineStoreOptions {
  readonly pool: Pool;
  readonly volume: StoreVolume;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly gate: CoreGate;
  readonly damage: FoundDamage;
}

export class EngineStore implements MemberStore, BlockOpOwner {
  readonly opened: OpenedState;
  readonly #options: EngineStoreOptions;
  readonly #volume: StoreVolume;
  readonly #ops: EngineOps;
  readonly #kept: KeptRecord;
  readonly #copies: EngineCopies;
  readonly #snapshots: ReplicaSnapshots;
  #core: MemberEvents | null = null;
  #wantedContig: Version = ZERO_VERSION;
  #holeFloor: Version;
  /** Of the volume when it was last asked. It only grows. */
  #sizeBlocks: number;
  #closed = false;
  /** Branches that are being made or sealed, and when the last of them ends. */
  #branching = 0;
  #lastBranch: Promise<void> = Promise.resolve();
  readonly #unnamed: UnnamedSnapshots;
  /** What changes the pool beside the volume's blocks. */
  readonly #work = new Set<Promise<unknown>>();

  /** Opens what is there. Throws StoreError where the replica's own words are damaged. */
  constructor(options: EngineStoreOptions) {
    this.#options = options;
    this.#volume = options.volume;
    const { pool, volume, buffers, turn, gate } = options;
    this.#ops = new EngineOps(buffers, turn);
    this.#kept = new KeptRecord(volume);
    const snapshots = new ReplicaSnapshots(pool, volume);
    this.#snapshots = snapshots;
    this.#unnamed = new UnnamedSnapshots(snapshots);
    const done = (token: number, status: IoStatus): void => this.#done(token, status);
    this.#copies = new EngineCopies({ pool, volume, snapshots, ops: this.#ops, gate, done });
    const { promised, witness } = this.#kept;
    const info = volume.info();
    const openIds = pool.openIds();
    this.#holeFloor = info.holeFloor ?? ZERO_VERSION;
    this.#sizeBlocks = info.sizeBlocks;
    this.opened = {
      // E6: the pool's own id alone would give a replica that was deleted and made again the old one's name.
      storeId: `${pool.id}/${volume.id}`,
      openId: openIds.at(-1)!,
      openIds,
      bootId: pool.bootId,
      promised,
      record: this.#kept.opened?.record ?? null,
      contig: info.contig,
      hint: this.#kept.opened?.hint ?? ZERO_VERSION,
      witness,
    };
  }

  /** The record that a blank store begins with. Rejects with StoreError. */
  async begin(record: VolumeRecord): Promise<void> {
    const status = await this.#kept.write(record, ZERO_VERSION);
    if (status !== IoStatus.Ok) {
      throw new StoreError('STORE_IO', `keeping the record of ${this.#volume.name} failed`);
    }
  }

  /** Who hears. Once, before the first call. */
  drive(core: MemberEvents): void {
    this.#core = core;
    this.#copies.drive(core);
  }

  get freeBlocks(): number {
    return this.#options.pool.creditBlocks();
  }

  /** The core hears nothing more, and nothing more begins. What is under way ends in the pool. */
  close(): void {
    this.#closed = true;
  }

  /** Of one that is closed: its records are kept, its snapshots and branches made or not. */
  async ended(): Promise<void> {
    assert(this.#closed);
    await Promise.allSettled(this.#work);
  }

  // -------------------------------------------------------------------------------------------- promise, record, marks

  savePromise(epoch: number, token: number): void {
    this.#kept.promise(epoch, (status) => this.#done(token, status));
  }

  saveRecord(
    record: VolumeRecord,
    hint: Version,
    holeFloor: Version,
    dropSnapshots: readonly string[],
    token: number,
  ): void {
    this.#answerWith(token, () => this.#saveRecord(record, hint, holeFloor, dropSnapshots));
  }

  #answerWith(token: number, work: () => Promise<IoStatus>): void {
    this.#begin(work, (status) => this.#done(token, status), failureOf);
  }

  /** Nothing once it is closed: whoever deletes the replica waits for what has begun. */
  #begin<T>(
    work: () => Promise<T>,
    answer: (result: T) => void,
    ofError: (error: unknown) => T,
  ): void {
    if (this.#closed) return;
    const run = work().catch(ofError);
    this.#work.add(run);
    void run.then((result) => {
      this.#work.delete(run);
      answer(result);
    });
  }

  async #saveRecord(
    record: VolumeRecord,
    hint: Version,
    holeFloor: Version,
    dropSnapshots: readonly string[],
  ): Promise<IoStatus> {
    // Room first, marks before the record that relies on them: a crash in between leaves more than was promised.
    if (record.sizeBlocks > this.#volume.info().sizeBlocks) {
      await this.#volume.resize(record.sizeBlocks);
    }
    const { contig } = this.#volume.info();
    const wanted = this.#wantedContig;
    const marks: { holeFloor?: Version; contig?: Version } = {};
    if (isBelow(contig, wanted)) marks.contig = wanted;
    const floor = { epoch: holeFloor.epoch, op: Math.min(holeFloor.op, 2 ** 40 - 1) };
    if (isBelow(this.#holeFloor, floor)) marks.holeFloor = floor;
    if (marks.contig !== undefined || marks.holeFloor !== undefined) {
      await this.#volume.setMarks(marks);
      if (marks.holeFloor !== undefined) this.#holeFloor = marks.holeFloor;
    }
    const status = await this.#kept.write(record, hint);
    if (status !== IoStatus.Ok) return status;
    // P3. After the record that does not name them: one that a crash leaves behind is dropped with the next record. What a branch
    // under way may stand on goes at its end: no other record need come, and this one does not wait for it (R3).
    const branching = this.#branching > 0;
    this.#unnamed.recordKept(record, dropSnapshots, branching);
    if (!branching) await this.#unnamed.drop();
    return status;
  }

  snapshotName(id: string): string {
    return this.#snapshots.nameOf(id);
  }

  setContig(epoch: number, op: number): void {
    // The engine's own is exact for what came in its stream, and in the log with the ops. What copies have made up for,
    // it is told with the record that says so.
    this.#wantedContig = { epoch, op };
  }

  // -------------------------------------------------------------------------------------------------------------- ops

  apply(message: Apply, slot: number): void {
    const op = this.#ops.take(slot);
    if (message.kind === ChangeKind.Unmap) {
      op.begin(BlockOpKind.Unmap, message.lba, message.blocks, null, 0, message.fua, this);
      op.lower = this;
      const { epoch, op: opNumber } = message;
      this.#ops.inOrder(() => {
        this.#volume.submit(op, epoch, opNumber);
        return true;
      });
      return;
    }
    const payload = message.data as BytesPayload;
    payload.retain();
    op.payload = payload;
    const { epoch, op: opNumber, lba, blocks, fua, dataByteOffset } = message;
    const start = (): boolean => {
      const data = this.#ops.inArena(op, payload, dataByteOffset, blocks);
      if (data === null) return false;
      const inPlace = data === payload.buffer;
      const offset = inPlace ? payload.byteOffset + dataByteOffset : 0;
      if (!inPlace) payload.release(); // `op` has a copy of its own.
      op.begin(BlockOpKind.Write, lba, blocks, data, offset, fua, this);
      op.lower = this;
      this.#volume.submit(op, epoch, opNumber);
      return true;
    };
    this.#ops.startOrWait(start);
  }

  flush(token: number): void {
    const op = this.#ops.take(token);
    op.ended = STORE_DONE;
    op.begin(BlockOpKind.Flush, 0, 0, null, 0, false, this);
    op.lower = this;
    this.#ops.inOrder(() => {
      this.#volume.submit(op, 0, 0);
      return true;
    });
  }

  read(lba: number, blocks: number, verifyOnly: boolean, token: number): void {
    const op = this.#ops.take(token);
    if (!this.#holds(lba + blocks)) {
      this.#giveLater(op, (nowMs) => this.#core!.onRead(nowMs, token, IoStatus.IoError, lba, null));
      return;
    }
    if (verifyOnly) {
      op.ended = READ_DONE;
      op.begin(BlockOpKind.Verify, lba, blocks, null, 0, false, this);
      op.lower = this;
      this.#volume.submit(op, 0, 0);
      return;
    }
    if (!this.#startRead(op, lba, blocks)) {
      this.#ops.wait(() => this.#startRead(op, lba, blocks));
    }
  }

  /** False: there is no memory for it now. */
  #startRead(op: ReplicaOp, lba: number, blocks: number): boolean {
    if (!this.#ops.withTags(op, blocks)) return false;
    const payload = this.#ops.room(blocks);
    if (payload === null) return false;
    op.payload = payload;
    op.ended = READ_DONE;
    op.begin(BlockOpKind.Read, lba, blocks, payload.buffer, 0, false, this);
    op.lower = this;
    this.#volume.submitTagged(op, 0, 0);
    return true;
  }

  /** Is this the end of blocks that are in the volume? Hot: the pool is asked only beyond what it last said. */
  #holds(endLba: number): boolean {
    if (endLba <= this.#sizeBlocks) return true;
    this.#sizeBlocks = this.#volume.info().sizeBlocks;
    return endLba <= this.#sizeBlocks;
  }

  onBlockDone(done: BlockOp, status: IoStatus): void {
    const op = done as ReplicaOp;
    const { gate } = this.#options;
    if (op.ended !== null) {
      op.ended(op, status);
      return;
    }
    // A change: its end is told to the core, as often as there are changes.
    const { slot } = op;
    this.#ops.give(op);
    if (gate.enter()) {
      this.#core!.onApplied(gate.nowMs, slot, status);
      gate.leave();
    } else gate.post((nowMs) => this.#core!.onApplied(nowMs, slot, status));
    this.#ops.retry();
  }

  /** For READ_DONE. */
  finishRead(op: ReplicaOp, status: IoStatus): void {
    const { slot: token, failedLba, payload, blocks, tags } = op;
    if (status === IoStatus.Ok && payload !== null && tags !== null) {
      const crcs = payload.expectCrcs(blocks);
      for (let index = 0; index < blocks; index += 1) {
        crcs[index] = tags.kind(index) === BlockKind.Data ? tags.crc(index) : ZEROS_CRC;
      }
    }
    op.payload = null;
    this.#ops.give(op);
    const good = status === IoStatus.Ok ? payload : null;
    const { gate } = this.#options;
    if (gate.enter()) {
      this.#core!.onRead(gate.nowMs, token, status, failedLba, good);
      payload?.release();
      gate.leave();
    } else {
      gate.post((nowMs) => {
        this.#core!.onRead(nowMs, token, status, failedLba, good);
        payload?.release();
      });
    }
    this.#ops.retry();
  }

  /** For STORE_DONE. */
  finishStore(op: ReplicaOp, status: IoStatus): void {
    const token = op.slot;
    this.#ops.give(op);
    this.#done(token, status);
  }

  // Listings and copies: EngineCopies.

  listChanged(
    since: Version,
    fromLba: number,
    toLba: number,
    maxEntries: number,
    branchOf: string | null,
    token: number,
  ): void {
    this.#copies.listChanged(since, fromLba, toLba, maxEntries, branchOf, token);
  }

  copyRead(lba: number, blocks: number, snapshotId: string | null, token: number): void {
    this.#copies.copyRead(lba, blocks, snapshotId, token);
  }

  install(message: Install, token: number): void {
    this.#copies.install(message, token);
  }

  digest(lba: number, blocks: number, token: number): void {
    this.#copies.digest(lba, blocks, token);
  }

  takeDamage(): readonly DamagedPlace[] {
    return this.#options.damage.take(this.#volume.name);
  }

  // ---------------------------------------------------------------------------------------------------------- snapshots

  takeSnapshot(snapshotId: string, _name: string, version: Version, token: number): void {
    this.#answerWith(token, async () => {
      await this.#unnamed.takenAnew(snapshotId);
      await this.#snapshots.take(snapshotId, version);
      return IoStatus.Ok;
    });
  }

  snapshots(): readonly string[] {
    return this.#snapshots.ids();
  }

  branches(): readonly string[] {
    return this.#snapshots.unsealed();
  }

  branchSnapshot(snapshotId: string, version: Version, token: number): void {
    const { turn, gate } = this.#options;
    const answer = ({ status, complete }: { status: IoStatus; complete: boolean }): void => {
      turn.enter();
      gate.post((nowMs) => {
        if (!this.#closed) this.#core!.onBranched(nowMs, token, status, complete);
      });
      turn.leave();
    };
    const branch = async (): Promise<{ status: IoStatus; complete: boolean }> => {
      const complete = await this.#alone(snapshotId, () =>
        this.#snapshots.branch(snapshotId, version, this.#holeFloor),
      );
      return { status: IoStatus.Ok, complete };
    };
    this.#begin(branch, answer, (error) => ({ status: failureOf(error), complete: false }));
  }

  sealSnapshot(snapshotId: string, version: Version, token: number): void {
    this.#answerWith(token, async () => {
      const isSealed = await this.#alone(snapshotId, () =>
        this.#snapshots.seal(snapshotId, version),
      );
      return isSealed ? IoStatus.Ok : IoStatus.IoError;
    });
  }

  /** One branch is worked on at a time: a new coordinator may ask for what the one before it asked for. */
  #alone<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#branching += 1;
    this.#unnamed.branched(id);
    const run = this.#lastBranch.then(() => {
      if (this.#closed) throw new StoreError('STORE_CLOSED', `${this.#volume.name} is closed`);
      return work();
    });
    const end = (): Promise<void> => this.#endBranch();
    const ended = run.then(end, end);
    this.#lastBranch = ended;
    this.#work.add(ended);
    void ended.then(() => this.#work.delete(ended));
    return run;
  }

  /** Before another begins. Never rejects. */
  async #endBranch(): Promise<void> {
    try {
      // A record that comes meanwhile leaves its own to this one, too.
      while (this.#branching === 1 && !this.#closed && this.#unnamed.some) {
        await this.#unnamed.drop();
      }
    } catch {
      // What cannot be dropped now goes with the next record.
    } finally {
      this.#branching -= 1;
    }
  }

  // ------------------------------------------------------------------------------------------------------------- parts

  #done(token: number, status: IoStatus): void {
    const { gate, turn } = this.#options;
    turn.enter();
    gate.post((nowMs) => {
      if (!this.#closed) this.#core!.onStoreDone(nowMs, token, status);
    });
    turn.leave();
  }

  #giveLater(op: ReplicaOp, event: (nowMs: number) => void): void {
    this.#ops.give(op);
    this.#options.gate.post(event);
  }
}

function failureOf(error: unknown): IoStatus {
  const isFull = error instanceof StoreError && error.code === 'STORE_NO_SPACE';
  return isFull ? IoStatus.NoSpace : IoStatus.IoError;
}

const READ_DONE = (op: ReplicaOp, status: IoStatus): void =>
  (op.owner as EngineStore).finishRead(op, status);
const STORE_DONE = (op: ReplicaOp, status: IoStatus): void =>
  (op.owner as EngineStore).finishStore(op, status);

const ZEROS_CRC = crc32c(new Uint8Array(STORE_BLOCK_BYTES));
