// Logins and sessions of the whole node: reinstatement, bounds, the ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asyncMessage, LoginStatus, Opcode } from '../../../src/iscsi/pdu/index.ts';
import { pattern, TARGET_NAME, World } from './support/initiator.ts';

test('a session is listed with what it is and what it moved', () => {
  const world = new World();
  const host = world.login({ DataDigest: 'CRC32C' });
  host.write(0, 2, { data: pattern(1024) });
  host.read(0, 1);
  host.take();
  const [info] = world.server.sessions();
  assert.equal(info!.target, TARGET_NAME);
  assert.equal(info!.initiator, 'iqn.2026-11.test:host');
  assert.equal(info!.isid, '000000000001');
  assert.equal(info!.tsih, host.tsih);
  assert.equal(info!.dataDigest, 'CRC32C');
  assert.equal(info!.headerDigest, 'None');
  assert.deepEqual([info!.commands, info!.readBytes, info!.writtenBytes], [2, 512, 1024]);
  assert.equal(info!.outstanding, 0);
});

test('a login with the same name and ISID waits until the old tasks can do nothing any more', () => {
  const world = new World();
  const old = world.login();
  world.target.hold = true;
  old.write(0, 1, { data: pattern(512) });
  const held = world.target.held[0]!;

  const replaced = world.connect();
  replaced.login();
  assert.equal(replaced.loginStatus, -1);
  assert.ok(old.transport.closed);
  const newest = world.connect();
  newest.login();
  replaced.checkLogin();
  assert.equal(replaced.loginStatus, LoginStatus.InitiatorError);
  assert.equal(newest.loginStatus, -1);

  world.run(() => world.target.finish(held));
  newest.checkLogin();
  assert.equal(newest.loginStatus, LoginStatus.Success);
  assert.equal(world.server.sessions().length, 1);
  assert.equal(world.target.nexuses.size, 1);
  world.target.hold = false;
  newest.read(0, 1);
  assert.ok(newest.one(Opcode.DataIn).data.every((byte) => byte === 0));
});

test('a login that waited while its target was changed meets the new rules, not the old ones', () => {
  for (const change of ['chap', 'initiators'] as const) {
    const world = new World();
    const old = world.login();
    world.target.hold = true;
    old.write(0, 1, { data: pattern(512) });
    const held = world.target.held[0]!;
    const waiting = world.connect();
    waiting.login();
    assert.equal(waiting.loginStatus, -1);
    if (change === 'chap') {
      const chap = [{ user: 'alice', secret: 'a-secret-of-alice' }];
      world.entry = { ...world.entry, auth: { chap, mutual: null } };
    } else world.entry = { ...world.entry, initiators: ['iqn.2026-11.test:another'] };
    world.run(() => world.target.finish(held));
    waiting.checkLogin();
    assert.equal(waiting.loginStatus, LoginStatus.ServiceUnavailable);
    assert.deepEqual(world.server.sessions(), []);
  }
});

test('other ISIDs are other sessions; discovery sessions replace nothing', () => {
  const world = new World();
  world.login({}, '000000000001');
  world.login({}, '000000000002');
  for (let index = 0; index < 3; index += 1) {
    const host = world.connect();
    host.login({}, { discovery: true });
    assert.equal(host.loginStatus, 0);
  }
  assert.equal(world.server.sessions().length, 5);
  const tsihs = world.server.sessions().map(({ tsih }) => tsih);
  assert.equal(new Set(tsihs).size, 5);
  assert.ok(!tsihs.includes(0));
});

test('a connection is reinstated with its TSIH; an unknown TSIH is refused', () => {
  const world = new World();
  const old = world.login();
  const stranger = world.connect();
  stranger.login({}, { tsih: old.tsih + 1 });
  assert.equal(stranger.loginStatus, LoginStatus.SessionDoesNotExist);
  assert.ok(stranger.transport.closed);
  const again = world.connect();
  again.login({}, { tsih: old.tsih });
  assert.equal(again.loginStatus, 0);
  assert.equal(again.tsih, old.tsih);
  assert.ok(old.transport.closed);
  again.read(0, 1);
  again.one(Opcode.DataIn);
});

test('a connection that is reinstated has what its session negotiated, and its own digests', () => {
  const world = new World();
  const keys = { InitialR2T: 'No', FirstBurstLength: '131072', MaxBurstLength: '524288' };
  const host = world.login({ ...keys, ImmediateData: 'Yes', DataDigest: 'CRC32C' });
  const again = world.connect();
  again.cmdSn = 5;
  again.login({}, { tsih: host.tsih });
  assert.equal(again.loginStatus, 0);
  assert.equal(again.tsih, host.tsih);
  assert.equal(world.server.sessions()[0]!.dataDigest, 'None');
  // As much unsolicited data as the session allows, then a burst as long as it may be.
  const data = pattern(640 * 1024);
  const itt = again.write(0, data.length / 512, { data: data.subarray(0, 65536), final: false });
  again.dataOut(data.subarray(65536, 131072), { itt, bufferOffset: 65536 });
  const asked = again.one(Opcode.R2t);
  assert.equal(asked.bhs.readUInt32BE(44), 512 * 1024);
});

