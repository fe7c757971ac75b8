// How many files this process may have open. Each session, login and peer is one: short of them hosts are not let in, without
// a word in any log, so it is said at the start.
import { readFileSync } from 'node:fs';
import type { Config } from './config/index.ts';

/** Pools, the API, the object store, Node's own. */
const OTHERS = 200;

/** `limits`: /proc/self/limits. Null: it does not say. Node raises the soft limit to the hard one. */
export function openFilesLimit(limits: string): number | null {
  const [, , hard] = /^Max open files +(\S+) +(\S+)/m.exec(limits) ?? [];
  if (hard === undefined) return null;
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}

/** What to tell the operator, or null: there are enough. */
export function fewOpenFiles(config: Config, limits = ownLimits()): string | null {
  const limit = openFilesLimit(limits);
  const { maxSessions, maxLogins } = config.iscsi;
  const wanted = maxSessions + maxLogins + config.replication.maxConnections + OTHERS;
  if (limit === null || limit >= wanted) return null;
  return (
    `at most ${limit} files may be open here, and ${maxSessions} sessions with ${maxLogins} logins may want ${wanted}: ` +
    'hosts beyond that are not let in. LimitNOFILE= in the unit, or ulimit -n; or a smaller iscsi.maxSessions'
  );
}

function ownLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}
