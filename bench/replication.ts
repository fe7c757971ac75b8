// A volume on three replicas: four processes (a coordinator, three replica daemons) and fio, on one machine, with every pool
// on /dev/shm.
//
//   npm run bench -- --replication [--rounds 3] [--seconds 5] [--size-mib 1024] [--only 'randwrite|kill|rebuild'] [--spin 50] [--out F]
//
// What is measured: I/Os a second and p99 by depth; CPU of each process by I/O, and what the processors did besides: a run beside
// which others took much says little; how long the longest I/O takes while a replica is killed; how fast a replica is rebuilt, and
// what is left for hosts meanwhile. A figure of one machine says little about three: there everything but the coordinator has a
// processor of its own. `--spin`: cpu.spinMicroseconds, as configured by default (decision 0005).
import { mkdtempSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { MemberState } from '../src/wire/record.ts';
import { Cluster } from '../test/chaos/cluster.ts';
import { delay } from '../test/e2e/support/process.ts';
import { cpuSeconds, machineSeconds, median, positive, spread, thousands } from './figures.ts';
import { fill, libiscsiFio, type Measured, measure, type Workload } from './fio.ts';

const VOLUME = 'bench';
const UNTIL_HEALTHY_MS = 300_000;

type Sample = Measured & {
  readonly coordinatorUs: number;
  readonly replicaUs: number;
  readonly fioUs: number;
  /** Per cent of what all processors could have done: idle, and taken by who has nothing to do with this. */
  readonly idlePercent: number;
  readonly othersPercent: number;
};

const WORKLOADS: readonly Workload[] = (['randwrite', 'randread'] as const).flatMap((rw) =>
  [1, 8, 32, 128].map((depth) => ({ name: `4k ${rw} qd${depth}`, rw, blockBytes: 4096, depth })),
);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      only: { type: 'string', default: '' },
      'size-mib': { type: 'string', default: '1024' },
      spin: { type: 'string', default: '50' },
      replication: { type: 'boolean' },
      out: { type: 'string' },
    },
  });
  const rounds = positive('rounds', values.rounds);
  const seconds = positive('seconds', values.seconds);
  const sizeMiB = positive('size-mib', values['size-mib']);
  const only = new RegExp(values.only);
  const fio = await libiscsiFio(console.log);
  const loadBefore = loadavg()[0]!;
  const poolMiB = sizeMiB * 2 + 512;
  const cluster = new Cluster({
    replicas: 3,
    poolSize: `${poolMiB}Mi`,
    replication: '  rebuild:\n    bytesPerSecond: 0\n',
    folder: mkdtempSync('/dev/shm/ashlar-bench-'),
    direct: true,
    spinMicroseconds: Number(values.spin),
  });
  const lines: string[] = [];
  try {
    await cluster.start();
    const iqn = await cluster.createVolume(VOLUME, `${sizeMiB}Mi`);
    await cluster.untilState(VOLUME, 'Healthy', UNTIL_HEALTHY_MS);
    const bench = new ReplicationBench(
      cluster,
      fio,
      `iscsi://127.0.0.1:${cluster.portalPort}/${iqn}/0`,
    );
    // Until every block of the pools has been written: on a virtual machine the first touch of a page of RAM is a fault of
    // the hypervisor's, which costs several times what the write itself does.
    console.log('filling the volume, and the pools with it');
    for (let writtenMiB = 0; writtenMiB < poolMiB + sizeMiB; writtenMiB += sizeMiB) {
      await fill(fio, bench.url);
    }
    lines.push(
      ...(await bench.workloads(
        WORKLOADS.filter(({ name }) => only.test(name)),
        rounds,
        seconds,
      )),
    );
    if (only.test('kill')) lines.push(...(await bench.killed(Math.max(8, seconds))));
    if (only.test('rebuild')) lines.push(...(await bench.rebuilt(sizeMiB)));
  } finally {
    await cluster.dispose();
  }
  const report = [
    `${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, node ${process.version}, ${rounds} rounds of ${seconds} s, volume of ${sizeMiB} MiB, filled; ` +
      `load before ${loadBefore.toFixed(1)}.`,
    '',
    ...lines,
  ].join('\n');
  console.log(`\n${report}`);
  if (values.out !== undefined) writeFileSync(values.out, `${report}\n`);
}

class ReplicationBench {
  readonly url: string;
  readonly #cluster: Cluster;
  readonly #fio: string;

  constructor(cluster: Cluster, fio: string, url: string) {
    this.#cluster = cluster;
    this.#fio = fio;
    this.url = url;
  }

  async workloads(
    workloads: readonly Workload[],
    rounds: number,
    seconds: number,
  ): Promise<string[]> {
    if (workloads.length === 0) return [];
    const samples = new Map<string, Sample[]>(workloads.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round += 1) {
      for (const workload of workloads) {
        const one = await this.#sample(workload, seconds);
        samples.get(workload.name)!.push(one);
        console.log(
          `round ${round + 1}  ${workload.name.padEnd(20)}${thousands(one.iops).padStart(8)} IOPS  p99 ${one.p99Us.toFixed(0)} µs  ` +
            `CPU µs/IO: coordinator ${one.coordinatorUs.toFixed(1)}, a replica ${one.replicaUs.toFixed(1)}, fio ${one.fioUs.toFixed(1)}  ` +
            `idle ${one.idlePercent.toFixed(0)} %, others ${one.othersPercent.toFixed(0)} %`,
        );
      }
    }
    const lines = [
      '| workload | IOPS | p99 µs | CPU µs per I/O: coordinator | a replica | fio | idle % | others % |',
      '|---|---|---|---|---|---|---|---|',
    ];
    for (const [name, all] of samples) {
      const shown = spread(
        all.map((one) => one.iops),
        thousands,
      );
      const middle = (pick: (one: Sample) => number): number => median(all.map(pick));
      lines.push(
        `| ${name} | ${shown} | ${middle((one) => one.p99Us).toFixed(0)} | ${middle((one) => one.coordinatorUs).toFixed(1)} | ` +
          `${middle((one) => one.replicaUs).toFixed(1)} | ${middle((one) => one.fioUs).toFixed(1)} | ` +
          `${middle((one) => one.idlePercent).toFixed(0)} | ${middle((one) => one.othersPercent).toFixed(0)} |`,
      );
    }
    return lines;
  }

