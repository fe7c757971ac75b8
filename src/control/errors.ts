// Errors of the control room: the API's own, for the kinds of group ashlar.io.
import {
  type ApiError,
  invalid as invalidOf,
  notFound as notFoundOf,
  type StatusCause,
} from '../apiserver/index.ts';

export { ApiError, type Status, type StatusCause, type StatusReason } from '../apiserver/index.ts';

const GROUP = 'ashlar.io';

/** A manifest with something wrong in it: every cause at once, so that it is mended in one go. */
export function invalid(kind: string, name: string, causes: readonly StatusCause[]): ApiError {
  return invalidOf({ group: GROUP, kind, plural: `${kind.toLowerCase()}s` }, name, causes);
}

export function notFound(plural: string, name: string): ApiError {
  return notFoundOf({ group: GROUP, kind: '', plural }, name);
}
