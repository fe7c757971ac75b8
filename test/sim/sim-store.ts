// A member's store as a model (T2): what is applied, what is durable, and what a crash leaves of the difference. Each
// change takes effect at some instant before its answer, in no order: a killed process loses what had no
// effect yet, a machine without power loses any subset of what no flush covered, each block by itself.
import assert from 'node:assert/strict';
import { IoStatus } from '../../src/block/index.ts';
import type {
  MemberEvents,
  MemberStore,
  OpenedState,
} from '../../src/replica/member-interfaces.ts';
import {
  type Apply,
  type BlockCopies,
  BlockKind,
  type ChangedRuns,
  ChangeKind,
  type DamagedPlace,
  type Install,
  InstallMode,
  MAX_DAMAGE_TOLD,
  type Payload,
} from '../../src/wire/messages.ts';
import type { VolumeRecord } from '../../src/wire/record.ts';
import type { Rules } from '../../src/wire/rules.ts';
import { compareVersions, type Version, ZERO_VERSION } from '../../src/wire/version.ts';
import type { Rng } from './rng.ts';
import type { Scheduler } from './scheduler.ts';

/** Bytes, for the simulator: a number for each block that says which write put it there; 0 is zeros. */
export class SimPayload implements Payload {
  readonly values: number[];
  /** For the checker alone. */
  readonly versions: Version[];

  constructor(values: number[], versions: Version[] = []) {
    this.values = values;
    this.versions = versions;
  }

  retain(): void {}
  release(): void {}
}

export interface Cell {
  readonly kind: number;
  readonly epoch: number;
  readonly op: number;
  readonly value: number;
  readonly crc: number;
  /** What the medium really has, where that is not `value`: rot, lost and misdirected writes. */
  readonly rotten: number | null;
}

const EMPTY: Cell = { kind: BlockKind.Empty, epoch: 0, op: 0, value: 0, crc: 0, rotten: null };

/** As the engine tells of a block below a page of the map that it cannot read: version zero, which says nothing. */
const LOST: Cell = { ...EMPTY, kind: BlockKind.Damaged };

const NO_RUNS: ChangedRuns = {
  lbas: new Float64Array(0),
  counts: new Float64Array(0),
  kinds: new Uint8Array(0),
  epochs: new Uint32Array(0),
  ops: new Float64Array(0),
};

export function crcOf(value: number): number {
  return (Math.imul(value | 0, 0x9e3779b1) ^ Math.floor(value / 2 ** 32)) >>> 0;
}

interface Snapshot {
  readonly id: string;
  readonly version: Version;
  readonly cells: readonly Cell[];
  /** B6: blocks that what it was made of had as damaged already, below the cut: they are not in its list. */
  readonly inherited?: ReadonlySet<number>;
}

/** B6: what is being filled beside the volume. */
interface Branch {
  readonly id: string;
  readonly version: Version;
  readonly cells: Cell[];
  readonly inherited: ReadonlySet<number>;
  /** What the power cut may bring back of blocks that no seal has covered. */
  readonly before: Map<number, Cell>;
}

interface DurableState {
  promised: number;
  record: VolumeRecord | null;
  contig: Version;
  hint: Version;
  snapshots: readonly Snapshot[];
  branches: readonly Branch[];
}

export interface StoreFaults {
  /** Chance that a read, write or flush fails for good (S9, S10). */
  eio: number;
  /** Chance that a written block rots, is lost or misdirected. */
  rot: number;
}

