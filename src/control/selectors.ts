// Label and field selectors, as Kubernetes' list calls take them: `app=db,tier!=test,disk in (a, b),!old`.
import { ApiError } from './errors.ts';

interface Labelled {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}

type Matcher = (object: Labelled) => boolean;

const SET = /^([^\s!=,]+)\s+(in|notin)\s+\(([^()]*)\)$/;
const EQUAL = /^([^\s!=,]+)\s*(=|==|!=)\s*([^\s!=,]*)$/;
const EXISTS = /^(!?)\s*([^\s!=,()]+)$/;

/** Throws a BadRequest for what is no selector. */
export function labelMatcher(selector: string): Matcher {
  const terms = splitOutsideParentheses(selector).map(labelTerm);
  return (object) => terms.every((term) => term(object));
}

/** `metadata.name=NAME` is the one field that can be selected by. */
export function fieldMatcher(selector: string): Matcher {
  const terms = selector
    .split(',')
    .filter((term) => term.trim() !== '')
    .map((term): Matcher => {
      const [, field, operator, value] = EQUAL.exec(term.trim()) ?? [];
      if (field !== 'metadata.name') {
        throw new ApiError('BadRequest', `field selector '${term}': only metadata.name is known`);
      }
      return (object) => (object.metadata.name === value) === (operator !== '!=');
    });
  return (object) => terms.every((term) => term(object));
}

/** Its own labels only: `constructor` is nobody's. */
function labelOf(metadata: Labelled['metadata'], key: string): string | undefined {
  const { labels } = metadata;
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function labelTerm(term: string): Matcher {
  const set = SET.exec(term);
  if (set !== null) {
    const [, key = '', operator, list = ''] = set;
    const values = new Set(list.split(',').map((value) => value.trim()));
    return ({ metadata }) => {
      const value = labelOf(metadata, key);
      const listed = value !== undefined && values.has(value);
      return operator === 'in' ? listed : !listed;
    };
  }
  const equal = EQUAL.exec(term);
  if (equal !== null) {
    const [, key = '', operator, value] = equal;
    return ({ metadata }) => (labelOf(metadata, key) === value) === (operator !== '!=');
  }
  const exists = EXISTS.exec(term);
  if (exists !== null) {
    const [, not, key = ''] = exists;
    return ({ metadata }) => (labelOf(metadata, key) !== undefined) === (not === '');
  }
  throw new ApiError('BadRequest', `'${term}' is not a label selector; write it like app=db`);
}

function splitOutsideParentheses(selector: string): string[] {
  const terms: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at <= selector.length; at += 1) {
    const character = selector[at];
    if (character === '(') depth += 1;
    if (character === ')') depth -= 1;
    if (character === undefined || (character === ',' && depth === 0)) {
      terms.push(selector.slice(start, at).trim());
      start = at + 1;
    }
  }
  return terms.filter((term) => term !== '');
}
