// The whole daemon, with a pool in memory and free ports.
import { DataBufferPool } from '../../../src/block/index.ts';
import { parseConfig } from '../../../src/daemon/config/index.ts';
import { Daemon } from '../../../src/daemon/index.ts';
import { createLog } from '../../../src/daemon/log.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';
import { MemoryPool } from '../../../src/store/index.ts';

export interface DaemonUnderTest {
  readonly daemon: Daemon;
  readonly pool: MemoryPool;
  readonly api: string;
  readonly portal: string;
  readonly log: readonly string[];
}

export async function aDaemon(
  flags: { portal?: string[]; api?: string } = {},
): Promise<DaemonUnderTest> {
  const config = parseConfig('', null, {
    data: '/nowhere',
    portal: flags.portal ?? ['127.0.0.1:0'],
    api: flags.api ?? '127.0.0.1:0',
  });
  const lines: string[] = [];
  let pool: MemoryPool | null = null;
  const daemon = new Daemon({
    config,
    version: '0.1.0',
    log: createLog({ level: 'debug', node: 'test', people: (line) => lines.push(line) }),
    exactPoolSize: false,
    progress: () => {},
    openObjects: async () => new MemoryObjectStore(),
    openEngine: async ({ turn }) => {
      pool = new MemoryPool({ turn, name: 'pool', sizeBlocks: 1 << 20 });
      return { pool, buffers: new DataBufferPool(new ArrayBuffer(64 * 2 ** 20)), note: '' };
    },
  });
  await daemon.start();
  return {
    daemon,
    pool: pool!,
    api: `127.0.0.1:${daemon.api.port}`,
    portal: `127.0.0.1:${daemon.portals[0]?.port}`,
    log: lines,
  };
}
