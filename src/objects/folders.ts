// Folders that are made where they are missing. The recursive mkdir of Node never ends below a file system in which nothing
// can be made and that calls this "not found", like /proc (Node 20); this one fails, with the folder's name.
import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Rejects with the system's error for the first folder that cannot be made. `mode`: of those that are. */
export async function makeFolder(path: string, mode = 0o700): Promise<void> {
  try {
    await mkdir(path, mode);
  } catch (error) {
    if (isCode(error, 'EEXIST') && (await stat(path)).isDirectory()) return;
    if (!isCode(error, 'ENOENT') || dirname(path) === path) throw error;
    await makeFolder(dirname(path), mode);
    await mkdir(path, mode).catch((again: unknown) => {
      if (!isCode(again, 'EEXIST')) throw again; // Somebody else was faster.
    });
  }
}

/** The same at once, for a start. */
export function makeFolderNow(path: string, mode = 0o700): void {
  try {
    mkdirSync(path, mode);
  } catch (error) {
    if (isCode(error, 'EEXIST') && statSync(path).isDirectory()) return;
    if (!isCode(error, 'ENOENT') || dirname(path) === path) throw error;
    makeFolderNow(dirname(path), mode);
    mkdirSync(path, mode);
  }
}

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}
