// A session: every message crosses and comes out as it went in, in order, and its memory comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from '../../../src/base/index.ts';
import { DataBufferPool, IoStatus } from '../../../src/block/index.ts';
import {
  BytesPayload,
  CoordinatorEnd,
  decodeOpenStream,
  FrameType,
  MemberEnd,
  PayloadPool,
  type Place,
  Refusal,
  type StreamHandler,
  WireFeature,
  type WireStream,
} from '../../../src/wire/index.ts';
import { encodeMemberMessage } from '../../../src/wire/message-codec.ts';
import {
  type BlockCopies,
  BlockKind,
  ChangeKind,
  type CoordinatorMessage,
  InstallMode,
  type MemberMessage,
  MessageType,
  RefusalReason,
} from '../../../src/wire/messages.ts';
import { MemberState, type VolumeRecord } from '../../../src/wire/record.ts';
import { Pair } from './support.ts';

function payload(...fills: number[]): BytesPayload {
  const made = new PayloadPool(null).take(fills.length * 4096, null);
  const crcs = made.expectCrcs(fills.length);
  fills.forEach((fill, index) => {
    made.bytes.fill(fill, index * 4096, (index + 1) * 4096);
    crcs[index] = crc32c(made.bytes, index * 4096, (index + 1) * 4096);
  });
  return made;
}

const record: VolumeRecord = {
  volumeId: 'v-1',
  epoch: 7,
  n: 3,
  coordinatorId: 'c-9',
  members: [
    {
      replicaId: 'r-1',
      storeId: 's-1',
      openId: 'o-1',
      bootId: 'b-1',
      witness: false,
      state: MemberState.Joining,
      join: { epoch: 7, op: 2 ** 39 },
      since: { epoch: 5, op: 12 },
    },
  ],
  oldMembers: [{ replicaId: 'r-0', storeId: 's-0' }],
  allApplied: { epoch: 6, op: 99 },
  holeFloor: { epoch: 6, op: 7 },
  lossPending: true,
  snapshots: [
    {
      id: 'n-1',
      name: 'before',
      version: { epoch: 6, op: 1 },
      createdMs: 1.7e12,
      sizeBlocks: 2 ** 39,
      holders: ['r-1'],
    },
  ],
  sizeBlocks: 2 ** 40,
  blobs: [{ key: 'k', value: Uint8Array.of(1, 2, 3) }],
};

const identity = { storeId: 's-1', openId: 'o-2', openIds: ['o-1', 'o-2'], bootId: 'b-1' };

function copies(data: boolean): BlockCopies {
  const bytes = data ? payload(1, 3) : null;
  return {
    lba: 1000,
    blocks: 4,
    kinds: data
      ? Uint8Array.of(BlockKind.Data, BlockKind.Hole, BlockKind.Data, BlockKind.Damaged)
      : Uint8Array.of(BlockKind.Empty, BlockKind.Hole, BlockKind.Hole, BlockKind.Empty),
    epochs: Uint32Array.of(1, 2, 3, 4),
    ops: Float64Array.of(5, 6, 2 ** 40 - 1, 8),
    crcs: data ? Uint32Array.of(bytes!.crcs[0]!, 0, bytes!.crcs[1]!, 0) : new Uint32Array(4),
    data: bytes,
  };
}

