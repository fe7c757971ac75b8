// One connection between a coordinator's node and a replica's: frames in, frames out, and between them the handshake,
// streams, calls with deadlines, flow control by bytes, keep-alive and the drain. It owns no socket: bytes are handed to
// it, bytes it hands to a Transport, time it is told by a Clock.
//
// Streams. Each side opens streams with numbers of its own (the maker of the connection odd ones), by a Request of the
// method `open`. On a stream frames keep their order; between streams there is none. What the windows hold back waits in
// the stream's backlog, and whatever is said on that stream afterwards waits behind it.
import { assert, type Timer, type TransportHandler } from '../base/index.ts';
import { type CallDone, type CallSender, Calls } from './calls.ts';
import { type ConnectionOptions, Refusal } from './connection-options.ts';
import { FrameHeader, FrameType, WireStatus } from './frame.ts';
import { type Agreement, Handshake, type HandshakeStep } from './handshake.ts';
import {
  CONNECTION_WINDOW_BYTES,
  MAX_HANDSHAKE_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_STREAMS,
  STREAM_WINDOW_BYTES,
  TICK_MS,
} from './limits.ts';
import { FrameParser, type FrameSink, type Place } from './parser.ts';
import { failureCodec, goAwayCodec } from './schema.ts';
import { FrameSender } from './sender.ts';
import { NO_HANDLER, type StreamHandler, WireStream } from './stream.ts';

/** The one method of the connection itself; all others belong to who speaks through it. */
export const OPEN_METHOD = 1;

type Stage = 'handshake' | 'open' | 'closed';

/** A frame with so much data, cut in two by the end of a turn, costs more than the turn is worth. */
const LARGE_FRAME_BYTES = 16 * 1024;

/** The scratch for headers that this side writes: filled and encoded in one step. */
const scratch = new FrameHeader();

export class WireConnection implements TransportHandler, FrameSink {
  readonly #options: ConnectionOptions;
  readonly #parser: FrameParser;
  readonly #sender: FrameSender;
  readonly #calls: Calls;
  readonly #handshake: Handshake;
  #stage: Stage = 'handshake';
  #agreement: Agreement | null = null;
  readonly #streams = new Map<number, WireStream>();
  #nextStream: number;
  #going = false;
  #peerGoing = false;
  /** Taken since the last Window frame for the connection. */
  #tookBytes = 0;
  #lastHeardMs: number;
  #pinged = false;
  #openedMs: number;
  takesLarge = false;
  #timer: Timer | null = null;
  /** When `#timer` is to fire. */
  #tickAtMs = 0;
  /** Time in which nothing was heard since was counted out once. */
  #forgave = false;
  /** Whose data frame is coming in, from its header to its last byte. */
  #receiving: WireStream | null = null;

