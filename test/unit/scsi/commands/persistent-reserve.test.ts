// Persistent reservations, and RESERVE/RELEASE, as hosts see them.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextLoop } from 'node:timers/promises';
import { type DataBuffer, IoStatus } from '../../../../src/block/index.ts';
import { encodeTransportId } from '../../../../src/scsi/reservations/transport-id.ts';
import type { Nexus } from '../../../../src/scsi/task.ts';
import {
  aNexus,
  cdb,
  cdb10,
  cdb16,
  Harness,
  MIB,
  type Outcome,
  ScsiStatus,
  TaskManagement,
} from '../harness.ts';

const Register = 0;
const Reserve = 1;
const Release = 2;
const Clear = 3;
const Preempt = 4;
const PreemptAndAbort = 5;
const RegisterAndIgnore = 6;
const RegisterAndMove = 7;
const WE = 1;
const EA = 3;
const WERO = 5;
const EARO = 6;
const WEAR = 7;
const EAAR = 8;
const TYPES = [WE, EA, WERO, EARO, WEAR, EAAR];

interface OutOptions {
  readonly nexus?: Nexus;
  readonly key?: bigint;
  readonly newKey?: bigint;
  readonly type?: number;
  readonly flags?: number;
  readonly tail?: Buffer;
}

function outList(options: OutOptions): Buffer {
  const list = Buffer.alloc(24);
  list.writeBigUInt64BE(options.key ?? 0n, 0);
  list.writeBigUInt64BE(options.newKey ?? 0n, 8);
  list[20] = options.flags ?? 0;
  return Buffer.concat([list, options.tail ?? Buffer.alloc(0)]);
}

function outCdb(action: number, type: number, bytes: number): Buffer {
  const bytesOfCdb = cdb(0x5f, action, type);
  bytesOfCdb.writeUInt32BE(bytes, 5);
  return bytesOfCdb;
}

function unmapCdb(ranges: number): Buffer {
  const bytes = cdb10(0x42, 0, 0);
  bytes.writeUInt16BE(8 + ranges * 16, 7);
  return bytes;
}

function unmapList(...ranges: readonly (readonly [number, number])[]): Buffer {
  const list = Buffer.alloc(8 + ranges.length * 16);
  list.writeUInt16BE(list.length - 2, 0);
  list.writeUInt16BE(ranges.length * 16, 2);
  ranges.forEach(([lba, blocks], index) => {
    list.writeBigUInt64BE(BigInt(lba), 8 + index * 16);
    list.writeUInt32BE(blocks, 16 + index * 16);
  });
  return list;
}

function out(harness: Harness, action: number, options: OutOptions): Outcome {
  const data = outList(options);
  const nexus = options.nexus ?? harness.nexus;
  return harness.run(outCdb(action, options.type ?? 0, data.length), { data, nexus });
}

function ok(harness: Harness, action: number, options: OutOptions): void {
  const { status, code } = out(harness, action, options);
  assert.equal(status, ScsiStatus.Good, `action ${action}: ${code.toString(16)}`);
}

function conflict(harness: Harness, action: number, options: OutOptions): void {
  assert.equal(out(harness, action, options).status, ScsiStatus.ReservationConflict);
}

function prIn(harness: Harness, action: number): Buffer {
  return harness.good(cdb(0x5e, action, 0, 0, 0, 0, 0, 0xff, 0xff));
}

function keys(harness: Harness): bigint[] {
  const data = prIn(harness, 0);
  const found: bigint[] = [];
  for (let at = 8; at < 8 + data.readUInt32BE(4); at += 8) found.push(data.readBigUInt64BE(at));
  return found;
}

function reservation(harness: Harness): [bigint, number] | null {
  const data = prIn(harness, 1);
  return data.readUInt32BE(4) === 0 ? null : [data.readBigUInt64BE(8), data[21]!];
}

const generation = (harness: Harness): number => prIn(harness, 0).readUInt32BE(0);
const tur = (harness: Harness, nexus: Nexus): Outcome => harness.run(cdb(0), { nexus });
const reads = (harness: Harness, nexus: Nexus): ScsiStatus =>
  harness.run(cdb10(0x28, 0, 1), { nexus }).status;
