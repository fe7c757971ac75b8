// The one client of every end-to-end figure: fio with its libiscsi engine, which Debian does not build. It is made
// from Debian's own fio source package (about 15 s) and kept under ${XDG_CACHE_HOME:-~/.cache}/ashlar/bench.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { mustRun, run } from '../test/e2e/support/process.ts';

const SUITE = 'bookworm';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

export type Workload = {
  readonly name: string;
  readonly rw: 'randread' | 'randwrite' | 'read' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
};

export type Measured = {
  readonly iops: number;
  readonly p99Us: number;
  /** The longest of all. */
  readonly maxMs: number;
  /** I/Os done in the whole run, to share the target's CPU time among. */
  readonly ios: number;
  /** CPU time of fio itself, user and system. */
  readonly cpuSeconds: number;
};

/** Path of the fio that speaks iSCSI, built now if it is not there. */
export async function libiscsiFio(say: (line: string) => void): Promise<string> {
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'ashlar/bench');
  const fio = join(cache, `fio-${SUITE}-libiscsi`);
  if (existsSync(fio)) return fio;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'build-'));
  try {
    say('bench: fetching the source of fio');
    await fetchSource(work);
    const source = readdirSync(work, { withFileTypes: true }).find(
      (entry) => entry.isDirectory() && entry.name.startsWith('fio-'),
    );
    if (source === undefined) throw new Error('the fio source package has no folder fio-*');
    const cwd = join(work, source.name);
    say('bench: building fio with its libiscsi engine');
    const said = await mustRun('./configure', ['--enable-libiscsi'], { cwd, timeoutMs: 300_000 });
    if (!/^iscsi engine\s+yes/m.test(said))
      throw new Error('libiscsi-dev is missing (apt-get install libiscsi-dev)');
    await mustRun('make', ['-j2', 'fio'], { cwd, timeoutMs: 900_000 });
    const built = join(work, 'built');
    copyFileSync(join(cwd, 'fio'), built);
    renameSync(built, fio); // Whole or not at all.
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return fio;
}

/** Source packages are not in a usual machine's lists: apt gets lists of our own for this one call. */
async function fetchSource(work: string): Promise<void> {
  const lists = join(work, 'lists');
  const cache = join(work, 'apt-cache');
  mkdirSync(join(lists, 'partial'), { recursive: true });
  mkdirSync(join(cache, 'archives/partial'), { recursive: true });
  const sources = join(work, 'sources.list');
  writeFileSync(
    sources,
    `deb-src [signed-by=${KEYRING}] http://deb.debian.org/debian ${SUITE} main\n`,
  );
  const options = [
    ...['-qq', '-o', `Dir::Etc::sourcelist=${sources}`, '-o', 'Dir::Etc::sourceparts=-'],
    ...['-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${cache}`],
    ...['-o', 'APT::Sandbox::User=root'],
  ];
  await mustRun('apt-get', [...options, 'update'], { timeoutMs: 300_000 });
  await mustRun('apt-get', [...options, 'source', '--download-only', 'fio'], {
    cwd: work,
    timeoutMs: 300_000,
  });
  // The upstream tarball is enough: Debian's patches are about man pages and its build.
  const tarball = readdirSync(work).find((name) => /^fio_.*\.orig\.tar\.[a-z0-9]+$/.test(name));
  if (tarball === undefined) throw new Error('the fio source package has no .orig.tar');
  await mustRun('tar', ['-xf', tarball], { cwd: work });
  const folder = readdirSync(work).find((name) => /^fio-/.test(name));
  if (folder === undefined) throw new Error(`${tarball} has no folder fio-*`);
}

/** Writes every block once, so that no read is answered from a hole. */
export async function fill(fio: string, url: string): Promise<void> {
  await mustRun(
    fio,
    [
      '--name=fill',
      '--rw=write',
      '--bs=128k',
      '--iodepth=16',
      '--refill_buffers=1',
      ...engine(url),
    ],
    { timeoutMs: 900_000 },
  );
}

/** Runs a workload for so many seconds. */
export async function measure(
  fio: string,
  url: string,
  workload: Workload,
  seconds: number,
): Promise<Measured> {
  const done = await run(
    fio,
    [
      `--name=${workload.name.replaceAll(' ', '-')}`,
      `--rw=${workload.rw}`,
      `--bs=${workload.blockBytes}`,
      `--iodepth=${workload.depth}`,
      `--runtime=${seconds}`,
      ...['--time_based', '--randrepeat=0', '--norandommap', '--percentile_list=50:99:99.9'],
      '--output-format=json',
      ...engine(url),
    ],
    { timeoutMs: (seconds + 60) * 1000 },
  );
  // fio reports a failed I/O on stderr; its JSON is then pages of zeros.
  if (done.status !== 0)
    throw new Error(`${workload.name}: fio failed:\n${done.stderr.slice(0, 1000)}`);
  const parsed = JSON.parse(done.stdout.slice(done.stdout.indexOf('{'))) as {
    jobs: Job[];
  };
  const job = parsed.jobs[0];
  if (job === undefined || job.error !== 0) throw new Error(`fio failed on ${workload.name}`);
  const side = workload.rw.endsWith('read') ? job.read : job.write;
  return {
    iops: side.iops,
    p99Us: (side.clat_ns.percentile?.['99.000000'] ?? Number.NaN) / 1000,
    maxMs: side.clat_ns.max / 1e6,
    ios: side.total_ios,
    cpuSeconds: ((job.usr_cpu + job.sys_cpu) / 100) * (job.job_runtime / 1000),
  };
}

type Job = {
  error: number;
  read: Side;
  write: Side;
  /** Per cent of the runtime, which is in milliseconds. */
  usr_cpu: number;
  sys_cpu: number;
  job_runtime: number;
};

type Side = {
  iops: number;
  total_ios: number;
  clat_ns: { max: number; percentile?: Record<string, number> };
};

function engine(url: string): string[] {
  // A colon separates file names in fio.
  return ['--ioengine=libiscsi', '--thread', `--filename=${url.replaceAll(':', '\\:')}`];
}
