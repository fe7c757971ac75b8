// One end of a stream of a connection: what is said on it keeps its order. What the windows hold back waits in its backlog, and
// whatever is said afterwards waits behind it.
import { assert } from '../base/index.ts';
import type { CallDone } from './calls.ts';
import type { WireConnection } from './connection.ts';
import { type FrameHeader, WireStatus } from './frame.ts';
import type { Place } from './parser.ts';
import { failureCodec } from './schema.ts';

/** What one end of a stream hears. */
export interface StreamHandler {
  /** Where a data frame's blocks go; null: they are dropped. `whole`: all are here, `onData` comes at once. */
  place(header: Readonly<FrameHeader>, whole: boolean): Place | null;
  /** A data frame is complete and its blocks are checked. The memory counts as taken until `stream.took`. */
  onData(header: Readonly<FrameHeader>, place: Place | null, crcs: Uint32Array): void;
  /** Unmap, Flush, Read, Applied, Flushed: all there is to know is in the header. Lent for the call. */
  onFrame(header: Readonly<FrameHeader>): void;
  onEvent(method: number, b: Uint8Array, start: number, end: number): void;
  /** Answer with `stream.respond`, within the deadline: later it goes nowhere. */
  onRequest(request: number, method: number, b: Uint8Array, start: number, end: number): void;
  /** The peer does not want the answer to `request` any more, or its deadline has passed. */
  onCancel(request: number): void;
  /** The backlog is empty again. */
  onWritable(): void;
  /** The stream has ended: the peer said so, or the connection is gone. Called once, not for our own `reset`. */
  onReset(status: number, reason: string): void;
}

export const NO_HANDLER: StreamHandler = {
  place: () => null,
  onData() {},
  onFrame() {},
  onEvent() {},
  onRequest() {},
  onCancel() {},
  onWritable() {},
  onReset() {},
};

/** One end of a stream. */
export class WireStream {
  readonly id: number;
  readonly #connection: WireConnection;
  isOpen = true;
  handler: StreamHandler = NO_HANDLER;
  /** Bytes of data payload that may still be sent. */
  sendWindow: number;
  /** Frames that the windows hold back, and those behind them. */
  readonly backlog: { readonly header: FrameHeader; readonly bytes: Uint8Array }[] = [];
  /** Received and not yet taken. */
  #chargedBytes = 0;
  /** Taken since the last Window frame. */
  #tookBytes = 0;

  constructor(connection: WireConnection, id: number, sendWindow: number) {
    this.#connection = connection;
    this.id = id;
    this.sendWindow = sendWindow;
  }

  get connection(): WireConnection {
    return this.#connection;
  }

  request(method: number, message: Uint8Array, timeoutMs: number, done: CallDone): number {
    return this.#connection.request(this, method, message, timeoutMs, done);
  }

  respond(request: number, message: Uint8Array): void {
    this.#connection.respond(this, request, WireStatus.Ok, message);
  }

  refuse(request: number, status: number, reason: string): void {
    this.#connection.respond(this, request, status, failureCodec.encode({ reason }));
  }

  /** `urgent`: ahead of the backlog. Heartbeats; nothing whose order matters. */
  event(method: number, message: Uint8Array, urgent = false): void {
    this.#connection.event(this, method, message, urgent);
  }

  /** `urgent`: as for an event. */
  frame(header: FrameHeader, urgent = false): void {
    if (this.isOpen) this.#connection.frame(this, header, urgent);
  }

  data(
    header: FrameHeader,
    bytes: Uint8Array,
    byteOffset: number,
    crcs: Uint32Array,
    crcsAt: number,
  ): void {
    if (this.isOpen) this.#connection.data(this, header, bytes, byteOffset, crcs, crcsAt);
  }

  reset(status: WireStatus, reason: string): void {
    this.#connection.reset(this, status, reason);
  }

  /** The memory of `bytes` of received payload is free again. */
  took(bytes: number): void {
    if (!this.isOpen) return; // Its end gave the connection all at once.
    this.#chargedBytes -= bytes;
    assert(this.#chargedBytes >= 0);
    this.#tookBytes += bytes;
    if (this.#tookBytes >= this.#connection.ownStreamWindow / 4) {
      this.#connection.grant(this.id, this.#tookBytes);
      this.#tookBytes = 0;
    }
    this.#connection.took(bytes);
  }

  /** For the connection: false if the peer sends more than it may. */
  charge(bytes: number): boolean {
    this.#chargedBytes += bytes;
    return this.#chargedBytes + this.#tookBytes <= this.#connection.ownStreamWindow;
  }

  /** For the connection: what was received and not taken, once. */
  untaken(): number {
    const bytes = this.#chargedBytes;
    this.#chargedBytes = 0;
    return bytes;
  }
}