const writes = (harness: Harness, nexus: Nexus): ScsiStatus =>
  harness.run(cdb10(0x2a, 0, 1), { nexus, data: Buffer.alloc(512) }).status;

/** A third host besides the harness's two. */
function third(harness: Harness): Nexus {
  const nexus = aNexus('host-c');
  harness.target.attachNexus(nexus);
  tur(harness, nexus);
  return nexus;
}

/** Both hosts registered, the first with key 1, the other with key 2. */
function bothRegistered(): Harness {
  const harness = new Harness();
  ok(harness, Register, { newKey: 1n });
  ok(harness, Register, { newKey: 2n, nexus: harness.other });
  return harness;
}

describe('registrations', () => {
  it('are made, changed and taken back with the right key only', () => {
    const harness = new Harness();
    conflict(harness, Register, { key: 5n, newKey: 1n });
    ok(harness, Register, { newKey: 1n });
    assert.deepEqual(keys(harness), [1n]);
    conflict(harness, Register, { newKey: 3n });
    ok(harness, Register, { key: 1n, newKey: 3n });
    assert.deepEqual(keys(harness), [3n]);
    ok(harness, RegisterAndIgnore, { key: 99n, newKey: 4n });
    ok(harness, Register, { key: 4n });
    assert.deepEqual(keys(harness), []);
    assert.equal(generation(harness), 4);
    ok(harness, Register, {});
    assert.equal(generation(harness), 4, 'taking back nothing changes nothing');
  });

  it('carry keys of all 64 bits', () => {
    const harness = new Harness();
    ok(harness, Register, { newKey: 0xfedcba9876543210n });
    assert.deepEqual(keys(harness), [0xfedcba9876543210n]);
  });

  it('are reported whole though the answer is cut to the allocation length', () => {
    const harness = bothRegistered();
    const data = harness.good(cdb(0x5e, 0, 0, 0, 0, 0, 0, 0, 12));
    assert.equal(data.length, 12);
    assert.equal(data.readUInt32BE(4), 16);
  });

  it('may name other initiator ports, with SPEC_I_PT', () => {
    const harness = new Harness();
    const ids = encodeTransportId(harness.other.initiatorPort);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(ids.length);
    ok(harness, Register, { newKey: 7n, flags: 0x08, tail: Buffer.concat([length, ids]) });
    assert.deepEqual(keys(harness), [7n, 7n]);
    ok(harness, Reserve, { key: 7n, type: EA });
    const status = prIn(harness, 3);
    assert.equal(status.readUInt32BE(4), 2 * (24 + ids.length));
    assert.equal(status[8 + 12], 0x01);
    assert.equal(status[8 + 13], EA);
    const second = 8 + 24 + ids.length;
    assert.equal(status[second + 12], 0);
    assert.equal(status.readUInt16BE(second + 18), 1);
    assert.deepEqual(status.subarray(second + 24, second + 24 + ids.length), ids);
  });

  it('refuse TransportIDs that are cut short or of another protocol', () => {
    const harness = new Harness();
    const ids = encodeTransportId(harness.other.initiatorPort);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(ids.length);
    const wrong = Buffer.concat([length, ids]);
    wrong[4] = 0x46;
    const options = { newKey: 7n, flags: 0x08 };
    assert.equal(out(harness, Register, { ...options, tail: wrong }).code, 0x2600);
    const cut = Buffer.concat([length, ids.subarray(0, 24)]);
    assert.equal(out(harness, Register, { ...options, tail: cut }).code, 0x1a00);
    assert.equal(out(harness, Register, options).code, 0x1a00);
    assert.equal(out(harness, RegisterAndIgnore, { newKey: 7n, flags: 0x08 }).code, 0x2600);
    assert.deepEqual(keys(harness), []);
  });

  it('by way of all target ports say so', () => {
    const harness = new Harness();
    ok(harness, Register, { newKey: 1n, flags: 0x04 });
    assert.equal(prIn(harness, 3)[8 + 12], 0x02);
    ok(harness, Register, { key: 1n });
    assert.deepEqual(keys(harness), []);
  });

  it('refuse a wrong parameter list length, scope and type', () => {
    const harness = new Harness();
    const data = Buffer.alloc(24);
    harness.refused(outCdb(Register, 0, 23), 5, 0x1a00, { data });
    harness.refused(outCdb(Reserve, WE, 25), 5, 0x1a00, { data });
    harness.refused(outCdb(Reserve, 0x11, 24), 5, 0x2400, { data, field: [2, 7] });
    harness.refused(outCdb(Reserve, 0x02, 24), 5, 0x2400, { data, field: [2, 3] });
    for (let action = 4; action < 0x20; action += 1) {
      harness.refused(cdb(0x5e, action, 0, 0, 0, 0, 0, 1, 0), 5, 0x2400, { field: [1, 4] });
    }
  });
});

