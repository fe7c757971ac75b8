// Versions (E1): `(epoch:24 | op:40)`, compared as one number of 64 bits. A double holds 53 of them, so a version is two
// safe integers everywhere, and never one.

export interface Version {
  readonly epoch: number;
  readonly op: number;
}

export const MAX_EPOCH = 2 ** 24 - 1;
export const MAX_OP_NUMBER = 2 ** 40 - 1;
/** Below every version that an operation ever got. */
export const ZERO_VERSION: Version = { epoch: 0, op: 0 };

/** Negative, zero or positive as (epochA, opA) is below, equal to or above (epochB, opB). */
export function compareVersions(epochA: number, opA: number, epochB: number, opB: number): number {
  return epochA === epochB ? opA - opB : epochA - epochB;
}

export function minVersion(a: Version, b: Version): Version {
  return compareVersions(a.epoch, a.op, b.epoch, b.op) <= 0 ? a : b;
}

export function maxVersion(a: Version, b: Version): Version {
  return compareVersions(a.epoch, a.op, b.epoch, b.op) >= 0 ? a : b;
}

export function isBelow(a: Version, b: Version): boolean {
  return compareVersions(a.epoch, a.op, b.epoch, b.op) < 0;
}
