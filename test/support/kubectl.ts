// Stock kubectls to test with: Debian's (1.20) always, and whatever other one this machine has besides.
//
// Debian's package is unpacked below build/ rather than installed: its file /usr/bin/kubectl is also in other vendors'
// packages, and a machine that has one of those cannot have both.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

export interface Kubectl {
  readonly path: string;
  /** As in 1.20. */
  readonly version: string;
}

const TOOLS = resolve('build/tools');

/** Debian's kubectl. Throws, saying what is missing, where it cannot be had. */
export function debianKubectl(): Kubectl {
  const folder = join(TOOLS, 'kubernetes-client');
  const path = join(folder, 'usr/bin/kubectl');
  if (!existsSync(path)) unpack('kubernetes-client', folder);
  return { path, version: versionOf(path) };
}

/** Another one that is installed here, of a version that speaks to the server in the newer ways; or null. */
export function installedKubectl(): Kubectl | null {
  const found = spawnSync('which', ['kubectl'], { encoding: 'utf8' });
  const path = found.stdout.trim();
  if (found.status !== 0 || path === '') return null;
  const version = versionOf(path);
  return version === debianKubectl().version ? null : { path, version };
}

function versionOf(path: string): string {
  const asked = spawnSync(path, ['version', '--client', '-o', 'json'], { encoding: 'utf8' });
  const { clientVersion } = JSON.parse(asked.stdout) as { clientVersion: { gitVersion: string } };
  return /v(\d+\.\d+)/.exec(clientVersion.gitVersion)?.[1] ?? clientVersion.gitVersion;
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
    renameSync(join(work, 'root'), folder);
  } finally {
    rmSync(work, { recursive: true });
  }
}

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs it to its end. `home`: a folder for its configuration and cache. */
export function runKubectl(
  kubectl: Kubectl,
  home: string,
  args: readonly string[],
  options: { input?: string; env?: Record<string, string> } = {},
): Promise<Outcome> {
  return new Promise((done) => {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      KUBECONFIG: join(home, 'config'),
      ...options.env,
    };
    const child = execFile(kubectl.path, [...args], { env, timeout: 60_000 }, (error, out, err) => {
      done({ code: error === null ? 0 : Number(error.code ?? 1), out, err });
    });
    child.stdin?.end(options.input ?? '');
  });
}
