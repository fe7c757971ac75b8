import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LoginResult } from '../../../../src/iscsi/login/index.ts';
import { LoginStatus, loginResponse } from '../../../../src/iscsi/pdu/index.ts';
import {
  type Answer,
  aDirectory,
  aTarget,
  aText,
  INITIATOR,
  type Keys,
  NAMES,
  readKeys,
  TARGET,
  TestInitiator,
} from './initiator.ts';

const ADMISSION = { tsih: 5, expCmdSn: 1, maxCmdSn: 32 };

function loginOf(answer: Answer): LoginResult {
  assert.equal(answer.step.kind, 'admit');
  return (answer.step as { login: LoginResult }).login;
}

/** Logs in with these operational keys: the answers to them, and what then holds. */
function negotiate(keys: Keys, names: Keys = NAMES): { keys: Keys; login: LoginResult } {
  const initiator = new TestInitiator();
  initiator.send('0>1', { ...names, AuthMethod: 'None' });
  const login = loginOf(initiator.send('1>3', keys));
  return { keys: readKeys(initiator.negotiator.admit(ADMISSION)), login };
}

describe('a login', () => {
  test('goes through both stages', () => {
    const initiator = new TestInitiator({ directory: aDirectory([aTarget({ alias: 'demo' })]) });
    const security = initiator.send('0>1', { ...NAMES, SessionType: 'Normal', AuthMethod: 'None' });
    assert.deepEqual(security.keys, {
      TargetAlias: 'demo',
      TargetPortalGroupTag: '1',
      AuthMethod: 'None',
    });
    assert.equal(security.header?.transit, true);
    assert.deepEqual([security.header?.csg, security.header?.nsg], [0, 1]);

    const operational = initiator.send('1>3', {
      HeaderDigest: 'CRC32C,None',
      InitiatorAlias: 'me',
    });
    const login = loginOf(operational);
    assert.equal(login.initiatorName, INITIATOR);
    assert.equal(login.initiatorAlias, 'me');
    assert.equal(login.target?.name, TARGET);
    assert.equal(login.isid, '00023d000001');
    const last = initiator.negotiator.admit(ADMISSION);
    assert.deepEqual(readKeys(last), {
      HeaderDigest: 'CRC32C',
      MaxRecvDataSegmentLength: '262144',
    });
    const header = loginResponse.decode(last, 0);
    assert.deepEqual([header.transit, header.csg, header.nsg, header.tsih], [true, 1, 3, 5]);
    assert.deepEqual([header.expCmdSn, header.maxCmdSn, header.statSn], [1, 32, 1]);
    assert.equal(initiator.negotiator.statSn, 2);
  });

  test('may leave either stage out', () => {
    loginOf(new TestInitiator().send('1>3', NAMES));
    loginOf(new TestInitiator().send('0>3', { ...NAMES, AuthMethod: 'None' }));
    loginOf(new TestInitiator().send('0>3', NAMES));
  });

  test('may stay in a stage as long as it likes, within the bound', () => {
    const initiator = new TestInitiator();
    assert.equal(initiator.send('1', NAMES).header?.transit, false);
    for (let count = 0; count < 63; count += 1) assert.equal(initiator.send('1').kind, 'continue');
    assert.equal(initiator.send('1').status, LoginStatus.InitiatorError);
  });

  test('of discovery needs no target', () => {
    const initiator = new TestInitiator();
    const login = loginOf(
      initiator.send('1>3', {
        InitiatorName: INITIATOR,
        SessionType: 'Discovery',
        MaxBurstLength: '512',
        HeaderDigest: 'None',
      }),
    );
    assert.equal(login.sessionType, 'Discovery');
    assert.equal(login.target, null);
    const keys = readKeys(initiator.negotiator.admit(ADMISSION));
    assert.equal(keys['MaxBurstLength'], 'Irrelevant');
    assert.equal(keys['HeaderDigest'], 'None');
    assert.equal(keys['TargetPortalGroupTag'], undefined);
  });

  test('names are compared in their normal form', () => {
    const login = loginOf(
      new TestInitiator().send('1>3', {
        InitiatorName: INITIATOR.toUpperCase(),
        TargetName: TARGET.toUpperCase(),
      }),
    );
    assert.equal(login.initiatorName, INITIATOR);
    assert.equal(login.target?.name, TARGET);
  });

  test('text may come in several requests, cut anywhere', () => {
    const text = aText({ ...NAMES, HeaderDigest: 'CRC32C' });
    for (let cut = 0; cut <= text.length; cut += 1) {
      const initiator = new TestInitiator();
      const first = initiator.send('1+', text.subarray(0, cut));
      assert.equal(first.kind, 'continue');
      assert.deepEqual(first.keys, {});
      const login = loginOf(initiator.send('1>3', text.subarray(cut)));
      assert.equal(login.parameters.headerDigest, 'CRC32C');
    }
  });

  test('a long answer comes in several responses, each fetched by an empty request', () => {
    const initiator = new TestInitiator();
    const keys: Record<string, string> = { ...NAMES };
    for (let index = 0; index < 120; index += 1) keys[`X-${'k'.repeat(55)}${index}`] = '';
    const first = initiator.send('1', keys);
    assert.equal(first.header?.continues, true);
    assert.equal(first.header?.dataBytes, 8192);
    const second = initiator.send('1>3');
    loginOf(second);
    const last = initiator.negotiator.admit(ADMISSION);
    const whole = Buffer.concat([
      (first.step as { response: Buffer }).response.subarray(48),
      last.subarray(48),
    ]).toString();
    assert.equal(whole.match(/=NotUnderstood\0/g)?.length, 120);
  });

  test('text while an answer is unfinished ends the login', () => {
    const initiator = new TestInitiator();
    const keys: Record<string, string> = { ...NAMES };
    for (let index = 0; index < 120; index += 1) keys[`X-${'k'.repeat(55)}${index}`] = '';
    initiator.send('1', keys);
    assert.equal(initiator.send('1', { HeaderDigest: 'None' }).status, LoginStatus.InitiatorError);
  });

  test('may be refused by the caller with any status, at any time', () => {
    const early = new TestInitiator().negotiator.refuse(LoginStatus.InvalidDuringLogin, 'a NOP');
    assert.equal(loginResponse.decode(early.response, 0).status, LoginStatus.InvalidDuringLogin);
    const initiator = new TestInitiator();
    initiator.fields = { tsih: 9, itt: 77 };
    loginOf(initiator.send('1>3', NAMES));
    const late = initiator.negotiator.refuse(LoginStatus.SessionDoesNotExist, 'no such session');
    const header = loginResponse.decode(late.response, 0);
    assert.equal(header.status, LoginStatus.SessionDoesNotExist);
    assert.deepEqual([header.itt, header.tsih, header.transit], [77, 9, false]);
  });

  test('the target may send the initiator elsewhere', () => {
    const initiator = new TestInitiator({ redirect: () => '10.0.0.2:3260' });
    const answer = initiator.send('1>3', NAMES);
    assert.equal(answer.status, LoginStatus.TargetMovedTemporarily);
    assert.deepEqual(answer.keys, { TargetAddress: '10.0.0.2:3260' });
  });
});

