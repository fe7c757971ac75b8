// Goal: what was written before a snapshot of a volume on replicas is read back from a volume made of it, whatever was
// written since and whoever was away meanwhile; what cannot be done is refused in words.
// Method: the controller over a pool in memory, the daemon's own coordinators, three nodes on loopback.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock, SystemRandom, silentLog } from '../../../src/base/index.ts';
import { snapshotActions } from '../../../src/control/clone-tools.ts';
import { ApiError, ServedEnds } from '../../../src/control/index.ts';
import type { SnapshotObject } from '../../../src/control/snapshots.ts';
import { Transfers } from '../../../src/control/transfers.ts';
import { ReplicatedVolume } from '../../../src/replication/index.ts';
import { QUICK } from '../replication/cluster.ts';
import { aManifest } from './builders.ts';
import { Control, SIZE, withControl } from './replicated-control.ts';

test('a snapshot is restored as it was, though a replica was away in between; then its source goes', async () => {
  await withControl(async (control) => {
    const { controller, cluster, nodes } = control;
    await control.write('far', 7, 0x5a);
    await control.write('far', 8, 0x5b);
    const [taken] = await controller.snapshots.take(['far'], 'a');
    assert.deepEqual(taken?.holders, ['far-r1', 'far-r2', 'far-r3']);
    assert.equal(taken.createdMs, Date.parse('2026-11-01T00:00:00Z'));
    await control.write('far', 7, 0xa5);
    cluster.nodes[1]!.stop();
    await cluster.until(
      'a replica is out',
      () => controller.get('far').status.state === 'Degraded',
    );
    await control.write('far', 8, 0xa6);
    await controller.snapshots.take(['far'], 'b');
    await control.write('far', 9, 0xa7);
    await cluster.nodes[1]!.start();
    await control.whole('far');
    assert.deepEqual(
      controller.snapshots.of('far').map(({ name, holders }) => [name, holders?.length]),
      [
        ['a', 3],
        ['b', 2],
      ],
    );

    // `b` is on two of the nodes: the third replica of what is made of it is rebuilt from those.
    for (const name of ['a', 'b']) {
      const source = { snapshot: `far@${name}` };
      const manifest = aManifest(`of-${name}`, { size: SIZE, replicaNodes: nodes, source });
      await controller.create(manifest, { dryRun: false });
    }
    await control.whole('of-a');
    await control.whole('of-b');
    await cluster.until('all replicas are in sync', () => {
      const all = controller.replicas().filter(({ facts }) => facts.state === 'InSync');
      return all.length === 9;
    });
    const of = async (name: string) => [
      await control.read(name, 7),
      await control.read(name, 8),
      await control.read(name, 9),
    ];
    assert.deepEqual(await of('of-a'), [0x5a, 0x5b, 0]);
    assert.deepEqual(await of('of-b'), [0xa5, 0xa6, 0]);
    assert.deepEqual(await of('far'), [0xa5, 0xa6, 0xa7]);
    await control.write('of-a', 9, 0x77);

    const options = { dryRun: false, force: false };
    await assert.rejects(controller.delete('far', options), /has 2 snapshots: far@a, far@b/);
    await controller.snapshots.delete('far@a');
    await controller.snapshots.delete('far@b');
    await controller.delete('far', options);
    assert.deepEqual(await of('of-a'), [0x5a, 0x5b, 0x77]);
    assert.deepEqual(await of('of-b'), [0xa5, 0xa6, 0]);
    // Each pool shares blocks between the two as long as there are two.
    for (const { pool } of cluster.nodes) assert.equal(pool.volumes().length, 2);
    await controller.delete('of-a', options);
    assert.deepEqual(await of('of-b'), [0xa5, 0xa6, 0]);
    for (const { pool } of cluster.nodes) {
      const [left, ...others] = pool.volumes();
      assert.deepEqual(others, []);
      assert.match(left?.name ?? '', /of-b-r\d$/);
      assert.deepEqual(pool.snapshots(left?.name ?? ''), []);
    }
  });
});

