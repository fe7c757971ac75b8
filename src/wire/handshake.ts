// The handshake: both sides say which protocol versions and features they speak and how much may be under way to them, and,
// where a secret is shared, prove that they know it.
//
//   maker of the connection                other side
//   Hello (versions, features, nonce)  ->
//                                      <-  Welcome (version, features, nonce)
//   Proof (HMAC)                       ->                                          only with a shared secret
//                                      <-  Ready (HMAC)
//
// The maker proves first: a stranger who connects gets nothing to guess the secret from. Each HMAC covers a label of its
// side and both messages, so that neither can be reflected, replayed, or made for other versions, features or nonces.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Random } from '../base/index.ts';
import { FrameType, WireStatus } from './frame.ts';
import { dataPayloadBytes, MAX_DATA_BLOCKS } from './limits.ts';
import { helloCodec, proofCodec, readyCodec, welcomeCodec } from './schema.ts';

export const PROTOCOL_VERSION = 1;

/** What a side can do beyond the version's base. */
export const WireFeature = {
  /** Versioned holes travel as CopyHole (W6). Every coordinator needs it. */
  Holes: 1,
  /** Heartbeats are frames of their own, all header: they come from every volume every second. */
  HeartbeatFrames: 2,
  /** Copies tell of their blocks in runs: an entry for each block costs more than the block's way. */
  CopyRuns: 4,
  /** Members tell of what a scrub found damaged (H4). */
  DamageFound: 8,
} as const;
export const ALL_FEATURES =
  WireFeature.Holes | WireFeature.HeartbeatFrames | WireFeature.CopyRuns | WireFeature.DamageFound;

const NONCE_BYTES = 32;
const MAX_NAME_BYTES = 255;
/** Less could not hold a frame; more than 1 GiB under way is nobody's wish. */
const MIN_WINDOW_BYTES = dataPayloadBytes(MAX_DATA_BLOCKS);
const MAX_WINDOW_BYTES = 2 ** 30;

export interface HandshakeOptions {
  readonly makesConnection: boolean;
  readonly node: string;
  readonly software: string;
  /** At least 16 bytes, or null: none is shared. */
  readonly secret: Uint8Array | null;
  readonly random: Random;
  readonly connectionWindowBytes: number;
  readonly streamWindowBytes: number;
  /** Features without which the connection is of no use. */
  readonly requiredFeatures: number;
  /** What is offered; less than all there is, to speak as an older version does. */
  readonly features?: number;
}

/** What both sides agreed on. */
export interface Agreement {
  readonly protocol: number;
  readonly features: number;
  readonly peerNode: string;
  readonly peerSoftware: string;
  /** What may be under way to the peer. */
  readonly connectionWindowBytes: number;
  readonly streamWindowBytes: number;
}

export interface HandshakeFailure {
  readonly status: WireStatus;
  readonly reason: string;
}

/** What to do after a frame: send these, and perhaps it is over. */
export interface HandshakeStep {
  readonly send: readonly { readonly type: FrameType; readonly message: Uint8Array }[];
  readonly agreement?: Agreement;
  readonly failure?: HandshakeFailure;
}

type Stage = 'hello' | 'welcome' | 'proof' | 'ready' | 'over';

export class Handshake {
  readonly #options: HandshakeOptions;
  readonly #features: number;
  #stage: Stage;
  #hello: Uint8Array = new Uint8Array(0);
  #welcome: Uint8Array = new Uint8Array(0);
  #agreement: Agreement | null = null;

  constructor(options: HandshakeOptions) {
    this.#options = options;
    this.#features = options.features ?? ALL_FEATURES;
    this.#stage = options.makesConnection ? 'welcome' : 'hello';
  }

