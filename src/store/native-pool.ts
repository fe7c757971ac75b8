// A pool of the native engine.
//
// Operations go down as records in a shared array, written where they are submitted and sent in one crossing at the end
// of the turn; completions come back in another array, read in one go. A submitted operation has a tag, its slot here and
// in the addon, until its completion is read. Layout and rules of the arrays: native/binding/pool_binding.h.
import { assert, type Flushable, type Turn, TurnPhase } from '../base/index.ts';
import { type BlockOp, BlockOpKind, IoStatus, type MapExtent } from '../block/index.ts';
import { bootId } from './boot-id.ts';
import {
  checkBlob,
  checkSnapshotName,
  checkVolumeName,
  checkVolumeSize,
  MAX_ATOMIC_BLOCKS,
  MAX_EPOCH,
  MAX_OP_BLOCKS,
  MAX_OP_NUMBER,
} from './limits.ts';
import {
  COMPLETION_LANES,
  COMPLETION_SLOTS,
  currentArena,
  MAX_BATCH,
  MAX_CONTROLS,
  MAX_TAGS,
  type NativePoolHandle,
  type NativeSnapshotRequest,
  type NativeStats,
  SUBMISSION_LANES,
} from './native.ts';
import { NativeDevices } from './native-devices.ts';
import { CONTROL_FAILURES, explained } from './native-failures.ts';
import { NativeSnapshot, NativeVolume } from './native-volume.ts';
import { BLOCK_TAG_BYTES, STORE_OP_TAGS, StoreOp, WriteGuard } from './replication.ts';
import {
  type NewVolume,
  type Pool,
  type PoolState,
  type PoolStats,
  type SnapshotRequest,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreSnapshot,
  type StoreVolume,
} from './types.ts';
import { uuidToBytes } from './uuid.ts';

const TWO_32 = 2 ** 32;
const NOTHING = new Uint8Array(0);

/** Whose operations go down: a volume's, or a snapshot's. */
export interface Submitter {
  readonly handle: number;
  /** Deleted: nothing reaches the engine under this handle any more. */
  gone: boolean;
}

/** Told how a control call ended: a Status of pool.h, and the volume handle where there is a new one. */
type ControlDone = (status: number, handle: number, controlId: number) => void;

export class NativePool implements Pool, Flushable {
  readonly id: string;
  readonly name: string;
  /** How the medium is reached: 'io_uring', 'threads' or 'sync'; and whether around the page cache. */
  readonly backend: string;
  readonly direct: boolean;
  readonly path: string;
  readonly devices: NativeDevices;

  readonly #native: NativePoolHandle;
  readonly #turn: Turn;
  readonly #arena: ArrayBuffer | null;
  readonly #volumes = new Map<string, NativeVolume>();
  readonly #snapshots = new Map<string, NativeSnapshot>();

  readonly #submission = new Int32Array(MAX_BATCH * SUBMISSION_LANES);
  readonly #completion = new Int32Array(COMPLETION_SLOTS * COMPLETION_LANES);
  readonly #shared = new Int32Array(1);
  /** Records written and not yet sent. */
  #batch = 0;
  /** Completions read, wrapping like shared[0]. */
  #read = 0;
  #deferred = false;

