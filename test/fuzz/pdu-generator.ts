// Malformed iSCSI PDUs from a seed: ordinary requests of every kind, with their text made of keys that mean something,
// then bent: bits flipped, fields set to values at the edges, lengths that lie, parts dropped, doubled and spliced.
// Digests are often computed over the damage, so that it gets past them.
import {
  BHS_BYTES,
  type Digests,
  dataStart,
  NO_DIGESTS,
  Opcode,
  put32,
  seal,
  wireBytes,
} from '../../src/iscsi/pdu/index.ts';

/** xorshift32: fast, and good enough to pick damage with. */
export class FuzzRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1;
  }

  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  /** A uniform integer in [0, bound). */
  below(bound: number): number {
    return this.next() % bound;
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.next() % times === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const REQUESTS: readonly number[] = [
  Opcode.NopOut,
  Opcode.ScsiCommand,
  Opcode.TaskManagementRequest,
  Opcode.LoginRequest,
  Opcode.TextRequest,
  Opcode.DataOut,
  Opcode.LogoutRequest,
  Opcode.SnackRequest,
];

const EDGES: readonly number[] = [
  0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
  0xfffffffe, 0xffffffff,
];

const CDBS: readonly string[] = [
  '000000000000', // TEST UNIT READY
  '120000002400', // INQUIRY
  '28000000000000000800', // READ(10)
  '2a000000000000000800', // WRITE(10)
  '88000000000000000000000000080000', // READ(16)
  '8a000000000000000000000000080000', // WRITE(16)
  '42000000000000001800', // UNMAP
  'a00000000000000010000000', // REPORT LUNS
  '9e100000000000000000000000200000', // READ CAPACITY(16)
  '35000000000000000000', // SYNCHRONIZE CACHE
];

/** Additional header segments: extended CDBs and bidirectional lengths, right and wrong. */
const AHS: readonly string[] = [
  '0005020000001000',
  '0005010011223344',
  '0004010011223300',
  '0006020000001000',
  'ffff010000000000',
];

const KEYS: readonly string[] = [
  'InitiatorName', 'TargetName', 'SessionType', 'AuthMethod', 'HeaderDigest', 'DataDigest',
  'MaxConnections', 'SendTargets', 'TargetAlias', 'InitiatorAlias', 'TargetAddress',
  'TargetPortalGroupTag', 'InitialR2T', 'ImmediateData', 'MaxRecvDataSegmentLength',
  'MaxBurstLength', 'FirstBurstLength', 'DefaultTime2Wait', 'DefaultTime2Retain',
  'MaxOutstandingR2T', 'DataPDUInOrder', 'DataSequenceInOrder', 'ErrorRecoveryLevel',
  'TaskReporting', 'iSCSIProtocolLevel', 'IFMarker', 'OFMarkInt', 'CHAP_A', 'CHAP_N', 'CHAP_R',
  'CHAP_I', 'CHAP_C', 'X-com.example', 'Unknown', '', '=',
]; // biome-ignore format: a table

const VALUES: readonly string[] = [
  'iqn.1993-08.org.debian:01:abc', 'iqn.2026-11.io.ashlar:demo', 'eui.0123456789abcdef', 'Discovery',
  'Normal', 'CHAP', 'None', 'CHAP,None', 'CRC32C', 'None,CRC32C', 'CRC32C,None', 'Yes', 'No', 'All', '',
  '0', '1', '511', '512', '8192', '262144', '16777215', '16777216', '0x10000', '-1', '5', '8,7,6,5',
  '5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5', '0x', '0xzz', '0b', '0bAAAA', '0x00112233445566778899aabbccddeeff',
  'alice', 'Reject', 'NotUnderstood', 'Irrelevant', '?', 'RFC3720', '2', '4294967296', '1e9', ',', '=',
  'İ'.repeat(40), 'a'.repeat(300),
]; // biome-ignore format: a table

/** Keys with values that fit: what an initiator in its right mind sends. */
const PLAUSIBLE: readonly string[] = [
  'HeaderDigest=CRC32C,None',
  'DataDigest=None',
  'MaxConnections=4',
  'InitialR2T=No',
  'ImmediateData=Yes',
  'MaxRecvDataSegmentLength=65536',
  'MaxBurstLength=262144',
  'FirstBurstLength=65536',
  'DefaultTime2Wait=2',
  'DefaultTime2Retain=20',
  'MaxOutstandingR2T=4',
  'DataPDUInOrder=Yes',
  'DataSequenceInOrder=No',
  'ErrorRecoveryLevel=2',
  'TaskReporting=RFC3720',
  'iSCSIProtocolLevel=1',
  'IFMarker=No',
  'OFMarkInt=1',
  'InitiatorAlias=host',
  'X-com.example=1',
];

/** Names that a login needs: without them hardly one gets past its first request. */
const INTRODUCTIONS: readonly string[] = [
  'InitiatorName=iqn.1993-08.org.debian:01:abc\0TargetName=iqn.2026-11.io.ashlar:demo\0',
  'InitiatorName=iqn.1993-08.org.debian:01:abc\0SessionType=Discovery\0',
  'InitiatorName=iqn.1993-08.org.debian:01:abc\0TargetName=iqn.2026-11.io.ashlar:demo\0AuthMethod=CHAP,None\0',
  'InitiatorName=iqn.1993-08.org.debian:01:abc\0TargetName=iqn.2026-11.io.ashlar:secret\0AuthMethod=CHAP\0',
];

export class PduGenerator {
  readonly random: FuzzRandom;
  #before: Buffer = Buffer.alloc(BHS_BYTES);

  constructor(seed: number) {
    this.random = new FuzzRandom(seed);
  }

  /** One PDU, damaged more often than not; of the kind `opcode` if one is given. */
  next(digests: Digests = NO_DIGESTS, opcode: number | null = null): Buffer {
    const { random } = this;
    let pdu = this.#ordinary(digests, opcode ?? random.pick(REQUESTS));
    const times = random.pick([0, 1, 1, 2, 4, 12]);
    for (let time = 0; time < times; time += 1) pdu = this.#bend(pdu, digests);
    this.#before = pdu;
    return pdu;
  }

  /** Key=value text, mostly well formed. */
  text(): Buffer {
    const { random } = this;
    let text = random.oneIn(2) ? random.pick(INTRODUCTIONS) : '';
    for (let count = random.below(8); count > 0; count -= 1) {
      const equals = random.oneIn(50) ? '' : '=';
      const end = random.oneIn(50) ? '' : '\0';
      text += random.pick(KEYS) + equals + random.pick(VALUES) + end;
    }
    return Buffer.from(text);
  }

  /** Distinct keys with fitting values. */
  plausibleText(): Buffer {
    const { random } = this;
    const first = random.below(PLAUSIBLE.length);
    const pairs = Array.from({ length: random.below(PLAUSIBLE.length) }, (_, index) => {
      return PLAUSIBLE[(first + 7 * index) % PLAUSIBLE.length]!; // 7 and 20 have no common factor.
    });
    return Buffer.from(pairs.map((pair) => `${pair}\0`).join(''));
  }

  /** The names a login begins with. */
  introduction(): Buffer {
    return Buffer.from(this.random.pick(INTRODUCTIONS));
  }

  /** Once in `times` a damaged copy, else `bytes` as they are. */
  sometimesBent(bytes: Buffer, times: number): Buffer {
    return this.random.oneIn(times) ? this.#bend(Buffer.from(bytes), NO_DIGESTS) : bytes;
  }

  #ordinary(digests: Digests, opcode: number): Buffer {
    const { random } = this;
    const hasText = opcode === Opcode.LoginRequest || opcode === Opcode.TextRequest;
    const data = hasText ? this.#anyText() : this.#payload(opcode);
    const ahsBytes = opcode === Opcode.ScsiCommand && random.oneIn(4) ? 4 * random.below(8) : 0;
    const pdu = Buffer.alloc(wireBytes(ahsBytes, data.length, digests));
    pdu[0] = opcode | (opcode === Opcode.LoginRequest || random.oneIn(3) ? 0x40 : 0);
    pdu[1] = opcode === Opcode.LoginRequest ? random.pick([0x81, 0x87, 0x83, 0, 4, 0x44]) : 0x80;
    if (opcode === Opcode.ScsiCommand) {
      pdu[1] = random.pick([0x80, 0xc1, 0xa1, 0x21, 0xe1]);
      pdu.write(random.pick(CDBS), 32, 'hex');
      put32(pdu, 20, random.pick([0, 512, 4096, 65536, random.pick(EDGES)]));
    }
    if (opcode === Opcode.TaskManagementRequest) pdu[1] = 0x80 | random.below(14);
    put32(pdu, 4, (ahsBytes << 22) | data.length);
    if (opcode === Opcode.LoginRequest) pdu.write('00023d000001', 8, 'hex');
    put32(pdu, 16, random.below(8));
    if (opcode !== Opcode.LoginRequest && opcode !== Opcode.ScsiCommand) {
      put32(pdu, 20, random.oneIn(2) ? 0xffffffff : random.below(8));
    }
    put32(pdu, 24, random.oneIn(4) ? random.pick(EDGES) : 1);
    for (let at = BHS_BYTES; at < BHS_BYTES + ahsBytes; at += 1) pdu[at] = random.below(6);
    if (ahsBytes >= 8) pdu.write(random.pick(AHS), BHS_BYTES, 'hex');
    data.copy(pdu, dataStart(pdu, 0, digests));
    seal(pdu, 0, digests);
    return pdu;
  }

  #anyText(): Buffer {
    if (this.random.oneIn(2)) return this.text();
    const names = this.random.oneIn(3) ? Buffer.alloc(0) : this.introduction();
    return Buffer.concat([names, this.plausibleText()]);
  }

  #payload(opcode: number): Buffer {
    const { random } = this;
    const carries =
      opcode === Opcode.DataOut || opcode === Opcode.NopOut || opcode === Opcode.ScsiCommand;
    if (!carries || random.oneIn(3)) return Buffer.alloc(0);
    return Buffer.alloc(random.pick([1, 3, 4, 48, 512, 513, 4096]), random.below(256));
  }

  #bend(pdu: Buffer, digests: Digests): Buffer {
    const { random } = this;
    if (pdu.length === 0) return Buffer.from(this.#before);
    switch (random.below(9)) {
      case 0: // A bit anywhere.
        pdu[random.below(pdu.length)]! ^= 1 << random.below(8);
        return pdu;
      case 1: // A bit of the header.
        pdu[random.below(Math.min(pdu.length, BHS_BYTES))]! ^= 1 << random.below(8);
        return pdu;
      case 2: // A header field at the edge of its range.
        if (pdu.length >= BHS_BYTES) put32(pdu, 4 * random.below(12), random.pick(EDGES));
        return pdu;
      case 3: // A data segment length that lies a little.
        if (pdu.length >= BHS_BYTES) pdu[7] = random.below(256);
        return pdu;
      case 4: // Cut short.
        return pdu.subarray(0, random.below(pdu.length));
      case 5: // A part twice.
        return Buffer.concat([pdu, pdu.subarray(random.below(pdu.length))]);
      case 6: // The tail of the one before.
        return Buffer.concat([
          pdu.subarray(0, random.below(pdu.length)),
          this.#before.subarray(random.below(this.#before.length + 1)),
        ]);
      case 7: // Zero bytes and equals signs where text is.
        pdu[random.below(pdu.length)] = random.pick([0, 0x3d, 0x2c, 0xff]);
        return pdu;
      default:
        return this.#reseal(pdu, digests);
    }
  }

  /** Digests made good again over whatever the PDU says now, if it still says its length. */
  #reseal(pdu: Buffer, digests: Digests): Buffer {
    if (pdu.length < BHS_BYTES) return pdu;
    const bytes = wireBytes(4 * pdu[4]!, pdu.readUIntBE(5, 3), digests);
    if (bytes <= pdu.length) seal(pdu, 0, digests);
    return pdu;
  }
}
