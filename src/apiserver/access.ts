// Who may do what: bearer tokens, each with a role. `read` sees everything but what is secret; `operate` also makes,
// changes and deletes; `admin` also reads and changes secrets. Tokens are compared by their SHA-256, in constant time.
import { createHash, timingSafeEqual } from 'node:crypto';
import { ApiError, qualifiedPlural } from './errors.ts';
import type { KindDefinition, Verb } from './kind.ts';

export const ROLES = ['read', 'operate', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface Account {
  readonly name: string;
  readonly role: Role;
  readonly token: string;
}

export interface Identity {
  readonly name: string;
  readonly role: Role;
}

export interface Access {
  /** Whose request it is. Throws Unauthorized. */
  identify(authorization: string | undefined): Identity;
  /** Null: nobody has this token. */
  ofToken(token: string): Identity | null;
  /** Null: nobody is called so. */
  ofName(name: string): Identity | null;
  /** Throws Forbidden. */
  assertAllowed(
    identity: Identity | null,
    verb: Verb | 'connect',
    kind: KindDefinition,
    subresource: string | null,
  ): void;
}

/** A token that can be guessed is none. */
export const MIN_TOKEN_CHARACTERS = 16;

export class TokenAccess implements Access {
  readonly #accounts: readonly { identity: Identity; digest: Buffer }[];

  constructor(accounts: readonly Account[]) {
    this.#accounts = accounts.map(({ name, role, token }) => ({
      identity: { name, role },
      digest: digestOf(token),
    }));
  }

  identify(authorization: string | undefined): Identity {
    const token = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (token === undefined) {
      throw new ApiError(
        'Unauthorized',
        'Unauthorized: send a token (Authorization: Bearer TOKEN)',
      );
    }
    const found = this.ofToken(token);
    if (found === null) throw new ApiError('Unauthorized', 'Unauthorized: nobody has this token');
    return found;
  }

  ofToken(token: string): Identity | null {
    const digest = digestOf(token);
    let found: Identity | null = null;
    // All of them, always: how long it takes says nothing.
    for (const account of this.#accounts) {
      if (timingSafeEqual(account.digest, digest)) found = account.identity;
    }
    return found;
  }

  ofName(name: string): Identity | null {
    return this.#accounts.find(({ identity }) => identity.name === name)?.identity ?? null;
  }

  assertAllowed(
    identity: Identity | null,
    verb: Verb | 'connect',
    kind: KindDefinition,
    subresource: string | null,
  ): void {
    if (identity === null) throw new ApiError('Unauthorized', 'Unauthorized');
    const reads = verb === 'get' || verb === 'list' || verb === 'watch';
    const wanted: Role = kind.secret === true ? 'admin' : reads ? 'read' : 'operate';
    if (ROLES.indexOf(identity.role) >= ROLES.indexOf(wanted)) return;
    const what = `${qualifiedPlural(kind)}${subresource === null ? '' : `/${subresource}`}`;
    throw new ApiError(
      'Forbidden',
      `${what} is forbidden: "${identity.name}" has the role ${identity.role}, and to ${verb} it takes ${wanted}`,
      { group: kind.group, kind: kind.plural },
    );
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
