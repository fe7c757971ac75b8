// Goal: what a client that was compiled with Kubernetes' kinds sends is read as if it were JSON; anything else is refused
// in words, whatever the bytes are.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ApiError } from '../../../src/apiserver/errors.ts';
import { decodeKubeProtobuf } from '../../../src/apiserver/kube-protobuf.ts';

const decode = (hex: string): unknown => decodeKubeProtobuf(Buffer.from(hex, 'hex'));

/** A field of a message: text, bytes, or a message. */
function field(number: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  assert.ok(bytes.length < 128);
  return Buffer.concat([Buffer.of(number * 8 + 2, bytes.length), bytes]);
}
function envelope(apiVersion: string, kind: string, raw: Buffer): Buffer {
  const type = Buffer.concat([field(1, apiVersion), field(2, kind)]);
  return Buffer.concat([Buffer.from('k8s\0'), field(1, type), field(2, raw)]);
}

test('kubectl 1.32 asks whether it may create volumes: as captured', () => {
  const captured =
    '6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a656374416363' +
    '657373526576696577124b0a100a0012001a0022002a003200380042' +
    '00122d0a2b0a0764656661756c7412066372656174651a096173686c61722e696f22002a07766f6c756d657332003a00' +
    '1a080800120' +
    '01a0020001a002200';
  assert.deepEqual(decode(captured), {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec: {
      resourceAttributes: {
        namespace: 'default',
        verb: 'create',
        group: 'ashlar.io',
        resource: 'volumes',
      },
    },
  });
});

test('a secret with its maps, a lease with its times, options of a deletion', () => {
  const entry = (key: string, value: string): Buffer =>
    Buffer.concat([field(1, key), field(2, value)]);
  const meta = Buffer.concat([
    field(1, 'chap'),
    field(3, 'default'),
    field(8, ''), // A moment that is not set.
    field(11, entry('app', 'db')),
    field(14, 'one'),
    field(14, 'two'),
  ]);
  const secret = Buffer.concat([
    field(1, meta),
    field(2, entry('user', '\u0001x')),
    field(2, entry('empty', '')),
    field(3, 'Opaque'),
  ]);
  assert.deepEqual(decodeKubeProtobuf(envelope('v1', 'Secret', secret)), {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: 'chap',
      namespace: 'default',
      labels: { app: 'db' },
      finalizers: ['one', 'two'],
    },
    data: { user: 'AXg=', empty: '' },
    type: 'Opaque',
  });

  // 2026-11-30T05:00:00.123456Z
  const time = Buffer.from([0x08, 0xd0, 0x85, 0xb4, 0xd8, 0x06, 0x10, 0x80, 0x94, 0xef, 0x3a]);
  const spec = Buffer.concat([field(1, 'me'), Buffer.of(0x10, 15), field(4, time)]);
  const lease = decodeKubeProtobuf(envelope('coordination.k8s.io/v1', 'Lease', field(2, spec)));
  assert.deepEqual(lease['spec'], {
    holderIdentity: 'me',
    leaseDurationSeconds: 15,
    renewTime: '2026-11-30T05:00:00.123456Z',
  });

  const options = Buffer.concat([Buffer.of(0x08, 0), field(4, 'Background')]);
  assert.deepEqual(decodeKubeProtobuf(envelope('v1', 'DeleteOptions', options)), {
    apiVersion: 'v1',
    kind: 'DeleteOptions',
    gracePeriodSeconds: 0,
    propagationPolicy: 'Background',
  });
});

