// Goal: no bytes at all bring the iSCSI target down. Parser, login and text are fed malformed PDUs, and whole sessions in
// full feature phase PDUs that are nearly right; nothing may throw, hang or grow, and any way of cutting a stream must give
// the same PDUs.
//
//   node dist/test/fuzz/iscsi-fuzz.js --pdus 1000000 --seed 1
import assert from 'node:assert/strict';
import { setImmediate as nextLoop } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SeededRandom } from '../../src/base/index.ts';
import {
  type ChapAlgorithm,
  chapResponse,
  LoginNegotiator,
  type LoginStep,
} from '../../src/iscsi/login/index.ts';
import {
  ahs,
  ahsBytesOf,
  BHS_BYTES,
  type DataPlace,
  type Digests,
  LOGIN_PARSER_LIMITS,
  LoginStage,
  loginRequest,
  loginResponse,
  lunOf,
  Opcode,
  opcodeOf,
  PduParser,
  type PduSink,
  textRequest,
} from '../../src/iscsi/pdu/index.ts';
import { DEFAULT_OFFER, defaultParameters, TextExchange } from '../../src/iscsi/text/index.ts';
import { aDirectory, aTarget, aText, readKeys } from '../unit/iscsi/login/initiator.ts';
import { attack } from '../unit/iscsi/support/hostile.ts';
import { PduGenerator } from './pdu-generator.ts';

const USER = 'alice';
const SECRET = 'secret';
const ADMISSION = { tsih: 1, expCmdSn: 1, maxCmdSn: 1 };
const DIRECTORY = aDirectory([
  aTarget(),
  aTarget({
    name: 'iqn.2026-11.io.ashlar:secret',
    auth: { chap: [{ user: USER, secret: SECRET }], mutual: { user: 't', secret: 'other' } },
  }),
]);
const DIGESTS: readonly Digests[] = [
  { header: false, data: false },
  { header: true, data: false },
  { header: false, data: true },
  { header: true, data: true },
];
const MAX_DATA_SEGMENT_BYTES = 8192;
/** What the heap may differ by between an early and a late look: noise, not a leak of a million PDUs. */
const MAX_GROWTH_BYTES = 24 * 1024 * 1024;
/** A stream is some dozens of KiB: one that takes this long hangs. */
const MAX_STREAM_MS = 30_000;

/** A running hash of everything delivered: two runs compare by one number. */
class HashingSink implements PduSink {
  hash = 0;
  pdus = 0;
  readonly #place: Buffer | null;

  constructor(place: Buffer | null) {
    this.#place = place;
  }

  placeData(_head: Buffer, _at: number, _dataBytes: number, place: DataPlace): void {
    place.bytes = this.#place;
  }

  onPdu(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    this.pdus += 1;
    this.#mix(head, at, at + BHS_BYTES + ahsBytesOf(head, at));
    this.#mix(data, dataAt, dataAt + dataBytes);
    lunOf(head, at);
    if (opcodeOf(head, at) === Opcode.ScsiCommand) ahs.decodeCommandAhs(head, at);
  }

  onDataDigestError(head: Buffer, at: number): void {
    this.hash = (this.hash ^ 0x1234567) | 0;
    this.#mix(head, at, at + BHS_BYTES);
  }

  onStreamError(error: string, head: Buffer, at: number): void {
    this.hash = (this.hash + error.length) | 0;
    this.#mix(head, at, at + BHS_BYTES);
  }

  #mix(b: Buffer, start: number, end: number): void {
    let hash = this.hash;
    for (let at = start; at < end; at += 1) hash = (Math.imul(hash, 31) + b[at]!) | 0;
    this.hash = Math.imul(hash, 31) | 0;
  }
}

/** A stream through the parser twice, whole and cut: the same must come out. */
function fuzzParser(generator: PduGenerator): number {
  const { random } = generator;
  const digests = random.pick(DIGESTS);
  const pdus = Array.from({ length: 1 + random.below(12) }, () => generator.next(digests));
  const stream = Buffer.concat(pdus);
  const run = (sink: HashingSink, cut: (left: number) => number): void => {
    const parser = new PduParser(sink);
    parser.setLimits({ maxAhsBytes: 1020, maxDataSegmentBytes: MAX_DATA_SEGMENT_BYTES });
    parser.setDigests(digests);
    for (let at = 0; at < stream.length; ) {
      const part = Math.min(stream.length - at, cut(stream.length - at));
      assert.equal(parser.feed(stream, at, at + part), at + part);
      at += part;
    }
  };
  const whole = new HashingSink(null);
  run(whole, (left) => left);
  const cut = new HashingSink(random.oneIn(2) ? Buffer.alloc(MAX_DATA_SEGMENT_BYTES) : null);
  const longest = random.pick([1, 3, 50, 500, 5000]);
  run(cut, () => 1 + random.below(longest));
  assert.deepEqual([cut.pdus, cut.hash], [whole.pdus, whole.hash]);
  return pdus.length;
}

