// Programs from Debian's packages, unpacked below build/ rather than installed: some cannot be installed beside what a
// machine has already (another vendor's kubectl), and of some one file is wanted and not the service around it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const TOOLS = resolve('build/tools');

/** The path of `file` of `name`. Throws, saying what is missing, where it cannot be had. */
export function debianTool(name: string, file: string): string {
  const folder = join(TOOLS, name);
  const path = join(folder, file);
  if (!existsSync(path)) unpack(name, folder);
  return path;
}

function unpack(name: string, folder: string): void {
  mkdirSync(TOOLS, { recursive: true });
  const work = mkdtempSync(join(TOOLS, 'unpack-'));
  try {
    const download = () =>
      spawnSync('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', name], {
        cwd: work,
        encoding: 'utf8',
        timeout: 120_000,
      });
    let got = download();
    if (got.status !== 0) {
      spawnSync('apt-get', ['-qq', 'update'], { timeout: 180_000 });
      got = download();
    }
    const [file] = readdirSync(work).filter((entry) => entry.endsWith('.deb'));
    if (got.status !== 0 || file === undefined) {
      throw new Error(`Debian's ${name} cannot be had (apt-get download ${name}): ${got.stderr}`);
    }
    const unpacked = spawnSync('dpkg-deb', ['-x', file, 'root'], { cwd: work, encoding: 'utf8' });
    if (unpacked.status !== 0) throw new Error(`${file} cannot be unpacked: ${unpacked.stderr}`);
    // Two tests may want it at once: the first one's is as good.
    if (!existsSync(folder)) renameSync(join(work, 'root'), folder);
  } finally {
    rmSync(work, { recursive: true });
  }
}
