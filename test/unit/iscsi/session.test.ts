// The full feature phase, PDU by PDU, against a disk in memory and a clock that stands still.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  dataIn,
  Opcode,
  RESERVED_TAG,
  r2t,
  reject,
  scsiResponse,
  targetNumbersOf,
} from '../../../src/iscsi/pdu/index.ts';
import { TaskManagement } from '../../../src/scsi/index.ts';
import { Initiator, pattern, World } from './support/initiator.ts';

const { RejectReason } = reject;
const CHECK_CONDITION = 2;

/** Sense key, ASC and ASCQ of a SCSI Response, as one string. */
function senseOf(data: Buffer): string {
  assert.equal(data.readUInt16BE(0), data.length - 2);
  const sense = data.subarray(2);
  return [sense[2]! & 15, sense[12]!, sense[13]!].map((n) => n.toString(16)).join('/');
}

test('a small read is one Data-In with the status in it', () => {
  const world = new World();
  const host = world.login();
  pattern(4096).copy(world.target.disk, 512);
  host.read(1, 8);
  const answer = host.one(Opcode.DataIn);
  assert.deepEqual(answer.data, pattern(4096));
  assert.ok(dataIn.hasStatus(answer.bhs, 0));
  assert.equal(answer.bhs[1], 0x81);
  assert.equal(answer.bhs.readUInt32BE(44), 0);
  assert.equal(targetNumbersOf(answer.bhs, 0).expCmdSn, 2);
});

test('all answers of one turn leave in one write, with consecutive StatSN', () => {
  const world = new World();
  const host = world.login();
  host.transport.writes = 0;
  world.turn.enter();
  for (let index = 0; index < 20; index += 1) host.read(index, 8);
  world.turn.leave();
  assert.equal(host.transport.writes, 1);
  const numbers = host.take().map(({ bhs }) => targetNumbersOf(bhs, 0));
  assert.equal(numbers.length, 20);
  for (const [index, { statSn }] of numbers.entries()) {
    assert.equal(statSn, numbers[0]!.statSn + index);
  }
  assert.equal(numbers.at(-1)!.maxCmdSn, numbers.at(-1)!.expCmdSn + 127);
});

test('a long read is cut by the segment length, and F ends each burst', () => {
  const world = new World();
  const host = world.login({ MaxRecvDataSegmentLength: '1024', MaxBurstLength: '2560' });
  pattern(8192).copy(world.target.disk);
  host.read(0, 16);
  const answers = host.take();
  const data = Buffer.concat(answers.map((answer) => answer.data));
  assert.deepEqual(data, pattern(8192));
  let offset = 0;
  answers.forEach(({ bhs, data: { length } }, index) => {
    assert.equal(dataIn.dataSn(bhs, 0), index);
    assert.equal(dataIn.bufferOffset(bhs, 0), offset);
    assert.ok(length <= 1024);
    offset += length;
    assert.equal((bhs[1]! & 0x80) !== 0, offset % 2560 === 0 || offset === 8192);
    assert.equal(dataIn.hasStatus(bhs, 0), offset === 8192);
  });
});

test('residuals count what was wanted and what was announced', () => {
  const world = new World();
  const host = world.login();
  host.read(0, 8, { edtlBytes: 8192 });
  const under = host.one(Opcode.DataIn);
  assert.equal(under.bhs[1]! & 6, scsiResponse.Residual.Underflow);
  assert.equal(under.bhs.readUInt32BE(44), 4096);
  host.read(0, 8, { edtlBytes: 512 });
  const over = host.one(Opcode.DataIn);
  assert.equal(over.data.length, 512);
  assert.equal(over.bhs[1]! & 6, scsiResponse.Residual.Overflow);
  assert.equal(over.bhs.readUInt32BE(44), 4096 - 512);
  // The CDB writes two blocks, the host announces four.
  host.write(0, 2, { edtlBytes: 2048, data: pattern(2048) });
  const written = host.one(Opcode.ScsiResponse);
  assert.equal(scsiResponse.status(written.bhs, 0), 0);
  assert.equal(scsiResponse.residual(written.bhs, 0), scsiResponse.Residual.Underflow);
  assert.equal(scsiResponse.residualBytes(written.bhs, 0), 1024);
  assert.deepEqual(world.target.disk.subarray(0, 1024), pattern(1024));
  assert.ok(world.target.disk.subarray(1024, 2048).every((byte) => byte === 0));
});

