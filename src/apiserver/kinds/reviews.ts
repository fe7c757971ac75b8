// The questions that clients ask of who they are and what they may do (`kubectl auth can-i`, `kubectl auth whoami`): a
// review is sent, answered in its status, and kept nowhere.
import { type Static, Type } from 'typebox';
import type { Identity } from '../access.ts';
import type { KindDefinition, ReviewContext } from '../kind.ts';
import type { KubeObject } from '../meta.ts';
import { type Attributes, accessStatus, rulesStatus } from '../self-review.ts';
import { text } from './core.ts';

const closed = { additionalProperties: false } as const;
const texts = (description: string) =>
  Type.Optional(Type.Array(Type.String({ maxLength: 1024 }), { description, maxItems: 256 }));
const selector = (description: string) => Type.Optional(Type.Unknown({ description }));

const attributes = {
  resourceAttributes: Type.Optional(
    Type.Object(
      {
        namespace: text('Where; empty: in all.'),
        verb: text('get, list, watch, create, update, patch, delete, or * for all.'),
        group: text('As ashlar.io; empty: the core one; * for all.'),
        version: text('Of the group.'),
        resource: text('As volumes; * for all.'),
        subresource: text('As status.'),
        name: text('Which one; empty: all.'),
        fieldSelector: selector('Which ones; judged as all.'),
        labelSelector: selector('Which ones; judged as all.'),
      },
      { ...closed, description: 'What would be done to objects.' },
    ),
  ),
  nonResourceAttributes: Type.Optional(
    Type.Object(
      { path: text('As /metrics.'), verb: text('As get.') },
      { ...closed, description: 'What would be done beside the objects.' },
    ),
  ),
};
const SelfSpec = Type.Object(attributes, { ...closed, description: 'What would be done.' });
const SubjectSpec = Type.Object(
  {
    ...attributes,
    user: text('Who would do it.'),
    groups: texts('What he belongs to; ashlar:read, ashlar:operate and ashlar:admin are roles.'),
    uid: text('Of the user; not looked at.'),
    extra: Type.Optional(Type.Unknown({ description: 'More of the user; not looked at.' })),
  },
  { ...closed, description: 'What would be done, and by whom.' },
);
const RulesSpec = Type.Object(
  { namespace: text('Where.') },
  { ...closed, description: 'Where it would be done.' },
);
const TokenSpec = Type.Object(
  { token: text('The token.', 8192), audiences: texts('Whom it is for.') },
  { ...closed, description: 'Which token is asked about.' },
);
const status = Type.Optional(Type.Unknown({ description: 'The answer.' }));

interface AccessReview extends KubeObject {
  spec: Static<typeof SelfSpec>;
}
interface SubjectReview extends KubeObject {
  spec: Static<typeof SubjectSpec>;
}
interface TokenReview extends KubeObject {
  spec: Static<typeof TokenSpec>;
}

const review = { verbs: ['create'], columns: [] } as const;
const AUTHORIZATION = { ...review, group: 'authorization.k8s.io', version: 'v1' } as const;
const AUTHENTICATION = { ...review, group: 'authentication.k8s.io', version: 'v1' } as const;

const ACCESS: KindDefinition<AccessReview> = {
  ...AUTHORIZATION,
  kind: 'SelfSubjectAccessReview',
  plural: 'selfsubjectaccessreviews',
  namespaced: false,
  schemaName: 'io.k8s.api.authorization.v1.SelfSubjectAccessReview',
  description: 'Asks whether the asker may do something.',
  fields: { spec: SelfSpec, status },
  required: ['spec'],
  validate: hasAttributes,
  review: ({ spec }, context) => accessStatus(attributesOf(spec), context, context.identity),
};

const RULES: KindDefinition = {
  ...AUTHORIZATION,
  kind: 'SelfSubjectRulesReview',
  plural: 'selfsubjectrulesreviews',
  namespaced: false,
  schemaName: 'io.k8s.api.authorization.v1.SelfSubjectRulesReview',
  description: 'Asks for all that the asker may do.',
  fields: { spec: RulesSpec, status },
  review: (_review, context) => rulesStatus(context),
};

