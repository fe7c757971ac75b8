// SendTargets, RFC 7143 Appendix C: which targets an initiator sees, and where.
import type { TargetDirectory, TargetEntry } from '../types.ts';
import { normaliseName } from './iscsi-name.ts';
import { type KeyValue, REJECT } from './key-value.ts';
import type { SessionType } from './operational-keys.ts';

/** Who asks, and where its targets are reached. */
export interface Discovery {
  readonly directory: TargetDirectory;
  readonly sessionType: SessionType;
  /** Normalised. */
  readonly initiatorName: string;
  /** The session's own target; null in a discovery session. */
  readonly targetName: string | null;
  /** `address[:port],portal-group-tag` of every portal of the target, IPv6 in brackets (§13.8). */
  addresses(target: TargetEntry): readonly string[];
}

/** True when the ACL of `target` lets the initiator log in. */
export function mayLogIn(target: TargetEntry, initiatorName: string): boolean {
  return target.initiators === null || target.initiators.includes(initiatorName);
}

/** The pairs that answer `SendTargets=value`. A name that is unknown, or not for this initiator, gives none. */
export function answerSendTargets(value: string, discovery: Discovery): KeyValue[] {
  if (value === 'All') {
    // Only in a discovery session: a normal one would learn of targets it has not authenticated for.
    if (discovery.sessionType !== 'Discovery') return [{ key: 'SendTargets', value: REJECT }];
    const visible = discovery.directory
      .list()
      .filter((target) => mayLogIn(target, discovery.initiatorName));
    return visible.flatMap((target) => describe(target, discovery));
  }
  if (value === '') {
    // "The target of this session": a discovery session has none.
    if (discovery.targetName === null) return [{ key: 'SendTargets', value: REJECT }];
    return describeByName(discovery.targetName, discovery);
  }
  const name = normaliseName(value);
  if (name === null) return [{ key: 'SendTargets', value: REJECT }];
  if (discovery.sessionType === 'Normal' && name !== discovery.targetName) return [];
  return describeByName(name, discovery);
}

function describeByName(name: string, discovery: Discovery): KeyValue[] {
  const target = discovery.directory.find(name);
  if (target === null || !mayLogIn(target, discovery.initiatorName)) return [];
  return describe(target, discovery);
}

function describe(target: TargetEntry, discovery: Discovery): KeyValue[] {
  return [
    { key: 'TargetName', value: target.name },
    ...discovery.addresses(target).map((value) => ({ key: 'TargetAddress', value })),
  ];
}