for (const chunk of [1, 7, 48, 100_000]) {
  test(`a write with immediate data, cut every ${chunk} bytes, reaches the disk`, () => {
    const world = new World();
    const host = world.login();
    const free = world.pool.freeBytes;
    host.write(3, 8, { data: pattern(4096, 5), chunk });
    const answer = host.one(Opcode.ScsiResponse);
    assert.equal(scsiResponse.status(answer.bhs, 0), 0);
    assert.deepEqual(world.target.disk.subarray(1536, 1536 + 4096), pattern(4096, 5));
    assert.equal(world.pool.freeBytes, free);
  });
}

for (const digest of ['None', 'CRC32C']) {
  for (const chunk of [5, 1000, 1_000_000]) {
    test(`immediate, unsolicited and solicited data of one write meet; digests ${digest}, cut every ${chunk}`, () => {
      const world = new World();
      const host = world.login({
        InitialR2T: 'No',
        FirstBurstLength: '2048',
        MaxBurstLength: '4096',
        MaxOutstandingR2T: '2',
        HeaderDigest: digest,
        DataDigest: digest,
      });
      const free = world.pool.freeBytes;
      const data = pattern(16 * 1024, 9);
      const itt = host.write(0, 32, { final: false, data: data.subarray(0, 1024), chunk });
      host.dataOut(data.subarray(1024, 1536), { itt, bufferOffset: 1024, final: false }, chunk);
      assert.deepEqual(host.take(), []);
      host.dataOut(data.subarray(1536, 2048), { itt, bufferOffset: 1536, dataSn: 1 }, chunk);
      const asked: number[] = [];
      for (let answers = host.take(); ; answers = host.take()) {
        if (answers[0]!.opcode === Opcode.ScsiResponse) {
          assert.equal(scsiResponse.status(answers[0]!.bhs, 0), 0);
          assert.equal(scsiResponse.expDataSn(answers[0]!.bhs, 0), 4);
          break;
        }
        for (const { opcode, bhs } of answers) {
          assert.equal(opcode, Opcode.R2t);
          assert.equal(r2t.r2tSn(bhs, 0), asked.length);
          const from = r2t.bufferOffset(bhs, 0);
          const bytes = r2t.desiredBytes(bhs, 0);
          asked.push(from);
          const ttt = r2t.ttt(bhs, 0);
          const middle = from + Math.floor(bytes / 8) * 4;
          const first = { itt, ttt, bufferOffset: from, final: false };
          host.dataOut(data.subarray(from, middle), first, chunk);
          const second = { itt, ttt, bufferOffset: middle, dataSn: 1 };
          host.dataOut(data.subarray(middle, from + bytes), second, chunk);
        }
      }
      assert.deepEqual(asked, [2048, 6144, 10240, 14336]);
      assert.deepEqual(world.target.disk.subarray(0, data.length), data);
      assert.equal(world.pool.freeBytes, free);
    });
  }
}

test('as many R2Ts are outstanding as were negotiated', () => {
  const world = new World();
  const host = world.login({ MaxOutstandingR2T: '3', MaxBurstLength: '1024', ImmediateData: 'No' });
  const itt = host.write(0, 32);
  const first = host.take();
  assert.equal(first.length, 3);
  host.dataOut(pattern(1024), { itt, ttt: r2t.ttt(first[0]!.bhs, 0), bufferOffset: 0 });
  assert.equal(r2t.bufferOffset(host.one(Opcode.R2t).bhs, 0), 3072);
});

const brokenDataOut: [string, Parameters<Initiator['dataOut']>[1] | null, number, string][] = [
  ['a DataSN gap', { itt: 1, bufferOffset: 0, dataSn: 1, final: false }, 512, 'b/c/d'],
  ['an offset gap', { itt: 1, bufferOffset: 512, final: false }, 512, 'b/c/d'],
  ['more than the burst', { itt: 1, bufferOffset: 0 }, 2048, 'b/c/d'],
  ['F before the end of the burst', { itt: 1, bufferOffset: 0 }, 512, 'b/c/d'],
  ['unsolicited data', { itt: 1, bufferOffset: 0, ttt: RESERVED_TAG }, 512, 'b/c/c'],
];
for (const [what, fields, bytes, sense] of brokenDataOut) {
  test(`${what} ends the write with CHECK CONDITION; nothing is applied`, () => {
    for (const chunk of [undefined, 100]) {
      const world = new World();
      const host = world.login({ MaxBurstLength: '1024', ImmediateData: 'No' });
      const free = world.pool.freeBytes;
      host.write(0, 8);
      const ttt = r2t.ttt(host.take()[0]!.bhs, 0);
      host.dataOut(pattern(bytes), { ttt, ...fields! }, chunk);
      const answer = host.one(Opcode.ScsiResponse);
      assert.equal(scsiResponse.status(answer.bhs, 0), CHECK_CONDITION);
      assert.equal(senseOf(answer.data), sense);
      assert.ok(world.target.disk.every((byte) => byte === 0));
      assert.equal(world.pool.freeBytes, free);
      // What the host still had on the way is dropped, and the session goes on.
      host.dataOut(pattern(512), { itt: 1, ttt, bufferOffset: 512, dataSn: 1 });
      host.read(0, 1);
      host.one(Opcode.DataIn);
    }
  });
}

