// ashlar beside tgt through a real initiator, in one interleaved run.
//
//   npm run bench                                      everything: RAM-backed and disk, 3 rounds of 5 s
//   npm run bench -- --only 'ram.*randread' --rounds 5 --seconds 10
//   npm run bench -- --disk-folder /mnt/nvme           where the disk-backed files go
//   npm run bench -- --noise                           tgt against a second tgt: what a ratio of 1 looks like today
//
// A figure is a ratio between the two in the same round: the machine's mood changes from minute to minute, and both
// meet the same one. Medians over the rounds stand with their spread. CPU is the target process's own (all threads,
// user and system), shared among the I/Os of the run; fio's is not in it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { AshlarTarget, type Target, TgtTarget } from '../test/e2e/support/target.ts';
import { cpuSeconds, median, positive, spread, thousands } from './figures.ts';
import { fill, libiscsiFio, type Measured, measure, type Workload } from './fio.ts';

const WORKLOADS: readonly Workload[] = [
  ...[1, 8, 32, 128].map(
    (depth): Workload => ({
      name: `4k randread qd${depth}`,
      rw: 'randread',
      blockBytes: 4096,
      depth,
    }),
  ),
  ...[1, 8, 32, 128].map(
    (depth): Workload => ({
      name: `4k randwrite qd${depth}`,
      rw: 'randwrite',
      blockBytes: 4096,
      depth,
    }),
  ),
  { name: '128k read qd8', rw: 'read', blockBytes: 131_072, depth: 8 },
  { name: '128k write qd8', rw: 'write', blockBytes: 131_072, depth: 8 },
];

type Sample = Measured & { readonly cpuUsPerIo: number };
type Medium = 'ram' | 'disk';
type Subject = {
  readonly target: Target;
  readonly url: string;
  readonly samples: Map<string, Sample[]>;
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      only: { type: 'string' },
      'size-mib': { type: 'string', default: '1024' },
      'disk-folder': { type: 'string', default: tmpdir() },
      noise: { type: 'boolean', default: false },
      out: { type: 'string' },
    },
  });
  const rounds = positive('rounds', values.rounds);
  const seconds = positive('seconds', values.seconds);
  const sizeMiB = positive('size-mib', values['size-mib']);
  const only = new RegExp(values.only ?? '');
  const fio = await libiscsiFio(console.log);

  const tables: string[] = [];
  for (const medium of ['ram', 'disk'] as const) {
    const workloads = WORKLOADS.filter(({ name }) => only.test(`${medium} ${name}`));
    if (workloads.length === 0) continue;
    const folder = medium === 'ram' ? '/dev/shm' : values['disk-folder'];
    tables.push(
      await compare({
        fio,
        medium,
        folder,
        workloads,
        rounds,
        seconds,
        sizeMiB,
        noise: values.noise,
      }),
    );
  }
  if (tables.length === 0) throw new Error(`--only '${values.only}' matches no workload`);
  const report = [
    `${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, node ${process.version}, ${rounds} rounds of ${seconds} s, volume of ${sizeMiB} MiB, filled.`,
    ...tables,
  ].join('\n\n');
  console.log(`\n${report}`);
  if (values.out !== undefined) writeFileSync(values.out, `${report}\n`);
}

type Comparison = {
  readonly fio: string;
  readonly medium: Medium;
  readonly folder: string;
  readonly workloads: readonly Workload[];
  readonly rounds: number;
  readonly seconds: number;
  readonly sizeMiB: number;
  readonly noise: boolean;
};

async function compare(what: Comparison): Promise<string> {
  const folder = mkdtempSync(join(what.folder, 'ashlar-bench-'));
  const direct = what.medium === 'disk';
  const targets: Target[] = [
    // The pool has room for the copies that redirect-on-write makes before the old blocks are free again.
    what.noise
      ? new TgtTarget({ folder, direct })
      : new AshlarTarget({ folder, poolMiB: what.sizeMiB * 2 + 512 }),
    new TgtTarget({ folder, direct }),
  ];
  try {
    const subjects: Subject[] = [];
    for (const target of targets) {
      await target.start();
      const { iqn, lun } = await target.createVolume('bench', { sizeMiB: what.sizeMiB });
      const url = `iscsi://127.0.0.1:${target.portalPort}/${iqn}/${lun}`;
      console.log(`${what.medium}: filling ${target.name}`);
      await fill(what.fio, url);
      subjects.push({ target, url, samples: new Map() });
    }
    for (let round = 0; round < what.rounds; round += 1) {
      for (const workload of what.workloads) {
        // Who goes first changes, so that a cost that the first leaves to the second falls on both.
        const order = round % 2 === 0 ? subjects : [...subjects].reverse();
        for (const subject of order) await sample(what, subject, workload, round);
      }
    }
    return table(what, subjects);
  } finally {
    for (const target of targets) await target.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function sample(
  what: Comparison,
  subject: Subject,
  workload: Workload,
  round: number,
): Promise<void> {
  const pid = subject.target.process?.pid;
  if (pid === undefined) throw new Error(`${subject.target.name} is not running`);
  const before = cpuSeconds(pid);
  const measured = await measure(what.fio, subject.url, workload, what.seconds);
  const cpuUsPerIo = ((cpuSeconds(pid) - before) * 1e6) / measured.ios;
  const samples = subject.samples.get(workload.name) ?? [];
  samples.push({ ...measured, cpuUsPerIo });
  subject.samples.set(workload.name, samples);
  console.log(
    `${what.medium} round ${round + 1}  ${workload.name.padEnd(20)} ${subject.target.name.padEnd(7)}` +
      `${thousands(measured.iops).padStart(8)} IOPS  p99 ${measured.p99Us.toFixed(0)} µs  ${cpuUsPerIo.toFixed(1)} µs CPU/IO`,
  );
}

function table(what: Comparison, [ashlar, peer]: readonly Subject[]): string {
  const place =
    what.medium === 'ram' ? 'RAM-backed (a file on /dev/shm)' : 'disk (a file, O_DIRECT)';
  const us = ashlar?.target.name;
  const lines = [
    `**${place}**`,
    '',
    `| workload | ${us} IOPS | tgt IOPS | ratio | p99 µs ${us} / tgt | CPU µs per I/O ${us} / tgt |`,
    '|---|---|---|---|---|---|',
  ];
  for (const { name } of what.workloads) {
    const ours = ashlar?.samples.get(name) ?? [];
    const theirs = peer?.samples.get(name) ?? [];
    const ratios = ours.map((own, round) => own.iops / (theirs[round]?.iops ?? Number.NaN));
    const iops = (samples: readonly Sample[]): string =>
      spread(
        samples.map((one) => one.iops),
        thousands,
      );
    const pair = (pick: (one: Sample) => number, digits: number): string =>
      `${median(ours.map(pick)).toFixed(digits)} / ${median(theirs.map(pick)).toFixed(digits)}`;
    const cells = [
      name,
      iops(ours),
      iops(theirs),
      spread(ratios, (ratio) => ratio.toFixed(2)),
      pair((one) => one.p99Us, 0),
      pair((one) => one.cpuUsPerIo, 1),
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

await main();
