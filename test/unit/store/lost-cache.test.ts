import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CacheIdentity, markPlaces } from '../../../src/store/lost-cache.ts';

const BOOT = '5a1c6f0e-0000-4000-8000-000000000001';
const LATER = '5a1c6f0e-0000-4000-8000-000000000002';

function inFolder(work: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-cache-'));
  try {
    work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a pool goes by the boot id, until a flush fails: then by another for the rest of that boot', () => {
  inFolder((folder) => {
    const places = [join(folder, 'a'), join(folder, 'b')];
    assert.equal(new CacheIdentity(places, BOOT).id, BOOT);
    assert.equal(new CacheIdentity(places, BOOT).lost(), true);
    const marked = new CacheIdentity(places, BOOT).id;
    assert.notEqual(marked, BOOT);
    assert.equal(new CacheIdentity(places, BOOT).id, marked, 'reopening alone loses nothing');
    new CacheIdentity(places, BOOT).lost();
    assert.notEqual(new CacheIdentity(places, BOOT).id, marked, 'a second failure does');
    assert.equal(new CacheIdentity(places, LATER).id, LATER, 'a boot is a loss of its own');
    assert.equal(existsSync(places[0]!), false, 'and ends the mark');
  });
});

test('one of its places is enough for a mark, and that none is there is said', () => {
  inFolder((folder) => {
    const places = [join(folder, 'missing', 'a'), join(folder, 'b')];
    const cache = new CacheIdentity(places, BOOT);
    assert.equal(cache.lost(), true);
    assert.notEqual(cache.id, BOOT);
    assert.equal(new CacheIdentity([join(folder, 'missing', 'a')], BOOT).lost(), false);
  });
});

test('a mark that a kill tore, at whichever byte, is a loss all the same, and the next one another', () => {
  inFolder((folder) => {
    const places = [join(folder, 'a'), join(folder, 'b')];
    const cache = new CacheIdentity(places, BOOT);
    cache.lost();
    const whole = readFileSync(places[0]!);
    for (let bytes = 0; bytes < whole.length; bytes += 1) {
      // The first place torn, the second not yet written to: nothing is there, or the mark of a loss before.
      for (const before of [null, whole]) {
        const known = new Set([BOOT, whole.toString('latin1', 37, 73)]);
        if (before === null) rmSync(places[1]!, { force: true });
        else writeFileSync(places[1]!, before);
        for (let loss = 0; loss < 3; loss += 1) {
          writeFileSync(places[0]!, whole.subarray(0, bytes));
          const { id } = new CacheIdentity(places, BOOT);
          assert.equal(known.has(id), false, `torn after ${bytes} bytes: ${id}`);
          assert.equal(new CacheIdentity(places, BOOT).id, id, 'reopening alone loses nothing');
          known.add(id);
        }
        assert.equal(new CacheIdentity(places, LATER).id, LATER);
      }
    }
  });
});

test('a mark that cannot be made whole, or cannot be read, counts until the machine boots and after', () => {
  inFolder((folder) => {
    const place = join(folder, 'a');
    mkdirSync(place);
    assert.equal(new CacheIdentity([place], BOOT).lost(), false);
    assert.equal(new CacheIdentity([place], BOOT).id, `${BOOT}+torn`);
    assert.equal(new CacheIdentity([place], LATER).id, `${LATER}+torn`);
  });
});

test('marks lie in memory, and beside a pool that is a file; not beside a device', () => {
  inFolder((folder) => {
    const file = join(folder, 'pool.img');
    writeFileSync(file, '');
    assert.deepEqual(markPlaces('p', file, '/m'), ['/m/ashlar-lost-cache-p', `${file}.lost-cache`]);
    assert.deepEqual(markPlaces('p', '/dev/null', '/m'), ['/m/ashlar-lost-cache-p']);
  });
});
