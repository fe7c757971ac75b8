// The operational keys of RFC 7143 §13 and their result functions (§6.2): what an initiator offers, what we answer,
// what then holds. The target answers and declares; it offers nothing of its own, so a key the initiator leaves out
// has its default.
import { IRRELEVANT, NOT_UNDERSTOOD, REJECT } from './key-value.ts';
import { decodeBoolean, decodeList, decodeNumber } from './values.ts';

export type SessionType = 'Discovery' | 'Normal';
export type Digest = 'None' | 'CRC32C';

/** What holds after a negotiation. Bytes, seconds and counts as the keys have them. */
export interface Parameters {
  headerDigest: Digest;
  dataDigest: Digest;
  initialR2T: boolean;
  immediateData: boolean;
  /** Ours: the longest data segment the initiator may send. */
  maxRecvDataSegmentBytes: number;
  /** The initiator's MaxRecvDataSegmentLength: the longest we may send. */
  maxSendDataSegmentBytes: number;
  maxBurstBytes: number;
  /** Never more than `maxBurstBytes`. */
  firstBurstBytes: number;
  defaultTime2WaitSeconds: number;
  defaultTime2RetainSeconds: number;
  maxOutstandingR2T: number;
  protocolLevel: number;
}

/** What this target wants: the other operand of the result functions. */
export interface Offer {
  readonly digests: readonly Digest[];
  readonly initialR2T: boolean;
  readonly immediateData: boolean;
  readonly maxRecvDataSegmentBytes: number;
  readonly maxBurstBytes: number;
  readonly firstBurstBytes: number;
  readonly maxOutstandingR2T: number;
}

export const DEFAULT_OFFER: Offer = {
  digests: ['None', 'CRC32C'],
  initialR2T: false,
  immediateData: true,
  maxRecvDataSegmentBytes: 256 * 1024,
  maxBurstBytes: 1024 * 1024,
  firstBurstBytes: 256 * 1024,
  maxOutstandingR2T: 8,
};

const MIN_SEGMENT_BYTES = 512;
const MAX_SEGMENT_BYTES = 0xffffff;
const MAX_LIST_ITEMS = 16;

/** One key: answers an offered value, and notes in `parameters` what it came to. */
interface Rule {
  /** Also outside login (§13: "Use: ALL"). */
  readonly fullFeature?: true;
  /** Scope of the session: only the leading connection negotiates it. */
  readonly leadingOnly?: true;
  /** Without meaning in a discovery session (§13: "Irrelevant when: SessionType=Discovery"). */
  readonly normalOnly?: true;
  /** null: no answer, the key is a declaration. */
  answer(value: string, parameters: Parameters, offer: Offer): string | null;
}

const sessionWide = { leadingOnly: true } as const;
const normalSession = { leadingOnly: true, normalOnly: true } as const;

function number(
  range: readonly [low: number, high: number],
  settle: (theirs: number, parameters: Parameters, offer: Offer) => number,
): Rule['answer'] {
  return (value, parameters, offer) => {
    const theirs = decodeNumber(value, range[0], range[1]);
    return theirs === null ? REJECT : String(settle(theirs, parameters, offer));
  };
}

function boolean(
  settle: (theirs: boolean, parameters: Parameters, offer: Offer) => boolean,
): Rule['answer'] {
  return (value, parameters, offer) => {
    const theirs = decodeBoolean(value);
    if (theirs === null) return REJECT;
    return settle(theirs, parameters, offer) ? 'Yes' : 'No';
  };
}

/** §6.2.1: the first of the offered values that we have too. */
function firstOf<T extends string>(value: string, ours: readonly T[]): T | null {
  const theirs = decodeList(value, MAX_LIST_ITEMS) ?? [];
  return (theirs.find((item) => (ours as readonly string[]).includes(item)) as T) ?? null;
}

