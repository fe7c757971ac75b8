// Two ends of a connection: handshake, streams, calls, windows, keep-alive, drain.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  blockCrc,
  FrameHeader,
  FrameType,
  WireStatus,
  type WireStream,
} from '../../../src/wire/index.ts';
import { Pair } from './support.ts';

const SECRET = Buffer.from('sixteen bytes or more of it');

function send(stream: WireStream, op: number, blocks = 1): void {
  const bytes = Buffer.alloc(blocks * 4096, op);
  const crcs = new Uint32Array(blocks);
  for (let index = 0; index < blocks; index += 1) crcs[index] = blockCrc(bytes, index * 4096);
  const header = new FrameHeader().begin(FrameType.Write, stream.id);
  header.op = op;
  header.blocks = blocks;
  stream.data(header, bytes, 0, crcs, 0);
  bytes.fill(0xee); // The caller's again.
}

test('the handshake agrees on version, features and windows, fed byte by byte', () => {
  const pair = new Pair({ secret: SECRET }, { secret: SECRET, streamWindowBytes: 9 * 2 ** 20 });
  pair.pieceBytes = 1;
  pair.settle();
  assert.equal(pair.maker.closed, '');
  assert.equal(pair.maker.agreement?.peerNode, 'node-2');
  assert.equal(pair.taker.agreement?.peerNode, 'node-1');
  assert.equal(pair.maker.agreement?.streamWindowBytes, 9 * 2 ** 20);
  assert.equal(pair.stream('data').answer, 'welcome data');
});

test('a wrong, a missing and an unexpected secret are refused, and it is said why', () => {
  for (const [maker, taker] of [
    [SECRET, Buffer.from('another secret altogether')],
    [null, SECRET],
    [SECRET, null],
  ] as const) {
    const pair = new Pair({ secret: maker }, { secret: taker }).settle();
    assert.match(pair.taker.closed, /secret/);
    assert.notEqual(pair.maker.closed, '', 'or told by GoAway');
    assert.equal(pair.maker.agreement, null);
    assert.equal(pair.taker.agreement, null);
    assert.equal(pair.clock.pending, 0, 'no timer is left');
  }
});

test('a taker that knows no secret cannot pass for one that does', () => {
  // The taker lies: it says that it wants a proof, and answers with an HMAC of nothing.
  const pair = new Pair({ secret: SECRET }, { secret: Buffer.alloc(32) });
  pair.settle();
  assert.equal(pair.maker.agreement, null);
});

test('features that the peer lacks are missed at once', () => {
  const pair = new Pair({ requiredFeatures: 1 << 30 }).settle();
  assert.match(pair.taker.closed, /features/);
});

test('silence before the handshake ends by its deadline, silence after it by keep-alive', () => {
  const pair = new Pair();
  pair.clock.advance(5100);
  assert.match(pair.taker.closed, /handshake was not finished/);
  const open = new Pair().settle();
  for (let second = 0; second < 30; second += 1) {
    open.clock.advance(1000);
    open.settle();
  }
  assert.equal(open.maker.closed + open.taker.closed, '', 'pings keep it');
  open.clock.advance(6000); // Nothing crosses any more.
  assert.match(open.maker.closed, /nothing was heard for 5 s/);
  assert.match(open.taker.closed, /nothing was heard/);
  assert.equal(open.clock.pending, 0);
});

test('the time for which this process stood still is not the silence of its peer', () => {
  const pair = new Pair();
  pair.clock.standStill(20_000);
  pair.clock.advance(250);
  assert.equal(pair.taker.closed, '', 'a handshake under way goes on');
  pair.settle();
  pair.clock.standStill(20_000);
  pair.clock.advance(250);
  pair.settle();
  assert.equal(pair.maker.closed + pair.taker.closed, '');
  pair.clock.advance(6000); // It runs, and nothing crosses.
  assert.match(pair.taker.closed, /nothing was heard for 5 s/);
});

