// A list out of a backend's pages: what matches, as it was at one moment however many pages the client reads it in.
// A token says where a page ended and of which version it was; where that is forgotten by the time it comes back, the
// answer carries another token, for the rest as it is now.
import { type Backend, type BackendPage, type Cursor, EVERYTHING } from './backend.ts';
import type { ListRequest } from './client.ts';
import { ApiError, type Status } from './errors.ts';
import type { KubeObject, ObjectList } from './meta.ts';
import { isAddressable } from './object-parts.ts';
import type { Matcher } from './selectors.ts';

export interface Listing<T extends KubeObject> {
  readonly backend: Backend;
  readonly header: { readonly apiVersion: string; readonly kind: string };
  /** Null: of all. */
  readonly namespace: string | null;
  readonly matches: Matcher;
  readonly present: (object: KubeObject) => T;
}

export async function listBackend<T extends KubeObject>(
  { backend, header, namespace, matches, present }: Listing<T>,
  request: ListRequest,
): Promise<ObjectList<T>> {
  const limit = request.limit !== undefined && request.limit > 0 ? request.limit : null;
  const isSelected = (request.labelSelector ?? '') + (request.fieldSelector ?? '') !== '';
  const token = request.continue === undefined ? null : readContinue(request.continue);
  let after = token?.after ?? null;
  let version = token === null ? exactVersion(request, limit) : token.version;
  const items: T[] = [];
  for (;;) {
    const page = await pageOf(backend, namespace, { limit, after, version }, token?.after ?? null);
    const { resourceVersion } = page;
    if (token === null) assertReached(request.resourceVersion ?? '', resourceVersion);
    for (const [index, object] of page.items.entries()) {
      if (matches(object)) items.push(present(object));
      const isLast = !page.more && index === page.items.length - 1;
      if (limit !== null && items.length >= limit && !isLast) {
        const left = isSelected || page.remaining === null ? null : page.remaining;
        const metadata = {
          resourceVersion,
          continue: writeContinue(object, resourceVersion),
          ...(left === null ? {} : { remainingItemCount: left + page.items.length - index - 1 }),
        };
        return { ...header, metadata, items };
      }
    }
    const last = page.items.at(-1);
    if (!page.more || last === undefined)
      return { ...header, metadata: { resourceVersion }, items };
    after = { namespace: last.metadata.namespace ?? null, name: last.metadata.name };
    version = resourceVersion;
  }
}

/** The version that a list must be of, where it must; a page of an unnamed match is of the very version it names. */
function exactVersion(request: ListRequest, limit: number | null): string | null {
  const { resourceVersion = '', resourceVersionMatch } = request;
  if (resourceVersion === '' || resourceVersion === '0') return null;
  const isExact =
    resourceVersionMatch === 'Exact' || (resourceVersionMatch === undefined && limit !== null);
  return isExact ? resourceVersion : null;
}

/** A client may have seen a newer version, from another server. */
export function assertReached(wanted: string, version: string): void {
  if (wanted === '' || Number(wanted) <= Number(version)) return;
  const message = 'Too large resource version';
  throw new ApiError('Timeout', `${message}: ${wanted}, current: ${version}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', field: '', message }],
    retryAfterSeconds: 1,
  });
}

async function pageOf(
  backend: Backend,
  namespace: string | null,
  request: { limit: number | null; after: Cursor | null; version: string | null },
  began: Cursor | null,
): Promise<BackendPage> {
  try {
    return await backend.list(namespace, request);
  } catch (error) {
    if (!(error instanceof ApiError) || error.reason !== 'Expired') throw error;
    if (began !== null) throw new ExpiredContinue(began);
    // From the future, it was not forgotten.
    const now = await backend.list(namespace, { ...EVERYTHING, limit: 1 });
    assertReached(request.version ?? '', now.resourceVersion);
    throw error;
  }
}

class ExpiredContinue extends ApiError {
  readonly #from: Cursor;

  constructor(from: Cursor) {
    super(
      'Expired',
      'the list that the continue token belongs to is forgotten: list anew without it, or go on with the token of this answer, for the rest as it is now',
    );
    this.#from = from;
  }

  override toStatus(): Status {
    return { ...super.toStatus(), metadata: { continue: tokenOf(this.#from, null) } };
  }
}

const TOKEN_FORMAT = 2;

function writeContinue({ metadata }: KubeObject, version: string): string {
  return tokenOf({ namespace: metadata.namespace ?? null, name: metadata.name }, version);
}

/** `version` null: of whatever there is when it comes back. */
function tokenOf({ namespace, name }: Cursor, version: string | null): string {
  return Buffer.from(JSON.stringify([TOKEN_FORMAT, namespace, name, version])).toString(
    'base64url',
  );
}

function readContinue(token: string): { after: Cursor; version: string | null } {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, 'base64url').toString());
    if (Array.isArray(parsed) && parsed[0] === TOKEN_FORMAT) {
      const [, namespace, name, version] = parsed as unknown[];
      const isRight =
        (namespace === null || (typeof namespace === 'string' && isAddressable(namespace))) &&
        typeof name === 'string' &&
        isAddressable(name) &&
        (version === null || (typeof version === 'string' && /^\d{1,15}$/.test(version)));
      if (isRight) return { after: { namespace, name }, version };
    }
  } catch {
    // Told below.
  }
  throw new ApiError(
    'BadRequest',
    'continue key is not valid: give back what the list before gave',
  );
}
