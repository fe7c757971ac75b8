// Text keys: their syntax, their result functions, SendTargets, and text negotiation in the full feature phase. Pure:
// text in, text out.
export { MAX_NAME_BYTES, normaliseName } from './iscsi-name.ts';
export {
  formatText,
  IRRELEVANT,
  type KeyValue,
  NOT_UNDERSTOOD,
  parseText,
  REJECT,
} from './key-value.ts';
export {
  answerKey,
  DEFAULT_OFFER,
  type Digest,
  defaultParameters,
  inheritSession,
  isOperationalKey,
  type KeyContext,
  type Offer,
  type Parameters,
  type SessionType,
  settleParameters,
} from './operational-keys.ts';
export { answerSendTargets, type Discovery, mayLogIn } from './send-targets.ts';
export { MAX_REQUEST_TEXT_BYTES, TextExchange, type TextReply } from './text-exchange.ts';
export { decodeBinary, decodeBoolean, decodeList, decodeNumber, encodeBinary } from './values.ts';
