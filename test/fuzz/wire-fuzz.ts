// Malformed frames against both ends of the wire: structure-aware mutations whose checksums are made right again, so that
// they get past the first look. Nothing may come of it but a clean end of the session or the connection, in bounded memory.
//
//   node dist/test/fuzz/wire-fuzz.js --frames 100000 --seed 1
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { crc32c, ManualClock, SeededRandom, Turn } from '../../src/base/index.ts';
import { DataBufferPool, IoStatus } from '../../src/block/index.ts';
import { encodeHeader } from '../../src/wire/frame.ts';
import {
  BytesPayload,
  CoordinatorEnd,
  DEFAULT_TIMEOUTS,
  dataPayloadBytes,
  decodeOpenStream,
  encodeRecord,
  FrameHeader,
  FrameRegions,
  FrameType,
  MemberEnd,
  OPEN_METHOD,
  PayloadPool,
  Refusal,
  WireConnection,
} from '../../src/wire/index.ts';
import { MAX_MESSAGE_BYTES } from '../../src/wire/limits.ts';
import {
  encodeCoordinatorMessage,
  encodeMemberMessage,
  openStreamCodec,
} from '../../src/wire/message-codec.ts';
import { MessageType, RefusalReason } from '../../src/wire/messages.ts';
import { initialRecord } from '../../src/wire/record.ts';
import { helloCodec, readyCodec, welcomeCodec } from '../../src/wire/schema.ts';
import { PipeEnd } from '../unit/wire/support.ts';

const ARENA_BYTES = 64 * 2 ** 20;

export interface WireFuzzResult {
  frames: number;
  connections: number;
  /** Messages that a session took for good. */
  delivered: number;
  reasons: Map<string, number>;
}

class Source {
  readonly #random: SeededRandom;
  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }
  below(bound: number): number {
    return this.#random.below(bound);
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  number(): number {
    return this.pick([
      () => this.below(4),
      () => this.below(2 ** 16),
      () => this.below(2 ** 40),
      () => 2 ** 31 - this.below(3),
      () => 2 ** 32 - 1 - this.below(3),
      () => 2 ** 40 - 1 - this.below(3),
    ])();
  }
}

const record = {
  ...initialRecord({
    volumeId: 'v',
    sizeBlocks: 1000,
    members: ['r1', 'r2', 'r3'].map((replicaId) => ({
      replicaId,
      storeId: `s-${replicaId}`,
      openId: 'o',
      bootId: 'b',
      witness: false,
    })),
  }),
  snapshots: [
    {
      id: 'n',
      name: 'before',
      version: { epoch: 2, op: 9 },
      createdMs: 1.7e12,
      sizeBlocks: 900,
      holders: ['r1', 'r2'],
    },
  ],
};
const identity = { storeId: 's', openId: 'o', openIds: ['o'], bootId: 'b' };
const zero = { epoch: 0, op: 0 };
const copy = {
  lba: 5,
  blocks: 2,
  kinds: Uint8Array.of(1, 2),
  epochs: Uint32Array.of(1, 1),
  ops: Float64Array.of(1, 2),
  crcs: new Uint32Array(2),
  data: new BytesPayload(),
};

