// `ashlar node` as a process: flags, the words on the screen, signals, systemd, the exit code.

import { SystemClock } from '../base/index.ts';
import { LogBook } from '../node/index.ts';
import { collectOnceWhenIdle } from './collections.ts';
import { ConfigError, type ConfigFlags, loadConfig, showAddress } from './config/index.ts';
import { DeletedFileWatch } from './deleted-files.ts';
import { notifySystemd } from './engine.ts';
import { createLog } from './log.ts';
import { NodeDaemon } from './node-daemon.ts';
import { fewOpenFiles } from './open-files.ts';
import { ownerUnheeded } from './pool-owner.ts';
import { StartError } from './ports.ts';
import { outliveReaders, stopOnSignals } from './serve.ts';
import { withAdvice } from './start-advice.ts';

const EXIT_FAILED = 1;
const EXIT_CONFIG = 2;

/** Runs until a signal ends it; the value is the exit code. */
export async function serveNode(flags: ConfigFlags, version: string): Promise<number> {
  outliveReaders();
  collectOnceWhenIdle();
  const say = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  let loaded: ReturnType<typeof loadConfig>;
  try {
    loaded = loadConfig(flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const finding of error.findings) process.stderr.write(`${finding}\n`);
    return EXIT_CONFIG;
  }
  const { config } = loaded;
  const book = new LogBook();
  const log = createLog({
    level: config.log.level,
    node: config.node.name,
    people: process.stderr.isTTY === true ? say : null,
    tee: (line) => book.write(line),
  });
  const few = fewOpenFiles(config);
  if (few !== null) log.warn(few);
  const unheeded = ownerUnheeded(config);
  if (unheeded !== null) log.warn(unheeded);
  process.on('uncaughtException', (error) => {
    // A broken invariant: what carries on after it may serve wrong data.
    log.fatal({ err: error }, 'ashlar stops: an invariant does not hold');
    process.abort();
  });
  const daemon = new NodeDaemon({ config, version, log, book });
  const stopped = stopOnSignals(() => {
    notifySystemd('STOPPING=1\nSTATUS=letting hosts log out');
    say('Stopping: hosts are asked to log out, then pools are closed. Ctrl-C again to force.');
  });
  try {
    await daemon.start();
  } catch (error) {
    const { name } = error as Error;
    if (error instanceof StartError || name === 'StoreError' || name === 'ObjectStoreError') {
      process.stderr.write(`error: ${withAdvice(error as Error)}\n`);
    } else {
      log.fatal({ err: error }, 'the start failed');
    }
    return EXIT_FAILED;
  }
  say(`ashlar ${version}, node ${config.node.name}`);
  say(`  portal   ${daemon.portals.map(showAddress).join(', ')}`);
  say(
    `  API      ${config.api.tls === null ? 'http' : 'https'}://${showAddress(daemon.api)}   (ashlar kubeconfig > FILE; kubectl --kubeconfig FILE get csp)`,
  );
  say('Ctrl-C stops.');
  notifySystemd('READY=1\nSTATUS=serving');
  const watchdog = startWatchdog(daemon);
  const deleted = new DeletedFileWatch(new SystemClock(), log);
  await stopped;
  deleted.stop();
  clearInterval(watchdog);
  await daemon.stop();
  say('Stopped.');
  return 0;
}

/** Pings systemd only after an I/O went through. */
function startWatchdog(daemon: NodeDaemon): NodeJS.Timeout | undefined {
  const periodUs = Number(process.env['WATCHDOG_USEC'] ?? 0);
  if (!(periodUs > 0)) return undefined;
  let asking = false;
  const timer = setInterval(() => {
    if (asking) return;
    asking = true;
    void daemon.proveLife().then(() => {
      asking = false;
      const { sessions, volumes, pools } = daemon.activity();
      notifySystemd(`WATCHDOG=1\nSTATUS=${sessions} sessions, ${volumes} volumes, ${pools} pools`);
    });
  }, periodUs / 3000);
  timer.unref();
  return timer;
}
