// MemoryPool: the store's twin in memory, for tests of the rooms above. Same semantics as the engine, seen from outside:
// changes apply in the order of submission, completions come at the end of the turn, a full pool refuses growth and
// nothing else, a fault is final. Beside it what tests want: failures to order, completions held back, power cuts.
import { randomUUID } from 'node:crypto';
import { assert, assertNever, crc32c, type Flushable, Turn, TurnPhase } from '../base/index.ts';
import { type BlockOp, BlockOpKind, IoStatus, type MapExtent } from '../block/index.ts';
import { bootId } from './boot-id.ts';
import {
  checkSnapshotName,
  checkVolumeName,
  checkVolumeSize,
  MAX_BLOB_BYTES,
  MAX_BLOB_KEY_BYTES,
  MAX_BLOBS,
  MAX_CHANGED_RUNS,
  MAX_OP_BLOCKS,
} from './limits.ts';
import { MemoryDevices } from './memory-devices.ts';
import { MemorySnapshot } from './memory-snapshot.ts';
import {
  BlockKind,
  type BlockTags,
  type ChangedRun,
  StoreOp,
  type StoreVersion,
  WriteGuard,
} from './replication.ts';
import {
  type NewVolume,
  NO_USE,
  type Pool,
  type PoolState,
  type PoolStats,
  type SnapshotRequest,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreSnapshot,
  type StoreVolume,
  type StoreVolumeInfo,
  type VolumeTuning,
  type VolumeUse,
} from './types.ts';
import { uuidToBytes } from './uuid.ts';
import {
  comparedVersion,
  compareStoreVersions,
  VersionedBlocks,
  ZERO_VERSION,
} from './versioned-blocks.ts';

export interface MemoryPoolOptions {
  readonly turn?: Turn;
  readonly name?: string;
  readonly id?: string;
  /** What stands in for devices. */
  readonly paths?: readonly string[];
  /** Blocks that data may take: what makes the pool full. */
  readonly sizeBlocks?: number;
}

/** Operations, and what comes between them. */
type Queued =
  | {
      readonly volume: MemoryVolume;
      readonly op: BlockOp;
      readonly epoch: number;
      readonly opNumber: number;
    }
  | { readonly run: () => void };

export class MemoryPool implements Pool, Flushable {
  readonly id: string;
  readonly name: string;
  readonly backend = 'memory';
  readonly devices: MemoryDevices;
  readonly #turn: Turn;
  readonly #sizeBlocks: number;
  readonly #volumes = new Map<string, MemoryVolume>();
  readonly #blobs = new Map<string, Uint8Array>();
  readonly #failures: { kind: BlockOpKind; status: IoStatus; failedLba: number }[] = [];
  readonly #faultListeners: ((why: string) => void)[] = [];
  #queue: Queued[] = [];
  #held = false;
  #deferred = false;
  #state: PoolState = 'Online';
  #fault = '';
  /** How often a cache was lost (V6). */
  #losses = 0;
  #openIds = [randomUUID() as string];
  #checkpoints = 0;
  #checksumErrors = 0;
  #ioErrors = 0;

  constructor(options: MemoryPoolOptions = {}) {
    this.#turn = options.turn ?? new Turn();
    this.id = options.id ?? '00000000-0000-4000-8000-000000000001';
    this.name = options.name ?? 'memory';
    this.#sizeBlocks = options.sizeBlocks ?? 1 << 20;
    const space = () => ({
      sizeBlocks: this.#sizeBlocks,
      usedBlocks: this.stats().allocatedBlocks,
    });
    this.devices = new MemoryDevices(this.id, space, options.paths);
  }

  // Faults to order.

  /** The next operation of `kind` ends with `status` and does nothing. Several queue up. */
  failNext(kind: BlockOpKind, status: IoStatus, failedLba = 0): void {
    this.#failures.push({ kind, status, failedLba });
  }

  /** Operations wait from here on, unapplied, until `release`. */
  hold(): void {
    this.#held = true;
  }

  /** Lets held operations go on: the first `count`, or all and those to come. */
  release(count = Number.POSITIVE_INFINITY): void {
    if (count === Number.POSITIVE_INFINITY) this.#held = false;
    this.#turn.enter();
    this.#run(this.#queue.splice(0, Math.min(count, this.#queue.length)));
    this.#turn.leave();
  }

  /** Operations that are submitted and not done. */
  get pending(): number {
    return this.#queue.length;
  }

