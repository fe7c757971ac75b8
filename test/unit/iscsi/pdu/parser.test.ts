import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Digests, NO_DIGESTS, StreamError } from '../../../../src/iscsi/pdu/index.ts';
import { aCommandWithAhs, aDataOut, aNopOut, aParser, RecordingSink } from './stream.ts';

const BOTH: Digests = { header: true, data: true };

function feedWhole(stream: Buffer, digests = NO_DIGESTS): string[] {
  const sink = new RecordingSink();
  aParser(sink, digests).feed(stream, 0, stream.length);
  return sink.events;
}

describe('PDU parser', () => {
  const anyDigests = fc.record({ header: fc.boolean(), data: fc.boolean() });
  const anyBytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((b) => Buffer.from(b));

  test('any split of a stream gives the same PDUs', () => {
    const anyPdu = (digests: Digests) =>
      fc.oneof(
        anyBytes(70).map((data) => aNopOut(data, digests)),
        anyBytes(300).map((data) => aDataOut(data, digests)),
        fc
          .tuple(fc.integer({ min: 0, max: 5 }), anyBytes(40))
          .map(([words, data]) => aCommandWithAhs(Buffer.alloc(words * 4, words), data, digests)),
      );
    const streams = anyDigests.chain((digests) =>
      fc.record({
        digests: fc.constant(digests),
        pdus: fc.array(anyPdu(digests), { minLength: 1, maxLength: 6 }),
        cuts: fc.array(fc.nat(600), { maxLength: 12 }),
        placed: fc.boolean(),
      }),
    );
    fc.assert(
      fc.property(streams, ({ digests, pdus, cuts, placed }) => {
        const stream = Buffer.concat(pdus);
        const expected = feedWhole(stream, digests);
        assert.equal(expected.length, pdus.length);

        const sink = new RecordingSink();
        if (placed) sink.place = { bytes: Buffer.alloc(1000), at: 17 };
        const parser = aParser(sink, digests);
        const places = [0, ...cuts.filter((cut) => cut < stream.length), stream.length];
        places.sort((a, b) => a - b);
        for (let index = 1; index < places.length; index += 1) {
          // A buffer of its own for each part: nothing may be read again later.
          const part = Buffer.from(stream.subarray(places[index - 1]!, places[index]!));
          assert.equal(parser.feed(part, 0, part.length), part.length);
          part.fill(0xee);
        }
        assert.deepEqual(sink.events, expected);
        assert.equal(parser.midPdu, false);
      }),
      { numRuns: 500 },
    );
  });

  test('one byte at a time, with both digests', () => {
    const stream = Buffer.concat([
      aNopOut(Buffer.from('abcde'), BOTH),
      aDataOut(Buffer.alloc(8, 1), BOTH),
    ]);
    const sink = new RecordingSink();
    const parser = aParser(sink, BOTH);
    for (let at = 0; at < stream.length; at += 1) parser.feed(stream, at, at + 1);
    assert.deepEqual(sink.events, feedWhole(stream, BOTH));
    assert.equal(sink.events.length, 2);
  });

  test('every flipped bit is noticed when both digests are on', () => {
    const pdu = aNopOut(Buffer.from('hello'), BOTH);
    for (let bit = 0; bit < pdu.length * 8; bit += 1) {
      const bad = Buffer.from(pdu);
      bad[bit >> 3]! ^= 1 << (bit & 7);
      const whole = feedWhole(Buffer.concat([bad, Buffer.alloc(4096)]), BOTH);
      assert.ok(whole.length >= 1);
      assert.match(whole[0]!, /digest|too-long/, `bit ${bit}`);
    }
  });

  test('a data digest error leaves the stream usable, a header digest error does not', () => {
    const bad = aNopOut(Buffer.from('hello'), BOTH);
    bad[52]! ^= 1;
    const good = aNopOut(Buffer.from('world'), BOTH);
    const events = feedWhole(Buffer.concat([bad, good]), BOTH);
    assert.equal(events[0], 'data digest error, opcode 0');
    assert.match(events[1]!, /776f726c64$/);

    const worse = Buffer.from(good);
    worse[20]! ^= 1;
    assert.deepEqual(feedWhole(Buffer.concat([worse, good]), BOTH), ['header-digest, opcode 0']);
  });

  test('lengths over the limit end the stream before anything is buffered', () => {
    const limits = { maxAhsBytes: 4, maxDataSegmentBytes: 100 };
    const cases = [
      { pdu: aDataOut(Buffer.alloc(101)), error: StreamError.DataSegmentTooLong },
      { pdu: aCommandWithAhs(Buffer.alloc(8), Buffer.alloc(0)), error: StreamError.AhsTooLong },
    ];
    for (const { pdu, error } of cases) {
      for (const part of [48, pdu.length]) {
        const sink = new RecordingSink();
        const parser = aParser(sink, NO_DIGESTS, limits);
        parser.feed(pdu, 0, 20);
        parser.feed(pdu, 20, part);
        assert.equal(sink.events.length, 1);
        assert.match(sink.events[0]!, new RegExp(error));
        assert.equal(parser.closed, true);
        assert.equal(parser.feed(pdu, 0, pdu.length), pdu.length);
        assert.equal(sink.events.length, 1);
      }
    }
  });

  test('data of a cut PDU go straight to the place the sink gives', () => {
    const sink = new RecordingSink();
    sink.place = { bytes: Buffer.alloc(64), at: 10 };
    const pdu = aDataOut(Buffer.from('0123456789'));
    const parser = aParser(sink);
    parser.feed(pdu, 0, 52);
    parser.feed(pdu, 52, pdu.length);
    assert.equal(sink.place.bytes.toString('latin1', 10, 20), '0123456789');
    assert.equal(sink.events.length, 1);
  });

  test('after discardData nothing is written to the place any more, and the stream goes on', () => {
    const place = Buffer.alloc(64);
    const sink = new RecordingSink();
    sink.place = { bytes: place, at: 0 };
    const pdu = aDataOut(Buffer.from('0123456789'), BOTH);
    const parser = aParser(sink, BOTH);
    parser.feed(pdu, 0, 55);
    parser.discardData(Buffer.alloc(64)); // Another's: nothing happens.
    parser.discardData(place);
    const before = Buffer.from(place);
    parser.feed(pdu, 55, pdu.length);
    parser.feed(aNopOut(Buffer.alloc(0), BOTH), 0, 52);
    assert.deepEqual(place, before);
    assert.equal(sink.events.length, 2);
    assert.match(sink.events[0]!, / $/);
  });

  test('pause stops between PDUs and says where; close stops for good', () => {
    const pdu = aNopOut(Buffer.from('abcd'));
    const stream = Buffer.concat([pdu, pdu, pdu]);
    const sink = new RecordingSink();
    const parser = aParser(sink);
    sink.onEach = () => parser.pause();
    assert.equal(parser.feed(stream, 0, stream.length), pdu.length);
    assert.equal(parser.feed(stream, pdu.length, stream.length), 2 * pdu.length);
    sink.onEach = () => parser.close();
    assert.equal(parser.feed(stream, 2 * pdu.length, stream.length), stream.length);
    assert.equal(parser.feed(stream, 0, stream.length), stream.length);
    assert.equal(sink.events.length, 3);
  });

  test('digests set by the sink hold from the next PDU of the same feed on', () => {
    const stream = Buffer.concat([aNopOut(Buffer.from('a')), aNopOut(Buffer.from('b'), BOTH)]);
    const sink = new RecordingSink();
    const parser = aParser(sink);
    sink.onEach = () => parser.setDigests(BOTH);
    parser.feed(stream, 0, stream.length);
    assert.equal(sink.events.length, 2);
    assert.match(sink.events[1]!, /62$/);
  });
});