test('a volume that nobody uses is rolled back, and what was taken since stays', async () => {
  await withControl(async (control) => {
    const { controller, nodes } = control;
    await control.write('far', 7, 1);
    await control.write('far', 8, 2);
    await controller.snapshots.take(['far'], 'a');
    await control.write('far', 7, 3);
    await control.unmap('far', 8);
    await control.write('far', 9, 4);
    await controller.snapshots.take(['far'], 'b');
    await control.write('far', 10, 5);
    const grown = { ...aManifest('far', { size: '4Mi', replicaNodes: nodes }) };
    await controller.update('far', () => grown, { dryRun: false });
    await control.write('far', 1000, 6);

    control.exporter.loggedIn.set(controller.iqn('far'), ['iqn.2026-11.io.host:a']);
    const request = { to: 'a', deleteLater: false, force: false };
    await assert.rejects(controller.history.rollback('far', request), /is in use/);
    control.exporter.loggedIn.clear();
    await controller.history.rollback('far', request);
    const look = async (name: string) => {
      const found: number[] = [];
      for (const lba of [7, 8, 9, 10, 1000]) found.push(await control.read(name, lba));
      return found;
    };
    assert.deepEqual(await look('far'), [1, 2, 0, 0, 0]);
    const size = controller.get('far').status.capacityBytes;
    assert.equal(size, 4 * 2 ** 20);
    // Forward again, to what was taken later.
    await control.write('far', 7, 7);
    await controller.history.rollback('far', { ...request, to: 'b' });
    assert.deepEqual(await look('far'), [3, 0, 4, 0, 0]);
    await controller.history.rollback('far', { ...request, deleteLater: true });
    assert.deepEqual(
      controller.snapshots.of('far').map(({ name }) => name),
      ['a'],
    );
    assert.deepEqual(await look('far'), [1, 2, 0, 0, 0]);
  });
});

test('a rollback that was interrupted is done before a host may look', async () => {
  await withControl(async (control) => {
    const { controller, cluster, pool } = control;
    await control.write('far', 7, 1);
    const [taken] = await controller.snapshots.take(['far'], 'a');
    await control.write('far', 7, 2);
    await controller.close();
    // What a daemon leaves that was killed right after it had begun.
    const node = (id: string) => cluster.nodes[Number(id.at(-1)) - 1]!;
    const { turn, buffers, coordinators } = cluster;
    let serves = false;
    const volume = new ReplicatedVolume({
      volumeId: pool.volume('far')!.id,
      name: 'far',
      logicalBlockBytes: 4096,
      buffers,
      coordinators,
      config: QUICK,
      turn,
      clock: new SystemClock(),
      random: new SystemRandom(),
      log: silentLog,
      addressOf: (id) => ({ host: '127.0.0.1', port: node(id).port }),
      sessions: () => [],
      listener: {
        onServing: () => {
          serves = true;
        },
        onHoldExpired: () => {},
        onDeposed: () => {},
        onLossDeclared: () => {},
        onRecord: () => {},
      },
    });
    volume.start(['far-r1', 'far-r2', 'far-r3']);
    await cluster.until('it is coordinated', () => serves);
    await volume.coordinator.putBlob('ashlar.rollback', Buffer.from(taken!.id));
    await volume.stop();

    const again = new Control(cluster, pool);
    const seen: number[] = [];
    again.exporter.onExpose = () => void again.read('far', 7).then((byte) => seen.push(byte));
    await again.controller.start();
    await again.whole('far');
    await cluster.until('it is read', () => seen.length > 0);
    assert.deepEqual([...new Set(seen)], [1]);
    await again.controller.close();
  });
});

