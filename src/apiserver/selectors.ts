// Label and field selectors, as Kubernetes' list calls take them: `app=db,tier!=test,disk in (a, b),!old`.
import { isLabelKey, isLabelValue } from './decode.ts';
import { ApiError, clip } from './errors.ts';
import type { KubeObject } from './meta.ts';

export type Matcher = (object: KubeObject) => boolean;

const SET = /^([^\s!=,()<>]+)\s+(in|notin)\s*\(([^()]*)\)$/;
const EQUAL = /^([^\s!=,()<>]+)\s*(==|=|!=)\s*([^\s!=,()<>]*)$/;
const ORDER = /^([^\s!=,()<>]+)\s*([<>])\s*(-?\d{1,15})$/;
const EXISTS = /^(!?)\s*([^\s!=,()<>]+)$/;
const MAX_SELECTOR_CHARACTERS = 4096;

/** Throws a BadRequest for what is no selector. */
export function labelMatcher(selector: string): Matcher {
  assertLength(selector);
  const terms = splitOutsideParentheses(selector).map(labelTerm);
  return (object) => terms.every((term) => term(object));
}

/** `fields`: what can be selected by, beside metadata.name and metadata.namespace. */
export function fieldMatcher(
  selector: string,
  fields: Readonly<Record<string, (object: KubeObject) => string>>,
): Matcher {
  assertLength(selector);
  const terms = selector
    .split(',')
    .filter((term) => term.trim() !== '')
    .map((term): Matcher => {
      const [, field = '', operator, value] =
        /^([\w.\-/]+)\s*(==|=|!=)\s*(.*)$/.exec(term.trim()) ?? [];
      const read = fieldReader(field, fields);
      if (read === null) {
        const known = ['metadata.name', 'metadata.namespace', ...Object.keys(fields)];
        throw new ApiError(
          'BadRequest',
          `field selector '${clip(term)}': field label not supported; known here: ${known.join(', ')}`,
        );
      }
      return (object) => (read(object) === value) === (operator !== '!=');
    });
  return (object) => terms.every((term) => term(object));
}

function fieldReader(
  field: string,
  fields: Readonly<Record<string, (object: KubeObject) => string>>,
): ((object: KubeObject) => string) | null {
  if (field === 'metadata.name') return ({ metadata }) => metadata.name;
  if (field === 'metadata.namespace') return ({ metadata }) => metadata.namespace ?? '';
  return Object.hasOwn(fields, field) ? (fields[field] ?? null) : null;
}

/** Its own labels only: `constructor` is nobody's. */
function labelOf({ metadata: { labels } }: KubeObject, key: string): string | undefined {
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function labelTerm(term: string): Matcher {
  const set = SET.exec(term);
  if (set !== null) {
    const [, key = '', operator, list = ''] = set;
    const values = list.split(',').map((value) => value.trim());
    assertLabels(term, key, ...values);
    const wanted = new Set(values);
    return (object) => {
      const value = labelOf(object, key);
      const listed = value !== undefined && wanted.has(value);
      return operator === 'in' ? listed : !listed;
    };
  }
  const equal = EQUAL.exec(term);
  if (equal !== null) {
    const [, key = '', operator, value = ''] = equal;
    assertLabels(term, key, value);
    return (object) => (labelOf(object, key) === value) === (operator !== '!=');
  }
  const order = ORDER.exec(term);
  if (order !== null) {
    const [, key = '', operator, bound] = order;
    assertLabels(term, key);
    return (object) => {
      const value = labelOf(object, key) ?? '';
      if (!/^-?\d+$/.test(value)) return false;
      return operator === '>' ? Number(value) > Number(bound) : Number(value) < Number(bound);
    };
  }
  const exists = EXISTS.exec(term);
  if (exists === null) throw noSelector(term);
  const [, not, key = ''] = exists;
  assertLabels(term, key);
  return (object) => (labelOf(object, key) !== undefined) === (not === '');
}

/** What can be nobody's label is a slip of the pen, and not a selector of nothing. */
function assertLabels(term: string, key: string, ...values: readonly string[]): void {
  if (!isLabelKey(key) || !values.every(isLabelValue)) throw noSelector(term);
}

function noSelector(term: string): ApiError {
  return new ApiError(
    'BadRequest',
    `unable to parse requirement: '${clip(term)}' is not a label selector; write it like app=db`,
  );
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

function assertLength(selector: string): void {
  if (selector.length > MAX_SELECTOR_CHARACTERS) {
    throw new ApiError(
      'BadRequest',
      `a selector has at most ${MAX_SELECTOR_CHARACTERS} characters`,
    );
  }
}