  /** One replica is killed a third into the run. */
  async killed(seconds: number): Promise<string[]> {
    const workload: Workload = {
      name: '4k randwrite qd32',
      rw: 'randwrite',
      blockBytes: 4096,
      depth: 32,
    };
    const whole = await this.#sample(workload, seconds);
    const victim = this.#cluster.replicas[2]!;
    const running = this.#sample(workload, seconds);
    await delay((seconds * 1000) / 3);
    await this.#cluster.kill(victim);
    const during = await running;
    await this.#cluster.run(victim);
    const again = await this.#sample(workload, seconds);
    await this.#cluster.untilState(VOLUME, 'Healthy', UNTIL_HEALTHY_MS);
    return [
      '',
      '| 4k randwrite qd32 | IOPS | p99 µs | longest ms |',
      '|---|---|---|---|',
      ...(
        [
          ['three replicas', whole],
          ['while one is killed', during],
          ['while it returns and is rebuilt', again],
        ] as const
      ).map(
        ([what, one]) =>
          `| ${what} | ${thousands(one.iops)} | ${one.p99Us.toFixed(0)} | ${one.maxMs.toFixed(0)} |`,
      ),
    ];
  }

  /** A replica misses a whole volume of writes, and gets them. */
  async rebuilt(sizeMiB: number): Promise<string[]> {
    const victim = this.#cluster.replicas[1]!;
    await this.#cluster.kill(victim);
    console.log('writing the whole volume without one replica');
    await fill(this.#fio, this.url);
    await this.#cluster.run(victim);
    const joined = await this.#record((states) => states.includes(MemberState.Joining), 0);
    const cpu = (): number[] =>
      [this.#cluster.coordinator, ...this.#cluster.replicas].map(({ child }) =>
        cpuSeconds(child?.pid),
      );
    const before = { cpu: cpu(), machine: machineSeconds() };
    const healthy = await this.#record(
      (states) => states.every((state) => state === MemberState.InSync),
      joined.n + 1,
    );
    const after = { cpu: cpu(), machine: machineSeconds() };
    const seconds = (Date.parse(healthy.time) - Date.parse(joined.time)) / 1000;
    const blocks = sizeMiB * 256;
    const us = after.cpu.map((now, index) => ((now - before.cpu[index]!) * 1e6) / blocks);
    const idle = after.machine.idle - before.machine.idle;
    const busy = after.machine.busy - before.machine.busy;
    const others = busy - (us.reduce((sum, one) => sum + one, 0) * blocks) / 1e6;
    const percent = (of: number): string => ((100 * of) / (idle + busy)).toFixed(0);
    return [
      '',
      `Rebuild of ${sizeMiB} MiB that a replica missed: ${((sizeMiB * 1.048576) / seconds).toFixed(0)} MB/s; ` +
        `CPU µs per block: coordinator ${us[0]!.toFixed(1)}, replicas ${us
          .slice(1)
          .map((one) => one.toFixed(1))
          .join(
            ', ',
          )} (the second is rebuilt); idle ${percent(idle)} %, others ${percent(others)} %.`,
    ];
  }

  /**
   * The newest committed record, once it is number `least` or later and its members are so. From the log: whoever asks the API
   * again and again takes from what is measured.
   */
  async #record(
    are: (states: readonly number[]) => boolean,
    least: number,
  ): Promise<{ readonly n: number; readonly time: string }> {
    const deadlineMs = performance.now() + UNTIL_HEALTHY_MS;
    while (performance.now() < deadlineMs) {
      const last = this.#cluster.committedRecords().at(-1);
      const states = last?.members.map((member) =>
        Number(member.slice(member.lastIndexOf(':') + 1)),
      );
      if (last !== undefined && last.n >= least && are(states ?? [])) return last;
      await delay(50);
    }
    throw new Error(`the rebuild has not ended after ${UNTIL_HEALTHY_MS / 1000} s`);
  }

  async #sample(workload: Workload, seconds: number): Promise<Sample> {
    const { coordinator, replicas } = this.#cluster;
    const cpu = (): [number, number] => [
      cpuSeconds(coordinator.child?.pid),
      replicas.reduce((sum, { child }) => sum + cpuSeconds(child?.pid), 0),
    ];
    const before = cpu();
    const machineBefore = machineSeconds();
    const measured = await measure(this.#fio, this.url, workload, seconds);
    const machine = machineSeconds();
    const after = cpu();
    const idle = machine.idle - machineBefore.idle;
    const busy = machine.busy - machineBefore.busy;
    const ours = after[0] - before[0] + after[1] - before[1] + measured.cpuSeconds;
    const us = (cpuTime: number): number => (cpuTime * 1e6) / measured.ios;
    return {
      ...measured,
      coordinatorUs: us(after[0] - before[0]),
      replicaUs: us(after[1] - before[1]) / replicas.length,
      fioUs: us(measured.cpuSeconds),
      idlePercent: (100 * idle) / (idle + busy),
      othersPercent: (100 * Math.max(0, busy - ours)) / (idle + busy),
    };
  }
}

await main();
