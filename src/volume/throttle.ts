// A volume's limits: operations and bytes per second, each with a burst, and how many operations are under way below.
// One throttle stands before a volume, so all of its sessions share it. It is a BlockDevice over a BlockDevice.
//
// What must wait, waits in order of arrival: a host's flush does not overtake its writes here, and nobody starves.
// A rate is kept as one number, the time at which the next operation falls due (the virtual scheduling of GCRA): it
// moves on by cost / rate with each operation. What arrives after a pause finds it no further back than the burst; what
// was already waiting finds it where it was, so nothing is lost to a timer that fires late or a process that was not
// scheduled. An operation larger than the burst passes and is paid for afterwards.
import type { Clock, Timer, Turn } from '../base/index.ts';
import {
  type BlockDevice,
  type BlockDeviceListener,
  type BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type Geometry,
  type IoStatus,
  type MapExtent,
} from '../block/index.ts';

export interface VolumeLimits {
  /** Operations per second, of every kind; null: no limit. */
  readonly iops: number | null;
  /** Operations that idle time saves up; null: a quarter of a second's. */
  readonly iopsBurst: number | null;
  /** Bytes read and written per second; null: no limit. */
  readonly bytesPerSecond: number | null;
  /** Bytes that idle time saves up; null: a quarter of a second's. */
  readonly burstBytes: number | null;
  /** Operations under way below at one time; null: no limit. */
  readonly queueDepth: number | null;
}

export const NO_LIMITS: VolumeLimits = {
  iops: null,
  iopsBurst: null,
  bytesPerSecond: null,
  burstBytes: null,
  queueDepth: null,
};

/** Long enough for a timer that fires some milliseconds late, short enough to stay out of a 10 s average. */
const STANDARD_BURST_MS = 250;
/** Somebody who stopped the process for longer does not get it all at once. */
const MOST_LATE_MS = 2000;
/** A timer is no finer; it is asked for no less. */
const LEAST_WAIT_MS = 1;

/** One rate: when the next unit falls due. */
class Rate {
  #msPerUnit = 0;
  #burstMs = 0;
  #dueMs = 0;

  get limited(): boolean {
    return this.#msPerUnit > 0;
  }

  /** Debts of the old rate are forgiven: a change takes effect at once. */
  set(unitsPerSecond: number | null, burstUnits: number | null, nowMs: number): void {
    this.#msPerUnit = unitsPerSecond === null ? 0 : 1000 / unitsPerSecond;
    this.#burstMs = burstUnits === null ? STANDARD_BURST_MS : burstUnits * this.#msPerUnit;
    this.#dueMs = nowMs - this.#burstMs;
  }

  /** Milliseconds until something may pass; 0 or less: now. */
  waitMs(nowMs: number): number {
    return this.limited ? this.#dueMs - nowMs : 0;
  }

  /** `waited`: the operation was here before it fell due. */
  take(units: number, nowMs: number, waited: boolean): void {
    if (!this.limited) return;
    const mostMs = waited ? Math.max(this.#burstMs, MOST_LATE_MS) : this.#burstMs;
    this.#dueMs = Math.max(this.#dueMs, nowMs - mostMs) + units * this.#msPerUnit;
  }
}

/** Stands in as an operation's owner while it is below, to learn of its end. Reused. */
class Passage implements BlockOpOwner {
  readonly #throttle: Throttle;
  owner: BlockOpOwner | null = null;
  next: Passage | null = null;

  constructor(throttle: Throttle) {
    this.#throttle = throttle;
  }

  onBlockDone(op: BlockOp, status: IoStatus): void {
    const owner = this.owner!;
    op.owner = owner;
    this.owner = null;
    this.#throttle.passed(this);
    owner.onBlockDone(op, status);
    this.#throttle.pump();
  }

  /** It was taken back from below, and has no end. */
  recall(op: BlockOp): void {
    op.owner = this.owner!;
    this.owner = null;
    this.#throttle.passed(this);
  }

  onUpdateRead(op: BlockOp): boolean {
    return this.owner?.onUpdateRead?.(op) ?? false;
  }
}

export interface ThrottleOptions {
  readonly device: BlockDevice;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly limits?: VolumeLimits;
}

export class Throttle implements BlockDevice {
  readonly #device: BlockDevice;
  readonly #clock: Clock;
  readonly #turn: Turn;
  readonly #operations = new Rate();
  readonly #bytes = new Rate();
  #limits: VolumeLimits = NO_LIMITS;
  #unlimited = true;
  #waitingHead: BlockOp | null = null;
  #waitingTail: BlockOp | null = null;
  #waitingCount = 0;
  #below = 0;
  #free: Passage | null = null;
  #timer: Timer | null = null;
  #pumping = false;
  /** The first in line has been told to wait: what falls due from now on is its own. */
  #kept = false;
  /** Operations that had to wait, since the volume was opened. */
  throttledOps = 0;

  constructor(options: ThrottleOptions) {
    this.#device = options.device;
    this.#clock = options.clock;
    this.#turn = options.turn;
    this.setLimits(options.limits ?? NO_LIMITS);
  }

  get limits(): VolumeLimits {
    return this.#limits;
  }

  /** Operations held back now. */
  get waitingCount(): number {
    return this.#waitingCount;
  }

  get geometry(): Geometry {
    return this.#device.geometry;
  }

  get readOnly(): boolean {
    return this.#device.readOnly;
  }

  get writeCache(): boolean {
    return this.#device.writeCache;
  }