test('a cut connection ends its session when its tasks have ended', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  host.read(0, 1);
  host.cut();
  assert.equal(world.server.sessions().length, 1);
  world.run(() => world.target.finish(world.target.held[0]!));
  assert.equal(world.server.sessions().length, 0);
  assert.equal(world.target.nexuses.size, 0);
  assert.equal(world.pool.freeBytes, 16 * 1024 * 1024);
});

test('a login that is not finished is closed after its deadline', () => {
  const world = new World({ limits: { loginDeadlineMs: 15_000 } });
  const slow = world.connect();
  for (let second = 0; second < 14; second += 1) {
    slow.send(Buffer.from([0x43]));
    world.clock.advance(1000);
  }
  assert.ok(!slow.transport.closed);
  world.clock.advance(2000);
  assert.ok(slow.transport.closed);
  assert.equal(world.clock.pending, 0);
});

test('half-open logins are bounded by address and in all', () => {
  const world = new World({ limits: { maxLoginsPerAddress: 3, maxLogins: 5 } });
  const open = (address: string): boolean => !world.connect(address).transport.closed;
  assert.deepEqual(
    [1, 2, 3, 4].map(() => open('10.0.0.1')),
    [true, true, true, false],
  );
  assert.deepEqual(
    [1, 2, 3].map(() => open('10.0.0.2')),
    [true, true, false],
  );
  world.clock.advance(20_000);
  assert.ok(open('10.0.0.1'));
});

test('anything but a login request before login, and oversized text, close the connection', () => {
  const world = new World();
  const early = world.connect();
  early.read(0, 1);
  early.checkLogin();
  assert.equal(early.loginStatus, LoginStatus.InvalidDuringLogin);
  assert.ok(early.transport.closed);
  const big = world.connect();
  const head = Buffer.alloc(48);
  head[0] = 0x43;
  head.writeUIntBE(8193, 5, 3);
  big.send(head);
  assert.ok(big.transport.closed);
});

test('an offline target refuses logins; sessions have a bound', () => {
  const world = new World({ limits: { maxSessions: 1 } });
  world.login();
  const second = world.connect();
  second.login({}, { isid: '000000000002' });
  assert.equal(second.loginStatus, LoginStatus.OutOfResources);
  Object.assign(world.entry, { state: 'offline' });
  const refused = world.connect();
  refused.login({}, { isid: '000000000003' });
  assert.equal(refused.loginStatus, LoginStatus.ServiceUnavailable);
});

test('the sessions of a target are told and ended', async () => {
  const world = new World();
  const host = world.login();
  const gone = world.server.closeSessionsOf(TARGET_NAME, 'deleted');
  const message = host.one(Opcode.AsyncMessage);
  assert.equal(asyncMessage.event(message.bhs, 0), asyncMessage.AsyncEvent.SessionDropped);
  assert.ok(host.transport.closed);
  host.cut();
  await gone;
  assert.deepEqual(world.server.sessions(), []);
});

test('a command that ends as its session is dropped is not answered: its host sends it again to who serves then', () => {
  const world = new World();
  const host = world.login();
  world.target.hold = true;
  host.write(0, 1, { data: pattern(512) });
  const [held] = world.target.held;
  world.run(() => {
    void world.server.closeSessionsOf(TARGET_NAME, 'there is no quorum of replicas');
    world.target.finish(held!);
  });
  host.one(Opcode.AsyncMessage);
  assert.ok(host.transport.closed);
});

test('drain asks for a logout, then closes what stays', async () => {
  const world = new World({ limits: { logoutDeadlineMs: 3000 } });
  const polite = world.login({}, '000000000001');
  const rude = world.login({}, '000000000002');
  const drained = world.server.drain();
  const message = polite.one(Opcode.AsyncMessage);
  assert.equal(asyncMessage.event(message.bhs, 0), asyncMessage.AsyncEvent.LogoutRequested);
  assert.equal(asyncMessage.parameter(message.bhs, 0, 3), 3);
  polite.logout(0);
  polite.one(Opcode.LogoutResponse);
  assert.equal(world.server.sessions().length, 1);
  assert.ok(world.connect().transport.closed);
  world.clock.advance(4000);
  assert.ok(rude.transport.closed);
  await drained;
  assert.deepEqual(world.server.sessions(), []);
});