test('a peer that is gone is found, however late this process is each time; a call is not ended by a standstill', () => {
  for (const lateMs of [1000, 5000, 30_000]) {
    const pair = new Pair().settle();
    let ticks = 0;
    for (; pair.taker.closed === '' && ticks < 50; ticks += 1) {
      pair.clock.standStill(lateMs);
      pair.clock.advance(250);
    }
    assert.match(pair.taker.closed, /nothing was heard for 5 s/);
    assert.ok(ticks <= 7, `${ticks} ticks, each ${lateMs} ms late`);
  }
  const pair = new Pair().settle();
  const { ours } = pair.stream();
  let ended: number | null = null;
  pair.inTurn(() => {
    ours.request(1, Buffer.from('question'), 5000, (status) => {
      ended = status;
    });
  });
  pair.clock.standStill(20_000);
  pair.clock.advance(1);
  assert.equal(ended, null, 'its answer may wait in the socket');
  pair.clock.advance(250);
  assert.equal(ended, WireStatus.DeadlineExceeded);
});

test('frames of one stream keep their order, whatever their kind', () => {
  const pair = new Pair().settle();
  const { ours, far } = pair.stream();
  pair.inTurn(() => {
    send(ours, 1);
    ours.event(9, Buffer.from('between'));
    send(ours, 2, 3);
    const flush = new FrameHeader().begin(FrameType.Flush, ours.id);
    flush.op = 3;
    ours.frame(flush);
  });
  assert.equal(pair.maker.pipe.sent.length, 1, 'one write for all of a turn');
  pair.pieceBytes = 1000;
  pair.settle();
  assert.deepEqual(far.log, ['data 32 1', 'event 9 between', 'data 32 2', 'frame 34 3']);
  assert.deepEqual(far.data[1]!.bytes, Buffer.alloc(3 * 4096, 2));
});

test('calls: answers, refusals, deadlines, cancellation', () => {
  const pair = new Pair().settle();
  const { ours, far } = pair.stream();
  const ends: string[] = [];
  const call = (text: string, timeoutMs = 1000): number => {
    let request = 0;
    pair.inTurn(() => {
      request = ours.request(7, Buffer.from(text), timeoutMs, (status, reason, b, start, end) => {
        ends.push(`${status} ${reason}${Buffer.from(b.subarray(start, end)).toString()}`);
      });
    });
    return request;
  };
  call('ping');
  call('refuse');
  pair.settle();
  assert.deepEqual(ends, ['0 ping!', '9 not now']);
  call('never');
  pair.settle();
  pair.clock.advance(1300);
  pair.settle();
  assert.equal(ends[2], `${WireStatus.DeadlineExceeded} no answer in time`);
  assert.equal(far.log.at(-1), 'cancel');
  const request = call('never');
  pair.settle();
  pair.inTurn(() => pair.maker.connection.cancel(request));
  pair.settle();
  assert.equal(ends[3], '1 cancelled');
  assert.equal(far.log.at(-1), 'cancel');
});

test('a stream that is refused is no more', () => {
  const pair = new Pair().settle();
  assert.equal(pair.stream('nobody').answer, '5 no such volume');
  assert.equal(pair.maker.connection.streamCount + pair.taker.connection.streamCount, 0);
});

test('a window that is used up holds back data and what follows it, and nothing else', () => {
  const pair = new Pair({}, { streamWindowBytes: 9 * 2 ** 20 }).settle();
  const { ours, near, far } = pair.stream('slow');
  const other = pair.stream('quick');
  far.takes = false;
  pair.inTurn(() => {
    for (let op = 1; op <= 4; op += 1) send(ours, op, 1024);
    ours.event(1, Buffer.from('after'));
    ours.event(2, Buffer.from('urgent'), true);
    send(other.ours, 1);
  });
  pair.settle();
  assert.deepEqual(far.log, ['data 32 1', 'data 32 2', 'event 2 urgent']);
  assert.deepEqual(other.far.log, ['data 32 1']);
  assert.ok(pair.maker.connection.pendingBytes > 8 * 2 ** 20);
  far.takes = true;
  pair.inTurn(() => {
    for (const { header } of far.data) far.stream!.took(header.payloadBytes);
  });
  pair.settle();
  assert.deepEqual(far.log.slice(3), ['data 32 3', 'data 32 4', 'event 1 after']);
  assert.deepEqual(near.log, ['writable']);
  assert.equal(pair.maker.connection.pendingBytes, 0);
  for (const { bytes, header } of far.data) assert.equal(bytes[5], header.op);
});

