// What a connection has to say. Answers queue during a turn and are written at its end: headers and data side by side in
// one send region, one write to the socket for all of them. A region is used again when the kernel has taken it; with
// too many on their way the output is blocked, and the connection stops reading (T12: a stalled reader costs a bound).
import {
  assert,
  type Clock,
  type Flushable,
  serialAdd,
  type Turn,
  TurnPhase,
} from '../base/index.ts';
import type { CommandWindow } from './command-window.ts';
import {
  LOGIN_SEND_REGION_BYTES,
  MAX_FREE_REGIONS,
  MAX_REGIONS_IN_FLIGHT,
  SEND_REGION_BYTES,
} from './limits.ts';
import { type Digests, dataStart, put32, seal, wireBytes } from './pdu/index.ts';
import type { Transport } from './transport.ts';

/** Something that goes out as one or more PDUs. */
export interface Emitter {
  /** The queue's link. */
  nextEmitter: Emitter | null;
  /** Writes itself with `reserve` and `commit`. False: no room, carry on at the next call. */
  emit(output: Output): boolean;
  /** The connection is gone: nothing will be emitted any more. */
  drop(): void;
}

/** Free regions of all connections; the last one given back is the warmest. */
export class SendRegions {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(SEND_REGION_BYTES);
  }

  give(region: Buffer): void {
    if (region.length === SEND_REGION_BYTES && this.#free.length < MAX_FREE_REGIONS) {
      this.#free.push(region);
    }
  }
}

const NO_REGION: Buffer = Buffer.alloc(0);

export class Output implements Flushable {
  readonly #transport: Transport;
  readonly #turn: Turn;
  readonly #clock: Clock;
  readonly #regions: SendRegions;
  #head: Emitter | null = null;
  #tail: Emitter | null = null;
  #queued = 0;
  #deferred = false;
  #closed = false;
  #large = false;
  #inFlight: Buffer[] = [];
  #blockedSinceMs = -1;
  #onEmpty: (() => void) | null = null;
  /** The region being filled, from 0 to `#used`. Emitters write between `reserve` and `commit`. */
  region: Buffer = NO_REGION;
  #used = 0;
  /** RFC 7143 §4.2.2.2. */
  statSn: number;
  window: CommandWindow | null = null;

  constructor(
    transport: Transport,
    turn: Turn,
    clock: Clock,
    regions: SendRegions,
    statSn: number,
  ) {
    this.#transport = transport;
    this.#turn = turn;
    this.#clock = clock;
    this.#regions = regions;
    this.statSn = statSn;
  }

  get queued(): number {
    return this.#queued;
  }

  /** True while written bytes wait for the peer and no more fit. */
  get blocked(): boolean {
    return this.#head !== null && this.#inFlight.length >= MAX_REGIONS_IN_FLIGHT;
  }

  /** The clock's time since which the peer has left something untaken, or -1. */
  get waitingSinceMs(): number {
    return this.#blockedSinceMs;
  }

  /** Full feature phase: from now on large regions. */
  growRegions(): void {
    this.#large = true;
  }