test('questions about oneself and about tokens, events, claims and classes', () => {
  const entry = (key: string, value: string | Buffer): Buffer =>
    Buffer.concat([field(1, key), field(2, value)]);
  for (const version of ['v1', 'v1beta1', 'v1alpha1']) {
    const apiVersion = `authentication.k8s.io/${version}`;
    const status = field(2, field(1, ''));
    assert.deepEqual(decodeKubeProtobuf(envelope(apiVersion, 'SelfSubjectReview', status)), {
      apiVersion,
      kind: 'SelfSubjectReview',
    });
  }
  const token = field(2, field(1, 'a-token'));
  assert.deepEqual(
    decodeKubeProtobuf(envelope('authentication.k8s.io/v1', 'TokenReview', token))['spec'],
    { token: 'a-token' },
  );
  const subject = field(2, Buffer.concat([field(3, 'me'), field(4, 'a'), field(4, 'b')]));
  assert.deepEqual(
    decodeKubeProtobuf(envelope('authorization.k8s.io/v1', 'SubjectAccessReview', subject))['spec'],
    { user: 'me', groups: ['a', 'b'] },
  );
  const regarding = Buffer.concat([field(1, 'Widget'), field(3, 'w')]);
  const event = Buffer.concat([field(7, 'Made'), field(8, regarding), field(10, 'said so')]);
  const newer = decodeKubeProtobuf(envelope('events.k8s.io/v1', 'Event', event));
  assert.deepEqual(
    [newer['reason'], newer['regarding'], newer['note']],
    ['Made', { kind: 'Widget', name: 'w' }, 'said so'],
  );
  const core = Buffer.concat([field(2, regarding), field(4, 'said so')]);
  assert.equal(decodeKubeProtobuf(envelope('v1', 'Event', core))['message'], 'said so');
  const requests = field(2, field(2, entry('storage', field(1, '5Gi'))));
  const spec = Buffer.concat([field(1, 'ReadWriteOnce'), requests, field(5, 'a-class')]);
  assert.deepEqual(
    decodeKubeProtobuf(envelope('v1', 'PersistentVolumeClaim', field(2, spec)))['spec'],
    {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '5Gi' } },
      storageClassName: 'a-class',
    },
  );
  const parts = [field(2, 'a/b'), field(3, entry('fsType', 'xfs')), Buffer.of(0x30, 1)];
  const made = envelope('storage.k8s.io/v1', 'StorageClass', Buffer.concat(parts));
  const { provisioner, parameters, allowVolumeExpansion } = decodeKubeProtobuf(made);
  assert.deepEqual(
    [provisioner, parameters, allowVolumeExpansion],
    ['a/b', { fsType: 'xfs' }, true],
  );
});

test('other kinds, and bytes that are no such body, are refused with what to do', () => {
  for (const [apiVersion, kind] of [
    ['apps/v1', 'Deployment'],
    ['v1', 'PersistentVolume'],
  ] as const) {
    assert.throws(
      () => decodeKubeProtobuf(envelope(apiVersion, kind, Buffer.alloc(0))),
      (error) =>
        error instanceof ApiError &&
        error.code === 415 &&
        error.message ===
          `a ${kind} of ${apiVersion} is not read from protobuf; send application/json`,
    );
  }
  for (const hex of ['', '00', '6b387300ff', '6b3873000a7f', '6b38730012ffffffffffffffffffff7f']) {
    assert.throws(
      () => decode(hex),
      (error) => error instanceof ApiError,
    );
  }
  const entry = Buffer.concat([field(1, '__proto__'), field(2, 'x')]);
  const meta = field(11, entry);
  const odd = decodeKubeProtobuf(envelope('v1', 'Namespace', field(1, meta))) as {
    metadata: { labels: object };
  };
  assert.deepEqual(Object.keys(odd.metadata.labels), ['__proto__'], 'a key like any other');
});

test('any bytes at all give an object or an answer', () => {
  const bodies = fc.tuple(
    fc.constantFrom('Namespace', 'Secret', 'DeleteOptions'),
    fc.uint8Array({ maxLength: 100 }),
  );
  fc.assert(
    fc.property(bodies, ([kind, raw]) => {
      try {
        assert.equal(
          decodeKubeProtobuf(envelope('v1', kind, Buffer.from(raw)))['kind'] !== undefined,
          true,
        );
      } catch (error) {
        assert.ok(error instanceof ApiError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
