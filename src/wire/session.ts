// A session of a coordinator with one replica: two streams of one connection. On the ops stream goes what has an order
// (W2, R1) and the reads, on the copies stream what rebuilds and reconciles, with a window of its own: a rebuild never
// stands before a host's op (B9). When either stream ends, the session has ended.
//
// The per-I/O messages are frames whose header says all:
//
//              version          lba          blocks   aux               status   flags
//   Write      of the op        first block  count    see below                  Fua
//   Unmap      of the op        first block  low 32   see below         high 16  Fua
//   Flush      epoch, id
//   Read       epoch, id        first block  low 32                     high 16  VerifyOnly
//   Applied    of the op        credit                                  IoStatus
//   Flushed    epoch, id                                                IoStatus
//   ReadDone   epoch, id        failed one   count                      IoStatus
//
// `aux` of a Write or Unmap: how far `allApplied` is behind this op (W10), or 2^32 - 1 when nothing is known of it.
import { assert } from '../base/index.ts';
import { IoStatus } from '../block/index.ts';
import type { CallDone } from './calls.ts';
import type { WireConnection } from './connection.ts';
import { FrameFlag, FrameHeader, FrameType, MAX_OP, WireStatus } from './frame.ts';
import { WireFeature } from './handshake.ts';
import { MAX_DATA_BLOCKS, WIRE_BLOCK_BYTES } from './limits.ts';
import {
  decodeCoordinatorMessage,
  decodeMemberMessage,
  encodeCoordinatorMessage,
  encodeMemberMessage,
  isStatus,
  type OpenStream,
  openStreamCodec,
  type Pending,
} from './message-codec.ts';
import {
  type Applied,
  type Apply,
  type BlockCopies,
  BlockKind,
  ChangeKind,
  type CoordinatorMessage,
  type Flush,
  type Flushed,
  type Heartbeat,
  type HeartbeatReply,
  type MemberMessage,
  MessageType,
  type Payload,
  type Read,
  type ReadDone,
} from './messages.ts';
import type { Place } from './parser.ts';
import { BytesPayload, type PayloadOwner, type PayloadPool } from './payload.ts';
import type { StreamHandler, WireStream } from './stream.ts';

const ALL_APPLIED_UNKNOWN = 0xffff_ffff;
const TWO_32 = 2 ** 32;

/** All sessions': filled and encoded in one step. */
const scratch = new FrameHeader();
const crcScratch = new Uint32Array(MAX_DATA_BLOCKS);

/** The bytes of a payload: of ours, or of a DataBuffer that stands for one. */
export function payloadBytes(payload: Payload): Uint8Array {
  return (payload as Payload & { readonly bytes: Uint8Array }).bytes;
}

export function payloadByteOffset(payload: Payload): number {
  return payload instanceof BytesPayload ? payload.byteOffset : 0;
}

function dataBlocksOf(copy: BlockCopies): number {
  let count = 0;
  for (let index = 0; index < copy.blocks; index += 1) {
    if (copy.kinds[index] === BlockKind.Data) count += 1;
  }
  return count;
}

/** What both ends have in common: two streams, one end; blocks that follow their message. */
abstract class SessionEnd<Incoming> {
  protected ops: WireStream | null = null;
  protected copies: WireStream | null = null;
  readonly #payloads: PayloadPool;
  #pending: Pending<Incoming> | null = null;
  #ended = false;
  /** The payload that the frame under way is received into. */
  protected receiving: BytesPayload | null = null;