describe('a persistent reservation', () => {
  for (const type of TYPES) {
    it(`of type ${type} lets through whom SPC-4 says`, () => {
      const harness = bothRegistered();
      const stranger = third(harness);
      ok(harness, Reserve, { key: 1n, type });
      assert.deepEqual(reservation(harness), [type >= WEAR ? 0n : 1n, type]);
      const exclusive = type === EA || type === EARO || type === EAAR;
      const shared = type >= WERO;
      const { Good, ReservationConflict } = ScsiStatus;
      assert.equal(writes(harness, harness.nexus), Good);
      assert.equal(reads(harness, harness.nexus), Good);
      assert.equal(
        reads(harness, harness.other),
        shared || !exclusive ? Good : ReservationConflict,
      );
      assert.equal(writes(harness, harness.other), shared ? Good : ReservationConflict);
      assert.equal(reads(harness, stranger), exclusive ? ReservationConflict : Good);
      assert.equal(writes(harness, stranger), ReservationConflict);
      // Whoever it is may look.
      assert.equal(harness.run(cdb(0x12, 0, 0, 0, 96), { nexus: stranger }).status, Good);
    });

    it(`of type ${type} is released by its holder, who must name it right`, () => {
      const harness = bothRegistered();
      ok(harness, Reserve, { key: 1n, type });
      ok(harness, Reserve, { key: 1n, type });
      conflict(harness, Reserve, { key: 1n, type: type === WE ? EA : WE });
      const wrong = out(harness, Release, { key: 1n, type: type === WE ? EA : WE });
      assert.equal(wrong.code, 0x2604);
      conflict(harness, Release, { key: 9n, type });
      if (type < WEAR) {
        ok(harness, Release, { key: 2n, type, nexus: harness.other });
        assert.notEqual(reservation(harness), null, 'released by one who does not hold it');
      }
      ok(harness, Release, { key: 1n, type });
      assert.equal(reservation(harness), null);
      assert.equal(tur(harness, harness.other).code, type >= WERO ? 0x2a04 : 0);
      assert.equal(tur(harness, harness.nexus).code, 0);
    });

    it(`of type ${type} goes with the registration of its last holder`, () => {
      const harness = bothRegistered();
      ok(harness, Reserve, { key: 1n, type });
      ok(harness, Register, { key: 1n });
      if (type >= WEAR) {
        assert.deepEqual(reservation(harness), [0n, type]);
        ok(harness, Register, { key: 2n, nexus: harness.other });
      } else if (type >= WERO) {
        assert.equal(tur(harness, harness.other).code, 0x2a04);
      }
      assert.equal(reservation(harness), null);
    });
  }

  it('is not for the unregistered', () => {
    const harness = new Harness();
    conflict(harness, Reserve, { key: 0n, type: WE });
    conflict(harness, Release, { key: 0n, type: WE });
    conflict(harness, Clear, { key: 0n });
    conflict(harness, Preempt, { key: 0n, newKey: 1n, type: WE });
  });

  it('survives resets and the loss of its session, and knows the host again', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: WE });
    harness.manage(TaskManagement.LogicalUnitReset);
    tur(harness, harness.nexus);
    tur(harness, harness.other);
    harness.target.detachNexus(harness.nexus, () => {});
    assert.equal(writes(harness, harness.other), ScsiStatus.ReservationConflict);
    const again = aNexus('host-a');
    harness.target.attachNexus(again);
    tur(harness, again);
    assert.equal(writes(harness, again), ScsiStatus.Good);
  });

  it('set while data was on its way fences the write', () => {
    const harness = bothRegistered();
    const pending = harness.start(cdb10(0x2a, 0, 1), {
      nexus: harness.other,
      data: Buffer.alloc(512, 1),
      fetch: false,
    });
    ok(harness, Reserve, { key: 1n, type: WE });
    harness.fetch(pending, Buffer.alloc(512, 1));
    assert.equal(pending.outcome?.status, ScsiStatus.ReservationConflict);
    assert.equal(harness.device.bytes[0], 0);
  });
});

