// Real processes: three replica daemons behind faulty links, and a coordinator, all on loopback with pools in files.
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exited, freePort, mustRun, projectRoot, startProcess } from '../e2e/support/process.ts';
import { FaultyLink } from './proxy.ts';

const CLI = join(projectRoot(), 'dist/src/cli/main.js');
const FAULTY = join(projectRoot(), 'dist/test/chaos/faulty-replica.js');
export const IQN_PREFIX = 'iqn.2026-11.io.ashlar';

export interface Daemon {
  readonly name: string;
  readonly port: number;
  readonly config: string;
  /** The program, then what it is told. */
  readonly args: readonly string[];
  child: ChildProcess | null;
  stopped: boolean;
  /** 0: it has no API. */
  readonly apiPort?: number;
}

export interface ClusterOptions {
  readonly replicas: number;
  readonly poolSize: string;
  /** Of `replication.timeouts` and beside them, as YAML lines with two spaces before. */
  readonly replication?: string;
  /** The number of the node whose disk returns errors when it gets SIGUSR2. */
  readonly faultyDisk?: number;
  /** Nodes are whole daemons, each with its API. */
  readonly serving?: boolean;
  /** Where pools are kept: memory when speed is asked for. */
  readonly folder?: string;
  /** Coordinators speak to the daemons themselves, not through links that can be made faulty. */
  readonly direct?: boolean;
  /** Microseconds of decision 0005; 0 for tests, which are many processes on few cores. */
  readonly spinMicroseconds?: number;
}

/** A line of the log. */
export interface CommittedRecord {
  /** ISO 8601, with milliseconds. */
  readonly time: string;
  readonly epoch: number;
  readonly n: number;
  /** `NAME:STATE`, the state a MemberState of src/wire/record.ts. */
  readonly members: readonly string[];
}

