// A replica's copy on a pool of the engine: the member core's MemberStore over a StoreVolume. What it keeps beside the
// blocks are three blobs of the volume: the promise, the record, and the number of the record's parts.
//
// Order: the engine applies changes in the order of their submission. Where one must wait for a buffer of the arena,
// everything after it waits behind it.
import { assert, crc32c, type Turn } from '../base/index.ts';
import {
  type BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type DataBuffer,
  type DataBufferPool,
  IoStatus,
} from '../block/index.ts';
import {
  BLOCK_TAG_BYTES,
  BlockTags,
  MAX_BLOB_BYTES,
  type Pool,
  STORE_BLOCK_BYTES,
  StoreError,
  StoreOp,
  type StoreVolume,
  WriteGuard,
} from '../store/index.ts';
import {
  type BytesPayload,
  type CoreGate,
  decodeRecord,
  encodeRecord,
  type PayloadOwner,
  PayloadPool,
} from '../wire/index.ts';
import {
  type Apply,
  type BlockCopies,
  BlockKind,
  type ChangedRuns,
  ChangeKind,
  type Install,
  InstallMode,
} from '../wire/messages.ts';
import type { VolumeRecord } from '../wire/record.ts';
import { isBelow, type Version, ZERO_VERSION } from '../wire/version.ts';
import type { MemberEvents, MemberStore, OpenedState } from './member-interfaces.ts';
import { NOTHING, ReplicaSnapshots } from './replica-snapshots.ts';

/** 4 bytes epoch. */
const PROMISE_KEY = 'replica.promise';
/** Parts `replica.record.N.i`, named by the head: 4 bytes slot, 4 parts, 4 CRC32C of all, then the hint, 4 and 8 bytes. */
const RECORD_HEAD_KEY = 'replica.record';
export const WITNESS_KEY = 'replica.witness';
const HEAD_BYTES = 24;
const PART_BYTES = MAX_BLOB_BYTES;
/** Runs of one listing: a message of them fits a frame many times over. */
const MAX_LISTED_RUNS = 4096;
/** Blocks whose tags are looked at in one go, for a digest. */
const DIGEST_STEP_BLOCKS = 256;
/** The tags of the longest operation, and one buffer of the arena. */
const TAG_BUFFER_BYTES = 16 * 1024;

export interface EngineStoreOptions {
  readonly pool: Pool;
  readonly volume: StoreVolume;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly gate: CoreGate;
}

/** One operation on its way through the engine. */
class ReplicaOp extends StoreOp {
  /** For `onApplied`, or the token of the others. */
  slot = 0;
  payload: BytesPayload | null = null;
  tagBuffer: DataBuffer | null = null;
  ended: ((op: ReplicaOp, status: IoStatus) => void) | null = null;
}

interface Waiting {
  readonly start: () => boolean;
}

export class EngineStore implements MemberStore, BlockOpOwner {
  readonly opened: OpenedState;
  readonly #options: EngineStoreOptions;
  readonly #volume: StoreVolume;
  readonly #payloads: PayloadPool;
  readonly #snapshots: ReplicaSnapshots;
  #core: MemberEvents | null = null;
  #freeOps: ReplicaOp[] = [];
  /** What waits for memory, in order. */
  #waiting: Waiting[] = [];
  #asked = false;
  #recordSlot = 0;
  #recordParts = 0;
  #wantedContig: Version = ZERO_VERSION;
  #holeFloor: Version;
  /** Of the volume when it was last asked. It only grows. */
  #sizeBlocks: number;
  #closed = false;
  /** What changes the pool beside the volume's blocks. */
  readonly #work = new Set<Promise<unknown>>();