describe('CLEAR', () => {
  it('removes everything and tells the others', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: EA });
    ok(harness, Clear, { key: 2n, nexus: harness.other });
    assert.equal(tur(harness, harness.nexus).code, 0x2a03);
    assert.equal(tur(harness, harness.other).code, 0);
    assert.deepEqual(keys(harness), []);
    assert.equal(reservation(harness), null);
    assert.equal(generation(harness), 3);
  });
});

describe('PREEMPT', () => {
  it('takes the reservation from the holder of the key', () => {
    const harness = bothRegistered();
    const spectator = third(harness);
    ok(harness, Register, { newKey: 3n, nexus: spectator });
    ok(harness, Reserve, { key: 1n, type: EA });
    ok(harness, Preempt, { key: 2n, newKey: 1n, type: WERO, nexus: harness.other });
    assert.equal(tur(harness, harness.nexus).code, 0x2a05);
    assert.equal(tur(harness, spectator).code, 0x2a04, 'the type has changed');
    assert.deepEqual(reservation(harness), [2n, WERO]);
    assert.deepEqual(keys(harness), [2n, 3n]);
  });

  it('removes registrations that hold nothing, and refuses keys that nobody has', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: WERO });
    conflict(harness, Preempt, { key: 1n, newKey: 9n, type: WERO });
    assert.equal(out(harness, Preempt, { key: 1n, newKey: 0n, type: WERO }).code, 0x2600);
    ok(harness, Preempt, { key: 1n, newKey: 2n, type: EA });
    assert.deepEqual(keys(harness), [1n]);
    assert.deepEqual(reservation(harness), [1n, WERO], 'the type is not looked at');
    assert.equal(tur(harness, harness.other).code, 0x2a05);
  });

  it('of an all-registrants reservation takes key zero for everyone', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: WEAR });
    ok(harness, Preempt, { key: 2n, newKey: 0n, type: WE, nexus: harness.other });
    assert.equal(tur(harness, harness.nexus).code, 0x2a05);
    assert.deepEqual(reservation(harness), [2n, WE]);
    assert.deepEqual(keys(harness), [2n]);
  });

  it('of oneself changes the type', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: WERO });
    ok(harness, Preempt, { key: 1n, newKey: 1n, type: EARO });
    assert.deepEqual(reservation(harness), [1n, EARO]);
    assert.equal(tur(harness, harness.other).code, 0x2a04);
    assert.deepEqual(keys(harness), [1n, 2n]);
  });

  it('answers when no write of the preempted that has begun can land any more', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: WERO });
    harness.device.hold = true;
    const nexus = harness.other;
    const write = harness.start(cdb10(0x2a, 0, 1), { nexus, data: Buffer.alloc(512, 1) });
    const late = harness.start(cdb10(0x2a, 1, 1), { nexus, expectedBytes: 512, fetch: false });
    const read = harness.start(cdb10(0x28, 0, 1), { nexus });
    const data = outList({ key: 1n, newKey: 2n });
    const preempt = harness.start(outCdb(Preempt, WERO, data.length), { data });
    const answered = (): number | undefined => preempt.outcome?.status;
    assert.equal(answered(), undefined);
    assert.ok(harness.device.release());
    assert.equal(write.outcome?.status, ScsiStatus.Good);
    assert.equal(answered(), ScsiStatus.Good, 'reads are not waited for');
    harness.device.releaseAll();
    assert.equal(read.outcome?.status, ScsiStatus.Good);
    harness.fetch(late, Buffer.alloc(512, 1));
    assert.equal(late.outcome?.status, ScsiStatus.ReservationConflict);
  });

  it('does not wait for what a limit holds back: those writes go on at once, with all their parts', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: WERO });
    harness.device.hold = harness.device.letsPass = true;
    const nexus = harness.other;
    const two = Buffer.concat([Buffer.alloc(512, 1), Buffer.alloc(512, 2)]);
    const writes = [
      harness.start(cdb10(0x2a, 0, 2), { nexus, data: two }),
      harness.start(cdb10(0x2a, 4, 2), { nexus, data: two }),
      harness.start(unmapCdb(2), { nexus, data: unmapList([0, 1], [4, 1]) }),
    ];
    const read = harness.start(cdb10(0x28, 0, 1), { nexus });
    const data = outList({ key: 1n, newKey: 2n });
    const preempt = harness.start(outCdb(Preempt, WERO, data.length), { data });
    assert.equal(preempt.outcome?.status, ScsiStatus.Good);
    for (const write of writes) assert.equal(write.outcome?.status, ScsiStatus.Good);
    assert.equal(read.outcome, null, 'reads wait on');
    assert.equal(harness.device.bytes[512], 2);
    harness.device.releaseAll();
    assert.equal(read.outcome!.status, ScsiStatus.Good);
  });

  it('fences what has begun and still waits for a buffer', async () => {
    const harness = new Harness({}, { arenaBytes: 4 * MIB });
    ok(harness, Register, { newKey: 1n });
    ok(harness, Register, { newKey: 2n, nexus: harness.other });
    ok(harness, Reserve, { key: 1n, type: WERO });
    harness.write(0, Buffer.alloc(64 * 1024, 7));
    const taken: DataBuffer[] = [];
    for (let buffer = harness.pool.allocate(4096); buffer !== null; ) {
      taken.push(buffer);
      buffer = harness.pool.allocate(4096);
    }
    taken.pop()!.release(); // For the parameter list of the PREEMPT.
    const zero = harness.start(cdb16(0x93, 0, 128, 0x01), { nexus: harness.other });
    assert.equal(zero.outcome, null);
    ok(harness, Preempt, { key: 1n, newKey: 2n, type: WERO });
    for (const buffer of taken) buffer.release();
    await nextLoop();
    const ended = (): number | undefined => zero.outcome?.status;
    assert.equal(ended(), ScsiStatus.ReservationConflict);
    assert.ok(harness.device.bytes.subarray(0, 64 * 1024).every((byte) => byte === 7));
    assert.equal(harness.pool.freeBytes, 4 * MIB);
  });

  it('AND ABORT answers when the tasks of the preempted can change nothing any more', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 1n, type: WERO });
    harness.device.hold = true;
    const write = harness.start(cdb10(0x2a, 0, 1), {
      nexus: harness.other,
      data: Buffer.alloc(512, 1),
    });
    const data = outList({ key: 1n, newKey: 2n });
    const preempt = harness.start(outCdb(PreemptAndAbort, WERO, data.length), { data });
    assert.equal(preempt.outcome, null);
    harness.device.releaseAll();
    assert.equal(write.outcome?.aborted, true);
    assert.equal(preempt.outcome!.status, ScsiStatus.Good);
    const codes = [tur(harness, harness.other).code, tur(harness, harness.other).code];
    assert.deepEqual(codes.sort(), [0x2a05, 0x2f00]);
    assert.equal(writes(harness, harness.other), ScsiStatus.ReservationConflict);
  });
});

