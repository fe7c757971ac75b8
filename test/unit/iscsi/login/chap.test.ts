import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../../../src/base/index.ts';
import { type ChapAlgorithm, chapResponse } from '../../../../src/iscsi/login/index.ts';
import { LoginStatus } from '../../../../src/iscsi/pdu/index.ts';
import type { AuthPolicy } from '../../../../src/iscsi/types.ts';
import {
  type Answer,
  aDirectory,
  aTarget,
  INITIATOR,
  type Keys,
  NAMES,
  TestInitiator,
} from './initiator.ts';

const SECRET = 'initiator-secret-1';
const MUTUAL_SECRET = 'target-secret-number-2';
const POLICY: AuthPolicy = {
  chap: [{ user: 'alice', secret: SECRET }],
  mutual: { user: 'ashlar', secret: MUTUAL_SECRET },
};

function anInitiator(auth: AuthPolicy = POLICY): TestInitiator {
  return new TestInitiator({ directory: aDirectory([aTarget({ auth })]) });
}

interface Challenge {
  readonly algorithm: ChapAlgorithm;
  readonly identifier: number;
  readonly bytes: Buffer;
}

/** Goes as far as the challenge. */
function challenge(initiator: TestInitiator, algorithms = '5', names: Keys = NAMES): Challenge {
  const method = initiator.send('0>1', { ...names, AuthMethod: 'CHAP,None' });
  assert.equal(method.keys['AuthMethod'], 'CHAP');
  assert.equal(method.header?.transit, false, 'T is left unanswered while CHAP goes on');
  const { keys } = initiator.send('0', { CHAP_A: algorithms });
  return {
    algorithm: Number(keys['CHAP_A']) as ChapAlgorithm,
    identifier: Number(keys['CHAP_I']),
    bytes: Buffer.from(keys['CHAP_C']!.slice(2), 'hex'),
  };
}

function proof(secret: string, { algorithm, identifier, bytes }: Challenge): string {
  return `0x${chapResponse(algorithm, identifier, secret, bytes).toString('hex')}`;
}

function assertRefused(answer: Answer): void {
  assert.equal(answer.kind, 'failed');
  assert.equal(answer.status, LoginStatus.AuthenticationFailure);
  assert.deepEqual(answer.keys, {});
  const { reason } = answer.step as { reason: string };
  for (const secret of [SECRET, MUTUAL_SECRET]) assert.equal(reason.includes(secret), false);
}

