// Who opens a pool. The engine keeps it on the labels, and refuses a pool that another machine used last and did not export.
import { createHash } from 'node:crypto';
import { readFileSync, statfsSync } from 'node:fs';
import { hostname } from 'node:os';
import { StoreError } from './types.ts';
import { uuidText } from './uuid.ts';

export interface PoolOwner {
  /** Lower-case UUID, the same at each opening on this machine. */
  readonly id: string;
  /** For people. */
  readonly name: string;
  /** By what it was known before: labels that say so are its own. */
  readonly formerId?: string;
}

/** Of a label: who used the pool last. */
export interface LastOwner {
  readonly id: string;
  readonly name: string;
  readonly since: Date;
}

/** statfs(2). */
const TMPFS_MAGIC = 0x01021994;

/**
 * This machine by its machine-id, which outlives its name, its addresses and a reboot. Null where it has none that is fit
 * for it: a container made anew would be a stranger to its own pool, and so would a machine with a root that is read-only,
 * at each boot (systemd lays an id of this boot alone over the file then, from a tmpfs).
 */
export function thisMachine(
  path = '/etc/machine-id',
  isOfThisBoot: (path: string) => boolean = isOnTmpfs,
): PoolOwner | null {
  let text = '';
  try {
    text = readFileSync(path, 'latin1').trim();
    if (isOfThisBoot(path)) return null;
  } catch {
    return null;
  }
  if (!/^[0-9a-f]{32}$/.test(text) || /^0+$/.test(text)) return null;
  return { id: hashed(`machine ${text}`), name: hostname() };
}

function isOnTmpfs(path: string): boolean {
  return statfsSync(path).type === TMPFS_MAGIC;
}

/**
 * A node of a cluster, where its name is what it is known by: its machine-id may be a container's. Two clusters may call
 * their nodes alike; labels of before that was told apart name the node alone.
 */
export function thisNode(nodeName: string, clusterId: string): PoolOwner {
  const formerId = hashed(`node ${nodeName}`);
  return { id: hashed(`node ${nodeName} of ${clusterId}`), name: nodeName, formerId };
}

/** A machine that has no machine-id of its own, by an id that was made for it and kept. */
export function keptMachine(id: string, name: string): PoolOwner {
  return { id: hashed(`kept ${id}`), name };
}

/** What its operator calls it. `machine`: what it is without that. */
export function namedOwner(name: string, machine: PoolOwner | null): PoolOwner {
  return {
    id: hashed(`named ${name}`),
    name,
    ...(machine !== null && { formerId: machine.id }),
  };
}

/** machine-id(5): it is not to be told to others as it is. */
function hashed(text: string): string {
  return uuidText(
    createHash('sha256').update(`ashlar pool owner: ${text}`).digest().subarray(0, 16),
  );
}

/** Words for what is known of a pool that was not exported. `others`: whom some of its devices name instead. */
export function lastUseOf(owner: LastOwner | undefined, others: readonly LastOwner[] = []): string {
  const known = [owner, ...others].filter((one) => one !== undefined);
  const [first, ...more] = known.map(
    ({ name, since }) =>
      `${name === '' ? 'another machine' : name} has had it since ${since.toISOString().replace('T', ' ').slice(0, 19)} UTC`,
  );
  if (first === undefined) return 'another machine may have it open';
  if (more.length === 0) return `${first}, and may have it open`;
  return `its devices disagree: ${first}${owner === undefined ? '' : ' by the newest label'}, ${more.join(', ')} by others; each may have it open`;
}

/** What `opening` ends with; where the pool is another machine's, what can be done about it is said as well. */
export async function withOwnerAdvice<T>(opening: Promise<T>, advice: string): Promise<T> {
  try {
    return await opening;
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'STORE_OWNED') throw error;
    throw new StoreError(error.code, `${error.message}. ${advice}`, { cause: error });
  }
}
