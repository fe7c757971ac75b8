// Backups in a folder: a mounted share, a disk of its own.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { BackupError, type BackupStore } from './types.ts';

const UNFINISHED = '.unfinished';

export class DirectoryStore implements BackupStore {
  readonly place: string;
  readonly #root: string;

  /** `root`: an absolute path; it is made when the first backup is. */
  constructor(root: string) {
    this.#root = root;
    this.place = root;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(key);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const unfinished = `${path}${UNFINISHED}`;
    try {
      const file = await open(unfinished, 'w', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
    // The names are on stable storage too: of the file, and of the folders made for it.
    for (let folder = dirname(path); ; folder = dirname(folder)) {
      const handle = await open(folder, 'r');
      await handle.sync().finally(() => handle.close());
      if (folder.length <= this.#root.length) break;
    }
  }

  async get(key: string): Promise<Uint8Array> {
    try {
      return await readFile(this.#path(key));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new BackupError('BACKUP_NOT_FOUND', `${this.place} has no ${key}`, { cause: error });
    }
  }

  async list(prefix: string): Promise<string[]> {
    const folder = join(this.#root, prefix.slice(0, prefix.lastIndexOf('/') + 1));
    try {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile() && !entry.name.endsWith(UNFINISHED))
        .map((entry) => relative(this.#root, join(entry.parentPath, entry.name)))
        .map((path) => path.split(sep).join('/'))
        .filter((key) => key.startsWith(prefix))
        .sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  async remove(key: string): Promise<void> {
    await rm(this.#path(key), { force: true });
  }

  #path(key: string): string {
    const words = key.split('/');
    if (words.some((word) => word === '' || word === '.' || word === '..' || word.includes('\0'))) {
      throw new BackupError('BACKUP_PLACE', `'${key}' is no key of a backup`);
    }
    return join(this.#root, ...words);
  }
}