describe('REGISTER AND MOVE', () => {
  const move = (harness: Harness, to: string, unregister: boolean, port = 1): Outcome => {
    const id = encodeTransportId(to);
    const list = Buffer.alloc(24);
    list.writeBigUInt64BE(1n, 0);
    list.writeBigUInt64BE(5n, 8);
    list[17] = unregister ? 0x02 : 0;
    list.writeUInt16BE(port, 18);
    list.writeUInt32BE(id.length, 20);
    const data = Buffer.concat([list, id]);
    return harness.run(outCdb(RegisterAndMove, 0, data.length), { data });
  };

  it('hands the reservation to another port', () => {
    const harness = new Harness();
    ok(harness, Register, { newKey: 1n });
    assert.equal(move(harness, harness.other.initiatorPort, true).code, 0x2400);
    ok(harness, Reserve, { key: 1n, type: WE });
    assert.equal(move(harness, harness.nexus.initiatorPort, true).code, 0x2600);
    assert.equal(move(harness, harness.other.initiatorPort, true, 9).code, 0x2600);
    assert.equal(move(harness, harness.other.initiatorPort, true).status, ScsiStatus.Good);
    assert.deepEqual(reservation(harness), [5n, WE]);
    assert.deepEqual(keys(harness), [5n]);
    assert.equal(writes(harness, harness.other), ScsiStatus.Good);
    assert.equal(writes(harness, harness.nexus), ScsiStatus.ReservationConflict);
  });

  it('is not for all-registrants reservations', () => {
    const harness = new Harness();
    ok(harness, Register, { newKey: 1n });
    ok(harness, Reserve, { key: 1n, type: WEAR });
    const { status } = move(harness, harness.other.initiatorPort, false);
    assert.equal(status, ScsiStatus.ReservationConflict);
  });
});