function ofSubject(
  kind: string,
  plural: string,
  namespaced: boolean,
): KindDefinition<SubjectReview> {
  return {
    ...AUTHORIZATION,
    kind,
    plural,
    namespaced,
    secret: true,
    schemaName: `io.k8s.api.authorization.v1.${kind}`,
    description: 'Asks whether somebody may do something.',
    fields: { spec: SubjectSpec, status },
    required: ['spec'],
    validate: hasAttributes,
    review: ({ spec }, context) => {
      const subject = subjectOf(spec, context);
      if (subject !== null || context.access === null) {
        return accessStatus(attributesOf(spec), context, subject);
      }
      return { allowed: false, reason: 'nobody has that name, and no group is a role' };
    },
  };
}

const TOKENS: KindDefinition<TokenReview> = {
  ...AUTHENTICATION,
  kind: 'TokenReview',
  plural: 'tokenreviews',
  namespaced: false,
  secret: true,
  schemaName: 'io.k8s.api.authentication.v1.TokenReview',
  description: 'Asks whose token it is.',
  fields: { spec: TokenSpec, status },
  required: ['spec'],
  review: ({ spec: { token = '' } }, { access }) => {
    const identity = access?.ofToken(token) ?? null;
    if (identity !== null) return { authenticated: true, user: userOf(identity) };
    const error = access === null ? 'this API takes no tokens' : 'nobody has this token';
    return { authenticated: false, user: {}, error };
  },
  // It is not sent back.
  present: (object) => ({ ...object, spec: {} }),
};

const SELF: KindDefinition = {
  ...AUTHENTICATION,
  alsoVersions: ['v1beta1', 'v1alpha1'],
  kind: 'SelfSubjectReview',
  plural: 'selfsubjectreviews',
  namespaced: false,
  schemaName: 'io.k8s.api.authentication.v1.SelfSubjectReview',
  description: 'Asks who the asker is.',
  fields: { status },
  review: (_review, { identity }) => ({
    userInfo: userOf(identity ?? { name: 'anybody on loopback', role: 'admin' }),
  }),
};

export const REVIEWS: readonly KindDefinition[] = [
  ACCESS as unknown as KindDefinition,
  RULES,
  ofSubject('SubjectAccessReview', 'subjectaccessreviews', false) as unknown as KindDefinition,
  ofSubject(
    'LocalSubjectAccessReview',
    'localsubjectaccessreviews',
    true,
  ) as unknown as KindDefinition,
  TOKENS as unknown as KindDefinition,
  SELF,
];

function hasAttributes({ spec }: AccessReview) {
  const given = [spec.resourceAttributes, spec.nonResourceAttributes].filter(Boolean).length;
  if (given === 1) return [];
  return [
    {
      reason: given === 0 ? ('FieldValueRequired' as const) : ('FieldValueInvalid' as const),
      field: 'spec.resourceAttributes',
      message: 'exactly one of resourceAttributes and nonResourceAttributes is to be given',
    },
  ];
}

/** Null: what is beside the objects. */
function attributesOf(spec: Static<typeof SelfSpec>): Attributes | null {
  return spec.resourceAttributes ?? null;
}

/** By the account's name, or by a group that is a role; null: it is nobody. */
function subjectOf(
  { user = '', groups = [] }: Static<typeof SubjectSpec>,
  { access }: ReviewContext,
): Identity | null {
  const account = access?.ofName(user) ?? null;
  if (account !== null) return account;
  for (const role of ['admin', 'operate', 'read'] as const) {
    if (groups.includes(`ashlar:${role}`)) return { name: user, role };
  }
  return null;
}

/** The account's role is its group. */
function userOf({ name, role }: Identity): object {
  return { username: name, uid: name, groups: [`ashlar:${role}`, 'system:authenticated'] };
}
