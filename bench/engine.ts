// The engine beside what else stands on the same disk, in one interleaved run: fio on a plain file (io_uring,
// O_DIRECT), a file on btrfs (checksums and copy-on-write on) on a loop device, and a qcow2 image by qemu-img bench.
//
//   npm run bench:engine -- --compare [--dir DIR] [--rounds 3] [--seconds 1] [--size-mib 512] [--only 'random read']
//
// All files lie in DIR. A figure is the ratio of ours to theirs in the same round; who goes first changes with the
// round. Our write slices end with a flush, which is timed with the rest; theirs do not. qemu-img bench cannot choose
// places at random: its step is a large odd number of blocks, so that each request lies in another cluster and a lap
// meets every block once. qemu-nbd with fio would, but its socket costs more than the image. What btrfs does in threads
// of the kernel is in nobody's CPU time here.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { mustRun, projectRoot, run } from '../test/e2e/support/process.ts';

import { median } from './figures.ts';

const BLOCK_BYTES = 4096;
const KIB = 1024;
const MIB = 1024 * KIB;
/** Room for what is written anew while a snapshot keeps the old: btrfs's device, as a multiple of the file. */
const BTRFS_ROOM = 4;

/** After a snapshot qcow2 makes some 400 a second. */
const TRIAL_REQUESTS = 400;

type Work = {
  readonly name: string;
  readonly order: 'seq' | 'random';
  readonly kind: 'read' | 'write';
  readonly blocks: number;
  readonly depth: number;
  /** A new snapshot before each slice, and the one before is deleted. */
  readonly snapshot: boolean;
};

const sequential = { order: 'seq', blocks: 32, depth: 8, snapshot: false } as const;
const random = { order: 'random', blocks: 1, depth: 32, snapshot: false } as const;
/**
 * Buffers in huge pages, as ours are: in small ones a request of 128 KiB has up to 32 pieces, as they happen to be
 * scattered over memory, and this costs more than anything else that is measured here. For fio, which takes one
 * allocation; what qemu-img allocates is too small for it.
 */
const HUGE_PAGES = { ...process.env, GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };
const WORKS: readonly Work[] = [
  { ...sequential, name: '128k sequential write qd8', kind: 'write' },
  { ...sequential, name: '128k sequential read qd8', kind: 'read' },
  { ...random, name: '4k random read qd32', kind: 'read' },
  { ...random, name: '4k random write qd32', kind: 'write' },
  { ...random, name: '4k random write qd32, after a snapshot', kind: 'write', snapshot: true },
];

/** `rate` in requests a second; p99 in µs where the tool tells it. */
type Slice = { readonly rate: number; readonly p99Us?: number };

interface Subject {
  readonly name: string;
  run(work: Work, seconds: number): Promise<Slice>;
  /** Absent: it has none. */
  snapshot?(): Promise<void>;
  close(): Promise<void>;
}

class Ours implements Subject {
  readonly name = 'ashlar';
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor(folder: string, sizeMiB: number) {
    const program = join(projectRoot(), 'build/native-crash/engine_bench');
    const args = ['--dir', folder, '--size', String(sizeMiB), '--serve', '1'];
    this.#child = spawn(program, args);
    this.#child.stderr.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ready(): Promise<void> {
    while ((await this.#line()) !== 'ready');
  }

  async run({ order, kind, blocks, depth }: Work, seconds: number): Promise<Slice> {
    this.#child.stdin.write(`run ${order} ${kind} ${blocks} ${depth} ${seconds}\n`);
    return JSON.parse(await this.#line()) as Slice;
  }

  async snapshot(): Promise<void> {
    this.#child.stdin.write('snapshot\n');
    await this.#line();
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    this.#child.kill();
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('engine_bench ended');
    return value;
  }
}

/** fio on a file, filled before. */
class FioFile implements Subject {
  readonly name: string = 'fio';
  protected readonly file: string;
  readonly #sizeMiB: number;

  constructor(file: string, sizeMiB: number) {
    this.file = file;
    this.#sizeMiB = sizeMiB;
  }

  async fill(): Promise<void> {
    await this.#fio(['--rw=write', '--bs=128k', '--iodepth=8', '--end_fsync=1']);
  }

  async run({ order, kind, blocks, depth }: Work, seconds: number): Promise<Slice> {
    const report = await this.#fio([
      `--rw=${order === 'random' ? 'rand' : ''}${kind}`,
      `--bs=${blocks * BLOCK_BYTES}`,
      `--iodepth=${depth}`,
      ...[`--runtime=${seconds}`, '--time_based', '--norandommap', '--randrepeat=0'],
    ]);
    const side = report[kind];
    return {
      rate: side.iops,
      p99Us: (side.clat_ns.percentile?.['99.000000'] ?? Number.NaN) / 1000,
    };
  }

  async close(): Promise<void> {}

  async #fio(args: readonly string[]): Promise<FioJob> {
    const fixed = ['--name=bench', `--filename=${this.file}`, `--size=${this.#sizeMiB}m`];
    const medium = ['--ioengine=io_uring', '--direct=1', '--refill_buffers=0', '--iomem_align=2m'];
    const said = await mustRun('fio', [...fixed, ...medium, ...args, '--output-format=json'], {
      timeoutMs: 300_000,
      env: HUGE_PAGES,
    });
    const { jobs } = JSON.parse(said.slice(said.indexOf('{'))) as { jobs: FioJob[] };
    if (jobs[0] === undefined || jobs[0].error !== 0) throw new Error(`fio failed on ${this.file}`);
    return jobs[0];
  }
}

