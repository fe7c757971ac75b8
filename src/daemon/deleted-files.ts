// A pool's file that somebody removed, or replaced, while it is open: everything goes on, into a file without a name, and all
// of it is gone when the process ends. So it is looked for, and told of while it can still be saved.
import { fstatSync, readdirSync, readlinkSync } from 'node:fs';
import type { Clock, Log, Timer } from '../base/index.ts';

export interface DeletedFile {
  readonly path: string;
  /** The descriptor by which it can still be read: /proc/PID/fd/N. */
  readonly fd: number;
}

/** No pool is smaller; what the object store throws away is. */
const LEAST_POOL_BYTES = 16 * 2 ** 20;
const LOOK_EVERY_MS = 10_000;
const FOLDER = '/proc/self/fd';

/** Files of the size of a pool that are open here and have no name any more. Of this process alone. */
export function deletedPoolFiles(): DeletedFile[] {
  const found: DeletedFile[] = [];
  let names: string[];
  try {
    names = readdirSync(FOLDER);
  } catch {
    return found; // No /proc: nothing can be said.
  }
  for (const name of names) {
    try {
      const path = /^(\/.*) \(deleted\)$/.exec(readlinkSync(`${FOLDER}/${name}`))?.[1];
      // Memory that has the form of a file never had a name.
      if (path === undefined || path.startsWith('/memfd:') || path.startsWith('/dev/')) continue;
      const stat = fstatSync(Number(name));
      if (stat.isFile() && stat.nlink === 0 && stat.size >= LEAST_POOL_BYTES)
        found.push({ path, fd: Number(name) });
    } catch {
      // Closed since.
    }
  }
  return found;
}

export class DeletedFileWatch {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #look: () => readonly DeletedFile[];
  readonly #told = new Set<string>();
  #timer: Timer | null = null;

  constructor(clock: Clock, log: Log, look = deletedPoolFiles) {
    this.#clock = clock;
    this.#log = log;
    this.#look = look;
    this.#again();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #again(): void {
    this.#timer = this.#clock.schedule(LOOK_EVERY_MS, () => {
      for (const { path, fd } of this.#look()) {
        if (this.#told.has(path)) continue;
        this.#told.add(path);
        this.#log.error(
          { path },
          `${path} was removed or replaced while it is a pool's file: all that it holds is gone when this process ends. ` +
            `Let hosts log out first, then: cp --sparse=always /proc/${process.pid}/fd/${fd} ${path}.saved`,
        );
      }
      this.#again();
    });
  }
}
