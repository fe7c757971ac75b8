import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import { DataBufferPool, MAX_BUFFER_BYTES } from '../../../src/block/index.ts';
import {
  checkPool,
  createPoolFile,
  lastUseOf,
  nativeArena,
  openPool,
  probePool,
  thisMachine,
  thisNode,
} from '../../../src/store/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-owner-'));
after(() => rmSync(folder, { recursive: true }));

function aMachineId(text: string): string {
  const path = join(folder, 'machine-id');
  writeFileSync(path, text);
  return path;
}

test('a machine is known by its machine-id, which is not told, and by nothing where it has none', () => {
  const id = '0123456789abcdef0123456789abcdef';
  const lasts = (): boolean => false; // Also where the tests' folder is in memory.
  const machine = thisMachine(aMachineId(`${id}\n`), lasts);
  assert.equal(machine?.name, hostname());
  assert.equal(machine?.id, '1e863d89-ac33-7848-0475-f064f3aa476e');
  assert.equal(thisMachine(aMachineId(`f${id.slice(1)}\n`), lasts)?.id === machine?.id, false);
  for (const none of ['', 'uninitialized\n', `${'0'.repeat(32)}\n`, id.slice(1)]) {
    assert.equal(thisMachine(aMachineId(none), lasts), null, none);
  }
  assert.equal(thisMachine(join(folder, 'missing'), lasts), null);
  assert.equal(
    thisMachine(aMachineId(`${id}\n`), () => true),
    null,
    'of this boot alone',
  );
  assert.deepEqual(thisNode('n1'), thisNode('n1'));
  assert.notEqual(thisNode('n1').id, thisNode('n2').id);
});

test('a pool of another machine is refused, told of, and opened once it is taken over', async () => {
  const path = join(folder, 'pool');
  const open = {
    path,
    turn: new Turn(),
    buffers: new DataBufferPool(nativeArena(MAX_BUFFER_BYTES * 2)),
  };
  await createPoolFile({ path, sizeBytes: 64 << 20, name: 'tank' });
  assert.equal((await probePool(path)).owner, undefined);
  await (await openPool({ ...open, owner: thisNode('alpha') })).close();
  const { owner } = await probePool(path);
  assert.deepEqual([owner?.id, owner?.name], [thisNode('alpha').id, 'alpha']);
  assert.match(
    lastUseOf(owner),
    /^alpha has had it since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC, and may/,
  );
  const refused = {
    code: 'STORE_OWNED',
    message: /pool tank belongs to machine alpha since 20.* UTC, which has not exported it/,
  };
  await assert.rejects(openPool({ ...open, owner: thisNode('beta') }), refused);
  await assert.rejects(openPool({ ...open, owner: null }), refused);
  assert.equal((await checkPool(path)).clean, true);
  await (await openPool({ ...open, owner: thisNode('beta'), takeOver: true })).close();
  await assert.rejects(openPool({ ...open, owner: thisNode('alpha') }), /belongs to machine beta/);
  await (await openPool({ ...open, owner: thisNode('beta') })).exportPool();
  await (await openPool({ ...open, owner: thisNode('alpha') })).close();
});
