// Nodes of ashlar as real processes, with files that stand in for disks, and the tools that people use on them: kubectl,
// the `ashlar` command, and an iSCSI initiator that is not ours (qemu-io).
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Finished, run } from '../support/process.ts';
import { Looks } from './looks.ts';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
const START_LIMIT_MS = 90_000;
const GI = 2 ** 30;

export const MANIFESTS = fileURLToPath(
  new URL('../../../../test/e2e/walkthrough/manifests', import.meta.url),
);

export interface ClusterOptions {
  readonly nodes: number;
  /** Disks of each node. */
  readonly disks?: number;
  readonly diskBytes?: number;
  /** Endpoints of etcd; without them each node keeps its own objects. */
  readonly etcd?: readonly string[];
  readonly config?: Readonly<Record<string, string>>;
  /** More of `api:`: tls, tokensFile. */
  readonly api?: string;
  /** Of the tools: ASHLAR_TOKEN_FILE, ASHLAR_CA_FILE. */
  readonly env?: Readonly<Record<string, string>>;
  /** address:port of each node's portal; without them any free port, another one after each start. */
  readonly portals?: readonly string[];
}

export class ClusterNode {
  readonly name: string;
  readonly folder: string;
  portal = '';
  api = '';
  output = '';
  child: ChildProcess | null = null;
  /** Its configuration file. */
  readonly config: string;

  constructor(folder: string, name: string, options: ClusterOptions, portal = '127.0.0.1:0') {
    this.name = name;
    this.folder = join(folder, name);
    mkdirSync(join(this.folder, 'disks'), { recursive: true });
    for (let index = 1; index <= (options.disks ?? 2); index += 1) {
      const path = join(this.folder, 'disks', `disk-${index}`);
      writeFileSync(path, '');
      truncateSync(path, options.diskBytes ?? 4 * GI);
    }
    this.config = join(this.folder, 'ashlar.yaml');
    const objects =
      options.etcd === undefined
        ? []
        : [`objects: {store: etcd, etcd: {endpoints: ${JSON.stringify(options.etcd)}}}`];
    const extra = Object.entries(options.config ?? {}).map(([key, value]) => `${key}: ${value}`);
    const lines = [
      `node: {name: ${name}}`,
      'dataDir: data',
      `portals: ["${portal}"]`,
      `api: {address: "127.0.0.1:0"${options.api === undefined ? '' : `, ${options.api}`}}`,
      'memory: {buffers: 32Mi}',
      'directoryPool: {size: 20Gi}',
      `devices: {exclude: ["*"], sparseFolder: ${join(this.folder, 'disks')}}`,
      ...objects,
      ...extra,
    ];
    writeFileSync(this.config, `${lines.join('\n')}\n`);
  }

  /** Resolves when it says that it serves. */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [MAIN, 'node', '--config', this.config], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child = child;
    let told = '';
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`${this.name} did not start:\n${this.output.slice(-4000)}`));
      }, START_LIMIT_MS);
      child.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`${this.name} ended with ${code}:\n${this.output.slice(-4000)}`));
      });
      const take = (chunk: Buffer): void => {
        const text = chunk.toString();
        this.output = (this.output + text).slice(-4_000_000);
        if (told === 'all') return;
        told += text;
        const portal = /^ {2}portal +(127\.0\.0\.1:\d+)$/m.exec(told)?.[1];
        const api = /^ {2}API +(https?:\/\/127\.0\.0\.1:\d+) /m.exec(told)?.[1];
        if (portal === undefined || api === undefined || !told.includes('Ctrl-C stops.')) return;
        this.portal = portal;
        this.api = api.replace('http://', '');
        told = 'all';
        clearTimeout(timer);
        child.removeAllListeners('exit');
        resolve();
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
    });
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return null;
    const gone = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    return await gone;
  }
}

/** What a person types: `kubectl …` or `ashlar …`. */
export type Tool = (...args: string[]) => Promise<Finished>;