test('excess unsolicited data end the command', () => {
  const world = new World();
  const host = world.login({ InitialR2T: 'No', FirstBurstLength: '1024' });
  host.write(0, 16, { data: pattern(2048) });
  assert.equal(senseOf(host.one(Opcode.ScsiResponse).data), 'b/c/c');
  const itt = host.write(0, 16, { data: pattern(1024), final: false });
  host.dataOut(pattern(512), { itt, bufferOffset: 1024 });
  assert.equal(senseOf(host.one(Opcode.ScsiResponse).data), 'b/c/c');
  const strict = world.login({ ImmediateData: 'No' }, '000000000002');
  strict.write(0, 16, { data: pattern(512) });
  assert.equal(senseOf(strict.one(Opcode.ScsiResponse).data), 'b/c/c');
  strict.write(0, 16, { final: false });
  assert.equal(senseOf(strict.one(Opcode.ScsiResponse).data), 'b/c/c');
  assert.ok(world.target.disk.every((byte) => byte === 0));
});

test('CmdSN outside the window is silently ignored, a gap is waited for', () => {
  const world = new World();
  const host = world.login();
  host.read(0, 1, { cmdSn: 0 });
  host.read(0, 1, { cmdSn: 1 + 128 });
  assert.deepEqual(host.take(), []);
  const late = host.read(0, 1, { cmdSn: 2 });
  const later = host.write(1, 1, { cmdSn: 3, data: pattern(512) });
  assert.deepEqual(host.take(), []);
  const first = host.read(0, 1, { cmdSn: 1 });
  const answers = host.take();
  assert.deepEqual(
    answers.map(({ bhs }) => bhs.readUInt32BE(16)),
    [first, late, later],
  );
  assert.equal(targetNumbersOf(answers[2]!.bhs, 0).expCmdSn, 4);
  assert.deepEqual(world.target.disk.subarray(512, 1024), pattern(512));
});

test('the window closes as commands are outstanding, and opens with their answers', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  for (let index = 0; index < 128; index += 1) host.read(0, 1);
  host.read(0, 1); // One too many.
  host.ping();
  const full = targetNumbersOf(host.one(Opcode.NopIn).bhs, 0);
  assert.equal(full.maxCmdSn, full.expCmdSn - 1);
  assert.equal(world.target.held.length, 128);
  world.run(() => world.target.finish(world.target.held[0]!));
  const answer = targetNumbersOf(host.one(Opcode.DataIn).bhs, 0);
  assert.equal(answer.maxCmdSn, answer.expCmdSn);
});

test('a reused ITT, data with a read and unknown opcodes are rejected', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  const itt = host.read(0, 1);
  host.read(0, 1, { itt });
  const again = host.one(Opcode.Reject);
  assert.equal(reject.reason(again.bhs, 0), RejectReason.InvalidPduField);
  assert.equal(again.data.readUInt32BE(16), itt);
  host.command({ reads: true, edtlBytes: 512, data: pattern(512) });
  assert.equal(reject.reason(host.one(Opcode.Reject).bhs, 0), RejectReason.InvalidPduField);
  const unknown = Buffer.alloc(48);
  unknown[0] = 0x40 | 0x1c;
  host.send(unknown);
  assert.equal(reject.reason(host.one(Opcode.Reject).bhs, 0), RejectReason.CommandNotSupported);
  unknown[0] = Opcode.SnackRequest;
  host.send(unknown);
  assert.equal(reject.reason(host.one(Opcode.Reject).bhs, 0), RejectReason.SnackReject);
});