describe('a login is refused', () => {
  const refusals: readonly [what: string, status: number, answer: () => Answer][] = [
    [
      'without InitiatorName',
      LoginStatus.MissingParameter,
      () => new TestInitiator().send('1>3', { TargetName: TARGET }),
    ],
    [
      'without TargetName',
      LoginStatus.MissingParameter,
      () => new TestInitiator().send('1>3', { InitiatorName: INITIATOR }),
    ],
    ['without any text', LoginStatus.MissingParameter, () => new TestInitiator().send('1>3')],
    [
      'with a name that is none',
      LoginStatus.InitiatorError,
      () => new TestInitiator().send('1>3', { ...NAMES, InitiatorName: 'host1' }),
    ],
    [
      'with a name too long',
      LoginStatus.InitiatorError,
      () => new TestInitiator().send('1>3', { ...NAMES, InitiatorName: `iqn.${'a'.repeat(220)}` }),
    ],
    [
      'to a target that is not there',
      LoginStatus.NotFound,
      () => new TestInitiator().send('1>3', { ...NAMES, TargetName: `${TARGET}x` }),
    ],
    [
      'by the ACL',
      LoginStatus.AuthorizationFailure,
      () =>
        new TestInitiator({ directory: aDirectory([aTarget({ initiators: ['iqn.other'] })]) }).send(
          '1>3',
          NAMES,
        ),
    ],
    [
      'while the target is offline',
      LoginStatus.ServiceUnavailable,
      () =>
        new TestInitiator({ directory: aDirectory([aTarget({ state: 'offline' })]) }).send(
          '1>3',
          NAMES,
        ),
    ],
    [
      'for an unknown session type',
      LoginStatus.SessionTypeNotSupported,
      () => new TestInitiator().send('1>3', { ...NAMES, SessionType: 'Boot' }),
    ],
    [
      'with text that is no pair',
      LoginStatus.InitiatorError,
      () => new TestInitiator().send('1>3', Buffer.from('InitiatorName\0')),
    ],
    [
      'with text that does not end',
      LoginStatus.InitiatorError,
      () => new TestInitiator().send('1>3', aText(NAMES).subarray(0, -1)),
    ],
    [
      'with a key twice in a text',
      LoginStatus.InitiatorError,
      () => new TestInitiator().send('1>3', Buffer.concat([aText(NAMES), aText(NAMES)])),
    ],
    [
      'with a bad key name',
      LoginStatus.InitiatorError,
      () => new TestInitiator().send('1>3', { ...NAMES, 'bad key': '1' }),
    ],
    [
      'with a key of 64 bytes',
      LoginStatus.InitiatorError,
      () => new TestInitiator().send('1>3', { ...NAMES, ['K'.repeat(64)]: '1' }),
    ],
    [
      'with too many keys',
      LoginStatus.InitiatorError,
      () =>
        new TestInitiator().send('1>3', {
          ...NAMES,
          ...Object.fromEntries(Array.from({ length: 127 }, (_, index) => [`X-${index}`, '1'])),
        }),
    ],
  ];
  for (const [what, status, answer] of refusals) {
    test(what, () => {
      const { kind, status: got, keys } = answer();
      assert.equal(kind, 'failed');
      assert.equal(got.toString(16), status.toString(16));
      assert.deepEqual(keys, {});
    });
  }

  const headers: readonly [what: string, stages: string, fields: object, status: number][] = [
    [
      'for a newer version',
      '1>3',
      { versionMin: 1, versionMax: 1 },
      LoginStatus.UnsupportedVersion,
    ],
    ['in stage 2', '2>3', {}, LoginStatus.InitiatorError],
    ['in stage 3', '3', {}, LoginStatus.InitiatorError],
    ['on the way to stage 2', '1>2', {}, LoginStatus.InitiatorError],
    ['on the way back', '1>0', {}, LoginStatus.InitiatorError],
    ['on the way to where it is', '1>1', {}, LoginStatus.InitiatorError],
    ['with T and C', '1>3', { continues: true }, LoginStatus.InitiatorError],
    ['when not immediate', '1>3', { immediate: false }, LoginStatus.InitiatorError],
  ];
  for (const [what, stages, fields, status] of headers) {
    test(what, () => {
      const initiator = new TestInitiator();
      initiator.fields = fields;
      assert.equal(initiator.send(stages, NAMES).status, status);
    });
  }

  test('when a request is not of the same login, or not of the stage', () => {
    for (const fields of [{ isid: '00023d000002' }, { tsih: 1 }, { cid: 1 }, { cmdSn: 2 }]) {
      const initiator = new TestInitiator();
      initiator.send('1', NAMES);
      initiator.fields = fields;
      assert.equal(initiator.send('1>3').status, LoginStatus.InitiatorError);
    }
    const initiator = new TestInitiator();
    initiator.send('0>1', NAMES);
    assert.equal(initiator.send('0>1').status, LoginStatus.InitiatorError);
  });

  test('when a key is negotiated twice, or names come late', () => {
    for (const late of [
      { HeaderDigest: 'None' },
      { TargetName: TARGET },
      { SessionType: 'Normal' },
    ]) {
      const initiator = new TestInitiator();
      initiator.send('1', { ...NAMES, HeaderDigest: 'None' });
      assert.equal(initiator.send('1>3', late).status, LoginStatus.InitiatorError);
    }
  });

  test('when text goes on for ever', () => {
    const initiator = new TestInitiator();
    let answer = initiator.send('1+', Buffer.alloc(4096, 'a'));
    answer = initiator.send('1+', Buffer.alloc(4096, 'a'));
    assert.equal(answer.kind, 'continue');
    assert.equal(initiator.send('1+', Buffer.alloc(1, 'a')).status, LoginStatus.InitiatorError);
  });

  test('when the target went away meanwhile', () => {
    const targets = [aTarget()];
    const initiator = new TestInitiator({ directory: aDirectory(targets) });
    initiator.send('1', NAMES);
    targets.pop();
    assert.equal(initiator.send('1>3').status, LoginStatus.TargetRemoved);
  });
});