test('what cannot be is refused in words', async () => {
  await withControl(async ({ controller, nodes }) => {
    const refused = (text: RegExp) => (error: unknown) =>
      error instanceof ApiError && text.test(error.message);
    await controller.create(aManifest('near', { size: SIZE }), { dryRun: false });
    await controller.snapshots.take(['near'], 'n');
    await controller.snapshots.take(['far'], 'a');
    await assert.rejects(
      controller.snapshots.take(['far'], 'a'),
      refused(/"far.a" already exists/),
    );
    await assert.rejects(
      controller.snapshots.take(['near', 'far'], 'g'),
      refused(/not all of the others are/),
    );
    await assert.rejects(controller.snapshots.delete('far@c'), refused(/far@c/));
    const back = { to: 'c', deleteLater: false, force: false };
    await assert.rejects(controller.history.rollback('far', back), refused(/"far.c" not found/));
    const create = (spec: Record<string, unknown>) =>
      controller.create(aManifest('copy', { size: SIZE, ...spec }), { dryRun: false });
    const of = (snapshot: string) => ({ source: { snapshot } });
    await assert.rejects(create({ ...of('far@c'), replicaNodes: nodes }), refused(/no snapshot/));
    await assert.rejects(create(of('far@a')), refused(/spec.replicaNodes: one of them must be/));
    await assert.rejects(
      create({ ...of('far@a'), replicaNodes: ['192.0.2.1'] }),
      refused(/spec.replicaNodes: one of them must be/),
    );
    await assert.rejects(
      create({ ...of('near@n'), replicaNodes: nodes }),
      refused(/spec.source.snapshot: near@n is in the pool here/),
    );
    await assert.rejects(
      create({ ...of('far@a'), size: '1Mi', replicaNodes: nodes }),
      refused(/spec.size: far@a has 2Mi/),
    );
  });
});

test('what changed between snapshots of a volume on replicas is listed, sent and received elsewhere, as it was', async () => {
  await withControl(async (control) => {
    const { controller, cluster } = control;
    for (const lba of [7, 8, 9, 500]) await control.write('far', lba, 1);
    await controller.snapshots.take(['far'], 'a');
    await control.write('far', 7, 2);
    await control.unmap('far', 8);
    await control.write('far', 300, 2);
    await controller.snapshots.take(['far'], 'b');
    // What came later is none of the difference.
    await control.write('far', 7, 3);
    await control.write('far', 8, 3);
    await control.unmap('far', 9);
    await control.write('far', 301, 3);
    const { diff } = snapshotActions(controller);
    const differs = async (from: string, to: string) => {
      const object = { metadata: { name: from } } as SnapshotObject;
      const input = { query: new Map([['to', to]]), body: undefined, dryRun: false };
      const found = (await diff!.run(object, input)) as {
        extents: { offsetBytes: number; bytes: number; kind: string }[];
      };
      return found.extents.map(({ offsetBytes, bytes, kind }) => [
        offsetBytes / 4096,
        bytes / 4096,
        kind,
      ]);
    };
    assert.deepEqual(await differs('far.a', 'far@b'), [
      [7, 1, 'Data'],
      [8, 1, 'Hole'],
      [300, 1, 'Data'],
    ]);
    const now = await differs('far.b', 'far');
    const expected = [
      [7, 'Data'],
      [8, 'Data'],
      [9, 'Hole'],
      [301, 'Data'],
    ];
    assert.deepEqual(
      now.map(([lba, , kind]) => [lba, kind]),
      expected,
    );
    await assert.rejects(differs('far.b', 'far@a'), /not older/);

    const { buffers } = cluster;
    const ends = new ServedEnds(controller);
    const options = { ends, buffers, log: silentLog, now: () => new Date() };
    const transfers = new Transfers(options);
    const send = (snapshot: string, from: string | null) =>
      transfers.send({ snapshot, from, resumeLba: 0 }).pieces;
    await transfers.receive('near', send('far@a', null));
    const look = async () => {
      const found: number[] = [];
      for (const lba of [7, 8, 9, 300, 301, 500]) found.push(await control.read('near', lba));
      return found;
    };
    assert.deepEqual(await look(), [1, 1, 1, 0, 0, 1]);
    await transfers.receive('near', send('far@b', 'a'));
    assert.deepEqual(await look(), [2, 0, 1, 2, 0, 1]);
    // Onto what it was made from and has changed since: the two would mix.
    await assert.rejects(
      transfers.receive('far', send('far@b', 'a')),
      /which is not the newest snapshot of volume "far"/,
    );
  });
});

