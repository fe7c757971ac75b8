// Takes a stream of bytes apart into frames. Holds at most one frame, and of a data frame's blocks nothing: they are
// copied, once, from the socket's buffer to where the connection wants them, and checked there (H1).
import { assert, assertNever, crc32c, crc32cEach } from '../base/index.ts';
import { get32 } from './bytes.ts';
import { decodeHeader, FrameHeader, PayloadKind } from './frame.ts';
import { HEADER_BYTES, MAX_DATA_BLOCKS, WIRE_BLOCK_BYTES } from './limits.ts';

/** Where a data frame's blocks go. */
export interface Place {
  readonly bytes: Uint8Array;
  readonly byteOffset: number;
}

export interface FrameSink {
  /**
   * The header of a data frame with blocks: where they go. Null: they are dropped unchecked, `onData` is not called.
   * `whole`: all of them are here, and `onData` or `onBroken` comes before anything else happens.
   */
  place(header: Readonly<FrameHeader>, whole: boolean): Place | null;
  /** A data frame is complete. `crcs[i]`: the CRC of block i, checked. Lent for the call. */
  onData(header: Readonly<FrameHeader>, place: Place | null, crcs: Uint32Array): void;
  /** A frame of any other kind. `b[start, end)`: its message, checked, lent for the call. */
  onFrame(header: Readonly<FrameHeader>, b: Uint8Array, start: number, end: number): void;
  /** The stream makes no sense from here on. Called once; nothing after it. */
  onBroken(why: string): void;
}

const State = { Header: 0, Message: 1, Crcs: 2, Blocks: 3, Drop: 4, Broken: 5 } as const;
type State = (typeof State)[keyof typeof State];

const NOTHING = new Uint8Array(0);

/** All parsers' while a frame is told of; a frame whose CRC list came in parts keeps it in `#partial`. */
const crcs = new Uint32Array(MAX_DATA_BLOCKS);
/** What the blocks of that frame have. */
const found = new Uint32Array(MAX_DATA_BLOCKS);

export class FrameParser {
  readonly #sink: FrameSink;
  readonly #header = new FrameHeader();
  #state: State = State.Header;
  /** What came of a header, a message or a CRC list that is not complete. Grown as bytes come, never ahead of them. */
  #partial: Uint8Array = new Uint8Array(HEADER_BYTES);
  #partialBytes = 0;
  #crcList: Uint8Array = NOTHING;
  #place: Place | null = null;
  /** Of the blocks, or of what is dropped. */
  #doneBytes = 0;
  /** Messages longer than this break the stream: small until the handshake is through. */
  maxMessageBytes: number;

  constructor(sink: FrameSink, maxMessageBytes: number) {
    this.#sink = sink;
    this.maxMessageBytes = maxMessageBytes;
  }

  /** What is held of an incomplete frame, in bytes. */
  get heldBytes(): number {
    return this.#partial.length + this.#crcList.length;
  }

