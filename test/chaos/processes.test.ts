// Single scenarios over real processes, each with the name of what must hold.
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../e2e/support/process.ts';
import { Cluster } from './cluster.ts';
import { BLOCK_BYTES, CheckCondition, IscsiDisk, Lost } from './iscsi-disk.ts';
import { BlockModel, blockOf } from './model.ts';
import { Workload } from './workload.ts';

const HOST = 'iqn.2026-11.test:host';

async function withCluster(
  work: (cluster: Cluster) => Promise<void>,
  options: { poolSize?: string; replication?: string } = {},
): Promise<void> {
  const cluster = new Cluster({ replicas: 3, poolSize: '128Mi', ...options });
  let failed = true;
  try {
    await cluster.start();
    await work(cluster);
    failed = false;
  } finally {
    await cluster.dispose(failed);
  }
}

function filled(lba: number, id: number, blocks = 1): Buffer {
  const data = Buffer.alloc(blocks * BLOCK_BYTES);
  for (let index = 0; index < blocks; index += 1)
    blockOf(lba + index, id, data, index * BLOCK_BYTES);
  return data;
}

async function login(cluster: Cluster, port: number, iqn: string): Promise<IscsiDisk> {
  const endMs = performance.now() + 30_000;
  for (;;) {
    try {
      return await IscsiDisk.login(port, iqn, HOST);
    } catch (error) {
      if (performance.now() > endMs)
        throw new Error(`no login; logs in ${cluster.folder}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

test('a coordinator that was stopped completes no write after another has its epoch (E2, E5)', {
  timeout: 240_000,
}, async () => {
  await withCluster(async (cluster) => {
    const iqn = await cluster.createVolume('v', '16Mi');
    await cluster.untilState('v', 'Healthy', 60_000);
    const old = await login(cluster, cluster.portalPort, iqn);
    await old.write(1, filled(1, 1));
    // Writes are under way when it stops: sent, and without an answer.
    cluster.coordinator.child!.kill('SIGSTOP');
    const answers: string[] = [];
    const late = [2, 3, 4, 5].map((lba) =>
      old.write(lba, filled(lba, 100 + lba)).then(
        () => answers.push(`write to block ${lba} was acknowledged`),
        (error: unknown) => assert.ok(error instanceof Lost, String(error)),
      ),
    );
    // Another coordinator for the same volume: it has the same manifest.
    const portal = await freePort();
    const api = await freePort();
    const rival = cluster.makeCoordinator('rival', portal, api);
    cpSync(join(cluster.folder, 'coordinator/pool.img'), join(cluster.folder, 'rival/pool.img'));
    await cluster.run(rival);
    try {
      const disk = await login(cluster, portal, iqn);
      assert.ok((await disk.read(1, 1)).equals(filled(1, 1)), 'what was acknowledged is there');
      for (const lba of [2, 3, 4, 5]) await disk.write(lba, filled(lba, 200 + lba));
      cluster.coordinator.child!.kill('SIGCONT');
      await Promise.all(late);
      assert.deepEqual(answers, [], 'the old one answered nothing');
      for (let times = 0; times < 5; times += 1) {
        for (const lba of [2, 3, 4, 5]) {
          assert.ok((await disk.read(lba, 1)).equals(filled(lba, 200 + lba)), `block ${lba}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await assert.rejects(IscsiDisk.login(cluster.portalPort, iqn, HOST), /0301h|ECONN|closed/);
      assert.equal((await cluster.volume('v'))?.state, 'Offline');
      disk.close();
    } finally {
      await cluster.kill(rival);
    }
  });
});

test('a replica whose disk came back empty is noticed, not believed, and rebuilt by itself (E6, B8)', {
  timeout: 240_000,
}, async () => {
  await withCluster(async (cluster) => {
    const iqn = await cluster.createVolume('v', '16Mi');
    await cluster.untilState('v', 'Healthy', 60_000);
    const disk = await login(cluster, cluster.portalPort, iqn);
    for (let lba = 0; lba < 64; lba += 8) await disk.write(lba, filled(lba, lba + 1, 8));
    const [lostNode] = cluster.replicas;
    await cluster.kill(lostNode!);
    rmSync(join(cluster.folder, 'node-1/pool.img'));
    await cluster.run(lostNode!);
    await disk.write(0, filled(0, 500));
    await cluster.untilState('v', 'Healthy', 60_000);
    disk.close();
    // The rebuilt one has all of it: with each of the others away in turn.
    for (const away of [1, 2]) {
      await cluster.kill(cluster.replicas[away]!);
      const again = await login(cluster, cluster.portalPort, iqn);
      assert.ok((await again.read(0, 1)).equals(filled(0, 500)));
      assert.ok((await again.read(8, 8)).equals(filled(8, 9, 8)));
      again.close();
      await cluster.run(cluster.replicas[away]!);
      await cluster.untilState('v', 'Healthy', 60_000);
    }
  });
});

