// `ashlar replica` as a process: a pool, the replicas in it, and the port where coordinators reach them. No hosts, no API.
import { type Log, SystemClock, Turn } from '../base/index.ts';
import type { ReplicaNode } from '../replication/index.ts';
import type { Pool } from '../store/index.ts';
import { collectOnceWhenIdle } from './collections.ts';
import {
  type Config,
  ConfigError,
  type ConfigFlags,
  type LoadedConfig,
  loadConfig,
  type PortalAddress,
  showAddress,
} from './config/index.ts';
import { DeletedFileWatch } from './deleted-files.ts';
import { type Engine, type EngineOptions, notifySystemd, openEngine } from './engine.ts';
import { createLog } from './log.ts';
import { fewOpenFiles } from './open-files.ts';
import { portError, StartError } from './ports.ts';
import { replicaNodeOf } from './replication.ts';
import { outliveReaders, stopOnSignals } from './serve.ts';
import { withAdvice } from './start-advice.ts';

const EXIT_FAILED = 1;
const EXIT_CONFIG = 2;

export interface ReplicaDaemonOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: Log;
  readonly exactPoolSize: boolean;
  readonly openEngine: (options: EngineOptions) => Promise<Engine>;
  readonly progress: (message: string) => void;
}

export class ReplicaDaemon {
  readonly #options: ReplicaDaemonOptions;
  #pool: Pool | null = null;
  #replicas: ReplicaNode | null = null;
  #listening: PortalAddress | null = null;
  #fault = '';
  #tellFault: (why: string) => void = () => {};

  constructor(options: ReplicaDaemonOptions) {
    this.#options = options;
  }

  get listening(): PortalAddress | null {
    return this.#listening;
  }

  get fault(): string {
    return this.#fault;
  }

  get replicas(): ReplicaNode | null {
    return this.#replicas;
  }

  /** Resolves with why, when the pool has failed: nothing more can be served from it (S9). */
  readonly faulted: Promise<string> = new Promise((resolve) => {
    this.#tellFault = resolve;
  });

  async start(): Promise<void> {
    const { config, version, log } = this.#options;
    const { listen } = config.replication;
    if (listen === null) {
      throw new StartError(
        'replication.listen is not set: say where coordinators reach the replicas, like 10.0.0.2:9809',
      );
    }
    const turn = new Turn();
    const clock = new SystemClock();
    config.replication.tls?.follow(clock, log);
    const { pool, buffers } = await this.#options.openEngine({
      config,
      turn,
      exactPoolSize: this.#options.exactPoolSize,
      progress: this.#options.progress,
    });
    this.#pool = pool;
    pool.onFault((why) => {
      this.#fault = why;
      log.fatal({ why }, 'the pool is faulted: this node serves no replicas any more');
      this.#replicas?.close();
      this.#tellFault(why);
    });
    this.#replicas = replicaNodeOf(
      {
        config: config.replication,
        node: config.node.name,
        version,
        buffers,
        turn,
        clock,
        log,
      },
      pool,
    );
    try {
      const { port } = await this.#replicas.start({ address: listen.host, port: listen.port });
      this.#listening = { ...listen, port };
    } catch (error) {
      await this.stop();
      throw portError(error, 'the replica port', listen, 'replication.listen', 'Another ashlar');
    }
  }

  async stop(): Promise<void> {
    this.#options.config.replication.tls?.close();
    this.#replicas?.close();
    await this.#pool?.close();
  }
}

/** Runs until a signal ends it, or the pool fails; the value is the exit code. */
export async function replica(flags: ConfigFlags, version: string): Promise<number> {
  outliveReaders();
  collectOnceWhenIdle();
  const say = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  let loaded: LoadedConfig;
  try {
    loaded = loadConfig(flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const finding of error.findings) process.stderr.write(`${finding}\n`);
    return EXIT_CONFIG;
  }
  const { config, source } = loaded;
  const log = createLog({
    level: config.log.level,
    node: config.node.name,
    people: process.stderr.isTTY === true ? say : null,
  });
  const few = fewOpenFiles(config);
  if (few !== null) log.warn(few);
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'ashlar stops: an invariant does not hold');
    process.abort();
  });
  const daemon = new ReplicaDaemon({
    config,
    version,
    log,
    exactPoolSize: source !== null,
    openEngine,
    progress: say,
  });
  const stopped = stopOnSignals(() => {
    notifySystemd('STOPPING=1');
    say('Stopping: coordinators are told, then the pool is closed. Ctrl-C again to force.');
  });
  try {
    await daemon.start();
  } catch (error) {
    if (error instanceof StartError || (error as Error).name === 'StoreError') {
      process.stderr.write(`error: ${withAdvice(error as Error)}\n`);
    } else log.fatal({ err: error }, 'the start failed');
    return EXIT_FAILED;
  }
  const count = daemon.replicas?.host.list().length ?? 0;
  say(`ashlar ${version} replicas on ${config.node.name}`);
  say(`  pool      ${config.pool.path}`);
  say(`  replicas  ${showAddress(daemon.listening!)}   (${count} here)`);
  say('Ctrl-C stops.');
  notifySystemd('READY=1\nSTATUS=serving replicas');
  const period = Number(process.env['WATCHDOG_USEC'] ?? 0);
  const watchdog =
    period > 0 ? setInterval(() => notifySystemd('WATCHDOG=1'), period / 3000).unref() : undefined;
  const deleted = new DeletedFileWatch(new SystemClock(), log);
  const why = await Promise.race([stopped.then(() => ''), daemon.faulted]);
  clearInterval(watchdog);
  deleted.stop();
  // S9: after a failed flush only a fresh opening may be believed; the service manager starts one.
  if (why !== '') return EXIT_FAILED;
  await daemon.stop();
  say('Stopped.');
  return 0;
}