type FioSide = { iops: number; clat_ns: { percentile?: Record<string, number> } };
type FioJob = { error: number; read: FioSide; write: FioSide };

class BtrfsFile extends FioFile {
  override readonly name = 'btrfs';
  readonly #undo: (readonly [string, ...string[]])[];
  readonly #mount: string;
  #snapshots = 0;

  private constructor(mount: string, sizeMiB: number, undo: (readonly [string, ...string[]])[]) {
    super(join(mount, 'live/file'), sizeMiB);
    this.#mount = mount;
    this.#undo = undo;
  }

  static async make(folder: string, sizeMiB: number): Promise<BtrfsFile> {
    const image = join(folder, 'btrfs.img');
    const mount = mkdtempSync(join(folder, 'btrfs-'));
    const undo: (readonly [string, ...string[]])[] = [];
    try {
      // Written all through, as ours and fio's file are, and never given back by a discard: the first write to space that
      // the file system below has only promised goes at half the rate.
      const zeros = ['if=/dev/zero', `of=${image}`, 'bs=4M', `count=${(BTRFS_ROOM * sizeMiB) / 4}`];
      await mustRun('dd', [...zeros, 'oflag=direct', 'status=none'], { timeoutMs: 300_000 });
      await mustRun('mkfs.btrfs', ['-q', '-f', '-K', image]);
      const loop = (await mustRun('losetup', ['--direct-io=on', '--find', '--show', image])).trim();
      undo.unshift(['losetup', '--detach', loop]);
      await mustRun('mount', ['-t', 'btrfs', '-o', 'nodiscard', loop, mount]);
      undo.unshift(['umount', mount]);
      await mustRun('btrfs', ['subvolume', 'create', join(mount, 'live')]);
      return new BtrfsFile(mount, sizeMiB, undo);
    } catch (error) {
      await undoAll(undo);
      throw error;
    }
  }

