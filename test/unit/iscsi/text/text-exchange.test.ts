import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RESERVED_TAG, RejectReason, type textRequest } from '../../../../src/iscsi/pdu/index.ts';
import {
  DEFAULT_OFFER,
  type Discovery,
  defaultParameters,
  type Parameters,
  TextExchange,
  type TextReply,
} from '../../../../src/iscsi/text/index.ts';
import { aDirectory, aTarget, aText, INITIATOR, type Keys, TARGET } from '../login/initiator.ts';

const ADDRESS = '127.0.0.1:3260,1';
const DEMO = `TargetName=${TARGET}\0TargetAddress=${ADDRESS}\0`;

function anExchange(fields: Partial<Discovery> = {}): {
  exchange: TextExchange;
  parameters: Parameters;
} {
  const parameters = defaultParameters(DEFAULT_OFFER);
  const discovery: Discovery = {
    directory: aDirectory([
      aTarget(),
      aTarget({ name: 'iqn.others', initiators: ['iqn.somebody.else'] }),
      aTarget({ name: 'iqn.ours', initiators: [INITIATOR], state: 'offline' }),
    ]),
    sessionType: 'Discovery',
    initiatorName: INITIATOR,
    targetName: null,
    addresses: () => [ADDRESS],
    ...fields,
  };
  return { exchange: new TextExchange(discovery, DEFAULT_OFFER, parameters), parameters };
}

function aRequest(fields: Partial<textRequest.TextRequest> = {}): textRequest.TextRequest {
  return {
    immediate: false,
    final: true,
    continues: false,
    dataBytes: 0,
    itt: 1,
    ttt: RESERVED_TAG,
    cmdSn: 1,
    expStatSn: 1,
    ...fields,
  };
}

function responseOf(reply: TextReply): TextReply & { kind: 'response' } {
  assert.equal(reply.kind, 'response');
  return reply as TextReply & { kind: 'response' };
}

/** One request, one answer: its text. */
function ask(keys: Keys, fields: Partial<Discovery> = {}): string {
  const reply = responseOf(anExchange(fields).exchange.onRequest(aRequest(), aText(keys)));
  assert.equal(reply.final, true);
  assert.equal(reply.ttt, RESERVED_TAG);
  return reply.data.toString();
}

describe('SendTargets', () => {
  const normal = { sessionType: 'Normal', targetName: TARGET } as const;

  test('All lists what the initiator may log in to, in a discovery session only', () => {
    assert.equal(
      ask({ SendTargets: 'All' }),
      `${DEMO}TargetName=iqn.ours\0TargetAddress=${ADDRESS}\0`,
    );
    assert.equal(ask({ SendTargets: 'All' }, normal), 'SendTargets=Reject\0');
  });

  test('a name gives that target, empty the one of the session', () => {
    assert.equal(ask({ SendTargets: TARGET.toUpperCase() }), DEMO);
    assert.equal(ask({ SendTargets: 'iqn.others' }), '');
    assert.equal(ask({ SendTargets: 'iqn.nobody' }), '');
    assert.equal(ask({ SendTargets: 'no name' }), 'SendTargets=Reject\0');
    assert.equal(ask({ SendTargets: '' }), 'SendTargets=Reject\0');
    assert.equal(ask({ SendTargets: '' }, normal), DEMO);
    assert.equal(ask({ SendTargets: TARGET }, normal), DEMO);
    assert.equal(ask({ SendTargets: 'iqn.ours' }, normal), '');
  });
});

