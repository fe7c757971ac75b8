// What a connection has to say. Frames are written side by side into send regions while a turn runs, and leave in one
// system call at its end. A region is used again when the kernel has taken it.
import { assert, type Flushable, type Transport, type Turn, TurnPhase } from '../base/index.ts';
import { encodeHeader, type FrameHeader } from './frame.ts';
import { HEADER_BYTES, MAX_FREE_REGIONS, SEND_REGION_BYTES } from './limits.ts';

/** Free regions of all connections; the last one given back is the warmest. */
export class FrameRegions {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(SEND_REGION_BYTES);
  }

  give(region: Buffer): void {
    if (this.#free.length < MAX_FREE_REGIONS) this.#free.push(region);
  }
}

export class FrameOutput implements Flushable {
  readonly #transport: Transport;
  readonly #turn: Turn;
  readonly #regions: FrameRegions;
  #region: Buffer | null = null;
  #used = 0;
  #inFlight: Buffer[] = [];
  #deferred = false;
  #closed = false;

  constructor(transport: Transport, turn: Turn, regions: FrameRegions) {
    this.#transport = transport;
    this.#turn = turn;
    this.#regions = regions;
  }

  /** Bytes that the peer's kernel has not been given yet, about. */
  get pendingBytes(): number {
    return this.#inFlight.length * SEND_REGION_BYTES + this.#used;
  }

  /** Appends a header. Its payload follows by `append`, in the same step. */
  header(header: Readonly<FrameHeader>): void {
    if (this.#closed) return;
    if (this.#region === null || this.#used + HEADER_BYTES > this.#region.length) this.#next();
    encodeHeader(this.#region!, this.#used, header);
    this.#used += HEADER_BYTES;
    if (!this.#deferred) {
      this.#deferred = true;
      this.#turn.defer(TurnPhase.Send, this);
    }
  }

  /** Copies `b[start, end)`: the memory is the caller's again at once. */
  append(b: Uint8Array, start: number, end: number): void {
    if (this.#closed) return;
    assert(this.#region !== null);
    // One block that is a whole buffer, as nearly all are: a view of it would cost more than the copy.
    const whole = start === 0 && end === b.length;
    if (whole && this.#used + end <= this.#region.length) {
      this.#region.set(b, this.#used);
      this.#used += end;
      return;
    }
    let at = start;
    while (at < end) {
      if (this.#used === this.#region.length) this.#next();
      const taken = Math.min(end - at, this.#region.length - this.#used);
      this.#region.set(b.subarray(at, at + taken), this.#used);
      this.#used += taken;
      at += taken;
    }
  }

  flushTurn(): void {
    this.#deferred = false;
    if (this.#closed) return;
    this.#ship();
    // An idle connection holds no region; a busy one gets the same warm one back at once.
    if (this.#region !== null) this.#regions.give(this.#region);
    this.#region = null;
  }

  /** The transport took everything: regions are free again. */
  onDrained(): void {
    if (!this.#closed && this.#transport.drained) this.#release();
  }

  close(): void {
    this.#closed = true;
    // What the kernel has not taken is still read by the socket: those regions are left to the collector.
    this.#inFlight = [];
    this.#region = null;
    this.#used = 0;
  }

  #next(): void {
    this.#ship();
    this.#region ??= this.#regions.take();
  }

  /** Hands what is in the region to the transport. */
  #ship(): void {
    const region = this.#region;
    if (region === null || this.#used === 0) return;
    const bytes = this.#used;
    this.#used = 0;
    this.#transport.write(region.subarray(0, bytes));
    if (this.#closed) return;
    if (this.#transport.drained) this.#release();
    else {
      this.#inFlight.push(region);
      this.#region = null;
    }
  }

  #release(): void {
    if (this.#inFlight.length === 0) return;
    for (const region of this.#inFlight) this.#regions.give(region);
    this.#inFlight = [];
  }
}