  async snapshot(): Promise<void> {
    const of = (n: number): string => join(this.#mount, `s${n}`);
    await mustRun('btrfs', [
      'subvolume',
      'snapshot',
      '-r',
      join(this.#mount, 'live'),
      of(++this.#snapshots),
    ]);
    if (this.#snapshots > 1)
      await mustRun('btrfs', ['subvolume', 'delete', of(this.#snapshots - 1)]);
  }

  override close(): Promise<void> {
    return undoAll(this.#undo);
  }
}

async function undoAll(undo: readonly (readonly [string, ...string[]])[]): Promise<void> {
  for (const [command, ...args] of undo) {
    const { status, stderr } = await run(command, args);
    if (status !== 0) console.error(`${command} ${args.join(' ')}: ${stderr.trim()}`);
  }
}

class Qcow2 implements Subject {
  readonly name = 'qcow2';
  readonly #image: string;
  readonly #sizeMiB: number;
  readonly #rates = new Map<string, number>();
  #snapshots = 0;

  constructor(image: string, sizeMiB: number) {
    this.#image = image;
    this.#sizeMiB = sizeMiB;
  }

  async make(): Promise<void> {
    await mustRun('qemu-img', ['create', '-q', '-f', 'qcow2', this.#image, `${this.#sizeMiB}M`]);
    await this.#bench({ ...sequential, name: 'fill', kind: 'write' }, this.#sizeMiB * 8);
  }

  /** It counts requests, not time: as many as the slice before would have made; before the first one a few are made to tell. */
  async run(work: Work, seconds: number): Promise<Slice> {
    const known = this.#rates.get(work.name);
    const expected = known ?? TRIAL_REQUESTS / (await this.#bench(work, TRIAL_REQUESTS));
    const count = Math.max(work.depth, Math.round(expected * seconds));
    const rate = count / (await this.#bench(work, count));
    this.#rates.set(work.name, rate);
    return { rate };
  }

  async snapshot(): Promise<void> {
    await mustRun('qemu-img', ['snapshot', '-c', `s${++this.#snapshots}`, this.#image]);
    if (this.#snapshots > 1)
      await mustRun('qemu-img', ['snapshot', '-d', `s${this.#snapshots - 1}`, this.#image]);
  }

  async close(): Promise<void> {}

  /** Seconds that `count` requests took. */
  async #bench({ order, kind, blocks, depth }: Work, count: number): Promise<number> {
    const bytes = blocks * BLOCK_BYTES;
    const places = (this.#sizeMiB * MIB) / bytes;
    const step = order === 'random' ? (Math.floor(places * 0.618) | 1) * bytes : bytes;
    const said = await mustRun(
      'qemu-img',
      [
        ...['bench', '-f', 'qcow2', '-t', 'none', '-i', 'io_uring'],
        ...(kind === 'write' ? ['-w', '--pattern=165'] : []),
        ...['-c', String(count), '-d', String(depth), '-s', String(bytes), '-S', String(step)],
        this.#image,
      ],
      { timeoutMs: 300_000 },
    );
    const took = /completed in ([0-9.]+) seconds/.exec(said)?.[1];
    if (took === undefined) throw new Error(`qemu-img bench said: ${said}`);
    return Math.max(Number(took), 0.001);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      compare: { type: 'boolean' },
      dir: { type: 'string', default: '.' },
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '1' },
      'size-mib': { type: 'string', default: '512' },
      only: { type: 'string', default: '' },
      out: { type: 'string' },
    },
  });
  const only = new RegExp(values.only);
  const rounds = Number(values.rounds);
  const seconds = Number(values.seconds);
  const sizeMiB = Number(values['size-mib']);
  const folder = mkdtempSync(join(values.dir, 'ashlar-bench-engine-'));
  const subjects: Subject[] = [];
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= (async () => {
      for (const subject of subjects) await subject.close();
      rmSync(folder, { recursive: true, force: true });
    })();
    return closing;
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void close().then(() => process.exit(1)));
  try {
    const ours = new Ours(folder, sizeMiB);
    subjects.push(ours);
    await ours.ready();
    const fio = new FioFile(join(folder, 'fio.raw'), sizeMiB);
    subjects.push(fio);
    await fio.fill();
    await unlessMissing(
      'btrfs',
      'root, mkfs.btrfs, and a kernel with loop devices and btrfs',
      async () => {
        const btrfs = await BtrfsFile.make(folder, sizeMiB);
        subjects.push(btrfs);
        await btrfs.fill();
      },
    );
    await unlessMissing('qcow2', 'qemu-img (package qemu-utils)', async () => {
      const qcow2 = new Qcow2(join(folder, 'image.qcow2'), sizeMiB);
      await qcow2.make();
      subjects.push(qcow2);
    });
    const works = WORKS.filter(({ name }) => only.test(name));
    const text = await compare(subjects, works, rounds, seconds);
    console.log(`\n${text}`);
    if (values.out !== undefined) writeFileSync(values.out, `${text}\n`);
  } finally {
    await close();
  }
}

async function unlessMissing(
  name: string,
  needs: string,
  make: () => Promise<void>,
): Promise<void> {
  try {
    await make();
  } catch (error) {
    console.error(`${name} is left out: it needs ${needs}.\n  ${(error as Error).message.trim()}`);
  }
}

async function compare(
  subjects: readonly Subject[],
  works: readonly Work[],
  rounds: number,
  seconds: number,
): Promise<string> {
  const others = subjects.slice(1);
  const lines = [
    `${seconds} s a slice, ${rounds} rounds; requests a second, and ours to theirs (least–greatest)`,
    '',
    `| workload | ashlar | ${others.map(({ name }) => `${name} | ashlar / ${name}`).join(' | ')} |`,
    `|---|---|${'---|---|'.repeat(others.length)}`,
  ];
  for (const work of works) {
    const rates = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]));
    for (let round = 0; round < rounds; round += 1) {
      const turn = subjects.map((_, i) => subjects[(i + round) % subjects.length] as Subject);
      for (const subject of turn) {
        if (work.snapshot) await subject.snapshot?.();
        const { rate } = await subject.run(work, seconds);
        rates.get(subject)?.push(rate);
        console.log(
          `round ${round + 1}  ${work.name.padEnd(40)} ${subject.name.padEnd(7)} ${rate.toFixed(0)}`,
        );
      }
    }
    const [ours = [], ...theirs] = subjects.map((subject) => rates.get(subject) ?? []);
    const cells = [work.name, median(ours).toFixed(0)];
    for (const their of theirs) {
      const ratios = ours.map((rate, i) => rate / (their[i] ?? Number.NaN));
      const spread = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`;
      cells.push(median(their).toFixed(0), `${median(ratios).toFixed(2)} (${spread})`);
    }
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

await main();