test('a bad data digest rejects the PDU and fails its command', () => {
  const world = new World();
  const host = world.login({ DataDigest: 'CRC32C', ImmediateData: 'No' });
  const itt = host.write(0, 1);
  const ttt = r2t.ttt(host.one(Opcode.R2t).bhs, 0);
  host.digests = { header: false, data: false };
  host.dataOut(Buffer.concat([pattern(512), Buffer.alloc(4)]).subarray(0, 512), {
    itt,
    ttt,
    bufferOffset: 0,
  });
  host.send(Buffer.from([1, 2, 3, 4])); // The digest.
  const [rejected, response] = host.take();
  assert.equal(reject.reason(rejected!.bhs, 0), RejectReason.DataDigestError);
  assert.equal(senseOf(response!.data), 'b/47/5');
  assert.ok(world.target.disk.every((byte) => byte === 0));
});

/** A Data-Out whose digest is wrong. */
function damagedDataOut(host: Initiator, ...data: Parameters<Initiator['dataOut']>): void {
  const { digests } = host;
  host.digests = { header: false, data: false };
  host.dataOut(...data);
  host.send(Buffer.from([1, 2, 3, 4])); // The digest.
  host.digests = digests;
}

for (const solicited of [true, false]) {
  const what = solicited ? 'solicited' : 'unsolicited';
  test(`a write with damaged ${what} data is answered when all that was on the way has come`, () => {
    const world = new World();
    const host = world.login({
      DataDigest: 'CRC32C',
      MaxBurstLength: '1024',
      MaxOutstandingR2T: '2',
      InitialR2T: solicited ? 'Yes' : 'No',
      ImmediateData: 'No',
    });
    const free = world.pool.freeBytes;
    const itt = host.write(0, 8, { final: solicited });
    const asked = solicited ? host.take().map(({ bhs }) => r2t.ttt(bhs, 0)) : [RESERVED_TAG];
    const place = { itt, ttt: asked[0]!, final: false };
    damagedDataOut(host, pattern(512), { ...place, bufferOffset: 0 });
    const rejected = host.one(Opcode.Reject);
    assert.equal(reject.reason(rejected.bhs, 0), RejectReason.DataDigestError);
    // Its tag is still its own.
    host.read(0, 1, { itt });
    host.one(Opcode.Reject);
    host.dataOut(pattern(512), { ...place, bufferOffset: 512, dataSn: 1, final: true });
    if (solicited) {
      assert.deepEqual(host.take(), [], 'another burst is still on the way');
      damagedDataOut(host, pattern(1024), { itt, ttt: asked[1]!, bufferOffset: 1024 });
      assert.equal(
        host
          .take()
          .map(({ opcode }) => opcode)
          .join(),
        `${Opcode.Reject},${Opcode.ScsiResponse}`,
      );
    } else {
      assert.equal(senseOf(host.one(Opcode.ScsiResponse).data), 'b/47/5');
    }
    host.read(0, 2);
    assert.ok(
      host.one(Opcode.DataIn).data.every((byte) => byte === 0),
      'nothing was written',
    );
    assert.equal(world.pool.freeBytes, free);
    assert.equal(world.server.sessions()[0]!.outstanding, 0);
  });
}

test('a write with damaged data is aborted like any other while its data are on the way', () => {
  const world = new World();
  const host = world.login({ DataDigest: 'CRC32C', MaxBurstLength: '1024', ImmediateData: 'No' });
  const itt = host.write(0, 2);
  const ttt = r2t.ttt(host.one(Opcode.R2t).bhs, 0);
  damagedDataOut(host, pattern(512), { itt, ttt, bufferOffset: 0, final: false });
  host.one(Opcode.Reject);
  host.manage({ function: TaskManagement.AbortTask, referencedTag: itt, refCmdSn: 1 });
  const [answer, done] = host.take();
  assert.equal(senseOf(answer!.data), 'b/47/5');
  assert.equal(done!.bhs[2], 0);
  assert.equal(world.server.sessions()[0]!.outstanding, 0);
});

test('a bad header digest and an oversized segment close the connection', () => {
  const world = new World();
  const bad = world.login({ HeaderDigest: 'CRC32C' });
  bad.digests = { header: false, data: false };
  bad.ping();
  bad.ping();
  assert.ok(bad.transport.closed);
  const big = world.login({}, '000000000002');
  const head = Buffer.alloc(48);
  head[0] = Opcode.ScsiCommand;
  head.writeUIntBE(0xffffff, 5, 3);
  big.send(head);
  assert.ok(big.transport.closed);
  assert.deepEqual(world.server.sessions(), []);
  assert.equal(world.target.nexuses.size, 0);
});

