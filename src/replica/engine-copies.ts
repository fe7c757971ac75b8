// A replica's listings and copies (B2-B4, V4, H3), of its volume, its snapshots and its branches (B6), and its digests (H5).
import { crc32c } from '../base/index.ts';
import {
  type BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type DataBuffer,
  IoStatus,
} from '../block/index.ts';
import {
  type BlockTags,
  type Pool,
  STORE_BLOCK_BYTES,
  type StoreVolume,
  WriteGuard,
} from '../store/index.ts';
import type { BytesPayload, CoreGate } from '../wire/index.ts';
import {
  type BlockCopies,
  BlockKind,
  type ChangedRuns,
  type Install,
  InstallMode,
} from '../wire/messages.ts';
import { type Version, ZERO_VERSION } from '../wire/version.ts';
import type { EngineOps, ReplicaOp } from './engine-ops.ts';
import type { MemberEvents } from './member-interfaces.ts';
import { NOTHING, type ReplicaSnapshots } from './replica-snapshots.ts';

/** Runs of one listing: a message of them fits a frame many times over. */
const MAX_LISTED_RUNS = 4096;
/** Blocks whose tags are looked at in one go, for a digest. */
const DIGEST_STEP_BLOCKS = 256;
const NO_RUNS: ChangedRuns = {
  lbas: new Float64Array(0),
  counts: new Float64Array(0),
  kinds: new Uint8Array(0),
  epochs: new Uint32Array(0),
  ops: new Float64Array(0),
};

export interface EngineCopiesOptions {
  readonly pool: Pool;
  readonly volume: StoreVolume;
  readonly snapshots: ReplicaSnapshots;
  readonly ops: EngineOps;
  readonly gate: CoreGate;
  /** An install has ended. */
  done(token: number, status: IoStatus): void;
}

/** As MemberStore has these methods. */
export class EngineCopies implements BlockOpOwner {
  readonly #pool: Pool;
  readonly #volume: StoreVolume;
  readonly #snapshots: ReplicaSnapshots;
  readonly #ops: EngineOps;
  readonly #gate: CoreGate;
  readonly #done: (token: number, status: IoStatus) => void;
  #core: MemberEvents | null = null;

  constructor({ pool, volume, snapshots, ops, gate, done }: EngineCopiesOptions) {
    this.#pool = pool;
    this.#volume = volume;
    this.#snapshots = snapshots;
    this.#ops = ops;
    this.#gate = gate;
    this.#done = done;
  }

  drive(core: MemberEvents): void {
    this.#core = core;
  }