  /** Applies at once, to what waits as well. */
  setLimits(limits: VolumeLimits): void {
    const nowMs = this.#clock.nowMs();
    this.#limits = limits;
    this.#operations.set(limits.iops, limits.iopsBurst, nowMs);
    this.#bytes.set(limits.bytesPerSecond, limits.burstBytes, nowMs);
    this.#unlimited =
      limits.iops === null && limits.bytesPerSecond === null && limits.queueDepth === null;
    this.pump();
  }

  submit(op: BlockOp): void {
    if (this.#unlimited && this.#waitingHead === null) {
      this.#device.submit(op);
      return;
    }
    op.next = null;
    if (this.#waitingTail === null) this.#waitingHead = op;
    else this.#waitingTail.next = op;
    this.#waitingTail = op;
    this.#waitingCount += 1;
    this.pump();
    if (this.#waitingTail === op) this.throttledOps += 1;
  }

  /** What still waits, in no order: seldom, and the line is as long as the windows of its sessions. Or what waits below. */
  withdraw(op: BlockOp): boolean {
    if (this.#leaveLine(op)) return true;
    const { owner } = op;
    if (this.#device.withdraw?.(op) !== true) return false;
    if (owner instanceof Passage) {
      owner.recall(op);
      // Whoever takes this one back may be about to take back those that wait for its place.
      queueMicrotask(() => {
        this.#turn.enter();
        this.pump();
        this.#turn.leave();
      });
    }
    return true;
  }

  /** Another waits for its end: before those that came earlier, and beyond every limit. They pay for it. */
  hasten(op: BlockOp): void {
    if (!this.#leaveLine(op)) return;
    const nowMs = this.#clock.nowMs();
    this.#operations.take(1, nowMs, true);
    this.#bytes.take(this.#bytesOf(op), nowMs, true);
    this.#pass(op);
  }

  /** False: it does not wait here. */
  #leaveLine(op: BlockOp): boolean {
    let before: BlockOp | null = null;
    let at = this.#waitingHead;
    while (at !== null && at !== op) {
      before = at;
      at = at.next;
    }
    if (at === null) return false;
    if (before === null) this.#waitingHead = op.next;
    else before.next = op.next;
    if (this.#waitingTail === op) this.#waitingTail = before;
    op.next = null;
    this.#waitingCount -= 1;
    if (this.#waitingHead === null) {
      this.#kept = false;
      this.#timer?.cancel();
      this.#timer = null;
    }
    return true;
  }

  setWriteCache(enabled: boolean, done: (status: IoStatus) => void): void {
    this.#device.setWriteCache(enabled, done);
  }

  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    this.#device.mapStatus(lba, maxExtents, done);
  }

  confirmServed(done: (status: IoStatus) => void): void {
    this.#device.confirmServed(done);
  }

  saveMetadata(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    this.#device.saveMetadata(key, value, done);
  }

  loadMetadata(key: string): Uint8Array | null {
    return this.#device.loadMetadata(key);
  }

  listen(listener: BlockDeviceListener): void {
    this.#device.listen(listener);
  }

  /** Of a Passage: its operation has ended. */
  passed(passage: Passage): void {
    this.#below -= 1;
    passage.next = this.#free;
    this.#free = passage;
  }

  /** Lets go what may go, and sets the clock for the next. */
  pump(): void {
    // An operation that ends inside `submit` comes back here: the loop that submitted it goes on by itself.
    if (this.#pumping || this.#waitingHead === null) return;
    this.#pumping = true;
    let waitMs = 0;
    for (let op: BlockOp | null = this.#waitingHead; op !== null; op = this.#waitingHead) {
      const { queueDepth } = this.#limits;
      if (queueDepth !== null && this.#below >= queueDepth) break; // An end will pump again.
      const nowMs = this.#clock.nowMs();
      waitMs = Math.max(this.#operations.waitMs(nowMs), this.#bytes.waitMs(nowMs));
      if (waitMs > 0) {
        this.#kept = true;
        break;
      }
      waitMs = 0;
      this.#operations.take(1, nowMs, this.#kept);
      this.#bytes.take(this.#bytesOf(op), nowMs, this.#kept);
      this.#leaveFront(op);
      this.#pass(op);
    }
    this.#pumping = false;
    if (this.#waitingHead === null) this.#kept = false;
    this.#timer?.cancel();
    this.#timer = null;
    if (waitMs > 0) {
      this.#timer = this.#clock.schedule(Math.max(waitMs, LEAST_WAIT_MS), () => this.#onDue());
    }
  }

  #onDue(): void {
    this.#timer = null;
    this.#turn.enter();
    this.pump();
    this.#turn.leave();
  }

  #leaveFront(op: BlockOp): void {
    this.#waitingHead = op.next;
    if (op.next === null) this.#waitingTail = null;
    op.next = null;
    this.#waitingCount -= 1;
  }

  #pass(op: BlockOp): void {
    this.#below += 1;
    const passage = this.#free ?? new Passage(this);
    this.#free = passage.next;
    passage.next = null;
    passage.owner = op.owner;
    op.owner = passage;
    this.#device.submit(op);
  }

  /** What an operation counts for: Verify and Unmap move no data to or from the host, Update moves it both ways once. */
  #bytesOf(op: BlockOp): number {
    switch (op.kind) {
      case BlockOpKind.Read:
      case BlockOpKind.Write:
      case BlockOpKind.Update:
        return op.blocks * this.#device.geometry.logicalBlockBytes;
      default:
        return 0;
    }
  }
}