test('a ping comes back with its data; ITT reserved gets no answer', () => {
  const world = new World();
  const host = world.login();
  host.ping(Buffer.from('hello'));
  assert.equal(host.one(Opcode.NopIn).data.toString(), 'hello');
  host.ping(Buffer.alloc(0), { itt: RESERVED_TAG });
  assert.deepEqual(host.take(), []);
});

test('a silent peer is pinged, then given up', () => {
  const world = new World({ limits: { pingIntervalMs: 5000, pingTimeoutMs: 3000 } });
  const host = world.login();
  world.clock.advance(7000);
  const ping = host.one(Opcode.NopIn);
  assert.equal(ping.bhs.readUInt32BE(16), RESERVED_TAG);
  host.ping(Buffer.alloc(0), { itt: RESERVED_TAG, ttt: ping.bhs.readUInt32BE(20) });
  world.clock.advance(3000);
  assert.ok(!host.transport.closed);
  world.clock.advance(10_000);
  assert.ok(host.transport.closed);
  assert.deepEqual(world.server.sessions(), []);
});

test('ABORT TASK answers when the task can do nothing any more, and the task never', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  const itt = host.write(0, 1, { data: pattern(512) });
  host.manage({ function: TaskManagement.AbortTask, referencedTag: itt, refCmdSn: 1 });
  assert.deepEqual(host.take(), []);
  world.run(() => world.target.finish(world.target.held[0]!));
  const answer = host.one(Opcode.TaskManagementResponse);
  assert.equal(answer.bhs[2], 0);
  assert.equal(world.server.sessions()[0]!.outstanding, 0);
});

test('ABORT TASK of a command that has not come takes its CmdSN', () => {
  const world = new World();
  const host = world.login();
  host.cmdSn = 2;
  const fn = TaskManagement.AbortTask;
  host.manage({ function: fn, referencedTag: 77, refCmdSn: 1, cmdSn: 2 });
  const answer = host.one(Opcode.TaskManagementResponse);
  assert.equal(answer.bhs[2], 0);
  assert.equal(targetNumbersOf(answer.bhs, 0).expCmdSn, 2);
  host.read(0, 1);
  host.one(Opcode.DataIn);
  host.manage({ function: fn, referencedTag: 77, refCmdSn: 1 });
  assert.equal(host.one(Opcode.TaskManagementResponse).bhs[2], 1);
  host.manage({ function: fn, referencedTag: 77, refCmdSn: host.cmdSn });
  assert.equal(host.one(Opcode.TaskManagementResponse).bhs[2], 1);
});

test('an aborted write lets go of its buffer while its data are on the way', () => {
  const world = new World();
  const host = world.login({ ImmediateData: 'No' });
  const free = world.pool.freeBytes;
  const itt = host.write(0, 8);
  const ttt = r2t.ttt(host.one(Opcode.R2t).bhs, 0);
  const other = new Initiator(world, world.connect().transport);
  other.login({}, { isid: '000000000002' });
  // Half of the Data-Out is here when another session resets the unit.
  const bytes = Buffer.alloc(48 + 4096);
  bytes[0] = Opcode.DataOut;
  bytes[1] = 0x80;
  bytes.writeUIntBE(4096, 5, 3);
  bytes.writeUInt32BE(itt, 16);
  bytes.writeUInt32BE(ttt, 20);
  pattern(4096).copy(bytes, 48);
  host.send(bytes.subarray(0, 2000));
  other.manage({ function: TaskManagement.LogicalUnitReset });
  other.one(Opcode.TaskManagementResponse);
  assert.equal(world.pool.freeBytes, free);
  host.send(bytes.subarray(2000));
  assert.deepEqual(host.take(), []);
  host.read(0, 8);
  assert.ok(host.one(Opcode.DataIn).data.every((byte) => byte === 0));
});

test('a storm of task management is bounded', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  const itt = host.read(0, 1);
  for (let index = 0; index < 100; index += 1) {
    host.manage({ function: TaskManagement.AbortTask, referencedTag: itt, refCmdSn: 1 });
  }
  const answers = host.take();
  assert.equal(answers.length, 100 - 32);
  assert.ok(answers.every(({ bhs }) => bhs[2] === 255));
});

