// Goal: every message has its fields where RFC 7143 §11 puts them, and writes all 48 bytes of its header.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ahs,
  ahsBytesOf,
  asyncMessage,
  cmdSnOf,
  dataBytesOf,
  dataIn,
  dataOut,
  expStatSnOf,
  isFinal,
  isImmediate,
  ittOf,
  loginRequest,
  loginResponse,
  logoutRequest,
  logoutResponse,
  lunOf,
  nopIn,
  nopOut,
  opcodeOf,
  r2t,
  reject,
  scsiCommand,
  scsiResponse,
  snack,
  targetNumbersOf,
  taskManagementRequest,
  taskManagementResponse,
  textRequest,
  textResponse,
} from '../../../../src/iscsi/pdu/index.ts';

const NUMBERS = { statSn: 0xa1a2a3a4, expCmdSn: 0xb1b2b3b4, maxCmdSn: 0xc1c2c3c4 };
const SNS = 'a1a2a3a4b1b2b3b4c1c2c3c4';
const AT = 5;

/** Encodes over dirty memory, twice, and hands back the header in hex: no byte may be left as it was. */
function header(encode: (b: Buffer, at: number) => void): string {
  const [ones, zeros] = [Buffer.alloc(60, 0xff), Buffer.alloc(60, 0)];
  encode(ones, AT);
  encode(zeros, AT);
  assert.equal(ones.toString('hex', AT, AT + 48), zeros.toString('hex', AT, AT + 48));
  assert.equal(ones[AT + 48], 0xff);
  assert.equal(ones[AT - 1], 0xff);
  return zeros.toString('hex', AT, AT + 48);
}