function aNegotiator(seed: number): LoginNegotiator {
  return new LoginNegotiator({
    directory: DIRECTORY,
    random: new SeededRandom(seed),
    offer: DEFAULT_OFFER,
    portalGroupTag: 1,
    redirect: () => (seed % 50 === 0 ? '10.0.0.1:3260' : null),
  });
}

/** What holds of every step; the login is over when this says so. */
function checkStep(negotiator: LoginNegotiator, step: LoginStep): boolean {
  const response = step.kind === 'admit' ? negotiator.admit(ADMISSION) : step.response;
  assert.ok(response.length <= BHS_BYTES + LOGIN_PARSER_LIMITS.maxDataSegmentBytes);
  const { transit, continues, nsg, status } = loginResponse.decode(response, 0);
  assert.ok(!(transit && continues));
  assert.equal(status === 0, step.kind !== 'failed');
  assert.equal(transit && nsg === LoginStage.FullFeature, step.kind === 'admit');
  if (step.kind === 'admit' && step.login.target?.auth.chap.length) {
    assert.equal(step.login.authenticatedAs, USER, 'nobody gets past CHAP without the secret');
  }
  return step.kind !== 'continue';
}

/** A connection's login, as the daemon runs it: parser and negotiator, until one of them has enough. */
function fuzzLogin(generator: PduGenerator, seed: number): number {
  const { random } = generator;
  const negotiator = aNegotiator(seed);
  const parser = new PduParser({
    placeData: () => undefined,
    onDataDigestError: () => undefined,
    onStreamError: () => undefined,
    onPdu: (head, at, data, dataAt, dataBytes) => {
      if (opcodeOf(head, at) !== Opcode.LoginRequest) return parser.close();
      const text = data.subarray(dataAt, dataAt + dataBytes);
      if (checkStep(negotiator, negotiator.onRequest(head, at, text))) parser.close();
    },
  });
  let pdus = 0;
  for (; pdus < 8 && !parser.closed; pdus += 1) {
    const pdu = generator.next(DIGESTS[0], random.oneIn(20) ? null : Opcode.LoginRequest);
    parser.feed(pdu, 0, pdu.length);
  }
  return pdus;
}

/** A login that makes sense, but for a fault now and then: this gets to the far corners. */
function fuzzLoginDialogue(generator: PduGenerator, seed: number): number {
  const { random } = generator;
  const negotiator = aNegotiator(seed);
  const often = random.pick([2, 5, 20]); // One fault in so many steps.
  let csg = random.below(2);
  let text = generator.introduction();
  for (let pdus = 1; pdus < 100; pdus += 1) {
    const data = generator.sometimesBent(text, often).subarray(0, MAX_DATA_SEGMENT_BYTES);
    const transit = random.oneIn(2);
    const pdu = Buffer.alloc(BHS_BYTES);
    loginRequest.encode(pdu, 0, {
      immediate: true,
      transit,
      continues: !transit && random.oneIn(6),
      csg,
      nsg: transit ? random.pick([1, 3, 3]) : 0,
      versionMax: 0,
      versionMin: 0,
      ahsBytes: 0,
      dataBytes: data.length,
      isid: '00023d000001',
      tsih: 0,
      itt: 0,
      cid: 0,
      cmdSn: 1,
      expStatSn: 0,
    });
    if (random.oneIn(8 * often)) pdu[random.below(32)]! ^= 1 << random.below(8);
    const step = negotiator.onRequest(pdu, 0, data);
    if (checkStep(negotiator, step) || step.kind !== 'continue') return pdus;
    const response = loginResponse.decode(step.response, 0);
    if (response.transit) csg = response.nsg;
    text = nextText(generator, step.response);
  }
  return 100;
}

/** What an initiator would say to a response: CHAP if it is asked, else some keys or nothing. */
function nextText(generator: PduGenerator, response: Buffer): Buffer {
  const { random } = generator;
  const keys = readKeys(response);
  if (loginResponse.decode(response, 0).continues) return Buffer.alloc(0);
  if (keys['AuthMethod'] === 'CHAP') return aText({ CHAP_A: random.pick(['5', '8,7,6,5', '9']) });
  if (!keys['CHAP_C']?.startsWith('0x') || !keys['CHAP_A']) {
    if (random.oneIn(3)) return generator.text();
    return random.oneIn(2) ? generator.plausibleText() : Buffer.alloc(0);
  }
  const challenge = Buffer.from(keys['CHAP_C'].slice(2), 'hex');
  const algorithm = Number(keys['CHAP_A']) as ChapAlgorithm;
  const secret = random.oneIn(4) ? 'wrong' : SECRET;
  const proof = chapResponse(algorithm, Number(keys['CHAP_I']), secret, challenge);
  const mutual = random.pick([{}, { CHAP_I: '1', CHAP_C: '0x0102' }, { CHAP_C: keys['CHAP_C'] }]);
  return aText({ CHAP_N: USER, CHAP_R: `0x${proof.toString('hex')}`, ...mutual });
}

