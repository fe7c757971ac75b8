// `ashlar replica` on a disk that fails to order: each SIGUSR2 makes it return errors for a second and a half. It is the
// daemon as it is, over a store that is wrapped; an error of a flush ends it, as the engine's would (S9).
import { parseArgs } from 'node:util';
import type { Turn } from '../../src/base/index.ts';
import { type BlockOp, BlockOpKind, IoStatus } from '../../src/block/index.ts';
import { loadConfig } from '../../src/daemon/config/index.ts';
import { openEngine } from '../../src/daemon/engine.ts';
import { createLog } from '../../src/daemon/log.ts';
import { ReplicaDaemon } from '../../src/daemon/replica-process.ts';
import type { Pool, StoreVolume } from '../../src/store/index.ts';
import { CacheIdentity, markPlaces } from '../../src/store/lost-cache.ts';

const FAILS_FOR_MS = 1500;
const SHARE = 0.2;

let failsUntilMs = 0;
let failed = 0;
process.on('SIGUSR2', () => {
  failsUntilMs = performance.now() + FAILS_FOR_MS;
});

/** The operation has ended with an error, and the medium was not asked. */
function fails(op: BlockOp, turn: Turn, lostCache: () => void): boolean {
  if (performance.now() >= failsUntilMs || Math.random() >= SHARE) return false;
  failed += 1;
  if (op.kind === BlockOpKind.Flush) {
    lostCache();
    process.stdout.write(`a flush failed to order, the ${failed}th error\n`);
    process.exit(1);
  }
  setImmediate(() => {
    turn.enter();
    op.lower.onBlockDone(op, IoStatus.IoError);
    turn.leave();
  });
  return true;
}

/** `target`, with some of its methods replaced. */
function withMethods<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get(object, key) {
      const own = (methods as Record<PropertyKey, unknown>)[key];
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(object, key, object);
      return typeof value === 'function' ? value.bind(object) : value;
    },
  });
}

function faulty(pool: Pool, turn: Turn, path: string): Pool {
  const lostCache = (): void => {
    new CacheIdentity(markPlaces(pool.id, path)).lost();
  };
  const known = new Map<StoreVolume, StoreVolume>();
  const wrap = (volume: StoreVolume): StoreVolume => {
    const before = known.get(volume);
    if (before !== undefined) return before;
    const wrapped = withMethods<StoreVolume>(volume, {
      submit: (op, epoch, opNumber) => {
        if (!fails(op, turn, lostCache)) volume.submit(op, epoch, opNumber);
      },
      submitTagged: (op, epoch, opNumber) => {
        if (!fails(op, turn, lostCache)) volume.submitTagged(op, epoch, opNumber);
      },
    });
    known.set(volume, wrapped);
    return wrapped;
  };
  return withMethods<Pool>(pool, {
    volumes: () => pool.volumes().map(wrap),
    volume: (name) => {
      const volume = pool.volume(name);
      return volume === null ? null : wrap(volume);
    },
    createVolume: async (wanted) => wrap(await pool.createVolume(wanted)),
    cloneSnapshot: async (name, options) => wrap(await pool.cloneSnapshot(name, options)),
  });
}

const { values } = parseArgs({ options: { config: { type: 'string' } } });
const { config } = loadConfig({ config: values.config! });
const daemon = new ReplicaDaemon({
  config,
  version: 'faulty',
  log: createLog({ level: 'info', node: config.node.name, people: null }),
  exactPoolSize: true,
  openEngine: async (options) => {
    const engine = await openEngine(options);
    return { ...engine, pool: faulty(engine.pool, options.turn, config.pool.path) };
  },
  progress: () => {},
});
await daemon.start();
process.stdout.write('Ctrl-C stops.\n');
await daemon.faulted;
process.exit(1);