  constructor(payloads: PayloadPool) {
    this.#payloads = payloads;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** For tests that say what no end would. */
  get opsStream(): WireStream | null {
    return this.ops;
  }

  protected abstract deliver(message: Incoming): void;
  protected abstract decode(
    type: number,
    b: Uint8Array,
    start: number,
    end: number,
  ): Pending<Incoming> | null;
  protected abstract onOpsData(
    header: Readonly<FrameHeader>,
    place: Place | null,
    crcs: Uint32Array,
  ): void;
  protected abstract onOpsFrame(header: Readonly<FrameHeader>): void;
  protected abstract opsPlace(header: Readonly<FrameHeader>, whole: boolean): Place | null;
  protected abstract onEnd(status: number, reason: string): void;

  /** Ends the session: the peer is told, `onEnd` is not called. */
  close(status: WireStatus, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.ops?.reset(status, reason);
    this.copies?.reset(status, reason);
    this.#drop();
  }

  protected fail(reason: string): void {
    if (this.#ended) return;
    this.close(WireStatus.InvalidArgument, reason);
    this.onEnd(WireStatus.InvalidArgument, reason);
  }

  /** Room for a data frame's blocks. What it was charged goes back to the stream with the last reference. */
  protected room(header: Readonly<FrameHeader>, owner: PayloadOwner): BytesPayload {
    const payload = this.#payloads.take(header.blocks * WIRE_BLOCK_BYTES, owner);
    payload.chargedBytes = header.payloadBytes;
    this.receiving = payload;
    return payload;
  }

  protected readonly opsOwner: PayloadOwner = {
    onFree: (payload) => {
      this.ops?.took(payload.chargedBytes);
      this.#payloads.give(payload);
    },
  };

  readonly #copiesOwner: PayloadOwner = {
    onFree: (payload) => {
      this.copies?.took(payload.chargedBytes);
      this.#payloads.give(payload);
    },
  };

  protected sendCopies(
    method: number,
    message: Uint8Array,
    epoch: number,
    id: number,
    copy: BlockCopies,
  ): void {
    const stream = this.copies;
    if (stream === null) return;
    stream.event(method, message);
    const blocks = dataBlocksOf(copy);
    if (blocks === 0) return;
    assert(copy.data !== null && blocks <= MAX_DATA_BLOCKS);
    const crcs = crcScratch;
    for (let index = 0, block = 0; index < copy.blocks; index += 1) {
      if (copy.kinds[index] !== BlockKind.Data) continue;
      crcs[block] = copy.crcs[index]!;
      block += 1;
    }
    const header = scratch.begin(FrameType.CopyBlocks, stream.id);
    header.epoch = epoch;
    header.op = id;
    header.blocks = blocks;
    stream.data(header, payloadBytes(copy.data), payloadByteOffset(copy.data), crcs, 0);
  }

  protected readonly opsHandler: StreamHandler = {
    place: (header, whole) => (this.#ended ? null : this.opsPlace(header, whole)),
    onData: (header, place, crcs) => {
      if (!this.#ended) this.onOpsData(header, place, crcs);
      else this.#drop();
    },
    onFrame: (header) => {
      if (!this.#ended) this.onOpsFrame(header);
    },
    onEvent: (method, b, start, end) => this.#onEvent(method, b, start, end),
    onRequest: () => this.fail('a request on the ops stream'),
    onCancel() {},
    onWritable() {},
    onReset: (status, reason) => this.#onReset(status, reason),
  };

  protected readonly copiesHandler: StreamHandler = {
    place: (header) => {
      if (this.#ended) return null;
      if (header.type !== FrameType.CopyBlocks || this.#pending?.dataBlocks !== header.blocks) {
        this.fail('blocks that no copy is waiting for');
        return null;
      }
      return this.room(header, this.#copiesOwner);
    },
    onData: (_header, _place, crcs) => {
      const payload = this.receiving;
      const pending = this.#pending;
      this.receiving = null;
      this.#pending = null;
      if (payload === null) return;
      if (pending !== null && !this.#ended) {
        pending.complete(payload, crcs);
        this.deliver(pending.message);
      }
      payload.release();
    },
    onFrame: () => this.fail('an op on the copies stream'),
    onEvent: (method, b, start, end) => this.#onEvent(method, b, start, end),
    onRequest: () => this.fail('a request on the copies stream'),
    onCancel() {},
    onWritable() {},
    onReset: (status, reason) => this.#onReset(status, reason),
  };

  #onEvent(method: number, b: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    const decoded = this.decode(method, b, start, end);
    if (decoded === null) this.fail(`a message of type ${method} that cannot be`);
    else if (decoded.dataBlocks === 0) this.deliver(decoded.message);
    else if (this.#pending !== null) this.fail('two copies at once');
    else this.#pending = decoded;
  }

  #onReset(status: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.ops?.reset(WireStatus.Aborted, 'the session has ended');
    this.copies?.reset(WireStatus.Aborted, 'the session has ended');
    this.#drop();
    this.onEnd(status, reason);
  }

  #drop(): void {
    this.#pending = null;
    const payload = this.receiving;
    this.receiving = null;
    payload?.release();
  }
}

// -------------------------------------------------------------------------------------------------- the coordinator's end

export interface CoordinatorEndHandler {
  /** The replica is there. */
  onOpen(): void;
  /** Lent for the call. */
  onMessage(message: MemberMessage): void;
  /** Where the blocks of read `id` are wanted, or null. `blocks` fit there. Used within the call only. */
  readTarget(id: number, blocks: number): Place | null;
  /** The session has ended, or never began. Called once; not for our own `close`. */
  onEnd(status: number, reason: string): void;
}

export interface CoordinatorEndOptions {
  /** Open, and taking streams. */
  readonly connection: WireConnection;
  readonly payloads: PayloadPool;
  readonly volumeId: string;
  readonly replicaId: string;
  readonly openTimeoutMs: number;
  readonly handler: CoordinatorEndHandler;
}

export class CoordinatorEnd extends SessionEnd<MemberMessage> {
  readonly #handler: CoordinatorEndHandler;
  #opened = 0;
  // One object for each kind of message that comes for every I/O.
  readonly #applied: Applied = {
    type: MessageType.Applied,
    epoch: 0,
    op: 0,
    status: IoStatus.Ok,
    credit: 0,
  };
  readonly #flushed: Flushed = { type: MessageType.Flushed, epoch: 0, id: 0, status: IoStatus.Ok };
  readonly #heartbeatReply: HeartbeatReply = {
    type: MessageType.HeartbeatReply,
    epoch: 0,
    sentMs: 0,
    credit: 0,
  };
  readonly #readDone: ReadDone = {
    type: MessageType.ReadDone,
    epoch: 0,
    id: 0,
    status: IoStatus.Ok,
    failedLba: 0,
    data: null,
  };
  /** Stands for memory that the blocks of a read went to directly. */
  readonly #direct = new BytesPayload();

  constructor(options: CoordinatorEndOptions) {
    super(options.payloads);
    const { connection, volumeId, replicaId, openTimeoutMs } = options;
    this.#handler = options.handler;
    const opened: CallDone = (status, reason) => {
      if (this.ended) return;
      if (status !== WireStatus.Ok) {
        this.close(WireStatus.Aborted, 'the session has ended');
        this.onEnd(status, reason);
        return;
      }
      this.#opened += 1;
      if (this.#opened === 2) this.#handler.onOpen();
    };
    const ask = (copiesOf: number): Uint8Array =>
      openStreamCodec.encode({ volumeId, replicaId, copiesOf });
    const ops = connection.open(this.opsHandler, ask(0), openTimeoutMs, opened);
    this.ops = ops;
    if (this.ended) return;
    this.copies = connection.open(this.copiesHandler, ask(ops.id), openTimeoutMs, opened);
  }

  /** The message is lent for the call, its payload too. */
  send(message: CoordinatorMessage): void {
    const { ops } = this;
    if (ops === null || this.ended) return;
    switch (message.type) {
      case MessageType.Apply:
        this.#sendApply(ops, message);
        return;
      case MessageType.Flush: {
        const header = scratch.begin(FrameType.Flush, ops.id);
        header.epoch = message.epoch;
        header.op = message.id;
        ops.frame(header);
        return;
      }
      case MessageType.Read: {
        const header = scratch.begin(FrameType.Read, ops.id);
        header.flags = message.verifyOnly ? FrameFlag.VerifyOnly : 0;
        header.epoch = message.epoch;
        header.op = message.id;
        header.lba = message.lba;
        setBlocks(header, message.blocks);
        ops.frame(header, true); // Whoever is asked has applied what the read must see (W8).
        return;
      }
      case MessageType.Install:
        this.sendCopies(
          message.type,
          encodeCoordinatorMessage(message, speaks(ops, WireFeature.CopyRuns)),
          message.epoch,
          message.id,
          message.copy,
        );
        return;
      case MessageType.ListChanged:
      case MessageType.CopyRead:
        this.copies?.event(message.type, encodeCoordinatorMessage(message, false));
        return;
      case MessageType.Heartbeat: {
        const { epoch, sentMs } = message;
        if (!speaks(ops, WireFeature.HeartbeatFrames) || message.allAppliedEpoch !== epoch) {
          ops.event(message.type, encodeCoordinatorMessage(message, false), true);
          return;
        }
        const header = scratch.begin(FrameType.Heartbeat, ops.id);
        header.epoch = epoch;
        header.op = message.allAppliedOp;
        header.lba = toTicks(sentMs);
        ops.frame(header, true);
        return;
      }
      default:
        ops.event(message.type, encodeCoordinatorMessage(message, false));
    }
  }

  #sendApply(ops: WireStream, message: Readonly<Apply>): void {
    const { epoch, op, blocks, allAppliedOp } = message;
    const write = message.kind === ChangeKind.Write;
    const header = scratch.begin(write ? FrameType.Write : FrameType.Unmap, ops.id);
    header.flags = message.fua ? FrameFlag.Fua : 0;
    header.epoch = epoch;
    header.op = op;
    header.lba = message.lba;
    const behind = op - allAppliedOp;
    header.aux = allAppliedOp === 0 || behind >= ALL_APPLIED_UNKNOWN ? ALL_APPLIED_UNKNOWN : behind;
    if (!write) {
      setBlocks(header, blocks);
      ops.frame(header);
      return;
    }
    header.blocks = blocks;
    assert(message.data !== null && message.crcs !== null);
    ops.data(header, payloadBytes(message.data), message.dataByteOffset, message.crcs, 0);
  }

  protected override decode(
    type: number,
    b: Uint8Array,
    start: number,
    end: number,
  ): Pending<MemberMessage> | null {
    return decodeMemberMessage(type, b, start, end);
  }

  protected override deliver(message: MemberMessage): void {
    this.#handler.onMessage(message);
  }

  protected override onEnd(status: number, reason: string): void {
    this.#handler.onEnd(status, reason);
  }

  protected override onOpsFrame(header: Readonly<FrameHeader>): void {
    const { status, epoch, op, lba } = header;
    if (!isStatus(status)) {
      this.fail(`an answer of status ${status}`);
    } else if (header.type === FrameType.Applied) {
      const message = this.#applied;
      message.epoch = epoch;
      message.op = op;
      message.status = status;
      message.credit = lba;
      this.#handler.onMessage(message);
    } else if (header.type === FrameType.Flushed) {
      const message = this.#flushed;
      message.epoch = epoch;
      message.id = op;
      message.status = status;
      this.#handler.onMessage(message);
    } else if (header.type === FrameType.HeartbeatReply) {
      const message = this.#heartbeatReply;
      message.epoch = epoch;
      message.sentMs = lba / TICKS_PER_MS;
      message.credit = op;
      this.#handler.onMessage(message);
    } else this.fail(`a frame of type ${header.type} from a member`);
  }

  protected override opsPlace(header: Readonly<FrameHeader>, whole: boolean): Place | null {
    if (header.type !== FrameType.ReadDone) {
      this.fail(`a data frame of type ${header.type} from a member`);
      return null;
    }
    // Straight to the host's buffer, but only if nothing can happen in between: while the rest of a frame is on its way,
    // another member's answer may end the read, and the buffer may be somebody else's.
    const place = whole ? this.#handler.readTarget(header.op, header.blocks) : null;
    return place ?? this.room(header, this.opsOwner);
  }

  protected override onOpsData(header: Readonly<FrameHeader>, place: Place | null): void {
    const message = this.#readDone;
    const { status } = header;
    if (header.type !== FrameType.ReadDone || !isStatus(status)) {
      this.fail(`a data frame of type ${header.type}, status ${status}, from a member`);
      return;
    }
    const payload = this.receiving;
    this.receiving = null;
    message.epoch = header.epoch;
    message.id = header.op;
    message.status = status;
    message.failedLba = header.lba;
    message.data = payload;
    if (payload === null && place !== null) {
      this.ops!.took(header.payloadBytes);
      this.#direct.bytes = place.bytes;
      this.#direct.byteOffset = place.byteOffset;
      this.#direct.references = 1;
      message.data = this.#direct;
    }
    this.#handler.onMessage(message);
    message.data = null;
    payload?.release();
  }
}

const TICKS_PER_MS = 1000;

/** Rounded down: a lease that counts from there ends earlier, never later (E3). */
function toTicks(ms: number): number {
  return Math.max(0, Math.floor(ms * TICKS_PER_MS));
}

function speaks({ connection }: WireStream, feature: number): boolean {
  return ((connection.agreement?.features ?? 0) & feature) !== 0;
}

/** Unmap and Read may be longer than a data frame: 48 bits. */
function setBlocks(header: FrameHeader, blocks: number): void {
  assert(blocks >= 0 && blocks < 2 ** 48);
  header.blocks = blocks % TWO_32;
  header.status = Math.floor(blocks / TWO_32);
}

function getBlocks(header: Readonly<FrameHeader>): number {
  return header.blocks + header.status * TWO_32;
}

// ------------------------------------------------------------------------------------------------------- the member's end

export interface MemberEndHandler {
  /** Lent for the call. */
  onMessage(message: CoordinatorMessage): void;
  /** The session has ended. Called once; not for our own `close`. */
  onEnd(status: number, reason: string): void;
}

export class MemberEnd extends SessionEnd<CoordinatorMessage> {
  readonly #handler: MemberEndHandler;
  readonly #apply: Apply = {
    type: MessageType.Apply,
    epoch: 0,
    op: 0,
    kind: ChangeKind.Write,
    lba: 0,
    blocks: 0,
    fua: false,
    allAppliedOp: 0,
    crcs: null,
    data: null,
    dataByteOffset: 0,
  };
  readonly #flush: Flush = { type: MessageType.Flush, epoch: 0, id: 0 };
  readonly #heartbeat: Heartbeat = {
    type: MessageType.Heartbeat,
    epoch: 0,
    sentMs: 0,
    allAppliedEpoch: 0,
    allAppliedOp: 0,
  };
  readonly #read: Read = {
    type: MessageType.Read,
    epoch: 0,
    id: 0,
    lba: 0,
    blocks: 0,
    verifyOnly: false,
  };

  constructor(payloads: PayloadPool, handler: MemberEndHandler) {
    super(payloads);
    this.#handler = handler;
  }

  /** The coordinator opened the ops stream. */
  attachOps(stream: WireStream): StreamHandler {
    this.ops = stream;
    return this.opsHandler;
  }

  /** … and the copies stream; null: it has one. */
  attachCopies(stream: WireStream): StreamHandler | null {
    if (this.copies !== null || this.ended) return null;
    this.copies = stream;
    return this.copiesHandler;
  }

  /** Lent for the call, payloads too: those of a ReadDone are BytesPayloads with the CRCs of their blocks. */
  send(message: MemberMessage): void {
    const { ops } = this;
    if (ops === null || this.ended) return;
    switch (message.type) {
      case MessageType.Applied: {
        const header = scratch.begin(FrameType.Applied, ops.id);
        header.epoch = message.epoch;
        header.op = message.op;
        header.status = message.status;
        header.lba = message.credit;
        ops.frame(header);
        return;
      }
      case MessageType.Flushed: {
        const header = scratch.begin(FrameType.Flushed, ops.id);
        header.epoch = message.epoch;
        header.op = message.id;
        header.status = message.status;
        ops.frame(header);
        return;
      }
      case MessageType.ReadDone: {
        const header = scratch.begin(FrameType.ReadDone, ops.id);
        header.epoch = message.epoch;
        header.op = message.id;
        header.status = message.status;
        header.lba = message.failedLba;
        const { data } = message;
        if (data === null) ops.frame(header);
        else {
          assert(data instanceof BytesPayload && data.blocks > 0);
          header.blocks = data.blocks;
          ops.data(header, data.bytes, data.byteOffset, data.crcs, 0);
        }
        return;
      }
      case MessageType.CopyData: {
        const bytes = encodeMemberMessage(message, speaks(ops, WireFeature.CopyRuns));
        if (message.copy === null) this.copies?.event(message.type, bytes);
        else this.sendCopies(message.type, bytes, message.epoch, message.id, message.copy);
        return;
      }
      case MessageType.Changed:
      case MessageType.Installed:
        this.copies?.event(message.type, encodeMemberMessage(message, false));
        return;
      case MessageType.HeartbeatReply: {
        if (!speaks(ops, WireFeature.HeartbeatFrames)) {
          ops.event(message.type, encodeMemberMessage(message, false), true);
          return;
        }
        const header = scratch.begin(FrameType.HeartbeatReply, ops.id);
        header.epoch = message.epoch;
        header.op = Math.min(message.credit, MAX_OP);
        header.lba = toTicks(message.sentMs);
        ops.frame(header, true);
        return;
      }
      case MessageType.DamageFound:
        if (!speaks(ops, WireFeature.DamageFound)) return; // It would end the session.
        ops.event(message.type, encodeMemberMessage(message, false));
        return;
      default:
        ops.event(message.type, encodeMemberMessage(message, false));
    }
  }

  protected override decode(
    type: number,
    b: Uint8Array,
    start: number,
    end: number,
  ): Pending<CoordinatorMessage> | null {
    return decodeCoordinatorMessage(type, b, start, end);
  }

  protected override deliver(message: CoordinatorMessage): void {
    this.#handler.onMessage(message);
  }

  protected override onEnd(status: number, reason: string): void {
    this.#handler.onEnd(status, reason);
  }

  protected override onOpsFrame(header: Readonly<FrameHeader>): void {
    switch (header.type) {
      case FrameType.Unmap:
        this.#deliverApply(header, ChangeKind.Unmap, getBlocks(header), null, null);
        return;
      case FrameType.Flush: {
        const message = this.#flush;
        message.epoch = header.epoch;
        message.id = header.op;
        this.#handler.onMessage(message);
        return;
      }
      case FrameType.Read: {
        const message = this.#read;
        message.epoch = header.epoch;
        message.id = header.op;
        message.lba = header.lba;
        message.blocks = getBlocks(header);
        message.verifyOnly = (header.flags & FrameFlag.VerifyOnly) !== 0;
        const tooLong = !message.verifyOnly && message.blocks > MAX_DATA_BLOCKS;
        if (message.blocks === 0 || tooLong) this.fail(`a read of ${message.blocks} blocks`);
        else this.#handler.onMessage(message);
        return;
      }
      case FrameType.Heartbeat: {
        const message = this.#heartbeat;
        message.epoch = header.epoch;
        message.sentMs = header.lba / TICKS_PER_MS;
        message.allAppliedEpoch = header.epoch;
        message.allAppliedOp = header.op;
        this.#handler.onMessage(message);
        return;
      }
      default:
        this.fail(`a frame of type ${header.type} from a coordinator`);
    }
  }

  protected override opsPlace(header: Readonly<FrameHeader>): Place | null {
    if (header.type !== FrameType.Write) {
      this.fail(`a data frame of type ${header.type} from a coordinator`);
      return null;
    }
    return this.room(header, this.opsOwner);
  }

  protected override onOpsData(
    header: Readonly<FrameHeader>,
    _place: Place | null,
    crcs: Uint32Array,
  ): void {
    const payload = this.receiving;
    this.receiving = null;
    if (header.type !== FrameType.Write || payload === null) {
      this.fail('a write of no blocks');
      return;
    }
    this.#deliverApply(header, ChangeKind.Write, header.blocks, payload, crcs);
    payload.release();
  }

  #deliverApply(
    header: Readonly<FrameHeader>,
    kind: ChangeKind,
    blocks: number,
    data: Payload | null,
    crcs: Uint32Array | null,
  ): void {
    const { op, aux } = header;
    const allAppliedOp = aux === ALL_APPLIED_UNKNOWN ? 0 : op - aux;
    if (blocks === 0 || allAppliedOp < 0) {
      this.fail('an op that cannot be');
      return;
    }
    const message = this.#apply;
    message.epoch = header.epoch;
    message.op = op;
    message.kind = kind;
    message.lba = header.lba;
    message.blocks = blocks;
    message.fua = (header.flags & FrameFlag.Fua) !== 0;
    message.allAppliedOp = allAppliedOp;
    message.crcs = crcs;
    message.data = data;
    message.dataByteOffset = 0;
    this.#handler.onMessage(message);
    message.data = null;
    message.crcs = null;
  }
}

/** What a maker opens a stream with; an empty volume: a management stream. */
export function openStreamBytes(volumeId: string, replicaId: string, copiesOf: number): Uint8Array {
  return openStreamCodec.encode({ volumeId, replicaId, copiesOf });
}

/** For the member's node: what opens a stream, or null. */
export function decodeOpenStream(b: Uint8Array, start: number, end: number): OpenStream | null {
  return openStreamCodec.decode(b, start, end);
}
