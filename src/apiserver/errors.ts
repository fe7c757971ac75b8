// What the API answers when it cannot do what was asked: a v1 Status, as Kubernetes' API server sends it, with a reason
// for programs, and causes that name the field for people.

export type StatusReason =
  | 'BadRequest'
  | 'Unauthorized'
  | 'Forbidden'
  | 'NotFound'
  | 'MethodNotAllowed'
  | 'NotAcceptable'
  | 'AlreadyExists'
  | 'Conflict'
  | 'Expired'
  | 'RequestEntityTooLarge'
  | 'UnsupportedMediaType'
  | 'Invalid'
  | 'TooManyRequests'
  | 'InternalError'
  | 'ServiceUnavailable'
  | 'Timeout'
  | 'InsufficientStorage';

const CODES: Readonly<Record<StatusReason, number>> = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  AlreadyExists: 409,
  Conflict: 409,
  Expired: 410,
  RequestEntityTooLarge: 413,
  UnsupportedMediaType: 415,
  Invalid: 422,
  TooManyRequests: 429,
  InternalError: 500,
  ServiceUnavailable: 503,
  Timeout: 504,
  InsufficientStorage: 507,
};

/** One thing that is wrong, with its place: `spec.size`. */
export interface StatusCause {
  readonly reason:
    | 'FieldValueInvalid'
    | 'FieldValueRequired'
    | 'FieldValueNotSupported'
    | 'FieldValueForbidden'
    | 'FieldValueDuplicate'
    | 'FieldValueNotFound'
    | 'FieldValueTypeInvalid'
    | 'FieldManagerConflict'
    | 'ResourceVersionTooLarge'
    | 'Busy';
  readonly message: string;
  readonly field: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
}

export interface Status {
  readonly apiVersion: 'v1';
  readonly kind: 'Status';
  readonly metadata: object;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: StatusReason;
  readonly details?: StatusDetails;
  readonly code: number;
}

/** Thrown by the control plane, translated to a Status where HTTP begins. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly reason: StatusReason;
  readonly details: StatusDetails;

  constructor(
    reason: StatusReason,
    message: string,
    details: StatusDetails = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.reason = reason;
    this.details = details;
  }

  get code(): number {
    return CODES[this.reason];
  }

  toStatus(): Status {
    return {
      apiVersion: 'v1',
      kind: 'Status',
      metadata: {},
      status: 'Failure',
      message: this.message,
      reason: this.reason,
      details: this.details,
      code: this.code,
    };
  }
}

/** What errors need to know of a kind. */
export interface KindName {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
}

/** As kubectl writes it: `volumes.ashlar.io`, `persistentvolumeclaims`. */
export function qualifiedPlural({ group, plural }: KindName): string {
  return group === '' ? plural : `${plural}.${group}`;
}

/** A manifest with something wrong in it: every cause at once, so that it is mended in one go. */
export function invalid(kind: KindName, name: string, causes: readonly StatusCause[]): ApiError {
  const what = causes.map((cause) => `${cause.field}: ${cause.message}`).join('; ');
  const subject = name === '' ? kind.kind : `${kind.kind} "${clip(name)}"`;
  return new ApiError('Invalid', `${subject} is invalid: ${what}`, {
    name,
    group: kind.group,
    kind: kind.kind,
    causes,
  });
}

export function notFound(kind: KindName, name: string): ApiError {
  return new ApiError(
    'NotFound',
    `${qualifiedPlural(kind)} "${clip(name)}" not found`,
    resourceDetails(kind, name),
  );
}

export function alreadyExists(kind: KindName, name: string): ApiError {
  return new ApiError(
    'AlreadyExists',
    `${qualifiedPlural(kind)} "${clip(name)}" already exists`,
    resourceDetails(kind, name),
  );
}

/** Somebody was faster. kubectl and controllers read again and try again. */
export function conflict(kind: KindName, name: string, why: string): ApiError {
  return new ApiError(
    'Conflict',
    `Operation cannot be fulfilled on ${qualifiedPlural(kind)} "${clip(name)}": ${why}`,
    resourceDetails(kind, name),
  );
}

export const MODIFIED =
  'the object has been modified; please apply your changes to the latest version and try again';

export function resourceDetails(kind: KindName, name: string): StatusDetails {
  return { name, group: kind.group, kind: kind.plural };
}

export function clip(text: string): string {
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