describe('APTPL', () => {
  it('keeps registrations and reservation over a restart, and PRGENERATION starts anew', () => {
    const harness = new Harness();
    ok(harness, Register, { newKey: 0xffffffffffffffffn, flags: 0x01 });
    ok(harness, Register, { newKey: 2n, nexus: harness.other, flags: 0x01 });
    ok(harness, Reserve, { key: 2n, type: EARO, nexus: harness.other });
    assert.equal(prIn(harness, 2)[3]! & 0x01, 1);
    const again = new Harness({ metadata: harness.device.metadata });
    assert.deepEqual(keys(again), [0xffffffffffffffffn, 2n]);
    assert.deepEqual(reservation(again), [2n, EARO]);
    assert.equal(generation(again), 0);
    assert.equal(reads(again, third(again)), ScsiStatus.ReservationConflict);
    assert.equal(writes(again, again.nexus), ScsiStatus.Good);
  });

  it('is forgotten when it is taken back, or when nothing is left', () => {
    const harness = new Harness();
    ok(harness, Register, { newKey: 1n, flags: 0x01 });
    assert.equal(harness.device.metadata.has('pr'), true);
    ok(harness, RegisterAndIgnore, { newKey: 1n });
    assert.equal(harness.device.metadata.has('pr'), false);
    ok(harness, RegisterAndIgnore, { newKey: 1n, flags: 0x01 });
    ok(harness, Clear, { key: 1n });
    assert.equal(harness.device.metadata.has('pr'), false);
  });

  it('has no status and no effect before the device has it, and none if it fails', () => {
    const harness = new Harness();
    const saves: ((status: IoStatus) => void)[] = [];
    harness.device.saveMetadata = (_key, _value, done) => saves.push(done);
    const data = outList({ newKey: 1n, flags: 0x01 });
    const first = harness.start(outCdb(Register, 0, 24), { data });
    const second = harness.start(outCdb(Register, 0, 24), { data, nexus: harness.other });
    assert.equal(first.outcome, null);
    assert.deepEqual(keys(harness), []);
    assert.equal(harness.run(cdb(0x16)).status, ScsiStatus.ReservationConflict);
    assert.equal(saves.length, 1, 'one after the other');
    saves.shift()!(IoStatus.Ok);
    assert.equal(first.outcome!.status, ScsiStatus.Good);
    assert.deepEqual(keys(harness), [1n]);
    saves.shift()!(IoStatus.IoError);
    assert.equal(second.outcome?.code, 0x4400);
    assert.deepEqual(keys(harness), [1n]);
  });

  it('that cannot be read keeps the unit from being served', () => {
    const metadata = new Map([['pr', Buffer.from('{"version":1,"type":3}')]]);
    assert.throws(() => new Harness({ metadata }), { code: 'SCSI_RESERVATIONS_DAMAGED' });
  });
});

