// A volume on three replicas: four processes (a coordinator, three replica daemons) and fio, on one machine, with every pool
// on /dev/shm.
//
//   npm run bench -- --replication [--rounds 3] [--seconds 5] [--size-mib 1024] [--only 'randwrite|kill|rebuild'] [--out F]
//
// What is measured: I/Os a second and p99 by depth; CPU of each process by I/O; how long the longest I/O takes while a
// replica is killed; how fast a replica is rebuilt, and what is left for hosts meanwhile. A figure of one machine says little
// about three: there everything but the coordinator has a processor of its own.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { Cluster } from '../test/chaos/cluster.ts';
import { delay } from '../test/e2e/support/process.ts';
import { cpuSeconds, median, positive, spread, thousands } from './figures.ts';
import { fill, libiscsiFio, type Measured, measure, type Workload } from './fio.ts';

const VOLUME = 'bench';
const UNTIL_HEALTHY_MS = 300_000;

type Sample = Measured & { readonly coordinatorUs: number; readonly replicaUs: number };

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
            `CPU µs/IO: coordinator ${one.coordinatorUs.toFixed(1)}, replicas ${one.replicaUs.toFixed(1)}`,
        );
      }
    }
    const lines = [
      '| workload | IOPS | p99 µs | CPU µs per I/O: coordinator | a replica |',
      '|---|---|---|---|---|',
    ];
    for (const [name, all] of samples) {
      const shown = spread(
        all.map((one) => one.iops),
        thousands,
      );
      const middle = (pick: (one: Sample) => number): number => median(all.map(pick));
      lines.push(
        `| ${name} | ${shown} | ${middle((one) => one.p99Us).toFixed(0)} | ${middle((one) => one.coordinatorUs).toFixed(1)} | ` +
          `${middle((one) => one.replicaUs).toFixed(1)} |`,
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
    await this.#until((state) => state !== 'Degraded');
    const startMs = performance.now();
    await this.#until((state) => state === 'Healthy');
    const seconds = (performance.now() - startMs) / 1000;
    return [
      '',
      `Rebuild of ${sizeMiB} MiB that a replica missed: ${((sizeMiB * 1.048576) / seconds).toFixed(0)} MB/s.`,
    ];
  }

  /** Looks often enough that a rebuild of two seconds is not taken for one of two and a fifth. */
  async #until(reached: (state: string) => boolean): Promise<void> {
    const deadlineMs = performance.now() + UNTIL_HEALTHY_MS;
    while (performance.now() < deadlineMs) {
      const status = await this.#cluster.volume(VOLUME);
      if (status !== null && reached(status.state)) return;
      await delay(20);
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
    const measured = await measure(this.#fio, this.url, workload, seconds);
    const after = cpu();
    return {
      ...measured,
      coordinatorUs: ((after[0] - before[0]) * 1e6) / measured.ios,
      replicaUs: ((after[1] - before[1]) * 1e6) / measured.ios / replicas.length,
    };
  }
}

await main();
