// The checker T4: what hosts were told, held against what they are told next, block by block. It knows which version the
// coordinator gave to each write, and so can say more than a register check on values could; that one (`history.ts`) runs
// beside it on values alone and guards it.
import { compareVersions, type Version, ZERO_VERSION } from '../../src/wire/version.ts';

export class Violation extends Error {
  override readonly name = 'Violation';
}

function lower(a: Version, b: Version): boolean {
  return compareVersions(a.epoch, a.op, b.epoch, b.op) < 0;
}

function same(a: Version, b: Version): boolean {
  return a.epoch === b.epoch && a.op === b.op;
}

interface Issued {
  readonly lba: number;
  readonly blocks: number;
  /** The value of its first block, the next one's is one more; 0: zeros. */
  readonly value: number;
}

/** What had been acknowledged and read when an operation began. */
export interface Limits {
  readonly acked: readonly Version[];
  readonly read: readonly Version[];
  readonly losses: number;
}

export class Checker {
  readonly acked: Version[];
  readonly read: Version[];
  readonly flushed: Version[];
  readonly #decided: Version[];
  #decidedEpoch = 0;
  #ackedAtLoss: Version[] = [];
  #readAtLoss: Version[] = [];
  /** By epoch, then by op. */
  readonly #issued = new Map<number, (Issued | undefined)[]>();
  /** By block: the versions of its holes, as they were issued. */
  readonly #holes: Version[][];
  readonly #floor: () => Version;
  /** What a snapshot at this op of the decided epoch holds: the next one begins from here. */
  #cut: Version[] = [];
  #cutOp = 0;
  reads = 0;
  acks = 0;
  losses = 0;
  activations = 0;

  /** `floor`: up to where a member may have dropped the versions of holes (B7). */
  constructor(blocks: number, floor: () => Version) {
    this.#floor = floor;
    this.#holes = Array.from({ length: blocks }, () => []);
    this.acked = new Array(blocks).fill(ZERO_VERSION);
    this.read = new Array(blocks).fill(ZERO_VERSION);
    this.flushed = new Array(blocks).fill(ZERO_VERSION);
    this.#decided = new Array(blocks).fill(ZERO_VERSION);
  }

  get decidedEpoch(): number {
    return this.#decidedEpoch;
  }

  fail(text: string): never {
    throw new Violation(text);
  }

  /** A coordinator gave the version. E1: nobody ever gives it to anything else. */
  onIssue(version: Version, lba: number, blocks: number, value: number): void {
    let ops = this.#issued.get(version.epoch);
    if (ops === undefined) {
      ops = [];
      this.#issued.set(version.epoch, ops);
    }
    const known = ops[version.op];
    if (known === undefined) {
      ops[version.op] = { lba, blocks, value };
      if (value === 0)
        for (let at = lba; at < lba + blocks; at += 1) this.#holes[at]!.push(version);
    } else if (known.lba !== lba || known.blocks !== blocks || known.value !== value) {
      this.fail(`version ${text(version)} was given to two ops`);
    }
  }

  onAcked(version: Version, lba: number, blocks: number, durable: boolean): void {
    this.acks += 1;
    for (let at = lba; at < lba + blocks; at += 1) {
      if (version.epoch < this.#decidedEpoch && lower(this.#decided[at]!, version)) {
        this.fail(`block ${at}: acked ${text(version)} that epoch ${this.#decidedEpoch} dropped`);
      }
      if (lower(this.acked[at]!, version)) this.acked[at] = version;
      if (durable && lower(this.flushed[at]!, version)) this.flushed[at] = version;
    }
  }

  limits(lba: number, blocks: number): Limits {
    return {
      acked: this.acked.slice(lba, lba + blocks),
      read: this.read.slice(lba, lba + blocks),
      losses: this.losses,
    };
  }

