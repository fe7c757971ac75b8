// Calls of a connection, both ways: ours, which wait for the peer's answer until their deadline, and the peer's, which wait for
// ours.

import { type FrameHeader, statusName, WireStatus } from './frame.ts';
import { MAX_REQUESTS, TICK_MS } from './limits.ts';
import { failureCodec } from './schema.ts';
import type { WireStream } from './stream.ts';

/** How a call ended: `b[start, end)` is the message of a good answer, lent for the callback. */
export type CallDone = (
  status: number,
  reason: string,
  b: Uint8Array,
  start: number,
  end: number,
) => void;

/** What the calls need of their connection. */
export interface CallSender {
  readonly isOpen: boolean;
  nowMs(): number;
  sendRequest(
    stream: WireStream,
    request: number,
    method: number,
    timeoutMs: number,
    message: Uint8Array,
  ): void;
  sendCancel(stream: WireStream, request: number): void;
  /** The peer broke the protocol. */
  break(why: string): void;
}

interface Call {
  readonly stream: WireStream;
  readonly deadlineMs: number;
  readonly done: CallDone;
}

interface Serving {
  readonly stream: WireStream;
  readonly deadlineMs: number;
}

const NOTHING = new Uint8Array(0);
const MAX_REQUEST = 0x7fff_ffff;

export class Calls {
  readonly #sender: CallSender;
  readonly #calls = new Map<number, Call>();
  #nextRequest = 1;
  /** Requests of the peer without an answer, and when theirs is due. */
  readonly #serving = new Map<number, Serving>();

  constructor(sender: CallSender) {
    this.#sender = sender;
  }

  /** A call on a stream. `done` is called once, whatever happens. */
  request(
    stream: WireStream,
    method: number,
    message: Uint8Array,
    timeoutMs: number,
    done: CallDone,
  ): number {
    const { isOpen } = this.#sender;
    if (!isOpen || !stream.isOpen || this.#calls.size >= MAX_REQUESTS) {
      const status =
        stream.isOpen && isOpen ? WireStatus.ResourceExhausted : WireStatus.Unavailable;
      done(status, `no call can be made: ${statusName(status)}`, NOTHING, 0, 0);
      return 0;
    }
    const request = this.#nextRequest;
    this.#nextRequest = request === MAX_REQUEST ? 1 : request + 1;
    this.#calls.set(request, { stream, deadlineMs: this.#sender.nowMs() + timeoutMs, done });
    this.#sender.sendRequest(stream, request, method, timeoutMs, message);
    return request;
  }

  /** Gives up on a call: `done` is called with Cancelled, the peer is told. */
  cancel(request: number): void {
    this.#endCall(request, WireStatus.Cancelled, 'cancelled', true);
  }

  onResponse(header: Readonly<FrameHeader>, b: Uint8Array, start: number, end: number): void {
    const call = this.#calls.get(header.request);
    if (call === undefined) return; // Cancelled, or its deadline has passed.
    if (call.stream.id !== header.stream) {
      this.#sender.break('an answer on another stream than its request');
      return;
    }
    this.#calls.delete(header.request);
    if (header.status === WireStatus.Ok) call.done(WireStatus.Ok, '', b, start, end);
    else {
      const reason = failureCodec.decode(b, start, end)?.reason ?? '';
      call.done(header.status, reason, NOTHING, 0, 0);
    }
  }

  /** May the peer ask this? If not, the connection is broken off. */
  accepts(request: number): boolean {
    if (request === 0 || this.#serving.has(request)) {
      this.#sender.break('a request number that is in use');
    } else if (this.#serving.size >= MAX_REQUESTS) this.#sender.break('too many requests at once');
    else return true;
    return false;
  }

  /** The peer's request is being answered. */
  serve(request: number, stream: WireStream, timeoutMs: number): void {
    this.#serving.set(request, { stream, deadlineMs: this.#sender.nowMs() + timeoutMs });
  }

  /** It is answered now. False: it was cancelled, or it is too late, and the peer has told itself. */
  served(request: number): boolean {
    return this.#serving.delete(request);
  }

  onCancel(header: Readonly<FrameHeader>): void {
    const serving = this.#serving.get(header.request);
    if (serving === undefined || serving.stream.id !== header.stream) return;
    this.#serving.delete(header.request);
    serving.stream.handler.onCancel(header.request);
  }

  /** What waits on a stream that is no more. */
  forget(stream: WireStream): void {
    for (const [request, call] of this.#calls) {
      if (call.stream === stream) {
        this.#endCall(request, WireStatus.Unavailable, 'the stream has ended', false);
      }
    }
    for (const [request, serving] of this.#serving) {
      if (serving.stream === stream) this.#serving.delete(request);
    }
  }

  /** Looks at deadlines. */
  tick(nowMs: number): void {
    for (const [request, { deadlineMs }] of this.#calls) {
      if (nowMs >= deadlineMs) {
        this.#endCall(request, WireStatus.DeadlineExceeded, 'no answer in time', true);
      }
    }
    for (const [request, { stream, deadlineMs }] of this.#serving) {
      if (nowMs < deadlineMs + TICK_MS) continue;
      this.#serving.delete(request);
      stream.handler.onCancel(request);
    }
  }

  /** The connection is over; its streams have been forgotten. */
  close(): void {
    this.#serving.clear();
  }

  #endCall(request: number, status: WireStatus, reason: string, tell: boolean): void {
    const call = this.#calls.get(request);
    if (call === undefined) return;
    this.#calls.delete(request);
    if (tell && this.#sender.isOpen) this.#sender.sendCancel(call.stream, request);
    call.done(status, reason, NOTHING, 0, 0);
  }
}