test('the window of the connection is shared by its streams', () => {
  const small = { connectionWindowBytes: 5 * 2 ** 20, streamWindowBytes: 5 * 2 ** 20 };
  const pair = new Pair({}, small).settle();
  const [one, two] = [pair.stream('one'), pair.stream('two')];
  one.far.takes = false;
  pair.inTurn(() => {
    send(one.ours, 1, 1024);
    send(two.ours, 2, 1024);
  });
  pair.settle();
  assert.deepEqual(two.far.log, []);
  pair.inTurn(() => one.far.stream!.took(one.far.data[0]!.header.payloadBytes));
  pair.settle();
  assert.deepEqual(two.far.log, ['data 32 2']);
});

test('a stream that ends gives its part of the window back', () => {
  const small = { connectionWindowBytes: 5 * 2 ** 20, streamWindowBytes: 5 * 2 ** 20 };
  const pair = new Pair({}, small).settle();
  for (let round = 0; round < 5; round += 1) {
    const { ours, far } = pair.stream('again');
    far.takes = false;
    pair.inTurn(() => {
      send(ours, 1, 1000);
      ours.event(1, Buffer.from('x'));
    });
    pair.settle();
    assert.equal(far.data.length, 1, `round ${round}`);
    pair.inTurn(() => far.stream!.reset(WireStatus.Aborted, 'enough'));
    pair.settle();
  }
  assert.equal(pair.maker.connection.streamCount + pair.taker.connection.streamCount, 0);
});

test('a peer that sends more than the window allows is cut off', () => {
  const pair = new Pair().settle();
  const { ours, far } = pair.stream();
  far.takes = false;
  ours.sendWindow = Number.MAX_SAFE_INTEGER; // A cheat.
  pair.inTurn(() => {
    for (let op = 1; op <= 5; op += 1) send(ours, op, 1024);
  });
  pair.settle();
  assert.match(pair.taker.closed, /more data .* than its window/);
  assert.equal(far.log.at(-1)?.startsWith('reset 14'), true);
});

test('the drain: no new streams, those there go on', () => {
  const pair = new Pair().settle();
  const { ours, far } = pair.stream();
  pair.inTurn(() => pair.taker.connection.goAway(WireStatus.Unavailable, 'restart'));
  pair.settle();
  assert.equal(pair.maker.goAway, 'restart');
  assert.equal(pair.maker.connection.takesStreams, false);
  pair.inTurn(() => send(ours, 1));
  pair.settle();
  assert.deepEqual(far.log, ['data 32 1']);
});

test('the end of a connection is heard by each stream and each call, once', () => {
  const pair = new Pair().settle();
  const { ours, near, far } = pair.stream();
  let ended = 0;
  pair.inTurn(() => {
    ours.request(7, Buffer.from('never'), 60_000, (status) => {
      assert.equal(status, WireStatus.Unavailable);
      ended += 1;
    });
  });
  pair.settle();
  pair.inTurn(() => {
    pair.maker.connection.onClosed();
    pair.maker.connection.onClosed();
    pair.taker.connection.onClosed();
  });
  assert.equal(ended, 1);
  assert.equal(near.log.filter((line) => line.startsWith('reset')).length, 1);
  assert.equal(far.log.filter((line) => line.startsWith('reset')).length, 1);
  assert.equal(pair.clock.pending, 0);
  pair.inTurn(() => send(ours, 2)); // Into the void, without harm.
});
