// An initiator that means no good: seeded streams of PDUs of the full feature phase, most of them nearly right, cut
// anywhere, against the real device server, whose disk holds operations back now and then. At the end every buffer, session
// and timer must be gone.
import assert from 'node:assert/strict';
import { SeededRandom } from '../../../../src/base/index.ts';
import { MemoryDevice } from '../../../../src/block/index.ts';
import { Opcode, RESERVED_TAG } from '../../../../src/iscsi/pdu/index.ts';
import { type Initiator, World } from './initiator.ts';

const PDUS = 400;
const ARENA_BYTES = 16 * 1024 * 1024;
const OPCODES = [
  Opcode.ScsiCommand,
  Opcode.ScsiCommand,
  Opcode.ScsiCommand,
  Opcode.DataOut,
  Opcode.DataOut,
  Opcode.TaskManagementRequest,
  Opcode.NopOut,
  Opcode.TextRequest,
  Opcode.SnackRequest,
];
/** READ, WRITE, COMPARE AND WRITE, UNMAP, WRITE SAME, RESERVE, PERSISTENT RESERVE, MODE, REPORT LUNS, INQUIRY. */
const CDBS = [0x28, 0x2a, 0x88, 0x8a, 0x89, 0x42, 0x93, 0x16, 0x5f, 0x5e, 0x1a, 0x15, 0xa0, 0x12];

class Hostile {
  readonly #random: SeededRandom;
  readonly #host: Initiator;
  readonly #seen: Set<number>;
  #cmdSn = 1;
  #lastItt = 1;
  #lastTtt = 0;

  constructor(random: SeededRandom, host: Initiator, seen: Set<number>) {
    this.#seen = seen;
    this.#random = random;
    this.#host = host;
  }

  #below(bound: number): number {
    return this.#random.below(bound);
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#below(of.length)]!;
  }

  /** Learns tags that Data-Out may use. */
  listen(): void {
    for (const { opcode, bhs } of this.#host.take()) {
      this.#seen.add(opcode);
      if (opcode !== Opcode.R2t) continue;
      this.#lastItt = bhs.readUInt32BE(16);
      this.#lastTtt = bhs.readUInt32BE(20);
    }
  }

  pdu(): Buffer {
    const opcode = this.#one(OPCODES);
    const dataBytes = this.#one([0, 0, 0, 4, 512, 512, 4096, this.#below(3000)]);
    const ahsBytes = this.#below(20) === 0 ? this.#one([4, 8, 12, 260]) : 0;
    const pdu = Buffer.alloc(48 + ahsBytes + ((dataBytes + 3) & ~3));
    this.#random.fill(pdu.subarray(48, 48 + Math.min(64, pdu.length - 48)));
    pdu[0] = opcode;
    pdu[1] = this.#one([0x80, 0x80, 0xa0, 0xc0, 0xa1, 0x20, 0xe0, 0x81, 0x82, 0x85]);
    pdu[4] = ahsBytes / 4;
    pdu.writeUIntBE(dataBytes, 5, 3);
    if (this.#below(30) === 0) pdu[9] = 1;
    const itt = this.#one([this.#below(40), this.#below(40), this.#lastItt, RESERVED_TAG]);
    pdu.writeUInt32BE(itt, 16);
    pdu.writeUInt32BE(this.#one([0, 512, 4096, 8192, 65536, dataBytes]), 20);
    if (this.#below(8) === 0) pdu[0] |= 0x40;
    else if (opcode !== Opcode.DataOut && opcode !== Opcode.SnackRequest) {
      const odd = this.#below(40) === 0;
      pdu.writeUInt32BE((odd ? this.#cmdSn + this.#below(6) - 3 : this.#cmdSn++) >>> 0, 24);
    }
    if (opcode === Opcode.ScsiCommand) {
      pdu[32] = this.#one(CDBS);
      for (let at = 33; at < 48; at += 1) pdu[at] = this.#below(3) === 0 ? this.#below(16) : 0;
      if (this.#below(3) > 0) this.#makeTransfer(pdu, dataBytes);
    } else if (opcode === Opcode.DataOut) {
      pdu.writeUInt32BE(this.#one([RESERVED_TAG, this.#lastTtt, this.#lastTtt]), 20);
      pdu.writeUInt32BE(this.#below(3), 36);
      pdu.writeUInt32BE(this.#one([0, 0, 512, 4096, dataBytes]), 40);
    } else if (opcode === Opcode.TaskManagementRequest) {
      pdu[1] = 0x80 | this.#one([1, 1, 2, 4, 5, 9, 10, 11, 12, 14, 8, 3]);
      pdu.writeUInt32BE(this.#below(40), 20);
      pdu.writeUInt32BE((this.#cmdSn - this.#below(4)) >>> 0, 32);
    }
    while (this.#below(8) === 0) pdu[this.#below(48)] = this.#below(256);
    return pdu;
  }

  /** A READ(10) or WRITE(10) that means what it says. */
  #makeTransfer(pdu: Buffer, dataBytes: number): void {
    const writes = dataBytes > 0 || this.#below(2) === 0;
    const blocks = 1 + this.#below(32);
    pdu[1] = writes ? (this.#below(4) === 0 ? 0x20 : 0xa0) : 0xc0;
    pdu.writeUInt32BE(blocks * 512, 20);
    pdu.fill(0, 32, 48);
    pdu[32] = writes ? 0x2a : 0x28;
    pdu[37] = this.#below(100);
    pdu[40] = blocks;
  }
}

/** One attack; `seen` collects the opcodes of the answers. Returns how many PDUs it sent. */
export function attack(seed: number, seen: Set<number>): number {
  let sent = 0;
  const random = new SeededRandom(seed);
  const device = new MemoryDevice({ bytes: 1024 * 1024, logicalBlockBytes: 512 });
  const world = new World({ device, arenaBytes: ARENA_BYTES });
  const keys: Record<string, string> = {
    InitialR2T: random.below(2) === 0 ? 'Yes' : 'No',
    ImmediateData: random.below(4) === 0 ? 'No' : 'Yes',
    MaxBurstLength: '4096',
    FirstBurstLength: '2048',
    MaxOutstandingR2T: '4',
    MaxRecvDataSegmentLength: '1024',
  };
  const hosts: Initiator[] = [];
  for (let login = 0; login < 4; login += 1) {
    const host = world.login(keys, `00000000000${random.below(2)}`);
    hosts.push(host);
    const hostile = new Hostile(random, host, seen);
    for (let count = 0; count < PDUS / 4 && !host.transport.closed; count += 1) {
      const bytes = hostile.pdu();
      sent += 1;
      host.send(bytes, random.below(3) === 0 ? 1 + random.below(200) : bytes.length);
      if (random.below(30) === 0) device.hold = !device.hold;
      if (random.below(10) === 0) world.run(() => device.release());
      if (random.below(50) === 0) host.transport.stalled = true;
      else if (random.below(10) === 0 && host.transport.stalled) {
        world.run(() => host.transport.drain());
      }
      if (!host.transport.stalled) hostile.listen();
      if (random.below(60) === 0) world.clock.advance(1000);
    }
    device.hold = false;
    world.run(() => device.releaseAll());
  }
  for (const host of hosts) host.cut();
  world.run(() => device.releaseAll());
  world.clock.advance(60_000);
  assert.deepEqual(world.server.sessions(), []);
  assert.equal(world.pool.freeBytes, ARENA_BYTES);
  assert.equal(world.clock.pending, 0);
  return sent;
}
