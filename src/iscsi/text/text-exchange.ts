// Text negotiation in the full feature phase, RFC 7143 §7.2 and §11.10-11.11: collects a request that comes in several
// PDUs (C bit), answers it, and hands a long answer out in several, each fetched by an empty request that returns the
// target transfer tag. One exchange at a time; memory is bounded on both sides.
import { RESERVED_TAG, RejectReason, type textRequest } from '../pdu/index.ts';
import { formatText, type KeyValue, parseText } from './key-value.ts';
import { answerKey, type KeyContext, type Offer, type Parameters } from './operational-keys.ts';
import { answerSendTargets, type Discovery } from './send-targets.ts';

/** Text of one request, over all its PDUs: SendTargets and a handful of keys. */
export const MAX_REQUEST_TEXT_BYTES = 8192;
/** What one response carries of a long answer, whatever the initiator would take: it must fit a send region. */
export const MAX_ANSWER_PART_BYTES = 64 * 1024;
const MAX_PAIRS = 32;
/** PDUs of one exchange without an end: an initiator that only ever continues is told to start again. */
const MAX_CONTINUATIONS = 64;

export type TextReply =
  | {
      readonly kind: 'response';
      readonly final: boolean;
      readonly continues: boolean;
      /** RESERVED_TAG exactly when final. */
      readonly ttt: number;
      readonly data: Buffer;
    }
  | { readonly kind: 'reject'; readonly reason: RejectReason };

const Stage = { Idle: 'idle', Collecting: 'collecting', Answering: 'answering' } as const;
type Stage = (typeof Stage)[keyof typeof Stage];

const EMPTY: Buffer = Buffer.alloc(0);

export class TextExchange {
  readonly #discovery: Discovery;
  readonly #context: KeyContext;
  /** The connection's, changed in place by MaxRecvDataSegmentLength. */
  readonly #parameters: Parameters;
  #stage: Stage = Stage.Idle;
  #itt = 0;
  #ttt = 0;
  #collected: Buffer = EMPTY;
  #continuations = 0;
  #answer: Buffer = EMPTY;

  constructor(discovery: Discovery, offer: Offer, parameters: Parameters) {
    this.#discovery = discovery;
    this.#parameters = parameters;
    this.#context = {
      offer,
      sessionType: discovery.sessionType,
      leading: true,
      fullFeature: true,
    };
  }

  /** Takes one Text Request. `data` is read before this returns and not kept. */
  onRequest(request: Readonly<textRequest.TextRequest>, data: Buffer): TextReply {
    if (request.final && request.continues) return this.#reject(RejectReason.ProtocolError);
    if (request.ttt === RESERVED_TAG) {
      this.#reset(); // §11.10.4: a new exchange; what went before is dropped.
      this.#itt = request.itt;
    } else if (
      this.#stage === Stage.Idle ||
      request.ttt !== this.#ttt ||
      request.itt !== this.#itt
    ) {
      return this.#reject(RejectReason.InvalidPduField);
    }
    if (this.#stage === Stage.Answering) {
      if (data.length === 0) return this.#nextPart(request.final);
      return this.#reject(RejectReason.ProtocolError);
    }
    this.#stage = Stage.Collecting;
    this.#continuations += 1;
    if (this.#collected.length + data.length > MAX_REQUEST_TEXT_BYTES) {
      return this.#reject(RejectReason.LongOperationReject);
    }
    if (this.#continuations > MAX_CONTINUATIONS)
      return this.#reject(RejectReason.LongOperationReject);
    this.#collected = Buffer.concat([this.#collected, data]);
    if (request.continues) return this.#respond(EMPTY, false, false);

    const answers = this.#answerAll();
    if (answers === null) return this.#reject(RejectReason.ProtocolError);
    this.#collected = EMPTY;
    this.#answer = formatText(answers);
    return this.#nextPart(request.final);
  }

  #answerAll(): KeyValue[] | null {
    const pairs = parseText(this.#collected, { maxPairs: MAX_PAIRS });
    if ('error' in pairs) return null;
    const answers: KeyValue[] = [];
    for (const { key, value } of pairs) {
      if (key === 'SendTargets') {
        answers.push(...answerSendTargets(value, this.#discovery));
      } else if (key !== 'InitiatorAlias') {
        const answer = answerKey(key, value, this.#parameters, this.#context);
        if (answer !== null) answers.push({ key, value: answer });
      }
    }
    return answers;
  }

  /** §11.11.1: the last part is final only if the initiator said it is done too. */
  #nextPart(initiatorIsDone: boolean): TextReply {
    const { maxSendDataSegmentBytes } = this.#parameters;
    const part = this.#answer.subarray(0, Math.min(maxSendDataSegmentBytes, MAX_ANSWER_PART_BYTES));
    this.#answer = this.#answer.subarray(part.length);
    if (this.#answer.length > 0) {
      this.#stage = Stage.Answering;
      return this.#respond(part, false, true);
    }
    this.#stage = Stage.Collecting;
    if (!initiatorIsDone) return this.#respond(part, false, false);
    this.#reset();
    return this.#respond(part, true, false);
  }

  #respond(data: Buffer, final: boolean, continues: boolean): TextReply {
    // A tag that is new with each answer: one from before fits nothing any more.
    this.#ttt = (this.#ttt + 1) & 0x7fffffff;
    return { kind: 'response', final, continues, ttt: final ? RESERVED_TAG : this.#ttt, data };
  }

  #reject(reason: RejectReason): TextReply {
    this.#reset();
    return { kind: 'reject', reason };
  }

  #reset(): void {
    this.#stage = Stage.Idle;
    this.#collected = EMPTY;
    this.#continuations = 0;
    this.#answer = EMPTY;
  }
}