test('logout ends the session when its tasks have ended', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  host.read(0, 1);
  host.logout(2);
  assert.equal(host.one(Opcode.LogoutResponse).bhs[2], 2);
  host.logout(1, 9);
  assert.equal(host.one(Opcode.LogoutResponse).bhs[2], 1);
  host.logout(0);
  assert.deepEqual(host.take(), []);
  world.run(() => world.target.finish(world.target.held[0]!));
  assert.equal(host.one(Opcode.LogoutResponse).bhs[2], 0);
  assert.ok(host.transport.closed);
  assert.deepEqual(world.server.sessions(), []);
});

test('SendTargets names the target and the portal the host came by', () => {
  const world = new World();
  const host = world.connect();
  host.login({}, { discovery: true });
  host.text('SendTargets=All\0');
  const text = host.one(Opcode.TextResponse).data.toString();
  assert.equal(text, 'TargetName=iqn.2026-11.io.ashlar:demo\0TargetAddress=192.0.2.1:3260,1\0');
  host.read(0, 1);
  assert.equal(reject.reason(host.one(Opcode.Reject).bhs, 0), RejectReason.ProtocolError);
});

test('SendTargets of any length goes to an initiator that would take it in one piece', () => {
  const world = new World();
  const otherPortals = Array.from(
    { length: 2000 },
    (_, index) => `${index}.${'long.'.repeat(40)}test:3260`,
  );
  world.entry = { ...world.entry, otherPortals };
  const host = world.connect();
  host.login({ MaxRecvDataSegmentLength: '16777215' }, { discovery: true });
  const itt = host.itt++;
  let text = '';
  for (let ttt = RESERVED_TAG; text === '' || ttt !== RESERVED_TAG; ) {
    host.text(text === '' ? 'SendTargets=All\0' : '', { itt, ttt });
    const { bhs, data } = host.one(Opcode.TextResponse);
    text += data.toString();
    ttt = bhs.readUInt32BE(20);
  }
  assert.equal(text.match(/TargetAddress=/g)?.length, 2001);
});

test('a stalled reader stops its own commands, loses nothing, and is given up in the end', () => {
  const world = new World({ limits: { writeDeadlineMs: 10_000, pingIntervalMs: 0 } });
  const host = world.login({ MaxRecvDataSegmentLength: '262144' });
  pattern(65536).copy(world.target.disk);
  host.transport.stalled = true;
  let sent = 0;
  for (; sent < 100 && !host.transport.paused; sent += 1) host.read(0, 128);
  assert.ok(sent > 3 && sent < 60, `${sent}`);
  world.run(() => host.transport.drain());
  assert.ok(!host.transport.paused);
  const answers = host.take();
  assert.equal(answers.length, sent);
  for (const { data } of answers) assert.ok(data.equals(pattern(65536)));

  host.transport.stalled = true;
  for (; !host.transport.paused; ) host.read(0, 128);
  world.clock.advance(12_000);
  assert.ok(host.transport.closed);
  assert.deepEqual(world.server.sessions(), []);
  assert.equal(world.pool.freeBytes, 16 * 1024 * 1024);
});

test('without data buffers a write waits for its R2T, or is told TASK SET FULL', () => {
  const world = new World({ arenaBytes: 4 * 1024 * 1024 });
  const host = world.login();
  const taken = world.pool.allocate(4 * 1024 * 1024)!;
  host.write(0, 1, { data: pattern(512) });
  assert.equal(scsiResponse.status(host.one(Opcode.ScsiResponse).bhs, 0), 0x28);
  const itt = host.write(0, 1);
  assert.deepEqual(host.take(), []);
  taken.release();
  return Promise.resolve().then(async () => {
    await Promise.resolve();
    await Promise.resolve();
    const ttt = r2t.ttt(host.one(Opcode.R2t).bhs, 0);
    host.dataOut(pattern(512), { itt, ttt, bufferOffset: 0 });
    assert.equal(scsiResponse.status(host.one(Opcode.ScsiResponse).bhs, 0), 0);
  });
});

test('bidirectional commands are refused with sense data', () => {
  const world = new World();
  const host = world.login();
  const ahs = Buffer.from([0, 5, 2, 0, 0, 0, 2, 0]);
  host.command({ reads: true, writes: true, edtlBytes: 512, ahs, data: pattern(512) });
  assert.equal(senseOf(host.one(Opcode.ScsiResponse).data), '5/20/0');
});