test('a snapshot of several volumes on replicas is of one instant: what was written after the other is in it with the other', async () => {
  await withControl(async (control) => {
    const { controller, nodes } = control;
    const manifest = aManifest('near', { size: SIZE, replicaNodes: nodes });
    await controller.create(manifest, { dryRun: false });
    await control.whole('near');
    let count = 0;
    let stops = false;
    const writer = (async () => {
      // Each is written to the second when the first has it.
      while (!stops) {
        count = (count + 1) % 250;
        await control.write('far', 7, count);
        await control.write('near', 7, count);
      }
    })();
    for (let index = 0; index < 8; index += 1) {
      await new Promise((resolve) => setTimeout(resolve, 15));
      const made = await controller.snapshots.take(['far', 'near'], `g-${index}`);
      assert.deepEqual(
        made.map(({ volume, name }) => `${volume}@${name}`),
        [`far@g-${index}`, `near@g-${index}`],
      );
    }
    stops = true;
    await writer;
    await assert.rejects(controller.snapshots.take(['far', 'near'], 'g-0'), /already exists/);
    for (let index = 0; index < 8; index += 1) {
      await controller.history.rollback('far', {
        to: `g-${index}`,
        deleteLater: false,
        force: false,
      });
      await controller.history.rollback('near', {
        to: `g-${index}`,
        deleteLater: false,
        force: false,
      });
      const [first, second] = [await control.read('far', 7), await control.read('near', 7)];
      assert.ok(first === second || first === (second + 1) % 250, `${first} and ${second}`);
    }
  });
});

test('a snapshot of several volumes whose daemon died in the midst of it is there of none, or of all', async () => {
  await withControl(async (control) => {
    const { controller, nodes, cluster, pool } = control;
    const manifest = aManifest('near', { size: SIZE, replicaNodes: nodes });
    await controller.create(manifest, { dryRun: false });
    await control.whole('near');
    await controller.snapshots.take(['far', 'near'], 'whole');
    control.stuck.add('near');
    void controller.snapshots.take(['far', 'near'], 'half').catch(() => {});
    const has = (one: Control, name: string) => one.controller.snapshots.get(name) !== null;
    await cluster.until('one has it', () => has(control, 'far@half'));
    await controller.close();

    const again = control.next(new Control(cluster, pool));
    await again.controller.start();
    await Promise.all([again.whole('far'), again.whole('near')]);
    await cluster.until('it is there of none', () => !has(again, 'far@half'));
    assert.ok(has(again, 'far@whole') && has(again, 'near@whole'));
    // This one dies when all have theirs, before it could say so.
    const { putBlob } = pool;
    pool.putBlob = async (key, value) => {
      if (value === null) await new Promise(() => {});
      await putBlob.call(pool, key, value);
    };
    void again.controller.snapshots.take(['far', 'near'], 'half').catch(() => {});
    await cluster.until('both have it', () => has(again, 'far@half') && has(again, 'near@half'));
    await again.controller.close();

    const forgotten: string[] = [];
    pool.putBlob = async (key, value) => {
      if (value === null) forgotten.push(key);
      await putBlob.call(pool, key, value);
    };
    const third = control.next(new Control(cluster, pool));
    await third.controller.start();
    await Promise.all([third.whole('far'), third.whole('near')]);
    await cluster.until('it is settled', () => forgotten.length > 0);
    assert.ok(has(third, 'far@half') && has(third, 'near@half'));
    await third.controller.close();
  });
});

test('what a daemon left half of is undone though one of its volumes is deleted since', async () => {
  await withControl(async (control) => {
    const { controller, nodes, cluster, pool } = control;
    const manifest = aManifest('near', { size: SIZE, replicaNodes: nodes });
    await controller.create(manifest, { dryRun: false });
    await control.whole('near');
    control.stuck.add('near');
    void controller.snapshots.take(['far', 'near'], 'half').catch(() => {});
    const has = (one: Control, name: string) => one.controller.snapshots.get(name) !== null;
    await cluster.until('one has it', () => has(control, 'far@half'));
    await controller.delete('near', { force: true });
    await controller.close();

    const again = control.next(new Control(cluster, pool));
    await again.controller.start();
    await again.whole('far');
    await cluster.until('it is there of none', () => !has(again, 'far@half'));
    await cluster.until('it is forgotten', () => pool.getBlob('ashlar.snapshot-groups') === null);
    await again.controller.close();
  });
});
