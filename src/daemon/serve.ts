// `ashlar serve` as a process: flags, the words on the screen, signals, systemd, the exit code.
import type { Logger } from 'pino';
import { SystemClock } from '../base/index.ts';
import { collectOnceWhenIdle } from './collections.ts';
import {
  type Config,
  ConfigError,
  type ConfigFlags,
  type LoadedConfig,
  loadConfig,
  showAddress,
} from './config/index.ts';
import { Daemon } from './daemon.ts';
import { DeletedFileWatch } from './deleted-files.ts';
import { notifySystemd, openEngine } from './engine.ts';
import { createLog } from './log.ts';
import { openObjects } from './objects.ts';
import { fewOpenFiles } from './open-files.ts';
import { StartError } from './ports.ts';
import { withAdvice } from './start-advice.ts';
import { StatusLine } from './status-line.ts';

const EXIT_FAILED = 1;
const EXIT_CONFIG = 2;
/** Ctrl-C twice: as a shell reports a process that SIGINT ended. */
const EXIT_FORCED = 130;

/** Runs until a signal ends it; the value is the exit code. */
export async function serve(flags: ConfigFlags, version: string): Promise<number> {
  outliveReaders();
  collectOnceWhenIdle();
  const say = (line: string): void => {
    if (status === null) process.stdout.write(`${line}\n`);
    else status.print(line);
  };
  let status: StatusLine | null = null;

  let loaded: LoadedConfig;
  try {
    loaded = loadConfig(flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const finding of error.findings) process.stderr.write(`${finding}\n`);
    return EXIT_CONFIG;
  }
  const { config, source } = loaded;
  const interactive = process.stderr.isTTY === true;
  const log = createLog({
    level: config.log.level,
    node: config.node.name,
    people: interactive ? say : null,
  });
  const few = fewOpenFiles(config);
  if (few !== null) log.warn(few);
  process.on('uncaughtException', (error) => {
    // A broken invariant: what carries on after it may serve wrong data. The pool is left as a crash would leave it.
    log.fatal({ err: error }, 'ashlar stops: an invariant does not hold');
    process.abort();
  });

  const daemon = new Daemon({
    config,
    version,
    log,
    exactPoolSize: source !== null,
    openEngine,
    openObjects,
    progress: say,
  });
  let stopping = false;
  const stopped = stopOnSignals(() => {
    stopping = true;
    notifySystemd('STOPPING=1\nSTATUS=letting hosts log out');
    status?.stop();
    status = null;
    say('Stopping: hosts are asked to log out, then the pool is closed. Ctrl-C again to force.');
  });
  try {
    await daemon.start();
  } catch (error) {
    if (error instanceof StartError || (error as Error).name === 'StoreError') {
      process.stderr.write(`error: ${withAdvice(error as Error)}\n`);
      log.debug({ err: error }, 'the start failed');
    } else {
      log.fatal({ err: error }, 'the start failed');
    }
    return EXIT_FAILED;
  }
  if (stopping) {
    // Asked to stop while it started: hosts have not been told that it serves, and are not told now.
    await daemon.stop();
    say('Stopped.');
    return 0;
  }
  reloadOnHangup(flags, loaded, log);
  if (daemon.note !== '') say(daemon.note);
  for (const line of describeStart(daemon, loaded, version)) say(line);
  status = new StatusLine(
    process.stdout,
    () => daemon.activity(),
    (line) => {
      notifySystemd(`STATUS=${line}`);
    },
  );
  notifySystemd('READY=1\nSTATUS=serving');
  const watchdog = startWatchdog(daemon);
  const deleted = new DeletedFileWatch(new SystemClock(), log);

  await stopped;
  deleted.stop();
  clearInterval(watchdog);
  const faulted = daemon.activity().fault !== '';
  await daemon.stop();
  say('Stopped.');
  return faulted ? EXIT_FAILED : 0;
}