  constructor(options: ConnectionOptions) {
    const { transport, turn, regions, clock } = options;
    this.#options = options;
    this.#parser = new FrameParser(this, MAX_HANDSHAKE_BYTES);
    this.#sender = new FrameSender({
      transport,
      turn,
      regions,
      streams: this.#streams,
      onBroken: (why) => this.#break(why),
    });
    this.#calls = new Calls(this.#callSender());
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
    return this.#sender.pendingBytes;
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
    this.#forgave = false;
    this.#parser.push(b, start, end);
  }

  onDrained(): void {
    this.#sender.onDrained();
  }

  onClosed(): void {
    this.#end('the connection was closed by the peer or the network', true);
  }

  // The parser's side.

  place(header: Readonly<FrameHeader>, whole: boolean): Place | null {
    this.#receiving = null;
    this.takesLarge = header.payloadBytes >= LARGE_FRAME_BYTES;
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
        this.#sender.plain(scratch.begin(FrameType.Pong, 0));
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
        this.#sender.onWindow(header.stream, header.aux);
        return;
      case FrameType.Request:
        this.#onRequest(header, b, start, end);
        return;
      case FrameType.Response:
        this.#calls.onResponse(header, b, start, end);
        return;
      case FrameType.Cancel:
        this.#calls.onCancel(header);
        return;
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
    return this.#calls.request(stream, method, message, timeoutMs, done);
  }

  /** Gives up on a call: `done` is called with Cancelled, the peer is told. */
  cancel(request: number): void {
    this.#calls.cancel(request);
  }

  respond(stream: WireStream, request: number, status: number, message: Uint8Array): void {
    if (!this.#calls.served(request)) return;
    this.#message(FrameType.Response, stream.id, request, status, 0, 0, message);
  }

  event(stream: WireStream, method: number, message: Uint8Array, urgent: boolean): void {
    this.#message(FrameType.Event, stream.id, 0, 0, method, 0, message, urgent);
  }

  /** A frame that is all header. */
  frame(stream: WireStream, header: FrameHeader, urgent: boolean): void {
    if (this.#stage === 'open') this.#sender.frame(stream, header, urgent);
  }

  /** A frame with blocks: see the sender. */
  data(
    stream: WireStream,
    header: FrameHeader,
    bytes: Uint8Array,
    byteOffset: number,
    crcs: Uint32Array,
    crcsAt: number,
  ): void {
    if (this.#stage === 'open') this.#sender.data(stream, header, bytes, byteOffset, crcs, crcsAt);
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
    this.#sender.plain(header);
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
      this.#sender.open(step.agreement);
      this.#parser.maxMessageBytes = MAX_MESSAGE_BYTES;
      this.#stage = 'open';
      this.#options.handler.onOpen(step.agreement);
    }
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
    this.#sender.message(type, streamId, request, status, method, aux, message, urgent);
  }

  #callSender(): CallSender {
    const isOpen = (): boolean => this.#stage === 'open';
    return {
      get isOpen(): boolean {
        return isOpen();
      },
      nowMs: () => this.#options.clock.nowMs(),
      sendRequest: (stream, request, method, timeoutMs, message) =>
        this.#message(
          FrameType.Request,
          stream.id,
          request,
          0,
          method,
          Math.ceil(timeoutMs),
          message,
        ),
      sendCancel: (stream, request) => {
        const header = scratch.begin(FrameType.Cancel, stream.id);
        header.request = request;
        this.#sender.plain(header);
      },
      break: (why) => this.#break(why),
    };
  }

  #onRequest(header: Readonly<FrameHeader>, b: Uint8Array, start: number, end: number): void {
    const { request, stream: streamId, blocks: method, aux: timeoutMs } = header;
    if (!this.#calls.accepts(request)) return;
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
    this.#calls.serve(request, stream, timeoutMs);
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

  /** A stream is no more: its calls end, its bytes leave the windows. */
  #forget(stream: WireStream): void {
    if (!this.#streams.delete(stream.id)) return;
    stream.isOpen = false;
    if (this.#receiving === stream) {
      // The memory that its frame goes to may be given away now.
      this.#receiving = null;
      this.#parser.dropRest();
    }
    this.#sender.forget(stream);
    this.took(stream.untaken());
    this.#calls.forget(stream);
  }

  #schedule(): void {
    this.#tickAtMs = this.#options.clock.nowMs() + TICK_MS;
    this.#timer = this.#options.clock.schedule(TICK_MS, () => {
      this.#options.turn.enter();
      this.#tick();
      this.#options.turn.leave();
    });
  }

  /**
   * What the peer has sent while this process stood still waits to be read: that time is not the peer's silence. Once, until
   * something is heard: between two ticks all was read that there was. True: it did, and answers to calls may wait, too.
   */
  #forgive(nowMs: number): boolean {
    const lateMs = nowMs - this.#tickAtMs;
    if (lateMs < TICK_MS || this.#forgave) return false;
    this.#forgave = true;
    this.#openedMs = Math.min(nowMs, this.#openedMs + lateMs);
    this.#lastHeardMs = Math.min(nowMs, this.#lastHeardMs + lateMs);
    return true;
  }

  #tick(): void {
    if (this.#stage === 'closed') return;
    const now = this.#options.clock.nowMs();
    const stoodStill = this.#forgive(now);
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
        this.#sender.plain(scratch.begin(FrameType.Ping, 0));
      }
      if (!stoodStill) this.#calls.tick(now);
    }
    this.#schedule();
  }

  #break(why: string): void {
    this.#end(`the peer broke the protocol: ${why}`, true);
  }

  #end(reason: string, atOnce: boolean): void {
    if (this.#stage === 'closed') return;
    const { transport, handler } = this.#options;
    if (!atOnce) this.#sender.flush();
    this.#stage = 'closed';
    this.#timer?.cancel();
    this.#parser.stop();
    this.#sender.close();
    if (atOnce) transport.destroy();
    else transport.close();
    for (const stream of [...this.#streams.values()]) {
      this.#forget(stream);
      stream.handler.onReset(WireStatus.Unavailable, reason);
    }
    this.#calls.close();
    handler.onClosed(reason);
  }
}
