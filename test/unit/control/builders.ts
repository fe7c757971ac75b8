// A controller and an API over a pool in memory.
import { ManualClock, silentLog, Turn } from '../../../src/base/index.ts';
import { DataBufferPool } from '../../../src/block/index.ts';
import {
  buildApi,
  type Exporter,
  type ExposedVolume,
  PoolHost,
  VolumeController,
  type VolumeManifest,
} from '../../../src/control/index.ts';
import { MemoryPool } from '../../../src/store/index.ts';

export class FakeExporter implements Exporter {
  readonly portals = ['192.0.2.1:3260'];
  readonly exposed = new Map<string, ExposedVolume>();
  readonly loggedIn = new Map<string, string[]>();
  /** What hosts still do while a volume is being withdrawn. */
  beforeWithdrawn: () => Promise<void> = async () => undefined;

  onExpose: () => void = () => {};

  expose(volume: ExposedVolume): void {
    this.exposed.set(volume.iqn, volume);
    this.onExpose();
  }

  reserve(): void {}

  takeDown(): void {}
  declareLoss(): void {}

  async withdraw(iqn: string): Promise<void> {
    await this.beforeWithdrawn();
    this.exposed.delete(iqn);
    this.loggedIn.delete(iqn);
  }

  initiators(iqn: string): readonly string[] {
    return this.loggedIn.get(iqn) ?? [];
  }
}

const turn = new Turn();

export function aPool(): MemoryPool {
  return new MemoryPool({ turn, name: 'pool', sizeBlocks: 1 << 20 });
}

/** A daemon's own pool, and no device to make another of. */
export function onlyPool(controller: VolumeController, pool: MemoryPool): PoolHost {
  const nothing = async (): Promise<never> => {
    throw new Error('there are no devices here');
  };
  return new PoolHost({
    own: pool,
    ownPath: 'memory',
    controller,
    media: {
      examine: nothing,
      identity: (path) => path,
      create: nothing,
      find: async () => [],
      everywhere: () => [],
      open: nothing,
      wipe: nothing,
      removeFile: nothing,
    },
    list: { read: () => [], write: nothing },
    clock: new ManualClock(),
    now: () => new Date('2026-11-01T00:00:00Z'),
    log: silentLog,
  });
}

/** `pool`: one that was used before, as after a restart. */
export async function aController(pool: MemoryPool = aPool()) {
  const exporter = new FakeExporter();
  const clock = new ManualClock();
  const controller = new VolumeController({
    clock,
    pool,
    buffers: new DataBufferPool(new ArrayBuffer(4 * 2 ** 20)),
    turn,
    exporter,
    iqnPrefix: 'iqn.2026-11.io.ashlar',
    defaults: { blockSize: 4096, writeCache: true },
    log: silentLog,
    now: () => new Date('2026-11-01T00:00:00Z'),
  });
  await controller.start();
  return { controller, exporter, pool };
}

export async function anApi(pool: MemoryPool = aPool()) {
  const made = await aController(pool);
  let notReady = '';
  const app = await buildApi({
    controller: made.controller,
    pools: onlyPool(made.controller, pool),
    poolFacts: { path: '/pool.img', cacheBytes: 1, sparse: false, nodeName: 'here' },
    sessions: () => [
      {
        tsih: 7,
        type: 'Normal',
        target: 'iqn.2026-11.io.ashlar:db',
        initiator: 'iqn.1993-08.org.debian:01:abc',
        isid: '00023d000001',
        peer: '192.0.2.9:40000',
        portal: '192.0.2.1:3260',
        headerDigest: 'None',
        dataDigest: 'CRC32C',
        authenticatedAs: null,
        sinceMs: 1000,
        commands: 5,
        readBytes: 4096,
        writtenBytes: 0,
        outstanding: 1,
      },
    ],
    wallTime: (clockMs) => new Date(Date.parse('2026-11-01T00:00:00Z') + clockMs),
    notReady: () => notReady,
    metrics: async () => ({ contentType: 'text/plain', body: 'metric 1\n' }),
    version: '0.1.0',
    iqnPrefix: 'iqn.2026-11.io.ashlar',
    loopbackOnly: true,
    log: silentLog,
  });
  return {
    ...made,
    app,
    setNotReady: (why: string) => {
      notReady = why;
    },
  };
}

export function aManifest(
  name: string,
  spec: Partial<VolumeManifest['spec']> = {},
  metadata: VolumeManifest['metadata'] = {},
): VolumeManifest {
  return { metadata: { name, ...metadata }, spec: { size: '64Mi', ...spec } };
}
