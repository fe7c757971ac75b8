// CHAP, RFC 1994 and RFC 7143 §12.1.3, the target's side: one-way, and mutual when the initiator asks.
//
//   I -> T  CHAP_A=<algorithms>                       T -> I  CHAP_A=<one>  CHAP_I=<identifier>  CHAP_C=<challenge>
//   I -> T  CHAP_N=<user>  CHAP_R=<response>          T -> I  (nothing)
//           [CHAP_I=<identifier>  CHAP_C=<challenge>]         [CHAP_N=<user>  CHAP_R=<response>]
//
// A response is hash(identifier, secret, challenge). Secrets, responses and challenges are in no error and no log.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Random } from '../../base/index.ts';
import type { KeyValue } from '../text/index.ts';
import { decodeBinary, decodeList, decodeNumber, encodeBinary } from '../text/index.ts';
import type { AuthPolicy, ChapCredentials } from '../types.ts';

interface Algorithm {
  readonly hash: string;
  readonly bytes: number;
}

/** By number: RFC 7143 §12.1.3 (MD5) and the IANA registry of PPP authentication algorithms (RFC 7143 has SHA1). */
const ALGORITHMS: ReadonlyMap<number, Algorithm> = new Map([
  [5, { hash: 'md5', bytes: 16 }],
  [6, { hash: 'sha1', bytes: 20 }],
  [7, { hash: 'sha256', bytes: 32 }],
  [8, { hash: 'sha3-256', bytes: 32 }],
]);

export const ChapAlgorithm = { Md5: 5, Sha1: 6, Sha256: 7, Sha3_256: 8 } as const;
export type ChapAlgorithm = (typeof ChapAlgorithm)[keyof typeof ChapAlgorithm];

export const ALL_CHAP_ALGORITHMS: readonly ChapAlgorithm[] = [8, 7, 6, 5];

const MAX_ALGORITHMS_OFFERED = 16;
/** §12.1.3: challenge and response as binaries are at most 1024 bytes. */
const MAX_BINARY_BYTES = 1024;
const MAX_USER_BYTES = 255;
const KEYS: readonly string[] = ['CHAP_A', 'CHAP_N', 'CHAP_R', 'CHAP_I', 'CHAP_C'];

/** hash(identifier, secret, challenge), RFC 1994 §4.1. */
export function chapResponse(
  algorithm: ChapAlgorithm,
  identifier: number,
  secret: string,
  challenge: Buffer,
): Buffer {
  const { hash } = ALGORITHMS.get(algorithm)!;
  return createHash(hash)
    .update(Buffer.of(identifier))
    .update(secret, 'utf8')
    .update(challenge)
    .digest();
}

export function isChapKey(key: string): boolean {
  return KEYS.includes(key);
}

/** What a round of CHAP keys came to. A failure says why for the log, without anything secret. */
export type ChapStep =
  | { readonly kind: 'answer'; readonly answer: KeyValue[] }
  | { readonly kind: 'passed'; readonly user: string; readonly answer: KeyValue[] }
  | { readonly kind: 'failed'; readonly reason: string };

const State = {
  WaitsForAlgorithm: 'waits-for-algorithm',
  WaitsForResponse: 'waits-for-response',
  Over: 'over',
} as const;
type State = (typeof State)[keyof typeof State];

/** One authentication: one challenge, one try. */
export class ChapTarget {
  readonly #policy: AuthPolicy;
  readonly #accepted: readonly ChapAlgorithm[];
  readonly #random: Random;
  #state: State = State.WaitsForAlgorithm;
  #algorithm: ChapAlgorithm = ChapAlgorithm.Md5;
  #identifier = 0;
  #challenge: Buffer = Buffer.alloc(0);

  constructor(policy: AuthPolicy, accepted: readonly ChapAlgorithm[], random: Random) {
    this.#policy = policy;
    this.#accepted = accepted;
    this.#random = random;
  }

  /** Takes the CHAP keys of one request. */
  step(keys: ReadonlyMap<string, string>): ChapStep {
    const state = this.#state;
    // Whatever happens now, the same step is not taken twice.
    this.#state = State.Over;
    if (state === State.WaitsForAlgorithm) return this.#choose(keys);
    if (state === State.WaitsForResponse) return this.#verify(keys);
    return failed('the exchange is over');
  }