  /** `b[start, end)` came. */
  push(b: Uint8Array, start: number, end: number): void {
    let at = start;
    // Every state but the last takes at least one byte.
    while (at < end) {
      switch (this.#state) {
        case State.Header:
          at = this.#onHeaderBytes(b, at, end);
          break;
        case State.Message:
          at = this.#onMessageBytes(b, at, end);
          break;
        case State.Crcs:
          at = this.#onCrcBytes(b, at, end);
          break;
        case State.Blocks:
          at = this.#onBlockBytes(b, at, end);
          break;
        case State.Drop: {
          const taken = Math.min(end - at, this.#header.payloadBytes - this.#doneBytes);
          this.#doneBytes += taken;
          at += taken;
          if (this.#doneBytes === this.#header.payloadBytes) this.#state = State.Header;
          break;
        }
        case State.Broken:
          return;
        default:
          assertNever(this.#state);
      }
    }
  }

  /**
   * The frame under way is not wanted any more: its place is not touched again, from now on. Not from inside the sink's
   * calls about that very frame.
   */
  dropRest(): void {
    const listBytes = (this.#header.blocks - 1) * 4;
    if (this.#state === State.Crcs) this.#doneBytes = this.#partialBytes;
    else if (this.#state === State.Blocks) this.#doneBytes += listBytes;
    else return;
    if (this.#partialBytes > 0) {
      this.#partial = new Uint8Array(HEADER_BYTES);
      this.#partialBytes = 0;
    }
    this.#place = null;
    this.#crcList = NOTHING;
    this.#state = State.Drop;
  }

  /** The connection is closed: no frame is told of any more, not even from inside `push`. */
  stop(): void {
    this.#state = State.Broken;
    this.#place = null;
    this.#partial = NOTHING;
    this.#crcList = NOTHING;
  }

  #break(why: string): void {
    this.stop();
    this.#sink.onBroken(why);
  }

  #onHeaderBytes(b: Uint8Array, at: number, end: number): number {
    if (this.#partialBytes === 0 && end - at >= HEADER_BYTES) {
      this.#onHeader(b, at, end - at - HEADER_BYTES);
      return at + HEADER_BYTES;
    }
    const next = this.#gather(b, at, end, HEADER_BYTES);
    if (this.#partialBytes === HEADER_BYTES) {
      this.#partialBytes = 0;
      this.#onHeader(this.#partial, 0, end - next);
    }
    return next;
  }

  #onHeader(b: Uint8Array, at: number, following: number): void {
    const header = this.#header;
    const wrong = decodeHeader(b, at, header);
    if (wrong !== null) {
      this.#break(wrong);
      return;
    }
    const { payloadBytes } = header;
    switch (header.kind) {
      case PayloadKind.None:
        this.#sink.onFrame(header, NOTHING, 0, 0);
        return;
      case PayloadKind.Message:
        if (payloadBytes > this.maxMessageBytes) this.#break(`a message of ${payloadBytes} bytes`);
        else if (payloadBytes === 0) this.#onMessage(NOTHING, 0, 0);
        else this.#state = State.Message;
        return;
      case PayloadKind.Data:
        if (payloadBytes === 0) {
          this.#sink.onData(header, null, crcs);
          return;
        }
        this.#place = this.#sink.place(header, following >= payloadBytes);
        if ((this.#state as State) === State.Broken) return;
        this.#doneBytes = 0;
        if (this.#place === null) this.#state = State.Drop;
        else this.#state = header.blocks > 1 ? State.Crcs : State.Blocks;
    }
  }

  #onMessageBytes(b: Uint8Array, at: number, end: number): number {
    const { payloadBytes } = this.#header;
    if (this.#partialBytes === 0 && end - at >= payloadBytes) {
      this.#state = State.Header;
      this.#onMessage(b, at, at + payloadBytes);
      return at + payloadBytes;
    }
    const next = this.#gather(b, at, end, payloadBytes);
    if (this.#partialBytes === payloadBytes) {
      const message = this.#partial;
      this.#partial = new Uint8Array(HEADER_BYTES);
      this.#partialBytes = 0;
      this.#state = State.Header;
      this.#onMessage(message, 0, payloadBytes);
    }
    return next;
  }

  #onMessage(b: Uint8Array, start: number, end: number): void {
    if (crc32c(b, start, end) !== this.#header.payloadCrc)
      this.#break('a message with a bad checksum');
    else this.#sink.onFrame(this.#header, b, start, end);
  }

  #onCrcBytes(b: Uint8Array, at: number, end: number): number {
    const wanted = (this.#header.blocks - 1) * 4;
    if (this.#partialBytes === 0 && end - at >= wanted) {
      this.#crcList = new Uint8Array(b.subarray(at, at + wanted)); // A copy: `b` is lent.
      this.#state = State.Blocks;
      return at + wanted;
    }
    const next = this.#gather(b, at, end, wanted);
    if (this.#partialBytes === wanted) {
      this.#crcList = this.#partial;
      this.#partial = new Uint8Array(HEADER_BYTES);
      this.#partialBytes = 0;
      this.#state = State.Blocks;
    }
    return next;
  }

  #onBlockBytes(b: Uint8Array, at: number, end: number): number {
    const { blocks } = this.#header;
    const place = this.#place!;
    const bytes = blocks * WIRE_BLOCK_BYTES;
    const taken = Math.min(end - at, bytes - this.#doneBytes);
    if (taken > 0) {
      place.bytes.set(b.subarray(at, at + taken), place.byteOffset + this.#doneBytes);
      this.#doneBytes += taken;
    }
    if (this.#doneBytes === bytes) this.#onBlocks(place, blocks);
    return at + taken;
  }

  #onBlocks(place: Place, blocks: number): void {
    const header = this.#header;
    crcs[0] = header.payloadCrc;
    for (let index = 1; index < blocks; index += 1) {
      crcs[index] = get32(this.#crcList, (index - 1) * 4);
    }
    this.#place = null;
    this.#crcList = NOTHING;
    this.#state = State.Header;
    crc32cEach(place.bytes, place.byteOffset, WIRE_BLOCK_BYTES, blocks, found);
    for (let index = 0; index < blocks; index += 1) {
      if (found[index] !== crcs[index]) {
        this.#break(`block ${header.lba + index} with a bad checksum`);
        return;
      }
    }
    this.#sink.onData(header, place, crcs);
  }

  /** Appends to the partial piece, up to `wanted` bytes of it. Its room doubles as bytes arrive. */
  #gather(b: Uint8Array, at: number, end: number, wanted: number): number {
    const taken = Math.min(end - at, wanted - this.#partialBytes);
    const needed = this.#partialBytes + taken;
    assert(needed <= wanted);
    if (needed > this.#partial.length) {
      const grown = new Uint8Array(Math.min(wanted, Math.max(needed, this.#partial.length * 2)));
      grown.set(this.#partial.subarray(0, this.#partialBytes));
      this.#partial = grown;
    }
    if (taken > 0) this.#partial.set(b.subarray(at, at + taken), this.#partialBytes);
    this.#partialBytes = needed;
    return at + taken;
  }
}