describe('what only this process knows of reservations', () => {
  /** The device answers when the test does. */
  function asked(harness: Harness): ((status: IoStatus) => void)[] {
    const waiting: ((status: IoStatus) => void)[] = [];
    harness.device.confirmServed = (done) => waiting.push(done);
    return waiting;
  }

  it('changes, and is told, once the device says that it is served from here (E5)', () => {
    const harness = bothRegistered();
    ok(harness, Reserve, { key: 2n, type: WE, nexus: harness.other });
    const waiting = asked(harness);
    const preempt = harness.start(outCdb(Preempt, WE, 24), {
      data: outList({ key: 1n, newKey: 2n }),
    });
    assert.equal(preempt.outcome, null);
    assert.equal(writes(harness, harness.other), ScsiStatus.Good, 'nothing has changed yet');
    waiting.shift()!(IoStatus.Ok);
    assert.equal(preempt.outcome!.status, ScsiStatus.Good);
    tur(harness, harness.other);
    assert.equal(writes(harness, harness.other), ScsiStatus.ReservationConflict);

    const readKeys = harness.start(cdb(0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff));
    assert.equal(readKeys.outcome, null);
    waiting.shift()!(IoStatus.Ok);
    assert.equal(readKeys.outcome!.data.readUInt32BE(4), 8, 'one key');
    const again = harness.start(outCdb(Reserve, WE, 24), { data: outList({ key: 1n }) });
    assert.equal(again.outcome, null, 'nor is the holder told that it is that still');
    waiting.shift()!(IoStatus.Ok);
    assert.equal(again.outcome!.status, ScsiStatus.Good);
  });

  it('is not answered by who is replaced', () => {
    const harness = new Harness();
    const waiting = asked(harness);
    const register = harness.start(outCdb(Register, 0, 24), { data: outList({ newKey: 1n }) });
    const reserve = harness.start(cdb(0x16), { nexus: harness.other });
    assert.equal(waiting.length, 2);
    for (const answer of waiting.splice(0)) answer(IoStatus.Offline);
    for (const { outcome } of [register, reserve]) assert.equal(outcome!.key, 0x02);
    harness.device.confirmServed = (done) => done(IoStatus.Ok);
    assert.deepEqual(keys(harness), []);
  });

  it('does not change for a task that was aborted meanwhile', () => {
    const harness = new Harness();
    const waiting = asked(harness);
    const reserve = harness.start(cdb(0x16), { tag: 77 });
    const abort = harness.manage(TaskManagement.AbortTask, { tag: 77 });
    assert.equal(abort.response, null);
    waiting.shift()!(IoStatus.Ok);
    assert.equal(reserve.outcome!.aborted, true);
    assert.notEqual(abort.response, null);
    harness.device.confirmServed = (done) => done(IoStatus.Ok);
    harness.good(cdb(0x16), { nexus: harness.other });
  });
});

describe('RESERVE and RELEASE', () => {
  const [reserve, release] = [cdb(0x16), cdb(0x17)];

  it('keep the others out until released, reset or logged out', () => {
    const harness = new Harness();
    const { other } = harness;
    const ends = [
      (): unknown => harness.good(release),
      (): unknown => harness.manage(TaskManagement.LogicalUnitReset),
      (): unknown => harness.target.detachNexus(harness.nexus, () => {}),
    ];
    for (const end of ends) {
      harness.good(reserve);
      harness.good(reserve);
      const conflicts = harness.run(reserve, { nexus: other });
      assert.equal(conflicts.status, ScsiStatus.ReservationConflict);
      assert.equal(harness.run(release, { nexus: other }).status, ScsiStatus.Good);
      assert.equal(reads(harness, other), ScsiStatus.ReservationConflict);
      assert.equal(reads(harness, harness.nexus), ScsiStatus.Good);
      end();
      tur(harness, other);
      assert.equal(harness.run(reserve, { nexus: other }).status, ScsiStatus.Good);
      assert.equal(harness.run(release, { nexus: other }).status, ScsiStatus.Good);
      if (end !== ends[2]) tur(harness, harness.nexus);
    }
  });

  it('do not mix with persistent reservations', () => {
    const harness = bothRegistered();
    assert.equal(harness.run(reserve).status, ScsiStatus.ReservationConflict);
    ok(harness, Reserve, { key: 1n, type: WE });
    harness.good(reserve);
    assert.equal(
      harness.run(reserve, { nexus: harness.other }).status,
      ScsiStatus.ReservationConflict,
    );
    ok(harness, Clear, { key: 1n });
    tur(harness, harness.other);
    harness.good(reserve);
    conflict(harness, Register, { newKey: 1n });
    assert.equal(
      harness.run(cdb(0x5e, 0, 0, 0, 0, 0, 0, 1, 0)).status,
      ScsiStatus.ReservationConflict,
    );
  });

  it('refuse third parties and extents', () => {
    const harness = new Harness({ bytes: MIB });
    harness.refused(cdb(0x16, 0x01), 5, 0x2400, { field: [1, 0] });
    harness.refused(cdb(0x56, 0x10), 5, 0x2400, { field: [1, 4] });
  });
});
