// The list of pools, in a file beside the data: which there are, where they were last seen, and what is being done with
// them (src/control/pool-host.ts says what each step means). It is replaced as a whole, so a crash leaves the one or the
// other.
import { existsSync, readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { KeptPool, PoolList } from '../control/index.ts';
import { makeFolder } from '../objects/index.ts';
import { StartError } from './ports.ts';

const STEPS = ['Making', 'Importing', 'Serving', 'Exporting', 'Destroying', 'Clearing'];

export class PoolListFile implements PoolList {
  readonly path: string;

  constructor(dataDir: string) {
    this.path = join(dataDir, 'pools.json');
  }

  /** Throws StartError where the file is there and cannot be understood: a pool that is forgotten would not be served. */
  read(): readonly KeptPool[] {
    if (!existsSync(this.path)) return [];
    try {
      const { pools } = JSON.parse(readFileSync(this.path, 'utf8')) as { pools: KeptPool[] };
      if (!Array.isArray(pools) || !pools.every(isKept)) throw new Error('a line is not a pool');
      return pools;
    } catch (error) {
      throw new StartError(
        `the list of pools ${this.path} cannot be read: ${(error as Error).message}. Move it aside, start, and import the pools again (ashlar import pool)`,
        { cause: error },
      );
    }
  }

  async write(pools: readonly KeptPool[]): Promise<void> {
    if (pools.length === 0 && !existsSync(this.path)) return;
    await makeFolder(dirname(this.path));
    const temporary = `${this.path}.new`;
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ pools }, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
    // The new name is durable with its folder.
    const folder = await open(dirname(this.path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

function isKept(pool: unknown): pool is KeptPool {
  if (typeof pool !== 'object' || pool === null) return false;
  const { name, id, paths, step } = pool as Partial<KeptPool>;
  return (
    typeof name === 'string' &&
    typeof id === 'string' &&
    Array.isArray(paths) &&
    paths.every((path) => typeof path === 'string') &&
    STEPS.includes(step ?? '')
  );
}