export class Cluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'ashlar-walkthrough-'));
  readonly nodes: ClusterNode[];
  readonly #kubeconfig = join(this.folder, 'kubeconfig');

  readonly #env: Readonly<Record<string, string>>;

  constructor(options: ClusterOptions) {
    this.#env = options.env ?? {};
    this.nodes = Array.from(
      { length: options.nodes },
      (_, index) =>
        new ClusterNode(this.folder, `node-${index + 1}`, options, options.portals?.[index]),
    );
  }

  async start(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.start()));
    await this.pointTo(this.nodes[0]!);
  }

  /** Which node's API the tools speak to. */
  async pointTo(node: ClusterNode): Promise<void> {
    const args = [MAIN, '--api', node.api, 'kubeconfig'];
    const env = { ...process.env, ...this.#env };
    const { stdout, stderr } = await run(process.execPath, args, { env });
    if (stdout === '') throw new Error(`ashlar kubeconfig: ${stderr}`);
    writeFileSync(this.#kubeconfig, stdout);
    this.#api = node.api;
    const { ASHLAR_TOKEN_FILE: tokenFile, ASHLAR_CA_FILE: caFile = null } = this.#env;
    const token = tokenFile === undefined ? null : readFileSync(tokenFile, 'utf8').trim();
    this.#looks = new Looks({ address: node.api, token, caFile });
  }

  #api = '';
  #looks: Looks | null = null;

  readonly kubectl: Tool = (...args) =>
    run('kubectl', ['--kubeconfig', this.#kubeconfig, ...args], {
      env: { ...process.env, HOME: this.folder },
    });

  readonly ashlar: Tool = (...args) => this.ashlarWith({}, ...args);

  /** With more in its environment. */
  ashlarWith(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Finished> {
    return run(process.execPath, [MAIN, ...args], {
      env: { ...process.env, ASHLAR_API: this.#api, ...this.#env, ...env },
    });
  }

  async stop(): Promise<void> {
    // For who wants to know what nodes did: ASHLAR_TEST_LOGS is a folder.
    const logs = process.env['ASHLAR_TEST_LOGS'];
    if (logs !== undefined) {
      for (const { name, output } of this.nodes) writeFileSync(join(logs, `${name}.log`), output);
    }
    await Promise.all(this.nodes.map((node) => node.end('SIGKILL')));
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The object as JSON, or null; without a name all of the kind, or kinds. */
  async get<T = Record<string, never>>(
    kinds: string,
    name?: string,
    namespace?: string,
  ): Promise<T | null> {
    return ((await this.#looks?.get(kinds, name, namespace)) ?? null) as T | null;
  }

  /** Waits until it is so; the last look is in the failure. */
  async until<T>(
    what: string,
    look: () => Promise<T | null | undefined | false>,
    limitMs = 60_000,
  ): Promise<T> {
    const endMs = Date.now() + limitMs;
    for (;;) {
      const found = await look();
      if (found !== null && found !== undefined && found !== false) return found;
      if (Date.now() > endMs) {
        const { stdout } = await this.kubectl(
          'get',
          'spc,csp,pvc,volumes.ashlar.io,replicas,snapshots',
          '-o',
          'wide',
        );
        const logs = process.env['ASHLAR_TEST_LOGS'];
        if (logs !== undefined) {
          const { stdout: objects } = await this.kubectl(
            'get',
            'volumes,replicas,nodes.ashlar.io,pools',
            '-o',
            'yaml',
          );
          writeFileSync(join(logs, 'objects.yaml'), objects);
        }
        const { stdout: events } = await this.kubectl('get', 'events', '-A');
        throw new Error(`never: ${what}\n${stdout}\n${events.slice(-6000)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  /** `iscsi://portal/iqn/lun` of a bound claim, as its PersistentVolume says. */
  async urlOf(claim: string): Promise<string> {
    interface Volume {
      spec: { iscsi: { targetPortal: string; iqn: string; lun: number } };
    }
    const found = await this.get<{ spec: { volumeName: string } }>('pvc', claim);
    const volume = await this.get<Volume>('pv', found?.spec.volumeName ?? '');
    if (volume === null) throw new Error(`claim ${claim} has no volume`);
    const { targetPortal, iqn, lun } = volume.spec.iscsi;
    return `iscsi://${targetPortal}/${iqn}/${lun}`;
  }

  /** qemu-io's commands, one after the other; rejects where one fails or a pattern differs. */
  async io(url: string, ...commands: string[]): Promise<string> {
    const args = commands.flatMap(inPieces).flatMap((command) => ['-c', command]);
    const { status, stdout, stderr } = await run('qemu-io', ['-f', 'raw', ...args, url]);
    if (status !== 0 || /failed|error/i.test(stdout + stderr)) {
      throw new Error(`qemu-io ${commands.join('; ')}: ${stdout.slice(-2000)}${stderr}`);
    }
    return stdout;
  }
}

const PIECE_BYTES = 16 * 1024;
const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/**
 * `read -P 0x5a 0 8M` in small pieces: of a thin disk with blocks of 4096 bytes QEMU asks for the map before a read of
 * 32 KiB or more, and then fails an assertion of its own.
 */
function inPieces(command: string): string[] {
  const match = /^(read -P \S+) (\d+)([kMG]?) (\d+)([kMG]?)$/.exec(command);
  if (match === null) return [command];
  const [, verb, offset, offsetUnit = '', count, countUnit = ''] = match;
  const start = Number(offset) * UNITS[offsetUnit]!;
  const bytes = Number(count) * UNITS[countUnit]!;
  const pieces: string[] = [];
  for (let at = 0; at < bytes; at += PIECE_BYTES) {
    pieces.push(`${verb} ${start + at} ${Math.min(PIECE_BYTES, bytes - at)}`);
  }
  return pieces;
}

/** A table as kubectl prints it: rows by their first column, cells by the header. */
export function tableOf(text: string): Map<string, Record<string, string>> {
  const [header = '', ...lines] = text.trimEnd().split('\n');
  const starts: [string, number][] = [];
  for (const match of header.matchAll(/\S+(?: \S+)*/g)) starts.push([match[0], match.index]);
  const rows = new Map<string, Record<string, string>>();
  for (const line of lines) {
    const row: Record<string, string> = {};
    starts.forEach(([name, start], index) => {
      row[name] = line.slice(start, starts[index + 1]?.[1]).trim();
    });
    rows.set(Object.values(row)[0] ?? '', row);
  }
  return rows;
}
