// Goal: what the scrub of one node's pool finds damaged in a replica, in the volume and in a snapshot, is mended from another node
// while hosts read, and nothing wrong is ever read (H3, H4, W9).
// Method: three daemons with pools in files, one of the files changed beneath its daemon.
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cluster } from './cluster.ts';
import { BLOCK_BYTES, IscsiDisk } from './iscsi-disk.ts';
import { blockOf } from './model.ts';

const BLOCKS = 64;
/** From here on written again after the snapshot. */
const AGAIN = 32;

function filled(lba: number, id: number): Buffer {
  const data = Buffer.alloc(BLOCK_BYTES);
  blockOf(lba, id, data, 0);
  return data;
}

test('a scrub of one pool: damaged blocks of the volume and of its snapshot are mended from the other nodes', {
  timeout: 240_000,
}, async () => {
  const cluster = new Cluster({ replicas: 3, poolSize: '128Mi', serving: true });
  let failed = true;
  try {
    await cluster.start();
    const iqn = await cluster.createVolume('v', '16Mi');
    await cluster.untilState('v', 'Healthy', 60_000);
    const disk = await IscsiDisk.login(cluster.portalPort, iqn, 'iqn.2026-11.test:host');
    const now = Array.from({ length: BLOCKS }, (_, lba) => filled(lba, lba + 1));
    for (const [lba, data] of now.entries()) await disk.write(lba, data);
    assert.ok(await cluster.takeSnapshot('v', 's'));
    const then = [...now];
    for (let lba = AGAIN; lba < BLOCKS; lba += 1) {
      now[lba] = filled(lba, 1000 + lba);
      await disk.write(lba, now[lba]!);
    }
    await disk.flush();
    const readAll = async (): Promise<void> => {
      for (const [lba, data] of now.entries()) {
        assert.ok((await disk.read(lba, 1)).equals(data), `block ${lba}`);
      }
    };
    await readAll();

    // Shared by both, the snapshot's alone, the volume's alone.
    const [node] = cluster.replicas;
    const path = join(cluster.folder, node!.name, 'pool.img');
    const wanted = [then[3]!, then[AGAIN + 1]!, then[AGAIN + 2]!, now[AGAIN + 2]!, now[AGAIN + 5]!];
    const medium = readFileSync(path);
    const places = wanted.map((data) => medium.indexOf(data));
    for (const at of places) assert.ok(at > 0 && at % BLOCK_BYTES === 0, `${places}`);
    const file = openSync(path, 'r+');
    for (const at of places) writeSync(file, Buffer.alloc(BLOCK_BYTES, 0xee), 0, BLOCK_BYTES, at);
    closeSync(file);

    const api = node!.apiPort!;
    const pool = JSON.parse(await cluster.ashlarAt(api, 'get', 'pools', '-o', 'json')) as {
      items: { metadata: { name: string } }[];
    };
    const { name } = pool.items[0]!.metadata;
    await cluster.ashlarAt(api, 'scrub', 'pool', name);
    const unmended = (): number[] => {
      const is = readFileSync(path);
      return wanted.flatMap((data, index) => {
        const at = places[index]!;
        return is.subarray(at, at + BLOCK_BYTES).equals(data) ? [] : [index];
      });
    };
    // The volume's own may move: what is mended there is written anew.
    const isTold = async (): Promise<boolean> =>
      /no good copy/.test(await cluster.ashlarAt(api, 'describe', 'pool', name));
    const endMs = performance.now() + 60_000;
    for (;;) {
      await readAll();
      const left = unmended().filter((index) => index < 3);
      if (left.length === 0 && !(await isTold())) break;
      assert.ok(performance.now() < endMs, `not mended: ${left}; logs in ${cluster.folder}`);
    }
    // A second scrub finds nothing; with each of the other nodes away the volume reads as it should.
    await cluster.ashlarAt(api, 'scrub', 'pool', name);
    await readAll();
    assert.equal(await isTold(), false);
    assert.equal((await cluster.volume('v'))?.state, 'Healthy');
    disk.close();
    failed = false;
  } finally {
    await cluster.dispose(failed);
  }
});
