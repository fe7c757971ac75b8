// Goal: whatever a crash cuts short of a pool's creation, import, export or destruction is finished or undone at the next
// start; nothing that was reported is lost, and nothing half-made is left.
// Method: devices and the list of pools in memory; the daemon "dies" at each of its steps in turn, before or after the
// step took effect, and another one starts over the same devices and list.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, silentLog, Turn } from '../../../src/base/index.ts';
import {
  type KeptPool,
  type NewPool,
  PoolHost,
  type PoolMedia,
  type VolumeController,
} from '../../../src/control/index.ts';
import { type FoundPool, MemoryPool, StoreError } from '../../../src/store/index.ts';
import { aController, aManifest } from './builders.ts';

class Died extends Error {}

/** What outlives a daemon: labels, what pools hold, and the list. */
class Machine {
  readonly labels = new Map<
    string,
    { pool: MemoryPool; exported: boolean; devices: number; owner?: Machine }
  >();
  readonly files = new Set<string>();
  readonly own = new MemoryPool({ turn: new Turn(), name: 'pool', sizeBlocks: 1 << 20 });
  list: readonly KeptPool[] = [];
  /** Steps that are still done; the one at 0 kills. */
  stepsLeft = Number.POSITIVE_INFINITY;
  diesAfter = false;
  dead = false;
  /** The list's disk is full. */
  full = false;
  /** Writes of the list until it is. */
  writesLeft = Number.POSITIVE_INFINITY;

  /** One effect on what outlives the daemon. */
  async step(effect: () => void): Promise<void> {
    if (this.dead) throw new Died();
    this.stepsLeft -= 1;
    this.dead = this.stepsLeft < 0;
    if (!this.dead || this.diesAfter) effect();
    if (this.dead) throw new Died();
  }

  async daemon(): Promise<{ pools: PoolHost; controller: VolumeController }> {
    this.dead = false;
    this.stepsLeft = Number.POSITIVE_INFINITY;
    this.own.reopen();
    const { controller } = await aController(this.own);
    const pools = new PoolHost({
      own: this.own,
      ownPath: 'memory',
      controller,
      media: this.#media(),
      list: {
        read: () => this.list,
        write: async (kept) => {
          this.writesLeft -= 1;
          if (this.full || this.writesLeft < 0) throw new Error('ENOSPC');
          await this.step(() => {
            this.list = structuredClone(kept);
          });
        },
      },
      clock: new ManualClock(),
      now: () => new Date('2026-11-01T00:00:00Z'),
      log: silentLog,
    });
    await pools.start();
    return { pools, controller };
  }

  #media(): PoolMedia {
    return {
      examine: async (path) => {
        const label = this.labels.get(path);
        const obstacle =
          label === undefined ? null : { message: `${path} has a label`, forceable: true };
        const kind = this.files.has(path) ? 'File' : 'Missing';
        return { kind, sizeBytes: 1 << 26, empty: label === undefined, obstacle };
      },
      identity: (path) => path,
      create: async ({ id, name, vdevs }: NewPool) => {
        const paths = vdevs.flat();
        const pool = new MemoryPool({ name, id, paths, sizeBlocks: 1 << 14 });
        for (const path of paths) {
          await this.step(() => {
            this.files.add(path);
            this.labels.set(path, { pool, exported: false, devices: paths.length });
          });
        }
      },
      find: async (places, { without }) => this.#find(places.filter((at) => !without.has(at))),
      everywhere: () => [...this.labels.keys()],
      open: async (paths, { takeOver = false, accept } = {}) => {
        const label = this.labels.get(paths[0]!)!;
        const { owner = this, exported } = label;
        if (owner !== this && !exported && !takeOver) {
          throw new StoreError('STORE_OWNED', 'it belongs to another machine');
        }
        if (paths.length < label.devices) throw new StoreError('STORE_TOO_FEW_DEVICES', 'few');
        label.pool.reopen();
        accept?.(label.pool);
        await this.step(() => {
          this.#mark(label.pool, false);
          this.#own(label.pool, this);
        });
        label.pool.giveBack = async () => {
          await this.step(() => {
            this.#mark(label.pool, exported);
            this.#own(label.pool, owner);
          });
          await label.pool.close();
        };
        label.pool.exportPool = async () => {
          await this.step(() => this.#mark(label.pool, true));
          await label.pool.close();
        };
        return label.pool;
      },
      wipe: async (paths) => {
        for (const path of paths) await this.step(() => this.labels.delete(path));
      },
      removeFile: (path) =>
        this.step(() => {
          this.files.delete(path);
        }),
    };
  }