const toMember: CoordinatorMessage[] = [
  { type: MessageType.Hello, volumeId: 'v-1', replicaId: 'r-1', coordinatorId: 'c-1' },
  { type: MessageType.Prepare, epoch: 8, coordinatorId: 'c-1' },
  { type: MessageType.StoreRecord, epoch: 8, op: 0, record },
  {
    type: MessageType.Apply,
    epoch: 8,
    op: 2 ** 33 + 5,
    kind: ChangeKind.Write,
    lba: 2 ** 41,
    blocks: 3,
    fua: true,
    allAppliedOp: 2 ** 33,
    crcs: payload(7, 8, 9).crcs,
    data: payload(7, 8, 9),
    dataByteOffset: 0,
  },
  {
    type: MessageType.Apply,
    epoch: 8,
    op: 2 ** 33 + 6,
    kind: ChangeKind.Unmap,
    lba: 5,
    blocks: 2 ** 40,
    fua: false,
    allAppliedOp: 0,
    crcs: null,
    data: null,
    dataByteOffset: 0,
  },
  { type: MessageType.TakeSnapshot, epoch: 8, op: 77, snapshotId: 'n-2', name: 'now' },
  { type: MessageType.Flush, epoch: 8, id: 12_345_678_901 },
  { type: MessageType.Digest, epoch: 8, id: 4, lba: 9, blocks: 4096 },
  { type: MessageType.ReleaseLease, epoch: 8 },
];
const toMemberUnordered: CoordinatorMessage[] = [
  { type: MessageType.Heartbeat, epoch: 8, sentMs: 1234.5, allAppliedEpoch: 7, allAppliedOp: 3 },
  {
    type: MessageType.Heartbeat,
    epoch: 8,
    sentMs: 2 ** 41 + 0.25,
    allAppliedEpoch: 8,
    allAppliedOp: 2 ** 39,
  },
  { type: MessageType.Read, epoch: 8, id: 3, lba: 17, blocks: 2, verifyOnly: false },
  { type: MessageType.Read, epoch: 8, id: 4, lba: 17, blocks: 2 ** 34, verifyOnly: true },
];
const toMemberCopies: CoordinatorMessage[] = [
  {
    type: MessageType.ListChanged,
    epoch: 8,
    id: 1,
    since: { epoch: 3, op: 4 },
    fromLba: 0,
    toLba: 2 ** 45,
    maxEntries: 100,
    branchOf: null,
  },
  { type: MessageType.CopyRead, epoch: 8, id: 2, lba: 3, blocks: 256, snapshotId: null },
  { type: MessageType.CopyRead, epoch: 8, id: 3, lba: 3, blocks: 1, snapshotId: 'n-1' },
  {
    type: MessageType.Install,
    epoch: 8,
    id: 5,
    mode: InstallMode.Rebuild,
    branchOf: null,
    join: { epoch: 8, op: 1 },
    copy: copies(true),
  },
  {
    type: MessageType.Install,
    epoch: 8,
    id: 6,
    mode: InstallMode.Reconcile,
    branchOf: null,
    join: { epoch: 0, op: 0 },
    copy: copies(false),
  },
];
const versions = { contig: { epoch: 7, op: 8 }, hint: { epoch: 7, op: 1 } };
const toCoordinator: MemberMessage[] = [
  {
    type: MessageType.HelloReply,
    snapshots: ['snap-1', 'snap-2'],
    ...identity,
    promised: 7,
    record,
    ...versions,
    witness: false,
    branches: true,
    credit: 5,
  },
  {
    type: MessageType.HelloReply,
    snapshots: ['snap-1', 'snap-2'],
    ...identity,
    promised: 0,
    record: null,
    ...versions,
    witness: true,
    branches: false,
    credit: 0,
  },
  {
    type: MessageType.PromiseMade,
    ...identity,
    epoch: 8,
    record,
    ...versions,
    snapshots: ['snap-1'],
    credit: 2 ** 50,
  },
  { type: MessageType.RecordStored, epoch: 8, n: 4, snapshots: ['s-1', 's-2'] },
  { type: MessageType.HeartbeatReply, epoch: 8, sentMs: 1234.5, credit: 2 ** 33 },
  {
    type: MessageType.Applied,
    epoch: 8,
    op: 2 ** 39 + 1,
    status: IoStatus.NoSpace,
    credit: 2 ** 52,
  },
  { type: MessageType.SnapshotTaken, epoch: 8, op: 77, status: IoStatus.Ok },
  {
    type: MessageType.DamageFound,
    epoch: 8,
    places: [
      { lba: 2 ** 45, snapshotId: null },
      { lba: 0, snapshotId: 'snap-1' },
    ],
  },
  { type: MessageType.Flushed, epoch: 8, id: 12_345_678_901, status: IoStatus.IoError },
  {
    type: MessageType.ReadDone,
    epoch: 8,
    id: 3,
    status: IoStatus.Ok,
    failedLba: 0,
    data: payload(5, 6),
  },
  {
    type: MessageType.ReadDone,
    epoch: 8,
    id: 4,
    status: IoStatus.Damaged,
    failedLba: 2 ** 44,
    data: null,
  },
  {
    type: MessageType.DigestDone,
    epoch: 8,
    id: 4,
    status: IoStatus.Ok,
    digestHigh: 0xffff_ffff,
    digestLow: 1,
  },
  {
    type: MessageType.Refused,
    epoch: 8,
    reason: RefusalReason.Leased,
    refusedType: MessageType.Prepare,
    id: 0,
    promised: 9,
    retryAfterMs: 1500.5,
  },
];
const toCoordinatorCopies: MemberMessage[] = [
  {
    type: MessageType.Changed,
    epoch: 8,
    id: 1,
    status: IoStatus.Ok,
    runs: {
      lbas: Float64Array.of(1, 2 ** 45),
      counts: Float64Array.of(4, 2 ** 36),
      kinds: Uint8Array.of(BlockKind.Data, BlockKind.Hole),
      epochs: Uint32Array.of(3, 4),
      ops: Float64Array.of(2 ** 38, 1),
    },
    nextLba: 2 ** 46,
  },
  { type: MessageType.CopyData, epoch: 8, id: 2, status: IoStatus.Ok, copy: copies(true) },
  { type: MessageType.CopyData, epoch: 8, id: 3, status: IoStatus.IoError, copy: null },
  { type: MessageType.Installed, epoch: 8, id: 5, status: IoStatus.Ok },
];

