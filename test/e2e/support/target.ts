// A running iSCSI target under test, behind one small face, so that the same conformance run, the same scenarios and
// the same benchmark are pointed at ashlar or at tgt. ashlar is driven only as a user drives it: its command line.
import type { ChildProcess } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  delay,
  exited,
  freePort,
  mustRun,
  projectRoot,
  run,
  startProcess,
  waitFor,
} from './process.ts';

export type VolumeOptions = {
  readonly sizeMiB: number;
  readonly blockBytes?: 512 | 4096;
  readonly chap?: { readonly user: string; readonly secret: string };
  readonly mutualChap?: { readonly user: string; readonly secret: string };
  readonly initiators?: readonly string[];
};

/** Where an initiator finds a volume. */
export type Exported = { readonly iqn: string; readonly lun: number };

export interface Target {
  readonly name: string;
  readonly portalPort: number;
  /** The process that serves the I/O, for its pid and its CPU time; undefined while it is down. */
  readonly process: ChildProcess | undefined;
  start(): Promise<void>;
  /** kill -9: what was not on the medium is gone. */
  crash(): Promise<void>;
  /** As an administrator stops it, sessions or not. */
  stop(): Promise<void>;
  createVolume(name: string, options: VolumeOptions): Promise<Exported>;
  deleteVolume(name: string): Promise<void>;
  resizeVolume(name: string, sizeMiB: number): Promise<void>;
  /** Bytes of the pool that the volume holds, or undefined where the target cannot tell. */
  usedBytes(name: string): Promise<number | undefined>;
  /** Initiator names of the sessions that are logged in, or undefined where the target cannot tell. */
  sessionInitiators(): Promise<readonly string[] | undefined>;
  /** What it told a person to type at its last start, where it does. */
  hints?(): readonly string[];
  /** Stops it and removes everything it left on disk. */
  dispose(): Promise<void>;
}

export function isRunning(target: Target): boolean {
  const child = target.process;
  return child !== undefined && child.exitCode === null && child.signalCode === null;
}

/** True when something accepts a connection on the port within a second. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1000, () => finish(false));
    socket.on('connect', () => finish(true));
    socket.on('error', () => finish(false));
  });
}

/** For hangs: on a busy machine Node alone takes ten seconds to start. */
const START_LIMIT_MS = 180_000;
const STOP_LIMIT_MS = 120_000;

export type AshlarOptions = {
  /** Folder for the pool file and the log; a fresh temporary one by default. */
  readonly folder?: string;
  readonly poolMiB?: number;
  /** Extra top-level lines of the YAML config. */
  readonly config?: string;
};

/** ashlar's own daemon on free ports with an empty pool. */
export class AshlarTarget implements Target {
  readonly name = 'ashlar';
  readonly folder: string;
  readonly #poolMiB: number;
  readonly #extraConfig: string;
  readonly #secrets: string;
  #portalPort = 0;
  #apiPort = 0;
  #process: ChildProcess | undefined;

