// Stock kubectls to test with: Debian's (1.20) always, and whatever other one this machine has besides.
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { debianTool } from './debian-tools.ts';

export interface Kubectl {
  readonly path: string;
  /** As in 1.20. */
  readonly version: string;
}

/** Debian's kubectl. Throws, saying what is missing, where it cannot be had. */
export function debianKubectl(): Kubectl {
  const path = debianTool('kubernetes-client', 'usr/bin/kubectl');
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
