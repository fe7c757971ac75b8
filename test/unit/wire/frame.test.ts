// The header's bytes, and the parser over any split of a stream.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../../../src/base/index.ts';
import { decodeHeader, encodeHeader } from '../../../src/wire/frame.ts';
import {
  blockCrc,
  dataPayloadBytes,
  FrameHeader,
  FrameParser,
  FrameType,
  frameBytes,
} from '../../../src/wire/index.ts';
import { MAX_MESSAGE_BYTES } from '../../../src/wire/limits.ts';
import { WIRE_PROTO } from '../../../src/wire/schema-text.ts';

const anyHeader = fc.record({
  type: fc.constantFrom(FrameType.Unmap, FrameType.Read, FrameType.Applied, FrameType.Window),
  flags: fc.nat(255),
  status: fc.nat(65_535),
  stream: fc.nat(0xffff_ffff),
  request: fc.nat(0xffff_ffff),
  epoch: fc.nat(2 ** 24 - 1),
  op: fc.maxSafeNat().map((n) => n % 2 ** 40),
  lba: fc.maxSafeNat().map((n) => n % 2 ** 52),
  blocks: fc.nat(0xffff_ffff),
  aux: fc.nat(0xffff_ffff),
  payloadCrc: fc.nat(0xffff_ffff),
});

test('a header decodes to what was encoded', () => {
  fc.assert(
    fc.property(anyHeader, (fields) => {
      const header = Object.assign(new FrameHeader(), fields);
      const b = Buffer.alloc(60);
      encodeHeader(b, 5, header);
      const back = new FrameHeader();
      assert.equal(decodeHeader(b, 5, back), null);
      assert.deepEqual(back, header);
    }),
  );
});

test('the layout is the one that the protocol document shows', () => {
  const header = new FrameHeader().begin(FrameType.Read, 0x01020304);
  Object.assign(header, { flags: 2, status: 0x0506, request: 0x0708090a, epoch: 0x0b0c0d });
  Object.assign(header, {
    op: 0x0e0f101112,
    lba: 0x131415161718,
    blocks: 0x191a1b1c,
    aux: 0x1d1e1f20,
  });
  const b = frameBytes(header);
  assert.equal(
    b.subarray(0, 44).toString('hex'),
    '00000000' +
      '23' +
      '02' +
      '0605' +
      '04030201' +
      '0a090807' +
      '1211100f0e0d0c0b' +
      '1817161514130000' +
      '1c1b1a19' +
      '201f1e1d' +
      '00000000',
  );
  assert.equal(b.readUInt32LE(44), crc32c(b, 0, 44));
});

test('each flipped bit of a header is noticed', () => {
  const header = new FrameHeader().begin(FrameType.Read, 7);
  header.lba = 4711;
  const good = frameBytes(header);
  for (let bit = 0; bit < 48 * 8; bit += 1) {
    const bad = Buffer.from(good);
    bad[bit >> 3]! ^= 1 << (bit & 7);
    assert.notEqual(decodeHeader(bad, 0, new FrameHeader()), null, `bit ${bit}`);
  }
});

test('lengths that a type does not allow are refused before anything is allocated', () => {
  const refused = (type: number, payloadBytes: number, blocks: number): string | null => {
    const header = new FrameHeader().begin(type as FrameType, 1);
    header.blocks = blocks;
    header.payloadBytes = payloadBytes;
    const b = Buffer.alloc(48);
    encodeHeader(b, 0, header);
    return decodeHeader(b, 0, new FrameHeader());
  };
  assert.match(refused(FrameType.Ping, 1, 0)!, /payload/);
  assert.match(refused(FrameType.Event, MAX_MESSAGE_BYTES + 1, 0)!, /message of/);
  assert.match(refused(FrameType.Write, 4095, 1)!, /1 blocks in 4095/);
  assert.match(refused(FrameType.Write, dataPayloadBytes(1025), 1025)!, /1025 blocks/);
  assert.match(refused(FrameType.Write, 4096, 0)!, /no blocks/);
  assert.match(refused(99, 0, 0)!, /unknown frame type/);
  assert.equal(refused(FrameType.Write, 2 * 4096 + 4, 2), null);
});

interface Heard {
  readonly frames: string[];
  broken: string;
}

