// What a store that reopens is to be believed of what it acknowledged and never flushed (V6, S9).
//
// The boot id of the machine says whether a volatile cache was lost with the power. A flush that fails loses one without a
// reboot, and so does a log that ends before what it said was flushed. From then on, and until the machine boots anew, the
// pool goes by a *mark* in place of the boot id: whoever attached the store under the old one sees that it is another.
//
// The mark cannot be kept on the medium that just failed. It is kept in memory that outlives the process, and beside a pool
// that is a file; one of the two is enough.
//
// A process may be killed while it writes one. So the file itself says that a cache was lost, whatever is in it; only a mark
// that surely is an earlier boot's is none. A torn one is made whole before anybody hears of it: the next loss, torn as well
// perhaps, must give another id.
import { randomUUID } from 'node:crypto';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { bootId } from './boot-id.ts';

const MEMORY_FOLDER = '/dev/shm';
/** What `lost` writes behind the boot id, whole. */
const MARK = /^[0-9a-f-]{36}\n$/;
const TORN = 'torn';

/** Where marks of a pool are kept. `path`: of its first device. */
export function markPlaces(poolId: string, path: string, memoryFolder = MEMORY_FOLDER): string[] {
  const places = [`${memoryFolder}/ashlar-lost-cache-${poolId}`];
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === true)
    places.push(`${path}.lost-cache`);
  return places;
}

export class CacheIdentity {
  readonly #places: readonly string[];
  readonly #boot: string;

  constructor(places: readonly string[], boot = bootId()) {
    this.#places = places;
    this.#boot = boot;
  }

  /** The boot id, or what stands for it since a cache was lost without a boot. */
  get id(): string {
    let found = this.#places.map((place) => this.#read(place));
    if (found.includes(TORN)) {
      this.lost();
      found = this.#places.map((place) => this.#read(place));
    }
    const marks = new Set(found.filter((mark) => mark !== null));
    return marks.size === 0
      ? this.#boot
      : [...marks]
          .sort()
          .map((mark) => (mark === TORN ? `${this.#boot}+torn` : mark))
          .join('+');
  }

  /** The cache was lost: `id` is another one from here on. False: nowhere could it be written down. */
  lost(): boolean {
    const text = `${this.#boot} ${randomUUID()}\n`;
    let kept = false;
    for (const place of this.#places) {
      try {
        writeFileSync(place, text, { mode: 0o600, flush: true });
        kept = true;
      } catch {
        // The other place will do; that none does is what the answer says.
      }
    }
    return kept;
  }

  #read(place: string): string | null {
    let text: string;
    try {
      text = readFileSync(place, 'latin1');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      return code === 'ENOENT' || code === 'ENOTDIR' ? null : TORN;
    }
    const [, boot, mark = ''] = /^([^ ]+) (.*)$/s.exec(text) ?? [];
    if (boot === undefined) return TORN;
    if (boot === this.#boot) return MARK.test(mark) ? mark.trimEnd() : TORN;
    try {
      rmSync(place, { force: true }); // The machine has booted since: that says it all.
    } catch {
      // It says the same the next time.
    }
    return null;
  }
}
