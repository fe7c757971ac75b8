// Sense data that the iSCSI layer itself ends commands with (RFC 7143 §11.4.7.2), in fixed format (SPC-4 §4.5.3).

function fixedSense(key: number, asc: number, ascq: number): Buffer {
  const sense = Buffer.alloc(18);
  sense[0] = 0x70; // Current error.
  sense[2] = key;
  sense[7] = sense.length - 8;
  sense[12] = asc;
  sense[13] = ascq;
  return sense;
}

const ABORTED_COMMAND = 0x0b;
const ILLEGAL_REQUEST = 0x05;

export const TransportSense = {
  /** More than FirstBurstLength, or anything at all where nothing was allowed. */
  UnexpectedUnsolicitedData: fixedSense(ABORTED_COMMAND, 0x0c, 0x0c),
  /** Data that do not follow what came before, or leave their burst. */
  IncorrectAmountOfData: fixedSense(ABORTED_COMMAND, 0x0c, 0x0d),
  /** A data digest that is wrong: protocol service CRC error. */
  CrcError: fixedSense(ABORTED_COMMAND, 0x47, 0x05),
  /** Data that were asked for and do not come: initiator response timeout. */
  InitiatorResponseTimeout: fixedSense(ABORTED_COMMAND, 0x4b, 0x06),
  /** Both R and W: no command of ours moves data both ways. */
  BidirectionalNotSupported: fixedSense(ILLEGAL_REQUEST, 0x20, 0x00),
  InvalidFieldInCdb: fixedSense(ILLEGAL_REQUEST, 0x24, 0x00),
} as const;