describe('CHAP', () => {
  test('lets in who knows the secret, with every algorithm', () => {
    for (const [algorithm, bytes] of [
      [5, 16],
      [6, 20],
      [7, 32],
      [8, 32],
    ] as const) {
      const initiator = anInitiator();
      const asked = challenge(initiator, String(algorithm));
      assert.equal(asked.algorithm, algorithm);
      assert.equal(asked.bytes.length, bytes);
      const answer = initiator.send('0>1', { CHAP_N: 'alice', CHAP_R: proof(SECRET, asked) });
      assert.equal(answer.header?.transit, true);
      assert.deepEqual(answer.keys, {});
      const last = initiator.send('1>3');
      assert.equal(last.step.kind === 'admit' && last.step.login.authenticatedAs, 'alice');
    }
  });

  test('the response is the hash of identifier, secret and challenge', () => {
    const expected = createHash('md5').update('\x07secret\x01\x02').digest();
    assert.deepEqual(chapResponse(5, 7, 'secret', Buffer.of(1, 2)), expected);
  });

  test('takes the first algorithm of the initiator’s list that it accepts', () => {
    assert.equal(challenge(anInitiator(), '99,7,5').algorithm, 7);
    const choosy = new TestInitiator({
      directory: aDirectory([aTarget({ auth: POLICY })]),
      chapAlgorithms: [7, 8],
    });
    assert.equal(challenge(choosy, '5,6,8,7').algorithm, 8);
    const initiator = anInitiator();
    initiator.send('0', { ...NAMES, AuthMethod: 'CHAP' });
    assertRefused(initiator.send('0', { CHAP_A: '1,2' }));
  });

  test('takes base64 too', () => {
    const initiator = anInitiator();
    const { algorithm, identifier, bytes } = challenge(initiator);
    const response = chapResponse(algorithm, identifier, SECRET, bytes).toString('base64');
    const answer = initiator.send('0>1', { CHAP_N: 'alice', CHAP_R: `0b${response}` });
    assert.equal(answer.kind, 'continue');
  });

  test('proves the target when asked to', () => {
    const initiator = anInitiator();
    const asked = challenge(initiator, '7');
    const answer = initiator.send('0>1', {
      CHAP_N: 'alice',
      CHAP_R: proof(SECRET, asked),
      CHAP_I: '200',
      CHAP_C: `0x${'5a'.repeat(32)}`,
    });
    assert.deepEqual(answer.keys, {
      CHAP_N: 'ashlar',
      CHAP_R: proof(MUTUAL_SECRET, {
        algorithm: 7,
        identifier: 200,
        bytes: Buffer.alloc(32, 0x5a),
      }),
    });
    assert.equal(answer.header?.transit, true);
  });

  test('asks with a fresh challenge each time', () => {
    const random = new SeededRandom(7);
    const directory = aDirectory([aTarget({ auth: POLICY })]);
    const seen = new Set<string>();
    for (let login = 0; login < 20; login += 1) {
      seen.add(challenge(new TestInitiator({ directory, random })).bytes.toString('hex'));
    }
    assert.equal(seen.size, 20);
  });

  const wrong: readonly [what: string, keys: (asked: Challenge) => Keys][] = [
    ['a wrong secret', (asked) => ({ CHAP_N: 'alice', CHAP_R: proof('wrong', asked) })],
    ['an unknown user', (asked) => ({ CHAP_N: 'bob', CHAP_R: proof(SECRET, asked) })],
    [
      'the dummy secret of unknown users',
      (asked) => ({
        CHAP_N: 'bob',
        CHAP_R: proof('no such user', asked),
      }),
    ],
    ['no user', (asked) => ({ CHAP_R: proof(SECRET, asked) })],
    ['no response', () => ({ CHAP_N: 'alice' })],
    ['a short response', () => ({ CHAP_N: 'alice', CHAP_R: '0x00' })],
    ['a response that is no binary', () => ({ CHAP_N: 'alice', CHAP_R: '0xzz' })],
    ['a response without end', () => ({ CHAP_N: 'alice', CHAP_R: `0x${'00'.repeat(1025)}` })],
    [
      'a response to another challenge',
      (asked) => ({
        CHAP_N: 'alice',
        CHAP_R: proof(SECRET, { ...asked, bytes: Buffer.alloc(16) }),
      }),
    ],
    [
      'its own challenge reflected',
      (asked) => ({
        CHAP_N: 'alice',
        CHAP_R: proof(SECRET, asked),
        CHAP_I: '1',
        CHAP_C: `0x${asked.bytes.toString('hex')}`,
      }),
    ],
    [
      'a mutual challenge without identifier',
      (asked) => ({
        CHAP_N: 'alice',
        CHAP_R: proof(SECRET, asked),
        CHAP_C: '0x01',
      }),
    ],
    [
      'a mutual identifier over a byte',
      (asked) => ({
        CHAP_N: 'alice',
        CHAP_R: proof(SECRET, asked),
        CHAP_I: '256',
        CHAP_C: '0x01',
      }),
    ],
    [
      'a mutual challenge without own proof',
      () => ({
        CHAP_N: 'alice',
        CHAP_R: `0x${'00'.repeat(16)}`,
        CHAP_I: '1',
        CHAP_C: '0x01',
      }),
    ],
  ];
  for (const [what, keys] of wrong) {
    test(`refuses ${what}`, () => {
      const initiator = anInitiator();
      const asked = challenge(initiator);
      assertRefused(initiator.send('0>1', keys(asked)));
    });
  }

  test('refuses mutual authentication that is not configured, or with one secret both ways', () => {
    for (const mutual of [null, { user: 'ashlar', secret: SECRET }]) {
      const initiator = anInitiator({ chap: POLICY.chap, mutual });
      const asked = challenge(initiator);
      assertRefused(
        initiator.send('0>1', {
          CHAP_N: 'alice',
          CHAP_R: proof(SECRET, asked),
          CHAP_I: '1',
          CHAP_C: '0x0102',
        }),
      );
    }
  });

  test('refuses a second try on the same challenge', () => {
    const initiator = anInitiator();
    const asked = challenge(initiator);
    initiator.send('0', { CHAP_N: 'alice', CHAP_R: proof(SECRET, asked) });
    const again = initiator.send('0', { CHAP_N: 'alice', CHAP_R: proof(SECRET, asked) });
    assert.equal(again.kind, 'failed');
  });

  test('refuses whoever goes around it', () => {
    assertRefused(anInitiator().send('1>3', NAMES));
    assertRefused(anInitiator().send('0>3', NAMES));
    assertRefused(anInitiator().send('0>1', { ...NAMES, AuthMethod: 'None' }));
    assertRefused(anInitiator().send('0>1', { ...NAMES, AuthMethod: 'KRB5' }));
    assertRefused(anInitiator().send('0>1', { ...NAMES, CHAP_A: '5' }));
    const initiator = anInitiator();
    challenge(initiator);
    assert.equal(initiator.send('0>1').header?.transit, false);
    assert.equal(initiator.send('1>3').kind, 'failed');
  });

  test('refuses an initiator that insists on CHAP where none is configured', () => {
    assertRefused(new TestInitiator().send('0>1', { ...NAMES, AuthMethod: 'CHAP' }));
  });

  test('discovery has a policy of its own', () => {
    const discovery = { InitiatorName: INITIATOR, SessionType: 'Discovery' };
    const initiator = new TestInitiator({ directory: aDirectory([aTarget()], POLICY) });
    assertRefused(initiator.send('1>3', discovery));
    const other = new TestInitiator({ directory: aDirectory([aTarget()], POLICY) });
    const asked = challenge(other, '5', discovery);
    const keys = { CHAP_N: 'alice', CHAP_R: proof(SECRET, asked) };
    assert.equal(other.send('0>3', keys).kind, 'admit');
    const open = new TestInitiator({ directory: aDirectory([aTarget({ auth: POLICY })]) });
    assert.equal(open.send('1>3', discovery).kind, 'admit');
  });
});
