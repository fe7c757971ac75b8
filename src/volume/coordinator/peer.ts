// What a coordinator knows of one replica it talks to. A peer's `bit` stands for it in masks.
import type { HelloReply, PromiseMade } from '../../wire/messages.ts';
import type { Version } from '../../wire/version.ts';

export class Peer {
  readonly index: number;
  readonly bit: number;
  readonly replicaId: string;
  connected = false;
  /** Of the present session. */
  hello: HelloReply | null = null;
  /** The store is not the one of the record, or blank, or went back in time (E6, E7). */
  blank = false;
  /** Of the epoch being collected. */
  promise: PromiseMade | null = null;
  /** Collecting: when to ask (again). */
  prepareAtMs = Number.POSITIVE_INFINITY;
  /** What the present session has stored. */
  storedEpoch = -1;
  storedN = 0;
  /** The last record of this epoch that was sent on it. */
  sentN = 0;
  /** E3: when the last answered heartbeat was sent. */
  leaseSentMs = Number.NEGATIVE_INFINITY;
  lastHeardMs = 0;
  /** N1, since the session began: blocks sent, and blocks the member can take. */
  issuedBlocks = 0;
  credit = 0;
  lagBytes = 0;
  /** Its contiguous op when its session ended. */
  contigAtLoss = 0;
  lagOps = 0;
  outstandingReads = 0;
  lastFault = '';
  /** H6: the opening of its store in which a part of its map was found lost that recovery needs; empty: none. */
  mapLostIn = '';
  /** Rebuilds that ended before they were through, one after the other, and when the next may begin. */
  failedJoins = 0;
  joinAtMs = 0;

  constructor(index: number, replicaId: string) {
    this.index = index;
    this.bit = 1 << index;
    this.replicaId = replicaId;
  }

  beginSession(nowMs: number): void {
    this.connected = true;
    this.hello = null;
    this.lastHeardMs = nowMs;
    this.endEpoch();
  }

  endSession(): void {
    this.connected = false;
    this.hello = null;
    this.endEpoch();
  }

  endEpoch(): void {
    this.promise = null;
    this.prepareAtMs = Number.POSITIVE_INFINITY;
    this.storedEpoch = -1;
    this.storedN = 0;
    this.sentN = 0;
    this.leaseSentMs = Number.NEGATIVE_INFINITY;
    this.lagBytes = 0;
    this.lagOps = 0;
    this.outstandingReads = 0;
  }

  /** What it said of itself last, in this session. */
  get contig(): Version | null {
    return this.promise?.contig ?? this.hello?.contig ?? null;
  }
}

export function bitCount(mask: number): number {
  let bits = mask;
  let count = 0;
  while (bits !== 0) {
    bits &= bits - 1;
    count += 1;
  }
  return count;
}