  /** (1), (2), (3), (4). */
  onRead(
    epoch: number,
    lba: number,
    values: readonly number[],
    versions: readonly Version[],
    began: Limits,
  ): void {
    this.reads += 1;
    // A loss was declared while it ran: what it began with may be gone.
    const lost = began.losses !== this.losses;
    const limits = {
      acked: began.acked.map((one, at) => (lost ? min(one, this.#ackedAtLoss[lba + at]!) : one)),
      read: began.read.map((one, at) => (lost ? min(one, this.#readAtLoss[lba + at]!) : one)),
    };
    values.forEach((value, index) => {
      const at = lba + index;
      let version = versions[index]!;
      if (isZero(version)) {
        const most = max(limits.acked[index]!, limits.read[index]!);
        version = this.droppedHole(at, max(most, this.#decided[at]!));
      }
      if (lower(version, limits.acked[index]!)) {
        this.fail(
          `block ${at}: read ${text(version)} after ${text(limits.acked[index]!)} was acked`,
        );
      }
      if (lower(version, limits.read[index]!)) {
        this.fail(
          `block ${at}: read ${text(version)} after ${text(limits.read[index]!)} had been read`,
        );
      }
      this.#checkValue(at, value, version);
      if (
        epoch === this.#decidedEpoch &&
        version.epoch !== epoch &&
        !isZero(versions[index]!) &&
        !same(version, this.#decided[at]!)
      ) {
        const decided = text(this.#decided[at]!);
        this.fail(
          `block ${at}: reads ${text(version)}, though epoch ${epoch} began with ${decided}`,
        );
      }
      if (lower(this.read[at]!, version)) this.read[at] = version;
    });
  }

  #checkValue(at: number, value: number, version: Version): void {
    if (version.epoch === 0 && version.op === 0) {
      if (value !== 0) this.fail(`block ${at}: value ${value} without a version`);
      return;
    }
    const issued = this.#issued.get(version.epoch)?.[version.op];
    if (issued === undefined || at < issued.lba || at >= issued.lba + issued.blocks) {
      this.fail(`block ${at}: version ${text(version)} was never given to it`);
    }
    const wanted = issued.value === 0 ? 0 : issued.value + at - issued.lba;
    if (value !== wanted)
      this.fail(`block ${at}: ${value} at ${text(version)} instead of ${wanted}`);
  }

  #isHole({ epoch, op }: Version): boolean {
    return this.#issued.get(epoch)?.[op]?.value === 0;
  }

  /**
   * B7: zeros without a version may be a hole that lost it: the block's `most`, or a later one that nobody was told of, since
   * its session had ended when all members had it. The lowest that may be is taken, which claims least.
   */
  droppedHole(at: number, most: Version): Version {
    if (this.#isHole(most)) return most;
    const floor = this.#floor();
    let found = ZERO_VERSION;
    for (const hole of this.#holes[at]!) {
      if (lower(hole, most) || lower(floor, hole)) continue;
      if (isZero(found) || lower(hole, found)) found = hole;
    }
    return found;
  }

  /** (6): `cells` are what a member's snapshot at version `cut` holds. */
  onSnapshot(cut: Version, cells: readonly Version[]): void {
    if (cut.epoch !== this.#decidedEpoch) return;
    if (this.#cut.length === 0 || cut.op < this.#cutOp) {
      this.#cut = [...this.#decided];
      this.#cutOp = 0;
    }
    const wanted = this.#cut;
    const ops = this.#issued.get(cut.epoch) ?? [];
    for (; this.#cutOp < cut.op; this.#cutOp += 1) {
      const issued = ops[this.#cutOp];
      if (issued === undefined) continue; // Another snapshot's.
      const version = { epoch: cut.epoch, op: this.#cutOp };
      for (let at = issued.lba; at < issued.lba + issued.blocks; at += 1)
        wanted[at] = max(wanted[at]!, version);
    }
    cells.forEach((version, at) => {
      const has = isZero(version) && this.#isHole(wanted[at]!) ? wanted[at]! : version;
      if (same(has, wanted[at]!)) return;
      this.fail(
        `block ${at}: snapshot at ${text(cut)} has ${text(has)}, its cut ${text(wanted[at]!)}`,
      );
    });
  }

  /** A SYNC began: what had been acked then. */
  onFlushStart(): readonly Version[] {
    return [...this.acked];
  }

  onFlushed(acked: readonly Version[]): void {
    acked.forEach((version, at) => {
      if (lower(this.flushed[at]!, version)) this.flushed[at] = version;
    });
  }

  /** An activation is committed: `cells` are the versions at one of its members in sync, alike at all. */
  onActive(epoch: number, cells: readonly Version[], lossDeclared: boolean): void {
    this.activations += 1;
    if (epoch <= this.#decidedEpoch) {
      this.fail(`epoch ${epoch} became active after epoch ${this.#decidedEpoch}`);
    }
    if (lossDeclared) {
      // (5): down to what was flushed, and no further; from here on that is what counts.
      this.losses += 1;
    }
    cells.forEach((cell, at) => {
      const most = max(max(this.acked[at]!, this.read[at]!), this.#decided[at]!);
      // With the acked ones above it lost, the flushed hole is there again.
      const least = lossDeclared && !this.#isHole(most) ? this.flushed[at]! : most;
      const version = isZero(cell) ? this.droppedHole(at, least) : cell;
      if (lossDeclared) {
        this.acked[at] = min(this.acked[at]!, max(version, this.flushed[at]!));
        this.read[at] = min(this.read[at]!, max(version, this.flushed[at]!));
      }
      // C4: what the epoch before settled stays, but for that epoch's own ops.
      const settled = this.#decided[at]!;
      const back = version.epoch < this.#decidedEpoch && !same(version, settled);
      if (back && !lossDeclared && !isZero(cell)) {
        this.fail(
          `block ${at}: epoch ${this.#decidedEpoch} had ${text(settled)}, ${epoch} has ${text(version)}`,
        );
      }
      if (lower(version, this.flushed[at]!)) {
        this.fail(
          `block ${at}: flushed ${text(this.flushed[at]!)}, epoch ${epoch} has ${text(version)}`,
        );
      }
      if (lower(version, this.acked[at]!)) {
        this.fail(
          `block ${at}: acked ${text(this.acked[at]!)}, epoch ${epoch} has ${text(version)}`,
        );
      }
      if (lower(version, this.read[at]!)) {
        this.fail(
          `block ${at}: ${text(this.read[at]!)} was read, epoch ${epoch} has ${text(version)}`,
        );
      }
      this.#decided[at] = version;
    });
    this.#decidedEpoch = epoch;
    this.#cut = [];
    if (lossDeclared) {
      this.#ackedAtLoss = [...this.acked];
      this.#readAtLoss = [...this.read];
    }
  }
}

function isZero(version: Version): boolean {
  return version.epoch === 0 && version.op === 0;
}

function min(a: Version, b: Version): Version {
  return lower(a, b) ? a : b;
}

function max(a: Version, b: Version): Version {
  return lower(a, b) ? b : a;
}

export function text(version: Version): string {
  return `${version.epoch}.${version.op}`;
}