  constructor(options: AshlarOptions = {}) {
    this.folder = mkdtempSync(join(options.folder ?? tmpdir(), 'ashlar-test-'));
    this.#poolMiB = options.poolMiB ?? 4096;
    this.#extraConfig = options.config ?? '';
    this.#secrets = join(this.folder, 'secrets');
    mkdirSync(this.#secrets, { mode: 0o700 });
  }

  get portalPort(): number {
    return this.#portalPort;
  }

  get process(): ChildProcess | undefined {
    return this.#process;
  }

  get logFile(): string {
    return join(this.folder, 'daemon.log');
  }

  get api(): string {
    return `127.0.0.1:${this.#apiPort}`;
  }

  async start(): Promise<void> {
    if (this.#portalPort === 0) {
      this.#portalPort = await freePort();
      this.#apiPort = await freePort();
      this.#writeConfig();
    }
    const child = startProcess(
      process.execPath,
      [cliPath(), 'serve', '--config', join(this.folder, 'ashlar.yaml')],
      { logFile: this.logFile },
    );
    this.#process = child;
    await waitFor('ashlar to be ready', START_LIMIT_MS, async () => {
      if (child.exitCode !== null || child.signalCode !== null) {
        const log = readFileSync(this.logFile, 'utf8').trim().split('\n').slice(-12).join('\n');
        throw new Error(`ashlar ended while it started; its log ends with\n${log}`);
      }
      const ready = await fetch(`http://${this.api}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      );
      return ready && (await accepts(this.#portalPort)) ? true : undefined;
    });
  }

  #writeConfig(): void {
    const lines = [
      `dataDir: ${this.folder}`,
      `portals: ['127.0.0.1:${this.#portalPort}']`,
      'api:',
      `  address: '${this.api}'`,
      'pool:',
      `  size: ${this.#poolMiB}Mi`,
      '  sparse: true',
      this.#extraConfig,
      '',
    ];
    writeFileSync(join(this.folder, 'ashlar.yaml'), lines.join('\n'));
  }

  async crash(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    child.kill('SIGKILL');
    await exited(child);
    this.#process = undefined;
  }

  async stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    child.kill('SIGTERM');
    const stopped = await Promise.race([
      exited(child).then(() => true),
      delay(STOP_LIMIT_MS).then(() => false),
    ]);
    if (!stopped) {
      await this.crash();
      throw new Error(`ashlar did not stop within ${STOP_LIMIT_MS / 1000} s of SIGTERM`);
    }
    this.#process = undefined;
  }

  async createVolume(name: string, options: VolumeOptions): Promise<Exported> {
    const args = ['create', 'volume', name, '--size', `${options.sizeMiB}Mi`];
    if (options.blockBytes !== undefined) args.push('--block-size', String(options.blockBytes));
    if (options.chap !== undefined) {
      args.push('--chap-user', options.chap.user);
      args.push('--chap-secret-file', this.#secretFile(`${name}-chap`, options.chap.secret));
    }
    if (options.mutualChap !== undefined) {
      args.push('--mutual-chap-user', options.mutualChap.user);
      args.push(
        '--mutual-chap-secret-file',
        this.#secretFile(`${name}-mutual`, options.mutualChap.secret),
      );
    }
    for (const initiator of options.initiators ?? []) args.push('--initiator', initiator);
    await this.cli(args);
    const volume = await this.volume(name);
    const status = volume.status;
    if (status?.iqn === undefined) throw new Error(`volume ${name} has no status.iqn`);
    return { iqn: status.iqn, lun: status.lun ?? 0 };
  }

  #secretFile(name: string, secret: string): string {
    const path = join(this.#secrets, name);
    writeFileSync(path, secret, { mode: 0o600 });
    return path;
  }

  async deleteVolume(name: string): Promise<void> {
    await this.cli(['delete', 'volume', name, '--force']);
  }

  async resizeVolume(name: string, sizeMiB: number): Promise<void> {
    await this.cli(['resize', 'volume', name, '--size', `${sizeMiB}Mi`]);
  }

  hints(): readonly string[] {
    const log = readFileSync(this.logFile, 'utf8');
    const told = log.slice(log.lastIndexOf('On a Linux host')).split('\n').slice(1);
    return told.slice(0, told.indexOf('')).map((line) => line.trim());
  }

  async usedBytes(name: string): Promise<number | undefined> {
    const used = (await this.volume(name)).status?.usedBytes;
    return used === undefined ? undefined : Number(used);
  }

  async sessionInitiators(): Promise<readonly string[]> {
    const answer = JSON.parse(await this.cli(['get', 'sessions', '-o', 'json'])) as unknown;
    // The names, wherever the resource keeps them: this test is about who is logged in, not about field names.
    const names = JSON.stringify(answer).matchAll(/"initiator(?:Name|Iqn)?":"(iqn[^"]*)"/g);
    return [...names].map((match) => match[1] ?? '');
  }

  async volume(name: string): Promise<{
    status?: { iqn?: string; lun?: number; usedBytes?: number | string };
  }> {
    return JSON.parse(await this.cli(['get', 'volume', name, '-o', 'json']));
  }

  async cli(args: readonly string[]): Promise<string> {
    return mustRun(process.execPath, [cliPath(), ...args], {
      timeoutMs: START_LIMIT_MS,
      env: { ...process.env, ASHLAR_API: `http://${this.api}` },
    });
  }

  async dispose(): Promise<void> {
    await this.crash();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function cliPath(): string {
  return join(projectRoot(), 'dist/src/cli/main.js');
}

/** tgtd's control sockets are named by a number of the machine's: ours, one for each tgtd of this process. */
let nextControlPort = 200 + ((process.pid * 16) % 30_000);

/**
 * tgt's tgtd, the peer of the benchmark and the stand-in against which these tests were proven to fail where they
 * should. It forgets its configuration when it dies, so the calls are remembered and given again at a start.
 */
export class TgtTarget implements Target {
  readonly name = 'tgt';
  readonly folder: string;
  readonly #backingFolder: string;
  readonly #storeFlags: readonly string[];
  readonly #forgetful: boolean;
  readonly #volumes = new Map<string, { tid: number; options: VolumeOptions }>();
  #portalPort = 0;
  #controlPort = 0;
  #process: ChildProcess | undefined;
  #nextTid = 1;

  constructor(
    options: {
      folder?: string;
      backingFolder?: string;
      direct?: boolean;
      /** Loses 64 KiB of every 4 MiB when it crashes, to prove that a test would see it. */
      forgetful?: boolean;
    } = {},
  ) {
    this.#forgetful = options.forgetful === true;
    this.folder = mkdtempSync(join(options.folder ?? tmpdir(), 'tgt-test-'));
    this.#backingFolder = options.backingFolder ?? this.folder;
    this.#storeFlags = options.direct === true ? ['--bsoflags', 'direct'] : [];
  }

  get portalPort(): number {
    return this.#portalPort;
  }

  get process(): ChildProcess | undefined {
    return this.#process;
  }

  async start(): Promise<void> {
    if (this.#portalPort === 0) {
      this.#portalPort = await freePort();
      this.#controlPort = nextControlPort;
      nextControlPort += 1;
    }
    this.#process = startProcess(
      'tgtd',
      ['-f', '-C', String(this.#controlPort), '--iscsi', `portal=127.0.0.1:${this.#portalPort}`],
      { logFile: join(this.folder, 'tgtd.log') },
    );
    await waitFor('tgtd to answer', START_LIMIT_MS, async () =>
      (await run('tgtadm', ['-C', String(this.#controlPort), '--op', 'show', '--mode', 'sys']))
        .status === 0
        ? true
        : undefined,
    );
    for (const [name, volume] of this.#volumes)
      await this.#export(name, volume.tid, volume.options);
  }

  async crash(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    child.kill('SIGKILL');
    await exited(child);
    this.#process = undefined;
    if (this.#forgetful) for (const name of this.#volumes.keys()) forget(this.#backingFile(name));
  }

  stop(): Promise<void> {
    return this.crash(); // tgtd refuses SIGTERM while a target exists; its files are written through the kernel.
  }

  async createVolume(name: string, options: VolumeOptions): Promise<Exported> {
    const tid = this.#nextTid;
    this.#nextTid += 1;
    const path = this.#backingFile(name);
    writeFileSync(path, '');
    truncateSync(path, options.sizeMiB * 1024 * 1024);
    this.#volumes.set(name, { tid, options });
    await this.#export(name, tid, options);
    return { iqn: tgtIqn(name), lun: 1 };
  }

  async #export(name: string, tid: number, options: VolumeOptions): Promise<void> {
    const t = ['--tid', String(tid)];
    await this.#admin('target', 'new', [...t, '-T', tgtIqn(name)]);
    await this.#admin('logicalunit', 'new', [
      ...t,
      '--lun',
      '1',
      '-b',
      this.#backingFile(name),
      '--blocksize',
      String(options.blockBytes ?? 512),
      ...this.#storeFlags,
    ]);
    await this.#admin('logicalunit', 'update', [
      ...t,
      '--lun',
      '1',
      '--params',
      'thin_provisioning=1',
    ]);
    if (options.chap !== undefined) await this.#account(t, options.chap, []);
    if (options.mutualChap !== undefined)
      await this.#account(t, options.mutualChap, ['--outgoing']);
    await this.#admin('target', 'bind', [...t, '-I', 'ALL']);
  }

  async #account(
    t: readonly string[],
    chap: { user: string; secret: string },
    flags: readonly string[],
  ): Promise<void> {
    // An account of that name may be there from another volume: the bind below says whether it is.
    await run('tgtadm', [
      ...['-C', String(this.#controlPort), '--lld', 'iscsi', '--mode', 'account', '--op', 'new'],
      ...['--user', chap.user, '--password', chap.secret],
    ]);
    await this.#admin('account', 'bind', [...t, '--user', chap.user, ...flags]);
  }

  async deleteVolume(name: string): Promise<void> {
    const volume = this.#volumes.get(name);
    if (volume === undefined) return;
    await this.#admin('target', 'delete', ['--force', '--tid', String(volume.tid)]);
    this.#volumes.delete(name);
    rmSync(this.#backingFile(name), { force: true });
  }

  resizeVolume(): Promise<void> {
    return Promise.reject(new Error('tgt cannot resize a volume'));
  }

  usedBytes(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  sessionInitiators(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async #admin(mode: string, op: string, args: readonly string[]): Promise<void> {
    await mustRun('tgtadm', [
      ...['-C', String(this.#controlPort), '--lld', 'iscsi', '--mode', mode, '--op', op],
      ...args,
    ]);
  }

  #backingFile(name: string): string {
    return join(this.#backingFolder, `tgt-${this.#controlPort}-${name}.img`);
  }

  async dispose(): Promise<void> {
    await this.crash();
    for (const name of this.#volumes.keys()) rmSync(this.#backingFile(name), { force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const MIB = 1024 * 1024;

function forget(path: string): void {
  const file = openSync(path, 'r+');
  const hole = Buffer.alloc(64 * 1024);
  const end = fstatSync(file).size;
  for (let at = 8 * MIB; at < end; at += 4 * MIB) writeSync(file, hole, 0, hole.length, at);
  closeSync(file);
}

function tgtIqn(name: string): string {
  return `iqn.2026-11.io.ashlar.peer:${name}`;
}