/** Well-formed messages, to be spoiled: by method. */
const EVENTS: readonly (readonly [number, Uint8Array])[] = [
  ...(
    [
      { type: MessageType.Hello, volumeId: 'v', replicaId: 'r1', coordinatorId: 'c' },
      { type: MessageType.Prepare, epoch: 3, coordinatorId: 'c' },
      { type: MessageType.StoreRecord, epoch: 3, op: 0, record },
      { type: MessageType.Heartbeat, epoch: 3, sentMs: 1, allAppliedEpoch: 1, allAppliedOp: 1 },
      { type: MessageType.Install, epoch: 3, id: 1, mode: 2, join: zero, copy, branchOf: null },
      {
        type: MessageType.ListChanged,
        epoch: 3,
        id: 1,
        since: zero,
        fromLba: 0,
        toLba: 9,
        maxEntries: 9,
        branchOf: null,
      },
      { type: MessageType.CopyRead, epoch: 3, id: 1, lba: 0, blocks: 9, snapshotId: null },
      { type: MessageType.CopyRead, epoch: 3, id: 2, lba: 0, blocks: 9, snapshotId: 'n' },
      { type: MessageType.TakeSnapshot, epoch: 3, op: 7, snapshotId: 'n', name: 'before' },
      { type: MessageType.BranchSnapshot, epoch: 3, id: 4, snapshotId: 'n', version: zero },
      { type: MessageType.SealSnapshot, epoch: 3, id: 5, snapshotId: 'n', version: zero },
    ] as const
  ).map((message) => [message.type, encodeCoordinatorMessage(message, true)] as const),
  ...(
    [
      {
        type: MessageType.HelloReply,
        snapshots: ['n'],
        ...identity,
        promised: 1,
        record,
        contig: zero,
        hint: zero,
        witness: false,
        branches: true,
        credit: 1,
      },
      { type: MessageType.RecordStored, epoch: 3, n: 1, snapshots: ['s'] },
      { type: MessageType.SnapshotTaken, epoch: 3, op: 7, status: IoStatus.Ok },
      { type: MessageType.Branched, epoch: 3, id: 4, status: IoStatus.Ok, complete: true },
      { type: MessageType.DamageFound, epoch: 3, places: [{ lba: 5, snapshotId: 's' }] },
      { type: MessageType.CopyData, epoch: 3, id: 1, status: IoStatus.Ok, copy },
      {
        type: MessageType.Refused,
        epoch: 3,
        reason: RefusalReason.Leased,
        refusedType: MessageType.Prepare,
        id: 0,
        promised: 4,
        retryAfterMs: 3,
      },
    ] as const
  ).map((message) => [message.type, encodeMemberMessage(message, true)] as const),
  [0, encodeRecord(record)],
];

const LIVELY: readonly FrameType[] = [
  FrameType.Ping,
  FrameType.Window,
  FrameType.Request,
  FrameType.Response,
  FrameType.Cancel,
  ...Array<FrameType>(8).fill(FrameType.Event),
  FrameType.Write,
  FrameType.Unmap,
  FrameType.Flush,
  FrameType.Read,
  FrameType.Applied,
  FrameType.Flushed,
  FrameType.ReadDone,
  FrameType.CopyBlocks,
];

