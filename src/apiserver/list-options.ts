// How new a list or a watch must be, and with what a watch begins: resourceVersion, resourceVersionMatch and
// sendInitialEvents of a query, with the rules that Kubernetes' API concepts give for them together.
import type { ListRequest, WatchRequest } from './client.ts';
import { ApiError, clip, type StatusCause } from './errors.ts';
import { flag, type Query } from './request.ts';

const MATCHES = ['Exact', 'NotOlderThan'] as const;
type Match = (typeof MATCHES)[number];

export function listVersion(
  query: Query,
): Pick<ListRequest, 'resourceVersion' | 'resourceVersionMatch'> {
  const resourceVersion = versionIn(query);
  const match = matchIn(query);
  const isFirst = (query.get('continue') ?? '') === '';
  if (query.has('sendInitialEvents')) refuse('sendInitialEvents', 'is forbidden for list');
  if (!isFirst && match !== null) refuse('resourceVersionMatch', 'is forbidden with continue');
  if (!isFirst && resourceVersion !== '' && resourceVersion !== '0') {
    const message = 'specifying resource version is not allowed when using continue';
    throw new ApiError('BadRequest', message);
  }
  if (match !== null && resourceVersion === '') {
    refuse('resourceVersionMatch', 'is forbidden unless resourceVersion is provided');
  }
  if (match === 'Exact' && resourceVersion === '0') {
    refuse('resourceVersionMatch', 'Exact is forbidden for resourceVersion "0"');
  }
  return {
    ...(resourceVersion === '' || !isFirst ? {} : { resourceVersion }),
    ...(match === null ? {} : { resourceVersionMatch: match }),
  };
}

export function watchVersion(
  query: Query,
): Pick<WatchRequest, 'resourceVersion' | 'initialEvents'> {
  const resourceVersion = versionIn(query);
  const match = matchIn(query);
  if (!query.has('sendInitialEvents')) {
    if (match !== null) {
      const why = 'is forbidden for watch unless sendInitialEvents is provided';
      refuse('resourceVersionMatch', why);
    }
    return { resourceVersion };
  }
  const initialEvents = flag(query, 'sendInitialEvents');
  if (match !== 'NotOlderThan') {
    refuse('resourceVersionMatch', 'must be NotOlderThan where sendInitialEvents is provided');
  }
  return { resourceVersion, initialEvents };
}

function versionIn(query: Query): string {
  const value = query.get('resourceVersion') ?? '';
  if (/^\d{0,15}$/.test(value)) return value;
  throw new ApiError('BadRequest', `invalid resource version: '${clip(value)}' is not one`);
}

function matchIn(query: Query): Match | null {
  const value = query.get('resourceVersionMatch') ?? '';
  if (value === '') return null;
  const match = MATCHES.find((known) => known === value);
  if (match !== undefined) return match;
  const why = `Unsupported value: "${clip(value)}": supported values: ${MATCHES.join(', ')}`;
  return refuse('resourceVersionMatch', why, 'FieldValueNotSupported');
}

function refuse(
  field: string,
  message: string,
  reason: StatusCause['reason'] = 'FieldValueForbidden',
): never {
  throw new ApiError('Invalid', `ListOptions.meta.k8s.io "" is invalid: ${field}: ${message}`, {
    group: 'meta.k8s.io',
    kind: 'ListOptions',
    causes: [{ reason, field, message }],
  });
}
