// What the asker may do, as `kubectl auth can-i` asks it (authorization.k8s.io/v1): answered by the same rules that a request
// itself is judged by, and kept nowhere.
import type { Access, Identity } from './access.ts';
import { ApiError } from './errors.ts';
import { ALL_VERBS, type KindDefinition, type Verb, verbsOf } from './kind.ts';
import { isObject } from './structure.ts';

const GROUP_VERSION = 'authorization.k8s.io/v1';

interface Attributes {
  readonly verb?: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
}

interface Answer {
  readonly allowed: boolean;
  readonly reason: string;
}

/** A SelfSubjectAccessReview with its status. */
export function reviewAccess(
  body: unknown,
  kinds: readonly KindDefinition[],
  access: Access | null,
  identity: Identity | null,
): object {
  const spec = isObject(body) && isObject(body['spec']) ? body['spec'] : {};
  const attributes = spec['resourceAttributes'];
  if (!isObject(attributes) && !isObject(spec['nonResourceAttributes'])) {
    const message = 'spec.resourceAttributes: is required, or spec.nonResourceAttributes';
    throw new ApiError('BadRequest', message);
  }
  const { allowed, reason } = isObject(attributes)
    ? judge(textsOf(attributes), kinds, access, identity)
    : // What is beside the objects (/version, /metrics, /livez) is for all who get in.
      { allowed: true, reason: '' };
  return {
    kind: 'SelfSubjectAccessReview',
    apiVersion: GROUP_VERSION,
    metadata: {},
    spec,
    status: { allowed, ...(reason === '' ? {} : { reason }) },
  };
}

/** Who asks (authentication.k8s.io/v1, `kubectl auth whoami`): the account's name, and its role as its group. */
export function reviewSelf(identity: Identity | null): object {
  const { name, role } = identity ?? { name: 'anybody on loopback', role: 'admin' };
  return {
    kind: 'SelfSubjectReview',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: {},
    status: { userInfo: { username: name, groups: [`ashlar:${role}`] } },
  };
}

/** A SelfSubjectRulesReview with its status: a rule for each group. */
export function reviewRules(
  kinds: readonly KindDefinition[],
  access: Access | null,
  identity: Identity | null,
): object {
  const resourceRules: object[] = [];
  for (const kind of kinds) {
    const verbs = verbsOf(kind).filter((verb) => refusal(verb, kind, access, identity) === '');
    if (verbs.length === 0) continue;
    resourceRules.push({ verbs, apiGroups: [kind.group], resources: [kind.plural] });
  }
  return {
    kind: 'SelfSubjectRulesReview',
    apiVersion: GROUP_VERSION,
    metadata: {},
    spec: {},
    status: {
      resourceRules,
      nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['*'] }],
      incomplete: false,
    },
  };
}

function judge(
  { verb = '', group = '', resource = '', subresource = '' }: Attributes,
  kinds: readonly KindDefinition[],
  access: Access | null,
  identity: Identity | null,
): Answer {
  const meant = kinds.filter(
    (kind) =>
      (group === '*' || kind.group === group) && (resource === '*' || kind.plural === resource),
  );
  if (meant.length === 0) return { allowed: false, reason: `there are no ${resource}` };
  // All that is asked for, or none: `*` stands for everything.
  for (const kind of meant) {
    const verbs = verb === '*' ? verbsOf(kind) : ALL_VERBS.filter((known) => known === verb);
    if (verbs.length === 0) return { allowed: false, reason: `there is no verb ${verb}` };
    for (const one of verbs) {
      const why = refusal(one, kind, access, identity, subresource);
      if (why !== '') return { allowed: false, reason: why };
    }
  }
  return { allowed: true, reason: identity === null ? '' : `role ${identity.role}` };
}

function refusal(
  verb: Verb,
  kind: KindDefinition,
  access: Access | null,
  identity: Identity | null,
  subresource = '',
): string {
  const isAction = Object.hasOwn(kind.actions ?? {}, subresource);
  if (!isAction && !verbsOf(kind).includes(verb)) return `${kind.plural} are only read`;
  try {
    access?.assertAllowed(identity, verb, kind, subresource === '' ? null : subresource);
    return '';
  } catch (error) {
    if (!(error instanceof ApiError) || error.reason !== 'Forbidden') throw error;
    return error.message;
  }
}

function textsOf(attributes: Record<string, unknown>): Attributes {
  return Object.fromEntries(
    Object.entries(attributes).filter(([, value]) => typeof value === 'string'),
  );
}
