// Two ends of a connection without a socket: what one writes is kept until the test lets it cross.
import assert from 'node:assert/strict';
import {
  ManualClock,
  SeededRandom,
  type Transport,
  type TransportHandler,
  Turn,
} from '../../../src/base/index.ts';
import {
  type Agreement,
  type ConnectionHandler,
  type ConnectionOptions,
  DEFAULT_TIMEOUTS,
  type FrameHeader,
  FrameRegions,
  type Place,
  Refusal,
  type StreamHandler,
  WireConnection,
  type WireStream,
} from '../../../src/wire/index.ts';

export class PipeEnd implements Transport {
  readonly peerAddress = 'test';
  readonly peer = 'test:1';
  readonly local = 'test:2';
  readonly localAddress = 'test';
  readonly localPort = 2;
  readonly sent: Buffer[] = [];
  handler: TransportHandler | null = null;
  other!: PipeEnd;
  closed = false;

  start(handler: TransportHandler): void {
    this.handler = handler;
  }

  get drained(): boolean {
    return true;
  }

  write(b: Buffer): void {
    if (!this.closed) this.sent.push(Buffer.from(b));
  }

  pauseReading(): void {}
  resumeReading(): void {}

  close(): void {
    this.destroy();
  }

  destroy(): void {
    this.closed = true;
  }

  /** Hands over everything written so far, in pieces of `pieceBytes`. True: there was something. */
  deliver(turn: Turn, pieceBytes = Number.POSITIVE_INFINITY): boolean {
    const b = Buffer.concat(this.sent.splice(0));
    for (let at = 0; at < b.length; at += pieceBytes) {
      turn.enter();
      this.other.handler?.onBytes(b, at, Math.min(b.length, at + pieceBytes));
      turn.leave();
    }
    return b.length > 0;
  }
}

/** Remembers what it is told. */
export class StreamEnd implements StreamHandler {
  stream: WireStream | null = null;
  readonly log: string[] = [];
  readonly data: { header: FrameHeader; bytes: Buffer; crcs: number[] }[] = [];
  /** Take the memory back at once. */
  takes = true;

  place(header: Readonly<FrameHeader>): Place | null {
    return { bytes: new Uint8Array(header.blocks * 4096 + 512), byteOffset: 512 };
  }

  onData(header: Readonly<FrameHeader>, place: Place | null, crcs: Uint32Array): void {
    const { blocks, payloadBytes } = header;
    const bytes =
      place === null
        ? Buffer.alloc(0)
        : Buffer.from(place.bytes.subarray(place.byteOffset, place.byteOffset + blocks * 4096));
    const copy = Object.assign(Object.create(Object.getPrototypeOf(header)), header) as FrameHeader;
    this.data.push({ header: copy, bytes, crcs: [...crcs.subarray(0, blocks)] });
    this.log.push(`data ${header.type} ${header.op}`);
    if (this.takes && payloadBytes > 0) this.stream!.took(payloadBytes);
  }

  onFrame(header: Readonly<FrameHeader>): void {
    this.log.push(`frame ${header.type} ${header.op}`);
  }

  onEvent(method: number, b: Uint8Array, start: number, end: number): void {
    this.log.push(`event ${method} ${Buffer.from(b.subarray(start, end)).toString()}`);
  }

  onRequest(request: number, method: number, b: Uint8Array, start: number, end: number): void {
    const text = Buffer.from(b.subarray(start, end)).toString();
    this.log.push(`request ${method} ${text}`);
    if (text === 'refuse') this.stream!.refuse(request, 9, 'not now');
    else if (text !== 'never') this.stream!.respond(request, Buffer.from(`${text}!`));
  }

  onCancel(): void {
    this.log.push('cancel');
  }

  onWritable(): void {
    this.log.push('writable');
  }

  onReset(status: number, reason: string): void {
    this.log.push(`reset ${status} ${reason}`);
  }
}

export class Side implements ConnectionHandler {
  readonly pipe = new PipeEnd();
  readonly ends: StreamEnd[] = [];
  agreement: Agreement | null = null;
  goAway = '';
  closed = '';
  connection!: WireConnection;

  onOpen(agreement: Agreement): void {
    this.agreement = agreement;
  }

  onStream(
    stream: WireStream,
    request: number,
    b: Uint8Array,
    start: number,
    end: number,
  ): StreamHandler | Refusal {
    const name = Buffer.from(b.subarray(start, end)).toString();
    if (name === 'nobody') return new Refusal(5, 'no such volume');
    const handler = new StreamEnd();
    handler.stream = stream;
    this.ends.push(handler);
    stream.respond(request, Buffer.from(`welcome ${name}`));
    return handler;
  }

  onGoAway(_status: number, reason: string): void {
    this.goAway = reason;
  }

  onClosed(reason: string): void {
    assert.equal(this.closed, '', 'onClosed comes once');
    this.closed = reason;
  }
}

export class Pair {
  readonly clock = new ManualClock();
  readonly turn = new Turn();
  readonly maker = new Side();
  readonly taker = new Side();
  pieceBytes = Number.POSITIVE_INFINITY;

  constructor(maker: Partial<ConnectionOptions> = {}, taker: Partial<ConnectionOptions> = {}) {
    this.maker.pipe.other = this.taker.pipe;
    this.taker.pipe.other = this.maker.pipe;
    for (const [side, more, makesConnection] of [
      [this.maker, maker, true],
      [this.taker, taker, false],
    ] as const) {
      side.connection = new WireConnection({
        makesConnection,
        transport: side.pipe,
        turn: this.turn,
        clock: this.clock,
        random: new SeededRandom(makesConnection ? 1 : 2),
        regions: new FrameRegions(),
        timeouts: DEFAULT_TIMEOUTS,
        node: makesConnection ? 'node-1' : 'node-2',
        software: 'ashlar test',
        secret: null,
        handler: side,
        ...more,
      });
    }
    this.taker.connection.start();
    this.inTurn(() => this.maker.connection.start());
  }

  inTurn(work: () => void): void {
    this.turn.enter();
    work();
    this.turn.leave();
  }

  /** Lets bytes cross, both ways, until nothing more is said. */
  settle(): this {
    while (
      this.maker.pipe.deliver(this.turn, this.pieceBytes) ||
      this.taker.pipe.deliver(this.turn, this.pieceBytes)
    );
    return this;
  }

  /** A stream from maker to taker, both ends. */
  stream(name = 'v'): { ours: WireStream; near: StreamEnd; far: StreamEnd; answer: string } {
    const near = new StreamEnd();
    let answer = '';
    let ours!: WireStream;
    this.inTurn(() => {
      ours = this.maker.connection.open(
        near,
        Buffer.from(name),
        5000,
        (status, reason, b, s, e) => {
          answer = status === 0 ? Buffer.from(b.subarray(s, e)).toString() : `${status} ${reason}`;
        },
      );
    });
    near.stream = ours;
    this.settle();
    return { ours, near, far: this.taker.ends.at(-1)!, answer };
  }
}
