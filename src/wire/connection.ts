// One connection between a coordinator's node and a replica's: frames in, frames out, and between them the handshake,
// streams, calls with deadlines, flow control by bytes, keep-alive and the drain. It owns no socket: bytes are handed to
// it, bytes it hands to a Transport, time it is told by a Clock.
//
// Streams. Each side opens streams with numbers of its own (the maker of the connection odd ones), by a Request of the
// method `open`. On a stream frames keep their order; between streams there is none. What the windows hold back waits in
// the stream's backlog, and whatever is said on that stream afterwards waits behind it.
import {
  assert,
  type Clock,
  crc32c,
  type Random,
  type Timer,
  type Transport,
  type TransportHandler,
  type Turn,
} from '../base/index.ts';
import { put32 } from './bytes.ts';
import { encodeHeader, FrameHeader, FrameType, statusName, WireStatus } from './frame.ts';
import { type Agreement, Handshake, type HandshakeStep } from './handshake.ts';
import {
  CONNECTION_WINDOW_BYTES,
  dataPayloadBytes,
  HEADER_BYTES,
  MAX_BACKLOG_BYTES,
  MAX_HANDSHAKE_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_REQUESTS,
  MAX_STREAMS,
  STREAM_WINDOW_BYTES,
  TICK_MS,
  WIRE_BLOCK_BYTES,
  type WireTimeouts,
} from './limits.ts';
import { FrameOutput, type FrameRegions } from './output.ts';
import { FrameParser, type FrameSink, type Place } from './parser.ts';
import { failureCodec, goAwayCodec } from './schema.ts';

/** The one method of the connection itself; all others belong to who speaks through it. */
export const OPEN_METHOD = 1;

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

export interface ConnectionHandler {
  /** The handshake is through. */
  onOpen(agreement: Agreement): void;
  /**
   * The peer opens a stream. Return its handler and answer `request` with `stream.respond`, or return null after
   * `refuse`d: the stream is no more.
   */
  onStream(
    stream: WireStream,
    request: number,
    b: Uint8Array,
    start: number,
    end: number,
  ): StreamHandler | Refusal;
  /** The peer wants no new streams (drain). */
  onGoAway(status: number, reason: string): void;
  /** Everything is over. Called once, after each stream's onReset. */
  onClosed(reason: string): void;
}

export class Refusal {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string) {
    this.status = status;
    this.reason = reason;
  }
}

/** How a call ended: `b[start, end)` is the message of a good answer, lent for the callback. */
export type CallDone = (
  status: number,
  reason: string,
  b: Uint8Array,
  start: number,
  end: number,
) => void;

export interface ConnectionOptions {
  readonly makesConnection: boolean;
  readonly transport: Transport;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly regions: FrameRegions;
  readonly timeouts: WireTimeouts;
  readonly node: string;
  readonly software: string;
  readonly secret: Uint8Array | null;
  readonly requiredFeatures?: number;
  /** As in the handshake. */
  readonly features?: number;
  readonly connectionWindowBytes?: number;
  readonly streamWindowBytes?: number;
  readonly handler: ConnectionHandler;
}

interface Call {
  readonly stream: WireStream;
  readonly deadlineMs: number;
  readonly done: CallDone;
}

type Stage = 'handshake' | 'open' | 'closed';

const NOTHING = new Uint8Array(0);
const MAX_REQUEST = 0x7fff_ffff;
/** The scratch for headers that this side writes: filled and encoded in one step. */
const scratch = new FrameHeader();
/** The list of CRCs before the blocks of a data frame. */
const crcScratch = new Uint8Array(4096);

export class WireConnection implements TransportHandler, FrameSink {
  readonly #options: ConnectionOptions;
  readonly #parser: FrameParser;
  readonly #output: FrameOutput;
  readonly #handshake: Handshake;
  #stage: Stage = 'handshake';
  #agreement: Agreement | null = null;
  readonly #streams = new Map<number, WireStream>();
  #nextStream: number;
  readonly #calls = new Map<number, Call>();
  #nextRequest = 1;
  /** Requests of the peer without an answer, and when theirs is due. */
  readonly #serving = new Map<number, { stream: WireStream; deadlineMs: number }>();
  #going = false;
  #peerGoing = false;
  /** Bytes of data payload that we may still send, over all streams. */
  #sendWindow = 0;
  /** Taken since the last Window frame for the connection. */
  #tookBytes = 0;
  /** Streams with a backlog that the connection's window holds back. */
  #backlogBytes = 0;
  #lastHeardMs: number;
  #pinged = false;
  readonly #openedMs: number;
  #timer: Timer | null = null;
  /** Whose data frame is coming in, from its header to its last byte. */
  #receiving: WireStream | null = null;