function parse(b: Buffer, cuts: readonly number[], maxMessageBytes = MAX_MESSAGE_BYTES): Heard {
  const heard: Heard = { frames: [], broken: '' };
  const parser = new FrameParser(
    {
      place: (header) =>
        header.stream === 13
          ? null
          : { bytes: new Uint8Array(header.blocks * 4096), byteOffset: 0 },
      onData: (header, place, crcs) => {
        const sum = place === null ? 0 : crc32c(place.bytes);
        heard.frames.push(
          `${header.type} ${header.op} ${sum} ${crcs[0]} ${crcs[header.blocks - 1]}`,
        );
      },
      onFrame: (header, bytes, start, end) => {
        heard.frames.push(
          `${header.type} ${Buffer.from(bytes.subarray(start, end)).toString('hex')}`,
        );
      },
      onBroken: (why) => {
        heard.broken = why;
      },
    },
    maxMessageBytes,
  );
  let at = 0;
  for (const cut of [...cuts, b.length]) {
    const piece = Buffer.from(b.subarray(at, cut)); // A memory of its own, cleared after the call: it was lent.
    parser.push(piece, 0, piece.length);
    piece.fill(0xee);
    at = cut;
  }
  return heard;
}

function dataFrame(blocks: number, op: number, fill: number, stream = 1): Buffer {
  const data = Buffer.alloc(blocks * 4096, fill);
  for (let index = 0; index < blocks; index += 1)
    data.writeUInt32LE(op * 1000 + index, index * 4096);
  const header = new FrameHeader().begin(FrameType.Write, stream);
  header.blocks = blocks;
  header.op = op;
  header.payloadCrc = blockCrc(data, 0);
  const list = Buffer.alloc((blocks - 1) * 4);
  for (let index = 1; index < blocks; index += 1) {
    list.writeUInt32LE(blockCrc(data, index * 4096), (index - 1) * 4);
  }
  return frameBytes(header, Buffer.concat([list, data]));
}

function messageFrame(text: string): Buffer {
  const header = new FrameHeader().begin(FrameType.Event, 1);
  const message = Buffer.from(text);
  header.payloadCrc = crc32c(message);
  return frameBytes(header, message);
}

const someStream = Buffer.concat([
  messageFrame('hello'),
  dataFrame(1, 1, 7),
  frameBytes(new FrameHeader().begin(FrameType.Ping, 0)),
  dataFrame(3, 2, 8),
  messageFrame(''),
  dataFrame(2, 4, 9, 13),
  messageFrame('x'.repeat(5000)),
  dataFrame(1, 3, 9),
]);

test('any split of a stream gives the same frames', () => {
  const whole = parse(someStream, []);
  assert.equal(whole.broken, '');
  assert.equal(whole.frames.length, 7, 'the frame without a place is dropped');
  fc.assert(
    fc.property(fc.array(fc.nat(someStream.length), { maxLength: 40 }), (cuts) => {
      assert.deepEqual(
        parse(
          someStream,
          cuts.sort((a, b) => a - b),
        ),
        whole,
      );
    }),
    { numRuns: 60 },
  );
  const everyByte = Array.from({ length: someStream.length - 1 }, (_, index) => index + 1);
  assert.deepEqual(parse(someStream, everyByte), whole);
});

test('a flipped bit anywhere in a stream breaks it, and what was told before is right', () => {
  const whole = parse(someStream, []);
  const dropped = someStream.indexOf(dataFrame(2, 4, 9, 13));
  fc.assert(
    fc.property(fc.nat(someStream.length * 8 - 1), (bit) => {
      const byte = bit >> 3;
      // What nobody wants is not checked either.
      if (byte >= dropped + 48 && byte < dropped + 48 + dataPayloadBytes(2)) return;
      const bad = Buffer.from(someStream);
      bad[byte]! ^= 1 << (bit & 7);
      const heard = parse(bad, []);
      assert.notEqual(heard.broken, '');
      assert.deepEqual(heard.frames, whole.frames.slice(0, heard.frames.length));
      assert.ok(heard.frames.length < whole.frames.length);
    }),
    { numRuns: 400 },
  );
});

test('a long message is held in proportion to what has come, and before the handshake not at all', () => {
  const header = new FrameHeader().begin(FrameType.Event, 1);
  header.payloadBytes = MAX_MESSAGE_BYTES;
  const b = Buffer.alloc(48 + 10);
  encodeHeader(b, 0, header);
  let broken = '';
  const sink = {
    place: () => null,
    onData() {},
    onFrame() {},
    onBroken: (why: string) => {
      broken = why;
    },
  };
  const parser = new FrameParser(sink, MAX_MESSAGE_BYTES);
  parser.push(b, 0, b.length);
  assert.equal(broken, '');
  assert.ok(parser.heldBytes < 1024);
  new FrameParser(sink, 4096).push(b, 0, b.length);
  assert.match(broken, /message of/);
});

test('the schema that travels as text is the schema of wire.proto', () => {
  assert.equal(
    WIRE_PROTO,
    readFileSync('src/wire/wire.proto', 'utf8'),
    'run scripts/wire-proto.mjs',
  );
});