/** A message to keep and to compare: its payloads as [first, last] byte of each block. */
function frozen(message: CoordinatorMessage | MemberMessage): unknown {
  const blocksOf = (): number => {
    if (message.type === MessageType.Apply) return message.blocks;
    return 2; // Of each other message here that has some.
  };
  return JSON.parse(
    JSON.stringify(message, (key, value: unknown) => {
      if (key === 'dataBlocks') return undefined;
      if (value instanceof BytesPayload) {
        const at = (index: number): number => value.bytes[value.byteOffset + index]!;
        return Array.from({ length: blocksOf() }, (_, block) => [
          at(block * 4096),
          at(block * 4096 + 4095),
        ]);
      }
      if (value instanceof Uint32Array && message.type === MessageType.Apply) {
        return [...value.subarray(0, message.blocks)];
      }
      return ArrayBuffer.isView(value) ? [...(value as Uint8Array)] : value;
    }),
  );
}

class World {
  readonly pair: Pair;
  readonly arena = new DataBufferPool(new ArrayBuffer(8 * 2 ** 20));
  readonly memberHeard: unknown[] = [];
  readonly coordinatorHeard: unknown[] = [];
  readonly ends: string[] = [];
  member: MemberEnd | null = null;
  coordinator!: CoordinatorEnd;
  target: Place | null = null;
  opened = false;
  kept: BytesPayload | null = null;

  constructor(features?: number) {
    this.pair = new Pair({}, features === undefined ? {} : { features });
    const { taker, maker } = this.pair;
    const payloads = new PayloadPool(this.arena);
    taker.onStream = (
      stream: WireStream,
      request: number,
      b: Uint8Array,
      start: number,
      end: number,
    ): StreamHandler | Refusal => {
      const asked = decodeOpenStream(b, start, end);
      assert.ok(asked !== null);
      if (asked.volumeId !== 'v-1') return new Refusal(5, 'no such volume');
      stream.respond(request, new Uint8Array(0));
      if (asked.copiesOf !== 0) return this.member!.attachCopies(stream)!;
      this.member = new MemberEnd(payloads, {
        onMessage: (message) => {
          this.memberHeard.push(frozen(message));
          if (this.kept === null && message.type === MessageType.Apply && message.data !== null) {
            this.kept = message.data as BytesPayload;
            this.kept.retain();
          }
        },
        onEnd: (status, reason) => this.ends.push(`member ${status} ${reason}`),
      });
      return this.member.attachOps(stream);
    };
    this.pair.settle();
    this.pair.inTurn(() => {
      this.coordinator = new CoordinatorEnd({
        connection: maker.connection,
        payloads: new PayloadPool(null),
        volumeId: 'v-1',
        replicaId: 'r-1',
        openTimeoutMs: 1000,
        handler: {
          onOpen: () => {
            this.opened = true;
          },
          onMessage: (message) => this.coordinatorHeard.push(frozen(message)),
          readTarget: () => this.target,
          onEnd: (status, reason) => this.ends.push(`coordinator ${status} ${reason}`),
        },
      });
    });
    this.pair.settle();
  }
}