function digest(key: 'headerDigest' | 'dataDigest'): Rule['answer'] {
  return (value, parameters, offer) => {
    const chosen = firstOf(value, offer.digests);
    if (chosen === null) return REJECT;
    parameters[key] = chosen;
    return chosen;
  };
}

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['HeaderDigest', { answer: digest('headerDigest') }], // §13.1
  ['DataDigest', { answer: digest('dataDigest') }],
  ['MaxConnections', { ...normalSession, answer: number([1, 65535], () => 1) }], // §13.2
  [
    'InitialR2T', // §13.10, OR
    {
      ...normalSession,
      answer: boolean((theirs, parameters, offer) => {
        parameters.initialR2T = theirs || offer.initialR2T;
        return parameters.initialR2T;
      }),
    },
  ],
  [
    'ImmediateData', // §13.11, AND
    {
      ...normalSession,
      answer: boolean((theirs, parameters, offer) => {
        parameters.immediateData = theirs && offer.immediateData;
        return parameters.immediateData;
      }),
    },
  ],
  [
    'MaxRecvDataSegmentLength', // §13.12, declarative
    {
      fullFeature: true,
      answer: (value, parameters) => {
        const theirs = decodeNumber(value, MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        if (theirs === null) return REJECT;
        parameters.maxSendDataSegmentBytes = theirs;
        return null;
      },
    },
  ],
  [
    'MaxBurstLength', // §13.13, minimum
    {
      ...normalSession,
      answer: number([MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES], (theirs, parameters, offer) => {
        parameters.maxBurstBytes = Math.min(theirs, offer.maxBurstBytes);
        return parameters.maxBurstBytes;
      }),
    },
  ],
  [
    'FirstBurstLength', // §13.14, minimum, and never over MaxBurstLength
    {
      ...normalSession,
      answer: number([MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES], (theirs, parameters, offer) => {
        const ours = Math.min(offer.firstBurstBytes, parameters.maxBurstBytes);
        parameters.firstBurstBytes = Math.min(theirs, ours);
        return parameters.firstBurstBytes;
      }),
    },
  ],
  [
    'DefaultTime2Wait', // §13.15, maximum
    {
      ...sessionWide,
      answer: number([0, 3600], (theirs, parameters) => {
        parameters.defaultTime2WaitSeconds = theirs;
        return theirs;
      }),
    },
  ],
  // §13.16, minimum: at error recovery level 0 the tasks of a lost connection end with it, nothing is retained.
  ['DefaultTime2Retain', { ...sessionWide, answer: number([0, 3600], () => 0) }],
  [
    'MaxOutstandingR2T', // §13.17, minimum
    {
      ...normalSession,
      answer: number([1, 65535], (theirs, parameters, offer) => {
        parameters.maxOutstandingR2T = Math.min(theirs, offer.maxOutstandingR2T);
        return parameters.maxOutstandingR2T;
      }),
    },
  ],
  ['DataPDUInOrder', { ...normalSession, answer: boolean(() => true) }], // §13.18, OR
  ['DataSequenceInOrder', { ...normalSession, answer: boolean(() => true) }], // §13.19, OR
  ['ErrorRecoveryLevel', { ...sessionWide, answer: number([0, 2], () => 0) }], // §13.20, minimum
  [
    'TaskReporting', // §13.23
    { ...normalSession, answer: (value) => firstOf(value, ['RFC3720']) ?? REJECT },
  ],
  [
    'iSCSIProtocolLevel', // §13.24, minimum; 2 is RFC 7144's
    {
      ...sessionWide,
      answer: number([0, 31], (theirs, parameters) => {
        parameters.protocolLevel = Math.min(theirs, 2);
        return parameters.protocolLevel;
      }),
    },
  ],
  // §13.25: obsolete, and yet not to be answered NotUnderstood. Hosts that still offer markers read No best.
  ['IFMarker', { answer: boolean(() => false) }],
  ['OFMarker', { answer: boolean(() => false) }],
  ['IFMarkInt', { answer: () => REJECT }],
  ['OFMarkInt', { answer: () => REJECT }],
]);

/** Before anything was negotiated (§13: "Default is"). */
export function defaultParameters(offer: Offer): Parameters {
  return {
    headerDigest: 'None',
    dataDigest: 'None',
    initialR2T: true,
    immediateData: true,
    maxRecvDataSegmentBytes: offer.maxRecvDataSegmentBytes,
    maxSendDataSegmentBytes: 8192,
    maxBurstBytes: 262144,
    firstBurstBytes: 65536,
    defaultTime2WaitSeconds: 2,
    defaultTime2RetainSeconds: 0,
    maxOutstandingR2T: 1,
    protocolLevel: 1,
  };
}

export function isOperationalKey(key: string): boolean {
  return RULES.has(key);
}

/** True for the three constants that answer a key: as an offer they mean nothing. */
function isAnswer(value: string): boolean {
  return value === REJECT || value === NOT_UNDERSTOOD || value === IRRELEVANT;
}

export interface KeyContext {
  readonly offer: Offer;
  readonly sessionType: SessionType;
  /** The first connection of its session: session-wide keys may be negotiated. */
  readonly leading: boolean;
  readonly fullFeature: boolean;
}

/**
 * The answer to one offered key, and its effect on `parameters`. null: no answer is due. A key we do not know, `X-` or
 * other, is NotUnderstood (§6.1).
 */
export function answerKey(
  key: string,
  value: string,
  parameters: Parameters,
  context: KeyContext,
): string | null {
  // An answer to a declaration of ours. To answer it again would go on for ever.
  if (isAnswer(value)) return null;
  const rule = RULES.get(key);
  if (rule === undefined) return NOT_UNDERSTOOD;
  if (context.fullFeature && rule.fullFeature === undefined) return REJECT;
  if (!context.leading && rule.leadingOnly) return REJECT;
  if (context.sessionType === 'Discovery' && rule.normalOnly) return IRRELEVANT;
  return rule.answer(value, parameters, context.offer);
}

/**
 * What a session negotiated at its first login holds for a connection that comes back to it (§13: "Scope: SW"), which may
 * not negotiate it anew.
 */
export function inheritSession(parameters: Parameters, session: Readonly<Parameters>): void {
  parameters.initialR2T = session.initialR2T;
  parameters.immediateData = session.immediateData;
  parameters.maxBurstBytes = session.maxBurstBytes;
  parameters.firstBurstBytes = session.firstBurstBytes;
  parameters.defaultTime2WaitSeconds = session.defaultTime2WaitSeconds;
  parameters.defaultTime2RetainSeconds = session.defaultTime2RetainSeconds;
  parameters.maxOutstandingR2T = session.maxOutstandingR2T;
  parameters.protocolLevel = session.protocolLevel;
}

/** What has to hold between keys at the end of a login. */
export function settleParameters(parameters: Parameters): void {
  parameters.firstBurstBytes = Math.min(parameters.firstBurstBytes, parameters.maxBurstBytes);
}