test('below quorum hosts wait, are let go after the hold time, and the volume comes back by itself (C10)', {
  timeout: 240_000,
}, async () => {
  await withCluster(
    async (cluster) => {
      const iqn = await cluster.createVolume('v', '16Mi');
      await cluster.untilState('v', 'Healthy', 60_000);
      const disk = await login(cluster, cluster.portalPort, iqn);
      await disk.write(7, filled(7, 1));
      await Promise.all([cluster.kill(cluster.replicas[0]!), cluster.kill(cluster.replicas[1]!)]);
      const startMs = performance.now();
      await assert.rejects(
        disk.write(8, filled(8, 2)),
        Lost,
        'no error status: the session is closed',
      );
      assert.ok(performance.now() - startMs >= 1900, 'not before the hold time');
      await assert.rejects(IscsiDisk.login(cluster.portalPort, iqn, HOST), /login refused 0301h/);
      await Promise.all([cluster.run(cluster.replicas[0]!), cluster.run(cluster.replicas[1]!)]);
      const again = await login(cluster, cluster.portalPort, iqn);
      assert.ok((await again.read(7, 1)).equals(filled(7, 1)));
      const now = await again.read(8, 1);
      assert.ok(
        now.equals(filled(8, 2)) || now.equals(Buffer.alloc(BLOCK_BYTES)),
        'old or new (C4)',
      );
      assert.ok((await again.read(8, 1)).equals(now), 'and so it stays');
      await cluster.untilState('v', 'Healthy', 60_000);
      again.close();
    },
    { replication: '  timeouts: {hold: 2s}\n' },
  );
});

test('a volume grows from one replica to three and back to one under writes (scale 1 -> 3 -> 1)', {
  timeout: 300_000,
}, async () => {
  await withCluster(async (cluster) => {
    const nodes = cluster.links.map(({ port }) => `127.0.0.1:${port}`);
    const volume = ['create', 'volume', 'v', '--size', '16Mi', '--block-size', '4096'];
    await cluster.ashlar(...volume, '--replica-node', nodes[0]!);
    await cluster.untilState('v', 'Healthy', 60_000);
    const iqn = 'iqn.2026-11.io.ashlar:v';
    const model = new BlockModel(2048);
    const workload = new Workload(cluster.portalPort, iqn, model, Math.random);
    workload.start(4);
    await cluster.ashlar(
      'scale',
      'volume',
      'v',
      '--replicas',
      '3',
      '--replica-node',
      nodes[1]!,
      '--replica-node',
      nodes[2]!,
    );
    await cluster.untilState('v', 'Healthy', 60_000);
    assert.match(await cluster.ashlar('get', 'replicas'), /v-r3/);
    await cluster.ashlar('move', 'replica', 'v-r1', '--to', nodes[0]!).catch(() => '');
    await cluster.ashlar('scale', 'volume', 'v', '--replicas', '1');
    await cluster.untilState('v', 'Healthy', 60_000);
    await workload.stop();
    await workload.readAll();
    assert.doesNotMatch(await cluster.ashlar('get', 'replicas'), /v-r3/);
  });
});

test('a replica that was emptied and rebuilt serves alone, by force, when the two others are lost (C1)', {
  timeout: 240_000,
}, async () => {
  await withCluster(async (cluster) => {
    const iqn = await cluster.createVolume('v', '16Mi');
    await cluster.untilState('v', 'Healthy', 60_000);
    const disk = await login(cluster, cluster.portalPort, iqn);
    for (let lba = 0; lba < 512; lba += 8) await disk.write(lba, filled(lba, lba + 1, 8));
    await cluster.kill(cluster.replicas[0]!);
    rmSync(join(cluster.folder, 'node-1/pool.img'));
    await disk.write(0, filled(0, 900, 8));
    await cluster.untilState('v', 'Degraded', 30_000);
    await cluster.run(cluster.replicas[0]!);
    await cluster.untilState('v', 'Healthy', 60_000);
    await disk.flush();
    disk.close();
    await Promise.all([cluster.kill(cluster.replicas[1]!), cluster.kill(cluster.replicas[2]!)]);
    await cluster.untilState('v', 'Offline', 60_000);
    await assert.rejects(cluster.ashlar('force', 'volume', 'v'), /yes-i-lost-the-others/);
    await cluster.ashlar('force', 'volume', 'v', '--yes-i-lost-the-others');
    const left = await login(cluster, cluster.portalPort, iqn);
    assert.ok((await left.read(0, 8)).equals(filled(0, 900, 8)));
    for (let lba = 8; lba < 512; lba += 8) {
      assert.ok((await left.read(lba, 8)).equals(filled(lba, lba + 1, 8)), `block ${lba}`);
    }
    left.close();
  });
});

