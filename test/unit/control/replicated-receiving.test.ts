// Goal: a volume on replicas is what the stream that was received into it held, whatever came in between, and no host sees one
// that is not whole.
// Method: the controller over a pool in memory, the daemon's own coordinators, three nodes on loopback.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../../src/base/index.ts';
import { ServedEnds, type VolumeController } from '../../../src/control/index.ts';
import { Transfers } from '../../../src/control/transfers.ts';
import { loseCaches } from '../replication/whole.ts';
import { aManifest } from './builders.ts';
import { Control, withControl } from './replicated-control.ts';

/** The pieces of a stream up to so many of them. */
async function* cut(pieces: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array> {
  let count = 0;
  for await (const piece of pieces) {
    if (count === most) return;
    count += 1;
    yield piece;
  }
}

test('a stream is received onto replicas, whole and as what changed; no host sees what is not whole', async () => {
  await withControl(async (control) => {
    const { controller, cluster, nodes, exporter } = control;
    for (const lba of [7, 8, 9, 500]) await control.write('far', lba, 1);
    await controller.snapshots.take(['far'], 'a');
    await control.write('far', 7, 2);
    await control.unmap('far', 8);
    await control.write('far', 300, 2);
    await controller.snapshots.take(['far'], 'b');
    const ends = new ServedEnds(controller);
    const { buffers } = cluster;
    const transfers = new Transfers({ ends, buffers, log: silentLog, now: () => new Date() });
    const send = (snapshot: string, from: string | null) =>
      transfers.send({ snapshot, from, resumeLba: 0 }).pieces;
    const [one = '', two = '', three = ''] = nodes;
    const place = { replicaNodes: [one, two], witnessNode: three };
    const isExposed = (): boolean => exporter.exposed.has(controller.iqn('copy'));

    await assert.rejects(
      transfers.receive('copy', send('far@b', 'a'), place),
      /there is no volume/,
    );
    await assert.rejects(transfers.receive('copy', cut(send('far@a', null), 4), place), {
      code: 'STREAM_CUT',
    });
    assert.equal(isExposed(), false);
    const { status, spec } = controller.get('copy');
    assert.deepEqual([spec.replicaNodes, spec.witnessNode], [[one, two], three]);
    assert.equal(status.state, 'Offline');
    assert.match(status.conditions?.[0]?.message ?? '', /the stream of snapshot a is not whole/);
    await assert.rejects(transfers.receive('copy', send('far@b', 'a'), place), /in the middle/);

    await transfers.receive('copy', send('far@a', null), place);
    await control.whole('copy');
    const look = async () => {
      const found: number[] = [];
      for (const lba of [7, 8, 9, 300, 500]) found.push(await control.read('copy', lba));
      return found;
    };
    assert.deepEqual(await look(), [1, 1, 1, 0, 1]);
    const [snapshot] = controller.snapshots.of('copy');
    assert.deepEqual([snapshot?.name, snapshot?.id], ['a', controller.snapshots.get('far@a')?.id]);

    // A host writes: what changed since goes on top of that no more.
    await control.write('copy', 9, 7);
    await assert.rejects(
      transfers.receive('copy', send('far@b', 'a')),
      /volume "copy" was changed since a: a stream on top of that would mix the two/,
    );
    assert.equal(isExposed(), true, 'hosts keep what was refused to be changed');
    assert.equal(await control.read('copy', 9), 7);
    const back = { to: 'a', deleteLater: false, force: false };
    await controller.history.rollback('copy', back);
    await assert.rejects(transfers.receive('copy', send('far@b', 'a')), /was changed since a/);

    await transfers.receive('again', send('far@a', null), place);
    exporter.loggedIn.set(controller.iqn('again'), ['iqn.1993-08.org.debian:01:host']);
    await assert.rejects(transfers.receive('again', send('far@b', 'a')), /in use by|logged in/);
    exporter.loggedIn.clear();
    await transfers.receive('again', send('far@b', 'a'));
    await control.whole('again');
    assert.equal(await control.read('again', 7), 2);
    assert.equal(await control.read('again', 8), 0);
    assert.equal(await control.read('again', 300), 2);
    const receiving = { snapshotId: 'cut-1', snapshot: 'c', fromId: null, lba: 100 };
    const { records } = control;
    let isAsked = false;
    await controller.receiving.begin('again', receiving, () => {
      // Whoever is asked what the volume holds has applied all that hosts wrote.
      assert.ok(control.records > records);
      isAsked = true;
    });
    assert.ok(isAsked);
    await assert.rejects(
      controller.history.rollback('again', back),
      /"again" is being received: the stream of snapshot c/,
    );
    for (const names of [['again'], ['far', 'again']]) {
      await assert.rejects(controller.snapshots.take(names, 'x'), /"again" is being received/);
    }
    assert.equal(controller.snapshots.get('far@x'), null);
    await controller.receiving.end('again');

    // One that is there and holds nothing takes a whole stream, too.
    const manifest = aManifest('empty', { size: '1Mi', replicaNodes: nodes });
    await controller.create(manifest, { dryRun: false });
    await control.whole('empty');
    await transfers.receive('empty', send('far@b', null));
    await control.whole('empty');
    assert.equal(await control.read('empty', 500), 1);
    assert.equal(await control.read('empty', 300), 2);
    await assert.rejects(transfers.receive('empty', send('far@b', null)), /holds data/);
  });
});

test('a received stream whose last step a crash cut short is whole after the start; one that broke off goes on', async () => {
  await withControl(async (control) => {
    const { controller, cluster, nodes } = control;
    const { buffers } = cluster;
    for (const lba of [7, 500]) await control.write('far', lba, 1);
    await controller.snapshots.take(['far'], 'a');
    const of = (one: VolumeController): Transfers => {
      const ends = new ServedEnds(one);
      return new Transfers({ ends, buffers, log: silentLog, now: () => new Date() });
    };
    const place = { replicaNodes: nodes, witnessNode: null };
    const stream = () => of(controller).send({ snapshot: 'far@a', from: null, resumeLba: 0 });
    // Dies with the snapshot taken, and before it says that the volume is whole.
    controller.receiving.end = () => Promise.reject(new Error('killed'));
    await assert.rejects(of(controller).receive('whole', stream().pieces, place), /killed/);
    await assert.rejects(of(controller).receive('part', cut(stream().pieces, 4), place));
    await controller.close();
    const again = new Control(cluster, control.pool);
    try {
      await again.controller.start();
      await again.whole('whole');
      assert.equal(await again.read('whole', 500), 1);
      await again.whole('far');
      const { exporter } = again;
      assert.equal(exporter.exposed.has(again.controller.iqn('part')), false);
      const pieces = of(again.controller).send({ snapshot: 'far@a', from: null, resumeLba: 0 });
      await of(again.controller).receive('part', pieces.pieces);
      await again.whole('part');
      assert.equal(await again.read('part', 7), 1);
    } finally {
      await again.controller.close();
    }
  });
});

test('writes that are lost with the caches of replicas while a stream is received fail it; it goes on from its mark', async () => {
  await withControl(async (control) => {
    const { controller, cluster, nodes } = control;
    const { buffers } = cluster;
    for (const lba of [7, 300, 500]) await control.write('far', lba, 1);
    await controller.snapshots.take(['far'], 'a');
    const ends = new ServedEnds(controller);
    const transfers = new Transfers({ ends, buffers, log: silentLog, now: () => new Date() });
    const send = () => transfers.send({ snapshot: 'far@a', from: null, resumeLba: 0 }).pieces;
    const pieces: Uint8Array[] = [];
    for await (const piece of send()) pieces.push(piece);
    const last = pieces.pop()!;
    const place = { replicaNodes: nodes, witnessNode: null };
    const isOf = (name: string) => controller.get(name).status;
    async function* losing(): AsyncGenerator<Uint8Array> {
      yield* pieces;
      yield last.subarray(0, -1);
      // All that holds data is written and acknowledged by now; nothing of it was flushed.
      await cluster.until('it is applied', () =>
        handleOf()
          .replicas()
          .every(({ lagOps }) => lagOps === 0),
      );
      await loseCaches(cluster, () => handleOf().losses() > 0);
      yield last.subarray(-1);
    }
    const handleOf = () => control.handles.get('copy')!;
    await assert.rejects(transfers.receive('copy', losing(), place), /lost writes/);
    assert.equal(controller.snapshots.get('copy@a'), null);
    assert.equal(control.exporter.exposed.has(controller.iqn('copy')), false);
    assert.match(isOf('copy').conditions?.[0]?.message ?? '', /is not whole/);

    await control.whole('far'); // It is on the same nodes.
    await transfers.receive('copy', send(), place);
    await control.whole('copy');
    for (const lba of [7, 300, 500]) assert.equal(await control.read('copy', lba), 1, `${lba}`);
  });
});