/** Text of the full feature phase: any request at any time. */
function fuzzText(generator: PduGenerator): number {
  const { random } = generator;
  const parameters = defaultParameters(DEFAULT_OFFER);
  parameters.maxSendDataSegmentBytes = 512;
  const discovery = {
    directory: DIRECTORY,
    sessionType: random.oneIn(2) ? ('Discovery' as const) : ('Normal' as const),
    initiatorName: 'iqn.1993-08.org.debian:01:abc',
    targetName: random.oneIn(2) ? 'iqn.2026-11.io.ashlar:demo' : null,
    addresses: () => ['127.0.0.1:3260,1', '[::1]:3260,1'],
  };
  const exchange = new TextExchange(discovery, DEFAULT_OFFER, parameters);
  const pdus = 1 + random.below(12);
  let ttt = 0xffffffff;
  for (let count = 0; count < pdus; count += 1) {
    const pdu = generator.next(DIGESTS[0], Opcode.TextRequest);
    if (pdu.length < BHS_BYTES) continue;
    const request = textRequest.decode(pdu, 0);
    if (!random.oneIn(8)) request.ttt = ttt;
    if (!random.oneIn(8)) request.itt = 1;
    if (!random.oneIn(8)) {
      request.final = random.oneIn(2);
      request.continues = !request.final && random.oneIn(4);
    }
    const bytes = random.pick([
      Buffer.alloc(0),
      pdu.subarray(BHS_BYTES),
      aText({ SendTargets: 'All' }),
    ]);
    const data = generator.sometimesBent(bytes, 8);
    const reply = exchange.onRequest(request, data);
    ttt = reply.kind === 'response' ? reply.ttt : 0xffffffff;
    if (reply.kind === 'response') {
      assert.ok(reply.data.length <= parameters.maxSendDataSegmentBytes);
      assert.equal(reply.final, ttt === 0xffffffff);
    }
  }
  return pdus;
}

const HARNESSES: readonly ((generator: PduGenerator, seed: number) => number)[] = [
  fuzzParser,
  fuzzLogin,
  fuzzLoginDialogue,
  fuzzText,
];

/** A session's stream is long: with one in so many a tenth of all PDUs are of the full feature phase. */
const SESSION_EVERY = 384;

export interface FuzzReport {
  readonly pdus: number;
  /** Of them, to sessions in full feature phase. */
  readonly sessionPdus: number;
  readonly ms: number;
  /** Heap and buffers, later less earlier, both after a collection. */
  readonly growthBytes: number;
}

/** Runs until `pdus` malformed PDUs were tried. Throws at the first fault, naming the seed of the stream. */
export async function runIscsiFuzz(asked: { pdus: number; seed: number }): Promise<FuzzReport> {
  const { pdus, seed } = asked;
  const started = performance.now();
  let done = 0;
  let sessionPdus = 0;
  let early = 0;
  for (let stream = 0; done < pdus; stream += 1) {
    const streamSeed = (seed * 1_000_003 + stream) >>> 0;
    const before = performance.now();
    try {
      const generator = new PduGenerator(streamSeed);
      if (stream % SESSION_EVERY === SESSION_EVERY - 1) {
        const sent = attack(streamSeed, new Set());
        sessionPdus += sent;
        done += sent;
        await nextLoop(); // What waits for a microtask holds its whole session.
      } else done += HARNESSES[stream % HARNESSES.length]!(generator, streamSeed);
    } catch (cause) {
      throw new Error(`fuzzing failed at stream ${stream} of seed ${seed}`, { cause });
    }
    assert.ok(performance.now() - before < MAX_STREAM_MS, `stream ${stream} of seed ${seed} hangs`);
    if (early === 0 && done >= pdus / 4) early = usedBytes();
  }
  let growthBytes = usedBytes() - early;
  // Buffers are given back after the collection that found them dead, on another thread: a busy one may need a while.
  for (let look = 0; growthBytes >= MAX_GROWTH_BYTES && look < 10; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    growthBytes = usedBytes() - early;
  }
  assert.ok(growthBytes < MAX_GROWTH_BYTES, `memory grew by ${growthBytes} bytes`);
  return { pdus: done, sessionPdus, ms: Math.round(performance.now() - started), growthBytes };
}

function usedBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({
    options: {
      pdus: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: '1' },
    },
  });
  const report = await runIscsiFuzz({ pdus: Number(values.pdus), seed: Number(values.seed) });
  console.log(JSON.stringify({ seed: Number(values.seed), ...report }));
}
