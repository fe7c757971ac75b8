// `ashlar serve` as a process, with the native engine on a file, and who asks it: the `ashlar` command and qemu-io.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
const START_LIMIT_MS = 60_000;

export interface Answer {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** To its end, whatever its code. */
export function run(program: string, args: readonly string[], env = process.env): Promise<Answer> {
  return new Promise((resolve) => {
    execFile(program, args, { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

export class ServeProcess {
  readonly #config: string;
  #child: ChildProcess | null = null;
  api = '';
  portal = '';

  /**
   * Everything of it is below `folder`/`name`; `lines` are more of its configuration. `pool`: the size of its own pool in
   * MiB, or all that is said of it.
   */
  constructor(folder: string, name: string, pool: number | string, ...lines: string[]) {
    this.#config = join(folder, `${name}.yaml`);
    const all = [
      `node: {name: ${name}}`,
      `dataDir: ${name}`,
      `pool: {${typeof pool === 'number' ? `size: ${pool}Mi` : pool}}`,
      'portals: ["127.0.0.1:0"]',
      'api: {address: "127.0.0.1:0"}',
      'memory: {buffers: 32Mi}',
      ...lines,
      '',
    ];
    writeFileSync(this.#config, all.join('\n'));
  }

  /** Resolves when it says where it is; at another portal and address than the last time. */
  async start(...flags: string[]): Promise<void> {
    const child = spawn(process.execPath, [MAIN, 'serve', '--config', this.#config, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let output = '';
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stderr.on('data', take);
    for (;;) {
      const signal = AbortSignal.timeout(START_LIMIT_MS);
      try {
        const [chunk] = (await once(child.stdout, 'data', { signal })) as [Buffer];
        take(chunk);
      } catch (error) {
        throw new Error(`ashlar serve did not start: ${output.slice(-4000)}`, { cause: error });
      }
      this.portal = /^ {2}portal +(127\.0\.0\.1:\d+)/m.exec(output)?.[1] ?? '';
      this.api = /^ {2}API +http:\/\/(127\.0\.0\.1:\d+) /m.exec(output)?.[1] ?? '';
      if (this.api !== '') break;
    }
    child.stdout.resume();
  }

  /** Must not start; the value is what it says. */
  async failsToStart(...flags: string[]): Promise<string> {
    const { code, out, err } = await run(process.execPath, [
      ...[MAIN, 'serve', '--config', this.#config, ...flags],
    ]);
    assert.notEqual(code, 0, out);
    return out + err;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  ashlar(...args: string[]): Promise<Answer> {
    return run(process.execPath, [MAIN, ...args], { ...process.env, ASHLAR_API: this.api });
  }

  /** Must succeed. */
  async does(...args: string[]): Promise<string> {
    const { code, out, err } = await this.ashlar(...args);
    assert.equal(code, 0, `ashlar ${args.join(' ')}: ${err}`);
    return out;
  }

  /** Must be refused; the value is in which words. */
  async refuses(...args: string[]): Promise<string> {
    const { code, out, err } = await this.ashlar(...args);
    assert.notEqual(code, 0, `ashlar ${args.join(' ')} was not refused: ${out}`);
    return err;
  }

  /** Of a target by the end of its name: a volume, or `VOLUME.SNAPSHOT`. */
  urlOf(target: string): string {
    return `iscsi://${this.portal}/iqn.2026-11.io.ashlar:${target}/0`;
  }

  /** qemu-io's commands; what was read is what the pattern says. */
  async io(volume: string, ...commands: string[]): Promise<string> {
    const words = commands.flatMap((command) => ['-c', command]);
    const args = ['-f', 'raw', ...words, this.urlOf(volume)];
    const { code, out, err } = await run('qemu-io', args);
    assert.equal(code, 0, `qemu-io ${args.join(' ')}: ${out}${err}`);
    assert.doesNotMatch(out, /failed|mismatch/i);
    return out;
  }
}