test('each message of the coordinator arrives as it was sent, whole or byte by byte', () => {
  for (const pieceBytes of [Number.POSITIVE_INFINITY, 1, 977]) {
    const world = new World();
    assert.ok(world.opened);
    world.pair.pieceBytes = pieceBytes;
    for (const group of [toMember, toMemberUnordered, toMemberCopies]) {
      world.memberHeard.length = 0;
      world.pair.inTurn(() => {
        for (const message of group) world.coordinator.send(message);
      });
      world.pair.settle();
      assert.deepEqual(world.memberHeard, group.map(frozen));
    }
    assert.deepEqual(world.ends, []);
    assert.ok(world.arena.freeBytes < 8 * 2 ** 20, 'what is kept is kept');
    assert.equal(world.kept!.bytes[4096 + 5], 8);
    world.kept!.release();
    assert.equal(world.arena.freeBytes, 8 * 2 ** 20);
  }
});

test('each message of the member arrives as it was sent', () => {
  for (const pieceBytes of [Number.POSITIVE_INFINITY, 1, 977]) {
    const world = new World();
    world.pair.pieceBytes = pieceBytes;
    for (const group of [toCoordinator, toCoordinatorCopies]) {
      world.coordinatorHeard.length = 0;
      world.pair.inTurn(() => {
        for (const message of group) world.member!.send(message);
      });
      world.pair.settle();
      assert.deepEqual(world.coordinatorHeard, group.map(frozen));
    }
  }
});

test('copies to and from one that knows no runs have an entry for each block, as before', () => {
  for (const [features, most] of [
    [undefined, 200],
    [WireFeature.Holes, 3000],
  ] as const) {
    const world = new World(features);
    const alike = {
      lba: 7,
      blocks: 300,
      kinds: new Uint8Array(300).fill(BlockKind.Hole),
      epochs: new Uint32Array(300).fill(3),
      ops: new Float64Array(300).fill(2 ** 39),
      crcs: new Uint32Array(300),
      data: null,
    };
    const copyData = { type: MessageType.CopyData, epoch: 8, id: 9, status: IoStatus.Ok } as const;
    const sent: MemberMessage[] = [{ ...copyData, copy: alike }, ...toCoordinatorCopies];
    world.pair.inTurn(() => world.member!.send(sent[0]!));
    const { length } = Buffer.concat(world.pair.taker.pipe.sent);
    assert.ok(length < most && length > most / 10, `${length} bytes`);
    world.pair.inTurn(() => {
      for (const message of toMemberCopies) world.coordinator.send(message);
      for (const message of toCoordinatorCopies) world.member!.send(message);
    });
    world.pair.settle();
    assert.deepEqual(world.memberHeard, toMemberCopies.map(frozen));
    assert.deepEqual(world.coordinatorHeard, sent.map(frozen));
  }
});

test('heartbeats to and from one that knows no frames for them are Events, as before', () => {
  for (const [features, frames] of [
    [undefined, true],
    [WireFeature.Holes, false],
  ] as const) {
    const world = new World(features);
    const heartbeat = toMemberUnordered[1]!;
    const reply = toCoordinator.find(({ type }) => type === MessageType.HeartbeatReply)!;
    const typesOf = (b: Buffer): number[] => [...b.subarray(4, 5)];
    world.pair.inTurn(() => world.coordinator.send(heartbeat));
    const [sent] = world.pair.maker.pipe.sent;
    assert.deepEqual(typesOf(sent!), [frames ? FrameType.Heartbeat : FrameType.Event]);
    world.pair.settle();
    world.pair.inTurn(() => world.member!.send(reply));
    const [answered] = world.pair.taker.pipe.sent;
    assert.deepEqual(typesOf(answered!), [frames ? FrameType.HeartbeatReply : FrameType.Event]);
    world.pair.settle();
    assert.deepEqual(world.memberHeard, [frozen(heartbeat)]);
    assert.deepEqual(world.coordinatorHeard, [frozen(reply)]);
  }
});