  constructor(options: ConnectionOptions) {
    const { transport, turn, regions, clock } = options;
    this.#options = options;
    this.#parser = new FrameParser(this, MAX_HANDSHAKE_BYTES);
    this.#output = new FrameOutput(transport, turn, regions);
    this.#nextStream = options.makesConnection ? 1 : 2;
    this.#openedMs = clock.nowMs();
    this.#lastHeardMs = this.#openedMs;
    this.#handshake = new Handshake({
      makesConnection: options.makesConnection,
      node: options.node,
      software: options.software,
      secret: options.secret,
      random: options.random,
      connectionWindowBytes: this.#ownConnectionWindow,
      streamWindowBytes: this.#ownStreamWindow,
      requiredFeatures: options.requiredFeatures ?? 0,
      ...(options.features === undefined ? {} : { features: options.features }),
    });
  }

  /** Begins: reads, and as the maker says Hello. Called once. */
  start(): void {
    this.#schedule();
    this.#options.transport.start(this);
    if (this.#options.makesConnection) this.#step(this.#handshake.start());
  }

  get agreement(): Agreement | null {
    return this.#agreement;
  }

  get peer(): string {
    return this.#options.transport.peer;
  }

  get isOpen(): boolean {
    return this.#stage === 'open';
  }

  /** Streams may be opened: neither side is leaving. */
  get takesStreams(): boolean {
    return this.#stage === 'open' && !this.#going && !this.#peerGoing;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** What waits in our memory for the peer, in bytes. */
  get pendingBytes(): number {
    return this.#backlogBytes + this.#output.pendingBytes;
  }

  /** Opens a stream. `done` hears what the peer says to it; with anything but Ok the stream is no more. */
  open(handler: StreamHandler, message: Uint8Array, timeoutMs: number, done: CallDone): WireStream {
    assert(this.takesStreams && this.#streams.size < MAX_STREAMS);
    const stream = new WireStream(this, this.#nextStream, this.#agreement!.streamWindowBytes);
    this.#nextStream += 2;
    stream.handler = handler;
    this.#streams.set(stream.id, stream);
    this.request(stream, OPEN_METHOD, message, timeoutMs, (status, reason, b, start, end) => {
      if (status !== WireStatus.Ok) this.#forget(stream);
      done(status, reason, b, start, end);
    });
    return stream;
  }

  /** The drain: nothing new from here on, neither way. `close` when nothing is left. */
  goAway(status: WireStatus, reason: string): void {
    if (this.#going || this.#stage === 'closed') return;
    this.#going = true;
    if (this.#stage === 'open') {
      this.#message(FrameType.GoAway, 0, 0, 0, 0, 0, goAwayCodec.encode({ status, reason }));
    }
  }

  /** Sends what was said, then closes. */
  close(reason: string): void {
    this.#end(reason, false);
  }

  // The transport's side.

  onBytes(b: Buffer, start: number, end: number): void {
    this.#lastHeardMs = this.#options.clock.nowMs();
    this.#pinged = false;
    this.#parser.push(b, start, end);
  }

  onDrained(): void {
    this.#output.onDrained();
  }

  onClosed(): void {
    this.#end('the connection was closed by the peer or the network', true);
  }

  // The parser's side.

  place(header: Readonly<FrameHeader>, whole: boolean): Place | null {
    this.#receiving = null;
    if (this.#stage !== 'open') {
      this.#break('data before the handshake');
      return null;
    }
    const stream = this.#streams.get(header.stream);
    if (stream === undefined) {
      // A stream that we reset and the peer has not heard of yet. Its bytes are out of the window all the same.
      this.took(header.payloadBytes);
      return null;
    }
    if (!stream.charge(header.payloadBytes)) {
      this.#break(`more data on stream ${header.stream} than its window takes`);
      return null;
    }
    const place = stream.handler.place(header, whole);
    if (this.#stage !== 'open' || !stream.isOpen) return null;
    if (place === null) stream.took(header.payloadBytes);
    else this.#receiving = stream;
    return place;
  }

  onData(header: Readonly<FrameHeader>, place: Place | null, crcs: Uint32Array): void {
    if (header.payloadBytes === 0) {
      if (this.#stage !== 'open') this.#break('data before the handshake');
      else this.#streams.get(header.stream)?.handler.onData(header, null, crcs);
      return;
    }
    const stream = this.#receiving;
    this.#receiving = null;
    assert(stream?.isOpen === true);
    stream.handler.onData(header, place, crcs);
  }

  onFrame(header: Readonly<FrameHeader>, b: Uint8Array, start: number, end: number): void {
    if (this.#stage === 'handshake') {
      if (header.type === FrameType.GoAway) {
        const reason = goAwayCodec.decode(b, start, end)?.reason ?? '';
        this.#end(`the peer refuses: ${reason}`, true);
        return;
      }
      this.#step(this.#handshake.onFrame(header.type, b, start, end));
      return;
    }
    switch (header.type) {
      case FrameType.Ping:
        this.#plain(scratch.begin(FrameType.Pong, 0));
        return;
      case FrameType.Pong:
        return;
      case FrameType.GoAway: {
        const said = goAwayCodec.decode(b, start, end);
        this.#peerGoing = true;
        const { handler } = this.#options;
        handler.onGoAway(said?.status ?? WireStatus.Unknown, said?.reason ?? '');
        return;
      }
      case FrameType.Window:
        this.#onWindow(header.stream, header.aux);
        return;
      case FrameType.Request:
        this.#onRequest(header, b, start, end);
        return;
      case FrameType.Response:
        this.#onResponse(header, b, start, end);
        return;
      case FrameType.Cancel: {
        const serving = this.#serving.get(header.request);
        if (serving === undefined || serving.stream.id !== header.stream) return;
        this.#serving.delete(header.request);
        serving.stream.handler.onCancel(header.request);
        return;
      }
      case FrameType.Hello:
      case FrameType.Welcome:
      case FrameType.Proof:
      case FrameType.Ready:
        this.#break('a frame of the handshake after it');
        return;
      default:
    }
    const stream = this.#streams.get(header.stream);
    if (stream === undefined) return; // Reset by us, and the peer has not heard of it yet.
    if (header.type === FrameType.Event) stream.handler.onEvent(header.blocks, b, start, end);
    else if (header.type === FrameType.Reset) {
      const reason = failureCodec.decode(b, start, end)?.reason ?? '';
      this.#forget(stream);
      stream.handler.onReset(header.status, reason);
    } else stream.handler.onFrame(header);
  }

  onBroken(why: string): void {
    this.#break(why);
  }

  // For WireStream.

  /** A call on a stream. `done` is called once, whatever happens. */
  request(
    stream: WireStream,
    method: number,
    message: Uint8Array,
    timeoutMs: number,
    done: CallDone,
  ): number {
    if (this.#stage !== 'open' || !stream.isOpen || this.#calls.size >= MAX_REQUESTS) {
      const status =
        stream.isOpen && this.#stage === 'open'
          ? WireStatus.ResourceExhausted
          : WireStatus.Unavailable;
      done(status, `no call can be made: ${statusName(status)}`, NOTHING, 0, 0);
      return 0;
    }
    const request = this.#nextRequest;
    this.#nextRequest = request === MAX_REQUEST ? 1 : request + 1;
    this.#calls.set(request, { stream, deadlineMs: this.#options.clock.nowMs() + timeoutMs, done });
    this.#message(FrameType.Request, stream.id, request, 0, method, Math.ceil(timeoutMs), message);
    return request;
  }

  /** Gives up on a call: `done` is called with Cancelled, the peer is told. */
  cancel(request: number): void {
    this.#endCall(request, WireStatus.Cancelled, 'cancelled', true);
  }

  respond(stream: WireStream, request: number, status: number, message: Uint8Array): void {
    if (!this.#serving.delete(request)) return; // Cancelled, or too late: the peer has told itself.
    this.#message(FrameType.Response, stream.id, request, status, 0, 0, message);
  }

  event(stream: WireStream, method: number, message: Uint8Array, urgent: boolean): void {
    this.#message(FrameType.Event, stream.id, 0, 0, method, 0, message, urgent);
  }

  /** A frame that is all header. */
  frame(stream: WireStream, header: FrameHeader, urgent: boolean): void {
    if (this.#stage !== 'open') return;
    if (stream.backlog.length > 0 && !urgent) this.#queue(stream, header, NOTHING, 0, null, 0);
    else this.#plain(header);
  }

  /** A frame with blocks: `crcs[crcsAt + i]` is that of block i of `bytes` from `byteOffset` on. Copied before it returns. */
  data(
    stream: WireStream,
    header: FrameHeader,
    bytes: Uint8Array,
    byteOffset: number,
    crcs: Uint32Array,
    crcsAt: number,
  ): void {
    if (this.#stage !== 'open') return;
    const { blocks } = header;
    assert(blocks > 0);
    header.payloadBytes = dataPayloadBytes(blocks);
    header.payloadCrc = crcs[crcsAt]!;
    if (
      stream.backlog.length > 0 ||
      stream.sendWindow < header.payloadBytes ||
      this.#sendWindow < header.payloadBytes
    ) {
      this.#queue(stream, header, bytes, byteOffset, crcs, crcsAt);
      return;
    }
    stream.sendWindow -= header.payloadBytes;
    this.#sendWindow -= header.payloadBytes;
    this.#output.header(header);
    if (blocks > 1) {
      for (let index = 1; index < blocks; index += 1) {
        put32(crcScratch, (index - 1) * 4, crcs[crcsAt + index]!);
      }
      this.#output.append(crcScratch, 0, (blocks - 1) * 4);
    }
    this.#output.append(bytes, byteOffset, byteOffset + blocks * WIRE_BLOCK_BYTES);
    if (this.#output.pendingBytes > MAX_BACKLOG_BYTES) this.#break('the peer takes nothing');
  }

  /** `bytes` of payload were dealt with: the connection's window may move on. */
  took(bytes: number): void {
    this.#tookBytes += bytes;
    if (this.#stage !== 'open' || this.#tookBytes < this.#ownConnectionWindow / 4) return;
    this.grant(0, this.#tookBytes);
    this.#tookBytes = 0;
  }

  grant(stream: number, bytes: number): void {
    if (this.#stage !== 'open') return;
    const header = scratch.begin(FrameType.Window, stream);
    header.aux = bytes;
    this.#plain(header);
  }

  /** Our own end of a stream. */
  reset(stream: WireStream, status: WireStatus, reason: string): void {
    if (!stream.isOpen) return;
    this.#forget(stream);
    const message = failureCodec.encode({ reason });
    this.#message(FrameType.Reset, stream.id, 0, status, 0, 0, message, true);
  }

  get ownStreamWindow(): number {
    return this.#ownStreamWindow;
  }

  // The rest.

  get #ownConnectionWindow(): number {
    return this.#options.connectionWindowBytes ?? CONNECTION_WINDOW_BYTES;
  }

  get #ownStreamWindow(): number {
    return this.#options.streamWindowBytes ?? STREAM_WINDOW_BYTES;
  }

  #step(step: HandshakeStep): void {
    for (const { type, message } of step.send) this.#message(type, 0, 0, 0, 0, 0, message);
    if (step.failure !== undefined) {
      const { status, reason } = step.failure;
      this.#message(FrameType.GoAway, 0, 0, 0, 0, 0, goAwayCodec.encode({ status, reason }));
      this.#end(`handshake: ${reason}`, false);
    } else if (step.agreement !== undefined) {
      this.#agreement = step.agreement;
      this.#sendWindow = step.agreement.connectionWindowBytes;
      this.#parser.maxMessageBytes = MAX_MESSAGE_BYTES;
      this.#stage = 'open';
      this.#options.handler.onOpen(step.agreement);
    }
  }

  #onWindow(streamId: number, bytes: number): void {
    if (streamId === 0) {
      this.#sendWindow += bytes;
      if (this.#sendWindow > this.#agreement!.connectionWindowBytes) {
        this.#break('a window larger than agreed');
        return;
      }
      for (const stream of this.#streams.values()) {
        if (stream.backlog.length > 0) this.#advance(stream);
        if (this.#stage !== 'open') return;
      }
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindow += bytes;
    if (stream.sendWindow > this.#agreement!.streamWindowBytes) {
      this.#break('a window larger than agreed');
    } else if (stream.backlog.length > 0) this.#advance(stream);
  }

  /** Sends what of a stream's backlog the windows let through. */
  #advance(stream: WireStream): void {
    const { backlog } = stream;
    let sent = 0;
    for (; sent < backlog.length; sent += 1) {
      const { header, bytes } = backlog[sent]!;
      const charge = header.kind === 2 ? header.payloadBytes : 0;
      if (charge > stream.sendWindow || charge > this.#sendWindow) break;
      stream.sendWindow -= charge;
      this.#sendWindow -= charge;
      this.#backlogBytes -= bytes.length + HEADER_BYTES;
      this.#output.header(header);
      this.#output.append(bytes, 0, bytes.length);
    }
    backlog.splice(0, sent);
    if (backlog.length === 0 && sent > 0) stream.handler.onWritable();
  }

  #queue(
    stream: WireStream,
    header: FrameHeader,
    payload: Uint8Array,
    byteOffset: number,
    crcs: Uint32Array | null,
    crcsAt: number,
  ): void {
    const copy = Object.assign(new FrameHeader(), header);
    const bytes = new Uint8Array(copy.payloadBytes);
    if (crcs === null) bytes.set(payload.subarray(byteOffset, byteOffset + bytes.length));
    else {
      const listBytes = (header.blocks - 1) * 4;
      for (let at = 0; at < listBytes; at += 4) put32(bytes, at, crcs[crcsAt + at / 4 + 1]!);
      const blockBytes = header.blocks * WIRE_BLOCK_BYTES;
      bytes.set(payload.subarray(byteOffset, byteOffset + blockBytes), listBytes);
    }
    stream.backlog.push({ header: copy, bytes });
    this.#backlogBytes += bytes.length + HEADER_BYTES;
    if (this.#backlogBytes > MAX_BACKLOG_BYTES) this.#break('the peer takes nothing');
  }

  #plain(header: FrameHeader): void {
    this.#output.header(header);
    // A peer that asks and asks, and takes no answer, ends here as one that takes no data does.
    if (this.#output.pendingBytes > MAX_BACKLOG_BYTES) this.#break('the peer takes nothing');
  }

  #message(
    type: FrameType,
    streamId: number,
    request: number,
    status: number,
    method: number,
    aux: number,
    message: Uint8Array,
    urgent = false,
  ): void {
    if (this.#stage === 'closed') return;
    assert(message.length <= MAX_MESSAGE_BYTES);
    const header = scratch.begin(type, streamId);
    header.request = request;
    header.status = status;
    header.blocks = method;
    header.aux = aux;
    header.payloadBytes = message.length;
    header.payloadCrc = crc32c(message);
    const stream = urgent ? undefined : this.#streams.get(streamId);
    if (stream !== undefined && stream.backlog.length > 0) {
      this.#queue(stream, header, message, 0, null, 0);
      return;
    }
    this.#output.header(header);
    this.#output.append(message, 0, message.length);
    if (this.#output.pendingBytes > MAX_BACKLOG_BYTES) this.#break('the peer takes nothing');
  }

  #onRequest(header: Readonly<FrameHeader>, b: Uint8Array, start: number, end: number): void {
    const { request, stream: streamId, blocks: method, aux: timeoutMs } = header;
    if (request === 0 || this.#serving.has(request)) {
      this.#break('a request number that is in use');
      return;
    }
    if (this.#serving.size >= MAX_REQUESTS) {
      this.#break('too many requests at once');
      return;
    }
    const known = this.#streams.get(streamId);
    if (known === undefined && method !== OPEN_METHOD) return; // On a stream that we have just reset.
    const mine = this.#options.makesConnection ? 1 : 0;
    if (
      method === OPEN_METHOD &&
      (known !== undefined || streamId === 0 || (streamId & 1) === mine)
    ) {
      this.#break('a stream number that the peer may not open');
      return;
    }
    const stream = known ?? new WireStream(this, streamId, this.#agreement!.streamWindowBytes);
    const deadlineMs = this.#options.clock.nowMs() + timeoutMs;
    this.#serving.set(request, { stream, deadlineMs });
    if (known !== undefined) {
      known.handler.onRequest(request, method, b, start, end);
      return;
    }
    let answer: StreamHandler | Refusal;
    if (this.#going) answer = new Refusal(WireStatus.Unavailable, 'this node is leaving');
    else if (this.#streams.size >= MAX_STREAMS) {
      answer = new Refusal(WireStatus.ResourceExhausted, `${MAX_STREAMS} streams are open`);
    } else {
      this.#streams.set(streamId, stream);
      stream.handler = NO_HANDLER;
      answer = this.#options.handler.onStream(stream, request, b, start, end);
    }
    if (answer instanceof Refusal) {
      this.#streams.delete(streamId);
      stream.isOpen = false;
      this.respond(stream, request, answer.status, failureCodec.encode({ reason: answer.reason }));
    } else stream.handler = answer;
  }

  #onResponse(header: Readonly<FrameHeader>, b: Uint8Array, start: number, end: number): void {
    const call = this.#calls.get(header.request);
    if (call === undefined) return; // Cancelled, or its deadline has passed.
    if (call.stream.id !== header.stream) {
      this.#break('an answer on another stream than its request');
      return;
    }
    this.#calls.delete(header.request);
    if (header.status === WireStatus.Ok) call.done(WireStatus.Ok, '', b, start, end);
    else {
      const reason = failureCodec.decode(b, start, end)?.reason ?? '';
      call.done(header.status, reason, NOTHING, 0, 0);
    }
  }

  #endCall(request: number, status: WireStatus, reason: string, tell: boolean): void {
    const call = this.#calls.get(request);
    if (call === undefined) return;
    this.#calls.delete(request);
    if (tell && this.#stage === 'open') {
      const header = scratch.begin(FrameType.Cancel, call.stream.id);
      header.request = request;
      this.#plain(header);
    }
    call.done(status, reason, NOTHING, 0, 0);
  }

  /** A stream is no more: its calls end, its bytes leave the windows. */
  #forget(stream: WireStream): void {
    if (!this.#streams.delete(stream.id)) return;
    stream.isOpen = false;
    if (this.#receiving === stream) {
      // The memory that its frame goes to may be given away now.
      this.#receiving = null;
      this.#parser.dropRest();
    }
    for (const { bytes } of stream.backlog.splice(0))
      this.#backlogBytes -= bytes.length + HEADER_BYTES;
    this.took(stream.untaken());
    for (const [request, call] of this.#calls) {
      if (call.stream === stream) {
        this.#endCall(request, WireStatus.Unavailable, 'the stream has ended', false);
      }
    }
    for (const [request, serving] of this.#serving) {
      if (serving.stream === stream) this.#serving.delete(request);
    }
  }

  #schedule(): void {
    this.#timer = this.#options.clock.schedule(TICK_MS, () => {
      this.#options.turn.enter();
      this.#tick();
      this.#options.turn.leave();
    });
  }

  #tick(): void {
    if (this.#stage === 'closed') return;
    const now = this.#options.clock.nowMs();
    const { handshakeMs, pingIntervalMs, silenceMs } = this.#options.timeouts;
    if (this.#stage === 'handshake') {
      if (now - this.#openedMs >= handshakeMs) {
        this.#end('the handshake was not finished in time', true);
        return;
      }
    } else {
      const silentMs = now - this.#lastHeardMs;
      if (silentMs >= silenceMs) {
        this.#end(`nothing was heard for ${silenceMs / 1000} s`, true);
        return;
      }
      if (silentMs >= pingIntervalMs && !this.#pinged) {
        this.#pinged = true;
        this.#plain(scratch.begin(FrameType.Ping, 0));
      }
      for (const [request, { deadlineMs }] of this.#calls) {
        if (now >= deadlineMs) {
          this.#endCall(request, WireStatus.DeadlineExceeded, 'no answer in time', true);
        }
      }
      for (const [request, { stream, deadlineMs }] of this.#serving) {
        if (now < deadlineMs + TICK_MS) continue;
        this.#serving.delete(request);
        stream.handler.onCancel(request);
      }
    }
    this.#schedule();
  }

  #break(why: string): void {
    this.#end(`the peer broke the protocol: ${why}`, true);
  }

  #end(reason: string, atOnce: boolean): void {
    if (this.#stage === 'closed') return;
    const { transport, handler } = this.#options;
    if (!atOnce) this.#output.flushTurn();
    this.#stage = 'closed';
    this.#timer?.cancel();
    this.#parser.stop();
    this.#output.close();
    if (atOnce) transport.destroy();
    else transport.close();
    for (const stream of [...this.#streams.values()]) {
      this.#forget(stream);
      stream.handler.onReset(WireStatus.Unavailable, reason);
    }
    this.#serving.clear();
    handler.onClosed(reason);
  }
}

const NO_HANDLER: StreamHandler = {
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

/** For tests: the bytes of one frame. */
export function frameBytes(header: FrameHeader, payload: Uint8Array = NOTHING): Buffer {
  header.payloadBytes = payload.length;
  const b = Buffer.alloc(HEADER_BYTES + payload.length);
  b.set(payload, HEADER_BYTES);
  encodeHeader(b, 0, header);
  return b;
}