export function stopOnSignals(onFirst: () => void): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (): void => {
      if (asked) {
        // What is acknowledged survives this, as it survives kill -9; only the goodbye to the hosts is missing.
        process.stderr.write('Forced.\n');
        process.exit(EXIT_FORCED);
      }
      asked = true;
      onFirst();
      resolve();
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    // A terminal that was closed takes its daemon along. Without one, SIGHUP asks for the configuration to be read again;
    // until the start is through there is nothing to apply it to.
    process.on('SIGHUP', process.stdin.isTTY === true ? onSignal : () => {});
  });
}

/** Who reads the output may go (`ashlar serve | head`): that loses lines, and must not end the daemon. */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    // The command line's own listener ends the process, as is right for a command that only prints.
    stream.removeAllListeners('error');
    stream.on('error', () => {});
  }
}

/** SIGHUP: the log level is applied at once; every other change is named, and waits for a restart. */
function reloadOnHangup(flags: ConfigFlags, loaded: LoadedConfig, log: Logger): void {
  if (process.stdin.isTTY === true) return;
  process.on('SIGHUP', () => {
    try {
      const { config } = loadConfig(flags);
      if (config.log.level !== log.level) {
        log.level = config.log.level;
        log.info({ level: log.level }, 'the log level is changed');
      }
      const restart = changedSections(loaded.config, config);
      if (restart.length === 0) log.info('the configuration was read again');
      else log.warn({ changed: restart }, 'these changes wait for a restart');
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      log.error({ findings: error.findings }, 'the configuration is wrong; nothing was changed');
    }
  });
}

/** Top-level keys that differ, but for `log`. */
export function changedSections(before: Config, now: Config): string[] {
  const keys = Object.keys(now) as (keyof Config)[];
  return keys.filter(
    (key) => key !== 'log' && JSON.stringify(before[key]) !== JSON.stringify(now[key]),
  );
}

/** Pings systemd only after an I/O went through: a daemon that spins but serves nothing is restarted. */
function startWatchdog(daemon: Daemon): NodeJS.Timeout | undefined {
  const periodUs = Number(process.env['WATCHDOG_USEC'] ?? 0);
  if (!(periodUs > 0)) return undefined;
  let asking = false;
  const timer = setInterval(() => {
    if (asking) return;
    asking = true;
    void daemon.proveLife().then(() => {
      asking = false;
      notifySystemd('WATCHDOG=1');
    });
  }, periodUs / 3000);
  timer.unref();
  return timer;
}

/** What to type next, exactly. */
export function describeStart(
  daemon: Daemon,
  { config, source }: LoadedConfig,
  version: string,
): string[] {
  const portals = daemon.portals.map(showAddress);
  const [portal = ''] = portals;
  // A wildcard is no address that a host could use.
  const reachable = portal.replace(/^0\.0\.0\.0:/, 'ADDRESS:').replace(/^\[::\]:/, 'ADDRESS:');
  const volumes = daemon.volumes();
  const lines = [
    '',
    `ashlar ${version} on ${config.node.name}`,
    `  pool     ${config.pool.path}`,
    `  portal   ${portals.join(', ')}`,
    `  API      ${config.api.tls === null ? 'http' : 'https'}://${showAddress(daemon.api)}   (ashlar get volumes; /openapi.json, /metrics)`,
    ...(daemon.replicas === null ? [] : [`  replicas ${showAddress(daemon.replicas)}`]),
    `  config   ${source ?? 'built-in defaults'}`,
    `  volumes  ${volumes.map(({ name }) => name).join(', ') || 'none yet: ashlar create volume NAME --size 5Gi'}`,
    '',
  ];
  const [first] = volumes;
  if (first === undefined) return lines;
  const { iqn } = first;
  return [
    ...lines,
    'On a Linux host with open-iscsi:',
    `  sudo iscsiadm -m discovery -t sendtargets -p ${reachable}`,
    `  sudo iscsiadm -m node -T ${iqn} -p ${reachable} --login`,
    `  sudo mkfs.ext4 /dev/disk/by-path/ip-${reachable}-iscsi-${iqn}-lun-0`,
    `  sudo iscsiadm -m node -T ${iqn} -p ${reachable} --logout`,
    '',
    'Ctrl-C stops.',
  ];
}