  enqueue(emitter: Emitter): void {
    if (this.#closed) {
      emitter.drop();
      return;
    }
    emitter.nextEmitter = null;
    if (this.#tail === null) this.#head = emitter;
    else this.#tail.nextEmitter = emitter;
    this.#tail = emitter;
    this.#queued += 1;
    if (!this.#deferred) {
      this.#deferred = true;
      this.#turn.defer(TurnPhase.Send, this);
    }
  }

  flushTurn(): void {
    this.#deferred = false;
    if (!this.#closed) this.flush();
  }

  /** Writes as much of the queue as the regions allow. */
  flush(): void {
    while (this.#head !== null) {
      const emitter = this.#head;
      if (!emitter.emit(this)) break;
      if (this.#closed) return;
      this.#head = emitter.nextEmitter;
      emitter.nextEmitter = null;
      this.#queued -= 1;
      if (this.#head === null) this.#tail = null;
    }
    this.#ship();
    if (this.#head === null && this.#onEmpty !== null) {
      const onEmpty = this.#onEmpty;
      this.#onEmpty = null;
      onEmpty();
    }
  }

  /** Calls back when all that is queued has been handed to the transport: what is left is to close it. */
  finish(onEmpty: () => void): void {
    if (this.#closed) return;
    this.#onEmpty = onEmpty;
    if (this.#head === null && !this.#deferred) {
      this.#deferred = true;
      this.#turn.defer(TurnPhase.Send, this);
    }
  }

  /** Room for `bytes` in `region`: its offset, or -1. */
  reserve(bytes: number): number {
    if (this.#used + bytes > this.region.length && !this.#freshRegion(bytes)) return -1;
    return this.#used;
  }

  /** The PDU ends at `end`. */
  commit(end: number): void {
    assert(end >= this.#used && end <= this.region.length);
    this.#used = end;
  }

  /** The StatSN of a PDU that carries one for good. */
  takeStatSn(): number {
    const { statSn } = this;
    this.statSn = serialAdd(statSn, 1);
    return statSn;
  }

  /** The transport took everything: regions are free again, what waited goes on. */
  onDrained(): void {
    if (this.#closed || !this.#transport.drained) return;
    this.#release();
    this.flush();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onEmpty = null;
    while (this.#head !== null) {
      const emitter = this.#head;
      this.#head = emitter.nextEmitter;
      emitter.nextEmitter = null;
      emitter.drop();
    }
    this.#tail = null;
    this.#queued = 0;
    // What the kernel has not taken is still read by the socket: those regions are left to the collector.
    this.#inFlight = [];
    if (this.region !== NO_REGION && this.#used === 0) this.#regions.give(this.region);
    this.region = NO_REGION;
  }

  #freshRegion(bytes: number): boolean {
    this.#ship();
    if (this.region.length < bytes) this.region = NO_REGION; // One of login's, in full feature phase.
    if (this.region === NO_REGION) {
      if (this.#inFlight.length >= MAX_REGIONS_IN_FLIGHT) return false;
      this.region = this.#large
        ? this.#regions.take()
        : Buffer.allocUnsafeSlow(LOGIN_SEND_REGION_BYTES);
    }
    assert(bytes <= this.region.length);
    return true;
  }

  /** Hands what is in the region to the transport. */
  #ship(): void {
    if (this.#used > 0) {
      const bytes = this.#used;
      this.#used = 0;
      this.#transport.write(this.region.subarray(0, bytes));
      if (this.#closed) return;
      if (!this.#transport.drained) {
        this.#inFlight.push(this.region);
        this.region = NO_REGION;
        if (this.#blockedSinceMs < 0) this.#blockedSinceMs = this.#clock.nowMs();
        return;
      }
      this.#release();
    }
    // An idle connection holds no region; a busy one gets the same warm one back at once.
    if (this.region !== NO_REGION && this.#head === null) {
      this.#regions.give(this.region);
      this.region = NO_REGION;
    }
  }

  #release(): void {
    this.#blockedSinceMs = -1;
    for (const region of this.#inFlight) this.#regions.give(region);
    if (this.#inFlight.length > 0) this.#inFlight = [];
  }
}

/** Any PDU but the hot ones: a header of its own and its data. */
export class ControlPdu implements Emitter {
  nextEmitter: Emitter | null = null;
  readonly #bhs: Buffer;
  readonly #data: Buffer;
  readonly #digests: Digests;
  readonly #advances: boolean;
  readonly #onSent: (() => void) | null;

  /** `advances`: it takes a StatSN. The numbers at 24 to 35 are written when it goes out. */
  constructor(
    bhs: Buffer,
    data: Buffer,
    digests: Digests,
    advances: boolean,
    onSent: (() => void) | null = null,
  ) {
    this.#bhs = bhs;
    this.#data = data;
    this.#digests = digests;
    this.#advances = advances;
    this.#onSent = onSent;
  }

  emit(output: Output): boolean {
    const at = output.reserve(wireBytes(0, this.#data.length, this.#digests));
    if (at < 0) return false;
    const { region, window } = output;
    this.#bhs.copy(region, at);
    put32(region, at + 24, this.#advances ? output.takeStatSn() : output.statSn);
    if (window !== null) {
      put32(region, at + 28, window.expCmdSn);
      put32(region, at + 32, window.maxCmdSn);
    }
    this.#data.copy(region, dataStart(region, at, this.#digests));
    output.commit(seal(region, at, this.#digests));
    this.#onSent?.();
    return true;
  }

  drop(): void {}
}