  /** Of the maker: the first frame. */
  start(): HandshakeStep {
    const { node, software, secret, requiredFeatures } = this.#options;
    this.#hello = helloCodec.encode({
      protocolMin: PROTOCOL_VERSION,
      protocolMax: PROTOCOL_VERSION,
      features: this.#features,
      required: requiredFeatures,
      node,
      software,
      nonce: this.#nonce(),
      connectionWindow: this.#options.connectionWindowBytes,
      streamWindow: this.#options.streamWindowBytes,
      secret: secret !== null,
    });
    return { send: [{ type: FrameType.Hello, message: this.#hello }] };
  }

  /** A frame of the peer. Any frame at all may come; only the right one gets further. */
  onFrame(type: number, b: Uint8Array, start: number, end: number): HandshakeStep {
    const stage = this.#stage;
    this.#stage = 'over';
    if (stage === 'hello' && type === FrameType.Hello) return this.#onHello(b, start, end);
    if (stage === 'welcome' && type === FrameType.Welcome) return this.#onWelcome(b, start, end);
    if (stage === 'proof' && type === FrameType.Proof) return this.#onProof(b, start, end);
    if (stage === 'ready' && type === FrameType.Ready) return this.#onReady(b, start, end);
    return failed(WireStatus.FailedPrecondition, `a frame of type ${type} while ${stage} was due`);
  }

  #onHello(b: Uint8Array, start: number, end: number): HandshakeStep {
    const hello = helloCodec.decode(b, start, end);
    if (hello === null) return failed(WireStatus.InvalidArgument, 'no Hello');
    const { secret, node, software } = this.#options;
    if (hello.protocolMin > PROTOCOL_VERSION || hello.protocolMax < PROTOCOL_VERSION) {
      return failed(
        WireStatus.Unimplemented,
        `protocol versions ${hello.protocolMin} to ${hello.protocolMax} are spoken there, ${PROTOCOL_VERSION} here`,
      );
    }
    const missing =
      (hello.required & ~this.#features) | (this.#options.requiredFeatures & ~hello.features);
    if (missing !== 0) return failed(WireStatus.Unimplemented, featureWords(missing));
    const wrong = checkPeer(hello);
    if (wrong !== null) return failed(WireStatus.InvalidArgument, wrong);
    if (hello.secret !== (secret !== null))
      return failed(WireStatus.Unauthenticated, secretWords(secret));
    this.#hello = new Uint8Array(b.subarray(start, end));
    this.#welcome = welcomeCodec.encode({
      protocol: PROTOCOL_VERSION,
      features: hello.features & this.#features,
      node,
      software,
      nonce: this.#nonce(),
      connectionWindow: this.#options.connectionWindowBytes,
      streamWindow: this.#options.streamWindowBytes,
      secret: secret !== null,
    });
    this.#agreement = {
      protocol: PROTOCOL_VERSION,
      features: hello.features & this.#features,
      peerNode: hello.node,
      peerSoftware: hello.software,
      connectionWindowBytes: hello.connectionWindow,
      streamWindowBytes: hello.streamWindow,
    };
    const welcome = { type: FrameType.Welcome, message: this.#welcome };
    if (secret !== null) {
      this.#stage = 'proof';
      return { send: [welcome] };
    }
    const ready = readyCodec.encode({ hmac: new Uint8Array(0) });
    return {
      send: [welcome, { type: FrameType.Ready, message: ready }],
      agreement: this.#agreement,
    };
  }

  #onWelcome(b: Uint8Array, start: number, end: number): HandshakeStep {
    const welcome = welcomeCodec.decode(b, start, end);
    if (welcome === null) return failed(WireStatus.InvalidArgument, 'no Welcome');
    const { secret, requiredFeatures } = this.#options;
    if (welcome.protocol !== PROTOCOL_VERSION) {
      return failed(WireStatus.Unimplemented, `protocol version ${welcome.protocol} was chosen`);
    }
    const missing = requiredFeatures & ~welcome.features;
    if (missing !== 0) return failed(WireStatus.Unimplemented, featureWords(missing));
    const wrong = checkPeer(welcome);
    if (wrong !== null) return failed(WireStatus.InvalidArgument, wrong);
    if (welcome.secret !== (secret !== null)) {
      return failed(WireStatus.Unauthenticated, secretWords(secret));
    }
    this.#welcome = new Uint8Array(b.subarray(start, end));
    this.#agreement = {
      protocol: welcome.protocol,
      features: welcome.features & this.#features,
      peerNode: welcome.node,
      peerSoftware: welcome.software,
      connectionWindowBytes: welcome.connectionWindow,
      streamWindowBytes: welcome.streamWindow,
    };
    this.#stage = 'ready';
    if (secret === null) return { send: [] };
    const message = proofCodec.encode({ hmac: this.#hmac(secret, 'maker') });
    return { send: [{ type: FrameType.Proof, message }] };
  }

  #onProof(b: Uint8Array, start: number, end: number): HandshakeStep {
    const proof = proofCodec.decode(b, start, end);
    const { secret } = this.#options;
    if (proof === null || secret === null || !this.#proves(secret, 'maker', proof.hmac)) {
      return failed(WireStatus.Unauthenticated, 'the secrets of the two sides differ');
    }
    const message = readyCodec.encode({ hmac: this.#hmac(secret, 'taker') });
    return { send: [{ type: FrameType.Ready, message }], agreement: this.#agreement! };
  }

  #onReady(b: Uint8Array, start: number, end: number): HandshakeStep {
    const ready = readyCodec.decode(b, start, end);
    const { secret } = this.#options;
    if (ready === null) return failed(WireStatus.InvalidArgument, 'no Ready');
    if (secret !== null && !this.#proves(secret, 'taker', ready.hmac)) {
      return failed(WireStatus.Unauthenticated, 'the secrets of the two sides differ');
    }
    return { send: [], agreement: this.#agreement! };
  }

  #nonce(): Uint8Array {
    const nonce = new Uint8Array(NONCE_BYTES);
    this.#options.random.fill(nonce);
    return nonce;
  }

  #hmac(secret: Uint8Array, side: 'maker' | 'taker'): Uint8Array {
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32LE(this.#hello.length, 0);
    lengths.writeUInt32LE(this.#welcome.length, 4);
    return createHmac('sha256', secret)
      .update(`ashlar wire 1 ${side}\n`)
      .update(lengths)
      .update(this.#hello)
      .update(this.#welcome)
      .digest();
  }

  #proves(secret: Uint8Array, side: 'maker' | 'taker', hmac: Uint8Array): boolean {
    const expected = this.#hmac(secret, side);
    return hmac.length === expected.length && timingSafeEqual(hmac, expected);
  }
}

function failed(status: WireStatus, reason: string): HandshakeStep {
  return { send: [], failure: { status, reason } };
}

function checkPeer(said: {
  node: string;
  software: string;
  nonce: Uint8Array;
  connectionWindow: number;
  streamWindow: number;
}): string | null {
  if (said.nonce.length !== NONCE_BYTES) return `a nonce of ${said.nonce.length} bytes`;
  for (const window of [said.connectionWindow, said.streamWindow]) {
    if (window < MIN_WINDOW_BYTES || window > MAX_WINDOW_BYTES)
      return `a window of ${window} bytes`;
  }
  if (said.node.length > MAX_NAME_BYTES || said.software.length > MAX_NAME_BYTES) {
    return 'a name that is too long';
  }
  return null;
}

function featureWords(missing: number): string {
  return `features of bits 0x${missing.toString(16)} are needed and not there`;
}

function secretWords(secret: Uint8Array | null): string {
  return secret === null
    ? 'the peer wants a shared secret and none is configured here'
    : 'a shared secret is configured here and the peer has none';
}