  readonly #ops: (BlockOp | null)[] = new Array<BlockOp | null>(MAX_TAGS).fill(null);
  readonly #freeTags = new Int32Array(MAX_TAGS);
  #freeTagCount = MAX_TAGS;
  /**
   * Submissions beyond the tags or the batch, in order: they follow at the next completions. Bounded by the windows of
   * the rooms above, and in practice empty.
   */
  #waiting: (
    | { volume: Submitter; op: BlockOp; epoch: number; opNumber: number }
    | { begin: () => void }
  )[] = [];

  readonly #controls: (ControlDone | null)[] = new Array<ControlDone | null>(MAX_CONTROLS).fill(
    null,
  );
  #freeControls: number[] = Array.from({ length: MAX_CONTROLS }, (_, index) => index);

  #state: PoolState = 'Online';
  #closing: Promise<void> | null = null;
  #lastStats: NativeStats | null = null;
  /** Set once, when the pool is opened. */
  bootId = bootId();
  #idleTimer: NodeJS.Timeout | null = null;
  #faultListeners: ((why: string) => void)[] = [];
  #faultTold = false;

  /** Takes over a handle that was just opened. `openPool` in open.ts is the way to get one. */
  constructor(native: NativePoolHandle, path: string, turn: Turn) {
    this.#native = native;
    this.#turn = turn;
    this.#arena = currentArena();
    this.path = path;
    const identity = native.identity();
    this.id = identity.id;
    this.name = identity.name;
    this.backend = identity.backend;
    this.direct = identity.direct;
    this.devices = new NativeDevices(native, identity.id, (doing, start) =>
      this.#promise(doing, start),
    );
    for (let tag = 0; tag < MAX_TAGS; tag += 1) this.#freeTags[tag] = MAX_TAGS - 1 - tag;
    native.attach(this.#submission, this.#completion, this.#shared, () => this.#onCompletions());
    for (const info of native.volumes()) {
      if (!info.deleting) {
        const volume = new NativeVolume(this, info.handle, info.id, info.name);
        this.#volumes.set(info.name, volume);
        for (const s of native.snapshots(info.handle)) {
          const snapshot = new NativeSnapshot(this, volume, s.handle, s.id, s.name);
          if (!s.deleting) this.#snapshots.set(snapshot.name, snapshot);
        }
      }
    }
  }

  stats(): PoolStats {
    const fresh = this.#state === 'Closed' ? null : this.#native.stats();
    if (fresh !== null) this.#lastStats = fresh;
    const stats = this.#lastStats;
    assert(stats !== null);
    if (stats.state === 2) this.#noteFault(stats.fault);
    return { ...stats, state: this.#state };
  }

  volumes(): readonly StoreVolume[] {
    return [...this.#volumes.values()];
  }

  volume(name: string): StoreVolume | null {
    return this.#volumes.get(name) ?? null;
  }

  async createVolume(options: NewVolume): Promise<StoreVolume> {
    const { id, name, sizeBlocks, holeFloor = null } = options;
    checkVolumeName(name);
    checkVolumeSize(sizeBlocks);
    const bytes = uuidToBytes(id);
    if (this.#volumes.has(name)) {
      throw new StoreError('STORE_EXISTS', `pool ${this.name} has a volume ${name} already`);
    }
    const handle = await this.#promise(`creating volume ${name}`, (controlId) =>
      this.#native.createVolume(
        controlId,
        bytes,
        name,
        sizeBlocks,
        holeFloor !== null,
        holeFloor?.epoch ?? 0,
        holeFloor?.op ?? 0,
      ),
    );
    const volume = new NativeVolume(this, handle, id, name);
    this.#volumes.set(name, volume);
    return volume;
  }

  async deleteVolume(
    name: string,
    { withSnapshots = false }: { withSnapshots?: boolean } = {},
  ): Promise<void> {
    const volume = this.#volumes.get(name);
    if (volume === undefined) {
      throw new StoreError('STORE_NOT_FOUND', `pool ${this.name} has no volume ${name}`);
    }
    await this.#promise(`deleting volume ${name}`, (controlId) =>
      this.#native.deleteVolume(controlId, volume.handle, withSnapshots),
    ).catch((error: unknown) => {
      throw explained(error, name, this.snapshots(name));
    });
    volume.gone = true;
    for (const [fullName, snapshot] of this.#snapshots) {
      if (snapshot.volume === volume) this.#forget(fullName, snapshot);
    }
    // A second deletion of the same name may have raced with this one, and even a new volume of that name.
    if (this.#volumes.get(name) === volume) this.#volumes.delete(name);
  }

  async createSnapshots(
    requests: readonly SnapshotRequest[],
    createdMs: number,
  ): Promise<readonly StoreSnapshot[]> {
    const made = requests.map(({ volume: volumeName, name, id, epoch, opNumber }) => {
      checkSnapshotName(name);
      const volume = this.#volumes.get(volumeName);
      if (volume === undefined) {
        throw new StoreError('STORE_NOT_FOUND', `pool ${this.name} has no volume ${volumeName}`);
      }
      assert(epoch >= 0 && epoch <= MAX_EPOCH && opNumber >= 0 && opNumber <= MAX_OP_NUMBER);
      const request: NativeSnapshotRequest = [
        volume.handle,
        uuidToBytes(id),
        name,
        epoch,
        opNumber,
      ];
      return { volume, id, name, request };
    });
    if (made.length === 0) throw new StoreError('STORE_INVALID', 'a snapshot of no volume');
    const names = made.map(({ volume, name }) => `${volume.name}@${name}`);
    const handles = await new Promise<number[]>((resolve, reject) => {
      // Operations submitted so far come before it (P1): those of this turn are still in the batch.
      this.#behind(() => {
        const doing = `taking snapshot ${names.join(', ')}`;
        const start = (controlId: number) =>
          this.#native.createSnapshots(
            controlId,
            made.map(({ request }) => request),
            createdMs,
          );
        const started = this.control(start, (status, _handle, controlId) => {
          if (status === IoStatus.Ok) resolve(this.#native.takeHandles(controlId));
          else reject(this.#errorOf(doing, status));
        });
        if (!started) reject(this.#errorOf(doing, IoStatus.Offline));
      });
    });
    return made.map(({ volume, id, name }, index) => {
      const snapshot = new NativeSnapshot(this, volume, handles[index]!, id, name);
      this.#snapshots.set(snapshot.name, snapshot);
      return snapshot;
    });
  }

  snapshot(fullName: string): StoreSnapshot | null {
    return this.#snapshots.get(fullName) ?? null;
  }

  snapshots(volume: string): NativeSnapshot[] {
    const head = this.#volumes.get(volume);
    if (head === undefined || this.#state === 'Closed') return [];
    return this.#native.snapshots(head.handle).flatMap(({ name, deleting }) => {
      const snapshot = deleting ? undefined : this.#snapshots.get(`${volume}@${name}`);
      return snapshot === undefined ? [] : [snapshot];
    });
  }

  async deleteSnapshot(fullName: string): Promise<void> {
    const snapshot = this.#snapshotNamed(fullName);
    await this.#promise(`deleting snapshot ${fullName}`, (controlId) =>
      this.#native.deleteSnapshot(controlId, snapshot.handle),
    ).catch((error: unknown) => {
      throw explained(error, fullName, [snapshot]);
    });
    this.#forget(fullName, snapshot);
  }

  async cloneSnapshot(
    fullName: string,
    { id, name }: { readonly id: string; readonly name: string },
  ): Promise<StoreVolume> {
    checkVolumeName(name);
    const bytes = uuidToBytes(id);
    const snapshot = this.#snapshotNamed(fullName);
    if (this.#volumes.has(name)) {
      throw new StoreError('STORE_EXISTS', `pool ${this.name} has a volume ${name} already`);
    }
    const handle = await this.#promise(`cloning ${fullName} as ${name}`, (controlId) =>
      this.#native.cloneSnapshot(controlId, snapshot.handle, bytes, name),
    );
    const volume = new NativeVolume(this, handle, id, name);
    this.#volumes.set(name, volume);
    return volume;
  }

  async promoteVolume(name: string): Promise<void> {
    const volume = this.#volumeNamed(name);
    await this.#promise(`promoting volume ${name}`, (controlId) =>
      this.#native.promoteVolume(controlId, volume.handle),
    );
    // The snapshots that came over have other names now.
    for (const info of this.#native.snapshots(volume.handle)) {
      for (const [fullName, snapshot] of this.#snapshots) {
        if (snapshot.handle !== info.handle || snapshot.volume === volume) continue;
        this.#snapshots.delete(fullName);
        snapshot.volume = volume;
        this.#snapshots.set(snapshot.name, snapshot);
      }
    }
  }

  async rollbackVolume(
    name: string,
    {
      to,
      epoch,
      opNumber,
      deleteLater = false,
    }: {
      readonly to: string;
      readonly epoch: number;
      readonly opNumber: number;
      readonly deleteLater?: boolean;
    },
  ): Promise<void> {
    const volume = this.#volumeNamed(name);
    const snapshot = this.#snapshotNamed(`${name}@${to}`);
    assert(epoch >= 0 && epoch <= MAX_EPOCH && opNumber >= 0 && opNumber <= MAX_OP_NUMBER);
    const later = this.snapshots(name);
    later.splice(0, later.indexOf(snapshot) + 1);
    await this.#promise(`rolling volume ${name} back to ${to}`, (controlId) =>
      this.#native.rollbackVolume(
        controlId,
        volume.handle,
        snapshot.handle,
        epoch,
        opNumber,
        deleteLater,
      ),
    ).catch((error: unknown) => {
      throw explained(error, name, later);
    });
    for (const [fullName, other] of this.#snapshots) {
      if (later.includes(other)) this.#forget(fullName, other);
    }
  }

  async changedBetween(
    from: string | null,
    to: string,
    lba: number,
    maxExtents: number,
  ): Promise<{ extents: readonly MapExtent[]; nextLba: number }> {
    const start = from === null ? 0 : this.#snapshotNamed(from).handle;
    const end = (this.#snapshots.get(to) ?? this.#volumeNamed(to)).handle;
    return await new Promise((resolve, reject) => {
      const doing = `comparing ${from ?? 'nothing'} with ${to}`;
      const started = this.control(
        (controlId) => this.#native.changed(controlId, start, end, lba, maxExtents),
        (status, _handle, controlId) => {
          if (status !== IoStatus.Ok) return reject(this.#errorOf(doing, status));
          const flat = this.#native.takeChangedRuns(controlId);
          const extents: MapExtent[] = [];
          for (let at = 1; at < flat.length; at += 3) {
            extents.push({ lba: flat[at]!, blocks: flat[at + 1]!, mapped: flat[at + 2] === 1 });
          }
          resolve({ extents, nextLba: flat[0]! });
        },
      );
      if (!started) reject(this.#errorOf(doing, IoStatus.Offline));
    });
  }

  #volumeNamed(name: string): NativeVolume {
    const volume = this.#volumes.get(name);
    if (volume !== undefined) return volume;
    throw new StoreError('STORE_NOT_FOUND', `pool ${this.name} has no volume ${name}`);
  }

  #snapshotNamed(fullName: string): NativeSnapshot {
    const snapshot = this.#snapshots.get(fullName);
    if (snapshot !== undefined) return snapshot;
    throw new StoreError('STORE_NOT_FOUND', `pool ${this.name} has no snapshot ${fullName}`);
  }

  #forget(fullName: string, snapshot: NativeSnapshot): void {
    snapshot.gone = true;
    if (this.#snapshots.get(fullName) === snapshot) this.#snapshots.delete(fullName);
  }

  /** Runs `begin` when everything submitted so far has reached the engine. */
  #behind(begin: () => void): void {
    if (this.#waiting.length > 0) {
      this.#waiting.push({ begin });
      return;
    }
    if (this.#batch > 0) this.#turnOver(() => this.#send());
    begin();
  }

  async putBlob(key: string, value: Uint8Array | null): Promise<void> {
    checkBlob(key, value);
    await this.#promise(`keeping ${key}`, (controlId) =>
      this.#native.putBlob(controlId, 0, key, value ?? NOTHING),
    );
  }

  getBlob(key: string): Uint8Array | null {
    return this.#native.getBlob(0, key);
  }

  creditBlocks(): number {
    return this.#state === 'Online' ? this.#native.creditBlocks() : 0;
  }

  openIds(): readonly string[] {
    return this.#native.openIds();
  }

  async checkpoint(): Promise<void> {
    await this.#promise('taking a checkpoint', (controlId) => this.#native.checkpoint(controlId));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close((controlId) => this.#native.close(controlId));
    return this.#closing;
  }

  exportPool(): Promise<void> {
    this.#closing ??= this.#close((controlId) => this.#native.exportPool(controlId));
    return this.#closing;
  }

  giveBack(): Promise<void> {
    this.#closing ??= this.#close((controlId) => this.#native.giveBack(controlId));
    return this.#closing;
  }

  /**
   * Once the log has not moved for `everyMs` there is a checkpoint: an opening then replays nothing, and what was freed
   * comes back. The log is empty after the second one, and nothing is written any more.
   */
  checkpointWhenIdle(everyMs: number): void {
    if (this.#idleTimer !== null) clearInterval(this.#idleTimer);
    this.#idleTimer = null;
    if (everyMs === 0) return;
    let before = 0;
    let underWay = false;
    const look = (): void => {
      if (underWay) return;
      const { state, logBytesUsed } = this.stats();
      const idle = state === 'Online' && this.#closing === null && logBytesUsed === before;
      before = logBytesUsed;
      if (!idle || logBytesUsed === 0) return;
      underWay = true;
      const ended = (): void => {
        underWay = false;
      };
      // One that fails has faulted the pool, and its listeners hear of that.
      this.checkpoint().then(ended, ended);
    };
    this.#idleTimer = setInterval(look, everyMs).unref();
  }

  async #close(end: (controlId: number) => void): Promise<void> {
    this.checkpointWhenIdle(0);
    if (this.#batch > 0) this.#turnOver(() => this.#send());
    this.#lastStats = this.#native.stats();
    try {
      await this.#promise('closing', end);
    } finally {
      // Whether or not the end was clean: the medium is let go, and what is still waiting is told.
      this.#lastStats = this.#native.stats() ?? this.#lastStats;
      this.#state = 'Closed';
      this.#native.release();
      this.#turnOver(() => this.#abandon());
    }
  }

  onFault(listener: (why: string) => void): void {
    this.#faultListeners.push(listener);
  }

  // The data path.

  /** For NativeVolume: starts an operation whose end goes to op.lower. */
  submit(volume: Submitter, op: BlockOp, epoch: number, opNumber: number): void {
    if (this.#closing !== null || volume.gone) {
      op.lower.onBlockDone(op, IoStatus.Offline);
      return;
    }
    if (this.#waiting.length > 0 || this.#freeTagCount === 0 || this.#batch === MAX_BATCH) {
      this.#waiting.push({ volume, op, epoch, opNumber });
      return;
    }
    this.#record(volume, op, epoch, opNumber);
  }

  #record(volume: Submitter, op: BlockOp, epoch: number, opNumber: number): void {
    const at = this.#batch * SUBMISSION_LANES;
    const lanes = this.#submission;
    lanes[at] = op.kind | (op.fua ? 0x100 : 0) | (op.atomic ? 0x200 : 0);
    lanes[at + 10] = -1;
    lanes[at + 11] = 0;
    if (op instanceof StoreOp) this.#recordTags(op, at);
    assert(epoch >= 0 && epoch <= MAX_EPOCH && opNumber >= 0 && opNumber <= MAX_OP_NUMBER);
    assert(this.#batch < MAX_BATCH && this.#freeTagCount > 0);
    const { kind } = op;
    assert(!op.atomic || (kind === BlockOpKind.Write && op.blocks <= MAX_ATOMIC_BLOCKS));
    let arenaBlock = -1;
    const tagsOnly = op instanceof StoreOp && op.tagsOnly;
    if (!tagsOnly && (kind === BlockOpKind.Read || kind === BlockOpKind.Write)) {
      const data = op.data;
      assert(data !== null && data.bytes.buffer === this.#arena, 'data outside of the arena');
      const byteOffset = data.arenaByteOffset + op.dataByteOffset;
      assert(byteOffset % STORE_BLOCK_BYTES === 0 && op.blocks <= MAX_OP_BLOCKS);
      assert(op.dataByteOffset + op.blocks * STORE_BLOCK_BYTES <= data.capacityBytes);
      arenaBlock = byteOffset / STORE_BLOCK_BYTES;
    } else {
      assert(kind !== BlockOpKind.Update, 'the volume splits updates');
    }
    this.#freeTagCount -= 1;
    const tag = this.#freeTags[this.#freeTagCount]!;
    this.#ops[tag] = op;
    op.tag = tag;
    lanes[at + 1] = tag;
    lanes[at + 2] = volume.handle;
    lanes[at + 3] = arenaBlock;
    lanes[at + 4] = op.lba;
    lanes[at + 5] = op.lba / TWO_32;
    lanes[at + 6] = op.blocks;
    lanes[at + 7] = op.blocks / TWO_32;
    lanes[at + 8] = opNumber; // E1: (epoch:24 | op:40), here in two halves of 32.
    lanes[at + 9] = (epoch << 8) | (opNumber / TWO_32);
    this.#batch += 1;
    if (!this.#deferred) {
      this.#deferred = true;
      this.#turn.defer(TurnPhase.Submit, this);
    }
  }

  #recordTags(op: StoreOp, at: number): void {
    const lanes = this.#submission;
    if (op.tagsOnly) lanes[at] = STORE_OP_TAGS;
    else lanes[at] = lanes[at]! | (op.guard << 16) | (op.offers ? 0x400 : 0);
    const { tags } = op;
    assert(tags !== null || (op.guard === WriteGuard.Newer && !op.tagsOnly));
    if (tags === null) return;
    assert(tags.buffer.bytes.buffer === this.#arena, 'tags outside of the arena');
    assert(tags.byteOffset + op.blocks * BLOCK_TAG_BYTES <= tags.buffer.capacityBytes);
    lanes[at + 10] = (tags.buffer.arenaByteOffset + tags.byteOffset) / BLOCK_TAG_BYTES;
  }

  /** The end of a turn: one crossing for all that the turn submitted. */
  flushTurn(): void {
    this.#deferred = false;
    if (this.#batch > 0) this.#send();
  }

  #send(): void {
    const count = this.#batch;
    this.#batch = 0;
    this.#native.submit(count);
    this.#drain();
  }

  #onCompletions(): void {
    this.#turn.enter();
    try {
      this.#drain();
    } finally {
      this.#turn.leave();
    }
  }

  #turnOver(work: () => void): void {
    this.#turn.enter();
    try {
      work();
    } finally {
      this.#turn.leave();
    }
  }

  /** Reads all completions there are. May be entered again from an owner: each completion is read once. */
  #drain(): void {
    const lanes = this.#completion;
    const shared = this.#shared;
    while (this.#read !== shared[0]) {
      const at = (this.#read & (COMPLETION_SLOTS - 1)) * COMPLETION_LANES;
      this.#read = (this.#read + 1) | 0;
      const tag = lanes[at]!;
      const status = lanes[at + 1]!;
      if (tag < 0) {
        this.#endControl(-1 - tag, status, lanes[at + 2]! >>> 0);
        continue;
      }
      const op = this.#ops[tag];
      assert(op != null, 'a completion for a tag that is not in flight');
      assert(status <= IoStatus.Busy, 'the engine refused a record as malformed');
      if (status === IoStatus.Damaged) {
        op.failedLba = (lanes[at + 2]! >>> 0) + (lanes[at + 3]! >>> 0) * TWO_32;
      }
      this.#ops[tag] = null;
      this.#freeTags[this.#freeTagCount] = tag;
      this.#freeTagCount += 1;
      if (status === IoStatus.IoError) this.#lookForFault();
      op.lower.onBlockDone(op, status as IoStatus);
    }
    if (this.#waiting.length > 0) this.#admitWaiting();
  }

  #admitWaiting(): void {
    while (this.#waiting.length > 0 && this.#freeTagCount > 0 && this.#batch < MAX_BATCH) {
      const next = this.#waiting.shift()!;
      if ('begin' in next) {
        if (this.#batch > 0) this.#send();
        next.begin();
        continue;
      }
      const { volume, op, epoch, opNumber } = next;
      if (volume.gone || this.#closing !== null) op.lower.onBlockDone(op, IoStatus.Offline);
      else this.#record(volume, op, epoch, opNumber);
    }
  }

  // Control calls.

  /** For NativeVolume: starts a control call; false when there are too many at once or the pool is closed. */
  control(start: (controlId: number) => void, done: ControlDone): boolean {
    if (this.#state === 'Closed') return false;
    const controlId = this.#freeControls.pop();
    if (controlId === undefined) return false;
    this.#controls[controlId] = done;
    this.#turnOver(() => {
      // What was submitted before goes before.
      if (this.#batch > 0) this.#send();
      start(controlId);
      this.#drain();
    });
    return true;
  }

  #endControl(controlId: number, status: number, handle: number): void {
    const done = this.#controls[controlId];
    assert(done != null, 'a completion for a control call that was not made');
    this.#controls[controlId] = null;
    if (status === IoStatus.IoError) this.#lookForFault();
    done(status, handle, controlId);
    this.#freeControls.push(controlId);
  }

  /** For NativeVolume: a control call as a promise of its handle. */
  promise(doing: string, start: (controlId: number) => void): Promise<number> {
    return this.#promise(doing, start);
  }

  #promise(doing: string, start: (controlId: number) => void): Promise<number> {
    return new Promise((resolve, reject) => {
      const started = this.control(start, (status, handle) => {
        if (status === IoStatus.Ok) resolve(handle);
        else reject(this.#errorOf(doing, status));
      });
      if (started) return;
      const why = this.#state === 'Closed' ? 'is closed' : 'has too many control calls in flight';
      reject(new StoreError('STORE_CLOSED', `pool ${this.name} at ${this.path} ${why} (${doing})`));
    });
  }

  #errorOf(doing: string, status: number): StoreError {
    const [code, words] = CONTROL_FAILURES[status] ?? (['STORE_IO', `failed (${status})`] as const);
    const fault = this.#state === 'Faulted' ? `: ${this.#lastStats?.fault ?? ''}` : '';
    return new StoreError(code, `pool ${this.name} at ${this.path}, ${doing}: ${words}${fault}`);
  }

  #abandon(): void {
    for (let controlId = 0; controlId < MAX_CONTROLS; controlId += 1) {
      if (this.#controls[controlId] !== null) this.#endControl(controlId, IoStatus.Offline, 0);
    }
    for (let tag = 0; tag < MAX_TAGS; tag += 1) {
      const op = this.#ops[tag];
      if (op == null) continue;
      this.#ops[tag] = null;
      // Only after a failed close: the medium may or may not have taken it.
      op.lower.onBlockDone(op, IoStatus.IoError);
    }
    for (const waiting of this.#waiting.splice(0)) {
      if ('begin' in waiting) waiting.begin();
      else waiting.op.lower.onBlockDone(waiting.op, IoStatus.Offline);
    }
  }

  #lookForFault(): void {
    if (this.#faultTold) return;
    const stats = this.#native.stats();
    if (stats === null) return;
    this.#lastStats = stats;
    if (stats.state === 2) this.#noteFault(stats.fault);
  }

  #noteFault(why: string): void {
    if (this.#faultTold) return;
    this.#faultTold = true;
    if (this.#state === 'Online') this.#state = 'Faulted';
    for (const listener of this.#faultListeners) listener(why);
  }

  /** `volume@name` of a snapshot's handle; null where there is none. */
  snapshotNameOf(handle: number): string | null {
    if (handle === 0) return null;
    for (const [name, snapshot] of this.#snapshots) if (snapshot.handle === handle) return name;
    return null;
  }

  /** For NativeVolume. */
  get native(): NativePoolHandle {
    return this.#native;
  }
}