  #choose(keys: ReadonlyMap<string, string>): ChapStep {
    if (keys.size !== 1) return failed('CHAP_A is expected alone');
    const offered = decodeList(keys.get('CHAP_A') ?? '', MAX_ALGORITHMS_OFFERED);
    if (offered === null) return failed('CHAP_A is missing or malformed');
    // The first of the initiator's list that we accept (§6.2.1).
    for (const item of offered) {
      const algorithm = this.#accepted.find((accepted) => String(accepted) === item);
      if (algorithm !== undefined) return this.#challengeWith(algorithm);
    }
    return failed('no common algorithm');
  }

  #challengeWith(algorithm: ChapAlgorithm): ChapStep {
    // As long as the hash (RFC 1994 §2.3 asks for unpredictable and unique; 16 random bytes are both).
    const random = Buffer.alloc(1 + ALGORITHMS.get(algorithm)!.bytes);
    this.#random.fill(random);
    this.#algorithm = algorithm;
    this.#identifier = random[0]!;
    this.#challenge = random.subarray(1);
    this.#state = State.WaitsForResponse;
    return {
      kind: 'answer',
      answer: [
        { key: 'CHAP_A', value: String(algorithm) },
        { key: 'CHAP_I', value: String(this.#identifier) },
        { key: 'CHAP_C', value: encodeBinary(this.#challenge) },
      ],
    };
  }

  #verify(keys: ReadonlyMap<string, string>): ChapStep {
    const user = keys.get('CHAP_N');
    const response = decodeBinary(keys.get('CHAP_R') ?? '', MAX_BINARY_BYTES);
    if (keys.has('CHAP_A')) return failed('CHAP_A comes twice');
    if (user === undefined || Buffer.byteLength(user) > MAX_USER_BYTES) {
      return failed('CHAP_N is missing or too long');
    }
    if (response === null) return failed('CHAP_R is missing or malformed');
    const proven = this.#proven(user, response);
    if (proven === null) return failed('wrong user or secret');

    if (!keys.has('CHAP_I') && !keys.has('CHAP_C')) return { kind: 'passed', user, answer: [] };
    return this.#prove(keys, proven);
  }

  /** The credentials that `response` shows knowledge of. Takes the same time whether the user exists or not. */
  #proven(user: string, response: Buffer): ChapCredentials | null {
    const ofUser = this.#policy.chap.filter((credentials) => credentials.user === user);
    const candidates = ofUser.length > 0 ? ofUser : [{ user, secret: 'no such user' }];
    let proven: ChapCredentials | null = null;
    for (const candidate of candidates) {
      const expected = this.#respond(this.#identifier, candidate.secret, this.#challenge);
      const equal = expected.length === response.length && timingSafeEqual(expected, response);
      if (equal && ofUser.length > 0) proven = candidate;
    }
    return proven;
  }

  /** Mutual: the initiator has proven itself, and asks for our proof. */
  #prove(keys: ReadonlyMap<string, string>, proven: ChapCredentials): ChapStep {
    const identifier = decodeNumber(keys.get('CHAP_I') ?? '', 0, 255);
    const challenge = decodeBinary(keys.get('CHAP_C') ?? '', MAX_BINARY_BYTES);
    if (identifier === null || challenge === null) {
      return failed('CHAP_I or CHAP_C is missing or malformed');
    }
    // §12.1.3: our own challenge sent back would have us compute what the initiator should know.
    if (challenge.equals(this.#challenge)) return failed('our own challenge came back');
    const { mutual } = this.#policy;
    if (mutual === null) return failed('mutual authentication is not configured');
    // §12.1.3: one secret both ways would make each side's responses good for the other.
    if (mutual.secret === proven.secret) return failed('the secrets of both sides are equal');
    const answer = [
      { key: 'CHAP_N', value: mutual.user },
      { key: 'CHAP_R', value: encodeBinary(this.#respond(identifier, mutual.secret, challenge)) },
    ];
    return { kind: 'passed', user: proven.user, answer };
  }

  #respond(identifier: number, secret: string, challenge: Buffer): Buffer {
    return chapResponse(this.#algorithm, identifier, secret, challenge);
  }
}

function failed(reason: string): ChapStep {
  return { kind: 'failed', reason };
}