test('a declared loss is told to the session that outlived it: 29h once, then no flush succeeds until it logs in anew (C8)', {
  timeout: 240_000,
}, async () => {
  await withCluster(
    async (cluster) => {
      const iqn = await cluster.createVolume('v', '16Mi');
      await cluster.untilState('v', 'Healthy', 60_000);
      const disk = await login(cluster, cluster.portalPort, iqn);
      await disk.write(7, filled(7, 1));
      await disk.flush();
      await Promise.all([cluster.kill(cluster.replicas[1]!), cluster.kill(cluster.replicas[2]!)]);
      await cluster.untilState('v', 'Offline', 60_000);
      await cluster.ashlar('force', 'volume', 'v', '--yes-i-lost-the-others');
      const answer = (work: Promise<unknown>): Promise<string> =>
        work.then(
          () => 'good',
          (error: unknown) =>
            error instanceof CheckCondition
              ? `${error.key}/${error.asc.toString(16)}`
              : String(error),
        );
      assert.equal(await answer(disk.read(7, 1)), '6/2900');
      assert.equal(await answer(disk.flush()), '4/4400');
      assert.equal(await answer(disk.write(8, filled(8, 2), true)), '4/4400');
      assert.ok((await disk.read(7, 1)).equals(filled(7, 1)));
      disk.close();
      const again = await login(cluster, cluster.portalPort, iqn);
      assert.equal(await answer(again.flush()), 'good');
      assert.ok((await again.read(7, 1)).equals(filled(7, 1)));
      again.close();
    },
    { replication: '  timeouts: {hold: 2m}\n' },
  );
});

test('two hosts on one volume: each reads what the other was told is written, also after a replica was killed (C2)', {
  timeout: 240_000,
}, async () => {
  await withCluster(async (cluster) => {
    const iqn = await cluster.createVolume('v', '16Mi');
    await cluster.untilState('v', 'Healthy', 60_000);
    const one = await login(cluster, cluster.portalPort, iqn);
    const two = await IscsiDisk.login(cluster.portalPort, iqn, `${HOST}-2`);
    for (let turn = 0; turn < 60; turn += 1) {
      const [writer, reader] = turn % 2 === 0 ? [one, two] : [two, one];
      const lba = turn % 8;
      if (turn === 30) await cluster.kill(cluster.replicas[1]!);
      await writer.write(lba, filled(lba, turn + 1));
      assert.ok((await reader.read(lba, 1)).equals(filled(lba, turn + 1)), `turn ${turn}`);
    }
    one.close();
    two.close();
  });
});

test('two copies and a witness: either copy may go, the volume goes on, and the one that returns catches up', {
  timeout: 240_000,
}, async () => {
  await withCluster(async (cluster) => {
    const nodes = cluster.links.map(({ port }) => `127.0.0.1:${port}`);
    const copies = ['--replicas', '2', '--replica-node', nodes[0]!, '--replica-node', nodes[1]!];
    const flags = ['--size', '16Mi', '--block-size', '4096', ...copies];
    await assert.rejects(
      cluster.ashlar('create', 'volume', 'v', ...flags, '--witness-node', nodes[0]!),
      /keeps a copy/,
    );
    await cluster.ashlar('create', 'volume', 'v', ...flags, '--witness-node', nodes[2]!);
    await cluster.untilState('v', 'Healthy', 60_000);
    assert.match(await cluster.ashlar('get', 'replicas'), /v-w1 .*Witness/);
    const disk = await login(cluster, cluster.portalPort, 'iqn.2026-11.io.ashlar:v');
    await disk.write(1, filled(1, 1));
    for (const away of [0, 1]) {
      await cluster.kill(cluster.replicas[away]!);
      await disk.write(2 + away, filled(2 + away, 10 + away));
      assert.ok((await disk.read(1, 1)).equals(filled(1, 1)));
      await cluster.run(cluster.replicas[away]!);
      await cluster.untilState('v', 'Healthy', 60_000);
    }
    // The witness may go too: two copies are a majority.
    await cluster.kill(cluster.replicas[2]!);
    await disk.write(9, filled(9, 99));
    for (const [lba, id] of [
      [1, 1],
      [2, 10],
      [3, 11],
      [9, 99],
    ] as const) {
      assert.ok((await disk.read(lba, 1)).equals(filled(lba, id)), `block ${lba}`);
    }
    disk.close();
  });
});
