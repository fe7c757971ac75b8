// An initiator of the login phase for tests: makes Login Requests, reads the responses as text.
import { type Random, SeededRandom } from '../../../../src/base/index.ts';
import {
  LoginNegotiator,
  type LoginOptions,
  type LoginStep,
} from '../../../../src/iscsi/login/index.ts';
import { assemblePdu, loginRequest, loginResponse } from '../../../../src/iscsi/pdu/index.ts';
import { DEFAULT_OFFER } from '../../../../src/iscsi/text/index.ts';
import type { AuthPolicy, TargetDirectory, TargetEntry } from '../../../../src/iscsi/types.ts';
import type { ScsiTarget } from '../../../../src/scsi/task.ts';

export const INITIATOR = 'iqn.1993-08.org.debian:01:abc';
export const TARGET = 'iqn.2026-11.io.ashlar:demo';

/** Login never calls it. */
const NO_SCSI = { name: 'none' } as unknown as ScsiTarget;

export function aTarget(fields: Partial<TargetEntry> = {}): TargetEntry {
  return {
    name: TARGET,
    alias: '',
    scsi: NO_SCSI,
    auth: { chap: [], mutual: null },
    initiators: null,
    state: 'online',
    ...fields,
  };
}

export function aDirectory(
  targets: readonly TargetEntry[],
  discoveryAuth: AuthPolicy = { chap: [], mutual: null },
): TargetDirectory {
  return {
    discoveryAuth,
    list: () => targets,
    find: (name) => targets.find((target) => target.name === name) ?? null,
  };
}

export type Keys = Readonly<Record<string, string>>;

export function aText(keys: Keys): Buffer {
  return Buffer.from(
    Object.entries(keys)
      .map(([key, value]) => `${key}=${value}\0`)
      .join(''),
  );
}

export const NAMES: Keys = { InitiatorName: INITIATOR, TargetName: TARGET };

export interface Answer {
  readonly kind: LoginStep['kind'];
  /** -1 while the target looks for a session. */
  readonly status: number;
  readonly header: loginResponse.LoginResponse | null;
  readonly keys: Keys;
  readonly step: LoginStep;
}

export class TestInitiator {
  readonly negotiator: LoginNegotiator;
  /** Fields of the requests to come. */
  fields: Partial<loginRequest.LoginRequest> = {};

  constructor(options: Partial<LoginOptions> & { readonly random?: Random } = {}) {
    this.negotiator = new LoginNegotiator({
      directory: aDirectory([aTarget()]),
      random: new SeededRandom(1),
      offer: DEFAULT_OFFER,
      portalGroupTag: 1,
      ...options,
    });
  }

  /** `stages`: "0" stays, "0>1" asks for the transition, "0+" continues the text in the next request. */
  send(stages: string, keys: Keys | Buffer = {}): Answer {
    const data = Buffer.isBuffer(keys) ? keys : aText(keys);
    const request: loginRequest.LoginRequest = {
      immediate: true,
      transit: stages.includes('>'),
      continues: stages.includes('+'),
      csg: Number(stages[0]),
      nsg: stages.includes('>') ? Number(stages[2]) : 0,
      versionMax: 0,
      versionMin: 0,
      ahsBytes: 0,
      dataBytes: data.length,
      isid: '00023d000001',
      tsih: 0,
      itt: 0,
      cid: 0,
      cmdSn: 1,
      expStatSn: 0,
      ...this.fields,
    };
    const pdu = assemblePdu((b, at) => loginRequest.encode(b, at, request), { data });
    return readStep(this.negotiator.onRequest(pdu, 0, data));
  }
}

export function readStep(step: LoginStep): Answer {
  if (step.kind === 'admit') return { kind: step.kind, status: -1, header: null, keys: {}, step };
  const header = loginResponse.decode(step.response, 0);
  return { kind: step.kind, status: header.status, header, keys: readKeys(step.response), step };
}

/** The text of a login response. */
export function readKeys(response: Buffer): Keys {
  const { dataBytes } = loginResponse.decode(response, 0);
  const pairs = response
    .toString('utf8', 48, 48 + dataBytes)
    .split('\0')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const equals = pair.indexOf('=');
      return [pair.slice(0, equals), pair.slice(equals + 1)] as const;
    });
  return Object.fromEntries(pairs);
}