  #mark(pool: MemoryPool, exported: boolean): void {
    for (const label of this.labels.values()) if (label.pool === pool) label.exported = exported;
  }

  #own(pool: MemoryPool, owner: Machine): void {
    for (const label of this.labels.values()) if (label.pool === pool) label.owner = owner;
  }

  #find(places: readonly string[]): FoundPool[] {
    const found = new Map<string, FoundPool & { paths: string[] }>();
    for (const path of places) {
      const label = this.labels.get(path);
      if (label === undefined) continue;
      const { id, name } = label.pool;
      const { exported, devices } = label;
      const fresh = {
        id,
        name,
        exported,
        devices,
        deviceId: id,
        sequence: 1,
        paths: [] as string[],
      };
      const known = found.get(id) ?? fresh;
      if (!known.paths.includes(path)) known.paths.push(path);
      found.set(id, known);
    }
    return [...found.values()];
  }
}

const MIRROR = { layout: 'mirror', devices: ['/a', '/b'], sizeBytes: 1 << 26 } as const;

/** A tank with a volume in it, and nobody who serves it. */
async function aTank(volume: string | null): Promise<Machine> {
  const machine = new Machine();
  const { pools, controller } = await machine.daemon();
  await pools.create('tank', MIRROR, false);
  if (volume !== null) {
    const made = await controller.create(aManifest(volume, { pool: 'tank' }), { dryRun: false });
    assert.equal(made.status.pool, 'tank');
  }
  return machine;
}

/** Runs `work` once for each step that it takes, dying there; `judge` looks at the machine after the next start. */
async function dieAtEachStep(
  prepare: () => Promise<Machine>,
  work: (pools: PoolHost) => Promise<unknown>,
  judge: (
    machine: Machine,
    after: { pools: PoolHost; controller: VolumeController },
    told: boolean,
  ) => Promise<void> | void,
): Promise<number> {
  let steps = 0;
  for (const diesAfter of [false, true]) {
    for (let at = 0; ; at += 1) {
      const machine = await prepare();
      const { pools } = await machine.daemon();
      machine.diesAfter = diesAfter;
      machine.stepsLeft = at;
      const told = await work(pools).then(
        () => true,
        () => false,
      );
      const died = machine.dead;
      await judge(machine, await machine.daemon(), told);
      // And once more: what the start put right stays so.
      await judge(machine, await machine.daemon(), told);
      if (!died) break;
      steps += 1;
    }
  }
  return steps;
}

test('a creation is there once it was reported, and leaves nothing before', async () => {
  const steps = await dieAtEachStep(
    async () => new Machine(),
    (pools) => pools.create('tank', MIRROR, false),
    (machine, { pools }, told) => {
      const tank = pools.find('tank');
      if (told) assert.ok(tank !== null);
      if (tank === null) {
        assert.deepEqual([...machine.labels.keys(), ...machine.files], []);
        assert.deepEqual(machine.list, []);
      } else {
        assert.ok(tank.pool !== null, tank.why);
        assert.deepEqual(
          machine.list.map(({ step }) => step),
          ['Serving'],
        );
      }
    },
  );
  assert.ok(steps >= 8, `${steps} steps`);
});

test('an export leaves a pool that is served here, or one that another machine may open', async () => {
  const steps = await dieAtEachStep(
    () => aTank('db'),
    (pools) => pools.export('tank', { force: false }),
    (machine, { pools, controller }, told) => {
      const tank = pools.find('tank');
      if (told) assert.equal(tank, null);
      const exported = [...machine.labels.values()].map((label) => label.exported);
      if (tank === null) {
        assert.deepEqual(exported, [true, true]);
        assert.equal(controller.find('db'), null);
      } else {
        assert.ok(tank.pool !== null, tank.why);
        assert.equal(controller.find('db')?.status.state, 'Healthy');
      }
    },
  );
  assert.ok(steps >= 6, `${steps} steps`);
});

test('a destruction is done or has not begun; labels of half a pool are cleared at the next start', async () => {
  const steps = await dieAtEachStep(
    () => aTank(null),
    (pools) => pools.destroy('tank'),
    (machine, { pools }, told) => {
      const tank = pools.find('tank');
      if (told) assert.equal(tank, null);
      if (tank === null) assert.equal(machine.labels.size, 0);
      else assert.ok(tank.pool !== null, tank.why);
    },
  );
  assert.ok(steps >= 8, `${steps} steps`);
});