describe('a text exchange', () => {
  test('changes what may be changed in the full feature phase, and nothing else', () => {
    const { exchange, parameters } = anExchange();
    const before = { ...parameters };
    const text = aText({ MaxRecvDataSegmentLength: '65536', HeaderDigest: 'CRC32C', 'X-a': 'b' });
    const reply = responseOf(exchange.onRequest(aRequest(), text));
    assert.equal(reply.data.toString(), 'HeaderDigest=Reject\0X-a=NotUnderstood\0');
    assert.deepEqual(parameters, { ...before, maxSendDataSegmentBytes: 65536 });
  });

  test('hands a long answer out in parts, each fetched by an empty request', () => {
    const targets = Array.from({ length: 200 }, (_, index) =>
      aTarget({ name: `${TARGET}${index}` }),
    );
    const { exchange, parameters } = anExchange({ directory: aDirectory(targets) });
    parameters.maxSendDataSegmentBytes = 512;
    let reply = responseOf(exchange.onRequest(aRequest(), aText({ SendTargets: 'All' })));
    let text = '';
    let parts = 1;
    for (; !reply.final; parts += 1) {
      assert.deepEqual([reply.continues, reply.data.length], [true, 512]);
      assert.notEqual(reply.ttt, RESERVED_TAG);
      text += reply.data.toString();
      reply = responseOf(exchange.onRequest(aRequest({ ttt: reply.ttt }), Buffer.alloc(0)));
    }
    text += reply.data.toString();
    assert.equal(reply.continues, false);
    assert.equal(text.match(/TargetName=/g)?.length, 200);
    assert.equal(parts, Math.ceil(text.length / 512));
  });

  test('collects a request cut anywhere', () => {
    const text = aText({ SendTargets: 'All' });
    const whole = ask({ SendTargets: 'All' });
    for (let cut = 0; cut <= text.length; cut += 1) {
      const { exchange } = anExchange();
      const first = responseOf(
        exchange.onRequest(aRequest({ final: false, continues: true }), text.subarray(0, cut)),
      );
      assert.deepEqual([first.final, first.continues, first.data.length], [false, false, 0]);
      const reply = responseOf(
        exchange.onRequest(aRequest({ ttt: first.ttt }), text.subarray(cut)),
      );
      assert.equal(reply.data.toString(), whole);
      assert.equal(reply.final, true);
    }
  });

  test('goes on while the initiator is not done', () => {
    const { exchange } = anExchange();
    const text = aText({ SendTargets: TARGET });
    const first = responseOf(exchange.onRequest(aRequest({ final: false }), text));
    assert.equal(first.final, false);
    assert.equal(first.data.toString(), DEMO);
    const second = responseOf(exchange.onRequest(aRequest({ ttt: first.ttt }), Buffer.alloc(0)));
    assert.equal(second.final, true);
  });

  test('begins anew with the reserved tag', () => {
    const { exchange } = anExchange();
    exchange.onRequest(aRequest({ final: false, continues: true }), Buffer.from('SendTa'));
    const reply = responseOf(exchange.onRequest(aRequest(), aText({ SendTargets: TARGET })));
    assert.equal(reply.data.toString(), DEMO);
  });

  test('is rejected where it is wrong', () => {
    const rejects = (
      reason: number,
      request: Partial<textRequest.TextRequest>,
      text: Buffer = Buffer.alloc(0),
    ): void => {
      const { exchange } = anExchange();
      const reply = exchange.onRequest(aRequest(request), text);
      assert.deepEqual(reply, { kind: 'reject', reason });
    };
    rejects(RejectReason.ProtocolError, { final: true, continues: true });
    rejects(RejectReason.InvalidPduField, { ttt: 5 });
    rejects(RejectReason.ProtocolError, {}, Buffer.from('SendTargets=All'));
    rejects(RejectReason.ProtocolError, {}, Buffer.from('SendTargets\0'));
    rejects(RejectReason.ProtocolError, {}, Buffer.from('SendTargets=All\0SendTargets=\0'));
    rejects(RejectReason.LongOperationReject, {}, Buffer.alloc(8193, 'a'));

    const { exchange } = anExchange();
    const first = responseOf(exchange.onRequest(aRequest({ final: false }), Buffer.alloc(0)));
    const other = exchange.onRequest(aRequest({ ttt: first.ttt, itt: 2 }), Buffer.alloc(0));
    assert.equal(other.kind, 'reject', 'another task has no part in it');
    const late = exchange.onRequest(aRequest({ ttt: first.ttt }), Buffer.alloc(0));
    assert.equal(late.kind, 'reject', 'a reject ended the exchange');
  });

  test('does not continue for ever', () => {
    const { exchange } = anExchange();
    let ttt = RESERVED_TAG;
    let requests = 0;
    for (; requests < 1000; requests += 1) {
      const request = aRequest({ ttt, final: false, continues: true });
      const reply = exchange.onRequest(request, Buffer.alloc(0));
      if (reply.kind === 'reject') break;
      ttt = reply.ttt;
    }
    assert.equal(requests, 64);
  });
});