  onBlockDone(op: BlockOp, status: IoStatus): void {
    const { ended } = op as ReplicaOp;
    ended!(op as ReplicaOp, status);
  }

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
      this.#gate.post((nowMs) => this.#core!.onListed(nowMs, token, status, runs, nextLba));
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
      this.#gate.post((nowMs) => this.#core!.onCopyRead(nowMs, token, status, copy));
    };
    const from =
      snapshotId === null ? this.#volume : this.#pool.snapshot(this.#snapshots.nameOf(snapshotId));
    const held =
      snapshotId === null
        ? lba + blocks <= this.#volume.info().sizeBlocks
        : from !== null && lba + blocks <= from.info().sizeBlocks;
    if (from === null || !held) {
      answer(IoStatus.IoError, null);
      return;
    }
    const op = this.#ops.take(token);
    const start = (): boolean => {
      if (!this.#ops.withTags(op, blocks)) return false;
      const payload = this.#ops.room(blocks);
      if (payload === null) return false;
      op.payload = payload;
      op.ended = (_op, status) => {
        op.payload = null;
        // Damaged ones are told by their tags, and the others are good (W9).
        const readable = status === IoStatus.Ok || status === IoStatus.Damaged;
        const copy = readable ? packCopies(lba, blocks, op.tags!, payload) : null;
        this.#ops.give(op);
        this.#gate.post((nowMs) => {
          this.#core!.onCopyRead(nowMs, token, readable ? IoStatus.Ok : status, copy);
          payload.release();
        });
        this.#ops.retry();
      };
      op.begin(BlockOpKind.Read, lba, blocks, payload.buffer, 0, false, this);
      op.lower = this;
      from.submitTagged(op, 0, 0);
      return true;
    };
    if (!start()) this.#ops.wait(start);
  }

  install(message: Install, token: number): void {
    const { copy, mode, join, branchOf } = message;
    if (mode === InstallMode.Repair && branchOf !== null) {
      this.#mendSnapshot(copy, branchOf, token);
      return;
    }
    const volume = branchOf === null ? this.#volume : this.#snapshots.unsealedVolume(branchOf);
    // H3 is of data alone: the engine takes nothing else.
    const isRepairOfNone = mode === InstallMode.Repair && !isData(copy);
    if (volume === null || isRepairOfNone) {
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
      const hasBytes = copy.kinds[at] === BlockKind.Data;
      let end = at + 1;
      while (end < copy.blocks && goTogether(copy.kinds[at]!, copy.kinds[end]!)) end += 1;
      running += 1;
      this.#installRun(volume, copy, at, end, hasBytes ? data : null, packed, mode, join, ended);
      if (hasBytes) packed += end - at;
      at = end;
    }
    ended(IoStatus.Ok);
  }

  /** H3, of a snapshot: its blocks stay where they are, and who shares them is mended with it. */
  #mendSnapshot(copy: BlockCopies, id: string, token: number): void {
    const { lba, blocks } = copy;
    const from = this.#pool.snapshot(this.#snapshots.nameOf(id));
    const data = copy.data as BytesPayload | null;
    if (from === null || data === null || !isData(copy) || lba + blocks > from.info().sizeBlocks) {
      this.#done(token, IoStatus.IoError);
      return;
    }
    data.retain();
    const op = this.#ops.take(token);
    const start = (): boolean => {
      const room = this.#ops.room(blocks); // The engine reads into it.
      if (room === null) return false;
      const end = data.byteOffset + blocks * STORE_BLOCK_BYTES;
      room.bytes.set(data.bytes.subarray(data.byteOffset, end));
      op.payload = room;
      op.offers = true;
      op.ended = (_op, status) => {
        data.release();
        this.#ops.give(op);
        this.#done(token, status);
        this.#ops.retry();
      };
      op.begin(BlockOpKind.Read, lba, blocks, room.buffer, 0, false, this);
      op.lower = this;
      from.submit(op, 0, 0);
      return true;
    };
    if (!start()) this.#ops.wait(start);
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
    const op = this.#ops.take(0);
    const blocks = to - from;
    const start = (): boolean => {
      if (!this.#ops.withTags(op, blocks)) return false;
      let buffer: DataBuffer | null = null;
      if (data !== null) {
        buffer = this.#ops.inArena(op, data, packed * STORE_BLOCK_BYTES, blocks);
        if (buffer === null) {
          this.#ops.dropTags(op);
          return false;
        }
      } else {
        // Holes bring no bytes, but an install has room for them all the same.
        const room = this.#ops.room(blocks);
        if (room === null) {
          this.#ops.dropTags(op);
          return false;
        }
        op.payload = room;
        buffer = room.buffer;
        // A damaged block has bytes, though none that anybody reads: not those of another volume.
        const end = room.byteOffset + blocks * STORE_BLOCK_BYTES;
        if (copy.kinds[from] === BlockKind.Damaged) room.bytes.fill(0, room.byteOffset, end);
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
        this.#ops.give(op);
        ended(status);
        this.#ops.retry();
      };
      const guard = mode === InstallMode.Rebuild ? join : ZERO_VERSION;
      volume.submitTagged(op, guard.epoch, guard.op);
      return true;
    };
    this.#ops.startOrWait(start);
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
      this.#gate.post((nowMs) => this.#core!.onDigest(nowMs, token, status, high, low));
    };
    const step = (): boolean => {
      if (at >= endLba) {
        answer(IoStatus.Ok);
        return true;
      }
      const count = Math.min(DIGEST_STEP_BLOCKS, endLba - at);
      const op = this.#ops.take(token);
      if (!this.#ops.withTags(op, count)) {
        this.#ops.give(op);
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
        this.#ops.give(op);
        if (status !== IoStatus.Ok && status !== IoStatus.Damaged) {
          answer(status);
          return;
        }
        at += count;
        if (!step()) this.#ops.wait(step);
      };
      this.#volume.submitTagged(op, 0, 0);
      return true;
    };
    if (!step()) this.#ops.wait(step);
  }
}

/** One install: data, damaged blocks, or what has no bytes. */
function goTogether(a: number, b: number): boolean {
  const isBare = (kind: number): boolean => kind === BlockKind.Empty || kind === BlockKind.Hole;
  return a === b || (isBare(a) && isBare(b));
}

function isData({ blocks, kinds }: BlockCopies): boolean {
  return kinds.subarray(0, blocks).every((kind) => kind === BlockKind.Data);
}

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