test('what could not be written is not taken: volumes made afterwards outlive a restart', async () => {
  for (const call of ['destroy', 'export'] as const) {
    const machine = await aTank(null);
    const { pools, controller } = await machine.daemon();
    machine.full = true;
    const asked =
      call === 'destroy' ? pools.destroy('tank') : pools.export('tank', { force: false });
    await assert.rejects(asked, /ENOSPC/);
    machine.full = false;
    await controller.create(aManifest('db', { pool: 'tank' }), { dryRun: false });
    // Something else that is written with the same list.
    await pools.setScrub('pool', { every: '30d' });
    for (let start = 0; start < 2; start += 1) {
      const after = await machine.daemon();
      assert.equal(after.pools.find('tank')?.why, '', call);
      assert.equal(after.controller.find('db')?.status.state, 'Healthy', call);
    }
  }
});

test('a destruction that a crash cut short takes no volume with it', async () => {
  // A creation that was under way ended before the crash, and was acknowledged.
  const machine = await aTank('db');
  machine.list = machine.list.map((kept) => ({ ...kept, step: 'Destroying' }));
  for (let start = 0; start < 2; start += 1) {
    const { pools, controller } = await machine.daemon();
    assert.equal(pools.find('tank')?.why, '');
    assert.equal(controller.find('db')?.status.state, 'Healthy');
    assert.deepEqual(
      machine.list.map(({ step }) => step),
      ['Serving'],
    );
  }
});

test('an import is served or can be made again; its volumes are never lost', async () => {
  const steps = await dieAtEachStep(
    async () => {
      const machine = await aTank('db');
      const { pools } = await machine.daemon();
      await pools.export('tank', { force: false });
      return machine;
    },
    (pools) => pools.import('other', { pool: 'tank', places: null, force: false }, false),
    async (machine, after, told) => {
      const other = after.pools.find('other');
      if (told) assert.ok(other !== null);
      if (other === null) {
        assert.equal((await after.pools.importable(null)).length, 1);
        assert.deepEqual(machine.list, []);
      } else {
        assert.ok(other.pool !== null, other.why);
        assert.equal(after.controller.find('db')?.status.pool, 'other');
      }
    },
  );
  assert.ok(steps >= 4, `${steps} steps`);
});

test('an import that did not end is not gone on with once another machine has the pool', async () => {
  for (const force of [false, true]) {
    const machine = await aTank('db');
    const before = await machine.daemon();
    await before.pools.export('tank', { force: false });
    const { pools } = await machine.daemon();
    machine.stepsLeft = 1; // It is listed, and not opened.
    await assert.rejects(pools.import('tank', { pool: null, places: null, force }, false));
    assert.deepEqual(
      machine.list.map(({ step }) => step),
      ['Importing'],
    );
    for (const label of machine.labels.values()) label.exported = false;
    const after = await machine.daemon();
    assert.equal(after.pools.find('tank') !== null, force);
    assert.equal(machine.list.length, force ? 1 : 0);
    assert.equal(after.controller.find('db') !== null, force);
  }
});

test('an import that did not end, of a pool with names that were taken since, leaves it as it was', async () => {
  const machine = await aTank('db');
  const before = await machine.daemon();
  await before.pools.export('tank', { force: false });
  const { pools, controller } = await machine.daemon();
  await controller.create(aManifest('db'), { dryRun: false });
  machine.list = [
    {
      name: 'tank',
      id: [...machine.labels.values()][0]!.pool.id,
      paths: ['/a', '/b'],
      step: 'Importing',
    },
  ];
  const after = await machine.daemon();
  assert.equal(pools.find('tank'), null);
  assert.equal(after.pools.find('tank'), null);
  assert.deepEqual(machine.list, []);
  assert.ok([...machine.labels.values()].every(({ exported }) => exported));
});

