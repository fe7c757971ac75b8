// Bounds of a login, whoever is at the other end (docs/consistency.md T12). Time and number of logins are bounded by
// the connection and the server.

/** Text of one request over all its PDUs (C bit): names, keys and a CHAP exchange fit in a quarter of it. */
export const MAX_LOGIN_TEXT_BYTES = 8192;
/** Keys of one login, all requests together. Initiators in the field send about twenty. */
export const MAX_LOGIN_KEYS = 128;
/** Requests of one login. A mutual CHAP login takes five. */
export const MAX_LOGIN_REQUESTS = 64;
/** A response's data segment: the initiator's MaxRecvDataSegmentLength counts from full feature on (§13.12). */
export const MAX_RESPONSE_TEXT_BYTES = 8192;