describe('PDU layouts', () => {
  test('SCSI Command', () => {
    const pdu = {
      immediate: true,
      final: true,
      reads: false,
      writes: true,
      attribute: 1,
      ahsBytes: 8,
      dataBytes: 0x012345,
      lun: 5,
      itt: 0xf0f1f2f3,
      edtlBytes: 0x80000001,
      cmdSn: 0xfffffffe,
      expStatSn: 9,
      cdb: Buffer.from('2a0011', 'hex'),
    } as const;
    const hex = header((b, at) => scsiCommand.encode(b, at, pdu));
    assert.equal(
      hex,
      '41a1000002012345' +
        '0005000000000000' +
        'f0f1f2f380000001' +
        'fffffffe00000009' +
        '2a001100000000000000000000000000',
    );
    const b = Buffer.from(hex, 'hex');
    assert.equal(opcodeOf(b, 0), 1);
    assert.equal(isImmediate(b, 0), true);
    assert.equal(isFinal(b, 0), true);
    assert.equal(scsiCommand.writes(b, 0), true);
    assert.equal(scsiCommand.reads(b, 0), false);
    assert.equal(scsiCommand.attribute(b, 0), 1);
    assert.equal(ahsBytesOf(b, 0), 8);
    assert.equal(dataBytesOf(b, 0), 0x012345);
    assert.equal(lunOf(b, 0), 5);
    assert.equal(ittOf(b, 0), 0xf0f1f2f3);
    assert.equal(scsiCommand.edtlBytes(b, 0), 0x80000001);
    assert.equal(cmdSnOf(b, 0), 0xfffffffe);
    assert.equal(expStatSnOf(b, 0), 9);
    b[1] = 0x07;
    assert.equal(scsiCommand.attribute(b, 0), 1, 'a reserved attribute is taken as Simple');
  });

  test('SCSI Response', () => {
    const pdu = {
      ...NUMBERS,
      response: 0,
      status: 2,
      dataBytes: 20,
      itt: 7,
      expDataSn: 3,
      residual: scsiResponse.Residual.Underflow,
      residualBytes: 512,
    } as const;
    const hex = header((b, at) => scsiResponse.encode(b, at, pdu));
    assert.equal(
      hex,
      `2182000200000014${'00'.repeat(8)}0000000700000000${SNS}000000030000000000000200`,
    );
    const b = Buffer.from(hex, 'hex');
    assert.equal(scsiResponse.status(b, 0), 2);
    assert.equal(scsiResponse.response(b, 0), 0);
    assert.equal(scsiResponse.residual(b, 0), 2);
    assert.equal(scsiResponse.residualBytes(b, 0), 512);
    assert.equal(scsiResponse.expDataSn(b, 0), 3);
    assert.deepEqual(targetNumbersOf(b, 0), NUMBERS);
  });

  test('Data-Out', () => {
    const pdu = {
      final: true,
      dataBytes: 4096,
      lun: 300,
      itt: 1,
      ttt: 2,
      expStatSn: 3,
      dataSn: 4,
      bufferOffset: 0x90000000,
    };
    const hex = header((b, at) => dataOut.encode(b, at, pdu));
    assert.equal(
      hex,
      '0580000000001000412c000000000000' +
        '00000001000000020000000000000003' +
        '00000000000000049000000000000000',
    );
    const b = Buffer.from(hex, 'hex');
    assert.deepEqual(
      [dataOut.ttt(b, 0), dataOut.dataSn(b, 0), dataOut.bufferOffset(b, 0), lunOf(b, 0)],
      [2, 4, 0x90000000, 300],
    );
  });

  test('Data-In with and without status', () => {
    const last = {
      ...NUMBERS,
      final: true,
      hasStatus: true,
      status: 0,
      dataBytes: 10,
      itt: 8,
      dataSn: 1,
      bufferOffset: 512,
      residual: scsiResponse.Residual.Overflow,
      residualBytes: 6,
    };
    const hex = header((b, at) => dataIn.encode(b, at, last));
    assert.equal(
      hex,
      `258500000000000a${'00'.repeat(8)}00000008ffffffff${SNS}000000010000020000000006`,
    );
    const b = Buffer.from(hex, 'hex');
    assert.equal(dataIn.hasStatus(b, 0), true);
    assert.deepEqual([dataIn.dataSn(b, 0), dataIn.bufferOffset(b, 0)], [1, 512]);
    const middle = {
      ...last,
      final: false,
      hasStatus: false,
      residual: 0,
      residualBytes: 0,
    } as const;
    const hex2 = header((b2, at) => dataIn.encode(b2, at, middle));
    assert.equal(hex2.slice(0, 8), '25000000');
    assert.equal(hex2.slice(48, 56), '00000000', 'StatSN is reserved without status');
  });

  test('R2T', () => {
    const pdu = {
      ...NUMBERS,
      lun: 1,
      itt: 2,
      ttt: 3,
      r2tSn: 4,
      bufferOffset: 5,
      desiredBytes: 6,
    };
    const hex = header((b, at) => r2t.encode(b, at, pdu));
    assert.equal(
      hex,
      `318000000000000000010000000000000000000200000003${SNS}000000040000000500000006`,
    );
    const b = Buffer.from(hex, 'hex');
    assert.deepEqual(
      [r2t.ttt(b, 0), r2t.r2tSn(b, 0), r2t.bufferOffset(b, 0), r2t.desiredBytes(b, 0)],
      [3, 4, 5, 6],
    );
  });

  test('Task Management Function Request and Response', () => {
    const pdu = {
      immediate: true,
      function: 1,
      lun: 2,
      itt: 3,
      referencedTag: 4,
      cmdSn: 5,
      expStatSn: 6,
      refCmdSn: 7,
      expDataSn: 8,
    };
    const hex = header((b, at) => taskManagementRequest.encode(b, at, pdu));
    assert.equal(hex.slice(0, 8), '42810000');
    assert.deepEqual(taskManagementRequest.decode(Buffer.from(hex, 'hex'), 0), pdu);
    const answer = { ...NUMBERS, response: 5, itt: 3 } as const;
    const hex2 = header((b, at) => taskManagementResponse.encode(b, at, answer));
    assert.equal(hex2, `2280050000000000${'00'.repeat(8)}0000000300000000${SNS}${'00'.repeat(12)}`);
    assert.equal(taskManagementResponse.response(Buffer.from(hex2, 'hex'), 0), 5);
  });

  test('Text Request and Response', () => {
    const request = {
      immediate: false,
      final: false,
      continues: true,
      dataBytes: 30,
      itt: 1,
      ttt: 2,
      cmdSn: 3,
      expStatSn: 4,
    };
    const hex = header((b, at) => textRequest.encode(b, at, request));
    assert.equal(hex.slice(0, 16), '044000000000001e');
    assert.deepEqual(textRequest.decode(Buffer.from(hex, 'hex'), 0), request);
    const answer = {
      ...NUMBERS,
      final: true,
      continues: false,
      dataBytes: 0,
      itt: 1,
      ttt: 0xffffffff,
    };
    const hex2 = header((b, at) => textResponse.encode(b, at, answer));
    assert.equal(hex2.slice(0, 16), '2480000000000000');
    assert.deepEqual(textResponse.decode(Buffer.from(hex2, 'hex'), 0), answer);
  });

  test('Login Request and Response', () => {
    const request = {
      immediate: true,
      transit: true,
      continues: false,
      csg: 1,
      nsg: 3,
      versionMax: 0,
      versionMin: 0,
      ahsBytes: 0,
      dataBytes: 5,
      isid: '80aabbccddee',
      tsih: 0x1234,
      itt: 1,
      cid: 0xfffe,
      cmdSn: 2,
      expStatSn: 3,
    };
    const hex = header((b, at) => loginRequest.encode(b, at, request));
    assert.equal(
      hex,
      `438700000000000580aabbccddee123400000001fffe00000000000200000003${'00'.repeat(16)}`,
    );
    assert.deepEqual(loginRequest.decode(Buffer.from(hex, 'hex'), 0), request);
    const response = {
      ...NUMBERS,
      transit: true,
      continues: false,
      csg: 0,
      nsg: 1,
      dataBytes: 0,
      isid: '80aabbccddee',
      tsih: 1,
      itt: 1,
      status: 0x0201,
    } as const;
    const hex2 = header((b, at) => loginResponse.encode(b, at, response));
    assert.equal(
      hex2,
      `238100000000000080aabbccddee00010000000100000000${SNS}0201${'00'.repeat(10)}`,
    );
    assert.deepEqual(loginResponse.decode(Buffer.from(hex2, 'hex'), 0), response);
  });

  test('Logout Request and Response', () => {
    const request = { immediate: true, reason: 1, itt: 2, cid: 3, cmdSn: 4, expStatSn: 5 };
    const hex = header((b, at) => logoutRequest.encode(b, at, request));
    assert.equal(hex.slice(0, 4), '4681');
    assert.deepEqual(logoutRequest.decode(Buffer.from(hex, 'hex'), 0), request);
    const response = {
      ...NUMBERS,
      response: 1,
      itt: 2,
      time2WaitSeconds: 2,
      time2RetainSeconds: 20,
    } as const;
    const hex2 = header((b, at) => logoutResponse.encode(b, at, response));
    assert.equal(
      hex2,
      `2680010000000000${'00'.repeat(8)}0000000200000000${SNS}000000000002001400000000`,
    );
    assert.equal(logoutResponse.response(Buffer.from(hex2, 'hex'), 0), 1);
    assert.equal(logoutResponse.time2WaitSeconds(Buffer.from(hex2, 'hex'), 0), 2);
  });

  test('NOP-Out, NOP-In, Reject, Asynchronous Message and SNACK', () => {
    const ping = { immediate: true, dataBytes: 4, lun: 0, itt: 1, ttt: 2, cmdSn: 3, expStatSn: 4 };
    const out = header((b, at) => nopOut.encode(b, at, ping));
    assert.equal(out.slice(0, 16), '4080000000000004');
    assert.equal(nopOut.ttt(Buffer.from(out, 'hex'), 0), 2);

    const back = { ...NUMBERS, dataBytes: 4, lun: 0, itt: 1, ttt: 0xffffffff };
    const echoed = header((b, at) => nopIn.encode(b, at, back));
    assert.equal(
      echoed,
      `2080000000000004${'00'.repeat(8)}00000001ffffffff${SNS}${'00'.repeat(12)}`,
    );
    assert.equal(nopIn.ttt(Buffer.from(echoed, 'hex'), 0), 0xffffffff);

    const refused = { ...NUMBERS, reason: 4, dataBytes: 48 } as const;
    const rejected = header((b, at) => reject.encode(b, at, refused));
    assert.equal(
      rejected,
      `3f80040000000030${'00'.repeat(8)}ffffffff00000000${SNS}${'00'.repeat(12)}`,
    );
    assert.equal(reject.reason(Buffer.from(rejected, 'hex'), 0), 4);

    const event = { ...NUMBERS, event: 1, parameter1: 2, parameter2: 3, parameter3: 10 } as const;
    const said = header((b, at) => asyncMessage.encode(b, at, event));
    assert.equal(
      said,
      `3280000000000000${'00'.repeat(8)}ffffffff00000000${SNS}010000020003000a00000000`,
    );
    assert.equal(asyncMessage.event(Buffer.from(said, 'hex'), 0), 1);
    assert.equal(asyncMessage.parameter(Buffer.from(said, 'hex'), 0, 3), 10);

    const asked = { type: 1, lun: 0, itt: 1, ttt: 2, expStatSn: 3, begRun: 4, runLength: 5 };
    const snacked = header((b, at) => snack.encode(b, at, asked));
    assert.equal(snacked.slice(0, 4), '1081');
    assert.equal(snacked.slice(80), '0000000400000005');
    assert.equal(snack.type(Buffer.from(snacked, 'hex'), 0), 1);
  });

  test('AHS: an extended CDB and a bidirectional length, malformed ones are refused', () => {
    const bhs = (words: number): Buffer => {
      const b = Buffer.alloc(48);
      b[4] = words;
      b.fill(0x7f, 32, 33);
      return b;
    };
    const decode = (words: number, hex: string) =>
      ahs.decodeCommandAhs(Buffer.concat([bhs(words), Buffer.from(hex, 'hex')]), 0);
    const both = decode(5, `00110100${'aa'.repeat(16)}`);
    assert.equal(both?.cdb?.length, 32);
    assert.equal(both?.cdb?.[0], 0x7f);
    assert.equal(both?.cdb?.[31], 0xaa);
    assert.equal(decode(2, '0005020000001000')?.bidirectionalReadBytes, 4096);
    assert.deepEqual(decode(0, ''), { cdb: null, bidirectionalReadBytes: -1 });
    for (const [words, hex] of [
      [1, '00050200'], // overruns
      [2, '0000010000000000'], // no length
      [2, '0005030000001000'], // unknown type
      [2, '0006020000001000'], // wrong length
      [4, '00050200000010000005020000001000'], // twice
      [1, 'ffff0100'],
    ] as const) {
      assert.equal(decode(words, hex), null, hex);
    }
  });
});
