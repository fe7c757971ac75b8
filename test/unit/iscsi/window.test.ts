// The command window (RFC 7143 §4.2.2.1) where requests are not all SCSI commands that come and are answered.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Opcode, targetNumbersOf } from '../../../src/iscsi/pdu/index.ts';
import { TaskManagement } from '../../../src/scsi/index.ts';
import { type Initiator, pattern, World } from './support/initiator.ts';

/** More than a window's worth. */
const MANY = 300;

type Request = (host: Initiator, cmdSn: number) => void;
const requests: readonly [string, Request][] = [
  ['pings', (host, cmdSn) => host.ping(Buffer.alloc(0), { immediate: false, cmdSn })],
  ['pings without an answer', unanswered],
  ['text requests', (host, cmdSn) => host.text('SendTargets=\0', { immediate: false, cmdSn })],
  ['task management', manage],
  ['rejected commands', (host) => host.command({ reads: true, data: pattern(4) })],
];

function unanswered(host: Initiator, cmdSn: number): void {
  host.ping(Buffer.alloc(0), { immediate: false, itt: 0xffffffff, cmdSn });
}

function manage(host: Initiator, cmdSn: number): void {
  const referencedTag = 0x7777;
  host.manage({ function: TaskManagement.AbortTask, immediate: false, cmdSn, referencedTag });
}

for (const [what, request] of requests) {
  test(`the window moves on with ${what} that are not immediate`, () => {
    const world = new World();
    const host = world.login();
    for (let count = 0; count < MANY; count += 1) {
      const { cmdSn } = host;
      request(host, cmdSn);
      host.cmdSn = cmdSn + 1;
    }
    host.take();
    host.read(0, 1);
    const { expCmdSn, maxCmdSn } = targetNumbersOf(host.one(Opcode.DataIn).bhs, 0);
    assert.equal(expCmdSn, MANY + 2);
    assert.equal(maxCmdSn, expCmdSn + 127);
  });
}

test('the window moves on with requests whose data digest is wrong', () => {
  const world = new World();
  const host = world.login({ DataDigest: 'CRC32C' });
  const bad = { header: false, data: false };
  for (let count = 0; count < MANY; count += 1) {
    host.digests = bad;
    const { cmdSn } = host;
    if (count % 2 === 0) host.write(0, 1, { data: pattern(512) });
    else host.ping(Buffer.alloc(4), { immediate: false, cmdSn });
    host.cmdSn = cmdSn + 1;
    host.send(Buffer.from([1, 2, 3, 4]));
  }
  host.digests = { header: false, data: true };
  host.take();
  host.read(0, 1);
  const { expCmdSn, maxCmdSn } = targetNumbersOf(host.one(Opcode.DataIn).bhs, 0);
  assert.equal(expCmdSn, MANY + 2);
  assert.equal(maxCmdSn, expCmdSn + 127);
});

test('what is held behind a gap never opens the window beyond what there is room for', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  // Whole windows, each in reverse, of commands that stay outstanding and of pings.
  for (let cmdSn = 64; cmdSn > 1; cmdSn -= 1) {
    if (cmdSn % 2 === 0) host.ping(Buffer.alloc(0), { immediate: false, cmdSn });
    else host.read(0, 1, { cmdSn });
  }
  host.manage({
    function: TaskManagement.AbortTask,
    referencedTag: 0x7777,
    refCmdSn: 1,
    cmdSn: 65,
  });
  const last = host.take().at(-1)!;
  const held = world.target.held.length;
  assert.equal(held, 31);
  const { expCmdSn, maxCmdSn } = targetNumbersOf(last.bhs, 0);
  assert.equal(expCmdSn, 65);
  assert.equal(maxCmdSn, expCmdSn + 127 - held);
  host.cmdSn = 65;
  for (let count = 0; count < 200; count += 1) host.read(0, 1);
  assert.equal(world.target.held.length, 128);
});
