// Goal: whatever hosts ask for in whatever order, the state stays one that SPC-4 knows, and comes back from its saved form.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeSavedState,
  encodeSavedState,
} from '../../../../src/scsi/reservations/saved-state.ts';
import {
  ALL_TARGET_PORTS,
  clear,
  isAllRegistrants,
  isHolder,
  MAX_REGISTRATIONS,
  NO_RESERVATIONS,
  type Outcome,
  type PersistentState,
  type PortPair,
  preempt,
  ReservationType,
  register,
  registerAndMove,
  registrationOf,
  release,
  reserve,
} from '../../../../src/scsi/reservations/state.ts';
import {
  canonicalPort,
  decodeTransportId,
  encodeTransportId,
} from '../../../../src/scsi/reservations/transport-id.ts';

const port = (index: number): string => `iqn.2026-11.test:h${index},i,0x00000000000${index}`;
const pair = fc.record({
  initiatorPort: fc.integer({ min: 1, max: 4 }).map(port),
  relativeTargetPort: fc.integer({ min: 1, max: 2 }),
});
const type = fc.constantFrom(...Object.values(ReservationType));
const key = fc.bigInt({ min: 0n, max: 3n });

interface Step {
  readonly action: number;
  readonly nexus: PortPair;
  readonly to: PortPair;
  readonly reservationKey: bigint;
  readonly serviceActionKey: bigint;
  readonly type: ReservationType;
  readonly flag: boolean;
  readonly aptpl: boolean;
  /** Most steps carry the right key: else little would ever happen. */
  readonly honest: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  action: fc.integer({ min: 0, max: 6 }),
  nexus: pair,
  to: pair,
  reservationKey: key,
  serviceActionKey: key,
  type,
  flag: fc.boolean(),
  aptpl: fc.boolean(),
  honest: fc.integer({ min: 0, max: 4 }).map((draw) => draw > 0),
});

function apply(state: PersistentState, asked: Step): Outcome {
  const { nexus } = asked;
  const own = registrationOf(state, nexus)?.key ?? 0n;
  const reservationKey = asked.honest ? own : asked.reservationKey;
  const request = {
    ...asked,
    reservationKey,
    ignoreExistingKey: asked.flag,
    allTargetPorts: asked.reservationKey === 3n,
    unregister: asked.flag,
    others: asked.reservationKey === 2n ? [asked.to.initiatorPort] : null,
  };
  switch (asked.action) {
    case 0:
    case 1:
      return register(state, nexus, request);
    case 2:
      return reserve(state, nexus, reservationKey, asked.type);
    case 3:
      return release(state, nexus, reservationKey, state.type ?? asked.type);
    case 4:
      return clear(state, nexus, reservationKey);
    case 5:
      return preempt(state, nexus, request);
    default:
      return registerAndMove(state, nexus, request);
  }
}

function check(state: PersistentState): void {
  const holders = state.registrations.filter((registration) => isHolder(state, registration));
  if (state.type === null) assert.equal(holders.length, 0);
  else if (isAllRegistrants(state.type)) assert.equal(holders.length, state.registrations.length);
  else assert.equal(holders.length, 1);
  assert.ok(state.type === null || state.registrations.length > 0);
  assert.ok(state.registrations.every((registration) => registration.key !== 0n));
  for (const one of state.registrations) {
    for (const other of state.registrations) {
      if (one === other || one.initiatorPort !== other.initiatorPort) continue;
      assert.notEqual(one.relativeTargetPort, ALL_TARGET_PORTS, 'registered twice');
      assert.notEqual(one.relativeTargetPort, other.relativeTargetPort, 'registered twice');
    }
  }
}

describe('the state of persistent reservations', () => {
  it('stays sound through any steps, and survives being saved', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        let state: PersistentState = NO_RESERVATIONS;
        for (const asked of steps) {
          const outcome = apply(state, asked);
          if (outcome.kind !== 'changed') continue;
          for (const { to } of outcome.attentions) {
            assert.notEqual(to, registrationOf(state, asked.nexus), 'the asker is told nothing');
          }
          assert.ok(!outcome.preempted.includes(registrationOf(state, asked.nexus)!));
          state = outcome.state;
          check(state);
          const saved = encodeSavedState(state);
          if (saved === null) continue;
          assert.deepEqual(decodeSavedState(saved), { ...state, generation: 0 });
        }
      }),
      { numRuns: 500 },
    );
  });

  it('has room for a bounded number of registrations', () => {
    let state: PersistentState = NO_RESERVATIONS;
    const request = {
      reservationKey: 0n,
      serviceActionKey: 1n,
      ignoreExistingKey: false,
      allTargetPorts: false,
      aptpl: true,
      others: null,
    };
    for (let index = 0; index < MAX_REGISTRATIONS; index += 1) {
      const nexus = { initiatorPort: `h${index}`, relativeTargetPort: 1 };
      const outcome = register(state, nexus, request);
      assert.equal(outcome.kind, 'changed');
      if (outcome.kind === 'changed') state = outcome.state;
    }
    const one = register(state, { initiatorPort: 'late', relativeTargetPort: 1 }, request);
    assert.equal(one.kind, 'noRoom');
  });
});

describe('saved reservations', () => {
  it('decode or are refused, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from)), (bytes) => {
        assert.throws(() => decodeSavedState(bytes), { code: 'SCSI_RESERVATIONS_DAMAGED' });
      }),
    );
  });
});

describe('TransportIDs', () => {
  it('decode to what was encoded', () => {
    const name = 'iqn.2026-11.io.example:host,i,0x00023d000001';
    const bytes = encodeTransportId(name);
    assert.equal(bytes.length % 4, 0);
    assert.deepEqual(decodeTransportId(bytes, 0), {
      initiatorName: 'iqn.2026-11.io.example:host',
      initiatorPort: name,
      bytes: bytes.length,
    });
  });

  it('name a device without a port in format 00b, and ports in one spelling', () => {
    const bytes = Buffer.alloc(24);
    bytes[0] = 0x05;
    bytes.writeUInt16BE(20, 2);
    bytes.write('iqn.A', 4);
    const device = { initiatorName: 'iqn.a', initiatorPort: null, bytes: 24 };
    assert.deepEqual(decodeTransportId(bytes, 0), device);
    assert.equal(canonicalPort('IQN.a,i,0x23D000001'), 'iqn.a,i,0x00023d000001');
  });

  it('are decoded or refused, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(8), (bytes, at) => {
        const decoded = decodeTransportId(Buffer.from(bytes), at);
        if (decoded !== null) assert.ok(at + decoded.bytes <= bytes.length);
      }),
    );
  });
});
