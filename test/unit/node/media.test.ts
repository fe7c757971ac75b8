// Goal: a node takes pools over by --take-over once, not whenever one is opened while it runs; and nodes of one name in two
// clusters are not one.
// Method: the media of nodes over one file, with the engine.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ManualClock, silentLog, Turn } from '../../../src/base/index.ts';
import { DataBufferPool, MAX_BUFFER_BYTES } from '../../../src/block/index.ts';
import { NativeMedia } from '../../../src/node/index.ts';
import { createPoolFile, nativeArena, thisNode } from '../../../src/store/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-media-'));
after(() => rmSync(folder, { recursive: true }));
const turn = new Turn();
const buffers = new DataBufferPool(nativeArena(MAX_BUFFER_BYTES * 2));
const cacheBytes = null;

function aNode(cluster: string, takeOver = false): { media: NativeMedia; clock: ManualClock } {
  const clock = new ManualClock();
  const owner = thisNode('n1', cluster);
  const media = new NativeMedia({
    ...{ turn, buffers, owner, takeOver, clock },
    log: silentLog,
    notify: () => {},
  });
  return { media, clock };
}

async function aPool(name: string): Promise<string[]> {
  const path = join(folder, name);
  await createPoolFile({ path, sizeBytes: 64 << 20, name });
  const { media } = aNode('one');
  await (await media.open([path], { cacheBytes })).close();
  return [path];
}

test("a node takes a pool over once; later it is told that it is another's", async () => {
  const paths = await aPool('tank');
  const owned = { code: 'STORE_OWNED', message: /belongs to machine n1 since/ };
  await assert.rejects(aNode('two').media.open(paths, { cacheBytes }), owned);
  const { media } = aNode('two', true);
  await (await media.open(paths, { cacheBytes })).close();
  await (await media.open(paths, { cacheBytes })).close(); // It is its own now.
  await (await aNode('one', true).media.open(paths, { cacheBytes })).close();
  await assert.rejects(media.open(paths, { cacheBytes }), owned);
  // By its operator's word for this very pool.
  await (await media.open(paths, { cacheBytes, takeOver: true })).close();
});

test('--take-over is over some time after the start', async () => {
  const paths = await aPool('late');
  const { media, clock } = aNode('two', true);
  clock.advance(11 * 60_000);
  await assert.rejects(media.open(paths, { cacheBytes }), { code: 'STORE_OWNED' });
});