function frame(source: Source, streams: readonly number[]): Buffer {
  const header = new FrameHeader();
  // What ends a connection at once comes seldom, so that there is something to end.
  const types = source.below(60) === 0 ? Object.values(FrameType) : LIVELY;
  header.begin(source.below(200) === 0 ? (source.below(256) as FrameType) : source.pick(types), 0);
  header.stream = source.below(8) === 0 ? source.number() % 2 ** 32 : source.pick(streams);
  header.flags = source.below(4);
  header.status = source.below(4) === 0 ? source.below(65_536) : 0;
  header.request = source.below(2) === 0 ? source.below(8) : source.number() % 2 ** 32;
  header.epoch = source.below(8) === 0 ? 2 ** 24 - 1 : source.below(5);
  header.op = source.number() % 2 ** 40;
  header.lba = source.number();
  header.aux = source.below(20) === 0 ? source.number() % 2 ** 32 : 0;
  header.blocks = source.below(40) === 0 ? source.number() % 2 ** 32 : source.below(4);
  let payload = Buffer.alloc(0);
  const kind = header.kind as number;
  if (kind === 2 && header.blocks <= 8) {
    payload = Buffer.alloc(header.blocks === 0 ? 0 : dataPayloadBytes(header.blocks));
    const listBytes = payload.length === 0 ? 0 : (header.blocks - 1) * 4;
    for (let index = 0; index < header.blocks; index += 1) {
      const start = listBytes + index * 4096;
      const crc = crc32c(payload, start, start + 4096);
      if (index === 0) header.payloadCrc = crc;
      else payload.writeUInt32LE(crc, (index - 1) * 4);
    }
    if (source.below(60) === 0 && payload.length > 0) payload[source.below(payload.length)]! ^= 1;
  } else if (kind === 1) {
    const [method, message] = source.pick(EVENTS);
    header.type = source.below(8) === 0 ? header.type : FrameType.Event;
    header.blocks = source.below(6) === 0 ? source.below(64) : method;
    if (header.type === FrameType.Request) header.blocks = source.pick([OPEN_METHOD, 2, 9]);
    payload = Buffer.from(
      header.type === FrameType.Request
        ? openStreamCodec.encode({ volumeId: 'v', replicaId: 'r1', copiesOf: source.below(5) })
        : message,
    );
    for (let times = source.below(3); times > 0 && payload.length > 0; times -= 1) {
      payload[source.below(payload.length)] = source.below(256);
    }
    if (source.below(16) === 0) payload = payload.subarray(0, source.below(payload.length + 1));
    header.payloadCrc = crc32c(payload);
  }
  header.payloadBytes = payload.length;
  if (source.below(300) === 0) header.payloadBytes = source.number() % 2 ** 32;
  const b = Buffer.alloc(48 + payload.length);
  payload.copy(b, 48);
  encodeHeader(b, 0, header);
  if (source.below(300) === 0) b[source.below(48)]! ^= 1 << source.below(8);
  return b;
}

function handshakeBytes(type: FrameType, message: Uint8Array): Buffer {
  const header = new FrameHeader().begin(type, 0);
  header.payloadBytes = message.length;
  header.payloadCrc = crc32c(message);
  const b = Buffer.alloc(48 + message.length);
  encodeHeader(b, 0, header);
  b.set(message, 48);
  return b;
}

/** A stream that a maker opens as it should. */
function opening(stream: number, copiesOf: number): Buffer {
  const header = new FrameHeader().begin(FrameType.Request, stream);
  const message = openStreamCodec.encode({ volumeId: 'v', replicaId: 'r1', copiesOf });
  header.request = 1000 + stream;
  header.blocks = OPEN_METHOD;
  header.payloadBytes = message.length;
  header.payloadCrc = crc32c(message);
  const b = Buffer.alloc(48 + message.length);
  encodeHeader(b, 0, header);
  b.set(message, 48);
  return b;
}

const said = {
  node: 'n',
  software: 's',
  nonce: new Uint8Array(32),
  features: 3,
  connectionWindow: 32 * 2 ** 20,
  streamWindow: 16 * 2 ** 20,
  secret: false,
};
const HELLO = handshakeBytes(
  FrameType.Hello,
  helloCodec.encode({ ...said, protocolMin: 1, protocolMax: 1, required: 0 }),
);
const WELCOME = handshakeBytes(FrameType.Welcome, welcomeCodec.encode({ ...said, protocol: 1 }));
const READY = handshakeBytes(FrameType.Ready, readyCodec.encode({ hmac: new Uint8Array(0) }));

