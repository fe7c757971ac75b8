// What somebody may do, as `kubectl auth can-i` asks it: answered by the same rules that a request itself is judged by.
import type { Identity } from './access.ts';
import { ApiError } from './errors.ts';
import { ALL_VERBS, type KindDefinition, type ReviewContext, type Verb, verbsOf } from './kind.ts';

export interface Attributes {
  readonly verb?: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
}

interface Answer {
  readonly allowed: boolean;
  readonly reason?: string;
}

/** The status of an access review. `attributes` null: of what is beside the objects (/version, /metrics, /livez). */
export function accessStatus(
  attributes: Attributes | null,
  context: ReviewContext,
  identity: Identity | null,
): Answer {
  // That is for all who get in.
  if (attributes === null) return { allowed: true };
  const { verb = '', group = '', resource = '', subresource = '' } = attributes;
  const meant = context.kinds.filter(
    (kind) =>
      (group === '*' || kind.group === group) && (resource === '*' || kind.plural === resource),
  );
  if (meant.length === 0) return { allowed: false, reason: `there are no ${resource}` };
  // All that is asked for, or none: `*` stands for everything that there is.
  const isKnown = verb === '*' || ALL_VERBS.some((known) => known === verb);
  if (!isKnown) return { allowed: false, reason: `there is no verb ${verb}` };
  for (const kind of meant) {
    const has = verbsOf(kind).filter((one) => verb === '*' || one === verb);
    const verbs = resource === '*' || verb === '*' ? has : [verb as Verb];
    for (const one of verbs) {
      const why = refusal(one, kind, context, identity, subresource);
      if (why !== '') return { allowed: false, reason: why };
    }
  }
  return identity === null ? { allowed: true } : { allowed: true, reason: `role ${identity.role}` };
}

/** The status of a SelfSubjectRulesReview: a rule for each kind. */
export function rulesStatus(context: ReviewContext): object {
  const resourceRules: object[] = [];
  for (const kind of context.kinds) {
    const verbs = verbsOf(kind).filter(
      (verb) => refusal(verb, kind, context, context.identity) === '',
    );
    if (verbs.length === 0) continue;
    resourceRules.push({ verbs, apiGroups: [kind.group], resources: [kind.plural] });
  }
  return {
    resourceRules,
    nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['*'] }],
    incomplete: false,
  };
}

function refusal(
  verb: Verb,
  kind: KindDefinition,
  { access }: ReviewContext,
  identity: Identity | null,
  subresource = '',
): string {
  const isAction = Object.hasOwn(kind.actions ?? {}, subresource);
  if (!isAction && !verbsOf(kind).includes(verb)) {
    return kind.review === undefined
      ? `${kind.plural} are only read`
      : `${kind.plural} are only created`;
  }
  if (isOfSelf(kind)) return '';
  try {
    access?.assertAllowed(identity, verb, kind, subresource === '' ? null : subresource);
    return '';
  } catch (error) {
    if (!(error instanceof ApiError) || error.reason !== 'Forbidden') throw error;
    return error.message;
  }
}

/** Everybody who gets in may ask about himself. */
export function isOfSelf(kind: KindDefinition): boolean {
  return kind.review !== undefined && kind.secret !== true;
}