export class SimStore implements MemberStore {
  readonly replicaId: string;
  readonly witness: boolean;
  readonly #scheduler: Scheduler;
  readonly #rng: Rng;
  readonly #rules: Rules;
  readonly faults: StoreFaults = { eio: 0, rot: 0 };
  /** Changes take effect so many milliseconds after they are called, and are answered right then. */
  effectDelayMs = 0;
  /** Snapshots are refused, as by a pool that is full; nothing else is. */
  refusesSnapshots = false;
  /** As `refusesSnapshots`, of one that was missed. */
  refusesBranchOf = '';
  /** How long a branch takes to be made, at least. */
  branchDelayMs = 0;
  /** Reads for copies are never answered. */
  deliversNothing = false;
  /** At a power cut nothing survives that was not flushed. */
  keepsNothing = false;
  capacityBlocks = Number.POSITIVE_INFINITY;
  /** Milliseconds that a call takes, at most. */
  latencyMs = 0.3;
  onFault: () => void = () => {};
  /** Which blocks may rot, so that one good copy stays. */
  mayRot: (lba: number) => boolean = () => false;

  storeId: string;
  openIds: string[] = [];
  bootId: string;
  opened!: OpenedState;
  #events: MemberEvents | null = null;
  #clock: () => number = () => 0;
  #life = 0;
  #asideMs = 0;
  #faulted = false;
  #isScrubbed = false;

  cells: Cell[];
  /** Blocks below pages of the map that cannot be read any more (H6): nothing is known of them, and nothing can be changed there. */
  readonly #lost = new Set<number>();
  /** Values of each block since the last flush; empty: as durable. */
  #unflushed = new Map<number, Cell[]>();
  #durableCells: Cell[];
  #state: DurableState;
  #durable: DurableState;
  #floor: Version = ZERO_VERSION;