export class Cluster {
  readonly folder: string;
  readonly replicas: Daemon[] = [];
  readonly links: FaultyLink[] = [];
  coordinator!: Daemon;
  portalPort = 0;
  apiPort = 0;
  readonly #options: ClusterOptions;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.folder = options.folder ?? mkdtempSync(join(tmpdir(), 'ashlar-chaos-'));
    mkdirSync(this.folder, { recursive: true });
  }

  async start(): Promise<void> {
    const { replicas, poolSize, replication = '' } = this.#options;
    writeFileSync(join(this.folder, 'secret'), 'chaos, and a secret of enough bytes\n');
    for (let number = 1; number <= replicas; number += 1) {
      const port = await freePort();
      const name = `node-${number}`;
      const serving = this.#options.serving === true;
      const apiPort = serving ? await freePort() : 0;
      const ownApi = serving
        ? `portals: ["127.0.0.1:${await freePort()}"]\napi:\n  address: 127.0.0.1:${apiPort}\n`
        : '';
      const config = this.#configure(
        name,
        `${ownApi}pool:\n  size: ${poolSize}\nreplication:\n  listen: 127.0.0.1:${port}\n  secretFile: ${this.folder}/secret\n${replication}`,
      );
      const daemon: Daemon = {
        name,
        port,
        config,
        args:
          number === this.#options.faultyDisk
            ? [FAULTY, '--config', config]
            : [CLI, serving ? 'serve' : 'replica', '--config', config],
        child: null,
        stopped: false,
        apiPort,
      };
      this.replicas.push(daemon);
      const link = new FaultyLink(port);
      await link.start();
      this.links.push(link);
    }
    await Promise.all(this.replicas.map((daemon) => this.run(daemon)));
    this.portalPort = await freePort();
    this.apiPort = await freePort();
    this.coordinator = this.makeCoordinator('coordinator', this.portalPort, this.apiPort);
    await this.run(this.coordinator);
  }

  makeCoordinator(name: string, portalPort: number, apiPort: number): Daemon {
    const { replication = '' } = this.#options;
    const config = this.#configure(
      name,
      `pool:\n  size: 64Mi\nportals: ["127.0.0.1:${portalPort}"]\napi:\n  address: 127.0.0.1:${apiPort}\nreplication:\n  secretFile: ${this.folder}/secret\n${replication}`,
    );
    const args = [CLI, 'serve', '--config', config];
    return { name, port: portalPort, config, args, child: null, stopped: false };
  }

  /** Starts a daemon; resolves when it serves. */
  async run(daemon: Daemon): Promise<void> {
    const child = startProcess(process.execPath, daemon.args, {
      logFile: join(this.folder, `${daemon.name}.log`),
    });
    daemon.child = child;
    await new Promise<void>((resolve, reject) => {
      let said = '';
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('Ctrl-C stops.') || said.includes('  volumes  ')) resolve();
      });
      child.once('exit', (code, signal) => {
        reject(new Error(`${daemon.name} ended while starting (${code ?? signal})`));
      });
    });
  }

  async kill(daemon: Daemon): Promise<void> {
    const { child } = daemon;
    if (child === null) return;
    daemon.child = null;
    child.kill('SIGKILL');
    await exited(child);
  }

  async ashlar(...args: string[]): Promise<string> {
    return await this.ashlarAt(this.apiPort, ...args);
  }

  async ashlarAt(apiPort: number, ...args: string[]): Promise<string> {
    const api = `127.0.0.1:${apiPort}`;
    return await mustRun(process.execPath, [CLI, '--api', api, ...args], { timeoutMs: 120_000 });
  }

  /** With a replica on every node; its IQN. IscsiDisk counts in blocks of 4096 bytes. */
  async createVolume(name: string, size: string, blockBytes = 4096): Promise<string> {
    const ends = this.#options.direct === true ? this.replicas : this.links;
    const nodes = ends.flatMap(({ port }) => ['--replica-node', `127.0.0.1:${port}`]);
    const flags = ['--size', size, '--block-size', String(blockBytes)];
    await this.ashlar('create', 'volume', name, ...flags, ...nodes);
    return `${IQN_PREFIX}:${name}`;
  }

  /** The volume as the API tells, or null while it does not answer. */
  async volume(name: string): Promise<{ state: string; advice: string[]; epoch: number } | null> {
    try {
      const path = `http://127.0.0.1:${this.apiPort}/apis/ashlar.io/v1/volumes/${name}`;
      const answer = await fetch(path, { signal: AbortSignal.timeout(2000) });
      const object = (await answer.json()) as {
        status: { state: string; advice: string[]; epoch: number };
      };
      return object.status;
    } catch {
      return null;
    }
  }

  /** The records of all volumes that the coordinator has committed, as its log tells. Asks nothing of anybody. */
  committedRecords(): CommittedRecord[] {
    const lines = readFileSync(join(this.folder, `${this.coordinator.name}.log`), 'utf8').split(
      '\n',
    );
    return lines
      .filter((line) => line.includes('"a record is committed"'))
      .map((line) => JSON.parse(line) as CommittedRecord);
  }

  /** Replicas that hold it; null: it is not there, or nobody can say. */
  async holdersOf(volume: string, snapshot: string): Promise<readonly string[] | null> {
    try {
      const answer = await this.#ask('GET', `snapshots/${volume}.${snapshot}`);
      if (!answer.ok) return null;
      const { status } = (await answer.json()) as { status: { holders?: string[] } };
      return status.holders ?? [];
    } catch {
      return null;
    }
  }

  /** False: it was refused, or no answer came; it may be there all the same. */
  async takeSnapshot(volume: string, snapshot: string): Promise<boolean> {
    const metadata = { name: `${volume}.${snapshot}` };
    const spec = { volumeName: volume };
    const body = { apiVersion: 'ashlar.io/v1', kind: 'Snapshot', metadata, spec };
    try {
      return (await this.#ask('POST', 'snapshots', JSON.stringify(body))).ok;
    } catch {
      return false;
    }
  }

  /** True: it is not there any more. */
  async deleteSnapshot(volume: string, snapshot: string): Promise<boolean> {
    try {
      const { ok, status } = await this.#ask('DELETE', `snapshots/${volume}.${snapshot}`);
      return ok || status === 404;
    } catch {
      return false;
    }
  }

  #ask(method: string, path: string, body?: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.apiPort}/apis/ashlar.io/v1/${path}`, {
      method,
      signal: AbortSignal.timeout(20_000),
      ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
    });
  }

  async untilState(name: string, state: string, withinMs: number): Promise<number> {
    const startMs = performance.now();
    let last: unknown = null;
    while (performance.now() - startMs < withinMs) {
      const status = await this.volume(name);
      if (status?.state === state) return performance.now() - startMs;
      last = status;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error(
      `the volume is not ${state} after ${withinMs / 1000} s: ${JSON.stringify(last)} (logs in ${this.folder})`,
    );
  }

  async dispose(keep = false): Promise<void> {
    for (const daemon of [this.coordinator, ...this.replicas]) {
      daemon?.child?.kill('SIGCONT');
      if (daemon !== undefined) await this.kill(daemon);
    }
    for (const link of this.links) link.close();
    if (!keep) rmSync(this.folder, { recursive: true, force: true });
  }

  #configure(name: string, text: string): string {
    const folder = join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    // Beside the data folder, not in it: a test may delete that folder whole, as a replaced disk does.
    const file = join(this.folder, `${name}.yaml`);
    writeFileSync(
      file,
      `node:\n  name: ${name}\ndataDir: ${folder}\ncpu:\n  spinMicroseconds: ${this.#options.spinMicroseconds ?? 0}\n${text}`,
    );
    return file;
  }
}