export function wireFuzz(frames: number, seed: number): WireFuzzResult {
  const source = new Source(seed);
  const result: WireFuzzResult = { frames: 0, connections: 0, delivered: 0, reasons: new Map() };
  const arena = new DataBufferPool(new ArrayBuffer(ARENA_BYTES));
  const payloads = new PayloadPool(arena);
  const turn = new Turn();
  const clock = new ManualClock();
  while (result.frames < frames) {
    result.connections += 1;
    const maker = source.below(2) === 0;
    const pipe = new PipeEnd();
    let closed = '';
    const sessions = new Map<number, MemberEnd>();
    const connection = new WireConnection({
      makesConnection: maker,
      transport: pipe,
      turn,
      clock,
      random: new SeededRandom(source.below(1000)),
      regions: new FrameRegions(),
      timeouts: DEFAULT_TIMEOUTS,
      node: 'here',
      software: 'fuzz',
      secret: null,
      handler: {
        onOpen() {},
        onStream: (stream, request, b, start, end) => {
          const asked = decodeOpenStream(b, start, end);
          if (asked === null) return new Refusal(3, 'what?');
          stream.respond(request, new Uint8Array(0));
          if (asked.copiesOf !== 0) {
            const joined = sessions.get(asked.copiesOf)?.attachCopies(stream) ?? null;
            return joined ?? new Refusal(5, 'no');
          }
          const end2 = new MemberEnd(payloads, {
            onMessage: () => {
              result.delivered += 1;
            },
            onEnd() {},
          });
          sessions.set(stream.id, end2);
          return end2.attachOps(stream);
        },
        onGoAway() {},
        onClosed: (reason) => {
          closed = reason;
        },
      },
    });
    turn.enter();
    connection.start();
    turn.leave();
    const feed = (b: Buffer): void => {
      // Now and then in two parts; what was lent is spoiled after the call.
      const cut = source.below(4) === 0 ? source.below(b.length + 1) : b.length;
      for (const part of [Buffer.from(b.subarray(0, cut)), Buffer.from(b.subarray(cut))]) {
        turn.enter();
        pipe.handler!.onBytes(part, 0, part.length);
        turn.leave();
        part.fill(0xdb);
      }
    };
    if (source.below(16) !== 0) {
      for (const b of maker ? [WELCOME, READY] : [HELLO, opening(1, 0), opening(3, 1)]) feed(b);
    }
    let streams: readonly number[] = maker ? [0, 1, 3] : [0, 1, 3];
    let next = maker ? 1 : 5;
    /** Sessions end by nonsense; another one begins. */
    const begin = (): void => {
      if (!maker) {
        streams = [next, next, next + 2, 0];
        for (const b of [opening(next, 0), opening(next + 2, next)]) feed(b);
        next += 4;
      } else if (connection.takesStreams && connection.streamCount < 64) {
        streams = [next, next, next + 2, 0];
        next += 4;
        turn.enter();
        new CoordinatorEnd({
          connection,
          payloads,
          volumeId: 'v',
          replicaId: 'r1',
          openTimeoutMs: 1000,
          handler: {
            onOpen() {},
            onMessage: () => {
              result.delivered += 1;
            },
            readTarget: () => null,
            onEnd() {},
          },
        });
        turn.leave();
      }
    };
    for (let count = 0; closed === '' && count < 200 && result.frames < frames; count += 1) {
      if (connection.isOpen && count % 3 === 0) begin();
      if (closed !== '') break;
      feed(frame(source, streams));
      result.frames += 1;
      assert.ok(connection.pendingBytes <= 2 * 96 * 2 ** 20);
      pipe.sent.length = 0;
    }
    if (closed === '') {
      turn.enter();
      connection.onClosed();
      turn.leave();
    }
    assert.equal(clock.pending, 0, 'a closed connection leaves no timer');
    assert.equal(arena.freeBytes, ARENA_BYTES, 'a closed connection holds no memory');
    const kind = closed.replace(/\d+/g, 'N');
    result.reasons.set(kind, (result.reasons.get(kind) ?? 0) + 1);
  }
  assert.ok(MAX_MESSAGE_BYTES > 0);
  return result;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({
    options: {
      frames: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
    },
  });
  const result = wireFuzz(Number(values.frames), Number(values.seed));
  const { connections, delivered, reasons } = result;
  process.stdout.write(
    `${result.frames} malformed frames on ${connections} connections; ${delivered} messages were well-formed after all\n`,
  );
  for (const [reason, count] of [...reasons].sort((a, b) => b[1] - a[1])) {
    process.stdout.write(`${String(count).padStart(8)}  ${reason}\n`);
  }
}
