// Whose name this daemon leaves on the labels of its pools: what the configuration says; else the machine's, by its
// machine-id; else, where that does not last, by an id that is kept in the data folder.
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { keptMachine, namedOwner, type PoolOwner, thisMachine } from '../store/index.ts';
import type { Config } from './config/index.ts';

const FILE = 'machine-id';
/** statfs(2): in memory, or a container's own layer. What is written there is gone with the container. */
const SHORT_LIVED = new Set([0x01021994, 0x858458f6, 0x794c7630, 0x61756673]);

/** Null: nobody that could be known again. */
export function poolOwnerOf(
  { pool, dataDir }: Pick<Config, 'dataDir'> & { readonly pool: Pick<Config['pool'], 'owner'> },
  machine: PoolOwner | null = thisMachine(),
  lasts: (folder: string) => boolean = outlives,
): PoolOwner | null {
  if (pool.owner !== null) return namedOwner(pool.owner, machine);
  if (machine !== null) return withFormer(machine, readKept(join(dataDir, FILE)));
  if (!lasts(dataDir)) return null;
  const id = keptIn(dataDir);
  return id === null ? null : keptMachine(id, hostname());
}

/** What to tell whoever named an owner and runs nodes, or null: he named none. */
export function ownerUnheeded({
  pool,
}: {
  readonly pool: Pick<Config['pool'], 'owner'>;
}): string | null {
  if (pool.owner === null) return null;
  return (
    "pool.owner is for `ashlar serve` and `ashlar replica`; `ashlar node` takes no notice of it: a node's pools know it by " +
    'node.name and its cluster'
  );
}

/** A machine that has got a machine-id since is still the one that it was. */
function withFormer(machine: PoolOwner, kept: string | null): PoolOwner {
  return kept === null ? machine : { ...machine, formerId: keptMachine(kept, '').id };
}

/**
 * Whether the folder is still there when the container, or the boot, is not: it is on a file system of its own (a volume, a
 * disk), and that is not in memory. Of a folder in the root nobody knows how long the root lasts.
 */
function outlives(folder: string): boolean {
  try {
    return statSync(folder).dev !== statSync('/').dev && !SHORT_LIVED.has(statfsSync(folder).type);
  } catch {
    return false;
  }
}

function readKept(path: string): string | null {
  try {
    const text = readFileSync(path, 'latin1').trim();
    return /^[0-9a-f]{32}$/.test(text) ? text : null;
  } catch {
    return null;
  }
}

/** Made the first time. Null where none can be kept. Two that make it at once agree on one. */
export function keptIn(folder: string): string | null {
  const path = join(folder, FILE);
  const known = readKept(path);
  if (known !== null) return known;
  const fresh = `${path}.${process.pid}`;
  try {
    writeFileSync(fresh, `${randomBytes(16).toString('hex')}\n`, { mode: 0o600, flush: true });
    try {
      linkSync(fresh, path); // Whole, or not at all.
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const fd = openSync(folder, 'r');
    fsyncSync(fd);
    closeSync(fd);
    return readKept(path);
  } catch {
    return null;
  } finally {
    rmSync(fresh, { force: true });
  }
}