describe('operational keys', () => {
  test('come to what their result functions say', () => {
    const { keys, login } = negotiate({
      HeaderDigest: 'None,CRC32C',
      DataDigest: 'CRC32C',
      MaxConnections: '8',
      InitialR2T: 'No',
      ImmediateData: 'Yes',
      MaxRecvDataSegmentLength: '0x10000',
      FirstBurstLength: '16777215',
      MaxBurstLength: '131072',
      DefaultTime2Wait: '3',
      DefaultTime2Retain: '20',
      MaxOutstandingR2T: '65535',
      DataPDUInOrder: 'No',
      DataSequenceInOrder: 'No',
      ErrorRecoveryLevel: '2',
      TaskReporting: 'FastAbort,RFC3720',
      iSCSIProtocolLevel: '31',
      IFMarker: 'No',
      OFMarkInt: '1~2',
      'X-com.example.key': 'x',
      UnheardOf: 'x',
    });
    assert.deepEqual(keys, {
      HeaderDigest: 'None',
      DataDigest: 'CRC32C',
      MaxConnections: '1',
      InitialR2T: 'No',
      ImmediateData: 'Yes',
      MaxBurstLength: '131072',
      DefaultTime2Wait: '3',
      DefaultTime2Retain: '0',
      MaxOutstandingR2T: '8',
      DataPDUInOrder: 'Yes',
      DataSequenceInOrder: 'Yes',
      ErrorRecoveryLevel: '0',
      TaskReporting: 'RFC3720',
      iSCSIProtocolLevel: '2',
      IFMarker: 'No',
      OFMarkInt: 'Reject',
      'X-com.example.key': 'NotUnderstood',
      UnheardOf: 'NotUnderstood',
      FirstBurstLength: '131072',
      MaxRecvDataSegmentLength: '262144',
    });
    assert.deepEqual(login.parameters, {
      headerDigest: 'None',
      dataDigest: 'CRC32C',
      initialR2T: false,
      immediateData: true,
      maxRecvDataSegmentBytes: 262144,
      maxSendDataSegmentBytes: 65536,
      maxBurstBytes: 131072,
      firstBurstBytes: 131072,
      defaultTime2WaitSeconds: 3,
      defaultTime2RetainSeconds: 0,
      maxOutstandingR2T: 8,
      protocolLevel: 2,
    });
  });

  test('that are left out have their defaults', () => {
    const { parameters } = negotiate({}).login;
    assert.equal(parameters.maxSendDataSegmentBytes, 8192);
    assert.equal(parameters.initialR2T, true);
    assert.equal(parameters.firstBurstBytes, 65536);
    assert.equal(negotiate({ MaxBurstLength: '512' }).login.parameters.firstBurstBytes, 512);
  });

  test('with illegal values are rejected, and keep their defaults', () => {
    const illegal: Keys = {
      HeaderDigest: 'MD5',
      DataDigest: '',
      MaxConnections: '0',
      InitialR2T: 'yes',
      ImmediateData: '1',
      MaxRecvDataSegmentLength: '511',
      MaxBurstLength: '16777216',
      FirstBurstLength: '-1',
      DefaultTime2Wait: '3601',
      DefaultTime2Retain: '1e3',
      MaxOutstandingR2T: '65536',
      DataPDUInOrder: '?',
      ErrorRecoveryLevel: '3',
      TaskReporting: 'FastAbort',
      iSCSIProtocolLevel: '32',
    };
    for (const [key, value] of Object.entries(illegal)) {
      const initiator = new TestInitiator();
      const answer = initiator.send('1', { ...NAMES, [key]: value });
      const text = (answer.step as { response: Buffer }).response.toString('latin1', 48);
      assert.ok(text.includes(`${key}=Reject\0`), `${key}=${value}`);
      const { parameters } = loginOf(initiator.send('1>3'));
      assert.deepEqual(parameters, loginOf(new TestInitiator().send('1>3', NAMES)).parameters);
    }
  });

  test('in the security stage are rejected, and may be offered again in theirs', () => {
    const initiator = new TestInitiator();
    const security = initiator.send('0>1', {
      ...NAMES,
      AuthMethod: 'None',
      HeaderDigest: 'CRC32C',
    });
    assert.equal(security.keys['HeaderDigest'], 'Reject');
    const login = loginOf(initiator.send('1>3', { HeaderDigest: 'CRC32C' }));
    assert.equal(login.parameters.headerDigest, 'CRC32C');
  });

  test('of the session are not negotiated on a later connection of it', () => {
    const initiator = new TestInitiator();
    initiator.fields = { tsih: 5, cid: 1 };
    const { keys } = initiator.send('1', { ...NAMES, MaxBurstLength: '512', DataDigest: 'CRC32C' });
    assert.equal(keys['MaxBurstLength'], 'Reject');
    assert.equal(keys['DataDigest'], 'CRC32C');
  });

  test('that are the target’s to say are rejected', () => {
    const { keys } = new TestInitiator().send('1', {
      ...NAMES,
      SendTargets: 'All',
      TargetAddress: 'x',
      AuthMethod: 'None',
    });
    assert.equal(keys['SendTargets'], 'Reject');
    assert.equal(keys['TargetAddress'], 'Reject');
    assert.equal(keys['AuthMethod'], 'Reject');
  });

  test('are not answered for ever: an answer gets none', () => {
    const { keys } = negotiate({
      MaxRecvDataSegmentLength: 'Reject',
      HeaderDigest: 'NotUnderstood',
    });
    assert.deepEqual(keys, { MaxRecvDataSegmentLength: '262144' });
  });
});