  /** The medium fails for good (S9). */
  fault(why: string): void {
    if (this.#state !== 'Online') return;
    this.#state = 'Faulted';
    this.#fault = why;
    this.#losses += 1;
    for (const listener of this.#faultListeners) listener(why);
  }

  /** Loses what was not flushed, as a power cut may: every block falls back to its last flushed value. */
  powerCut(): void {
    this.#losses += 1;
    this.#queue = this.#queue.filter((queued) => 'run' in queued);
    for (const volume of this.#volumes.values()) volume.forgetUnflushed();
  }

  /** The power comes back after `powerCut`, `fault` or `close`: what was durable, opened anew. */
  reopen(): void {
    this.#state = 'Online';
    this.#fault = '';
    this.#openIds = [...this.#openIds.slice(-15), randomUUID()];
  }

  // Pool.

  stats(): PoolStats {
    let dataBlocks = 0;
    for (const volume of this.#volumes.values()) dataBlocks += volume.mappedBlocks;
    const allocatedBlocks = this.#allocatedBlocks();
    return {
      state: this.#state,
      sizeBlocks: this.#sizeBlocks,
      usableBlocks: this.#sizeBlocks,
      growthLimitPercent: 100,
      allocatedBlocks,
      dataBlocks,
      metadataBlocks: 0,
      pendingFreeBlocks: 0,
      freeBlocks: this.#sizeBlocks - allocatedBlocks,
      unknownBlocks: 0,
      rebuiltPages: 0,
      checkpoints: this.#checkpoints,
      logBytesUsed: 0,
      logBytes: 0,
      cachePages: 0,
      cacheDirtyPages: 0,
      checksumErrors: this.#checksumErrors,
      ioErrors: this.#ioErrors,
      replayedEntries: 0,
      droppedEntries: 0,
      logDamaged: false,
      fault: this.#fault,
    };
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
    uuidToBytes(id);
    this.#checkServing();
    const taken = this.#volumes.has(name) || [...this.#volumes.values()].some((v) => v.id === id);
    if (taken) throw new StoreError('STORE_EXISTS', `volume ${name}: the name or the id is taken`);
    const volume = new MemoryVolume(this, id, name, sizeBlocks, holeFloor);
    this.#volumes.set(name, volume);
    return volume;
  }

  async deleteVolume(
    name: string,
    { withSnapshots = false }: { withSnapshots?: boolean } = {},
  ): Promise<void> {
    this.#checkServing();
    const volume = this.#volumes.get(name);
    if (volume === undefined) throw new StoreError('STORE_NOT_FOUND', `no volume ${name}`);
    const clones = volume.line.flatMap((snapshot) => snapshot.clones.map((clone) => clone.name));
    if (clones.length > 0) {
      throw new StoreError('STORE_HAS_CLONES', `${name} has clones (${clones.join(', ')})`);
    }
    if (volume.line.length > 0 && !withSnapshots) {
      const names = volume.line.map((snapshot) => snapshot.shortName).join(', ');
      throw new StoreError('STORE_HAS_SNAPSHOTS', `volume ${name} has snapshots (${names})`);
    }
    for (const snapshot of volume.line.splice(0)) snapshot.gone = true;
    this.#volumes.delete(name);
    volume.gone = true;
    if (volume.origin !== null) {
      const { clones } = volume.origin;
      clones.splice(clones.indexOf(volume), 1);
    }
  }

  createSnapshots(
    requests: readonly SnapshotRequest[],
    createdMs: number,
  ): Promise<readonly StoreSnapshot[]> {
    return new Promise((resolve, reject) => {
      const run = (): void => {
        try {
          resolve(this.#takeSnapshots(requests, createdMs));
        } catch (error) {
          reject(error);
        }
      };
      // Behind the operations submitted so far (P1).
      if (this.#queue.length > 0) this.#queue.push({ run });
      else run();
    });
  }

  #takeSnapshots(requests: readonly SnapshotRequest[], createdMs: number): MemorySnapshot[] {
    this.#checkServing();
    if (requests.length === 0) throw new StoreError('STORE_INVALID', 'a snapshot of no volume');
    const volumes = requests.map(({ volume: volumeName, name, id }) => {
      checkSnapshotName(name);
      uuidToBytes(id);
      const volume = this.#volumes.get(volumeName);
      if (volume === undefined) throw new StoreError('STORE_NOT_FOUND', `no volume ${volumeName}`);
      if (volume.line.some((snapshot) => snapshot.shortName === name)) {
        throw new StoreError('STORE_EXISTS', `volume ${volumeName} has a snapshot ${name} already`);
      }
      return volume;
    });
    if (new Set(volumes).size < volumes.length) {
      throw new StoreError('STORE_INVALID', 'two snapshots of one volume at one instant');
    }
    // It is durable, and so is what it holds: the record's flush covers all before it.
    for (const volume of this.#volumes.values()) volume.makeDurable();
    return requests.map(({ name, id, epoch, opNumber }, index) => {
      const volume = volumes[index]!;
      const version = { epoch, op: opNumber };
      const snapshot = new MemorySnapshot(this, volume, volume.frozen(version), {
        id,
        shortName: name,
        createdMs,
        ...version,
      });
      volume.line.push(snapshot);
      return snapshot;
    });
  }

  snapshot(fullName: string): StoreSnapshot | null {
    return this.#find(fullName);
  }

  #find(fullName: string): MemorySnapshot | null {
    for (const volume of this.#volumes.values()) {
      for (const snapshot of volume.line) if (snapshot.name === fullName) return snapshot;
    }
    return null;
  }

  snapshots(volume: string): readonly StoreSnapshot[] {
    return [...(this.#volumes.get(volume)?.line ?? [])];
  }

  async cloneSnapshot(
    fullName: string,
    { id, name }: { readonly id: string; readonly name: string },
  ): Promise<StoreVolume> {
    this.#checkServing();
    const snapshot = this.#find(fullName);
    if (snapshot === null) throw new StoreError('STORE_NOT_FOUND', `no snapshot ${fullName}`);
    const { sizeBlocks } = snapshot.info();
    const volume = (await this.createVolume({ id, name, sizeBlocks })) as MemoryVolume;
    volume.blocks.takeOver(snapshot.blocks);
    volume.origin = snapshot;
    snapshot.clones.push(volume);
    return volume;
  }

  async promoteVolume(name: string): Promise<void> {
    this.#checkServing();
    const volume = this.#volumes.get(name);
    if (volume === undefined) throw new StoreError('STORE_NOT_FOUND', `no volume ${name}`);
    const { origin } = volume;
    if (origin === null) throw new StoreError('STORE_INVALID', `volume ${name} is no clone`);
    const from = origin.volume;
    const moved = from.line.slice(0, from.line.indexOf(origin) + 1);
    const taken = new Set(volume.line.map((snapshot) => snapshot.shortName));
    if (moved.some((snapshot) => taken.has(snapshot.shortName))) {
      throw new StoreError('STORE_EXISTS', `${name} and ${from.name} have snapshots of one name`);
    }
    from.line.splice(0, moved.length);
    volume.line.unshift(...moved);
    for (const snapshot of moved) snapshot.volume = volume;
    origin.clones.splice(origin.clones.indexOf(volume), 1, from);
    volume.origin = from.origin;
    if (volume.origin !== null) {
      const { clones } = volume.origin;
      clones.splice(clones.indexOf(from), 1, volume);
    }
    from.origin = origin;
  }

  async rollbackVolume(
    name: string,
    options: {
      readonly to: string;
      readonly epoch: number;
      readonly opNumber: number;
      readonly deleteLater?: boolean;
    },
  ): Promise<void> {
    this.#checkServing();
    const volume = this.#volumes.get(name);
    const snapshot = this.#find(`${name}@${options.to}`);
    if (volume === undefined || snapshot === null) {
      throw new StoreError('STORE_NOT_FOUND', `no snapshot ${name}@${options.to}`);
    }
    const later = volume.line.slice(volume.line.indexOf(snapshot) + 1);
    if (later.length > 0 && options.deleteLater !== true) {
      const names = later.map((other) => other.shortName).join(', ');
      throw new StoreError('STORE_LATER_SNAPSHOTS', `${name} has later snapshots (${names})`);
    }
    const clones = later.flatMap((other) => other.clones.map((clone) => clone.name));
    if (clones.length > 0) {
      throw new StoreError(
        'STORE_HAS_CLONES',
        `later snapshots have clones (${clones.join(', ')})`,
      );
    }
    for (const other of later) await this.deleteSnapshot(other.name);
    volume.rollback(snapshot, { epoch: options.epoch, op: options.opNumber });
  }

  async changedBetween(
    from: string | null,
    to: string,
    lba: number,
    maxExtents: number,
  ): Promise<{ extents: readonly MapExtent[]; nextLba: number }> {
    const start = from === null ? null : this.#find(from);
    const end = this.#find(to) ?? this.#volumes.get(to);
    if (end === undefined || (from !== null && start === null)) {
      throw new StoreError('STORE_NOT_FOUND', `no ${from ?? ''} or no ${to}`);
    }
    if (start !== null && !comesOf(end, start)) {
      throw new StoreError('STORE_INVALID', `${to} does not come of ${from}`);
    }
    return end.blocks.differing(start?.blocks ?? null, lba, end.info().sizeBlocks, maxExtents);
  }

  async deleteSnapshot(fullName: string): Promise<void> {
    this.#checkServing();
    const snapshot = this.#find(fullName);
    if (snapshot === null) throw new StoreError('STORE_NOT_FOUND', `no snapshot ${fullName}`);
    const clones = snapshot.clones.map((clone) => clone.name);
    if (clones.length > 0) {
      throw new StoreError('STORE_HAS_CLONES', `${fullName} has clones (${clones.join(', ')})`);
    }
    const { line } = snapshot.volume;
    line.splice(line.indexOf(snapshot), 1);
    snapshot.gone = true;
  }

  async putBlob(key: string, value: Uint8Array | null): Promise<void> {
    this.#checkServing();
    keepBlob(this.#blobs, key, value);
  }

  getBlob(key: string): Uint8Array | null {
    return copyOf(this.#blobs.get(key));
  }

  creditBlocks(): number {
    return this.#state === 'Online' ? this.#sizeBlocks - this.#allocatedBlocks() : 0;
  }

  openIds(): readonly string[] {
    return this.#openIds;
  }

  async checkpoint(): Promise<void> {
    this.#checkServing();
    this.#checkpoints += 1;
    for (const volume of this.#volumes.values()) volume.makeDurable();
  }

  async close(): Promise<void> {
    if (this.#state === 'Closed') return;
    this.release();
    const faulted = this.#state === 'Faulted';
    this.#state = 'Closed';
    if (faulted) throw new StoreError('STORE_FAULTED', `the pool was faulted: ${this.#fault}`);
    for (const volume of this.#volumes.values()) volume.makeDurable();
  }

  exportPool(): Promise<void> {
    return this.close();
  }

  giveBack(): Promise<void> {
    return this.close();
  }

  get bootId(): string {
    return this.#losses === 0 ? bootId() : `${bootId()}+${this.#losses}`;
  }

  onFault(listener: (why: string) => void): void {
    this.#faultListeners.push(listener);
  }

  #checkServing(): void {
    if (this.#state === 'Faulted') throw new StoreError('STORE_FAULTED', this.#fault);
    if (this.#state === 'Closed') throw new StoreError('STORE_CLOSED', 'the pool is closed');
  }

  // The data path, for MemoryVolume.

  submit(volume: MemoryVolume, op: BlockOp, epoch: number, opNumber: number): void {
    if (this.#state === 'Closed' || volume.gone) {
      op.lower.onBlockDone(op, IoStatus.Offline);
      return;
    }
    this.#queue.push({ volume, op, epoch, opNumber });
    if (this.#held || this.#deferred) return;
    this.#deferred = true;
    this.#turn.defer(TurnPhase.Submit, this);
  }

  flushTurn(): void {
    this.#deferred = false;
    if (!this.#held) this.#run(this.#queue.splice(0));
  }

  /** How the data path would answer right now, before looking at the operation itself. */
  get serving(): IoStatus {
    if (this.#state === 'Faulted') return IoStatus.IoError;
    return this.#state === 'Closed' ? IoStatus.Offline : IoStatus.Ok;
  }

  #run(batch: readonly Queued[]): void {
    for (const queued of batch) {
      if ('run' in queued) {
        queued.run();
        continue;
      }
      const { volume, op, epoch, opNumber } = queued;
      op.lower.onBlockDone(op, this.#carryOut(volume, op, epoch, opNumber));
    }
  }

  #carryOut(volume: MemoryVolume, op: BlockOp, epoch: number, opNumber: number): IoStatus {
    if (this.serving !== IoStatus.Ok) return this.serving;
    if (volume.gone) return IoStatus.Offline;
    const failure = this.#failures.findIndex(({ kind }) => kind === op.kind);
    if (failure >= 0) {
      const { status, failedLba } = this.#failures.splice(failure, 1)[0]!;
      op.failedLba = failedLba;
      if (status === IoStatus.Damaged) this.#checksumErrors += 1;
      if (status === IoStatus.IoError) this.#ioErrors += 1;
      noteFailure(volume, op, epoch);
      return status;
    }
    const status = volume.carryOut(op, epoch, opNumber, this.#sizeBlocks - this.#allocatedBlocks());
    if (status !== IoStatus.Ok) noteFailure(volume, op, epoch);
    return status;
  }

  /** Blocks that volumes or snapshots name, each counted once. */
  #allocatedBlocks(): number {
    let blocks = 0;
    for (const volume of this.#volumes.values()) {
      blocks += volume.mappedBlocks - volume.inherited() + volume.heldBySnapshots();
    }
    return blocks;
  }
}

export class MemoryVolume implements StoreVolume {
  readonly id: string;
  readonly name: string;
  gone = false;
  /** Its snapshots, oldest first. */
  readonly line: MemorySnapshot[] = [];
  origin: MemorySnapshot | null = null;
  readonly #pool: MemoryPool;
  readonly #blocks: VersionedBlocks;
  readonly #blobs = new Map<string, Uint8Array>();
  #sizeBlocks: number;
  #tuning: VolumeTuning = { cacheBytes: null, ioWorkers: 0 };
  #version = ZERO_VERSION;
  #contig = ZERO_VERSION;
  #durable = ZERO_VERSION;
  #holeFloor: StoreVersion | null;
  /** The epoch of a change that failed: contig rests until one of a later epoch. */
  #restsSince: number | null = null;

  constructor(
    pool: MemoryPool,
    id: string,
    name: string,
    sizeBlocks: number,
    holeFloor: StoreVersion | null,
    blocks = new VersionedBlocks(),
  ) {
    this.#blocks = blocks;
    this.#pool = pool;
    this.id = id;
    this.name = name;
    this.#sizeBlocks = sizeBlocks;
    this.#holeFloor = holeFloor;
  }

  get mappedBlocks(): number {
    return this.#blocks.mapped;
  }

  get blocks(): VersionedBlocks {
    return this.#blocks;
  }

  /** What it holds now, for a snapshot: changes of either leave the other as it is. */
  frozen(version: StoreVersion): MemoryVolume {
    if (compareStoreVersions(version, this.#version) > 0) this.#version = version;
    const { id, name } = this;
    const copy = this.#blocks.copy();
    const frozen = new MemoryVolume(this.#pool, id, name, this.#sizeBlocks, this.#holeFloor, copy);
    frozen.#version = version;
    return frozen;
  }

  rollback(to: MemorySnapshot, version: StoreVersion): void {
    this.#blocks.becomeLike(to.blocks, version, this.#keeps(version));
    this.#sizeBlocks = to.info().sizeBlocks;
    if (compareStoreVersions(version, this.#version) > 0) this.#version = version;
    this.makeDurable();
  }

  /** Blocks that it still shares with the snapshot it was cloned from. */
  inherited(): number {
    return this.origin === null
      ? 0
      : this.mappedBlocks - this.#blocks.countNotIn(this.origin.blocks);
  }

  /** Blocks that its snapshots name and it does not; those of its origin only if they are to count. */
  heldBySnapshots(withOrigin = false): number {
    const held = new Set<Uint8Array>();
    if (withOrigin && this.origin !== null) {
      for (const [, bytes] of this.origin.blocks.data()) held.add(bytes);
    }
    for (const { blocks } of this.line) for (const [, bytes] of blocks.data()) held.add(bytes);
    if (held.size === 0) return 0;
    for (const [, bytes] of this.#blocks.data()) held.delete(bytes);
    if (!withOrigin && this.origin !== null) {
      for (const [, bytes] of this.origin.blocks.data()) held.delete(bytes);
    }
    return held.size;
  }

  info(): StoreVolumeInfo {
    return {
      id: this.id,
      name: this.name,
      sizeBlocks: this.#sizeBlocks,
      mappedBlocks: this.#blocks.mapped,
      ...this.#version,
      contig: this.#contig,
      durable: this.#durable,
      holeFloor: this.#holeFloor,
      writtenBlocks: this.#blocks.countNotIn(this.line.at(-1)?.blocks ?? this.origin?.blocks),
      snapshotBlocks: this.heldBySnapshots(true),
      inheritedBlocks: this.inherited(),
      origin: this.origin?.name ?? null,
    };
  }

  tune(tuning: VolumeTuning): void {
    this.#tuning = tuning;
  }

  /** All of it is in memory: nothing is cached, or checked. */
  use(): VolumeUse {
    const { cacheBytes, ioWorkers } = this.#tuning;
    return { ...NO_USE, cacheBytes: cacheBytes ?? 0, ioWorkers };
  }

  submit(op: BlockOp, epoch: number, opNumber: number): void {
    this.#pool.submit(this, op, epoch, opNumber);
  }

  submitTagged(op: StoreOp, epoch: number, opNumber: number): void {
    this.#pool.submit(this, op, epoch, opNumber);
  }

  async resize(sizeBlocks: number): Promise<void> {
    checkVolumeSize(sizeBlocks);
    this.#checkServing();
    if (sizeBlocks < this.#sizeBlocks) {
      throw new StoreError('STORE_INVALID', `volume ${this.name} only ever grows`);
    }
    this.#sizeBlocks = sizeBlocks;
  }

  async setMarks(marks: { holeFloor?: StoreVersion | null; contig?: StoreVersion }): Promise<void> {
    this.#checkServing();
    if (marks.holeFloor !== undefined) this.#holeFloor = marks.holeFloor;
    if (marks.contig !== undefined) {
      this.#contig = marks.contig;
      this.#restsSince = null;
    }
    this.makeDurable();
  }

  #checkServing(): void {
    if (this.#pool.serving !== IoStatus.Ok) {
      throw new StoreError('STORE_CLOSED', 'the pool is closed or faulted');
    }
  }

  putBlob(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    const { serving } = this.#pool;
    if (serving === IoStatus.Ok && !this.gone) keepBlob(this.#blobs, key, value);
    done(this.gone ? IoStatus.Offline : serving);
  }

  getBlob(key: string): Uint8Array | null {
    return copyOf(this.#blobs.get(key));
  }

  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    const status = this.#statusAt(lba, this.#sizeBlocks - 1);
    done(status, status === IoStatus.Ok ? this.#extents(lba, maxExtents) : []);
  }

  changedSince(
    since: StoreVersion,
    lba: number,
    maxRuns: number,
    done: (status: IoStatus, runs: readonly ChangedRun[], nextLba: number) => void,
  ): void {
    assert(maxRuns > 0 && maxRuns <= MAX_CHANGED_RUNS);
    const status = this.#statusAt(lba, this.#sizeBlocks);
    if (status !== IoStatus.Ok) {
      done(status, [], lba);
      return;
    }
    const runs = this.#blocks.changedSince(since, lba, this.#sizeBlocks, maxRuns);
    const more = runs[maxRuns];
    done(IoStatus.Ok, runs.slice(0, maxRuns), more?.lba ?? this.#sizeBlocks);
  }

  #statusAt(lba: number, highest: number): IoStatus {
    if (this.gone) return IoStatus.Offline;
    if (this.#pool.serving !== IoStatus.Ok) return this.#pool.serving;
    return lba > highest ? IoStatus.OutOfRange : IoStatus.Ok;
  }

  #extents(lba: number, maxExtents: number): MapExtent[] {
    const extents: MapExtent[] = [];
    const mapped = this.#blocks.dataFrom(lba);
    let at = lba;
    let index = 0;
    while (at < this.#sizeBlocks && extents.length < maxExtents) {
      const begin = at;
      if (mapped[index] === at) {
        while (mapped[index] === at) {
          index += 1;
          at += 1;
        }
        extents.push({ lba: begin, blocks: at - begin, mapped: true });
      } else {
        at = mapped[index] ?? this.#sizeBlocks;
        extents.push({ lba: begin, blocks: at - begin, mapped: false });
      }
    }
    return extents;
  }

  /** For the pool: does what `op` asks. */
  carryOut(op: BlockOp, epoch: number, opNumber: number, freeBlocks: number): IoStatus {
    const { kind, lba, blocks } = op;
    if (kind === BlockOpKind.Flush) {
      this.makeDurable();
      return IoStatus.Ok;
    }
    if (lba + blocks > this.#sizeBlocks) return IoStatus.OutOfRange;
    const tagged = op instanceof StoreOp ? op : null;
    if (tagged?.tagsOnly === true) {
      this.#readTags(tagged);
      return IoStatus.Ok;
    }
    switch (kind) {
      case BlockOpKind.Read:
        this.#read(op);
        if (tagged !== null) this.#readTags(tagged);
        return this.#damageOf(op, tagged);
      case BlockOpKind.Verify:
        return this.#damageOf(op, null);
      case BlockOpKind.Write: {
        const status = this.#write(op, tagged, { epoch, op: opNumber }, freeBlocks);
        if (status !== IoStatus.Ok || (tagged !== null && tagged.guard !== WriteGuard.Newer)) {
          return status;
        }
        break;
      }
      case BlockOpKind.Unmap:
        this.#blocks.unmap(
          lba,
          blocks,
          { epoch, op: opNumber },
          this.#keeps({ epoch, op: opNumber }),
        );
        break;
      case BlockOpKind.Update:
        assert(false, 'the volume splits updates');
        break;
      default:
        assertNever(kind);
    }
    this.#advance({ epoch, op: opNumber }, kind === BlockOpKind.Unmap);
    // The engine flushes the medium, and with it everything before; so does the twin.
    if (op.fua) this.makeDurable();
    return IoStatus.Ok;
  }

  #keeps(version: StoreVersion): boolean {
    return this.#holeFloor !== null && compareStoreVersions(version, this.#holeFloor) > 0;
  }

  /** For the pool: a change that was refused. */
  failed(epoch: number): void {
    this.#restsSince = epoch;
  }

  #advance(version: StoreVersion, unmap: boolean): void {
    if (compareStoreVersions(version, this.#version) > 0) this.#version = version;
    if (this.#restsSince !== null && version.epoch > this.#restsSince) this.#restsSince = null;
    const tracked = !unmap || this.#keeps(version);
    if (this.#restsSince !== null || !tracked) return;
    if (compareStoreVersions(version, this.#contig) > 0) this.#contig = version;
  }

  #bytesOf(op: BlockOp): Uint8Array {
    assert(op.data !== null && op.blocks <= MAX_OP_BLOCKS);
    const end = op.dataByteOffset + op.blocks * STORE_BLOCK_BYTES;
    assert(op.dataByteOffset % STORE_BLOCK_BYTES === 0 && end <= op.data.capacityBytes);
    return op.data.bytes.subarray(op.dataByteOffset, end);
  }

  #read(op: BlockOp): void {
    const bytes = this.#bytesOf(op);
    for (let index = 0; index < op.blocks; index += 1) {
      const at = index * STORE_BLOCK_BYTES;
      const block = this.#blocks.at(op.lba + index).bytes;
      if (block === null) bytes.fill(0, at, at + STORE_BLOCK_BYTES);
      else bytes.set(block, at);
    }
  }

  /** W9: the first damaged block of the range. A read with tags marks each. */
  #damageOf(op: BlockOp, tagged: StoreOp | null): IoStatus {
    let status: IoStatus = IoStatus.Ok;
    for (let index = op.blocks - 1; index >= 0; index -= 1) {
      if (this.#blocks.at(op.lba + index).damaged !== true) continue;
      status = IoStatus.Damaged;
      op.failedLba = op.lba + index;
      tagged?.tags?.setResult(index, 2);
    }
    return status;
  }

  #readTags(op: StoreOp): void {
    const { tags } = op;
    if (tags === null) return;
    for (let index = 0; index < op.blocks; index += 1) {
      const { kind, version, bytes, damaged } = this.#blocks.at(op.lba + index);
      const crc = bytes === null ? 0 : crc32c(bytes);
      tags.set(index, kind, version.epoch, version.op, damaged === true ? ~crc >>> 0 : crc);
      tags.setResult(index, 0);
    }
  }

  #write(op: BlockOp, tagged: StoreOp | null, version: StoreVersion, free: number): IoStatus {
    const bytes = this.#bytesOf(op);
    const guard = tagged?.guard ?? WriteGuard.Newer;
    const tags = tagged?.tags ?? null;
    assert(tags !== null || guard === WriteGuard.Newer);
    const blockAt = (index: number): Uint8Array =>
      bytes.subarray(index * STORE_BLOCK_BYTES, (index + 1) * STORE_BLOCK_BYTES);
    let grows = 0;
    for (let index = 0; index < op.blocks; index += 1) {
      const kind = guard === WriteGuard.Newer ? BlockKind.Data : tags!.kind(index);
      const data = kind === BlockKind.Data;
      if (tags !== null && data && crc32c(blockAt(index)) !== tags.crc(index)) {
        op.failedLba = op.lba + index;
        return IoStatus.Damaged;
      }
      const grown = data || kind === BlockKind.Unknown;
      if (grown && !this.#paysForItself(op.lba + index)) grows += 1;
    }
    if (grows > free) return IoStatus.NoSpace;
    for (let index = 0; index < op.blocks; index += 1) {
      const lba = op.lba + index;
      if (guard !== WriteGuard.Newer && tags !== null) {
        this.#install(lba, tags, index, guard, version, blockAt(index));
      } else if (compareStoreVersions(comparedVersion(this.#blocks.at(lba)), version) <= 0) {
        this.#blocks.set(lba, BlockKind.Data, version, blockAt(index)); // W2
      }
    }
    return IoStatus.Ok;
  }

  /** Whether overwriting the block gives one back: what a snapshot keeps does not. */
  #paysForItself(lba: number): boolean {
    if (!this.#blocks.isData(lba)) return false;
    const kept = this.line.at(-1)?.blocks ?? this.origin?.blocks;
    return kept?.at(lba).bytes !== this.#blocks.at(lba).bytes;
  }

  #install(
    lba: number,
    tags: BlockTags,
    index: number,
    guard: WriteGuard,
    join: StoreVersion,
    bytes: Uint8Array,
  ): void {
    const version = { epoch: tags.epoch(index), op: tags.op(index) };
    const kind = tags.kind(index);
    const has = this.#blocks.at(lba);
    const own = comparedVersion(has);
    const compared = compareStoreVersions(own, version);
    const take =
      guard === WriteGuard.Exact
        ? has.kind === BlockKind.Data && compareStoreVersions(has.version, version) === 0
        : compared !== 0 && (compared < 0 || compareStoreVersions(own, join) < 0);
    tags.setResult(index, take ? 1 : 0);
    if (!take) return;
    if (kind === BlockKind.Data) {
      this.#blocks.set(lba, kind, version, bytes);
      if (compareStoreVersions(version, this.#version) > 0) this.#version = version;
    } else if (kind === BlockKind.Unknown) {
      this.#blocks.spoil(lba, version);
    } else {
      const keep = this.#keeps(version);
      const left = keep ? BlockKind.Hole : BlockKind.Empty;
      this.#blocks.set(lba, left, keep ? version : ZERO_VERSION, null);
    }
  }

  makeDurable(): void {
    this.#durable = this.#contig;
    this.#blocks.makeDurable();
  }

  forgetUnflushed(): void {
    this.#contig = this.#durable;
    this.#blocks.forgetUnflushed();
  }
}

/** A change that is not applied holds contig back; an install is none of the stream. */
/** Whether `later` goes on from what `earlier` held. */
function comesOf(later: MemorySnapshot | MemoryVolume, earlier: MemorySnapshot): boolean {
  const own = later instanceof MemorySnapshot ? later.volume : later;
  const end = later instanceof MemorySnapshot ? own.line.indexOf(later) : own.line.length;
  if (own.line.slice(0, end).includes(earlier)) return true;
  if (own.origin === null) return false;
  return own.origin === earlier || comesOf(own.origin, earlier);
}

function noteFailure(volume: MemoryVolume, op: BlockOp, epoch: number): void {
  const change = op.kind === BlockOpKind.Write || op.kind === BlockOpKind.Unmap;
  const install = op instanceof StoreOp && op.guard !== WriteGuard.Newer;
  if (change && !install) volume.failed(epoch);
}

function keepBlob(blobs: Map<string, Uint8Array>, key: string, value: Uint8Array | null): void {
  const keyBytes = Buffer.byteLength(key);
  assert(keyBytes > 0 && keyBytes <= MAX_BLOB_KEY_BYTES);
  assert(value === null || value.length <= MAX_BLOB_BYTES);
  assert(value === null || blobs.has(key) || blobs.size < MAX_BLOBS);
  if (value === null || value.length === 0) blobs.delete(key);
  else blobs.set(key, Uint8Array.from(value));
}

function copyOf(value: Uint8Array | undefined): Uint8Array | null {
  return value === undefined ? null : Uint8Array.from(value);
}
