// A device that was not there when its pool was opened, and is now: one that is slow to appear when the machine starts, or
// whose cable was out. One that failed is its operator's to bring back.
import { type FoundPool, type Pool, StoreError } from '../store/index.ts';

/** The devices that are missing and where they were; `places` more to look in. Resolves with the paths that were taken up. */
export async function takeUpReturned(
  pool: Pool,
  places: readonly string[],
  find: (places: readonly string[]) => Promise<readonly FoundPool[]>,
): Promise<string[]> {
  const devices = pool.devices.list();
  const missing = devices.filter(({ state }) => state === 'Missing');
  if (missing.length === 0) return [];
  // Labels may have older names than there are now.
  const here = devices.filter(({ state }) => state !== 'Missing').map(({ path }) => path);
  const wanted = [...missing.map(({ path }) => path), ...places].filter(
    (path) => path !== '' && !here.includes(path),
  );
  const found = (await find([...new Set(wanted)])).find(({ id }) => id === pool.id);
  const taken: string[] = [];
  for (const path of found?.paths ?? []) {
    for (const { id } of missing) {
      try {
        await pool.devices.online(id, path);
        taken.push(path);
        break;
      } catch (error) {
        // Another one's place, or nothing that can be used: its operator sees it as Missing.
        if (!(error instanceof StoreError)) throw error;
      }
    }
  }
  return taken;
}