  /** Opens what is there. Throws StoreError where the replica's own words are damaged. */
  constructor(options: EngineStoreOptions) {
    this.#options = options;
    this.#volume = options.volume;
    this.#payloads = new PayloadPool(options.buffers);
    const { pool, volume } = options;
    this.#snapshots = new ReplicaSnapshots(pool, volume);
    const promiseBlob = volume.getBlob(PROMISE_KEY);
    const head = this.#readHead();
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
      promised: Math.max(
        promiseBlob === null ? 0 : Buffer.from(promiseBlob).readUInt32LE(0),
        head?.record.epoch ?? 0,
      ),
      record: head?.record ?? null,
      contig: info.contig,
      hint: head?.hint ?? ZERO_VERSION,
      witness: volume.getBlob(WITNESS_KEY) !== null,
    };
  }

  /** The record that a blank store begins with. Rejects with StoreError. */
  async begin(record: VolumeRecord): Promise<void> {
    const status = await this.#writeRecord(record, ZERO_VERSION);
    if (status !== IoStatus.Ok) {
      throw new StoreError('STORE_IO', `keeping the record of ${this.#volume.name} failed`);
    }
  }

  /** Who hears. Once, before the first call. */
  drive(core: MemberEvents): void {
    this.#core = core;
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
    const b = Buffer.alloc(4);
    b.writeUInt32LE(epoch);
    this.#volume.putBlob(PROMISE_KEY, b, (status) => this.#done(token, status));
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
    const status = await this.#writeRecord(record, hint);
    // P3. After the record that does not name them: one that a crash leaves behind is dropped with the next record.
    if (status === IoStatus.Ok) await this.#snapshots.drop(dropSnapshots);
    return status;
  }

  snapshotName(id: string): string {
    return this.#snapshots.nameOf(id);
  }

  async #writeRecord(record: VolumeRecord, hint: Version): Promise<IoStatus> {
    const bytes = encodeRecord(record);
    const slot = this.#recordSlot + 1;
    const parts = Math.ceil(bytes.length / PART_BYTES);
    for (let part = 0; part < parts; part += 1) {
      const piece = bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES);
      const status = await this.#put(`${RECORD_HEAD_KEY}.${slot % 2}.${part}`, piece);
      if (status !== IoStatus.Ok) return status;
    }
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(slot % 2, 0);
    head.writeUInt32LE(parts, 4);
    head.writeUInt32LE(crc32c(bytes), 8);
    head.writeUInt32LE(hint.epoch, 12);
    head.writeBigUInt64LE(BigInt(hint.op), 16);
    const status = await this.#put(RECORD_HEAD_KEY, head); // From here on it is the record.
    if (status !== IoStatus.Ok) return status;
    this.#recordSlot = slot;
    this.#recordParts = parts;
    return IoStatus.Ok;
  }

  #readHead(): { record: VolumeRecord; hint: Version } | null {
    const blob = this.#volume.getBlob(RECORD_HEAD_KEY);
    if (blob === null) return null;
    const head = Buffer.from(blob);
    const damaged = (): StoreError =>
      new StoreError('STORE_CORRUPT', `replica ${this.#volume.name}: its record is damaged`);
    if (head.length !== HEAD_BYTES) throw damaged();
    this.#recordSlot = head.readUInt32LE(0);
    this.#recordParts = head.readUInt32LE(4);
    const pieces: Uint8Array[] = [];
    for (let part = 0; part < this.#recordParts; part += 1) {
      const piece = this.#volume.getBlob(`${RECORD_HEAD_KEY}.${this.#recordSlot}.${part}`);
      if (piece === null) throw damaged();
      pieces.push(piece);
    }
    const bytes = Buffer.concat(pieces);
    if (crc32c(bytes) !== head.readUInt32LE(8)) throw damaged();
    const record = decodeRecord(bytes);
    if (record === null) throw damaged();
    const hint = { epoch: head.readUInt32LE(12), op: Number(head.readBigUInt64LE(16)) };
    return { record, hint };
  }

  #put(key: string, value: Uint8Array): Promise<IoStatus> {
    return new Promise((resolve) => this.#volume.putBlob(key, value, resolve));
  }

  setContig(epoch: number, op: number): void {
    // The engine's own is exact for what came in its stream, and in the log with the ops. What copies have made up for,
    // it is told with the record that says so.
    this.#wantedContig = { epoch, op };
  }

  // -------------------------------------------------------------------------------------------------------------- ops

  apply(message: Apply, slot: number): void {
    const op = this.#take(slot);
    if (message.kind === ChangeKind.Unmap) {
      op.begin(BlockOpKind.Unmap, message.lba, message.blocks, null, 0, message.fua, this);
      op.lower = this;
      const { epoch, op: opNumber } = message;
      this.#inOrder(() => {
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
      const data = this.#inArena(op, payload, dataByteOffset, blocks);
      if (data === null) return false;
      const inPlace = data === payload.buffer;
      const offset = inPlace ? payload.byteOffset + dataByteOffset : 0;
      if (!inPlace) payload.release(); // `op` has a copy of its own.
      op.begin(BlockOpKind.Write, lba, blocks, data, offset, fua, this);
      op.lower = this;
      this.#volume.submit(op, epoch, opNumber);
      return true;
    };
    if (this.#waiting.length > 0 || !start()) this.#wait(start);
  }

  flush(token: number): void {
    const op = this.#take(token);
    op.ended = STORE_DONE;
    op.begin(BlockOpKind.Flush, 0, 0, null, 0, false, this);
    op.lower = this;
    this.#inOrder(() => {
      this.#volume.submit(op, 0, 0);
      return true;
    });
  }

  read(lba: number, blocks: number, verifyOnly: boolean, token: number): void {
    const op = this.#take(token);
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
    const start = (): boolean => {
      if (!this.#withTags(op, blocks)) return false;
      const payload = this.#room(blocks);
      if (payload === null) return false;
      op.payload = payload;
      op.ended = READ_DONE;
      op.begin(BlockOpKind.Read, lba, blocks, payload.buffer, 0, false, this);
      op.lower = this;
      this.#volume.submitTagged(op, 0, 0);
      return true;
    };
    if (!start()) this.#wait(start);
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
    this.#give(op);
    if (gate.enter()) {
      this.#core!.onApplied(gate.nowMs, slot, status);
      gate.leave();
    } else gate.post((nowMs) => this.#core!.onApplied(nowMs, slot, status));
    if (this.#waiting.length > 0) this.#retry();
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
    this.#give(op);
    const good = status === IoStatus.Ok ? payload : null;
    this.#options.gate.post((nowMs) => {
      this.#core!.onRead(nowMs, token, status, failedLba, good);
      payload?.release();
    });
    if (this.#waiting.length > 0) this.#retry();
  }

  /** For STORE_DONE. */
  finishStore(op: ReplicaOp, status: IoStatus): void {
    const token = op.slot;
    this.#give(op);
    this.#done(token, status);
  }

  // ------------------------------------------------------------------------------------------------ listings and copies

  listChanged(
    since: Version,
    fromLba: number,
    toLba: number,
    maxEntries: number,
    branchOf: string | null,
    token: number,
  ): void {
    const volume = branchOf === null ? this.#volume : this.#snapshots.unsealedVolume(branchOf);
    const sizeBlocks = volume?.info().sizeBlocks ?? 0;
    const endLba = Math.min(toLba, sizeBlocks);
    const answer = (status: IoStatus, runs: ChangedRuns, nextLba: number): void => {
      this.#options.gate.post((nowMs) => this.#core!.onListed(nowMs, token, status, runs, nextLba));
    };
    if (volume === null) {
      answer(IoStatus.IoError, NO_RUNS, fromLba);
      return;
    }
    if (fromLba >= endLba) {
      answer(IoStatus.Ok, NO_RUNS, toLba);
      return;
    }
    const maxRuns = Math.max(1, Math.min(maxEntries, MAX_LISTED_RUNS));
    volume.changedSince(since, fromLba, maxRuns, (status, found, nextLba) => {
      if (status !== IoStatus.Ok) {
        answer(status, NO_RUNS, fromLba);
        return;
      }
      const within = found.filter((run) => run.lba < endLba);
      const runs: ChangedRuns = {
        lbas: Float64Array.from(within, (run) => run.lba),
        counts: Float64Array.from(within, (run) => Math.min(run.blocks, endLba - run.lba)),
        // H6: of a damaged map page anything may be true, but not that it can be copied from here.
        kinds: Uint8Array.from(within, (run) => run.kind),
        epochs: Uint32Array.from(within, (run) => run.epoch),
        ops: Float64Array.from(within, (run) => run.op),
      };
      answer(IoStatus.Ok, runs, nextLba >= endLba ? toLba : nextLba);
    });
  }

  copyRead(lba: number, blocks: number, snapshotId: string | null, token: number): void {
    const answer = (status: IoStatus, copy: BlockCopies | null): void => {
      this.#options.gate.post((nowMs) => this.#core!.onCopyRead(nowMs, token, status, copy));
    };
    const from =
      snapshotId === null
        ? this.#volume
        : this.#options.pool.snapshot(this.snapshotName(snapshotId));
    const held =
      snapshotId === null
        ? this.#holds(lba + blocks)
        : from !== null && lba + blocks <= from.info().sizeBlocks;
    if (from === null || !held) {
      answer(IoStatus.IoError, null);
      return;
    }
    const op = this.#take(token);
    const start = (): boolean => {
      if (!this.#withTags(op, blocks)) return false;
      const payload = this.#room(blocks);
      if (payload === null) return false;
      op.payload = payload;
      op.ended = (_op, status) => {
        op.payload = null;
        // Damaged ones are told by their tags, and the others are good (W9).
        const readable = status === IoStatus.Ok || status === IoStatus.Damaged;
        const copy = readable ? packCopies(lba, blocks, op.tags!, payload) : null;
        this.#give(op);
        this.#options.gate.post((nowMs) => {
          this.#core!.onCopyRead(nowMs, token, readable ? IoStatus.Ok : status, copy);
          payload.release();
        });
        if (this.#waiting.length > 0) this.#retry();
      };
      op.begin(BlockOpKind.Read, lba, blocks, payload.buffer, 0, false, this);
      op.lower = this;
      from.submitTagged(op, 0, 0);
      return true;
    };
    if (!start()) this.#wait(start);
  }

  install(message: Install, token: number): void {
    const { copy, mode, join, branchOf } = message;
    const volume = branchOf === null ? this.#volume : this.#snapshots.unsealedVolume(branchOf);
    if (volume === null) {
      this.#done(token, IoStatus.IoError);
      return;
    }
    const data = copy.data as BytesPayload | null;
    data?.retain();
    let running = 1;
    let worst: IoStatus = IoStatus.Ok;
    const ended = (status: IoStatus): void => {
      if (status !== IoStatus.Ok) worst = status;
      running -= 1;
      if (running > 0) return;
      data?.release();
      this.#done(token, worst);
    };
    let packed = 0;
    for (let at = 0; at < copy.blocks; ) {
      const isData = copy.kinds[at] === BlockKind.Data;
      let end = at + 1;
      while (end < copy.blocks && (copy.kinds[end] === BlockKind.Data) === isData) end += 1;
      running += 1;
      this.#installRun(volume, copy, at, end, isData ? data : null, packed, mode, join, ended);
      if (isData) packed += end - at;
      at = end;
    }
    ended(IoStatus.Ok);
  }

  #installRun(
    volume: StoreVolume,
    copy: BlockCopies,
    from: number,
    to: number,
    data: BytesPayload | null,
    packed: number,
    mode: InstallMode,
    join: Version,
    ended: (status: IoStatus) => void,
  ): void {
    const op = this.#take(0);
    const blocks = to - from;
    const start = (): boolean => {
      if (!this.#withTags(op, blocks)) return false;
      let buffer: DataBuffer | null = null;
      if (data !== null) {
        buffer = this.#inArena(op, data, packed * STORE_BLOCK_BYTES, blocks);
        if (buffer === null) {
          this.#dropTags(op);
          return false;
        }
      } else {
        // Holes bring no bytes, but an install has room for them all the same.
        const room = this.#room(blocks);
        if (room === null) {
          this.#dropTags(op);
          return false;
        }
        op.payload = room;
        buffer = room.buffer;
      }
      const tags = op.tags!;
      for (let index = 0; index < blocks; index += 1) {
        const block = from + index;
        const kind = copy.kinds[block] as BlockKind;
        const { [block]: epoch = 0 } = copy.epochs;
        // S14: what a branch has from where it began counts as version 0 there, which what was never written has too.
        const isNothing = kind === BlockKind.Empty && volume !== this.#volume;
        if (isNothing) tags.set(index, BlockKind.Hole, NOTHING.epoch, NOTHING.op, 0);
        else tags.set(index, kind, epoch, copy.ops[block]!, copy.crcs[block]!);
      }
      const offset =
        data !== null && buffer === data.buffer ? data.byteOffset + packed * STORE_BLOCK_BYTES : 0;
      op.begin(BlockOpKind.Write, copy.lba + from, blocks, buffer, offset, false, this);
      op.lower = this;
      op.guard = mode === InstallMode.Repair ? WriteGuard.Exact : WriteGuard.Join;
      op.ended = (_op, status) => {
        this.#give(op);
        ended(status);
        if (this.#waiting.length > 0) this.#retry();
      };
      const guard = mode === InstallMode.Rebuild ? join : ZERO_VERSION;
      volume.submitTagged(op, guard.epoch, guard.op);
      return true;
    };
    if (this.#waiting.length > 0 || !start()) this.#wait(start);
  }

  /** H5. CRC32Cs, one over (lba, version, CRC) of each block that has a version, one over the same backwards. */
  digest(lba: number, blocks: number, token: number): void {
    let high = 0;
    let low = 0;
    let at = lba;
    const { sizeBlocks } = this.#volume.info();
    const endLba = Math.min(lba + blocks, sizeBlocks);
    const entry = Buffer.alloc(28);
    const answer = (status: IoStatus): void => {
      this.#options.gate.post((nowMs) => this.#core!.onDigest(nowMs, token, status, high, low));
    };
    const step = (): boolean => {
      if (at >= endLba) {
        answer(IoStatus.Ok);
        return true;
      }
      const count = Math.min(DIGEST_STEP_BLOCKS, endLba - at);
      const op = this.#take(token);
      if (!this.#withTags(op, count)) {
        this.#freeOps.push(op);
        return false;
      }
      op.tagsOnly = true;
      op.begin(BlockOpKind.Read, at, count, null, 0, false, this);
      op.lower = this;
      op.ended = (_op, status) => {
        const tags = op.tags!;
        for (let index = 0; index < count; index += 1) {
          const epoch = tags.epoch(index);
          const version = tags.op(index);
          if (epoch === 0 && version === 0) continue;
          entry.writeBigUInt64LE(BigInt(at + index), 0);
          entry.writeUInt32LE(epoch, 8);
          entry.writeBigUInt64LE(BigInt(version), 12);
          entry.writeUInt32LE(tags.kind(index), 20);
          entry.writeUInt32LE(tags.crc(index), 24);
          low = crc32c(entry, 0, 28, low);
          high = crc32c(entry.reverse(), 0, 28, high);
        }
        this.#give(op);
        if (status !== IoStatus.Ok && status !== IoStatus.Damaged) {
          answer(status);
          return;
        }
        at += count;
        if (!step()) this.#wait(step);
      };
      this.#volume.submitTagged(op, 0, 0);
      return true;
    };
    if (!step()) this.#wait(step);
  }

  takeSnapshot(snapshotId: string, _name: string, version: Version, token: number): void {
    this.#answerWith(token, async () => {
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
      const complete = await this.#snapshots.branch(snapshotId, version, this.#holeFloor);
      return { status: IoStatus.Ok, complete };
    };
    this.#begin(branch, answer, (error) => ({ status: failureOf(error), complete: false }));
  }

  sealSnapshot(snapshotId: string, version: Version, token: number): void {
    this.#answerWith(token, async () =>
      (await this.#snapshots.seal(snapshotId, version)) ? IoStatus.Ok : IoStatus.IoError,
    );
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

  /** Starts now, or behind what waits for memory. */
  #inOrder(start: () => boolean): void {
    if (this.#waiting.length > 0) this.#wait(start);
    else start();
  }

  #wait(start: () => boolean): void {
    this.#waiting.push({ start });
    if (this.#asked) return;
    this.#asked = true;
    this.#options.buffers.whenFreed(() => {
      this.#asked = false;
      this.#options.turn.enter();
      this.#retry();
      this.#options.turn.leave();
    });
  }

  #retry(): void {
    while (this.#waiting.length > 0) {
      if (!this.#waiting[0]!.start()) break;
      this.#waiting.shift();
    }
    if (this.#waiting.length > 0 && !this.#asked) this.#wait(this.#waiting.pop()!.start);
  }

  /** The engine reads and writes the arena alone: what lies elsewhere is copied there. Null: no room now. */
  #inArena(
    op: ReplicaOp,
    payload: BytesPayload,
    byteOffset: number,
    blocks: number,
  ): DataBuffer | null {
    const { buffer } = payload;
    if (buffer !== null && (payload.byteOffset + byteOffset) % STORE_BLOCK_BYTES === 0)
      return buffer;
    const room = this.#room(blocks);
    if (room === null) return null;
    const start = payload.byteOffset + byteOffset;
    room.bytes.set(payload.bytes.subarray(start, start + blocks * STORE_BLOCK_BYTES));
    op.payload = room;
    return room.buffer;
  }

  #room(blocks: number): BytesPayload | null {
    const bytes = blocks * STORE_BLOCK_BYTES;
    const payload = this.#payloads.take(bytes, this.#owner);
    if (payload.buffer !== null) return payload;
    payload.release();
    return null;
  }

  readonly #owner: PayloadOwner = { onFree: (payload) => this.#payloads.give(payload) };

  #withTags(op: ReplicaOp, blocks: number): boolean {
    if (op.tagBuffer !== null) return true;
    assert(blocks * BLOCK_TAG_BYTES <= TAG_BUFFER_BYTES);
    const buffer = this.#options.buffers.allocate(blocks * BLOCK_TAG_BYTES);
    if (buffer === null) return false;
    op.tagBuffer = buffer;
    op.tags = new BlockTags(buffer);
    return true;
  }

  #dropTags(op: ReplicaOp): void {
    op.tagBuffer?.release();
    op.tagBuffer = null;
    op.tags = null;
  }

  #take(slot: number): ReplicaOp {
    const op = this.#freeOps.pop() ?? new ReplicaOp();
    op.slot = slot;
    op.guard = WriteGuard.Newer;
    op.tagsOnly = false;
    op.ended = null;
    return op;
  }

  #give(op: ReplicaOp): void {
    this.#dropTags(op);
    op.payload?.release();
    op.payload = null;
    op.data = null;
    op.ended = null;
    this.#freeOps.push(op);
  }

  #giveLater(op: ReplicaOp, event: (nowMs: number) => void): void {
    this.#give(op);
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
const NO_RUNS: ChangedRuns = {
  lbas: new Float64Array(0),
  counts: new Float64Array(0),
  kinds: new Uint8Array(0),
  epochs: new Uint32Array(0),
  ops: new Float64Array(0),
};

/** Kinds, versions and CRCs of a range that was read, its data blocks moved together. */
function packCopies(
  lba: number,
  blocks: number,
  tags: BlockTags,
  payload: BytesPayload,
): BlockCopies {
  const kinds = new Uint8Array(blocks);
  const epochs = new Uint32Array(blocks);
  const ops = new Float64Array(blocks);
  const crcs = new Uint32Array(blocks);
  let packed = 0;
  for (let index = 0; index < blocks; index += 1) {
    const kind = tags.damaged(index) ? BlockKind.Damaged : (tags.kind(index) as BlockKind);
    kinds[index] = kind;
    epochs[index] = tags.epoch(index);
    ops[index] = tags.op(index);
    if (kind !== BlockKind.Data) continue;
    crcs[index] = tags.crc(index);
    if (packed !== index) {
      const start = index * STORE_BLOCK_BYTES;
      payload.bytes.copyWithin(packed * STORE_BLOCK_BYTES, start, start + STORE_BLOCK_BYTES);
    }
    packed += 1;
  }
  return { lba, blocks, kinds, epochs, ops, crcs, data: packed === 0 ? null : payload };
}