  constructor(options: {
    replicaId: string;
    storeId: string;
    bootId: string;
    witness: boolean;
    blocks: number;
    record: VolumeRecord | null;
    scheduler: Scheduler;
    rng: Rng;
    rules: Rules;
  }) {
    this.replicaId = options.replicaId;
    this.storeId = options.storeId;
    this.bootId = options.bootId;
    this.witness = options.witness;
    this.#scheduler = options.scheduler;
    this.#rng = options.rng;
    this.#rules = options.rules;
    this.cells = new Array(options.blocks).fill(EMPTY);
    this.#durableCells = [...this.cells];
    this.#state = {
      promised: 0,
      record: options.record,
      contig: ZERO_VERSION,
      hint: ZERO_VERSION,
      snapshots: [],
      branches: [],
    };
    this.#durable = { ...this.#state };
  }

  /** A process opens the store. */
  open(openId: string): void {
    this.#life += 1;
    this.#faulted = false;
    this.#asideMs = this.#scheduler.nowMs;
    this.openIds = [...this.openIds.slice(-15), openId];
    this.opened = {
      storeId: this.storeId,
      openId,
      openIds: this.openIds,
      bootId: this.bootId,
      promised: this.#state.promised,
      record: this.#state.record,
      contig: this.#state.contig,
      hint: this.#state.hint,
      witness: this.witness,
    };
  }

  attach(events: MemberEvents, clock: () => number): void {
    this.#events = events;
    this.#clock = clock;
  }

  get record(): VolumeRecord | null {
    return this.#state.record;
  }

  /** `kill -9`: what has taken effect stays. */
  crash(): void {
    this.#life += 1;
    this.#events = null;
  }

  /** The power goes: of what was not flushed any subset survives. */
  powerLoss(bootId: string): void {
    this.crash();
    this.bootId = bootId;
    const all = !this.keepsNothing && this.#rng.chance(0.1);
    const none = this.keepsNothing || this.#rng.chance(0.2);
    for (const [lba, values] of this.#unflushed) {
      const pick = all ? values.length : none ? 0 : this.#rng.below(values.length + 1);
      this.cells[lba] = pick === 0 ? this.#durableCells[lba]! : values[pick - 1]!;
      this.#durableCells[lba] = this.cells[lba]!;
    }
    for (const { cells, before } of this.#state.branches) {
      for (const [lba, cell] of before) if (!all && this.#rng.chance(0.5)) cells[lba] = cell;
      before.clear();
    }
    const contig = all ? this.#state.contig : this.#durable.contig;
    this.#unflushed.clear();
    this.#durable = { ...this.#durable, contig };
    this.#state = { ...this.#durable };
  }

  /** Another disk, or the same one formatted. */
  wipe(storeId: string): void {
    this.crash();
    this.storeId = storeId;
    this.openIds = [];
    this.#lost.clear();
    this.cells.fill(EMPTY);
    this.#durableCells.fill(EMPTY);
    this.#unflushed.clear();
    this.#floor = ZERO_VERSION;
    this.#state = {
      promised: 0,
      record: null,
      contig: ZERO_VERSION,
      hint: ZERO_VERSION,
      snapshots: [],
      branches: [],
    };
    this.#durable = { ...this.#state };
  }

  /** The disk as it is now, for `restore`: what the rules assume nobody does, and E7 notices. */
  image(): () => void {
    const cells = [...this.cells];
    const durable = [...this.#durableCells];
    const state = { ...this.#state };
    const openIds = [...this.openIds];
    return () => {
      this.crash();
      this.cells = [...cells];
      this.#durableCells = [...durable];
      this.#unflushed.clear();
      this.#state = { ...state };
      this.#durable = { ...state };
      this.openIds = [...openIds];
    };
  }

  restore(image: () => void): void {
    image();
  }

  /** B7: holes up to here may have lost their version. */
  get holeFloor(): Version {
    return this.#floor;
  }

  get freeBlocks(): number {
    if (this.capacityBlocks === Number.POSITIVE_INFINITY) return 1e9;
    return Math.max(0, this.capacityBlocks - this.mappedBlocks());
  }

  mappedBlocks(): number {
    let mapped = 0;
    for (const cell of this.cells) if (cell.kind === BlockKind.Data) mapped += 1;
    return mapped;
  }

  // ------------------------------------------------------------------------------------------------------- the calls

  savePromise(epoch: number, token: number): void {
    this.#aside(
      () => {
        this.#state.promised = epoch;
        if (this.#rules.E2_promiseDurable) this.#durable.promised = epoch;
        return IoStatus.Ok;
      },
      (status) => this.#events!.onStoreDone(this.#clock(), token, status),
    );
  }

  saveRecord(
    record: VolumeRecord,
    hint: Version,
    holeFloor: Version,
    dropSnapshots: readonly string[],
    token: number,
  ): void {
    this.#aside(
      () => {
        this.#state.record = record;
        this.#state.promised = Math.max(this.#state.promised, record.epoch);
        this.#state.hint = hint;
        this.#state.snapshots = this.#state.snapshots.filter(
          ({ id }) => !dropSnapshots.includes(id),
        );
        this.#state.branches = this.#state.branches.filter(({ id }) => !dropSnapshots.includes(id));
        const contig = this.#rules.R1_flushBefore ? this.#state.contig : this.#durable.contig;
        this.#durable = { ...this.#state, contig };
        this.#floor = holeFloor;
        this.#dropHoles();
        return IoStatus.Ok;
      },
      (status) => this.#events!.onStoreDone(this.#clock(), token, status),
    );
  }

  /** B7: holes at or below the floor lose their version. */
  #dropHoles(): void {
    const { epoch, op } = this.#floor;
    this.cells.forEach((cell, lba) => {
      if (cell.kind !== BlockKind.Hole || this.#unflushed.has(lba)) return;
      if (compareVersions(cell.epoch, cell.op, epoch, op) > 0) return;
      this.cells[lba] = EMPTY;
      this.#durableCells[lba] = EMPTY;
    });
  }

  setContig(epoch: number, op: number): void {
    this.#state.contig = { epoch, op };
  }

  apply(message: Apply, slot: number): void {
    const { epoch, op, kind, lba, blocks, fua } = message;
    const values = message.data === null ? null : [...(message.data as SimPayload).values];
    this.#change(
      () => {
        if (this.#hasLost(lba, blocks)) return IoStatus.Damaged;
        for (let index = 0; index < blocks; index += 1) {
          const old = this.cells[lba + index]!;
          // W2: a block changes only to a higher version.
          if (this.#rules.W2_higherOnly && this.#compare(epoch, op, old.epoch, old.op) <= 0)
            continue;
          if (kind === ChangeKind.Unmap) {
            this.#put(
              lba + index,
              this.#rules.W6_versionedHoles ? { ...EMPTY, kind: BlockKind.Hole, epoch, op } : EMPTY, // W6 switched off: an unmapped block is as if never written.
            );
          } else {
            const value = values![index]!;
            const cell = {
              kind: BlockKind.Data,
              epoch,
              op,
              value,
              crc: crcOf(value),
              rotten: null,
            };
            this.#put(lba + index, this.#maybeRot(lba + index, cell, old));
          }
        }
        if (fua) this.#flushNow();
        return IoStatus.Ok;
      },
      (status) => this.#events!.onApplied(this.#clock(), slot, status),
    );
  }

  flush(token: number): void {
    const taken = [...this.#unflushed.entries()].map(([lba, cells]): [number, number] => [
      lba,
      cells.length,
    ]);
    const contig = this.#state.contig;
    this.#aside(
      () => {
        // What was there when the flush was called is durable now, and what came since may be.
        for (const [lba, count] of taken) {
          const cells = this.#unflushed.get(lba);
          if (cells === undefined) continue;
          this.#durableCells[lba] = cells[Math.min(count, cells.length) - 1]!;
          cells.splice(0, count);
          if (cells.length === 0) this.#unflushed.delete(lba);
        }
        if (
          compareVersions(
            contig.epoch,
            contig.op,
            this.#durable.contig.epoch,
            this.#durable.contig.op,
          ) > 0
        ) {
          this.#durable.contig = contig;
        }
        return IoStatus.Ok;
      },
      (status) => this.#events!.onStoreDone(this.#clock(), token, status),
    );
  }

  read(lba: number, blocks: number, verifyOnly: boolean, token: number): void {
    const values: number[] = [];
    const versions: Version[] = [];
    let failedLba = -1;
    this.#look(
      () => {
        for (let at = lba; at < lba + blocks; at += 1) {
          const cell = this.cells[at]!;
          const bad = cell.rotten !== null || cell.kind === BlockKind.Damaged || this.#lost.has(at);
          if (bad && this.#rules.W9_checksums && failedLba < 0) failedLba = at; // W9.
          values.push(cell.rotten !== null ? cell.rotten : cell.value);
          versions.push({ epoch: cell.epoch, op: cell.op });
        }
        return failedLba >= 0 ? IoStatus.Damaged : IoStatus.Ok;
      },
      (status) => {
        const data =
          status === IoStatus.Ok && !verifyOnly ? new SimPayload(values, versions) : null;
        this.#events!.onRead(this.#clock(), token, status, Math.max(0, failedLba), data);
      },
    );
  }

  listChanged(
    since: Version,
    fromLba: number,
    toLba: number,
    maxEntries: number,
    branchOf: string | null,
    token: number,
  ): void {
    let runs: ChangedRuns | null = null;
    let nextLba = toLba;
    this.#look(
      () => {
        const cells = branchOf === null ? this.cells : this.#branch(branchOf)?.cells;
        if (cells === undefined) return IoStatus.IoError;
        const found: { lba: number; count: number; cell: Cell }[] = [];
        for (let lba = fromLba; lba < Math.min(toLba, cells.length); lba += 1) {
          let cell = cells[lba]!;
          // A page knows the highest version below it.
          if (branchOf === null && this.#lost.has(lba)) {
            if (!this.#mayHaveLost(since)) continue;
            cell = LOST;
          } else if (compareVersions(cell.epoch, cell.op, since.epoch, since.op) <= 0) continue;
          const last = found[found.length - 1];
          if (
            last !== undefined &&
            last.lba + last.count === lba &&
            last.cell.kind === cell.kind &&
            last.cell.epoch === cell.epoch &&
            last.cell.op === cell.op
          ) {
            last.count += 1;
            continue;
          }
          if (found.length >= Math.min(maxEntries, 8)) {
            nextLba = lba; // Short pages, so that paging is tested.
            break;
          }
          found.push({ lba, count: 1, cell });
        }
        runs = {
          lbas: Float64Array.from(found, ({ lba }) => lba),
          counts: Float64Array.from(found, ({ count }) => count),
          kinds: Uint8Array.from(found, ({ cell }) => cell.kind),
          epochs: Uint32Array.from(found, ({ cell }) => cell.epoch),
          ops: Float64Array.from(found, ({ cell }) => cell.op),
        };
        return IoStatus.Ok;
      },
      (status) => this.#events!.onListed(this.#clock(), token, status, runs ?? NO_RUNS, nextLba),
    );
  }

  copyRead(lba: number, blocks: number, snapshotId: string | null, token: number): void {
    let copy: BlockCopies | null = null;
    if (this.deliversNothing) return;
    this.#look(
      () => {
        const snapshot = this.#state.snapshots.find(({ id }) => id === snapshotId);
        const cells = snapshotId === null ? this.cells : (snapshot?.cells ?? []);
        const range = Array.from({ length: blocks }, (_, index) =>
          snapshotId === null && this.#lost.has(lba + index) ? LOST : (cells[lba + index] ?? EMPTY),
        );
        const kinds = range.map((cell) =>
          cell.rotten !== null && this.#rules.W9_checksums ? BlockKind.Damaged : cell.kind,
        );
        const data = range.filter((_, index) => kinds[index] === BlockKind.Data);
        copy = {
          lba,
          blocks,
          kinds: Uint8Array.from(kinds),
          epochs: Uint32Array.from(range, ({ epoch }) => epoch),
          ops: Float64Array.from(range, ({ op }) => op),
          crcs: Uint32Array.from(range, ({ crc }) => crc),
          data: new SimPayload(data.map((cell) => cell.rotten ?? cell.value)),
        };
        return IoStatus.Ok;
      },
      (status) => this.#events!.onCopyRead(this.#clock(), token, status, copy),
    );
  }

  install(message: Install, token: number): void {
    const { mode, join, copy, branchOf } = message;
    const values = copy.data === null ? [] : [...(copy.data as SimPayload).values];
    const isOfData = copy.kinds.every((kind) => kind === BlockKind.Data);
    assert(mode !== InstallMode.Repair || isOfData, 'a repair with what is no data (H3)');
    this.#change(
      () => {
        if (mode === InstallMode.Repair && branchOf !== null) {
          return this.#mendSnapshot(branchOf, copy, values);
        }
        const branch = branchOf === null ? null : this.#branch(branchOf);
        if (branch === undefined) return IoStatus.IoError;
        if (branch === null && this.#hasLost(copy.lba, copy.blocks)) return IoStatus.Damaged;
        const cells = branch === null ? this.cells : branch.cells;
        let at = 0;
        for (let index = 0; index < copy.blocks; index += 1) {
          const kind = copy.kinds[index]!;
          const epoch = copy.epochs[index]!;
          const op = copy.ops[index]!;
          const value = kind === BlockKind.Data ? values[at++]! : 0;
          const lba = copy.lba + index;
          const old = cells[lba]!;
          if (!this.#takes(mode, join, epoch, op, old)) continue;
          const cell = { kind, epoch, op, value, crc: copy.crcs[index]!, rotten: null };
          if (branch === null) this.#put(lba, cell);
          else {
            if (!branch.before.has(lba)) branch.before.set(lba, old);
            branch.cells[lba] = cell;
          }
        }
        return IoStatus.Ok;
      },
      (status) => this.#events!.onStoreDone(this.#clock(), token, status),
    );
  }

  /** H3: in its place, for whoever shares it. */
  #mendSnapshot(id: string, copy: BlockCopies, values: readonly number[]): IoStatus {
    const snapshot = this.#state.snapshots.find((one) => one.id === id);
    if (snapshot === undefined || copy.blocks !== 1) return IoStatus.IoError;
    const { lba } = copy;
    const old = snapshot.cells[lba];
    if (old === undefined) return IoStatus.IoError;
    const isIt = old.epoch === copy.epochs[0] && old.op === copy.ops[0] && old.value === values[0];
    if (!isIt) return IoStatus.Damaged;
    const mended = { ...old, rotten: null };
    const mend = (cells: readonly Cell[]): Cell[] =>
      cells.map((cell, at) => (at === lba && cell.rotten !== null && cell === old ? mended : cell));
    const inAll = <T extends { readonly cells: readonly Cell[] }>(all: readonly T[]): T[] =>
      all.map((one) => ({ ...one, cells: mend(one.cells) }));
    this.#state.snapshots = inAll(this.#state.snapshots);
    this.#durable.snapshots = inAll(this.#durable.snapshots);
    return IoStatus.Ok;
  }

  #takes(mode: number, join: Version, epoch: number, op: number, old: Cell): boolean {
    const higher = this.#compare(epoch, op, old.epoch, old.op);
    switch (mode) {
      case InstallMode.Reconcile:
        return higher > 0; // V4.
      case InstallMode.Rebuild:
        if (!this.#rules.B4_guard) return true;
        if (!this.#rules.B4_backward) return higher > 0;
        if (higher === 0) return false;
        return this.#compare(old.epoch, old.op, join.epoch, join.op) < 0 || higher > 0; // B4.
      default:
        return higher === 0 || !this.#rules.H3_sameVersion;
    }
  }

  digest(lba: number, blocks: number, token: number): void {
    let high = 0;
    let low = 0;
    this.#look(
      () => {
        for (let at = lba; at < Math.min(lba + blocks, this.cells.length); at += 1) {
          const cell = this.cells[at]!;
          low = (Math.imul(low ^ cell.op, 0x01000193) + cell.crc + at) >>> 0;
          high = (Math.imul(high ^ cell.epoch, 0x01000193) + cell.kind) >>> 0;
        }
        return IoStatus.Ok;
      },
      (status) => this.#events!.onDigest(this.#clock(), token, status, high, low),
    );
  }

  takeSnapshot(snapshotId: string, _name: string, version: Version, token: number): void {
    this.#change(
      () => {
        if (this.refusesSnapshots) return IoStatus.NoSpace;
        const others = this.#state.snapshots.filter(({ id }) => id !== snapshotId);
        this.#state.snapshots = [...others, { id: snapshotId, version, cells: [...this.cells] }];
        return IoStatus.Ok;
      },
      (status) => this.#events!.onStoreDone(this.#clock(), token, status),
    );
  }

  snapshots(): readonly string[] {
    return this.#state.snapshots.map(({ id }) => id);
  }

  branches(): readonly string[] {
    return this.#state.branches.map(({ id }) => id);
  }

  #branch(id: string): Branch | undefined {
    return this.#state.branches.find((branch) => branch.id === id);
  }

  branchSnapshot(snapshotId: string, version: Version, token: number): void {
    let complete = false;
    this.#change(
      () => {
        if (this.refusesSnapshots || this.refusesBranchOf === snapshotId) return IoStatus.NoSpace;
        const same = (other: Version) =>
          compareVersions(other.epoch, other.op, version.epoch, version.op) === 0;
        const known = this.#state.snapshots.find(({ id }) => id === snapshotId);
        if (known !== undefined && (same(known.version) || !this.#rules.B6_sameCut)) {
          complete = true;
          return IoStatus.Ok;
        }
        this.#drop([snapshotId], (branch) => !same(branch.version));
        if (this.#branch(snapshotId) !== undefined) return IoStatus.Ok;
        const [next] = this.#state.snapshots
          .filter(
            (other) =>
              compareVersions(other.version.epoch, other.version.op, version.epoch, version.op) >=
              0,
          )
          .sort((a, b) =>
            compareVersions(a.version.epoch, a.version.op, b.version.epoch, b.version.op),
          );
        const cells = [...(next?.cells ?? this.cells)];
        const inherited = new Set<number>();
        cells.forEach(({ kind, epoch, op }, lba) => {
          const isBelow = compareVersions(epoch, op, version.epoch, version.op) <= 0;
          if (kind === BlockKind.Damaged && isBelow) inherited.add(lba);
        });
        const branch = { id: snapshotId, version, cells, inherited, before: new Map() };
        this.#state.branches = [...this.#state.branches, branch];
        this.#durable.branches = this.#state.branches;
        return IoStatus.Ok;
      },
      (status) => this.#events!.onBranched(this.#clock(), token, status, complete),
      this.branchDelayMs,
    );
  }

  /** A snapshot of that id goes, and its branch where `isOther` says so. */
  #drop(ids: readonly string[], isOther: (branch: Branch) => boolean): void {
    const kept = (id: string) => !ids.includes(id);
    this.#state.snapshots = this.#state.snapshots.filter(({ id }) => kept(id));
    this.#state.branches = this.#state.branches.filter(
      (branch) => kept(branch.id) || !isOther(branch),
    );
  }

  sealSnapshot(snapshotId: string, version: Version, token: number): void {
    this.#change(
      () => {
        const branch = this.#branch(snapshotId);
        if (branch === undefined) {
          const has = this.#state.snapshots.some(({ id }) => id === snapshotId);
          return has ? IoStatus.Ok : IoStatus.IoError;
        }
        this.#state.branches = this.#state.branches.filter((other) => other !== branch);
        const { cells, inherited } = branch;
        const sealed = { id: snapshotId, version, cells, inherited };
        this.#state.snapshots = [...this.#state.snapshots, sealed];
        this.#durable.snapshots = [...this.#durable.snapshots, sealed];
        this.#durable.branches = this.#durable.branches.filter((other) => other !== branch);
        return IoStatus.Ok;
      },
      (status) => this.#events!.onStoreDone(this.#clock(), token, status),
    );
  }

  snapshotCells(id: string): readonly Cell[] | null {
    return this.#state.snapshots.find((snapshot) => snapshot.id === id)?.cells ?? null;
  }

  inheritedDamage(id: string): ReadonlySet<number> {
    const found = this.#state.snapshots.find((snapshot) => snapshot.id === id);
    return found?.inherited ?? new Set();
  }

  /** A block goes bad where it lies. */
  rot(lba: number): void {
    const cell = this.cells[lba]!;
    if (cell.kind !== BlockKind.Data || this.#unflushed.has(lba)) return;
    const rotten = { ...cell, rotten: -1 - cell.value };
    this.cells[lba] = rotten;
    this.#durableCells[lba] = rotten;
  }

  /** H6: both copies of a page of the map go bad. What a snapshot has is on pages of its own here. */
  loseMap(lba: number, blocks: number): void {
    for (let at = lba; at < lba + blocks; at += 1) this.#lost.add(at);
  }

  /** It was the way to the medium. */
  findMap(): void {
    this.#lost.clear();
  }

  #hasLost(lba: number, blocks: number): boolean {
    for (let at = lba; at < lba + blocks; at += 1) if (this.#lost.has(at)) return true;
    return false;
  }

  #mayHaveLost(since: Version): boolean {
    for (const at of this.#lost) {
      const { epoch, op } = this.cells[at]!;
      if (compareVersions(epoch, op, since.epoch, since.op) > 0) return true;
    }
    return false;
  }

  /** A scrub: from now on what is rotten is found at once. */
  scrub(): void {
    this.#isScrubbed = true;
  }

  takeDamage(): readonly DamagedPlace[] {
    if (!this.#isScrubbed || !this.#rules.W9_checksums) return [];
    const found: DamagedPlace[] = [];
    const seen = new Set<Cell>();
    const look = (cells: readonly Cell[], snapshotId: string | null): void => {
      cells.forEach((cell, lba) => {
        // What is shared is its oldest owner's.
        if (cell.rotten === null || seen.has(cell) || found.length === MAX_DAMAGE_TOLD) return;
        seen.add(cell);
        found.push({ lba, snapshotId });
      });
    };
    for (const { id, cells } of this.#state.snapshots) look(cells, id);
    look(this.cells, null);
    return found;
  }

  // ----------------------------------------------------------------------------------------------------------- parts

  #maybeRot(lba: number, cell: Cell, old: Cell): Cell {
    if (this.faults.rot === 0 || !this.#rng.chance(this.faults.rot) || !this.mayRot(lba))
      return cell;
    // The write was lost: the place still has what it had, or never got anything.
    return { ...cell, rotten: old.value };
  }

  #put(lba: number, cell: Cell): void {
    this.cells[lba] = cell;
    const values = this.#unflushed.get(lba);
    if (values === undefined) this.#unflushed.set(lba, [cell]);
    else values.push(cell);
  }

  #flushNow(): void {
    for (const [lba, values] of this.#unflushed)
      this.#durableCells[lba] = values[values.length - 1]!;
    this.#unflushed.clear();
    this.#durable.contig = this.#state.contig;
  }

  /** E1: epoch first. */
  #compare(epochA: number, opA: number, epochB: number, opB: number): number {
    return this.#rules.E1_epochInVersion ? compareVersions(epochA, opA, epochB, opB) : opA - opB;
  }

  /** Changes run in parallel, and take effect in any order: versions decide what stays (W2). */
  #change(effect: () => IoStatus, answer: (status: IoStatus) => void, leastMs = 0): void {
    const life = this.#life;
    const takes = Math.max(this.#rng.between(0.01, this.latencyMs), this.effectDelayMs, leastMs);
    const effectMs = this.#scheduler.nowMs + takes;
    const answerMs = effectMs + this.#rng.between(0, this.latencyMs / 2);
    const fails = this.faults.eio > 0 && this.#rng.chance(this.faults.eio);
    let status: IoStatus = IoStatus.IoError;
    this.#scheduler.at(effectMs, () => {
      if (life !== this.#life) return;
      if (fails && !this.#faulted) this.#fault();
      if (!this.#faulted) status = effect();
    });
    this.#scheduler.at(answerMs, () => {
      if (life === this.#life && this.#events !== null) answer(status);
    });
  }

  /** Control records and flushes wait for no op: whoever wants that, waits himself (R1). */
  #aside(effect: () => IoStatus, answer: (status: IoStatus) => void): void {
    const life = this.#life;
    const takes = this.#rng.between(0.01, this.latencyMs);
    const fails = this.faults.eio > 0 && this.#rng.chance(this.faults.eio);
    let status: IoStatus = IoStatus.IoError;
    this.#asideMs = Math.max(this.#asideMs, this.#scheduler.nowMs + takes / 2);
    this.#scheduler.at(this.#asideMs, () => {
      if (life !== this.#life) return;
      if (fails && !this.#faulted) this.#fault();
      if (!this.#faulted) status = effect();
    });
    this.#scheduler.at(this.#asideMs + takes / 2, () => {
      if (life === this.#life && this.#events !== null) answer(status);
    });
  }

  #look(effect: () => IoStatus, answer: (status: IoStatus) => void): void {
    const life = this.#life;
    const takes = this.#rng.between(0.01, this.latencyMs);
    let status: IoStatus = IoStatus.IoError;
    this.#scheduler.after(takes / 2, () => {
      if (life === this.#life && !this.#faulted) status = effect();
    });
    this.#scheduler.after(takes, () => {
      if (life === this.#life && this.#events !== null) answer(status);
    });
  }

  /** S9: nothing is retried; the process goes, and reopens with what the last good flush covered. */
  #fault(): void {
    this.#faulted = true;
    this.onFault();
  }
}