test('a pool in use is not exported, one that was not exported not imported, names are not taken twice', async () => {
  const machine = await aTank('db');
  const { pools, controller } = await machine.daemon();
  await controller.create(aManifest('web'), { dryRun: false });
  await assert.rejects(pools.destroy('tank'), /pool tank holds 1 volumes: db\. Delete them first/);
  await assert.rejects(pools.destroy('pool'), /the daemon's own/);
  await assert.rejects(pools.create('tank', MIRROR, false), /already exists/);
  // Another machine finds it as it is after a crash of this one.
  const other = new Machine();
  for (const [path, label] of machine.labels) other.labels.set(path, label);
  const there = await other.daemon();
  await there.controller.create(aManifest('db'), { dryRun: false });
  const request = { pool: null, places: null, force: false };
  await assert.rejects(
    there.pools.import('tank', request, false),
    /was not exported: another machine may have it open/,
  );
  await assert.rejects(
    there.pools.import('tank', { ...request, force: true }, false),
    /volumes of names that are taken here: db/,
  );
  // What was refused, by its names or by a full disk, is its former owner's as before.
  const isMachines = (): boolean =>
    [...machine.labels.values()].every(({ owner, exported }) => owner === machine && !exported);
  assert.ok(isMachines());
  await there.controller.delete('db', { force: false });
  other.writesLeft = 1;
  await assert.rejects(there.pools.import('tank', { ...request, force: true }, false), /ENOSPC/);
  assert.ok(isMachines());
  other.writesLeft = Number.POSITIVE_INFINITY;
  await there.pools.import('tank', { ...request, force: true }, false);
  assert.ok(!isMachines());
  assert.equal(there.controller.find('db')?.status.pool, 'tank');
});

test('a pool that came back exported, which was not done here, is left to whoever has it', async () => {
  const machine = await aTank('db');
  const other = new Machine();
  for (const [path, label] of machine.labels) other.labels.set(path, label);
  const there = await other.daemon();
  await there.pools.import('tank', { pool: null, places: null, force: true }, false);
  await there.pools.export('tank', { force: false });
  const { pools } = await machine.daemon();
  assert.equal(pools.find('tank')?.pool, null);
  assert.match(pools.find('tank')?.why ?? '', /exported, which was not done here/);
  assert.ok([...machine.labels.values()].every(({ exported }) => exported));
  await pools.export('tank', { force: true });
  const again = await pools.import('tank', { pool: null, places: null, force: false }, false);
  assert.ok(again.pool !== null, again.why);
});

test('a faulted pool takes its own volumes along, and no others; it is exported by force', async () => {
  const machine = await aTank('db');
  const { pools, controller } = await machine.daemon();
  await controller.create(aManifest('web'), { dryRun: false });
  [...machine.labels.values()][0]!.pool.fault('EIO');
  assert.equal(controller.find('db')?.status.state, 'Faulted');
  assert.match(controller.find('db')?.status.conditions[0]?.message ?? '', /^pool tank: EIO;/);
  assert.equal(controller.find('web')?.status.state, 'Healthy');
  await controller.delete('web', { force: false });
  await assert.rejects(controller.delete('db', { force: false }), /the pool is faulted: tank: EIO/);
  await assert.rejects(pools.export('tank', { force: false }), /is faulted/);
  await pools.export('tank', { force: true });
  assert.equal(pools.find('tank'), null);
  assert.equal(controller.find('db'), null);
});

test('when a pool is scrubbed is kept: of the own one too, and through a restart', async () => {
  const machine = await aTank(null);
  const { pools } = await machine.daemon();
  await pools.setScrub('tank', { every: '7d', bandwidth: '100Mi' });
  await pools.setScrub('pool', { every: '30d' });
  const again = (await machine.daemon()).pools;
  assert.deepEqual(again.find('tank')?.scrub, { every: '7d', bandwidth: '100Mi' });
  assert.deepEqual(again.find('pool')?.scrub, { every: '30d' });
  await again.setScrub('pool', null);
  await again.setScrub('tank', null);
  assert.equal((await machine.daemon()).pools.find('pool')?.scrub, null);
  assert.deepEqual(
    machine.list.map(({ name, scrub }) => [name, scrub]),
    [['tank', undefined]],
  );
});

test('a pool that another machine took over by force is not opened here again, but by force', async () => {
  const machine = await aTank('db');
  const other = new Machine();
  for (const [path, label] of machine.labels) other.labels.set(path, label);
  const there = await other.daemon();
  await there.pools.import('tank', { pool: null, places: null, force: true }, false);
  // Taken over once, it is opened there without another word.
  assert.notEqual((await other.daemon()).pools.find('tank')?.pool, null);

  const { pools } = await machine.daemon();
  assert.equal(pools.find('tank')?.pool, null);
  const why = pools.find('tank')?.why ?? '';
  assert.match(
    why,
    /belongs to another machine\. Forget it here \(ashlar export pool tank --force\)/,
  );
  await pools.export('tank', { force: true });
  const request = { pool: null, places: null, force: false };
  await assert.rejects(pools.import('tank', request, false), /was not exported/);
  await pools.import('tank', { ...request, force: true }, false);
  assert.notEqual(pools.find('tank')?.pool, null);
});