test('damage is told to nobody who does not know how to hear of it, and never more than fits', () => {
  const damage = toCoordinator.find(({ type }) => type === MessageType.DamageFound)!;
  for (const [features, heard] of [
    [undefined, [frozen(damage)]],
    [WireFeature.Holes | WireFeature.CopyRuns, []],
  ] as const) {
    const world = new World(features);
    world.pair.inTurn(() => world.member!.send(damage));
    world.pair.settle();
    assert.deepEqual(world.coordinatorHeard, heard);
    assert.deepEqual(world.ends, []);
  }
  for (const [count, taken] of [
    [64, true],
    [65, false],
  ] as const) {
    const places = Array.from({ length: count }, (_, lba) => ({ lba, snapshotId: null }));
    const world = new World();
    world.pair.inTurn(() =>
      world.member!.send({ type: MessageType.DamageFound, epoch: 8, places }),
    );
    world.pair.settle();
    assert.equal(world.coordinatorHeard.length, taken ? 1 : 0);
    assert.equal(world.ends.length > 0, !taken);
  }
});

test('a lease never counts from later than its heartbeat was sent', () => {
  const world = new World();
  const sentMs = 1234.567891;
  const heartbeat = { epoch: 8, sentMs, allAppliedEpoch: 8, allAppliedOp: 1 };
  world.pair.inTurn(() => world.coordinator.send({ type: MessageType.Heartbeat, ...heartbeat }));
  world.pair.settle();
  const [heard] = world.memberHeard as { sentMs: number }[];
  assert.ok(heard!.sentMs <= sentMs && heard!.sentMs > sentMs - 0.01, String(heard!.sentMs));
});

test('the blocks of a read go straight to their place, but only when they are all there', () => {
  for (const [pieceBytes, direct] of [
    [Number.POSITIVE_INFINITY, true],
    [5000, false],
  ] as const) {
    const world = new World();
    const bytes = new Uint8Array(3 * 4096);
    world.target = { bytes, byteOffset: 4096 };
    world.pair.pieceBytes = pieceBytes;
    world.pair.inTurn(() => {
      world.member!.send({
        type: MessageType.ReadDone,
        epoch: 8,
        id: 3,
        status: IoStatus.Ok,
        failedLba: 0,
        data: payload(5, 6),
      });
    });
    world.pair.settle();
    assert.equal(world.coordinatorHeard.length, 1);
    assert.equal(bytes[2 * 4096 + 9], direct ? 6 : 0);
  }
});

test('a session that is closed in the middle of a frame touches its memory no more', () => {
  const world = new World();
  world.pair.inTurn(() => world.coordinator.send(toMember[3]!));
  const sent = Buffer.concat(world.pair.maker.pipe.sent.splice(0));
  const { handler } = world.pair.taker.pipe;
  world.pair.inTurn(() => handler!.onBytes(sent, 0, 6000));
  assert.ok(world.arena.freeBytes < 8 * 2 ** 20);
  world.pair.inTurn(() => world.member!.close(10, 'enough'));
  assert.equal(world.arena.freeBytes, 8 * 2 ** 20, 'given back');
  const taken = world.arena.allocate(16384)!;
  taken.bytes.fill(0x11);
  world.pair.inTurn(() => handler!.onBytes(sent, 6000, sent.length));
  assert.ok(
    taken.bytes.every((byte) => byte === 0x11),
    'and not written to',
  );
  world.pair.settle();
  assert.deepEqual(world.ends, ['coordinator 10 enough']);
  assert.equal(world.pair.maker.closed + world.pair.taker.closed, '', 'the connection goes on');
});

test('a refused session says why, and the connection goes on', () => {
  const world = new World();
  const ends: string[] = [];
  world.pair.inTurn(() => {
    new CoordinatorEnd({
      connection: world.pair.maker.connection,
      payloads: new PayloadPool(null),
      volumeId: 'v-other',
      replicaId: 'r-1',
      openTimeoutMs: 1000,
      handler: {
        onOpen: () => assert.fail(),
        onMessage: () => assert.fail(),
        readTarget: () => null,
        onEnd: (status, reason) => ends.push(`${status} ${reason}`),
      },
    });
  });
  world.pair.settle();
  assert.deepEqual(ends, ['5 no such volume']);
  assert.equal(world.pair.maker.closed, '');
});

test('nonsense of a peer ends the session', () => {
  const world = new World();
  world.pair.inTurn(() => {
    // A member's message from a coordinator.
    world.coordinator.opsStream!.event(
      MessageType.RecordStored,
      encodeMemberMessage(toCoordinator[3]!, true),
    );
  });
  world.pair.settle();
  assert.equal(world.ends.length, 2);
  assert.match(world.ends[0]!, /member 3 a message of type/);
});
