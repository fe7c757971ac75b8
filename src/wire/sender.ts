// What a connection sends, held to the peer's windows: data payload is charged to its stream and to the connection, and what they do
// not let through waits in the stream's backlog, with all that is said on that stream afterwards.
import { assert, crc32c, type Transport, type Turn } from '../base/index.ts';
import { put32 } from './bytes.ts';
import { FrameHeader, type FrameType } from './frame.ts';
import {
  dataPayloadBytes,
  HEADER_BYTES,
  MAX_BACKLOG_BYTES,
  MAX_MESSAGE_BYTES,
  WIRE_BLOCK_BYTES,
} from './limits.ts';
import { FrameOutput, type FrameRegions } from './output.ts';
import type { WireStream } from './stream.ts';

/** What the peer lets us have under way, in bytes of data payload. */
export interface SendWindows {
  readonly connectionWindowBytes: number;
  readonly streamWindowBytes: number;
}

export interface SenderOptions {
  readonly transport: Transport;
  readonly turn: Turn;
  readonly regions: FrameRegions;
  readonly streams: ReadonlyMap<number, WireStream>;
  /** The peer takes nothing, or breaks the protocol. */
  readonly onBroken: (why: string) => void;
}

const NOTHING = new Uint8Array(0);
/** For messages: filled and encoded in one step. */
const scratch = new FrameHeader();
/** The list of CRCs before the blocks of a data frame. */
const crcScratch = new Uint8Array(4096);

export class FrameSender {
  readonly #options: SenderOptions;
  readonly #output: FrameOutput;
  #windows: SendWindows = { connectionWindowBytes: 0, streamWindowBytes: 0 };
  /** Bytes of data payload that we may still send, over all streams. */
  #sendWindow = 0;
  /** What waits in the streams' backlogs. */
  #backlogBytes = 0;
  #closed = false;

  constructor(options: SenderOptions) {
    const { transport, turn, regions } = options;
    this.#options = options;
    this.#output = new FrameOutput(transport, turn, regions);
  }

  /** As the handshake agreed. */
  open(windows: SendWindows): void {
    this.#windows = windows;
    this.#sendWindow = windows.connectionWindowBytes;
  }

  /** What waits in our memory for the peer, in bytes. */
  get pendingBytes(): number {
    return this.#backlogBytes + this.#output.pendingBytes;
  }

  onDrained(): void {
    this.#output.onDrained();
  }

  /** What was said in this turn leaves now. */
  flush(): void {
    this.#output.flushTurn();
  }

  close(): void {
    this.#closed = true;
    this.#output.close();
  }

  /** A frame that is all header, ahead of everything. */
  plain(header: FrameHeader): void {
    this.#output.header(header);
    // A peer that asks and asks, and takes no answer, ends here as one that takes no data does.
    this.#checkPending();
  }

  /** A frame that is all header. */
  frame(stream: WireStream, header: FrameHeader, urgent: boolean): void {
    if (stream.backlog.length > 0 && !urgent) this.#queue(stream, header, NOTHING, 0, null, 0);
    else this.plain(header);
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
    this.#checkPending();
  }

  /** A frame with a message. `urgent`: ahead of the stream's backlog. */
  message(
    type: FrameType,
    streamId: number,
    request: number,
    status: number,
    method: number,
    aux: number,
    message: Uint8Array,
    urgent: boolean,
  ): void {
    assert(message.length <= MAX_MESSAGE_BYTES);
    const header = scratch.begin(type, streamId);
    header.request = request;
    header.status = status;
    header.blocks = method;
    header.aux = aux;
    header.payloadBytes = message.length;
    header.payloadCrc = crc32c(message);
    const stream = urgent ? undefined : this.#options.streams.get(streamId);
    if (stream !== undefined && stream.backlog.length > 0) {
      this.#queue(stream, header, message, 0, null, 0);
      return;
    }
    this.#output.header(header);
    this.#output.append(message, 0, message.length);
    this.#checkPending();
  }

  /** The peer took `bytes`: of all streams, 0, or of one. */
  onWindow(streamId: number, bytes: number): void {
    const { streams, onBroken } = this.#options;
    const { connectionWindowBytes, streamWindowBytes } = this.#windows;
    if (streamId === 0) {
      this.#sendWindow += bytes;
      if (this.#sendWindow > connectionWindowBytes) {
        onBroken('a window larger than agreed');
        return;
      }
      for (const stream of streams.values()) {
        if (stream.backlog.length > 0) this.#advance(stream);
        if (this.#closed) return;
      }
      return;
    }
    const stream = streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindow += bytes;
    if (stream.sendWindow > streamWindowBytes) onBroken('a window larger than agreed');
    else if (stream.backlog.length > 0) this.#advance(stream);
  }

  /** A stream is no more: nothing of it waits. */
  forget(stream: WireStream): void {
    for (const { bytes } of stream.backlog.splice(0))
      this.#backlogBytes -= bytes.length + HEADER_BYTES;
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
    if (this.#backlogBytes > MAX_BACKLOG_BYTES) this.#options.onBroken('the peer takes nothing');
  }

  #checkPending(): void {
    if (this.#output.pendingBytes > MAX_BACKLOG_BYTES)
      this.#options.onBroken('the peer takes nothing');
  }
}
